"""MAUVE: its ends in closed form, the package mauve-text as a second opinion, weights and floors."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from synalign.errors import NumericsError
from synalign.numerics.statistics.mauve import cluster_count, curve_area, mauve, quantise

COUNTS = st.lists(st.integers(0, 50), min_size=5, max_size=5).filter(any)


def normal(seed: int, rows: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 16)) + shift * np.eye(16)[0]


@given(COUNTS)
@settings(max_examples=30, deadline=None)
def test_equal_histograms_have_1(p: list[int]) -> None:
    assert curve_area(p, p) == pytest.approx(1, abs=1e-9)
    assert curve_area(p, [3 * count for count in p], smoothing=0) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_histograms_with_nothing_in_common_have_the_least(scale: int) -> None:
    """KL(P|R) = -log t, so that the curve is ((1-t)^c, t^c), and the area c B(c, c + 1) = 1 / C(2c, c)."""
    assert curve_area([3, 0, 4], [0, 9, 0], 0, scale) == pytest.approx(1 / comb(2 * scale, scale), rel=1e-4)


def test_half_in_common_by_quadrature() -> None:
    """P = (1/2, 1/2, 0) and Q = (0, 1/2, 1/2): KL(P|R) = -log(t) / 2, and the same of Q with 1 - t."""
    area = quad(lambda t: (1 - t) ** 2.5 * 2.5 * t**1.5, 0, 1)[0]
    assert curve_area([1, 1, 0], [0, 1, 1], smoothing=0) == pytest.approx(area, rel=1e-4)


@pytest.mark.parametrize(
    ("p", "q", "smoothed", "plain"),
    [
        (
            [34, 25, 20, 10, 12, 1, 3, 0, 7, 32, 25, 36],
            [20, 24, 38, 29, 25, 21, 22, 37, 11, 32, 26, 0],
            0.49840770874754364,
            0.4426300181592703,
        ),
        (
            [10, 24, 30, 15, 18, 39, 32, 39, 15, 27, 38, 26],
            [33, 27, 28, 15, 35, 5, 23, 28, 33, 21, 15, 12],
            0.847885893958232,
            0.8364829564348856,
        ),
    ],
)
def test_histograms_have_what_mauve_text_gives(p: list[int], q: list[int], smoothed: float, plain: float) -> None:
    """Computed once with mauve-text 0.4.0 (mauve_star and mauve), whose area is that of 25 points."""
    assert curve_area(p, q) == pytest.approx(smoothed, abs=4e-4)
    assert curve_area(p, q, smoothing=0) == pytest.approx(plain, abs=4e-4)


@given(COUNTS, COUNTS)
@settings(max_examples=40, deadline=None)
def test_the_area_is_symmetric_and_a_share(p: list[int], q: list[int]) -> None:
    assert 0 < curve_area(p, q) <= 1
    assert curve_area(p, q) == pytest.approx(curve_area(q, p), abs=1e-9)


def test_it_falls_with_the_distance_as_mauve_text_does() -> None:
    """mauve-text 0.4.0, mauve_star, on other draws: .972, .936, .801, .340."""
    found = [mauve(normal(0, 1000), normal(1, 1000, shift), 0) for shift in (0, 0.5, 1, 2)]
    np.testing.assert_allclose(found, [0.972, 0.936, 0.801, 0.340], atol=0.06)
    assert found == sorted(found, reverse=True)
    assert found == [mauve(normal(0, 1000), normal(1, 1000, shift), 0) for shift in (0, 0.5, 1, 2)]


def test_weights_that_leave_only_the_near_rows_bring_it_back() -> None:
    real = normal(0, 400)
    both = np.concatenate([normal(1, 400), normal(2, 400, 6)])
    near = np.arange(800) < 400
    raw, weighted = mauve(real, both, 0, k=30), mauve(real, both, 0, weights=near, k=30)
    assert raw < 0.7
    assert weighted > 0.9
    assert mauve(real, both, 0, np.full(400, 2.0), near * 5.0, k=30) == pytest.approx(weighted)


def test_few_effective_records_are_smoothed_harder() -> None:
    """Beside equal histograms of 400, one that is worth 4 has half a count in each bin, and so is nearer to flat."""
    x = np.repeat(np.eye(4), 100, axis=0)
    y = np.repeat(np.eye(4)[:2], 200, axis=0)
    few = np.zeros(400)
    few[[0, 1, 200, 201]] = 1
    assert mauve(x, y, 0, weights=few, k=4) > mauve(x, y, 0, k=4)


def test_all_rows_are_quantised_together() -> None:
    here, there = quantise(np.eye(3)[[0, 1]], 5 * np.eye(3)[[1, 2, 1]], 3, 0)
    assert here[1] == there[0] == there[2]
    assert len({here[0], there[0], there[1]}) == 3
    assert [cluster_count(*sizes) for sizes in ((5, 5), (300, 2000), (90_000, 60_000))] == [2, 30, 500]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1, 2], [1]), "q must be a vector of length 2"),
        (([0, 0], [1, 1]), "p must hold a value above 0"),
        (([1, -1], [1, 1]), "must not be negative"),
        (([1, 1], [1, 1], -1), "smoothing"),
        (([1, 1], [1, 1], 0, 0), "scale"),
    ],
)
def test_what_is_no_histogram_is_refused(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(NumericsError, match=said):
        curve_area(*arguments)
