from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression

from synalign.errors import NumericsError
from synalign.numerics.evaluation import learning_curve
from synalign.numerics.evaluation.learning_curve import Worth, worth

SMALL = settings(max_examples=60, deadline=None)
SIZES = np.array([50, 100, 200, 400, 800])
CURVE = 0.1 * np.log(SIZES)


def _noisy(seed: int, seeds: int = 6, noise: float = 0.02) -> np.ndarray:
    return CURVE + np.random.default_rng(seed).normal(scale=noise, size=(seeds, 5))


def test_a_curve_that_needs_a_third_of_the_labels() -> None:
    """r(n) = 0.1 log n and m(n) = r(3 n): n records are worth 3 n, up to the largest size."""
    found = worth(SIZES, np.tile(CURVE, (4, 1)), np.tile(0.1 * np.log(3 * SIZES), (4, 1)), seed=0)
    assert [item.real_records for item in found] == SIZES.tolist()
    assert [item.bound for item in found] == ["", "", "", ">", ">"]
    assert [item.equivalent for item in found] == pytest.approx([150, 300, 600, 800, 800])
    assert [item.gain for item in found] == pytest.approx([100, 200, 400, 400, 0])
    # All seeds agree: so does every resample.
    assert [(item.low, item.high) for item in found[:3]] == [pytest.approx((n, n)) for n in (150, 300, 600)]
    assert (found[4].low_bound, found[4].high_bound) == (">", ">")


def test_synthetic_records_that_harm() -> None:
    found = worth(SIZES, CURVE[None], 0.1 * np.log(SIZES[None] / 2.5), seed=0)
    assert [item.bound for item in found] == ["<", "<", "", "", ""]
    assert [item.equivalent for item in found] == pytest.approx([50, 50, 80, 160, 320])
    assert [item.gain for item in found] == pytest.approx([0, -50, -120, -240, -480])


def test_between_sizes_the_curve_is_straight_over_log_n() -> None:
    found = worth([10, 1000], [[0.0, 1.0]], [[0.25, 0.5]], seed=0)
    assert [item.equivalent for item in found] == pytest.approx([10**1.5, 100.0])


def test_a_level_curve_gains_no_more_than_is_certain() -> None:
    real = [[0.5, 0.7, 0.7, 0.7, 0.9]]
    found = worth(SIZES, real, [[0.7, 0.7, 0.7, 0.7, 0.7]], seed=0)
    assert [item.equivalent for item in found] == pytest.approx([100, 100, 200, 400, 400])


def test_falling_means_are_pooled() -> None:
    # 0.6 and 0.5 are both 0.55: which is reached half way from 50 to 100, and from there on to 200.
    found = worth([50, 100, 200], [[0.4, 0.6, 0.5]], [[0.475, 0.55, 0.56]], seed=0)
    assert [item.equivalent for item in found] == pytest.approx([50 * 2**0.5, 100, 200])
    assert [item.bound for item in found] == ["", "", ">"]


@SMALL
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_pooling_against_scikit_learn(scores: list[float]) -> None:
    np.testing.assert_allclose(learning_curve._rising(np.array(scores)), isotonic_regression(scores), atol=1e-12)


@SMALL
@given(st.integers(0, 2**31), st.integers(1, 6))
def test_the_same_scores_are_worth_the_same_number(seed: int, seeds: int) -> None:
    scores = _noisy(seed, seeds, 0.1)
    for item in worth(SIZES, scores, scores, seed=1, resamples=50):
        assert (item.equivalent, item.bound) == (pytest.approx(item.real_records), "")
        assert item.gain == pytest.approx(0, abs=1e-9)
        if seeds > 1:
            assert (item.low, item.high) == pytest.approx((item.real_records, item.real_records))


def _ordered(value: float, bound: str) -> tuple[float, int]:
    return value, {"<": -1, "": 0, ">": 1}[bound]


@SMALL
@given(st.integers(0, 2**31), st.floats(0, 0.3))
def test_higher_scores_are_never_worth_less(seed: int, shift: float) -> None:
    real, mixed = _noisy(seed, noise=0.1), _noisy(seed + 1, noise=0.1)
    first, second = (worth(SIZES, real, mixed + by, seed=3, resamples=50) for by in (0.0, shift))
    for a, b in zip(first, second, strict=True):
        assert _ordered(a.equivalent - 1e-6, a.bound) <= _ordered(b.equivalent, b.bound)
        assert _ordered(a.low - 1e-6, a.low_bound) <= _ordered(b.low, b.low_bound)
        assert _ordered(a.high - 1e-6, a.high_bound) <= _ordered(b.high, b.high_bound)


@SMALL
@given(st.integers(0, 2**31), st.floats(0.1, 50), st.floats(-9, 9))
def test_the_unit_of_the_score_is_free(seed: int, factor: float, shift: float) -> None:
    real, mixed = _noisy(seed), _noisy(seed + 1) + 0.05
    one = worth(SIZES, real, mixed, seed=3, resamples=20)
    other = worth(SIZES, factor * real + shift, factor * mixed + shift, seed=3, resamples=20)
    for a, b in zip(one, other, strict=True):
        assert (a.bound, a.low_bound, a.high_bound) == (b.bound, b.low_bound, b.high_bound)
        assert (a.equivalent, a.low, a.high) == pytest.approx((b.equivalent, b.low, b.high), rel=1e-6)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Noise that a seed's real and mixed scores share cancels: drawn apart, the intervals would be far wider."""
    held, wide = 0, []
    for seed in range(60):
        random = np.random.default_rng(seed)
        shared = random.normal(scale=0.05, size=(12, 1))
        real, mixed = (curve + shared + random.normal(scale=0.01, size=(12, 5)) for curve in (CURVE, CURVE + 0.07))
        item = worth(SIZES, real, mixed, seed=seed, resamples=400)[2]
        held += item.low <= 200 * math.exp(0.7) <= item.high
        wide.append(item.high - item.low)
    assert held >= 50
    assert np.mean(wide) < 100


def test_the_seed_is_stated_and_reproduces() -> None:
    real, mixed = _noisy(1), _noisy(2) + 0.05
    assert worth(SIZES, real, mixed, seed=3) == worth(SIZES, real, mixed, seed=3)
    assert worth(SIZES, real, mixed, seed=3) != worth(SIZES, real, mixed, seed=4)


def test_one_seed_has_no_interval() -> None:
    (item, *_) = worth(SIZES, _noisy(1)[:1], _noisy(1)[:1], seed=0)
    assert math.isnan(item.low)
    assert math.isnan(item.high)
    assert item.seeds == 1


def test_in_words() -> None:
    said = str(Worth(100, 800.0, ">", 700.0, 412.3, "", 800.0, ">", 5))
    assert said == "100 real records with the synthetic ones score as >800 alone, 95% interval 412 to >800 over 5 seeds"
    assert str(Worth(100, 50.0, "<", -50.0, math.nan, "", math.nan, "", 1)).endswith("as <50 alone, one seed")


def test_wrong_arguments_are_named() -> None:
    good = np.zeros((2, 5))
    for sizes, real, mixed, message in (
        (SIZES[:4], good, good, r"the 5 columns of real, two or more; given: shape \(4,\)"),
        ([5], [[1.0]], [[1.0]], "the 1 columns"),
        ([0, 1], [[1.0, 2]], [[1.0, 2]], "at least 1 in ascending order"),
        ([5, 5], [[1.0, 2]], [[1.0, 2]], "ascending order; given: \\[5, 5\\]"),
        ([5.5, 6], [[1.0, 2]], [[1.0, 2]], "whole numbers"),
        (SIZES, good, good[:1], "a row for each of the 2 seeds"),
        (SIZES, good, good[:, :4], "mixed must have 5 columns"),
        (SIZES, good * np.nan, good, "real must be finite"),
    ):
        with pytest.raises(NumericsError, match=message):
            worth(sizes, real, mixed, seed=0)
    with pytest.raises(NumericsError, match="resamples"):
        worth(SIZES, good, good, seed=0, resamples=0)
