"""run_calls over HTTP: what a server asks for, what it does wrong, and how long it is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from synalign.errors import (
    BudgetError,
    ModelAuthError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
)
from synalign.llm.transport import engine, limits
from tests.llm.calling import Kept, ask, call, many
from tests.llm.server import Answer, Server, chat, error

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
    # By the clock on the wall, whenever the first call arrived. Dates have whole seconds.
    assert clock.times[1] + time.time() - time.monotonic() >= int(until) - 0.1


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
    monkeypatch.setattr("synalign.llm.transport.admission._TELL", 0.01)
    monkeypatch.setattr("synalign.llm.transport.admission._QUIET", 0.01)
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
    monkeypatch.setattr("synalign.llm.transport.admission._QUIET", 0.01)
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
