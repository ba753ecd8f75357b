from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import ndcg_score

from synalign.errors import NumericsError
from synalign.numerics.evaluation import ranking
from synalign.numerics.evaluation.ranking import (
    agreement,
    bootstrap_mean,
    exact_search,
    hits,
    ndcg_at,
    paired_bootstrap,
    recall_at,
    reciprocal_rank,
)


def _units(seed: int, rows: int, columns: int) -> np.ndarray:
    matrix = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


# Exact search.


@pytest.mark.parametrize("top", [1, 7, 300, 1000])
def test_search_finds_what_a_full_sort_in_float64_finds(top: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_TILE", 64)
    queries, documents = _units(0, 50, 24), _units(1, 300, 24)
    rows, scores = exact_search(queries, documents, top)
    product = queries.astype(np.float64) @ documents.T.astype(np.float64)
    expected = np.argsort(-product, axis=1, kind="stable")[:, :top]
    np.testing.assert_array_equal(rows, expected)
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, np.take_along_axis(product, expected, axis=1), rtol=1e-6)


def test_search_does_not_depend_on_blocks_and_equal_documents_come_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every document stands there five times, wherever a tile ends: equal scores in ascending order of rows."""
    queries, once = _units(2, 33, 37), _units(3, 61, 37)
    documents = np.tile(once, (5, 1))
    rows, scores = exact_search(queries, documents, 12)
    for block, tile in ((1, 7), (5, 100), (32, 61), (33, 305)):
        monkeypatch.setattr(ranking, "_TILE", tile)
        again = exact_search(queries, documents, 12, block=block)
        np.testing.assert_array_equal(again[0], rows)
        np.testing.assert_array_equal(again[1], scores)
    first = np.argsort(-(queries.astype(np.float64) @ once.T.astype(np.float64)), axis=1)[:, :3]
    expected = np.concatenate([first[:, [0]] + 61 * np.arange(5), first[:, [1]] + 61 * np.arange(5)], axis=1)
    np.testing.assert_array_equal(rows[:, :10], expected)
    np.testing.assert_array_equal(rows[:, 10:], first[:, [2]] + 61 * np.arange(2))
    assert (scores[:, :5] == scores[:, :1]).all()


def test_search_among_documents_that_are_all_equal() -> None:
    rows, _ = exact_search(_units(4, 3, 8), np.tile(_units(5, 1, 8), (40, 1)), 5)
    np.testing.assert_array_equal(rows, np.tile(np.arange(5), (3, 1)))


@pytest.mark.parametrize(
    ("queries", "documents", "top", "said"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), 1, "columns"),
        (np.ones((2, 3)), np.ones((2, 3)), 0, "top"),
        (np.full((2, 3), np.nan), np.ones((2, 3)), 1, "finite"),
        (np.ones((2, 3)), np.ones((0, 3)), 1, "documents"),
    ],
)
def test_search_refuses(queries: np.ndarray, documents: np.ndarray, top: int, said: str) -> None:
    with pytest.raises(NumericsError, match=said):
        exact_search(queries, documents, top)


# What a ranking is worth.


def test_figures_by_hand() -> None:
    rows = np.array([[4, 2, 7], [7, 4, 2], [1, 2, 4], [0, 1, -1]])
    ranks = hits(rows, np.array([4, 4, 4, 9]))
    np.testing.assert_array_equal(ranks, [1, 2, 3, 0])
    np.testing.assert_array_equal(recall_at(ranks, 1), [1, 0, 0, 0])
    np.testing.assert_array_equal(recall_at(ranks, 2), [1, 1, 0, 0])
    np.testing.assert_allclose(reciprocal_rank(ranks), [1, 1 / 2, 1 / 3, 0])
    np.testing.assert_allclose(reciprocal_rank(ranks, 2), [1, 1 / 2, 0, 0])
    np.testing.assert_allclose(ndcg_at(ranks), [1, 1 / math.log2(3), 1 / 2, 0])
    np.testing.assert_allclose(ndcg_at(ranks, 2), [1, 1 / math.log2(3), 0, 0])


def test_gain_is_that_of_scikit_learn() -> None:
    queries, documents = _units(6, 40, 12), _units(7, 90, 12)
    relevant = np.random.default_rng(8).integers(0, 90, size=40)
    rows, _ = exact_search(queries, documents, 90)
    for k in (1, 10, 90):
        found = ndcg_at(hits(rows, relevant), k)
        truth = np.zeros((40, 90))
        truth[np.arange(40), relevant] = 1
        expected = [ndcg_score(truth[[i]], (queries[[i]] @ documents.T), k=k) for i in range(40)]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_agreement_counts_what_an_index_missed() -> None:
    exact = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    index = np.array([[2, 1, 9, 4], [5, -1, -1, -1]])
    np.testing.assert_allclose(agreement(index, exact, 2), [1.0, 0.5])
    np.testing.assert_allclose(agreement(index, exact, 4), [0.75, 0.25])
    np.testing.assert_allclose(agreement(exact, exact, 10), [1.0, 1.0])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: hits(np.ones((2, 3), int), np.array([1])), "same queries"),
        (lambda: hits(np.ones((1, 3), int), np.array([-1])), "query 0"),
        (lambda: hits(np.ones((1, 3)), np.array([1])), "whole numbers"),
        (lambda: recall_at(np.array([-1]), 1), "ranks"),
        (lambda: ndcg_at(np.array([1]), 0), "k must"),
        (lambda: agreement(np.ones((1, 3), int), np.ones((2, 3), int), 1), "same queries"),
    ],
)
def test_figures_refuse(call: object, said: str) -> None:
    with pytest.raises(NumericsError, match=said):
        call()  # type: ignore[operator]


# The bootstrap.


def test_bootstrap_is_that_of_scipy() -> None:
    """Of 200 values, against scipy's percentile interval, and a test of Student's."""
    random = np.random.default_rng(9)
    first, second = random.normal(0.1, 1.0, size=200), random.normal(0.0, 0.5, size=200)
    found = paired_bootstrap(first, second, seed=1)
    difference = first - second
    other = stats.bootstrap((difference,), np.mean, n_resamples=20_000, method="percentile", rng=3).confidence_interval
    assert found.difference == pytest.approx(difference.mean())
    assert found.low == pytest.approx(other.low, abs=0.015)
    assert found.high == pytest.approx(other.high, abs=0.015)
    assert found.p_value == pytest.approx(stats.ttest_1samp(difference, 0.0).pvalue, abs=0.02)
    mean = bootstrap_mean(difference, seed=1)
    assert mean == (found.difference, found.low, found.high)


@pytest.mark.parametrize(("queries", "groups"), [(20, None), (150, None), (300, 30)])
def test_intervals_cover_as_they_say(queries: int, groups: int | None) -> None:
    """Differences of reciprocal ranks, of queries alone and of groups that share half of their variance: the mean of
    the population is inside 95 of 100 intervals, and a true null is rejected in 5 of 100."""
    repetitions, inside, rejected, bare = 250, 0, 0, 0
    for repetition in range(repetitions):
        random = np.random.default_rng([queries, repetition])
        shared = np.zeros(queries)
        codes = None
        if groups is not None:
            codes = np.arange(queries) % groups
            shared = random.normal(0.0, 0.5, size=groups)[codes]
        ease = random.normal(size=queries)
        ranks = [np.ceil(np.exp(1.0 + ease + shared * sign + random.normal(0, 0.6, size=queries))) for sign in (1, -1)]
        first, second = (reciprocal_rank(rank.astype(np.int64)) for rank in ranks)
        found = paired_bootstrap(first, second, repetition, rounds=400, groups=codes)
        inside += found.low <= 0.0 <= found.high
        rejected += found.p_value < 0.05
        if groups is not None:
            alone = paired_bootstrap(first, second, repetition, rounds=400)
            bare += alone.low <= 0.0 <= alone.high
    assert 0.91 <= inside / repetitions <= 0.985
    assert 0.015 <= rejected / repetitions <= 0.09
    if groups is not None:
        assert bare / repetitions < 0.85, "the simulated groups matter"


def test_p_value_agrees_with_the_interval() -> None:
    random = np.random.default_rng(11)
    sure = 0
    for seed in range(40):
        values = random.normal(0.45, 1.0, size=25)
        found = paired_bootstrap(values, np.zeros(25), seed, rounds=2000)
        if abs(found.p_value - 0.05) > 0.01:
            assert (found.p_value < 0.05) == (not found.low <= 0.0 <= found.high)
            sure += 1
    assert sure > 25


def test_bootstrap_is_a_function_of_the_seed_and_of_no_order() -> None:
    random = np.random.default_rng(12)
    first, second = random.random(60), random.random(60)
    groups, weights = random.integers(0, 20, size=60), random.random(60)
    found = paired_bootstrap(first, second, 5, groups=groups, weights=weights)
    order = random.permutation(60)
    names = np.array([f"document {code:02d}" for code in groups])
    again = paired_bootstrap(first[order], second[order], 5, groups=names[order], weights=3.0 * weights[order])
    np.testing.assert_allclose(again, found, rtol=1e-9)
    assert paired_bootstrap(first, second, 6, groups=groups, weights=weights) != found
    swapped = paired_bootstrap(second, first, 5)
    assert swapped.difference == pytest.approx(-paired_bootstrap(first, second, 5).difference)


def test_a_weight_counts_as_so_many_queries_and_none_as_no_query() -> None:
    values, weights = np.array([0.0, 1.0, 1.0, 0.5, 9.0]), np.array([1, 2, 1, 3, 0])
    groups = np.array([0, 1, 2, 3, 4])
    found = bootstrap_mean(values, 1, groups=groups, weights=weights)
    repeated = bootstrap_mean(np.repeat(values, weights), 1, groups=np.repeat(groups, weights))
    np.testing.assert_allclose(found, repeated, rtol=1e-9)
    assert found.mean == pytest.approx(4.5 / 7)


def test_no_difference_is_no_evidence() -> None:
    values = np.random.default_rng(13).random(30)
    assert paired_bootstrap(values, values, 1) == (0.0, 0.0, 0.0, pytest.approx(1.0))
    assert bootstrap_mean(np.ones(30), 1) == (pytest.approx(1.0), pytest.approx(1.0), pytest.approx(1.0))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: paired_bootstrap([1.0, 0.0], [1.0], 1), "length 2"),
        (lambda: paired_bootstrap([], [], 1), "given: 0"),
        (lambda: bootstrap_mean([1.0], 1), "given: 1"),
        (lambda: bootstrap_mean([1.0, 0.0], 1, groups=[3, 3]), "groups of queries"),
        (lambda: bootstrap_mean([1.0, 0.0], 1, groups=[3]), "groups must"),
        (lambda: bootstrap_mean([1.0, 0.0], 1, weights=[1.0, 0.0]), "positive weight"),
        (lambda: bootstrap_mean([1.0, math.nan], 1), "finite"),
        (lambda: bootstrap_mean([1.0, 0.0], 1, level=1.0), "level"),
        (lambda: bootstrap_mean([1.0, 0.0], 1, rounds=0), "rounds"),
    ],
)
def test_bootstrap_refuses(call: object, said: str) -> None:
    with pytest.raises(NumericsError, match=said):
        call()  # type: ignore[operator]
