"""The sequential test: its closed form against an integral, what it promises against simulation, and sample sizes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, binom

from synalign.errors import NumericsError
from synalign.numerics.statistics.sequential import (
    confidence_sequence,
    log_evidence,
    mixture,
    sample_size,
    stopping_time,
    watch,
)


def stream(rate: float, count: int, seed: int, ties: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    won = np.where(random.random(count) < rate, 1, -1)
    return np.where(random.random(count) < ties, 0, won)


@pytest.mark.parametrize("lift", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("rate", [0.5, 0.37])
@pytest.mark.parametrize(("wins", "decided"), [(0, 0), (1, 1), (0, 7), (30, 50), (61, 100)])
def test_the_closed_form_is_the_integral(wins: int, decided: int, rate: float, lift: float) -> None:
    s = mixture(lift)
    assert beta.std(s, s) == pytest.approx(lift)

    def density(p: float) -> float:
        ratio = (p / rate) ** wins * ((1 - p) / (1 - rate)) ** (decided - wins)
        return float(beta.pdf(p, s, s) * ratio)

    whole, _ = quad(density, 0, 1, points=[0.5, 0.5 - lift, 0.5 + lift], limit=200)
    assert float(log_evidence(wins, decided, s, rate)) == pytest.approx(math.log(whole), abs=1e-6)


def test_the_evidence_is_a_martingale_exactly() -> None:
    """Over all streams of 12 outcomes, by exact fractions for s = 1: the mean of E_n(p) is 1 at every n."""
    rate = Fraction(2, 5)
    for decided in range(13):
        mean = Fraction(0)
        for wins in range(decided + 1):
            chance = math.comb(decided, wins) * rate**wins * (1 - rate) ** (decided - wins)
            evidence = math.exp(float(log_evidence(wins, decided, 1.0, float(rate))))
            mean += chance * Fraction(evidence)
        assert float(mean) == pytest.approx(1.0, abs=1e-9)


def test_looking_after_every_query_raises_no_more_false_alarms_than_stated() -> None:
    """2,000 streams of 3,000 decided queries without a difference, each looked at 3,000 times. A test that is made for
    one look is wrong several times as often."""
    alpha, repetitions, count = 0.05, 2_000, 3_000
    won = np.random.default_rng(0).random((repetitions, count)) < 0.5
    wins, decided = won.cumsum(axis=1), np.arange(1, count + 1)
    alarms = (log_evidence(wins, decided, mixture(0.05)) >= -math.log(alpha)).any(axis=1).sum()
    assert 0.2 * alpha * repetitions < alarms <= binom.ppf(0.999, repetitions, alpha)
    naive = (np.abs(wins - decided / 2) > 1.96 * np.sqrt(decided) / 2)[:, 50:].any(axis=1).mean()
    assert naive > 4 * alpha


@pytest.mark.parametrize("rate", [0.5, 0.56, 0.9])
def test_all_intervals_hold_the_win_rate_as_often_as_stated(rate: float) -> None:
    alpha, missed = 0.1, 0
    for seed in range(400):
        found = watch(stream(rate, 500, seed), alpha, 0.05)
        missed += not (found.low.max() <= rate <= found.high.min())
    assert missed <= binom.ppf(0.999, 400, alpha)


def test_the_p_value_and_the_interval_say_the_same() -> None:
    """The interval leaves one half when the p-value falls to alpha, on the side of the winner; ties do not matter."""
    for seed, rate in enumerate((0.6, 0.4, 0.5)):
        outcomes = stream(rate, 1_500, seed, ties=0.3)
        found = watch(outcomes, 0.05, 0.05)
        assert found.decided == (outcomes != 0).sum()
        assert found.wins == (outcomes > 0).sum()
        np.testing.assert_array_equal(found.p_value <= 0.05, (found.low > 0.5) | (found.high < 0.5))
        assert (np.diff(found.p_value) <= 0).all()
        assert (np.diff(found.low) >= 0).all()
        assert (np.diff(found.high) <= 0).all()
        assert (found.p_value <= 1).all()
        if found.stopped is None:
            assert (found.decision, rate) == (0, 0.5)
            assert found.p_value[-1] > 0.05
        else:
            assert found.decision == (1 if rate > 0.5 else -1)
            assert found.p_value[found.stopped - 1] <= 0.05
            assert found.stopped == 1 or found.p_value[found.stopped - 2] > 0.05


def test_interval_ends_are_where_the_evidence_is_the_limit() -> None:
    s, wins, decided = mixture(0.1), np.array([7, 40]), np.array([10, 60])
    low, high = confidence_sequence(wins, decided, 0.05, s)
    at_low = log_evidence(wins, decided, s, low)
    assert at_low.tolist() == pytest.approx([math.log(20)] * 2, abs=1e-6)
    assert float(log_evidence(7, 10, s, high[0])) == pytest.approx(math.log(20), abs=1e-6)
    only = confidence_sequence(np.array([3]), np.array([3]), 0.05, s)
    assert 0 < only[0][0] < only[1][0] == 1.0


def test_a_win_rate_that_changes_leaves_the_last_interval() -> None:
    """1,000 wins, then 3,000 losses: no one rate is in all intervals."""
    found = watch(np.r_[np.ones(1_000), -np.ones(3_000)].astype(int), 0.05, 0.1)
    assert found.low[-1] <= found.high[-1]
    assert (found.decision, found.stopped is not None) == (1, True)


def test_streams_without_a_decided_query_decide_nothing() -> None:
    found = watch(np.zeros(9, dtype=int), 0.05, 0.02)
    assert (found.decided, found.stopped, found.decision, len(found.low)) == (0, None, 0, 0)
    assert watch(np.array([], dtype=int), 0.05, 0.02).decided == 0


def exact_power(decided: int, lift: float, alpha: float) -> float:
    """Second opinion: the power of the exact two-sided binomial test of that size."""
    enough = int(binom.isf(alpha / 2, decided, 0.5)) + 1
    return float(binom.sf(enough - 1, decided, 0.5 + lift) + binom.cdf(decided - enough, decided, 0.5 + lift))


@pytest.mark.parametrize("lift", [0.01, 0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_sample_size_has_the_power_by_the_exact_test(lift: float, power: float, alpha: float) -> None:
    decided = sample_size(lift, power, alpha)
    # The exact test jumps from one size to the next: the mean over a few sizes is looked at.
    near = np.mean([exact_power(count, lift, alpha) for count in range(decided - 2, decided + 3)])
    reach = 0.02 if decided > 100 else 0.04
    assert power - reach <= near <= power + reach


def test_ties_make_more_impressions_of_the_same_decided_queries() -> None:
    assert sample_size(0.05, 0.8, 0.05, 0.5) == 2 * sample_size(0.05, 0.8, 0.05)
    one, other = (stopping_time(0.1, 0.8, 0.05, ties, seed=1) for ties in (0.0, 0.75))
    assert other.needed == 4 * one.needed


def test_the_stopping_time_is_that_of_the_test_itself() -> None:
    """Second opinion: the test run query by query on streams of its own."""
    lift, power = 0.12, 0.8
    found = stopping_time(lift, power, 0.05, seed=2, repetitions=4_000)
    times = []
    for seed in range(600):
        stopped = watch(stream(0.5 + lift, found.horizon, seed), 0.05, lift).stopped
        times.append(np.inf if stopped is None else stopped)
    inside = np.mean(np.array(times) <= found.needed)
    assert inside == pytest.approx(power, abs=4 * math.sqrt(power * (1 - power) / 600))
    assert np.median(times) == pytest.approx(found.median, rel=0.12)
    assert sample_size(lift, power, 0.05) < found.needed < 3 * sample_size(lift, power, 0.05)
    assert found.median < found.needed


def test_a_long_simulation_looks_less_often_and_says_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    every = stopping_time(0.05, 0.8, 0.05, seed=3, repetitions=4_000)
    monkeypatch.setattr("synalign.numerics.statistics.sequential._LOOKS", 300)
    seldom = stopping_time(0.05, 0.8, 0.05, seed=4, repetitions=4_000)
    assert seldom.needed == pytest.approx(every.needed, rel=0.06)


def test_a_mixture_for_another_lift_needs_a_longer_horizon_and_finds_it() -> None:
    found = stopping_time(0.03, 0.9, 0.05, seed=1, repetitions=200, made_for=0.4)
    assert found.stopped >= 0.9
    assert found.needed > stopping_time(0.03, 0.9, 0.05, seed=1, repetitions=200).needed


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((0.0, 0.8, 0.05), "lift must be above 0 and below 0.5"),
        ((0.5, 0.8, 0.05), "lift"),
        ((0.1, 1.0, 0.05), "power"),
        ((0.1, 0.8, 0.0), "alpha"),
        ((0.1, 0.8, 0.05, 1.0), "tie_rate"),
    ],
)
def test_what_is_out_of_range_is_said(given: tuple[float, ...], said: str) -> None:
    for function in (sample_size, stopping_time):
        with pytest.raises(NumericsError, match=said):
            function(*given)


def test_a_test_that_cannot_be_is_said() -> None:
    with pytest.raises(NumericsError, match="vector"):
        watch(np.zeros((2, 2)), 0.05, 0.1)
    with pytest.raises(NumericsError, match="alpha"):
        watch([1], 1.0, 0.1)
    with pytest.raises(NumericsError, match="lift"):
        watch([1], 0.05, 0.7)
    with pytest.raises(NumericsError, match="repetitions"):
        stopping_time(0.1, 0.8, 0.05, repetitions=3)
