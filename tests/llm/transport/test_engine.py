"""run_calls: each request has one outcome, in the caller's thread; what may pass is tried again as the server asks."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from synalign.config import Llm
from synalign.errors import (
    ConfigError,
    ModelAuthError,
    ModelRefusedError,
    ModelUnavailableError,
)
from synalign.llm.transport import engine, limits
from synalign.llm.transport.chat import ChatReply, ChatRequest
from synalign.llm.transport.engine import run_calls
from tests.llm.calling import Echo, Kept, Moody, ask, call, many, run
from tests.llm.server import Server, error

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
    monkeypatch.setattr("synalign.llm.transport.admission._TELL", 0.0)

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
