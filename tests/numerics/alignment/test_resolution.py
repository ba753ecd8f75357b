from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from synalign.errors import NumericsError
from synalign.numerics.alignment import resolution
from synalign.numerics.alignment.resolution import LARGEST, SMALLEST, choose_feature_count
from synalign.numerics.core.features import RandomFeatures


def _sides(n: int, m: int, d: int = 4, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)), random.normal(shift, 1.0, size=(m, d))


def _mean_kernel(x: np.ndarray, y: np.ndarray, bandwidths: tuple[float, ...]) -> float:
    squared = cdist(x, y) ** 2
    return float(np.mean([np.exp(-squared / (2 * width**2)).mean() for width in bandwidths]))


def _errors(
    x: np.ndarray, y: np.ndarray, bandwidths: tuple[float, ...], count: int, seeds: range
) -> tuple[float, float]:
    """Return the root mean square error of the squared MMD under random features, and what the module promises."""
    within = _mean_kernel(x, x, bandwidths)
    exact = within + _mean_kernel(y, y, bandwidths) - 2 * _mean_kernel(x, y, bandwidths)
    squares = []
    for seed in seeds:
        features = RandomFeatures.draw(x.shape[1], count, bandwidths, seed)
        difference = features.map(x).mean(axis=0, dtype=np.float64) - features.map(y).mean(axis=0, dtype=np.float64)
        squares.append((np.sum(difference**2) - exact) ** 2)
    return float(np.sqrt(np.mean(squares))), max(0.02 * exact, (1 / len(x) + 1 / len(y)) * (1 - within))


@pytest.mark.parametrize("bandwidths", [(0.3,), (2.0,), (0.5, 4.0)])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_smallest_number_that_meets_the_bound_is_returned(
    bandwidths: tuple[float, ...], shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolution, "SMALLEST", 8)
    x, y = _sides(200, 150, shift=shift)
    count = choose_feature_count(x, y, bandwidths, 3)
    assert count in 2 ** np.arange(3, 14)
    error, bound = _errors(x, y, bandwidths, count, range(3, 6))
    # The mean kernel of the bound is itself an estimate, under few features.
    assert error <= 1.1 * bound
    if count > 8:
        error, bound = _errors(x, y, bandwidths, count // 2, range(3, 6))
        assert error > 0.9 * bound


def test_draws_that_were_not_looked_at_are_about_as_good() -> None:
    x, y = _sides(200, 200, shift=0.4)
    count = choose_feature_count(x, y, (2.0,), 0)
    error, bound = _errors(x, y, (2.0,), count, range(100, 120))
    assert error < 3 * bound


def test_the_same_distribution_with_more_records_never_needs_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record several times over: the distance is the same, and less of it is left open."""
    monkeypatch.setattr(resolution, "SMALLEST", 8)
    x, y = _sides(20, 20, shift=0.1)
    counts = [choose_feature_count(np.tile(x, (k, 1)), np.tile(y, (k, 1)), (2.0,), 1) for k in (1, 2, 5, 10)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_the_range_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _sides(5, 5)
    assert choose_feature_count(x, y, (1.0,), 0) == SMALLEST
    monkeypatch.setattr(resolution, "LARGEST", 64)
    monkeypatch.setattr(resolution, "SMALLEST", 16)
    monkeypatch.setattr(resolution, "_RELATIVE", 0.0)
    x, y = _sides(200, 200, shift=2.0)
    assert choose_feature_count(x, y, (2.0,), 0) == 64
    assert (SMALLEST, LARGEST) == (256, 8192)


def test_at_most_a_sample_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "_SAMPLE", 30)
    shapes = []
    exact = resolution.mmd2

    def watched(x: np.ndarray, y: np.ndarray, *more: float, **named: bool) -> float:
        shapes.append((len(np.unique(x, axis=0)), len(np.unique(y, axis=0))))
        return exact(x, y, *more, **named)

    monkeypatch.setattr(resolution, "mmd2", watched)
    choose_feature_count(*_sides(2000, 20), (1.0, 2.0), 0)
    assert shapes == [(30, 20), (30, 20)]


def test_records_that_are_all_equal_need_the_fewest() -> None:
    for n, m in ((1, 1), (5, 7), (300, 200), (100, 30)):
        assert choose_feature_count(np.full((n, 3), 0.3), np.full((m, 3), 0.3), (1.0,), 0) == SMALLEST


def test_the_seed_determines_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "SMALLEST", 8)
    monkeypatch.setattr(resolution, "_SAMPLE", 50)
    x, y = _sides(300, 200, shift=0.3)
    found = [choose_feature_count(x, y, (1.0,), seed) for seed in (0, 1, 2, 3)]
    assert found == [choose_feature_count(x, y, (1.0,), seed) for seed in (0, 1, 2, 3)]
    assert len(set(found)) > 1


def test_wrong_arguments_are_named() -> None:
    x, y = _sides(5, 5)
    with pytest.raises(NumericsError, match="synthetic must have 4 columns, as real has"):
        choose_feature_count(x, y[:, :2], (1.0,), 0)
    with pytest.raises(NumericsError, match="real must be finite; row 0"):
        choose_feature_count(x * np.nan, y, (1.0,), 0)
    with pytest.raises(NumericsError, match="bandwidth must be"):
        choose_feature_count(x, y, (0.0,), 0)
