from __future__ import annotations

import math

import numpy as np
import pytest

from synalign.errors import NumericsError
from synalign.numerics.core.features import RandomFeatures
from synalign.numerics.statistics import mmd
from synalign.numerics.statistics.mmd import mmd2, mmd2_features


def _double_loop(x: np.ndarray, y: np.ndarray, h: float, u: np.ndarray, v: np.ndarray, unbiased: bool) -> float:
    """Sum over ordered pairs, term by term, in plain Python."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return math.exp(-sum((float(s) - float(t)) ** 2 for s, t in zip(a, b, strict=True)) / (2 * h * h))

    def within(points: np.ndarray, weights: np.ndarray) -> float:
        top = bottom = 0.0
        for i in range(len(points)):
            for j in range(len(points)):
                if i != j or not unbiased:
                    top += weights[i] * weights[j] * kernel(points[i], points[j])
                    bottom += weights[i] * weights[j]
        return top / bottom

    cross = sum(u[i] * v[j] * kernel(x[i], y[j]) for i in range(len(x)) for j in range(len(y))) / (sum(u) * sum(v))
    return within(x, u) + within(y, v) - 2 * cross


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("block", [3, 4096])
def test_against_a_double_loop(unbiased: bool, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmd, "_BLOCK_COLUMNS", block)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(11, 3)), random.normal(loc=0.5, size=(8, 3))
    u, v = random.uniform(size=11), random.uniform(size=8)
    u[2] = 0.0
    expected = _double_loop(x, y, 0.9, u, v, unbiased)
    assert mmd2(x, y, 0.9, u, v, unbiased=unbiased) == pytest.approx(expected, rel=1e-10, abs=1e-14)
    equal = _double_loop(x, y, 0.9, np.ones(11), np.ones(8), unbiased)
    assert mmd2(x, y, 0.9, unbiased=unbiased) == pytest.approx(equal, rel=1e-10, abs=1e-14)
    assert mmd2(y, x, 0.9, unbiased=unbiased) == pytest.approx(equal, rel=1e-10, abs=1e-14)


def test_a_whole_weight_counts_as_copies_in_the_biased_form() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(6, 2)), random.normal(size=(5, 2))
    copies = np.array([1, 3, 2, 1, 1, 4])
    weighted = mmd2(x, y, 1.0, x_weights=copies, unbiased=False)
    assert weighted == pytest.approx(mmd2(np.repeat(x, copies, axis=0), y, 1.0, unbiased=False), rel=1e-10)


def test_unbiased_is_zero_on_average_and_biased_is_the_floor() -> None:
    # E k(X, Y) of independent N(0, I_d) is (1 + 2 / h^2)^(-d/2): the floor at n a side is 2 / n (1 - that).
    random = np.random.default_rng(2)
    n, d, h = 40, 3, 1.5
    pairs = [(random.normal(size=(n, d)), random.normal(size=(n, d))) for _ in range(300)]
    values = np.array([mmd2(x, y, h) for x, y in pairs])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(300)
    expected = 2 / n * (1 - (1 + 2 / h**2) ** (-d / 2))
    assert np.mean([mmd2(x, y, h, unbiased=False) for x, y in pairs]) == pytest.approx(expected, rel=0.05)


def test_a_sample_against_itself_is_zero_far_from_the_origin() -> None:
    x = np.random.default_rng(3).normal(loc=1000.0, size=(50, 4)).astype(np.float32)
    assert mmd2(x, x.copy(), 1.0, unbiased=False) == pytest.approx(0.0, abs=1e-12)


def test_random_features_estimate_the_biased_form() -> None:
    random = np.random.default_rng(4)
    x, y = random.normal(size=(200, 5)), random.normal(loc=0.4, size=(150, 5))
    features = RandomFeatures.draw(5, 8192, 2.0, seed=0)
    estimate = mmd2_features(features.mean(x), features.mean(y))
    assert estimate == pytest.approx(mmd2(x, y, 2.0, unbiased=False), rel=0.1)


def test_wrong_arguments_are_named() -> None:
    x = np.zeros((3, 2))
    with pytest.raises(NumericsError, match="2 columns"):
        mmd2(x, np.zeros((3, 4)), 1.0)
    with pytest.raises(NumericsError, match="bandwidth"):
        mmd2(x, x, 0.0)
    with pytest.raises(NumericsError, match="at least 2 records of positive weight in y; given: 1 of 3"):
        mmd2(x, x, 1.0, y_weights=[0, 1, 0])
    with pytest.raises(NumericsError, match="length 2"):
        mmd2_features([1.0, 2.0], [1.0])
