"""Requests have names by content; run_calls hands over each outcome, in the caller's thread, and stops when told to."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import synalign
from synalign.config import Llm
from synalign.errors import ConfigError, ModelRefusedError, ModelUnavailableError
from synalign.llm.chat import CallFailure, ChatReply, ChatRequest, run_calls
from synalign.llm.client import OpenAIChat
from synalign.llm.models import open_model
from synalign.llm.ngram import NgramModel
from synalign.llm.replay import ReplayModel
from tests.llm.server import Server, chat, error


def ask(user: str) -> ChatRequest:
    return ChatRequest("m", None, "s", user, "n", {"type": "object"})


class Echo:
    """A model in this process: answers with the request's text, fails where that says so; keeps what it saw."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closed = False

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.asked.append(request.user)
        await asyncio.sleep(0)
        if "refuse" in request.user:
            raise ModelRefusedError("not this one")
        if "away" in request.user:
            raise ModelUnavailableError("gone")
        if "bug" in request.user:
            raise ZeroDivisionError
        if "hang" in request.user:
            await asyncio.sleep(3600)
        return ChatReply(request.call_id, request.user, "stop", None, None, 1, 0.0, "text")

    async def close(self) -> None:
        self.closed = True


def run(users: list[str], concurrency: int = 2, **values: Any) -> tuple[Echo, list[Any]]:
    model, outcomes = Echo(), list[Any]()
    run_calls(lambda: model, [ask(user) for user in users], outcomes.append, concurrency=concurrency, **values)
    return model, outcomes


def test_a_call_is_named_by_all_that_decides_its_reply() -> None:
    base = ask("u")
    assert base.call_id == ask("u").call_id
    changes: dict[str, Any] = {
        "model": "x", "base_url": "http://x", "system": "x", "user": "x", "schema_name": "x", "schema": {"type": "x"},
        "temperature": 0.0, "max_tokens": 5, "seed": 0, "count": 1, "recording": "x",
    }  # fmt: skip
    assert set(changes) == {field.name for field in dataclasses.fields(ChatRequest)}
    names = {dataclasses.replace(base, **{name: value}).call_id for name, value in changes.items()}
    assert len(names | {base.call_id}) == len(changes) + 1


def test_the_name_of_a_call_never_changes() -> None:
    assert ask("u").call_id == PINNED


PINNED = "2650c08667927af7dc045a1346c604ff"


def test_outcomes_are_handed_over_in_the_callers_thread() -> None:
    threads: set[int] = set()
    model = Echo()
    requests = [ask(str(number)) for number in range(30)]
    run_calls(lambda: model, requests, lambda _: threads.add(threading.get_ident()), concurrency=4)
    assert threads == {threading.get_ident()}
    assert sorted(model.asked, key=int) == [str(number) for number in range(30)]
    assert model.closed


def test_equal_requests_are_sent_once() -> None:
    model, outcomes = run(["a", "b", "a", "a"])
    assert sorted(model.asked) == ["a", "b"]
    assert len(outcomes) == 2


def test_nothing_to_send_opens_no_model() -> None:
    def factory() -> Echo:
        raise AssertionError("opened")

    run_calls(factory, [], print, concurrency=1)


def test_one_failure_does_not_stop_the_others() -> None:
    _, outcomes = run(["a", "refuse", "away", "b"], concurrency=1)
    assert [type(outcome) for outcome in outcomes] == [ChatReply, CallFailure, CallFailure, ChatReply]
    refused, away = outcomes[1:3]
    assert (refused.error, refused.message, refused.retryable) == ("ModelRefusedError", "not this one", False)
    assert (away.error, away.retryable, away.attempts) == ("ModelUnavailableError", True, 1)
    assert refused.call_id == ask("refuse").call_id


def test_a_reply_in_between_starts_the_count_of_unavailable_anew() -> None:
    users = ["away1", "away2", "ok1", "away3", "away4", "refuse", "away5", "away6"]
    assert len(run(users, concurrency=1)[1]) == len(users)
    with pytest.raises(ModelUnavailableError, match="3 requests in a row"):
        run([*users, "away7", "never"], concurrency=1)


def test_refusals_in_a_row_stop_all_while_nothing_was_ever_answered() -> None:
    users = [f"refuse{number}" for number in range(50)]
    model, outcomes = Echo(), list[Any]()
    with pytest.raises(ModelRefusedError, match=r"6 requests in a row were refused.*not this one.*asks again"):
        run_calls(lambda: model, [ask(user) for user in users], outcomes.append, concurrency=2)
    assert 6 <= len(outcomes) == len({outcome.call_id for outcome in outcomes}) <= 8
    assert len(model.asked) <= 8
    assert model.closed
    assert len(run(["ok", *users], concurrency=2)[1]) == 51
    assert len(run(users, concurrency=2, answered=True)[1]) == 50
    assert len(run([*users[:5], "away", *users[5:10]], concurrency=2)[1]) == 11


def test_the_place_of_a_request_is_free_only_after_it_is_handed_over() -> None:
    model = Echo()
    ahead: list[int] = []

    def slow(outcome: Any) -> None:
        threading.Event().wait(0.005)
        ahead.append(len(model.asked) - len(ahead))

    run_calls(lambda: model, [ask(str(number)) for number in range(20)], slow, concurrency=3)
    assert max(ahead) <= 3


def test_an_error_of_the_callback_stops_all_and_is_raised() -> None:
    model, calls = Echo(), list[Any]()

    def fail(outcome: Any) -> None:
        calls.append(outcome)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_calls(lambda: model, [ask(str(number)) for number in range(100)], fail, concurrency=2)
    assert len(calls) == 1
    assert len(model.asked) <= 3
    assert model.closed


def test_a_bug_in_a_model_is_not_a_failure_of_one_request() -> None:
    with pytest.raises(ZeroDivisionError):
        run(["a", "bug", "b"])


def test_an_error_of_the_factory_is_raised() -> None:
    def factory() -> Echo:
        raise ConfigError("no such model")

    with pytest.raises(ConfigError, match="no such model"):
        run_calls(factory, [ask("a")], print, concurrency=1)


def test_it_works_inside_a_running_event_loop() -> None:
    async def notebook() -> list[Any]:
        return run(["a", "b", "c"])[1]

    assert len(asyncio.run(notebook())) == 3


def test_it_works_outside_the_main_thread() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(run(["a", "b"])[1]))
    thread.start()
    thread.join(10)
    assert len(found) == 2


INTERRUPTED = """
import sys
from pathlib import Path
from synalign.config import Llm
from synalign.llm.chat import ChatRequest, run_calls
from synalign.llm.models import open_model

def take(outcome):
    with open(sys.argv[2], "a") as file:
        file.write(outcome.text + "\\n")

settings = Llm(model="m", base_url=sys.argv[1], api_key_env="NO_SUCH_KEY")
requests = [ChatRequest("m", None, "s", str(n), "n", {"type": "object"}) for n in range(200)]
try:
    run_calls(lambda: open_model(settings, Path()), requests, take, concurrency=4)
except KeyboardInterrupt:
    sys.exit(77)
"""


def test_ctrl_c_stops_at_once_and_loses_no_reply(serve: Any, tmp_path: Path) -> None:
    server: Server = serve(lambda body, n: chat(f"reply {n}", delay=0.0 if n < 10 else 60.0))
    environment = os.environ | {"PYTHONPATH": str(Path(synalign.__file__).parents[1])}
    ledger = tmp_path / "ledger.txt"
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, server.url, str(ledger)], env=environment)
    server.wait_for(14)  # ten answered, and four that hang
    started = time.monotonic()
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=20) == 77
    assert time.monotonic() - started < 5
    assert sorted(ledger.read_text().split("\n")) == sorted([f"reply {n}" for n in range(10)] + [""])
    assert len(server.bodies) == 14


def test_ctrl_c_waits_for_the_callback(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def interrupted(outcome: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(0.05)
        outcomes.append(outcome.text)

    model = Echo()
    with pytest.raises(KeyboardInterrupt):
        run_calls(lambda: model, [ask("a"), ask("hang")], interrupted, concurrency=2)
    assert outcomes == ["a"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert model.closed


def test_a_failure_counts_its_attempts(serve: Any) -> None:
    server: Server = serve(lambda body, number: error(500, "broken"))
    settings = Llm(model="m", base_url=server.url, api_key_env="NO_SUCH_KEY", max_attempts=3)
    outcomes: list[Any] = []
    run_calls(lambda: OpenAIChat(settings, {}), [ask("a")], outcomes.append, concurrency=1)
    assert (outcomes[0].error, outcomes[0].attempts) == ("ModelUnavailableError", 3)
    assert outcomes[0].latency > 0


def test_the_configured_name_picks_the_model(tmp_path: Path) -> None:
    (tmp_path / "rec.jsonl").write_text("")
    assert isinstance(open_model(Llm(), tmp_path), NgramModel)
    assert isinstance(open_model(Llm(model="replay/rec.jsonl"), tmp_path), ReplayModel)
    assert isinstance(open_model(Llm(model="org/name", base_url="http://localhost:1/v1"), tmp_path), OpenAIChat)


@pytest.mark.parametrize(
    ("name", "says"), [("builtin/gpt", "builtin/ngram"), ("replay/", "replay/FILE"), ("replay/no.jsonl", "no.jsonl")]
)
def test_a_name_that_picks_none_is_a_configuration_error(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_model(Llm(model=name), tmp_path)


def test_importing_costs_neither_openai_nor_jinja2() -> None:
    code = (
        "import sys, synalign.llm.chat, synalign.llm.prompts, synalign.llm.client, synalign.llm.encoders, "
        "synalign.llm.ngram, synalign.llm.replay, synalign.llm.parsing, synalign.llm.acceptance\n"
        "sys.exit(bool({'openai', 'jinja2', 'numpy', 'httpx2'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(synalign.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
