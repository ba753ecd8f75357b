"""The OpenAI path over real HTTP: formats, one request at a time, and each failure as a typed error."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import time
from email.utils import formatdate
from typing import Any

import numpy as np
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign.config import Llm
from synalign.errors import (
    ConfigError,
    ModelAuthError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
    SynAlignError,
)
from synalign.llm.prompting.parsing import ParseFailure, parse
from synalign.llm.prompting.schemas import RecordBatch, json_schema
from synalign.llm.transport.chat import ChatReply, ChatRequest
from synalign.llm.transport.client import (
    MODES,
    AbsentError,
    Connection,
    Endpoint,
    OpenAIChat,
    _retry_after,
    openai_embed,
)
from synalign.llm.transport.engine import run_calls
from tests.llm.server import AT_ONCE, Answer, Server, chat, error

KEY = "sk-secret-0123456789"
GOOD = json.dumps({"records": [{"text": "fresh"}]})


def ask(user: str = "write", **values: Any) -> ChatRequest:
    return ChatRequest("m1", None, "sys", user, "record_batch", json_schema(RecordBatch), **values)


def model(url: str, mode: str | None = None, **values: Any) -> OpenAIChat:
    settings = Llm(model="m1", base_url=url, api_key_env="THE_KEY", **{"timeout": 5.0} | values)
    return OpenAIChat(settings, {"THE_KEY": KEY}, mode)


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
    run_calls(lambda: model(server.url), [ask(str(i)) for i in range(40)], outcomes.extend, settings=Llm(concurrency=4))
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


def test_a_mode_that_is_known_is_not_negotiated_again(serve: Any) -> None:
    for mode in MODES:
        server: Server = serve(lambda body, number: chat(GOOD))
        assert answer(model(server.url, mode), ask())[0].mode == mode
        assert server.formats == [mode]


def test_a_known_mode_that_is_no_longer_taken_falls_back(serve: Any) -> None:
    server: Server = serve(only("text"))
    (reply,) = answer(model(server.url, "json_object"), ask())
    assert (reply.mode, reply.attempts, server.formats) == ("text", 2, ["json_object", "text"])


@pytest.mark.parametrize("status", [400, 404, 415, 422, 501])
def test_a_format_is_refused_in_many_ways(serve: Any, status: int) -> None:
    def behave(body: dict[str, Any], number: int) -> Answer:
        return error(status, "unknown field response_format") if "response_format" in body else chat(GOOD)

    server: Server = serve(behave)
    assert answer(model(server.url), ask())[0].mode == "text"


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_a_request_is_sent_once(serve: Any, status: int) -> None:
    """Trying again is up to the engine, which knows what the other requests meet."""
    server: Server = serve(lambda body, number: error(status, "later"))
    with pytest.raises(ModelUnavailableError, match="later") as caught:
        answer(model(server.url), ask())
    assert len(server.bodies) == 1
    assert vars(caught.value)["attempts"] == 1
    assert caught.value.overloaded == (status in (408, 429, 502, 503))
    assert not caught.value.uncertain or status == 408


def test_a_rate_limit_is_waited_out_by_the_engine(serve: Any) -> None:
    server: Server = serve(
        lambda body, number: error(429, "slow down", headers={"retry-after": "0"}) if number == 0 else chat(GOOD)
    )
    outcomes: list[Any] = []
    run_calls(lambda: model(server.url), [ask()], outcomes.extend, settings=Llm(max_attempts=3))
    assert [(outcome.text, outcome.attempts) for outcome in outcomes] == [(GOOD, 2)]


def test_a_refusal_that_is_a_reply_may_have_been_billed(serve: Any) -> None:
    """A budget counts it: the filter stopped what the model had written already."""
    for said, billed in ((chat("half a", "content_filter"), True), (chat(""), True), (error(400, "no"), False)):
        server: Server = serve(lambda body, number, said=said: said)
        with pytest.raises(ModelRefusedError) as caught:
            answer(model(server.url), ask())
        assert vars(caught.value).get("uncertain", False) == billed


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
    run_calls(lambda: model(server.url), [ask(str(i)) for i in range(20)], outcomes.extend, settings=Llm(concurrency=3))
    assert len(outcomes) == 20
    assert server.most_at_once == 3


ECHOED: dict[str, Answer] = {
    "error": error(400, f"no {KEY}", "content_filter"),
    "key refused": error(401, f"Incorrect API key provided: {KEY}"),
    "header": Answer({"error": {"message": "later"}}, 503, {"x-key": KEY, "retry-after": KEY}),
    "not JSON": Answer(f"<html>{KEY}</html>".encode()),
    "not JSON, in pieces": Answer(f"<html>{'x' * 290} {KEY}</html>".encode(), 500),
    "no completion": Answer({KEY: KEY}),
    "in the last letters of an excerpt": Answer({"x": "x" * 180 + KEY}),
    "status 200": Answer({"error": {"message": KEY, "code": 503}}),
    "filtered": chat(f"half {KEY}", "content_filter"),
    "refusal": chat(None, refusal=f"not with {KEY}"),
    "content": chat(f"Your key is {KEY}."),
    "finish": chat("fine", KEY),
    "escaped": Answer(json.dumps(chat(KEY).body).replace("-", "\\u002d").encode()),
}


@pytest.mark.parametrize("kind", ECHOED)
def test_a_key_that_is_sent_back_is_in_no_outcome_error_or_notice(
    serve: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("engine._WAIT", 0.001), ("engine._LONGEST", 0.01), ("limits._PAUSE", 0.001)):
        monkeypatch.setattr(f"synalign.llm.transport.{name}", value)
    monkeypatch.setattr("synalign.llm.transport.admission._TELL", 0.0)
    server: Server = serve(lambda body, number: ECHOED[kind] if number else chat(GOOD))
    outcomes: list[Any] = []
    said: list[str] = []
    try:
        settings = Llm(model="m1", concurrency=2, max_attempts=3, patience=0.1)
        requests = [ask(str(number)) for number in range(8)]
        run_calls(lambda: model(server.url), requests, outcomes.extend, settings=settings, notice=said.append)
    except SynAlignError as caught:
        cause: BaseException | None = caught
        while isinstance(cause, SynAlignError):
            said.append(str(cause))
            cause = cause.__cause__
    assert outcomes or kind == "key refused"
    assert KEY[:12] not in repr(outcomes) + repr(said)


@given(st.text(max_size=40) | st.floats().map(str) | st.integers().map(str))
def test_any_retry_after_is_a_wait_or_none(said: str) -> None:
    for name in ("retry-after", "retry-after-ms"):
        found = _retry_after({name: said})
        assert found is None or (found >= 0 and math.isfinite(found))


def test_what_a_retry_after_says() -> None:
    assert _retry_after({}) is None
    assert _retry_after({"retry-after": "1.5"}) == 1.5
    assert _retry_after({"retry-after": "-3"}) == 0.0
    assert _retry_after({"retry-after": "7", "retry-after-ms": "250"}) == 0.25
    assert _retry_after({"retry-after": "7", "retry-after-ms": "soon"}) == 7.0
    assert _retry_after({"retry-after": "Fri, 01 Jan 1999 00:00:00 GMT"}) == 0.0
    soon = _retry_after({"retry-after": formatdate(time.time() + 100, usegmt=True)})
    assert soon is not None
    assert 90 < soon <= 100


@pytest.mark.parametrize("given", ["http://h:1/v1", "http://h:1/v1/", " http://h:1/v1 ", "HTTP://h:1/v1"])
def test_an_address_is_one_however_it_is_written(given: str) -> None:
    assert Endpoint(given, "K", {}).base_url == "http://h:1/v1"


def test_an_address_may_come_from_the_environment() -> None:
    assert Endpoint(None, "K", {"OPENAI_BASE_URL": "http://h:1/v1"}).base_url == "http://h:1/v1"
    assert Endpoint("http://i:1/v1", "K", {"OPENAI_BASE_URL": "http://h:1/v1"}).base_url == "http://i:1/v1"
    openai_itself = Endpoint(None, "K", {"K": "sk-123456789"})
    assert (openai_itself.base_url, openai_itself.is_openai) == ("https://api.openai.com/v1", True)
    assert not Endpoint("http://api.openai.com.example.org/v1", "K", {}).is_openai


def test_a_connection_says_what_is_not_there_and_types_the_rest(serve: Any) -> None:
    def post(given: Answer) -> None:
        server: Server = serve(lambda body, number: given)
        settings = Llm(model="m1", base_url=server.url, api_key_env="THE_KEY")
        connection = Connection(settings, {"THE_KEY": KEY})
        with connection.typed("the list"):
            connection.client.post("/list", body={}, cast_to=object)

    for status in (404, 405, 501):
        with pytest.raises(AbsentError, match=f"HTTP {status}: none"):
            post(error(status, "none"))
    with pytest.raises(ModelUnavailableError, match=r"the list at http.*later"):
        post(error(503, "later"))
    with pytest.raises(ModelAuthError, match="THE_KEY") as caught:
        post(error(401, f"bad {KEY}"))
    assert KEY not in str(caught.value)


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
