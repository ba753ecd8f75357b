"""run_calls asks before it sends what costs, and Ctrl-C loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import synalign
from synalign.config import Llm
from synalign.errors import (
    BudgetError,
    ModelAuthError,
    SynAlignError,
)
from synalign.llm.transport import engine
from synalign.llm.transport.chat import ChatRequest
from synalign.llm.transport.engine import run_calls
from tests.llm.calling import Echo, Kept, Moody, ask, many, run
from tests.llm.server import Answer, Server, chat

# Grants


class Purse:
    """Grants while there is something left, gives back what ended; keeps what it was asked."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.granted: list[str] = []
        self.released: list[str] = []
        self.outcomes: list[Any] = []

    def grant(self, request: ChatRequest) -> bool:
        if self.left < 1:
            return False
        self.left -= 1
        self.granted.append(request.user)
        return True

    def keep(self, outcomes: Sequence[Any]) -> None:
        self.outcomes.extend(outcomes)
        self.left += sum(not getattr(outcome, "uncertain", False) for outcome in outcomes)

    def run(self, model: Any, requests: list[ChatRequest], **values: Any) -> None:
        settings = Llm(model="m", **values)
        run_calls(lambda: model, requests, self.keep, settings=settings, grant=self.grant, release=self.released.extend)


def test_no_request_is_sent_without_a_grant_and_a_no_waits_for_others() -> None:
    purse, model = Purse(2), Echo()
    purse.run(model, many(20), concurrency=8)
    assert len(purse.outcomes) == 20
    assert sorted(purse.granted) == sorted(model.asked)
    assert purse.released == []


def test_a_no_while_nothing_is_under_way_ends_all(quick: None) -> None:
    purse, model = Purse(0), Echo()
    with pytest.raises(BudgetError):
        purse.run(model, many(20), concurrency=4)
    assert model.asked == []


def test_a_request_that_may_have_been_billed_is_granted_again(quick: None) -> None:
    moody = Moody({"0": ["hang", "broken", "broken"]}, 0)
    purse = Purse(10)
    purse.run(moody, many(1), concurrency=1, max_attempts=5)
    assert moody.asked == {"0": 4}
    assert purse.granted == ["0", "0"]


def test_requests_that_wait_for_a_second_grant_do_not_wait_for_each_other(quick: None) -> None:
    """All that is left was granted to four requests, and all four hang: none of them can be sent again."""
    moody = Moody({str(number): ["hang"] for number in range(8)}, 0)
    purse = Purse(4)
    ended: list[Any] = []

    def work() -> None:
        try:
            purse.run(moody, many(8), concurrency=4, max_attempts=5)
        except SynAlignError as found:
            ended.append(found)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert [type(found) for found in ended] == [BudgetError]
    assert sum(moody.asked.values()) == 4


@pytest.mark.parametrize("answered", [False, True])
def test_what_was_granted_and_not_sent_is_released(answered: bool) -> None:
    """A wrong key costs nothing, however many requests were about to be sent."""
    purse, model = Purse(1000), Echo()
    users = [*(["first"] if answered else []), "key", *(f"key{number}" for number in range(30))]
    with pytest.raises(ModelAuthError):
        purse.run(model, [ask(user) for user in users], concurrency=4)
    ended = {outcome.call_id for outcome in purse.outcomes}
    unsent = {ask(user).call_id for user in purse.granted if user not in model.asked}
    assert unsent <= set(purse.released)
    assert ask("key").call_id in purse.released
    assert not ended & set(purse.released)
    assert len(purse.released) == len(set(purse.released))


def test_what_was_dropped_while_it_was_under_way_is_not_released() -> None:
    purse, model = Purse(1000), Echo()
    with pytest.raises(ZeroDivisionError):
        purse.run(model, [ask("hang"), ask("bug")], concurrency=2)
    assert not {ask("hang").call_id, ask("bug").call_id} & set(purse.released)


# Ctrl-C

INTERRUPTED = """
import sys, time
from pathlib import Path
from synalign.config import Llm
from synalign.llm.transport.chat import ChatRequest
from synalign.llm.transport.engine import run_calls
from synalign.llm.models import open_model

def take(outcomes):
    with open(sys.argv[2], "a") as file:
        for outcome in outcomes:
            file.write("begin ")
            time.sleep(0.02)
            file.write(outcome.text + "\\n")

settings = Llm(model="m", base_url=sys.argv[1], api_key_env="NO_SUCH_KEY", concurrency=4)
requests = [ChatRequest("m", None, "s", str(n), "n", {"type": "object"}) for n in range(200)]
try:
    run_calls(lambda: open_model(settings, Path()), requests, take, settings=settings,
              notice=lambda text: print(text, flush=True))
except KeyboardInterrupt:
    sys.exit(77)
"""


class Interrupted:
    """A child process that sends requests and is interrupted; ten replies come at once, the others as told."""

    def __init__(self, serve: Any, folder: Path, later: threading.Event) -> None:
        def behave(body: dict[str, Any], number: int) -> Answer:
            if number >= 10:
                later.wait(30)
            return chat(f"reply {number}")

        self.server: Server = serve(behave)
        self.ledger = folder / "ledger.txt"
        self.child = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, self.server.url, str(self.ledger)],
            env=os.environ | {"PYTHONPATH": str(Path(synalign.__file__).parents[1])},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.server.wait_for(14)  # ten answered, and four that wait

    def press(self) -> None:
        self.child.send_signal(signal.SIGINT)

    def notice(self) -> str:
        assert self.child.stdout is not None
        return self.child.stdout.readline()

    def end(self) -> list[str]:
        """Return what was handed over."""
        assert self.child.wait(timeout=30) == 77
        assert self.child.stdout is not None
        self.child.stdout.close()
        return sorted(self.ledger.read_text().splitlines())


def test_ctrl_c_sends_nothing_more_and_loses_no_reply(serve: Any, tmp_path: Path) -> None:
    later = threading.Event()
    run = Interrupted(serve, tmp_path, later)
    run.press()
    assert "Waiting for 4 calls under way. Ctrl-C again drops them." in run.notice()
    later.set()
    assert run.end() == sorted(f"begin reply {number}" for number in range(14))
    assert len(run.server.bodies) == 14


def test_a_second_ctrl_c_drops_what_is_under_way(serve: Any, tmp_path: Path) -> None:
    later = threading.Event()
    run = Interrupted(serve, tmp_path, later)
    run.press()
    assert "Waiting for 4 calls" in run.notice()
    run.press()
    assert run.end() == sorted(f"begin reply {number}" for number in range(10))
    assert len(run.server.bodies) == 14
    later.set()


def test_ctrl_c_waits_for_the_callback() -> None:
    kept: list[str] = []

    def interrupted(outcomes: Sequence[Any]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(0.05)
        kept.extend(outcome.text for outcome in outcomes)

    model = Echo()
    with pytest.raises(KeyboardInterrupt):
        run_calls(lambda: model, [ask("a"), ask("slow")], interrupted, settings=Llm(concurrency=2))
    assert kept[0] == "a"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert model.closed


def test_ctrl_c_at_the_very_end_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = engine.concurrent.futures.wait

    def interrupted(*given: Any, **named: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return wait(*given, **named)

    monkeypatch.setattr(engine.concurrent.futures, "wait", interrupted)
    kept = Kept()
    with pytest.raises(KeyboardInterrupt):
        run_calls(Echo, many(3), kept, settings=Llm(concurrency=2))
    assert len(kept.texts) == 3


def test_another_handler_of_ctrl_c_is_left_alone() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        _, outcomes = run(["a", "b"], act=lambda _: os.kill(os.getpid(), signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(outcomes) == 2
    assert seen
