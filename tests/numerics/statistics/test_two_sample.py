from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from synalign.errors import NumericsError
from synalign.numerics.core import checks
from synalign.numerics.statistics import two_sample
from synalign.numerics.statistics.mmd import mmd2
from synalign.numerics.statistics.two_sample import (
    Prdc,
    classifier_two_sample_auc,
    permutation_test,
    prdc,
    resample,
    share_distance,
)

SMALL = settings(max_examples=30, deadline=None)


def _sample(seed: int, rows: int, columns: int, loc: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(loc=loc, size=(rows, columns))


# The permutation test.


def test_mmd2_is_the_mean_over_bandwidths_of_the_unbiased_form() -> None:
    x, y = _sample(0, 30, 4), _sample(1, 21, 4, 0.3)
    result = permutation_test(x, y, [0.5, 2.0, 7.0], seed=0, permutations=1)
    expected = np.mean([mmd2(x, y, b) for b in (0.5, 2.0, 7.0)])
    assert result.mmd2 == pytest.approx(expected, rel=1e-9, abs=1e-13)
    assert permutation_test(x, y, 2, seed=0, permutations=1).mmd2 == pytest.approx(mmd2(x, y, 2.0), rel=1e-9)
    far = permutation_test(x + 1e6, y + 1e6, 2.0, seed=0, permutations=1)
    assert far.mmd2 == pytest.approx(mmd2(x, y, 2.0), rel=1e-6)


def test_against_all_splits_by_scipy() -> None:
    x, y = _sample(2, 4, 2), _sample(3, 4, 2, 0.8)

    def statistic(left: np.ndarray, right: np.ndarray) -> float:
        return mmd2(np.concatenate([x, y])[left.astype(int)], np.concatenate([x, y])[right.astype(int)], 1.0)

    exact = stats.permutation_test(
        (np.arange(4), np.arange(4, 8)), statistic, vectorized=False, n_resamples=np.inf, alternative="greater"
    )
    result = permutation_test(x, y, 1.0, seed=0, permutations=20_000)
    assert result.mmd2 == pytest.approx(exact.statistic)
    assert result.p_value == pytest.approx(exact.pvalue, abs=4 * math.sqrt(0.25 / 20_000))
    null = exact.null_distribution
    assert result.null_mean == pytest.approx(null.mean(), abs=4 * null.std() / math.sqrt(20_000))
    values = np.sort(null)
    assert values[int(0.93 * 70)] - 1e-12 <= result.null_q95 <= values[int(0.97 * 70)] + 1e-12


def test_p_values_are_uniform_where_nothing_differs_and_small_where_much_does() -> None:
    values = [
        permutation_test(_sample(s, 20, 2), _sample(1000 + s, 25, 2), 1.0, seed=s, permutations=99).p_value
        for s in range(150)
    ]
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    shifted = permutation_test(_sample(0, 20, 2), _sample(1, 25, 2, 3.0), 1.0, seed=0, permutations=99)
    assert shifted.p_value == pytest.approx(0.01)
    assert shifted.mmd2 > shifted.null_q95 > shifted.null_mean


def test_a_tie_counts_against_a_difference() -> None:
    same = np.ones((6, 3))
    assert permutation_test(same, same, 1.0, seed=0, permutations=50).p_value == 1.0
    # Of two rows each, 2 of 6 splits are the observed one or its mirror image, and no other is as far apart.
    x, y = np.array([[0.0], [0.1]]), np.array([[5.0], [5.3]])
    p_value = permutation_test(x, y, 1.0, seed=0, permutations=3000).p_value
    assert p_value == pytest.approx(1 / 3, abs=4 * math.sqrt(2 / 9 / 3000))


def test_the_permutations_are_seeded_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _sample(4, 15, 2), _sample(5, 15, 2)
    whole = permutation_test(x, y, 1.0, seed=1, permutations=60)
    assert permutation_test(x, y, 1.0, seed=1, permutations=60) == whole
    assert permutation_test(x, y, 1.0, seed=2, permutations=60).null_mean != whole.null_mean
    monkeypatch.setattr(checks, "BLOCK_BYTES", 7 * 30 * 8)
    parts = permutation_test(x, y, 1.0, seed=1, permutations=60)
    assert parts.p_value == whole.p_value
    assert parts.null_q95 == pytest.approx(whole.null_q95, rel=1e-9)


def test_wrong_arguments_of_the_permutation_test_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    x = _sample(6, 5, 2)
    with pytest.raises(NumericsError, match="at least 2 rows in synthetic; given: 1"):
        permutation_test(x, x[:1], 1.0, seed=0)
    with pytest.raises(NumericsError, match="synthetic must have 2 columns"):
        permutation_test(x, x[:, :1], 1.0, seed=0)
    with pytest.raises(NumericsError, match="bandwidths must be a finite number above 0"):
        permutation_test(x, x, [1.0, 0.0], seed=0)
    for wrong in ([], [[1.0]], ["a"], [math.nan]):
        with pytest.raises(NumericsError, match="bandwidths"):
            permutation_test(x, x, wrong, seed=0)
    with pytest.raises(NumericsError, match="permutations must be a whole number"):
        permutation_test(x, x, 1.0, seed=0, permutations=0)
    monkeypatch.setattr(two_sample, "MAX_POOLED", 9)
    with pytest.raises(NumericsError, match=r"at most 9 rows .* 5 real and 5 synthetic"):
        permutation_test(x, x, 1.0, seed=0)


# Resampling.


@SMALL
@given(
    st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=30).filter(any),
    st.integers(1, 200),
    st.integers(0, 2**31),
)
def test_each_row_is_drawn_its_share_rounded(weights: list[float], size: int, seed: int) -> None:
    rows = resample(weights, size, seed)
    assert rows.dtype == np.int64
    assert len(rows) == size
    assert np.all(np.diff(rows) >= 0)
    copies = np.bincount(rows, minlength=len(weights))
    expected = size * np.asarray(weights) / math.fsum(weights)
    assert np.all(copies >= np.floor(expected - 1e-6))
    assert np.all(copies <= np.ceil(expected + 1e-6))
    assert np.all(copies[np.asarray(weights) == 0] == 0)
    np.testing.assert_array_equal(rows, resample(weights, size, seed))


def test_copies_follow_the_weights_on_average() -> None:
    weights = np.array([0.05, 0.1, 0.3, 0.15, 0.4])
    draws = np.array([np.bincount(resample(weights, 3, seed), minlength=5) for seed in range(3000)])
    error = draws.std(axis=0) / math.sqrt(3000)
    assert np.all(np.abs(draws.mean(axis=0) - 3 * weights) < 4 * error + 1e-12)


def test_equal_weights_give_each_row_once_and_neighbours_can_be_drawn_together() -> None:
    np.testing.assert_array_equal(resample(np.full(7, 0.2), 7, seed=3), np.arange(7))
    together = sum({0, 1} <= set(resample(np.ones(10), 5, seed).tolist()) for seed in range(400))
    # Two of ten rows are among five with probability 5/10 * 4/9.
    assert together / 400 == pytest.approx(2 / 9, abs=0.09)


def test_wrong_arguments_of_resample_are_named() -> None:
    with pytest.raises(NumericsError, match="weights must be a vector of at least one number; given: shape \\(\\)"):
        resample(None, 3, seed=0)
    with pytest.raises(NumericsError, match="weights must not be negative; entry 1"):
        resample([1, -1], 3, seed=0)
    with pytest.raises(NumericsError, match="weights must hold a value above 0"):
        resample([0.0, 0.0], 3, seed=0)
    with pytest.raises(NumericsError, match="size must be a whole number of rows from 1"):
        resample([1.0], 0, seed=0)


# The classifier test.


def test_auc_against_scikit_learn_fold_by_fold() -> None:
    random = np.random.default_rng(7)
    scores = random.integers(0, 12, 90).astype(float)
    positive, fold = random.uniform(size=90) < 0.4, random.integers(0, 3, 90)
    weights = random.uniform(size=(2, 90)) * (random.uniform(size=(2, 90)) < 0.8)
    for row, value in zip(weights, two_sample._auc(scores, positive, fold, weights), strict=True):
        parts, pairs = [], []
        for k in range(3):
            at = fold == k
            parts.append(roc_auc_score(positive[at], scores[at], sample_weight=row[at]))
            pairs.append(row[at & positive].sum() * row[at & ~positive].sum())
        assert value == pytest.approx(np.average(parts, weights=pairs), rel=1e-12)
    one_sided = two_sample._auc(scores, positive, fold, np.where(positive, 1.0, 0.0)[None])
    assert np.isnan(one_sided[0])


def test_auc_of_shifted_normals_is_the_closed_form() -> None:
    x, y = _sample(8, 1500, 1), _sample(9, 1500, 1, 0.7)
    result = classifier_two_sample_auc(x, y, None, None, seed=0)
    expected = stats.norm.cdf(0.7 / math.sqrt(2))
    assert result.auc == pytest.approx(expected, abs=0.03)
    assert result.low < expected < result.high
    # Hanley and McNeil's standard error of an AUC.
    a, n = result.auc, 1500
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = math.sqrt((a * (1 - a) + (n - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / n**2)
    assert result.high - result.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert (result.real_records, result.synthetic_records) == (1500, 1500)


def test_auc_of_one_distribution_is_a_half_without_bias() -> None:
    results = [
        classifier_two_sample_auc(_sample(s, 30, 10), _sample(500 + s, 40, 10), None, None, seed=s) for s in range(25)
    ]
    values = np.array([result.auc for result in results])
    assert abs(values.mean() - 0.5) < 4 * values.std() / math.sqrt(25)
    assert sum(result.low <= 0.5 <= result.high for result in results) >= 19


def test_far_samples_are_told_apart() -> None:
    result = classifier_two_sample_auc(_sample(0, 20, 3), _sample(1, 25, 3, 9.0), None, None, seed=0)
    assert (result.auc, result.low, result.high) == pytest.approx((1.0, 1.0, 1.0), abs=1e-12)


def test_weights_undo_a_shift() -> None:
    # A standard normal weighted by exp(y) is a normal around 1.
    x, y = _sample(10, 800, 1, 1.0), _sample(11, 800, 1)
    plain = classifier_two_sample_auc(x, y, None, None, seed=0)
    weighted = classifier_two_sample_auc(x, y, None, np.exp(y[:, 0]), seed=0)
    assert plain.auc > 0.7
    assert weighted.low < 0.5 < weighted.high
    assert abs(weighted.auc - 0.5) < 0.07


def test_the_classifier_looks_for_what_weighs() -> None:
    # Nearly all weight is on the records shifted by 1 in the second column; most of the shift is in the first.
    x, y = _sample(40, 600, 2), _sample(41, 600, 2)
    y[:300, 0] += 4.0
    y[300:, 1] += 1.0
    result = classifier_two_sample_auc(x, y, None, np.repeat([0.01, 1.0], 300), seed=0)
    assert result.auc == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)), abs=0.04)


def test_a_weight_of_zero_is_absence_and_scale_is_free() -> None:
    x, y = _sample(12, 40, 3), _sample(13, 30, 3, 0.5)
    u, v = np.random.default_rng(0).uniform(0.5, 1.0, 40), np.random.default_rng(1).uniform(0.5, 1.0, 30)
    expected = classifier_two_sample_auc(x, y, u, v, seed=4)
    padded = classifier_two_sample_auc(
        np.concatenate([x, _sample(0, 9, 3, 50.0)]),
        np.concatenate([y, _sample(1, 5, 3, -50.0)]),
        np.append(u, np.zeros(9)),
        np.append(v, np.zeros(5)) * 8.0,
        seed=4,
    )
    assert astuple(padded) == pytest.approx(astuple(expected), rel=1e-9)
    assert (padded.real_records, padded.synthetic_records) == (40, 30)


def test_copies_do_not_help_the_classifier() -> None:
    # In more columns than rows a fit knows each row that it has seen, and would know its copy.
    x, y = _sample(14, 30, 200), _sample(15, 30, 200)
    doubled = classifier_two_sample_auc(np.repeat(x, 3, axis=0), np.repeat(y, 3, axis=0), None, None, seed=0)
    assert 0.3 < doubled.auc < 0.7
    # Copies are no further evidence: the interval is as wide as that of the single rows.
    single = classifier_two_sample_auc(x, y, None, None, seed=0)
    assert doubled.high - doubled.low == pytest.approx(single.high - single.low, rel=0.25)


def test_a_row_of_both_samples_is_a_tie() -> None:
    x = _sample(16, 40, 5)
    result = classifier_two_sample_auc(x, x[::-1], None, None, seed=0)
    assert result.auc == pytest.approx(0.5, abs=1e-12)


@SMALL
@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=12, max_size=60),
    st.integers(2, 4),
    st.integers(0, 99),
)
def test_groups_are_dealt_whole_and_evenly(rows: list[tuple[int, bool]], folds: int, seed: int) -> None:
    group = np.unique([name for name, _ in rows], return_inverse=True)[1]
    is_synthetic = np.array([side for _, side in rows])
    kind = two_sample._kinds(group, is_synthetic)
    fold = two_sample._deal(group, kind, folds, np.random.default_rng(seed))
    for sides in ((0, 1), (1, 2)):
        dealt = np.bincount(fold[np.isin(kind, sides)], minlength=folds)
        assert dealt.max() - dealt.min() <= 1
    for number in range(len(kind)):
        held = set(is_synthetic[group == number].tolist())
        assert kind[number] == {(False,): 0, (False, True): 1, (True,): 2}[tuple(sorted(held))]


def test_wrong_arguments_of_the_classifier_test_are_named() -> None:
    x = _sample(17, 12, 2)
    with pytest.raises(NumericsError, match="at least 5 distinct rows of positive weight in synthetic; given: 4"):
        classifier_two_sample_auc(x, np.repeat(x[:4], 3, axis=0), None, None, seed=0)
    with pytest.raises(NumericsError, match="at least 5 distinct rows of positive weight in real; given: 3"):
        classifier_two_sample_auc(x, x, np.arange(12) < 3, None, seed=0)
    with pytest.raises(NumericsError, match="synthetic_weights must be a vector of length 12"):
        classifier_two_sample_auc(x, x, None, np.ones(3), seed=0)
    with pytest.raises(NumericsError, match="folds must be a whole number of folds from 2"):
        classifier_two_sample_auc(x, x, None, None, seed=0, folds=1)


# Precision, recall, density, coverage.


def _radii(points: np.ndarray, counts: np.ndarray, k: int) -> list[float]:
    radii = []
    for i, point in enumerate(points):
        others = sorted((math.dist(point, other), counts[j]) for j, other in enumerate(points) if j != i)
        total, radius = 0.0, 0.0
        for distance, count in others:
            radius = distance
            total += count
            if total >= k - 1e-9:
                break
        radii.append(radius)
    return radii


def _brute_force(x: np.ndarray, y: np.ndarray, k: int, u: np.ndarray, v: np.ndarray) -> tuple[float, ...]:
    """The definitions by loops over pairs; `within` allows for nothing but the rounding of a distance."""
    u, v = u / u.sum(), v / v.sum()
    c, e = u / (u @ u), v / (v @ v)
    x_radii, y_radii = _radii(x, c, k), _radii(y, e, k)

    def within(a: np.ndarray, b: np.ndarray, radius: float) -> bool:
        return math.dist(a, b) <= radius * (1 + 1e-10)

    precision = recall = density = coverage = 0.0
    for j, b in enumerate(y):
        holding = sum(c[i] for i, a in enumerate(x) if within(a, b, x_radii[i]))
        precision += v[j] * min(1.0, holding)
        density += v[j] * holding / k
    for i, a in enumerate(x):
        coverage += u[i] * min(1.0, sum(e[j] for j, b in enumerate(y) if within(a, b, x_radii[i])))
        recall += u[i] * min(1.0, sum(e[j] for j, b in enumerate(y) if within(a, b, y_radii[j])))
    return precision, recall, density, coverage


def _unweighted(x: np.ndarray, y: np.ndarray, k: int) -> tuple[float, ...]:
    """The papers' definitions: a ball reaches to the k-th of the other records, existence and counts."""
    x_balls = [(a, sorted(math.dist(a, other) for other in x)[k]) for a in x]
    y_balls = [(b, sorted(math.dist(b, other) for other in y)[k]) for b in y]
    held = [sum(math.dist(a, b) <= radius for a, radius in x_balls) for b in y]
    return (
        sum(count > 0 for count in held) / len(y),
        sum(any(math.dist(a, b) <= radius for b, radius in y_balls) for a in x) / len(x),
        sum(held) / (k * len(y)),
        sum(any(math.dist(a, b) <= radius for b in y) for a, radius in x_balls) / len(x),
    )


def _values(result: Prdc) -> tuple[float, ...]:
    return result.precision, result.recall, result.density, result.coverage


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equal_weights_give_the_papers_definitions(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _sample(18, 31, 2), _sample(19, 23, 2, 1.0)
    expected = _unweighted(x, y, k)
    assert 0 < min(expected) < max(expected[:2]) <= 1
    assert _values(prdc(x, y, k)) == pytest.approx(expected, rel=1e-13)
    weighted = prdc(x, y, k, np.full(31, 0.1), np.full(23, 1 / 3))
    assert weighted == prdc(x, y, k)
    monkeypatch.setattr(checks, "BLOCK_BYTES", 4 * 31 * 8)
    assert _values(prdc(x, y, k)) == pytest.approx(expected, rel=1e-13)


@SMALL
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_weights_against_brute_force(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(25, 2)), random.normal(loc=0.5, size=(30, 2))
    u, v = random.uniform(size=25), random.exponential(size=30)
    assert _values(prdc(x, y, k, u, v * 7)) == pytest.approx(_brute_force(x, y, k, u, v), rel=1e-9)


def test_a_weight_of_zero_is_absence_and_a_tiny_one_nearly() -> None:
    x, y = _sample(20, 30, 2), _sample(21, 30, 2, 0.4)
    u, v = np.random.default_rng(2).uniform(0.2, 1.0, 30), np.random.default_rng(3).uniform(0.2, 1.0, 30)
    # A record far out has a ball that reaches over much of the other sample, and it is nobody's neighbour.
    x[:6, 0] -= 20.0
    more_x, more_y = np.concatenate([x, [[60.0, 0.0]]]), np.concatenate([y, [[-50.0, 0.0]]])
    expected = prdc(x, y, 3, u, v)
    assert prdc(more_x, more_y, 3, np.append(u, 0.0), np.append(v, 0.0)) == expected
    tiny = prdc(more_x, more_y, 3, np.append(u, 1e-9), np.append(v, 1e-9))
    assert _values(tiny) == pytest.approx(_values(expected), rel=1e-6)
    assert prdc(more_x, more_y, 3, np.append(u, 0.0), np.append(v, 1.0)).recall > expected.recall + 0.1


def test_expected_coverage_and_density_of_one_distribution() -> None:
    # Naeem et al.: with as many records on both sides, 1 - (n-1)...(n-k) / ((2n-1)...(2n-k)), and 1.
    n, k = 100, 5
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    results = [prdc(_sample(s, n, 3), _sample(900 + s, n, 3), k) for s in range(30)]
    assert np.mean([result.coverage for result in results]) == pytest.approx(expected, abs=0.01)
    assert np.mean([result.density for result in results]) == pytest.approx(1.0, abs=0.05)


def test_true_weights_bring_a_shifted_sample_near_that() -> None:
    # A standard normal weighted by exp(y) is a normal around 1.
    y = _sample(22, 600, 2)
    x = np.concatenate([_sample(23, 300, 1, 1.0), _sample(24, 300, 1)], axis=1)
    assert prdc(x, y, synthetic_weights=np.exp(y[:, 0])).density == pytest.approx(1.0, abs=0.1)
    far = np.concatenate([x[:150], _sample(25, 150, 2, 40.0)])
    plain, weighted, alone = prdc(x, far), prdc(x, far, 5, None, np.repeat([1.0, 0.02], 150)), prdc(x, x[:150])
    assert plain.precision == pytest.approx(0.5)
    assert _values(weighted) == pytest.approx(_values(alone), abs=0.05)


def test_known_shapes() -> None:
    near, far = _sample(24, 20, 2), _sample(25, 20, 2, 1000.0)
    both = np.concatenate([near, far])
    assert _values(prdc(near, far)) == (0.0, 0.0, 0.0, 0.0)
    one_mode = prdc(both, near)
    assert (one_mode.precision, one_mode.recall, one_mode.coverage) == (1.0, 0.5, 0.5)
    two_modes = prdc(near, both)
    assert (two_modes.precision, two_modes.recall, two_modes.coverage) == (0.5, 1.0, 1.0)


def test_copies_far_from_the_origin_lie_on_the_edge_of_their_balls() -> None:
    # More than k copies: all radii are 0, and the other sample's copies are at distance 0.
    x = np.repeat(_sample(26, 4, 8, 300.0), 8, axis=0)
    assert _values(prdc(x.astype(np.float32), x.astype(np.float32)[::-1])) == (1.0, 1.0, 8 / 5, 1.0)


def test_rounding_and_position_decide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each ball holds its record's copy and those of k neighbours, the last on its edge.
    x = _sample(28, 150, 64, 30.0)
    copies = x[np.random.default_rng(0).permutation(150)]
    assert _values(prdc(x, copies, 4)) == (1.0, 1.0, 5 / 4, 1.0)
    again = np.concatenate([copies, _sample(30, 37, 64, -900.0)])
    assert prdc(x, again, 4, None, np.arange(187) < 150).density == 5 / 4
    with monkeypatch.context() as patch:
        patch.setattr(checks, "BLOCK_BYTES", 150 * 8)
        assert _values(prdc(x, copies, 4)) == (1.0, 1.0, 5 / 4, 1.0)
    y = _sample(29, 120, 64, 30.1)
    assert prdc(x + 1e6, y + 1e6) == prdc(x, y)
    for n in range(2, 150):
        assert np.all(two_sample._effective_counts("real", x[:n], np.full(n, 0.3), 1)[1] == 1.0)


def test_a_record_that_outweighs_all_others_reaches_to_the_farthest() -> None:
    x = np.arange(8.0)[:, None]
    u = np.array([3.0, 1, 1, 1, 1, 1, 1, 1])
    # The others stand for less than 5 of the effective 100 / 16 records.
    assert _values(prdc(x, x, 5, u, u)) == pytest.approx(_brute_force(x, x, 5, u, u), rel=1e-12)
    assert two_sample._reach(x, u / 1.6, 5)[0] == pytest.approx(49.0)


def test_wrong_arguments_of_prdc_are_named() -> None:
    x = _sample(27, 6, 2)
    assert prdc(x, x, 5).precision == 1.0
    with pytest.raises(NumericsError, match=r"at least 6 in synthetic; given: 5\.0, from 5 records"):
        prdc(x, x[:5], 5)
    with pytest.raises(NumericsError, match=r"at least 6 in real; given: 2\.0, from 2 records"):
        prdc(x, x, 5, real_weights=[1, 1, 0, 0, 0, 0])
    with pytest.raises(NumericsError, match="k must be a whole number of neighbours from 1"):
        prdc(x, x, 0)
    with pytest.raises(NumericsError, match="real_weights must not be negative"):
        prdc(x, x, 1, real_weights=[1, 1, 1, 1, 1, -1])


# Shares.


def test_share_distance_closed_forms() -> None:
    assert share_distance([1, 0, 0], [0, 2, 2]) == 1.0
    assert share_distance([3, 1], [1, 1]) == pytest.approx(0.25)
    assert share_distance([5], [2]) == 0.0


@SMALL
@given(st.integers(1, 8).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 50), min_size=n, max_size=n)] * 3)))
def test_share_distance_is_a_metric_of_shares(vectors: tuple[list[int], ...]) -> None:
    a, b, c = (np.asarray(vector) + 1.0 * (sum(vector) == 0) for vector in vectors)
    d = share_distance(a, b)
    # What is in one and not in the other: the largest difference of any set of entries.
    p, q = a / a.sum(), b / b.sum()
    assert d == pytest.approx(max(0.0, float((p - q)[p > q].sum())), abs=1e-12)
    assert d == share_distance(b, a) == pytest.approx(share_distance(3.0 * a, b), abs=1e-12)
    assert d <= share_distance(a, c) + share_distance(c, b) + 1e-12
    assert 0 <= d <= 1


def test_wrong_shares_are_named() -> None:
    with pytest.raises(NumericsError, match="b must be a vector of length 2; given: shape \\(3,\\)"):
        share_distance([1, 2], [1, 2, 3])
    with pytest.raises(NumericsError, match="a must be a vector of at least one number"):
        share_distance([], [])
    with pytest.raises(NumericsError, match="b must be"):
        share_distance([1.0], None)
