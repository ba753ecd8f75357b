from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign.errors import NumericsError
from synalign.numerics.demonstrations import DUPLICATE_COSINE, choose_demonstrations, nearest_rows


def _fan(angles: list[float]) -> np.ndarray:
    """Unit vectors at these angles, in degrees: the distance to the one at 0 grows with the angle."""
    turned = np.radians(angles)
    return np.column_stack([np.cos(turned), np.sin(turned)])


CENTRE = np.array([1.0, 0.0])


def test_the_nearest_and_one_from_the_edge() -> None:
    vectors = _fan([80, 15, 30, 0, 45, 60, 70, 170, 95, 120, 110])
    # Of 11 distances the 0.9 quantile is the second largest: 120 degrees, not the outlier at 170.
    np.testing.assert_array_equal(choose_demonstrations(vectors, CENTRE, 4), [3, 1, 2, 9])


def test_one_is_the_nearest() -> None:
    np.testing.assert_array_equal(choose_demonstrations(_fan([50, 20, 90]), CENTRE, 1), [1])


def test_near_duplicates_are_left_out() -> None:
    # cos(5 degrees) = .996, cos(15 degrees) = .966
    vectors = _fan([0, 5, 15, 3, 60, 61, 62, 90, 140, 100])
    np.testing.assert_array_equal(choose_demonstrations(vectors, CENTRE, 4), [0, 2, 4, 9])


def test_fewer_than_asked_for_when_not_distinct() -> None:
    vectors = np.repeat(_fan([0, 60]), 5, axis=0)
    np.testing.assert_array_equal(choose_demonstrations(vectors, CENTRE, 4), [0, 5])
    np.testing.assert_array_equal(choose_demonstrations(np.ones((6, 2)), CENTRE, 3), [0])


def test_all_of_a_small_cluster() -> None:
    np.testing.assert_array_equal(np.sort(choose_demonstrations(_fan([0, 40, 80]), CENTRE, 4)), [0, 1, 2])


def test_zero_vectors_are_duplicates_of_each_other_only() -> None:
    vectors = np.array([[0.0, 0], [0, 0], [1, 0]])
    np.testing.assert_array_equal(choose_demonstrations(vectors, np.zeros(2), 3), [0, 2])


def test_ties_go_to_the_smaller_row() -> None:
    assert choose_demonstrations(_fan([90, -90, 180]), CENTRE, 1)[0] == 0


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 2**32))
def test_any_cluster(n: int, count: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centre = vectors.mean(axis=0)
    rows = choose_demonstrations(vectors, centre, count)
    assert rows.dtype == np.int64
    assert 1 <= len(rows) <= min(n, count)
    assert len(set(rows)) == len(rows)
    assert rows[0] == np.linalg.norm(vectors.astype(float) - centre, axis=1).argmin()
    cosines = vectors[rows].astype(float) @ vectors[rows].T
    np.fill_diagonal(cosines, 0.0)
    assert cosines.max() <= DUPLICATE_COSINE + 1e-6


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(NumericsError, match="count"):
        choose_demonstrations(np.ones((2, 2)), CENTRE, 0)
    with pytest.raises(NumericsError, match="centroid must be a vector of length 3"):
        choose_demonstrations(np.ones((2, 3)), CENTRE, 1)


def test_nearest_rows_are_those_of_a_full_sort_among_the_allowed() -> None:
    random = np.random.default_rng(9)
    vectors, allowed, point = random.normal(size=(50, 4)), random.uniform(size=50) < 0.5, random.normal(size=4)
    found = nearest_rows(vectors, allowed, point, 7)
    by_distance = sorted(np.flatnonzero(allowed), key=lambda row: float(((vectors[row] - point) ** 2).sum()))
    assert found.tolist() == sorted(int(row) for row in by_distance[:7])
    assert nearest_rows(vectors, np.zeros(50, dtype=bool), point, 3).tolist() == []
