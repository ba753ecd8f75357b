from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign.errors import NumericsError
from synalign.numerics.selection.demonstrations import (
    DUPLICATE_COSINE,
    EDGE_QUANTILE,
    WAYS,
    Way,
    choose_demonstrations,
    nearest_rows,
)


def _fan(angles: list[float]) -> np.ndarray:
    """Unit vectors at these angles, in degrees: the distance to the one at 0 grows with the angle."""
    turned = np.radians(angles)
    return np.column_stack([np.cos(turned), np.sin(turned)])


CENTRE = np.array([1.0, 0.0])


def test_nearest() -> None:
    vectors = _fan([80, 15, 30, 0, 45])
    np.testing.assert_array_equal(choose_demonstrations(vectors, CENTRE, 3, "nearest"), [3, 1, 2])


def test_spread_takes_the_farthest_from_those_chosen_but_no_outlier() -> None:
    vectors = _fan([80, 15, 30, 0, 45, 62, 70, 170, 95, 120, 110])
    # Of 11 distances the 0.9 quantile is the second largest: 120 degrees, not the outlier at 170. Between 0 and 120
    # the member at 62 is farthest from both; then those at 30 (30 from 0) and 95 (25 from 120) are left.
    np.testing.assert_array_equal(choose_demonstrations(vectors, CENTRE, 5), [3, 9, 5, 2, 8])
    # Eight distinct ones are within the quantile: 80 is a near-duplicate of 70, 110 of 120, or the reverse.
    assert 7 not in choose_demonstrations(vectors, CENTRE, 8)
    assert choose_demonstrations(vectors, CENTRE, 9)[8] == 7


def test_spread_goes_beyond_the_quantile_only_when_nothing_distinct_is_left_within() -> None:
    # Within: 0 and 90 degrees and near-duplicates of them. Beyond: 130 and 150, of which 130 is nearer.
    vectors = _fan([0, 1, 2, 3, 150, 90, 91, 92, 89, 0, 1, 2, 90, 91, 92, 0, 1, 2, 3, 130])
    np.testing.assert_array_equal(choose_demonstrations(vectors, CENTRE, 2), [0, 7])
    np.testing.assert_array_equal(choose_demonstrations(vectors, CENTRE, 3), [0, 7, 19])
    np.testing.assert_array_equal(choose_demonstrations(vectors, CENTRE, 9), [0, 7, 19, 4])


def test_spread_is_within_twice_the_best_covering_radius() -> None:
    # Gonzalez (1985): no choice of as many members is closer to all the others than half of this radius.
    vectors = np.random.default_rng(2).normal(size=(9, 2))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centre = vectors.mean(axis=0)
    distance = np.linalg.norm(vectors - centre, axis=1)
    inside = np.flatnonzero(distance <= np.quantile(distance, EDGE_QUANTILE))
    gaps = np.linalg.norm(vectors[inside][:, None] - vectors[inside], axis=2)
    best = min(gaps[list(rows)].min(axis=0).max() for rows in itertools.combinations(range(len(inside)), 3))
    chosen = np.searchsorted(inside, choose_demonstrations(vectors, centre, 3))
    assert gaps[chosen].min(axis=0).max() <= 2 * best


def test_random_is_seeded_and_reaches_every_member() -> None:
    vectors = _fan([0, 40, 80, 120, 160])
    draws = [choose_demonstrations(vectors, CENTRE, 2, "random", seed) for seed in range(200)]
    assert {tuple(draw) for draw in draws} == set(itertools.permutations(range(5), 2))
    np.testing.assert_array_equal(choose_demonstrations(vectors, CENTRE, 2, "random", 7), draws[7])
    # 40 of 200 draws begin with each member: a binomial deviation is 5.7.
    assert np.abs(np.bincount([draw[0] for draw in draws], minlength=5) - 40).max() < 4 * 5.7


@pytest.mark.parametrize("how", WAYS)
def test_one_is_the_nearest_unless_drawn(how: Way) -> None:
    rows = choose_demonstrations(_fan([50, 20, 90]), CENTRE, 1, how)
    assert len(rows) == 1
    assert how == "random" or rows[0] == 1


def test_near_duplicates_are_left_out() -> None:
    # cos(5 degrees) = .996, cos(15 degrees) = .966
    vectors = _fan([0, 5, 15, 3, 60, 61, 62, 90, 140, 100])
    np.testing.assert_array_equal(choose_demonstrations(vectors, CENTRE, 4, "nearest"), [0, 2, 4, 7])
    # cos(10 degrees) = .985: 100 is left out beside 90, or 90 beside 100.
    assert choose_demonstrations(vectors, CENTRE, 10, "nearest").tolist() == [0, 2, 4, 7, 8]
    assert choose_demonstrations(vectors, CENTRE, 10, "spread").tolist() == [0, 9, 4, 2, 8]


@pytest.mark.parametrize("how", WAYS)
def test_fewer_than_asked_for_when_not_distinct(how: Way) -> None:
    vectors = np.repeat(_fan([0, 60]), 5, axis=0)
    rows = choose_demonstrations(vectors, CENTRE, 4, how)
    assert sorted(rows // 5) == [0, 1]
    if how != "random":
        np.testing.assert_array_equal(rows, [0, 5])
    assert len(choose_demonstrations(np.ones((6, 2)), CENTRE, 3, how)) == 1


@pytest.mark.parametrize("how", WAYS)
def test_all_of_a_small_cluster(how: Way) -> None:
    np.testing.assert_array_equal(np.sort(choose_demonstrations(_fan([0, 40, 80]), CENTRE, 4, how)), [0, 1, 2])


@pytest.mark.parametrize("how", WAYS)
def test_zero_vectors_are_duplicates_of_each_other_only(how: Way) -> None:
    vectors = np.array([[0.0, 0], [0, 0], [1, 0]])
    rows = choose_demonstrations(vectors, np.zeros(2), 3, how)
    assert sorted(np.linalg.norm(vectors[rows], axis=1)) == [0, 1]
    if how != "random":
        np.testing.assert_array_equal(rows, [0, 2])


@pytest.mark.parametrize("how", ["nearest", "spread"])
def test_ties_go_to_the_smaller_row(how: Way) -> None:
    assert choose_demonstrations(_fan([90, -90, 180]), CENTRE, 1, how)[0] == 0
    # 19 copies of each direction, in float32 and 7 columns wide: a remainder of every block of four or eight.
    vectors = np.zeros((38, 7), dtype=np.float32)
    vectors[::2, :3], vectors[1::2, 2:] = 0.3, 0.7
    np.testing.assert_array_equal(choose_demonstrations(vectors, np.zeros(7), 2, how), [0, 1])
    # Two at the same distance from the first one.
    line = np.array([[1.0, 0], [2, 5], [2, -5], [1, 0]])
    assert choose_demonstrations(line, CENTRE, 2, how).tolist() == [0, 1]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 2**32), st.sampled_from(WAYS))
def test_any_cluster(n: int, count: int, seed: int, how: Way) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centre = vectors.mean(axis=0)
    rows = choose_demonstrations(vectors, centre, count, how, seed)
    assert rows.dtype == np.int64
    assert 1 <= len(rows) <= min(n, count)
    assert len(set(rows)) == len(rows)
    np.testing.assert_array_equal(choose_demonstrations(vectors, centre, count, how, seed), rows)
    distances = np.linalg.norm(vectors.astype(float) - centre, axis=1)
    if how != "random":
        assert rows[0] == distances.argmin()
    if how == "nearest":
        assert (np.diff(distances[rows]) >= 0).all()
    cosines = vectors.astype(float) @ vectors[rows].T
    between = cosines[rows] - np.eye(len(rows))
    assert between.max() <= DUPLICATE_COSINE + 1e-6
    if len(rows) < count:
        assert (cosines.max(axis=1) > DUPLICATE_COSINE - 1e-6).all()


def test_a_long_row_of_duplicates_is_passed_over() -> None:
    # More of them than are looked through at once, and the second distinct member is the last of all.
    vectors = np.vstack([np.repeat(_fan([0]), 30_000, axis=0), _fan([70])])
    for how in WAYS:
        assert 30_000 in choose_demonstrations(vectors, CENTRE, 2, how)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(NumericsError, match="count"):
        choose_demonstrations(np.ones((2, 2)), CENTRE, 0)
    with pytest.raises(NumericsError, match="centroid must be a vector of length 3"):
        choose_demonstrations(np.ones((2, 3)), CENTRE, 1)
    with pytest.raises(
        NumericsError, match=r"one of spread, nearest, random; given: 'neares'\. The nearest is 'nearest'"
    ):
        choose_demonstrations(np.ones((2, 2)), CENTRE, 1, "neares")  # type: ignore[arg-type]


def test_nearest_rows_are_those_of_a_full_sort_among_the_allowed() -> None:
    random = np.random.default_rng(9)
    vectors, allowed, point = random.normal(size=(50, 4)), random.uniform(size=50) < 0.5, random.normal(size=4)
    found = nearest_rows(vectors, allowed, point, 7)
    by_distance = sorted(np.flatnonzero(allowed), key=lambda row: float(((vectors[row] - point) ** 2).sum()))
    assert found.tolist() == sorted(int(row) for row in by_distance[:7])
    assert nearest_rows(vectors, np.zeros(50, dtype=bool), point, 3).tolist() == []
