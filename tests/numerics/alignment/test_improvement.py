"""By how much one weighted mean is nearer to real records than another: distances and standard error, checked against
explicit features, resampling, and repeated draws of the real records."""

from __future__ import annotations

import numpy as np
import pytest

from synalign.errors import NumericsError
from synalign.numerics.alignment.stratum import Improvement, improvement
from synalign.numerics.core.features import RandomFeatures

FEATURES = RandomFeatures.draw(3, 64, 2.0, 5)


def mapped(points: np.ndarray) -> np.ndarray:
    """The features of points, row by row in float64, so that means over them are plain numpy."""
    return np.asarray(FEATURES.map(points.astype(np.float32)), dtype=np.float64)


def real(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, 1.0, (count, 3)).astype(np.float32)


def means() -> tuple[np.ndarray, np.ndarray]:
    """Mean features of text that is far from the real points, and of text that is nearer."""
    random = np.random.default_rng(1)
    return mapped(random.normal(-0.5, 1.0, (400, 3))).mean(axis=0), mapped(random.normal(0.3, 1, (400, 3))).mean(axis=0)


def difference(points: np.ndarray, weights: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """|b - m|^2 - |a - m|^2 with the mean feature m of these points."""
    mean = np.average(mapped(points), axis=0, weights=weights)
    return float(np.sum((before - mean) ** 2) - np.sum((after - mean) ** 2))


def test_value_is_the_difference_of_the_two_squared_distances() -> None:
    points, (before, after) = real(2, 80), means()
    weights = np.random.default_rng(2).integers(1, 4, 80).astype(float)
    found = improvement(FEATURES, points, weights, before, after)
    mean = np.average(mapped(points), axis=0, weights=weights)
    assert found.before == pytest.approx(np.sum((before - mean) ** 2), rel=1e-5)
    assert found.after == pytest.approx(np.sum((after - mean) ** 2), rel=1e-5)
    assert found.value == pytest.approx(difference(points, weights, before, after), rel=1e-5)
    assert found.value > 5 * found.error > 0


def test_error_is_that_of_a_bootstrap_over_the_held_out_records() -> None:
    points, (before, after) = real(3, 60), means()
    found = improvement(FEATURES, points, np.ones(60), before, after)
    random = np.random.default_rng(3)
    drawn = [points[random.integers(0, 60, 60)] for _ in range(2000)]
    spread = np.std([difference(sample, np.ones(60), before, after) for sample in drawn])
    # A bootstrap divides by n where the standard error divides by n - 1; its own noise is 1 / sqrt(4000).
    assert found.error == pytest.approx(spread * np.sqrt(60 / 59), rel=0.06)


def test_error_is_the_spread_over_fresh_draws_of_real_records() -> None:
    before, after = means()
    found = [improvement(FEATURES, real(seed, 50), np.ones(50), before, after) for seed in range(100, 700)]
    spread = np.std([one.value for one in found])
    assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=0.08)


def test_turned_round_it_is_as_much_of_a_loss_with_the_same_error() -> None:
    points, (before, after) = real(4, 40), means()
    there = improvement(FEATURES, points, np.ones(40), before, after)
    back = improvement(FEATURES, points, np.ones(40), after, before)
    assert back == Improvement(there.after, there.before, pytest.approx(-there.value), pytest.approx(there.error))


def test_the_same_mean_twice_improves_nothing_and_knows_it() -> None:
    before, _ = means()
    found = improvement(FEATURES, real(5, 30), np.ones(30), before, before)
    assert found.value == 0
    assert found.error == 0


def test_only_proportions_of_multiplicities_count() -> None:
    points, (before, after) = real(6, 30), means()
    weights = np.arange(1.0, 31.0)
    one, ten = (improvement(FEATURES, points, factor * weights, before, after) for factor in (1, 10))
    assert one == Improvement(
        *(pytest.approx(value, rel=1e-9) for value in (ten.before, ten.after, ten.value, ten.error))
    )


def test_a_record_that_counts_for_many_makes_the_error_larger() -> None:
    """As few records that count: the effective size is what the error goes by."""
    points, (before, after) = real(7, 60), means()
    even = improvement(FEATURES, points, np.ones(60), before, after)
    uneven = improvement(FEATURES, points, np.where(np.arange(60) < 6, 1.0, 1e-9), before, after)
    few = improvement(FEATURES, points[:6], np.ones(6), before, after)
    assert uneven.error == pytest.approx(few.error, rel=1e-4)
    assert uneven.error > 2 * even.error


def test_multiplicities_that_do_not_fit_are_refused() -> None:
    before, after = means()
    with pytest.raises(NumericsError, match="weights"):
        improvement(FEATURES, real(8, 30), np.ones(29), before, after)
