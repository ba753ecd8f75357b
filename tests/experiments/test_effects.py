"""The statistics of experiments: against scipy, the bootstrap, a brute-force correction, and simulated coverage."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binom, false_discovery_control, ttest_ind

from synalign.errors import NumericsError
from synalign.experiments.effects import (
    Moments,
    adjusted,
    effect,
    moments,
    sample_ratio,
    simultaneous_alpha,
)


def users(count: int, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clicks and impressions: users differ in how much they see, and in how gladly they click."""
    random = np.random.default_rng(seed)
    seen = 1 + random.negative_binomial(1, 0.1, count)
    return random.binomial(seen, random.beta(20 * rate, 20 * (1 - rate), count)), seen


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_a_mean_is_compared_as_welch_does(alpha: float) -> None:
    random = np.random.default_rng(1)
    control, arm = random.gamma(2, 3, 80), random.gamma(2, 4, 33)
    found = effect(moments(arm), moments(control), alpha)
    known = ttest_ind(arm, control, equal_var=False)
    interval = known.confidence_interval(1 - alpha)
    assert found.p_value == pytest.approx(known.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.difference == pytest.approx(arm.mean() - control.mean())
    assert found.relative == pytest.approx(arm.mean() / control.mean() - 1)


def test_the_error_of_a_ratio_is_that_of_the_bootstrap() -> None:
    clicked, seen = users(3_000, 0.1, 2)
    found = moments(clicked, seen)
    assert found.value == pytest.approx(clicked.sum() / seen.sum())
    random = np.random.default_rng(3)
    rows = random.integers(0, 3_000, (2_000, 3_000))
    bootstrap = clicked[rows].sum(axis=1) / seen[rows].sum(axis=1)
    assert math.sqrt(found.error2) == pytest.approx(bootstrap.std(), rel=0.06)
    # As if every impression were a user of its own: too sure of itself, and that is why the unit is the user.
    naive = math.sqrt(found.value * (1 - found.value) / seen.sum())
    assert math.sqrt(found.error2) > 1.25 * naive


def test_a_ratio_to_a_column_of_ones_is_a_mean() -> None:
    counts = np.random.default_rng(4).poisson(3, 50)
    plain, ratio = moments(counts), moments(counts, np.ones(50))
    assert (ratio.value, ratio.error2) == pytest.approx((plain.value, plain.error2))


def test_intervals_of_ratios_cover_as_often_as_stated() -> None:
    """800 experiments with a known lift of a ratio: the interval of the difference, and Fieller's of the relative lift;
    and without one, as many false alarms as stated."""
    alpha, repetitions = 0.1, 800
    # Each user's rate has the mean `rate` whatever they see, so the ratio of expected sums is that.
    covered = relative = alarms = 0
    for seed in range(repetitions):
        control = moments(*users(400, 0.10, 3 * seed))
        found = effect(moments(*users(400, 0.12, 3 * seed + 1)), control, alpha)
        covered += found.low <= 0.02 <= found.high
        relative += found.relative_low <= 0.2 <= found.relative_high
        alarms += effect(moments(*users(400, 0.10, 3 * seed + 2)), control, alpha).p_value <= alpha
    low, high = binom.ppf([0.0005, 0.9995], repetitions, 1 - alpha)
    assert low <= covered <= high
    assert low <= relative <= high
    assert repetitions - high <= alarms <= repetitions - low


def test_fieller_is_where_the_test_of_a_scaled_control_turns() -> None:
    """Its ends are the lifts r for which |arm - (1 + r) control| is its own reach; far from 0, the delta method's."""
    arm, control = Moments(100, 3.0, 4.0), Moments(90, 2.0, 5.0)
    found = effect(arm, control, 0.05)
    total = arm.error2 + control.error2
    reach = (found.high - found.difference) / math.sqrt(total)
    for lift in (found.relative_low, found.relative_high):
        apart = abs(arm.value - (1 + lift) * control.value)
        assert apart == pytest.approx(reach * math.sqrt(arm.error2 + (1 + lift) ** 2 * control.error2))
    sure = effect(Moments(10**6, 3.0, 4.0), Moments(10**6, 2.0, 5.0), 0.05)
    ratio = 1.5
    delta = 1.96 * math.sqrt((4.0 + ratio**2 * 5.0) / 10**6) / 2.0
    assert sure.relative_high - sure.relative == pytest.approx(delta, rel=1e-2)


def test_a_control_that_may_be_zero_has_no_relative_interval() -> None:
    found = effect(Moments(50, 1.0, 4.0), Moments(50, 0.01, 4.0), 0.05)
    assert found.relative == pytest.approx(99)
    assert math.isnan(found.relative_low)
    assert math.isnan(found.relative_high)
    nothing = effect(Moments(50, 1.0, 4.0), Moments(50, 0.0, 4.0), 0.05)
    assert math.isnan(nothing.relative)
    assert nothing.p_value < 0.05


def test_what_does_not_vary_has_no_p_value() -> None:
    found = effect(moments(np.ones(5)), moments(np.ones(7)), 0.05)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert math.isnan(found.p_value)
    one = effect(moments([1.0, 2.0, 3.0]), moments(np.ones(7)), 0.05)
    assert 0 < one.p_value < 1
    divided = effect(moments(np.zeros(5), np.zeros(5)), moments(np.ones(5), np.ones(5)), 0.05)
    assert math.isnan(divided.value)
    assert math.isnan(divided.p_value)


def closed(p_values: np.ndarray) -> np.ndarray:
    """Second opinion: Holm is the closed test of Bonferroni: the worst of all sets that a hypothesis is in."""
    count = len(p_values)
    worst = np.zeros(count)
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            here = list(chosen)
            worst[here] = np.maximum(worst[here], min(1.0, size * p_values[here].min()))
    return worst


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_holm_is_the_closed_test_of_bonferroni(count: int) -> None:
    p_values = np.random.default_rng(count).random(count) ** 3
    p_values[-1] = p_values[0]
    np.testing.assert_allclose(adjusted(p_values, "holm"), closed(p_values))


def test_corrections_leave_out_what_has_no_p_value() -> None:
    p_values = [0.01, math.nan, 0.04, 0.03]
    np.testing.assert_allclose(adjusted(p_values, "holm"), [0.03, math.nan, 0.06, 0.06])
    rest = false_discovery_control([0.01, 0.04, 0.03])
    np.testing.assert_allclose(adjusted(p_values, "bh"), [rest[0], math.nan, rest[1], rest[2]])
    np.testing.assert_allclose(adjusted(p_values, "none"), p_values)
    assert np.isnan(adjusted([math.nan], "holm")).all()
    with pytest.raises(NumericsError, match="holm, bh, none; given: 'bonferroni'"):
        adjusted(p_values, "bonferroni")
    with pytest.raises(NumericsError, match="from 0 to 1"):
        adjusted([1.5], "holm")


def test_joint_intervals_are_of_the_corrected_level() -> None:
    assert simultaneous_alpha([0.01, 0.2, math.nan], "holm", 0.05) == 0.025
    assert simultaneous_alpha([0.01, 0.02, 0.2, 0.3], "bh", 0.05) == 0.025
    assert simultaneous_alpha([0.9, 0.8], "bh", 0.05) == 0.025
    assert simultaneous_alpha([0.01, 0.2], "none", 0.05) == 0.05
    assert simultaneous_alpha([math.nan], "holm", 0.05) == 0.05


def test_all_joint_intervals_cover_together() -> None:
    alpha, metrics, repetitions, missed = 0.1, 5, 600, 0
    for seed in range(repetitions):
        random = np.random.default_rng(seed)
        arms = random.poisson(2, (2, metrics, 150))
        level = simultaneous_alpha(np.zeros(metrics), "holm", alpha)
        found = [effect(moments(arms[0, place]), moments(arms[1, place]), level) for place in range(metrics)]
        missed += any(not one.low <= 0 <= one.high for one in found)
    assert missed <= binom.ppf(0.999, repetitions, alpha)
    assert missed > 0.4 * alpha * repetitions


def test_a_sample_ratio_that_is_off_is_seen() -> None:
    assert sample_ratio([5_000, 5_060]) > 0.4
    assert sample_ratio([5_000, 5_500]) < 1e-5
    assert sample_ratio([9_000, 1_000], [0.9, 0.1]) == pytest.approx(1.0)
    assert sample_ratio([9_000, 1_000], [9, 1]) == pytest.approx(1.0)
    # Two-sided binomial, nearly: the chi-square of two arms.
    assert sample_ratio([530, 470]) == pytest.approx(2 * binom.sf(529, 1_000, 0.5), rel=0.1)
    for given, shares in (([1], None), ([0, 0], None), ([1, 1], [1, 0])):
        with pytest.raises(NumericsError):
            sample_ratio(given, shares)


def test_arms_that_cannot_be_compared_are_said() -> None:
    with pytest.raises(NumericsError, match="at least 2 users"):
        effect(Moments(1, 0.0, 0.0), Moments(5, 0.0, 1.0), 0.05)
    with pytest.raises(NumericsError, match="alpha"):
        effect(Moments(5, 0.0, 1.0), Moments(5, 0.0, 1.0), 1.0)
    with pytest.raises(NumericsError, match="at least 2 users"):
        moments([1.0])
    with pytest.raises(NumericsError, match="finite"):
        moments([1.0, math.nan])
    with pytest.raises(NumericsError, match="bases"):
        moments([1.0, 2.0], [1.0])
