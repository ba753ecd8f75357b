"""The batch API over real HTTP: what is uploaded, what comes back, and what a provider may do wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from synalign.config import Llm
from synalign.errors import ConfigError, ModelAuthError, ModelRefusedError, ModelUnavailableError
from synalign.llm.prompting.schemas import RecordBatch, json_schema
from synalign.llm.transport import batch
from synalign.llm.transport.batch import BatchApi, State, digest_of
from synalign.llm.transport.chat import CallFailure, ChatReply, ChatRequest
from synalign.llm.transport.client import AbsentError
from tests.llm.endpoint import Endpoint
from tests.llm.server import Answer, chat, error

KEY = "sk-secret-0123456789"
GOOD = json.dumps({"records": [{"text": "fresh"}]})

Behaviour = Callable[[str, str, bytes], Answer]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_WAIT", 0.01)


class Provider:
    """Answers by `behaviour(method, path, body)`, and keeps what it was asked, as "GET /v1/batches"."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                path = self.path.partition("?")[0]
                outer.asked.append(f"{self.command} {path}")
                found = behaviour(self.command, path, body)
                data = found.body if isinstance(found.body, bytes) else json.dumps(found.body).encode()
                time.sleep(found.delay)
                self.send_response(found.status)
                for name, value in ({"content-type": "application/json"} | found.headers).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def api() -> Iterator[Callable[..., BatchApi]]:
    """Open the batch API of an address, or of a provider that behaves as told; all is closed after the test."""
    opened: list[Any] = []

    def begin(at: str | Behaviour, mode: str | None = None, **values: Any) -> BatchApi:
        if not isinstance(at, str):
            opened.append(Provider(at))
            at = str(opened[-1].url)
        given = {"timeout": 5.0, "patience": 0.0, "max_attempts": 1} | values
        settings = Llm(model="m1", base_url=at, api_key_env="THE_KEY", **given)
        opened.append(BatchApi(settings, mode, environ={"THE_KEY": KEY}))
        opened[-1].provider = opened[-2] if len(opened) > 1 else None
        return opened[-1]

    yield begin
    for thing in reversed(opened):
        thing.close()


def ask(user: str = "write", **values: Any) -> ChatRequest:
    return ChatRequest("m1", None, "sys", user, "record_batch", json_schema(RecordBatch), **values)


def shown(status: str = "validating", **more: Any) -> dict[str, Any]:
    return {"id": "batch_1", "object": "batch", "status": status, "input_file_id": "file-1"} | more


def line(call_id: str, response: Any = None, problem: Any = None) -> str:
    return json.dumps({"id": "x", "custom_id": call_id, "response": response, "error": problem})


def answered(call_id: str, body: Any, status: int = 200) -> str:
    return line(call_id, {"status_code": status, "request_id": "r", "body": body})


def serving(*lines: str) -> Behaviour:
    """A provider whose every file has these lines."""
    return lambda *_: Answer("\n".join(lines).encode())


def ended(*files: str, mode: str = "json_schema") -> State:
    return State("batch_1", "completed", "file-1", files or ("file-2",), 1, "", False, None, mode)


def outcomes(api: BatchApi, ago: float = 0.0) -> dict[str, Any]:
    return {found.call_id: found for found in api.replies(ended(), datetime.now(UTC) - timedelta(seconds=ago))}


@pytest.mark.parametrize("mode", [None, "json_object", "text"])
def test_requests_are_those_that_are_sent_one_by_one(api: Any, mode: str | None) -> None:
    requests = [ask(temperature=0.5, max_tokens=99, seed=3), ask("two\u2028lines", turns=(("user", "again"),))]
    count, content = api("http://localhost:1/v1", mode).pack(requests)
    lines = [json.loads(text) for text in content.decode().splitlines()]
    assert count == len(lines) == 2
    assert [found["custom_id"] for found in lines] == [request.call_id for request in requests]
    assert {(found["method"], found["url"]) for found in lines} == {("POST", "/v1/chat/completions")}
    body = lines[0]["body"]
    form = body.pop("response_format", {"type": "text"})
    assert form["type"] == (mode or "json_schema")
    if mode is None:
        assert form["json_schema"]["schema"] == json_schema(RecordBatch)
    assert body == {"model": "m1", "messages": requests[0].messages, "temperature": 0.5, "max_tokens": 99, "seed": 3}
    assert [message["content"] for message in lines[1]["body"]["messages"]] == ["sys", "two\u2028lines", "again"]


def test_a_batch_holds_so_many_requests_and_bytes(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = api("http://localhost:1/v1")
    requests = [ask(str(number)) for number in range(10)]
    size = len(opened.pack(requests[:1])[1])
    monkeypatch.setattr(batch, "MOST_BYTES", 3 * size)
    assert [opened.pack(requests)[0], len(opened.pack(requests)[1])] == [3, 3 * size]
    monkeypatch.setattr(batch, "MOST_REQUESTS", 2)
    assert opened.pack(requests)[0] == 2
    monkeypatch.setattr(batch, "MOST_BYTES", 1)  # one that is too large by itself is the provider's to refuse
    assert opened.pack(requests)[0] == 1


def test_a_batch_from_its_upload_to_its_replies(api: Any) -> None:
    requests = [ask(f"Write {number} new texts") for number in range(2, 22)]
    with closing(Endpoint(batch_polls=3, batch_errors=0.3)) as endpoint:
        opened = api(endpoint.url)
        names = [request.call_id for request in requests]
        made = opened.submit(opened.pack(requests)[1], digest_of(names), ())
        assert (made.status, made.digest, made.mode) == ("validating", digest_of(reversed(names)), "json_schema")
        again = opened.submit(b"never uploaded", digest_of(names), ())
        assert again.batch_id == made.batch_id
        states = [opened.state(made.batch_id) for _ in range(3)]
        assert [state.final for state in states] == [False, False, True]
        assert states[-1].done == 20
        found = list(opened.replies(states[-1], datetime.now(UTC) - timedelta(hours=30)))
        opened.remove(made.input_file_id)
        opened.remove(made.input_file_id)
        stats = endpoint.stats()
    assert sorted(outcome.call_id for outcome in found) == sorted(names)
    replies = [outcome for outcome in found if isinstance(outcome, ChatReply)]
    failures = [outcome for outcome in found if isinstance(outcome, CallFailure)]
    assert len(replies) == stats["replies"]["complete"] < stats["arrivals"] == 20
    assert {failure.retryable for failure in failures} == {True}
    assert all("HTTP 429" in failure.message or "HTTP 500" in failure.message for failure in failures)
    assert all("records" in reply.text and reply.mode == "json_schema" for reply in replies)
    assert sum(reply.completion_tokens or 0 for reply in replies) == stats["completion_tokens"]
    assert {outcome.attempts for outcome in found} == {1}
    assert all(30 * 3600 <= outcome.latency < 30 * 3600 + 60 for outcome in found)


@pytest.mark.parametrize(
    ("text", "error", "retryable", "said"),
    [
        (answered("a", {"error": {"message": "slow down"}}, 429), "ModelUnavailableError", True, "429: slow down"),
        (answered("a", {"error": {"message": "late"}}, 408), "ModelUnavailableError", True, "HTTP 408: late"),
        (answered("a", {"error": {"message": "busy"}}, 409), "ModelUnavailableError", True, "HTTP 409: busy"),
        (answered("a", "oops", 503), "ModelUnavailableError", True, "HTTP 503: no reply"),
        (answered("a", {"error": {"message": "bad format"}}, 400), "ModelRefusedError", False, "400: bad format"),
        (line("a", None, {"code": "batch_expired", "message": "too late"}), "ModelUnavailableError", True, "too late"),
        (line("a", None, {"code": "batch_cancelled"}), "ModelUnavailableError", True, "batch_cancelled"),
        (line("a", None, {"code": "500", "message": "oops"}), "ModelUnavailableError", True, "HTTP 500: oops"),
        (line("a", None, {"code": "odd", "message": "no"}), "ModelRefusedError", False, "no"),
        (line("a", None, "words"), "ModelRefusedError", False, "words"),
        (line("a"), "ModelRefusedError", False, "no reply and no reason"),
        (answered("a", chat("half", "content_filter").body), "ModelRefusedError", False, "content filter"),
        (answered("a", chat(None, refusal="I will not").body), "ModelRefusedError", False, "I will not"),
        (answered("a", {"choices": []}), "ModelUnavailableError", True, "no chat completion"),
    ],
)
def test_what_is_no_reply_is_a_typed_failure(api: Any, text: str, error: str, retryable: bool, said: str) -> None:
    (found,) = outcomes(api(serving(text))).values()
    assert isinstance(found, CallFailure)
    assert (found.call_id, found.error, found.retryable, found.attempts) == ("a", error, retryable, 1)
    assert said in found.message
    assert "'m1' in a batch at http://127.0.0.1" in found.message
    assert found.uncertain == ("no chat completion" in said)


def test_lines_that_say_nothing_are_left_out(api: Any) -> None:
    good = answered("a", chat("é\u2028🥞 " + GOOD).body)
    found = outcomes(api(serving("", "no json", "[]", '{"custom_id": 3}', good, "  ")), ago=-5)
    assert found.keys() == {"a"}
    reply = found["a"]
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("é\u2028🥞 " + GOOD, 11, 5)
    assert reply.latency == 0.0  # a clock that was put back makes no negative time


def test_no_reply_and_no_message_holds_the_key(api: Any) -> None:
    bad = answered("b", {"error": {"message": f"the key {KEY} is odd"}}, 400)
    found = outcomes(api(serving(answered("a", chat(f"your key is {KEY}").body), bad)))
    assert found["a"].text == "your key is [key]"
    assert "the key [key] is odd" in found["b"].message

    def refuse(method: str, path: str, body: bytes) -> Answer:
        if method == "GET" and path == "/v1/batches/b":
            return Answer(shown("failed", errors={"data": [{"message": f"{KEY} is no model", "line": 7, "code": "x"}]}))
        return error(400, f"no batches for {KEY}")

    opened = api(refuse)
    assert opened.state("b").problem == "[key] is no model (line 7)"
    with pytest.raises(ModelRefusedError, match=r"the list of batches at .* no batches for \[key\]") as caught:
        opened.submit(b"", "d", ())
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_the_api_is_a_configuration_error(api: Any, status: int) -> None:
    opened = api(lambda *_: error(status, "what?"))
    with pytest.raises(ConfigError, match=r"has no batch API \(HTTP .*what\?\); leave llm.batch \(--batch\) out\.$"):
        opened.submit(b"", "d", ())
    with pytest.raises(AbsentError):
        opened.find("d", ())
    with pytest.raises(AbsentError):
        opened.state("batch_1")
    with pytest.raises(AbsentError):
        outcomes(opened)
    opened.remove("file-1")


def test_a_wrong_key_is_said_to_be_wrong(api: Any) -> None:
    opened = api(lambda *_: error(401, "who are you?"))
    for use in (lambda: opened.submit(b"", "d", ()), lambda: opened.state("b"), lambda: opened.remove("file-1")):
        with pytest.raises(ModelAuthError, match="refused the key from THE_KEY"):
            use()


@pytest.mark.parametrize("answer", [b"<html>welcome</html>", b"[1]", b'{"object": "batch"}'])
def test_a_200_that_is_no_batch_may_pass(api: Any, answer: bytes) -> None:
    with pytest.raises(ModelUnavailableError, match=r"answered .*"):
        api(lambda *_: Answer(answer)).state("batch_1")


@pytest.mark.parametrize("patience", [0.0, 30.0])
def test_a_poll_that_fails_is_tried_again_for_as_long_as_is_said(api: Any, patience: float) -> None:
    left = [error(500, "oops"), error(429, "slow"), Answer(b"<html>"), Answer(shown("in_progress"))]
    opened = api(lambda *_: left.pop(0), patience=patience)
    if patience:
        assert opened.state("batch_1").status == "in_progress"
    else:
        with pytest.raises(ModelUnavailableError, match="oops"):
            opened.state("batch_1")
        assert len(left) == 3


def test_a_download_that_fails_is_tried_again(api: Any) -> None:
    left = [error(503, "busy"), Answer(answered("a", chat(GOOD).body).encode())]
    assert outcomes(api(lambda *_: left.pop(0), patience=30.0))["a"].text == GOOD


def creating(listed: list[dict[str, Any]], *created: Answer) -> Behaviour:
    """A provider that lists these batches, and answers so to those that want to make one."""
    left = list(created)

    def behave(method: str, path: str, body: bytes) -> Answer:
        match method, path:
            case "GET", "/v1/batches":
                return Answer({"object": "list", "data": listed, "has_more": False})
            case "POST", "/v1/files":
                return Answer({"id": "file-9"})
            case "POST", "/v1/batches":
                found = left.pop(0)
                if found.status == 504:  # it was made, and its answer lost
                    listed.append(shown(metadata={"synalign": "d"}, input_file_id="file-9"))
                return found
        return Answer({"deleted": True})

    return behave


def test_a_batch_whose_making_was_not_confirmed_is_not_made_twice(api: Any) -> None:
    opened = api(creating([], error(504, "gateway")), max_attempts=3)
    assert opened.submit(b"x", "d", ()).batch_id == "batch_1"
    asked = ["GET /v1/batches", "POST /v1/files", "POST /v1/batches", "GET /v1/batches"]
    assert opened.provider.asked == asked


def test_whether_it_may_have_been_made_is_said(api: Any) -> None:
    opened = api(creating([], error(429, "slow"), error(429, "slow")), max_attempts=2)
    with pytest.raises(ModelUnavailableError) as caught:
        opened.submit(b"x", "d", ())
    assert not caught.value.uncertain
    assert opened.provider.asked.count("POST /v1/files") == 1
    assert opened.provider.asked[-1] == "DELETE /v1/files/file-9"  # nobody needs what was uploaded
    opened = api(creating([], Answer(b"<html>")))
    with pytest.raises(ModelUnavailableError) as caught:
        opened.submit(b"x", "d", ())
    assert caught.value.uncertain
    assert "DELETE /v1/files/file-9" not in opened.provider.asked
    late = api(lambda *_: Answer(b"", delay=0.5), timeout=0.1)
    with pytest.raises(ModelUnavailableError, match="did not answer") as caught:
        late.submit(b"x", "d", ())
    assert not caught.value.uncertain  # only looked for


@pytest.mark.parametrize(
    ("listed", "taken"),
    [
        ({}, True),
        ({"status": "completed", "output_file_id": "file-2"}, True),
        ({"status": "expired", "output_file_id": "file-2"}, True),
        ({"status": "expired"}, False),
        ({"status": "failed"}, False),
        ({"status": "cancelled"}, False),
        ({"id": "batch_0"}, False),
        ({"metadata": {"synalign": "e"}}, False),
        ({"metadata": None}, False),
    ],
)
def test_which_batch_is_taken_for_ours(api: Any, listed: dict[str, Any], taken: bool) -> None:
    found = api(creating([shown(metadata={"synalign": "d"}) | listed])).find("d", {"batch_0"})
    assert (found is not None) == taken


def test_a_list_of_many_pages_is_looked_through_up_to_a_limit(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_PAGE", 2)
    monkeypatch.setattr(batch, "RECENT", 6)
    with closing(Endpoint()) as endpoint:
        opened = api(endpoint.url)
        for number in range(8):
            opened.submit(opened.pack([ask(str(number))])[1], f"d{number}", ())
        assert opened.find("d2", ()) is not None
        assert opened.find("d1", ()) is None


@pytest.mark.parametrize(
    ("errors", "said", "passing"),
    [
        (None, "no reason was given", False),
        ({"data": [{"code": "odd", "message": None, "line": None}]}, "odd", False),
        ({"data": [{"message": "m", "line": n} for n in range(4)]}, "m; m (line 1); m (line 2), and 1 more", False),
        ({"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit"}]}, "Enqueued token limit", True),
    ],
)  # fmt: skip
def test_why_a_batch_was_not_taken(api: Any, errors: Any, said: str, passing: bool) -> None:
    state = api(lambda *_: Answer(shown("failed", errors=errors, request_counts=None))).state("batch_1")
    assert (state.problem, state.passing, state.final, state.done) == (said, passing, True, 0)
