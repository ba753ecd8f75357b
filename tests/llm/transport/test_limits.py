"""What holds requests back, without a clock: a simulated server tells the limit, and callers wait as they are told."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign.llm.transport.limits import BREAK_AFTER, AdaptiveLimit, Allowance, Breaker

# Seconds that the simulated server takes for an answer on average, and for a refusal.
ANSWER, REFUSAL = 0.1, 0.002


@dataclass(frozen=True)
class Ended:
    """A request that ended at a time: the limit after it, and whether it was refused."""

    at: float
    limit: int
    refused: bool


def simulate(
    capacity: Callable[[float], int], seconds: float, most: int = 256, noise: float = 0.0, seed: int = 0
) -> list[Ended]:
    """Keep as many requests under way as the limit allows, at a server that refuses those above its capacity, and of
    the others the share `noise`."""
    rng, limit = random.Random(seed), AdaptiveLimit(most)
    now, under_way, served, number = 0.0, 0, 0, 0
    events: list[tuple[float, int, bool]] = []
    ended: list[Ended] = []
    while now < seconds:
        while under_way < limit.value:
            number, under_way = number + 1, under_way + 1
            refused = served >= capacity(now) or rng.random() < noise
            served += not refused
            heapq.heappush(events, (now + (REFUSAL if refused else ANSWER * rng.uniform(0.7, 1.3)), number, refused))
        now, _, refused = heapq.heappop(events)
        if refused:
            limit.refused(under_way)
        else:
            served -= 1
            limit.answered(under_way)
        under_way -= 1
        ended.append(Ended(now, limit.value, refused))
    return ended


def between(ended: list[Ended], start: float, end: float) -> list[Ended]:
    return [one for one in ended if start <= one.at < end]


def level(ended: list[Ended], start: float, end: float) -> float:
    return mean(one.limit for one in between(ended, start, end))


def refused(ended: list[Ended], start: float, end: float) -> float:
    return mean(one.refused for one in between(ended, start, end))


@pytest.mark.parametrize("capacity", [40, 64, 100, 200])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_limit_settles_at_the_capacity_of_the_server(capacity: int, seed: int) -> None:
    ended = simulate(lambda _: capacity, 12, seed=seed)
    after = between(ended, 4, 12)
    assert all(0.9 * capacity <= one.limit <= 1.1 * capacity for one in after)
    assert refused(ended, 4, 12) < 0.03


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 10])
def test_a_small_capacity_is_found_to_the_request(capacity: int) -> None:
    ended = simulate(lambda _: capacity, 12)
    assert {one.limit for one in between(ended, 4, 12)} <= {capacity - 1 or 1, capacity, capacity + 1}
    assert abs(level(ended, 4, 12) - capacity) <= 0.5


def test_a_limit_that_the_server_never_reaches_is_the_configured_one() -> None:
    assert {one.limit for one in between(simulate(lambda _: 10_000, 4, most=200), 2, 4)} == {200}


def test_a_drop_and_a_rise_of_the_capacity_are_followed() -> None:
    ended = simulate(lambda now: 30 if 8 <= now < 20 else 100, 40)
    assert level(ended, 4, 8) == pytest.approx(100, rel=0.1)
    assert level(ended, 10, 20) == pytest.approx(30, rel=0.1)
    assert level(ended, 30, 40) == pytest.approx(100, rel=0.1)
    assert refused(ended, 10, 40) < 0.04


def test_an_outage_is_recovered_from() -> None:
    """Two hundred round trips without one answer, and then within a hundred: four fifths of what there was."""
    ended = simulate(lambda now: 0 if 8 <= now < 28 else 100, 48)
    assert between(ended, 8, 28)[-1].limit == 1
    assert level(ended, 38, 48) > 80


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("capacity", "least"), [(20, 14), (100, 20), (10_000, 20)])
def test_refusals_that_have_nothing_to_do_with_load_do_not_hold_up(capacity: int, least: int, seed: int) -> None:
    """One in ten, at random: how many are under way does not matter, so little is gained by having fewer."""
    ended = simulate(lambda _: capacity, 30, noise=0.1, seed=seed)
    assert level(ended, 5, 30) > least
    assert min(one.limit for one in between(ended, 5, 30)) > least / 2


@given(
    st.integers(1, 1024),
    st.lists(st.tuples(st.booleans(), st.integers(1, 2000)), max_size=300),
)
def test_the_limit_is_never_below_one_nor_above_the_most(most: int, events: list[tuple[bool, int]]) -> None:
    limit = AdaptiveLimit(most)
    for refused, under_way in events:
        (limit.refused if refused else limit.answered)(under_way)
        assert 1 <= limit.value <= most


def windows(taken: list[tuple[float, float]]) -> list[float]:
    """The sums of all minutes that begin with something being taken."""
    return [sum(amount for when, amount in taken if start <= when < start + 60 - 1e-6) for start, _ in taken]


steps = st.lists(
    st.tuples(st.floats(0, 40), st.floats(0.5, 100), st.floats(0, 1), st.floats(0, 90)), min_size=1, max_size=40
)


@given(st.integers(100, 1000), steps)
def test_no_minute_has_more_than_the_allowance(most: int, asked: list[tuple[float, float, float, float]]) -> None:
    """Whoever waits as told; estimates are put right later, and then the used amounts count."""
    allowance = Allowance(most)
    now = 0.0
    taken: list[list[float]] = []
    late: list[tuple[float, int, list[float], float]] = []  # when it is known what was used
    for number, (gap, amount, share, latency) in enumerate(asked):
        now += gap
        while True:
            while late and late[0][0] <= now:
                known, place, note, used = heapq.heappop(late)
                allowance.settle(note, used, known)
                taken[place][1] = used
            wait = allowance.wait(amount, now)
            if wait <= 0:
                break
            now += max(wait, 1e-6)
        note = allowance.take(amount, now)
        taken.append([now, amount])
        assert sum(what for when, what in taken if when > now - 60 + 1e-6) <= most + 1e-6
        heapq.heappush(late, (now + latency, number, note, amount * share))
    assert max(windows([(when, what) for when, what in taken])) <= most + 1e-6


def test_an_allowance_is_spread_over_the_minute_but_for_a_burst() -> None:
    allowance = Allowance(60)
    now, at = 0.0, list[float]()
    for _ in range(200):
        now += allowance.wait(1, now)
        allowance.take(1, now)
        at.append(now)
    assert sum(when == 0.0 for when in at) == 3
    assert at[59] == pytest.approx(57)
    assert at[119] == pytest.approx(60 + 57, abs=4)
    assert max(windows([(when, 1.0) for when in at])) <= 60


def test_all_of_the_allowance_can_be_used() -> None:
    allowance = Allowance(600)
    now, count = 0.0, 0
    while now < 600:
        now += allowance.wait(1, now)
        allowance.take(1, now)
        count += 1
    assert count > 0.95 * 6000


def test_more_than_a_minute_holds_waits_for_an_empty_one() -> None:
    allowance = Allowance(10)
    allowance.take(4, 100.0)
    assert allowance.wait(50, 101.0) == pytest.approx(59.0)
    assert allowance.wait(50, 160.0) == 0.0


def test_what_was_estimated_too_high_gives_room_at_once_and_none_later() -> None:
    allowance = Allowance(100)
    note = allowance.take(100, 0.0)
    assert allowance.wait(60, 10.0) == pytest.approx(50.0)
    allowance.settle(note, 40.0, 10.0)
    assert allowance.wait(60, 58.0) == 0.0
    allowance.take(60, 58.0)
    # The 60 that were given back are gone with their minute: they are no room for more than 100 in the next.
    assert allowance.wait(41, 100.0) == pytest.approx(18.0)


def test_what_was_estimated_too_low_counts() -> None:
    allowance = Allowance(100)
    note = allowance.take(10, 0.0)
    allowance.settle(note, 90.0, 70.0)  # its minute is over, but the tokens were not counted in it
    assert allowance.wait(50, 71.0) > 0


def test_a_breaker_opens_after_failures_in_a_row_and_its_pauses_grow_to_a_bound() -> None:
    breaker, now = Breaker(), 0.0
    for _ in range(BREAK_AFTER - 1):
        assert not breaker.failed(now)
    assert not breaker.is_open
    assert breaker.failed(now)
    assert breaker.is_open
    pauses = [breaker.pause]
    for _ in range(10):
        assert not breaker.failed(now + breaker.pause / 2)  # what was under way adds nothing
        assert breaker.paused_until == now + breaker.pause
        now += breaker.pause
        assert breaker.failed(now)
        pauses.append(breaker.pause)
    assert pauses == sorted(pauses)
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert set(pauses[5:]) == {30.0}
    assert breaker.answered()
    assert not breaker.is_open
    assert breaker.pause == 0.0
    assert not breaker.answered()


def test_an_answer_in_between_starts_the_count_of_failures_anew() -> None:
    breaker = Breaker()
    for _ in range(3):
        for _ in range(BREAK_AFTER - 1):
            assert not breaker.failed(0.0)
        assert not breaker.answered()
    assert not breaker.is_open
