"""Admission lets in as many as may enter, in order, and never loses count; pauses are obeyed and told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign.config import Llm
from synalign.errors import ModelUnavailableError
from synalign.llm.transport import limits
from synalign.llm.transport.admission import Admission, Admitted
from synalign.llm.transport.limits import BREAK_AFTER


def admission(told: list[str] | None = None, **values: Any) -> Admission:
    return Admission(Llm(model="m", **values), (told if told is not None else []).append)


def within(seconds: float, work: Callable[[], Awaitable[Any]]) -> Any:
    """Run in an event loop that does not wait for ever."""

    async def bounded() -> Any:
        async with asyncio.timeout(seconds):
            return await work()

    return asyncio.run(bounded())


async def settle() -> None:
    """Let all tasks go on that can."""
    for _ in range(5):
        await asyncio.sleep(0)


def busy(wait: float | None = None) -> ModelUnavailableError:
    return ModelUnavailableError("busy", overloaded=True, retry_after=wait)


def test_no_more_are_let_in_than_the_concurrency() -> None:
    async def work() -> None:
        control = admission(concurrency=2)
        await control.enter(1)
        await control.enter(1)
        third = asyncio.create_task(control.enter(1))
        await settle()
        assert (control.under_way, third.done()) == (2, False)
        control.answered(Admitted(time.monotonic(), None), None)
        await settle()
        assert (control.under_way, third.done()) == (2, True)

    within(5, work)


def test_those_that_wait_enter_in_order_and_those_tried_again_first() -> None:
    async def work() -> None:
        control, order = admission(concurrency=1), list[str]()
        await control.enter(1)

        async def pass_through(name: str, again: bool) -> None:
            await control.enter(1, again=again)
            order.append(name)
            control.answered(Admitted(time.monotonic(), None), None)

        tasks = []
        for name, again in (("a", False), ("b", False), ("c", True)):
            tasks.append(asyncio.create_task(pass_through(name, again)))
            await settle()
        control.answered(Admitted(time.monotonic(), None), None)
        await asyncio.gather(*tasks)
        assert order == ["c", "a", "b"]

    within(5, work)


endings = st.sampled_from(["answered", "failed", "refused", "left", "cancelled"])


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.lists(st.tuples(endings, st.booleans()), max_size=40))
def test_no_place_is_lost_however_requests_end(concurrency: int, ends: list[tuple[str, bool]]) -> None:
    """At the end nobody is under way, and all that were not cancelled have been let in; places are never exceeded."""

    async def work() -> int:
        control = admission(concurrency=concurrency)
        most = entered = 0

        async def one(ending: str) -> None:
            nonlocal most, entered
            await control.enter(1)
            entered += 1
            most = max(most, control.under_way)
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                control.leave()
                raise
            if ending == "answered":
                control.answered(Admitted(time.monotonic(), None), None)
            elif ending == "failed" and entered % 3:
                control.failed(busy())
            elif ending == "refused":
                control.refused()
            else:
                control.leave()

        tasks = [asyncio.create_task(one(ending)) for ending, _ in ends]
        for number, (ending, late) in enumerate(ends):
            if ending == "cancelled":
                if late:
                    await asyncio.sleep(0)
                tasks[number].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert control.under_way == 0
        assert all(found is None or isinstance(found, asyncio.CancelledError) for found in done)
        assert entered >= sum(ending != "cancelled" for ending, _ in ends)
        return most

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "_PAUSE", 0.001)
        patch.setattr(limits, "_LONGEST_PAUSE", 0.002)
        assert within(10, work) <= concurrency


def test_a_pause_that_is_asked_for_holds_all_back_and_is_told() -> None:
    """One refusal among others says that it was one too many; a second before the time is up is of all."""

    async def work() -> tuple[list[str], float]:
        told = list[str]()
        control = admission(told, concurrency=8)
        for _ in range(3):
            await control.enter(1)
        started = asyncio.get_running_loop().time()
        control.failed(busy(5.05))
        assert told == []
        control.failed(busy(5.05))
        assert len(told) == 1
        # Not waited for here: whoever comes now is not let in before the time.
        waiting = asyncio.create_task(control.enter(1))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        waiting.cancel()
        return told, asyncio.get_running_loop().time() - started

    told, _ = within(5, work)
    assert "Paused for 5 s: it asks for a pause (busy)" in told[0]


def test_one_alone_that_is_asked_to_wait_holds_back_all() -> None:
    async def work() -> float:
        control, loop = admission(concurrency=8), asyncio.get_running_loop()
        await control.enter(1)
        started = loop.time()
        control.failed(busy(0.3))
        await asyncio.gather(*(control.enter(1) for _ in range(3)))
        return loop.time() - started

    assert within(5, work) >= 0.29


def test_no_pause_is_longer_than_the_patience() -> None:
    async def work() -> None:
        control = admission(concurrency=8, patience=0.2)
        await control.enter(1)
        control.failed(busy(3600.0))
        await control.enter(1)

    within(5, work)


def test_in_an_outage_one_request_at_a_time_tries() -> None:
    async def work() -> list[str]:
        told = list[str]()
        control = admission(told, concurrency=16)
        for _ in range(BREAK_AFTER):
            await control.enter(1)
        for _ in range(BREAK_AFTER):
            control.failed(ModelUnavailableError("broken"))
        tasks = [asyncio.create_task(control.enter(1)) for _ in range(5)]
        for _ in range(3):  # tries that fail
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0.05)
            assert control.under_way == 1
            tasks = [task for task in tasks if not task.done()]
            control.failed(ModelUnavailableError("broken"))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert (control.under_way, control.outage > 0) == (1, True)
        control.answered(Admitted(time.monotonic(), None), None)
        await asyncio.gather(*tasks)
        assert (control.under_way, control.outage) == (1, 0.0)
        return told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "_PAUSE", 0.01)
        patch.setattr("synalign.llm.transport.admission._TELL", 0.0)
        told = within(5, work)
    assert "10 failures in a row, the last: broken" in told[0]
    assert told[-1] == "The endpoint answers again."


def test_a_refusal_is_a_sign_of_life() -> None:
    async def work() -> None:
        control = admission(concurrency=16)
        for number in range(3 * BREAK_AFTER):
            await control.enter(1)
            if number % 5 == 4:
                control.refused()
            else:
                control.failed(ModelUnavailableError("broken"))
        assert control.outage == 0.0

    within(5, work)


def test_tokens_that_were_not_used_are_given_back() -> None:
    """1,000 tokens a minute: three estimates of 400 do not fit into two seconds; uses of 4 do."""

    async def work() -> int:
        control, count = admission(concurrency=4, tokens_per_minute=1000), 0
        for _ in range(5):
            async with asyncio.timeout(0.5):
                entry = await control.enter(400)
            control.answered(entry, 4)
            count += 1
        return count

    assert within(5, work) == 5


def test_tokens_that_are_not_known_count_as_estimated() -> None:
    async def work() -> None:
        control = admission(concurrency=4, tokens_per_minute=1000)
        control.answered(await control.enter(400), None)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await control.enter(400)
        assert control.under_way == 0

    within(5, work)
