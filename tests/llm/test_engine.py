"""run_calls: each request has one outcome, in the caller's thread; what may pass is tried again as the server asks."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import synalign
from synalign.config import Llm
from synalign.errors import (
    BudgetError,
    ConfigError,
    ModelAuthError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
    SynAlignError,
)
from synalign.llm import engine, limits
from synalign.llm.chat import CallFailure, ChatReply, ChatRequest
from synalign.llm.client import OpenAIChat
from synalign.llm.engine import run_calls
from tests.llm.endpoint import Endpoint
from tests.llm.server import Answer, Server, chat, error


def ask(user: str) -> ChatRequest:
    return ChatRequest("m", None, "s", user, "n", {"type": "object"})


def many(count: int) -> list[ChatRequest]:
    return [ask(str(number)) for number in range(count)]


class Echo:
    """A model in this process: answers with the request's text, fails where that says so; keeps what it saw."""

    def __init__(self, act: Callable[[ChatRequest], None] | None = None) -> None:
        self.asked: list[str] = []
        self.closed = False
        self.act = act

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.asked.append(request.user)
        await asyncio.sleep(0)
        if self.act is not None:
            self.act(request)
        if "refuse" in request.user:
            raise ModelRefusedError("not this one")
        if "away" in request.user:
            raise ModelUnavailableError("gone")
        if "key" in request.user:
            raise ModelAuthError("wrong key")
        if "bug" in request.user:
            raise ZeroDivisionError
        if "hang" in request.user:
            await asyncio.sleep(3600)
        if "slow" in request.user:
            await asyncio.sleep(0.3)
        return ChatReply(request.call_id, request.user, "stop", None, None, 1, 0.0, "text")

    async def close(self) -> None:
        self.closed = True


class Kept:
    """Outcomes, in the order in which they were handed over."""

    def __init__(self) -> None:
        self.outcomes: list[Any] = []
        self.sizes: list[int] = []

    def __call__(self, outcomes: Sequence[Any]) -> None:
        self.outcomes.extend(outcomes)
        self.sizes.append(len(outcomes))

    @property
    def texts(self) -> list[str]:
        return [outcome.text for outcome in self.outcomes if isinstance(outcome, ChatReply)]

    @property
    def failures(self) -> list[CallFailure]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, CallFailure)]


def run(users: Sequence[str], concurrency: int = 2, act: Any = None, **values: Any) -> tuple[Echo, list[Any]]:
    model, kept = Echo(act), Kept()
    given = {name: values.pop(name) for name in ("answered", "grant", "release", "notice") if name in values}
    settings = Llm(model="m", concurrency=concurrency, **{"max_attempts": 1} | values)
    run_calls(lambda: model, [ask(user) for user in users], kept, settings=settings, **given)
    return model, kept.outcomes


def at(url: str, **values: Any) -> Llm:
    return Llm(model="m", base_url=url, api_key_env="NO_SUCH_KEY", **{"timeout": 10.0} | values)


def call(url: str, requests: list[ChatRequest], kept: Kept | None = None, **values: Any) -> Kept:
    """Have requests answered by a server."""
    kept = Kept() if kept is None else kept
    given = {name: values.pop(name) for name in ("answered", "notice") if name in values}
    settings = at(url, **values)
    run_calls(lambda: OpenAIChat(settings, {}), requests, kept, settings=settings, **given)
    return kept


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second tries come at once, and pauses are short."""
    monkeypatch.setattr(engine, "_WAIT", 0.001)
    monkeypatch.setattr(engine, "_LONGEST", 0.01)
    monkeypatch.setattr(limits, "_PAUSE", 0.01)
    monkeypatch.setattr(limits, "_LONGEST_PAUSE", 0.05)


@pytest.fixture
def start() -> Iterator[Callable[..., Endpoint]]:
    """Start endpoints in processes of their own."""
    endpoints: list[Endpoint] = []

    def begin(**options: Any) -> Endpoint:
        endpoints.append(Endpoint(**options))
        return endpoints[-1]

    yield begin
    for endpoint in endpoints:
        endpoint.close()


# Outcomes


def test_outcomes_are_handed_over_in_the_callers_thread() -> None:
    threads: set[int] = set()
    model = Echo()
    run_calls(lambda: model, many(30), lambda _: threads.add(threading.get_ident()), settings=Llm(concurrency=4))
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

    run_calls(factory, [], lambda _: None, settings=Llm())


def test_one_failure_does_not_stop_the_others(quick: None) -> None:
    model, outcomes = run(["a", "refuse", "away", "b"], concurrency=1, max_attempts=3)
    found = {outcome.call_id: outcome for outcome in outcomes}
    assert Counter(model.asked) == {"a": 1, "refuse": 1, "away": 3, "b": 1}
    refused, away = (found[ask(user).call_id] for user in ("refuse", "away"))
    assert (refused.error, refused.message, refused.retryable, refused.attempts) == (
        *("ModelRefusedError", "not this one", False),
        1,
    )
    assert (away.error, away.retryable, away.attempts) == ("ModelUnavailableError", True, 3)
    assert sorted(outcome.text for outcome in outcomes if isinstance(outcome, ChatReply)) == ["a", "b"]


def test_a_reply_says_how_many_requests_were_sent_for_it(quick: None) -> None:
    left = Counter({"a": 2})

    def act(request: ChatRequest) -> None:
        if left[request.user] > 0:
            left[request.user] -= 1
            raise ModelUnavailableError("not yet")

    _, outcomes = run(["a", "b"], act=act, max_attempts=5)
    assert {outcome.text: outcome.attempts for outcome in outcomes} == {"a": 3, "b": 1}


class Moody:
    """Fails as a script says: for each request, what comes of its tries one after the other, then an answer."""

    def __init__(self, script: dict[str, list[str]], seed: int) -> None:
        self.script = {user: list(moods) for user, moods in script.items()}
        self.rng = random.Random(seed)
        self.asked: Counter[str] = Counter()
        self.under_way = self.most = 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.asked[request.user] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for _ in range(self.rng.randrange(4)):
                await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        moods = self.script[request.user]
        mood = moods.pop(0) if moods else "answer"
        if mood == "answer":
            return ChatReply(request.call_id, request.user, "stop", 1, 1, 1, 0.0, "text")
        if mood == "refuse":
            raise ModelRefusedError("no")
        raise ModelUnavailableError(
            mood,
            overloaded=mood == "busy",
            retry_after=0.001 if mood == "wait" else None,
            uncertain=mood == "hang",
        )

    async def close(self) -> None:
        pass


moods = st.lists(st.sampled_from(["refuse", "busy", "wait", "hang", "broken"]), max_size=4)


@hypothesis_settings(deadline=None, max_examples=40)
@given(st.lists(moods, min_size=1, max_size=25), st.integers(1, 6), st.integers(1, 4), st.integers(0, 1000))
def test_every_request_has_exactly_one_outcome(
    scripts: list[list[str]], concurrency: int, attempts: int, seed: int
) -> None:
    """And it is the one that follows from what its own tries met, whatever the others met."""
    script = {f"{number}": moods for number, moods in enumerate(scripts)}
    model, kept = Moody(script, seed), Kept()
    settings = Llm(model="m", concurrency=concurrency, max_attempts=attempts, patience=600)
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            *((engine, "_WAIT", 0.0001), (engine, "_LONGEST", 0.001), (engine, "_GATHER", 0.0001)),
            *((limits, "_PAUSE", 0.0001), (limits, "_LONGEST_PAUSE", 0.0002), (engine, "GIVE_UP_AFTER", 10**6)),
            (engine, "REFUSED_FACTOR", 10**6),
        ):
            patch.setattr(module, name, value)
        run_calls(lambda: model, [ask(user) for user in script], kept, settings=settings)
    assert Counter(outcome.call_id for outcome in kept.outcomes) == {ask(user).call_id: 1 for user in script}
    assert model.most <= concurrency
    for user in script:
        (outcome,) = [found for found in kept.outcomes if found.call_id == ask(user).call_id]
        met = [*script[user], "answer"][: model.asked[user]]
        assert outcome.attempts == len(met)
        assert not {"refuse", "answer"} & set(met[:-1])
        if met[-1] == "answer":
            assert outcome.text == user
        else:
            assert outcome.retryable == (met[-1] != "refuse")
            assert outcome.uncertain == (met[-1] == "hang")
            assert met[-1] == "refuse" or len(met) >= attempts


def test_outcomes_that_come_together_are_handed_over_together() -> None:
    kept = Kept()
    run_calls(Echo, many(200), kept, settings=Llm(concurrency=64))
    assert sum(kept.sizes) == 200
    assert len(kept.sizes) < 100


def test_no_more_wait_to_be_handed_over_than_the_concurrency() -> None:
    model = Echo()
    ahead: list[int] = []
    taken = 0

    def slow(outcomes: Sequence[Any]) -> None:
        nonlocal taken
        threading.Event().wait(0.02)
        ahead.append(len(model.asked) - taken)
        taken += len(outcomes)

    run_calls(lambda: model, many(60), slow, settings=Llm(concurrency=3))
    assert taken == 60
    assert max(ahead) <= 3 * 3  # three that wait, and twice the concurrency under way or about to be tried again


# Giving up


def test_requests_given_up_before_any_answer_end_all(quick: None) -> None:
    users = [f"away{number}" for number in range(20)]
    with pytest.raises(ModelUnavailableError, match=r"Nothing was answered and 3 given up after at most 2 tries.*gone"):
        run(users, concurrency=1, max_attempts=2)
    few = users[: limits.BREAK_AFTER - 1]  # more in a row are an outage
    assert len(run(few, concurrency=1, answered=True)[1]) == len(few)
    assert len(run(["ok", *few], concurrency=1)[1]) == 1 + len(few)


def test_refusals_in_a_row_stop_all_while_nothing_was_ever_answered() -> None:
    users = [f"refuse{number}" for number in range(50)]
    model, kept = Echo(), Kept()
    with pytest.raises(ModelRefusedError, match=r"6 requests were refused.*not this one.*asks again"):
        run_calls(lambda: model, [ask(user) for user in users], kept, settings=Llm(concurrency=2))
    assert 6 <= len(kept.outcomes) == len({outcome.call_id for outcome in kept.outcomes}) <= 10
    assert len(model.asked) <= 10
    assert model.closed
    assert len(run(["ok", *users], concurrency=2)[1]) == 51
    assert len(run(users, concurrency=2, answered=True)[1]) == 50


def test_a_dead_port_is_given_up_after_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are a fortieth of what they are: it takes less than half a minute, not the four minutes of three
    requests that are tried five times each."""
    monkeypatch.setattr(engine, "_WAIT", engine._WAIT / 40)
    for module, name in ((limits, "_PAUSE"), (limits, "_LONGEST_PAUSE"), (engine, "_HOPELESS")):
        monkeypatch.setattr(module, name, getattr(module, name) / 40)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    for concurrency in (1, 2, 16):
        kept, started = Kept(), time.monotonic()
        with pytest.raises(ModelUnavailableError, match=r"cannot be reached.*base_url.*Run the step again"):
            call(url, many(500), kept, concurrency=concurrency)
        assert time.monotonic() - started < 40 / 40 + 3
        assert len(kept.outcomes) <= 3
        assert all(failure.error == "ModelUnavailableError" for failure in kept.outcomes)


def test_a_wrong_key_aborts_the_rest(serve: Any) -> None:
    server: Server = serve(lambda body, number: error(401, "bad key"))
    with pytest.raises(ModelAuthError, match="bad key"):
        call(server.url, many(50), concurrency=2)
    assert len(server.bodies) <= 3


def test_after_a_wrong_key_what_is_under_way_is_handed_over() -> None:
    """Once something was answered, requests under way may be answered as well, and are paid for."""
    kept = Kept()
    users = ["first", "slow1", "slow2", "key", *(str(number) for number in range(50))]
    with pytest.raises(ModelAuthError, match="wrong key"):
        run_calls(Echo, [ask(user) for user in users], kept, settings=Llm(concurrency=4))
    assert {"first", "slow1", "slow2"} <= set(kept.texts)
    assert len(kept.texts) < 50
    model = Echo()
    with pytest.raises(ModelAuthError):
        run_calls(lambda: model, [ask(user) for user in ("hang", "key", "a")], kept, settings=Llm(concurrency=2))
    assert model.closed


# Bugs of others


def test_an_error_of_the_callback_stops_all_and_is_raised() -> None:
    model, calls = Echo(), list[Any]()

    def fail(outcomes: Sequence[Any]) -> None:
        calls.append(outcomes)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_calls(lambda: model, many(100), fail, settings=Llm(concurrency=2))
    assert len(calls) == 1
    assert len(model.asked) <= 6
    assert model.closed


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_bug_in_a_model_is_not_a_failure_of_one_request(concurrency: int) -> None:
    with pytest.raises(ZeroDivisionError):
        run(["a", "bug", "hang", "b"], concurrency=concurrency)


@pytest.mark.parametrize("what", ["grant", "notice"])
def test_a_bug_in_another_callback_is_raised(what: str, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synalign.llm.gate._TELL", 0.0)

    def fail(_: Any) -> bool:
        raise LookupError(what)

    with pytest.raises(LookupError, match=what):
        run([f"away{number}" for number in range(40)], answered=True, max_attempts=3, **{what: fail})


def test_an_error_of_the_factory_is_raised() -> None:
    def factory() -> Echo:
        raise ConfigError("no such model")

    with pytest.raises(ConfigError, match="no such model"):
        run_calls(factory, [ask("a")], lambda _: None, settings=Llm())


def test_an_error_of_the_model_when_it_closes_is_raised_after_all_is_handed_over() -> None:
    class Bad(Echo):
        async def close(self) -> None:
            raise OSError("cannot close")

    kept = Kept()
    with pytest.raises(OSError, match="cannot close"):
        run_calls(Bad, many(5), kept, settings=Llm(concurrency=2))
    assert len(kept.texts) == 5


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


def test_nothing_is_left_behind() -> None:
    before = set(threading.enumerate())
    run(["a", "b"])
    with pytest.raises(ZeroDivisionError):
        run(["bug"])
    assert set(threading.enumerate()) <= before


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
from synalign.llm.chat import ChatRequest
from synalign.llm.engine import run_calls
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


# What a server asks for, over HTTP


class Clock:
    """Notes when requests arrive, and refuses those of the first second or as told."""

    def __init__(self, refusal: Answer, refuse: Callable[[int, float], bool]) -> None:
        self.times: list[float] = []
        self.refused: list[float] = []
        self._refusal, self._refuse = refusal, refuse
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any], number: int) -> Answer:
        now = time.monotonic()
        with self._lock:
            self.times.append(now)
            since = now - self.times[0]
            if self._refuse(number, since):
                self.refused.append(now)
                return self._refusal
        return chat("fine")


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_server_that_asks_for_a_pause_gets_it(serve: Any, concurrency: int) -> None:
    """All that arrive in the first second are refused with Retry-After 1: until a second after the first refusal only
    those come that were under way then, and nothing is asked twice in vain."""
    clock = Clock(error(429, "slow down", headers={"retry-after": "1"}), lambda _, since: since < 0.9)
    server: Server = serve(clock)
    kept = call(server.url, many(20), concurrency=concurrency)
    assert len(kept.texts) == 20
    early = [when for when in clock.times if when - clock.times[0] < 0.9]
    assert 1 <= len(early) <= concurrency
    assert len(clock.refused) == len(early)
    assert len(clock.times) == 20 + len(early)


def test_a_pause_may_be_asked_for_until_a_date(serve: Any) -> None:
    until = time.time() + 1.5
    refusal = error(429, "slow down", headers={"retry-after": formatdate(until, usegmt=True)})
    clock = Clock(refusal, lambda number, _: number == 0)
    server: Server = serve(clock)
    kept = call(server.url, many(3), concurrency=1)
    assert len(kept.texts) == 3
    assert clock.times[1] - clock.times[0] >= int(until) - until + 1.5 - 0.1  # dates have whole seconds


def test_one_refusal_among_answers_does_not_hold_up_the_others(serve: Any) -> None:
    clock = Clock(error(429, "one too many", headers={"retry-after": "1"}), lambda number, _: number == 3)

    def behave(body: dict[str, Any], number: int) -> Answer:
        answer = clock(body, number)
        time.sleep(0.05)
        return answer

    server: Server = serve(behave)
    kept = call(server.url, many(60), concurrency=8)
    assert len(kept.texts) == 60
    again = clock.times[-1] - clock.refused[0]
    assert again >= 0.99
    assert sum(0 < when - clock.refused[0] < 0.99 for when in clock.times) > 8  # more than were under way


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again(serve: Any, quick: None, status: int) -> None:
    server: Server = serve(lambda body, n: error(status, "later", headers={}) if n % 3 == 0 else chat("fine"))
    kept = call(server.url, many(6), concurrency=2, max_attempts=4)
    assert len(kept.texts) == 6
    assert sum(outcome.attempts for outcome in kept.outcomes) == len(server.bodies) >= 8


def test_server_errors_use_up_the_attempts(serve: Any, quick: None) -> None:
    server: Server = serve(lambda body, number: error(503, "overloaded"))
    (failure,) = call(server.url, [ask("a")], max_attempts=4).outcomes
    assert len(server.bodies) == failure.attempts == 4
    assert (failure.error, failure.retryable, failure.uncertain) == ("ModelUnavailableError", True, False)
    assert "overloaded" in failure.message
    assert failure.latency > 0


def test_a_wait_without_end_is_not_waited_for(serve: Any) -> None:
    """A daily quota: Retry-After says an hour, more than the patience there is."""
    server: Server = serve(lambda body, number: error(429, "tomorrow", headers={"retry-after": "3600"}))
    kept, started = Kept(), time.monotonic()
    with pytest.raises(ModelUnavailableError, match="tomorrow"):
        call(server.url, many(20), kept, concurrency=2, patience=0.3)
    assert time.monotonic() - started < 10
    assert len(server.bodies) <= 5


FAULTS: dict[str, tuple[Any, str]] = {
    "cut": ("ModelUnavailableError", "cannot be reached"),
    "empty_choices": ("ModelUnavailableError", "no chat completion"),
    "hang": ("ModelUnavailableError", r"did not answer within 0.3 s"),
    "trickle": ("ModelUnavailableError", r"did not answer within 0.3 s"),
    "content_filter": ("ModelRefusedError", "the content filter stopped the reply"),
    "empty": ("ModelRefusedError", "the reply is empty"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_reason(start: Any, quick: None, fault: str) -> None:
    """The endpoint always fails so. What may pass was tried three times and may have been billed; the rest once."""
    endpoint = start(faults={fault: 1.0}, trickle=1.6)  # a piece comes before each 0.3 s are over
    kept = call(endpoint.url, many(2), concurrency=2, max_attempts=3, timeout=0.3)
    kind, says = FAULTS[fault]
    passing = kind == "ModelUnavailableError"
    assert len(kept.failures) == 2
    for failure in kept.failures:
        assert (failure.error, failure.retryable, failure.uncertain) == (kind, passing, True)
        assert says in failure.message
        assert failure.attempts == (3 if passing else 1)
    assert endpoint.stats()["arrivals"] == (6 if passing else 2)


@pytest.mark.parametrize("fault", ["cut", "empty_choices", "hang", "500", "503", "429"])
def test_a_fault_that_passes_is_survived(start: Any, quick: None, fault: str) -> None:
    endpoint = start(faults={fault: 0.3}, trickle=3.0, seed=2)
    kept = call(endpoint.url, many(12), concurrency=4, max_attempts=20, timeout=0.3)
    assert len(kept.texts) == 12
    stats = endpoint.stats()
    assert stats["replies"][fault] > 0
    assert stats["complete_twice"] == 0


def test_an_error_with_status_200_is_an_error(serve: Any, quick: None) -> None:
    """As some gateways send it: whether it may pass is in its code."""
    passing, final = ({"error": {"message": "upstream", "code": code}} for code in (503, 400))
    server: Server = serve(lambda body, n: Answer(passing) if n % 2 == 0 else chat("fine"))
    assert call(server.url, many(3), concurrency=1).texts == ["fine"] * 3
    refusing: Server = serve(lambda body, n: Answer(final))
    (failure,) = call(refusing.url, many(1)).failures
    assert (failure.error, failure.retryable, failure.attempts) == ("ModelRefusedError", False, 1)
    assert "an error came with status 200: upstream (code 400)" in failure.message


def test_an_error_with_status_200_may_have_its_code_in_words(start: Any, quick: None) -> None:
    endpoint = start(faults={"error200": 0.3}, seed=2)
    kept = call(endpoint.url, many(12), concurrency=4, max_attempts=20)
    assert len(kept.texts) == 12


def test_what_is_no_good_but_complete_is_passed_on(start: Any) -> None:
    """Content of the wrong shape is for those to judge who asked for it: it is not asked for again here."""
    endpoint = start(faults={"malformed": 1.0})
    kept = call(endpoint.url, many(6), concurrency=2)
    assert len(kept.texts) == 6
    assert endpoint.stats()["arrivals"] == 6


def test_a_truncated_body_is_tried_again(serve: Any, quick: None) -> None:
    server: Server = serve(lambda body, n: Answer(b'{"choices": [{"mess') if n == 0 else chat("fine"))
    kept = call(server.url, [ask("a")])
    assert (kept.texts, kept.outcomes[0].attempts) == (["fine"], 2)


def test_requests_a_minute_are_not_exceeded(serve: Any) -> None:
    """120 a minute: two a second, but for a burst of two seconds at the start."""
    clock = Clock(chat(""), lambda *_: False)
    server: Server = serve(clock)
    kept = call(server.url, many(7), concurrency=8, requests_per_minute=120)
    assert len(kept.texts) == 7
    # At even pace the n-th comes after (n - 1) / 2 seconds; two seconds are given in advance.
    for number, when in enumerate(clock.times):
        assert when - clock.times[0] >= number / 2 - 2.0 - 0.1
    assert clock.times[-1] - clock.times[0] >= 0.9


# Outages


def test_an_outage_is_told_and_outlived(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries in an outage do not count: all are answered in the end, although none may be tried more than four times."""
    monkeypatch.setattr(engine, "_WAIT", 0.01)
    monkeypatch.setattr(engine, "_LONGEST", 0.05)
    monkeypatch.setattr(limits, "_PAUSE", 0.02)
    monkeypatch.setattr(limits, "_LONGEST_PAUSE", 0.02)
    monkeypatch.setattr("synalign.llm.gate._TELL", 0.01)
    monkeypatch.setattr("synalign.llm.gate._QUIET", 0.01)
    down: list[int] = []

    def behave(body: dict[str, Any], number: int) -> Answer:
        if number < 20 or len(down) >= 50:
            return chat("fine")
        down.append(number)
        return error(503, "restarting", headers={})

    server: Server = serve(behave)
    told: list[str] = []
    kept = call(server.url, many(80), concurrency=4, max_attempts=4, patience=60, notice=told.append)
    assert len(kept.texts) == len(kept.outcomes) == 80
    assert max(outcome.attempts for outcome in kept.outcomes) > 4  # fifty failures of eight requests at most
    assert "failures in a row" in told[0]
    assert "restarting" in told[0]
    assert told[-1] == "The endpoint answers again."


def test_an_outage_ends_the_run_when_patience_does(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_WAIT", 0.01)
    monkeypatch.setattr(limits, "_PAUSE", 0.02)
    monkeypatch.setattr(limits, "_LONGEST_PAUSE", 0.1)
    monkeypatch.setattr("synalign.llm.gate._QUIET", 0.01)
    server: Server = serve(lambda body, n: chat("fine") if n < 10 else error(503, "gone", headers={}))
    kept = Kept()
    with pytest.raises(ModelUnavailableError, match=r"Nothing was answered for \d+ s \(llm.patience is 0.5\).*gone"):
        call(server.url, many(500), kept, concurrency=4, max_attempts=3, patience=0.5)
    assert len(kept.texts) == 10
    assert len(kept.failures) <= limits.BREAK_AFTER
    assert len(server.bodies) < 100


def test_every_error_of_a_model_is_an_error_of_this_package() -> None:
    for kind in (ModelUnavailableError, ModelRefusedError, ModelAuthError, BudgetError):
        assert issubclass(kind, ModelError)
