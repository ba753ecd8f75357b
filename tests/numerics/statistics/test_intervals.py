from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synalign.errors import NumericsError
from synalign.numerics.statistics.intervals import (
    quantile_interval,
    ratio_interval,
    share_interval,
    subsample_interval,
    t_interval,
)


@pytest.mark.parametrize(("there", "size"), [(0, 30), (3, 30), (30, 30), (1, 1), (700, 2000)])
def test_a_share_has_wilsons_interval(there: int, size: int) -> None:
    """Against scipy."""
    found = share_interval([1] * there + [0] * (size - there))
    expected = stats.binomtest(there, size).proportion_ci(method="wilson")
    assert found.value == pytest.approx(there / size)
    assert found.low == pytest.approx(expected.low, abs=1e-4)
    assert found.high == pytest.approx(expected.high, abs=1e-4)


def test_weights_make_a_share_worth_fewer_records() -> None:
    present = np.arange(40) % 4 == 0
    assert share_interval(present, np.r_[np.full(20, 7.0), np.zeros(20)]) == pytest.approx(share_interval(present[:20]))


def test_a_ratio_is_that_of_the_sums_and_its_interval_that_of_its_standard_error() -> None:
    random = np.random.default_rng(0)
    below = random.integers(50, 150, 400).astype(float)
    above = random.binomial(below.astype(int), 0.1)
    found = ratio_interval(above, below, 1)
    assert found is not None
    assert found.value == pytest.approx(above.sum() / below.sum())
    error = np.std(above - found.value * below, ddof=1) / np.sqrt(400) / below.mean()
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.15)
    assert ratio_interval(above, below, 1, np.full(400, 0.2)) == pytest.approx(found)
    weights = random.random(400)
    weighted = ratio_interval(above, below, 1, weights)
    assert weighted is not None
    assert weighted.value == pytest.approx((weights * above).sum() / (weights * below).sum())
    assert ratio_interval([0, 0], [0, 0], 1) is None


def test_a_quantile_is_a_value_of_the_sample_and_heeds_weights() -> None:
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert [quantile_interval(values, q, 0).value for q in (0.1, 0.2, 0.21, 0.5, 1)] == [1, 1, 2, 3, 5]
    assert quantile_interval(values, 0.5, 0, [1, 0, 0, 0, 0]) == (5, 5, 5)
    drawn = np.random.default_rng(2).normal(size=1000)
    found = quantile_interval(drawn, 0.5, 0)
    # The standard error of a median of normal numbers is sqrt(pi / 2n).
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.sqrt(np.pi / 2000), rel=0.25)
    with pytest.raises(NumericsError, match="quantile"):
        quantile_interval(values, 0, 0)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
def test_of_a_mean_the_interval_of_parts_is_the_usual_one(fraction: float) -> None:
    random = np.random.default_rng(3)
    sample = random.normal(10, 1, 500)
    parts = [sample[random.permutation(500)[: int(500 * fraction)]].mean() for _ in range(2000)]
    found = subsample_interval(parts, fraction)
    assert found.value == pytest.approx(sample.mean(), abs=0.02)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * sample.std(ddof=1) / np.sqrt(500), rel=0.06)


def test_a_figure_that_is_random_itself_has_a_wider_interval() -> None:
    """Repeats that differ by 2 on average, as the seed has it: the error of their mean is added."""
    random = np.random.default_rng(4)
    repeats = random.normal(0, 2, (6, 1)) + 100
    parts = repeats + random.normal(0, 1, (6, 500))
    found = subsample_interval(parts, 0.5)
    error = np.sqrt(1 + parts.mean(axis=1).var(ddof=1) / 6)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.05)
    assert subsample_interval(parts[:1], 0.5) == subsample_interval(parts[0], 0.5)


def test_an_interval_of_parts_stays_within_bounds() -> None:
    assert subsample_interval([0.0, 0.9], 0.5, 1.0)[1:] == (0.0, 1.0)
    assert subsample_interval([0.25], 0.5) == (0.25, 0.25, 0.25)
    for fraction in (0, 1):
        with pytest.raises(NumericsError, match="fraction"):
            subsample_interval([1.0], fraction)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.001, 10)), min_size=1, max_size=40))
@settings(deadline=None, max_examples=40)
def test_ends_lie_around_the_value(records: list[tuple[bool, float]]) -> None:
    present, weights = zip(*records, strict=True)
    ratio = ratio_interval(present, np.ones(len(present)), 0, weights)
    assert ratio is not None
    for found in (share_interval(present, weights), ratio, quantile_interval(weights, 0.5, 0, weights)):
        assert found.low <= found.value <= found.high
    assert share_interval(present, weights).low >= 0
    assert share_interval(present, weights).high <= 1


def test_the_interval_of_a_mean_is_scipys_and_one_value_has_none() -> None:
    values = np.random.default_rng(0).normal(size=7)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((values.mean(), low, high))
    for bad in ([], [2.0], [1.0, np.inf]):
        with pytest.raises(NumericsError):
            t_interval(bad)
