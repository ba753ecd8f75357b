"""The OpenAI path over real HTTP: formats, retries, and each failure as a typed error."""

from __future__ import annotations

import asyncio
import json
import math
import socket
from typing import Any

import numpy as np
import openai
import pytest

from synalign.config import Llm
from synalign.errors import (
    ConfigError,
    ModelAuthError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
    SynAlignError,
)
from synalign.llm.chat import CallFailure, ChatReply, ChatRequest, run_calls
from synalign.llm.client import OpenAIChat, openai_embed
from synalign.llm.parsing import ParseFailure, parse
from synalign.llm.schemas import RecordBatch, json_schema
from tests.llm.server import AT_ONCE, Answer, Server, chat, error

KEY = "sk-secret-0123456789"
GOOD = json.dumps({"records": [{"text": "fresh"}]})


def ask(user: str = "write", **values: Any) -> ChatRequest:
    return ChatRequest("m1", None, "sys", user, "record_batch", json_schema(RecordBatch), **values)


def model(url: str, **values: Any) -> OpenAIChat:
    settings = Llm(model="m1", base_url=url, api_key_env="THE_KEY", **{"max_attempts": 1, "timeout": 5.0} | values)
    return OpenAIChat(settings, environ={"THE_KEY": KEY})


def answer(chat_model: OpenAIChat, *requests: ChatRequest) -> list[ChatReply]:
    """Send the requests one after another."""

    async def send() -> list[ChatReply]:
        try:
            return [await chat_model.complete(request) for request in requests]
        finally:
            await chat_model.close()

    return asyncio.run(send())


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def only(*formats: str) -> Any:
    """A server that takes these response formats alone."""

    def behave(body: dict[str, Any], number: int) -> Answer:
        kind = body.get("response_format", {}).get("type", "text")
        return chat(GOOD) if kind in formats else error(400, f"'response_format' {kind} is not supported")

    return behave


def test_a_schema_is_sent_and_the_reply_comes_back_whole(serve: Any) -> None:
    server: Server = serve(lambda body, number: chat(GOOD))
    request = ask(temperature=0.5, max_tokens=99, seed=3)
    (reply,) = answer(model(server.url), request)
    assert (reply.text, reply.finish_reason, reply.mode, reply.attempts) == (GOOD, "stop", "json_schema", 1)
    assert (reply.prompt_tokens, reply.completion_tokens, reply.call_id) == (11, 5, request.call_id)
    assert reply.latency > 0
    (body,) = server.bodies
    assert body["response_format"]["json_schema"]["schema"] == json_schema(RecordBatch)
    assert [message["content"] for message in body["messages"]] == ["sys", "write"]
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == ("m1", 0.5, 99, 3)
    assert server.paths == ["/v1/chat/completions"]
    assert server.keys == [f"Bearer {KEY}"]


def test_unset_options_are_left_to_the_server(serve: Any) -> None:
    server: Server = serve(lambda body, number: chat(GOOD))
    answer(model(server.url), ask())
    assert set(server.bodies[0]) == {"model", "messages", "response_format"}


@pytest.mark.parametrize(
    ("taken", "mode", "sent"),
    [
        (("json_object", "text"), "json_object", ["json_schema", "json_object", "json_object"]),
        (("text",), "text", ["json_schema", "json_object", "text", "text"]),
    ],
)
def test_a_refused_format_falls_back_and_is_remembered(serve: Any, taken: Any, mode: str, sent: list[str]) -> None:
    server: Server = serve(only(*taken))
    first, second = answer(model(server.url), ask("a"), ask("b"))
    assert (first.mode, second.mode) == (mode, mode)
    assert server.formats == sent
    assert (first.attempts, second.attempts) == (len(sent) - 1, 1)


def test_many_at_once_negotiate_once(serve: Any) -> None:
    server: Server = serve(only("text"))
    outcomes: list[Any] = []
    run_calls(lambda: model(server.url), [ask(str(i)) for i in range(40)], outcomes.append, concurrency=4)
    assert {outcome.mode for outcome in outcomes} == {"text"}
    assert server.formats.count("json_schema") <= 4
    assert server.formats.count("json_object") == 1
    assert server.formats.count("text") == 40


def test_a_refusal_in_all_formats_is_one_refused_request(serve: Any) -> None:
    server: Server = serve(lambda body, number: error(400, "prompt too odd"))
    with pytest.raises(ModelRefusedError, match="prompt too odd") as caught:
        answer(model(server.url), ask())
    assert server.formats == ["json_schema", "json_object", "text"]
    assert vars(caught.value)["attempts"] == 3


def test_once_a_format_is_proved_a_bad_request_is_not_negotiated(serve: Any) -> None:
    server: Server = serve(lambda body, number: chat(GOOD) if number == 0 else error(400, "prompt too odd"))
    with pytest.raises(ModelRefusedError, match="prompt too odd"):
        answer(model(server.url), ask("a"), ask("b"))
    assert server.formats == ["json_schema", "json_schema"]


def test_a_content_filter_on_the_prompt_is_not_negotiated(serve: Any) -> None:
    server: Server = serve(lambda body, number: error(400, "filtered", "content_filter"))
    with pytest.raises(ModelRefusedError, match="filtered"):
        answer(model(server.url), ask())
    assert len(server.bodies) == 1


def test_a_schema_that_is_taken_and_ignored_is_found_by_parsing(serve: Any) -> None:
    server: Server = serve(lambda body, number: chat("Sure! Here is a text: fresh."))
    (reply,) = answer(model(server.url), ask())
    found = parse(reply.text, RecordBatch)
    assert isinstance(found, ParseFailure)
    assert found.reason == "not_json"


def test_a_rate_limit_is_waited_out(serve: Any) -> None:
    server: Server = serve(
        lambda body, number: error(429, "slow down", headers={"retry-after": "0"}) if number == 0 else chat(GOOD)
    )
    (reply,) = answer(model(server.url, max_attempts=3), ask())
    assert (reply.text, reply.attempts) == (GOOD, 2)


def test_server_errors_use_up_the_attempts(serve: Any) -> None:
    server: Server = serve(lambda body, number: error(503, "overloaded"))
    with pytest.raises(ModelUnavailableError, match="overloaded") as caught:
        answer(model(server.url, max_attempts=4), ask())
    assert len(server.bodies) == 4
    assert vars(caught.value)["attempts"] == 4
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        (error(401, f"bad key {KEY}"), ModelAuthError, "THE_KEY"),
        (error(403, "not for you"), ModelAuthError, "not for you"),
        (error(403, "input was flagged by moderation"), ModelRefusedError, "flagged"),
        (error(402, "pay first"), ModelAuthError, "credit"),
        (error(404, "The model `m1` does not exist", "model_not_found"), ConfigError, "'m1'.*does not exist"),
        (error(429, "You exceeded your quota", "insufficient_quota"), ModelAuthError, "credit"),
        (error(429, "slow down"), ModelUnavailableError, "slow down"),
        (error(409, "locked"), ModelUnavailableError, "locked"),
        (error(413, "too large"), ModelRefusedError, "too large"),
        (error(422, "cannot", "context_length_exceeded"), ModelRefusedError, "cannot"),
        (Answer({"detail": "fastapi says no"}, 500, AT_ONCE), ModelUnavailableError, "fastapi says no"),
        (Answer(b"<html>Bad gateway</html>", 502, AT_ONCE), ModelUnavailableError, "Bad gateway"),
        (Answer(b"<html>hello</html>", 200, {"content-type": "text/html"}), ModelUnavailableError, "no JSON.*/v1"),
        (Answer(b"{broken"), ModelUnavailableError, "no JSON"),
        (Answer(b"[]"), ModelUnavailableError, "no chat completion"),
        (Answer({"choices": []}), ModelUnavailableError, "no chat completion"),
        (Answer({"choices": [{"message": None}]}), ModelUnavailableError, "no chat completion"),
        (Answer({"error": {"message": "upstream down", "code": 502}}), ModelUnavailableError, "upstream down"),
        (Answer({"error": {"message": "never", "code": 400}}), ModelRefusedError, "never"),
        (chat(None, refusal="I will not"), ModelRefusedError, "I will not"),
        (chat("half a", "content_filter"), ModelRefusedError, "content filter"),
        (chat(""), ModelRefusedError, "empty"),
        (chat(None, "length"), ModelRefusedError, "max_tokens"),
    ],
)
def test_what_a_server_can_say_becomes_a_typed_error(
    serve: Any, given: Answer, kind: type[SynAlignError], says: str
) -> None:
    server: Server = serve(lambda body, number: given)
    with pytest.raises(SynAlignError, match=says) as caught:
        answer(model(server.url), ask())
    assert type(caught.value) is kind
    assert server.url in str(caught.value)
    assert KEY not in str(caught.value)


def test_every_status_error_of_the_client_is_mapped(serve: Any) -> None:
    kinds = [
        kind
        for kind in list(vars(openai).values())
        if isinstance(kind, type) and issubclass(kind, openai.APIStatusError) and hasattr(kind, "status_code")
    ]
    assert len(kinds) >= 7
    for kind in kinds:
        status = kind.status_code
        server: Server = serve(lambda body, number, status=status: error(status, "no", "context_length_exceeded"))
        with pytest.raises(SynAlignError):
            answer(model(server.url), ask())


def test_a_time_out(serve: Any) -> None:
    server: Server = serve(lambda body, number: chat(GOOD, delay=3))
    with pytest.raises(ModelUnavailableError, match=r"within 0\.1 s"):
        answer(model(server.url, timeout=0.1), ask())


def test_no_server_at_all() -> None:
    url = closed_port()
    with pytest.raises(ModelUnavailableError, match="cannot be reached") as caught:
        answer(model(url), ask())
    assert url in str(caught.value)


def test_half_an_emoji_is_repaired(serve: Any) -> None:
    body = b'{"choices":[{"finish_reason":"length","message":{"content":"fine \\ud83d"}}]}'
    server: Server = serve(lambda _, number: Answer(body))
    (reply,) = answer(model(server.url), ask())
    assert reply.text == "fine \ufffd"
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)


def test_content_in_parts_is_joined(serve: Any) -> None:
    parts: Any = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    server: Server = serve(lambda body, number: chat(parts))
    assert answer(model(server.url), ask())[0].text == "one two"


def test_openai_itself_needs_a_key() -> None:
    with pytest.raises(ModelAuthError, match=r"NO_SUCH_KEY.*Set it"):
        OpenAIChat(Llm(model="gpt", api_key_env="NO_SUCH_KEY"), environ={})


def test_a_local_server_needs_none(serve: Any) -> None:
    server: Server = serve(lambda body, number: chat(GOOD))
    keyless = OpenAIChat(Llm(model="m1", base_url=server.url, api_key_env="NO_SUCH_KEY"), environ={})
    assert answer(keyless, ask())[0].text == GOOD
    assert server.keys == ["Bearer not-needed"]


def test_an_address_without_a_scheme_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="http://"):
        model("localhost:8000/v1")


def test_a_key_that_cannot_be_sent_is_not_shown() -> None:
    with pytest.raises(ModelAuthError) as caught:
        OpenAIChat(Llm(model="m1", api_key_env="K"), environ={"K": "clé-secrète"})
    assert "secr" not in str(caught.value)


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        model("http://user:pass@localhost:1/v1")
    assert "pass@" not in str(caught.value)


def test_a_key_that_is_wanted_and_not_set_is_not_called_refused(serve: Any) -> None:
    server: Server = serve(lambda body, number: error(401, "who are you?"))
    keyless = OpenAIChat(Llm(model="m1", base_url=server.url, api_key_env="NO_SUCH_KEY"), environ={})
    with pytest.raises(
        ModelAuthError, match=r"who are you.*NO_SUCH_KEY is not set, so a placeholder was sent"
    ) as caught:
        answer(keyless, ask())
    assert "refused the key" not in str(caught.value)


def test_no_more_than_the_concurrency_is_under_way(serve: Any) -> None:
    server: Server = serve(lambda body, number: chat(GOOD, delay=0.05))
    outcomes: list[Any] = []
    run_calls(lambda: model(server.url), [ask(str(i)) for i in range(20)], outcomes.append, concurrency=3)
    assert len(outcomes) == 20
    assert server.most_at_once == 3


def test_a_wrong_key_aborts_the_rest(serve: Any) -> None:
    server: Server = serve(lambda body, number: error(401, "bad key"))
    with pytest.raises(ModelAuthError, match="bad key"):
        run_calls(lambda: model(server.url), [ask(str(i)) for i in range(50)], lambda _: None, concurrency=2)
    assert len(server.bodies) <= 3


def test_a_dead_server_is_given_up_early() -> None:
    outcomes: list[Any] = []
    url = closed_port()
    with pytest.raises(ModelUnavailableError, match="in a row"):
        run_calls(lambda: model(url), [ask(str(i)) for i in range(500)], outcomes.append, concurrency=2)
    assert 6 <= len(outcomes) <= 8
    assert all(isinstance(outcome, CallFailure) and outcome.retryable for outcome in outcomes)


def vectors(body: dict[str, Any], number: int) -> Answer:
    items = [{"index": i, "embedding": [float(len(text)), float(number)]} for i, text in enumerate(body["input"])]
    return Answer({"object": "list", "data": items[::-1], "model": "e"})


def embed(url: str, texts: list[str], **values: Any) -> np.ndarray:
    return openai_embed(texts, "e", url, "NO_SUCH_KEY", 2, max_attempts=1, environ={}, **values)


def test_embeddings_come_back_in_order_and_in_batches(serve: Any) -> None:
    server: Server = serve(vectors)
    rows = embed(server.url, ["a", "bb", "ccc", "dddd", "eeeee"])
    np.testing.assert_array_equal(rows, np.array([[1, 0], [2, 0], [3, 1], [4, 1], [5, 2]], dtype=np.float32))
    assert rows.dtype == np.float32
    assert server.bodies[0]["encoding_format"] == "float"
    assert "dimensions" not in server.bodies[0]


def test_no_texts_need_no_request() -> None:
    assert embed(closed_port(), [], dimensions=7).shape == (0, 7)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([{"index": 0, "embedding": [1.0]}], "2 texts were sent and 1"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}], "indices"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}], "one length"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [math.nan]}], "finite"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 1}], "lists of numbers"),
        ("none", "no list of embeddings"),
    ],
)
def test_embeddings_are_checked(serve: Any, data: Any, says: str) -> None:
    server: Server = serve(lambda body, number: Answer({"data": data}))
    with pytest.raises(ModelError, match=says):
        embed(server.url, ["a", "b"])


def test_embeddings_of_another_length_are_refused(serve: Any) -> None:
    server: Server = serve(vectors)
    with pytest.raises(ModelError, match="2 numbers where 5"):
        embed(server.url, ["a"], dimensions=5)
    assert server.bodies[0]["dimensions"] == 5


def test_embedding_failures_are_typed() -> None:
    with pytest.raises(ModelUnavailableError, match="cannot be reached"):
        embed(closed_port(), ["a"])
