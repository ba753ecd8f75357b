"""Nearest rows, against scipy and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from synalign.errors import NumericsError
from synalign.numerics.core import neighbours
from synalign.numerics.core.neighbours import distinct_rows, nearest_cosine, nearest_rows, nearness_limit, unit_rows


@pytest.fixture(autouse=True, params=[2, 1_000_000], ids=["two rows at a time", "all at once"])
def rows_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "block_rows", lambda *_: request.param)


def directions(count: int, seed: int, columns: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, columns)).astype(np.float32)


def test_rows_are_at_length_one_and_rows_of_zeros_stay() -> None:
    given = directions(4, 0) * 100
    given[2] = 0
    found = unit_rows(given)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(np.cross(found[0][:3], given[0][:3]), 0, atol=1e-4)
    with pytest.raises(NumericsError):
        unit_rows([[1.0, np.nan]])


def test_the_nearest_is_that_of_scipy() -> None:
    here, there = directions(7, 1), directions(5, 2)
    expected = 1 - cdist(here, there, "cosine").min(axis=1)
    np.testing.assert_allclose(nearest_cosine(unit_rows(here), unit_rows(there)), expected, atol=1e-6)
    np.testing.assert_array_equal(nearest_cosine(unit_rows(here), unit_rows(there)[:0]), [-1] * 7)
    assert nearest_cosine(unit_rows(here)[:0], unit_rows(there)).shape == (0,)
    with pytest.raises(NumericsError, match="5 and of 4 numbers"):
        nearest_cosine(unit_rows(here), directions(2, 0, 4))


def test_a_row_is_not_its_own_neighbour() -> None:
    units = unit_rows(directions(6, 3))
    distances = cdist(units, units, "cosine")
    np.fill_diagonal(distances, 9)
    chosen = np.array([4, 1, 5])
    found = nearest_cosine(units[chosen], units, chosen)
    np.testing.assert_allclose(found, 1 - distances.min(axis=1)[chosen], atol=1e-6)


def test_the_place_of_the_nearest_is_that_of_scipy() -> None:
    here, there = directions(9, 7), directions(6, 8)
    places, similar = nearest_rows(unit_rows(here), unit_rows(there))
    distances = cdist(here, there, "cosine")
    np.testing.assert_array_equal(places, distances.argmin(axis=1))
    np.testing.assert_allclose(similar, 1 - distances.min(axis=1), atol=1e-6)
    chosen = np.array([5, 0])
    itself = cdist(there, there, "cosine") + np.diag([9.0] * 6)
    places, _ = nearest_rows(unit_rows(there)[chosen], unit_rows(there), chosen)
    np.testing.assert_array_equal(places, itself.argmin(axis=1)[chosen])
    with pytest.raises(NumericsError, match="5 and of 4 numbers"):
        nearest_rows(unit_rows(here), directions(2, 0, 4))


def test_of_equally_near_rows_the_first_and_of_none_minus_one() -> None:
    """The opposite of a row is a neighbour too, at -1; a row that is all there is has none."""
    units = np.array([[1.0, 0], [0, 1], [1, 0], [-1, 0]], dtype=np.float32)
    places, similar = nearest_rows(units[:1], units, np.array([0]))
    assert (places.tolist(), similar.tolist()) == ([2], [1.0])
    assert nearest_rows(units[:1], units)[0].tolist() == [0]
    places, similar = nearest_rows(units[:1], units[[0, 3]], np.array([0]))
    assert (places.tolist(), similar.tolist()) == ([1], [-1.0])
    for others, own in ((units[:1], np.array([0])), (units[:0], None)):
        places, similar = nearest_rows(units[:1], others, own)
        assert (places.tolist(), similar.tolist()) == ([-1], [-1.0])


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_kept_that_are_like_none_kept_before(seed: int) -> None:
    units = unit_rows(directions(30, seed, 3))
    kept: list[int] = []
    for row in range(30):
        if all(float(units[row] @ units[other]) < 0.8 for other in kept):
            kept.append(row)
    assert 1 < len(kept) < 30
    np.testing.assert_array_equal(np.flatnonzero(distinct_rows(units, 0.8)), kept)


def test_what_is_left_out_does_not_shut_out_others() -> None:
    """At 0, 20 and 40 degrees: the second is too near to the first, and the third only to the second."""
    angles = np.deg2rad([0.0, 20.0, 40.0])
    units = unit_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    np.testing.assert_array_equal(distinct_rows(units, float(np.cos(np.deg2rad(25)))), [True, False, True])
    assert distinct_rows(units[:0], 0.5).shape == (0,)


def test_the_limit_is_exceeded_by_that_share_of_rows() -> None:
    units = unit_rows(directions(200, 5))
    similar = units.astype(np.float64) @ units.T.astype(np.float64)
    np.fill_diagonal(similar, -1)
    nearest = similar.max(axis=1)
    for share in (0.01, 0.1, 0.5):
        assert np.mean(nearest > nearness_limit(units, share)) == pytest.approx(share, abs=2 / 200)
    assert nearness_limit(units[:1], 0.1) == float("inf")
    assert nearness_limit(units[:2], 0.1) == pytest.approx(similar[0, 1], abs=1e-6)


def test_of_many_rows_some_are_measured_against_all() -> None:
    """Of 100 pairs of equal rows every second row is looked at: each finds its twin, which is not among those."""
    pairs = np.repeat(unit_rows(directions(50, 6)), 2, axis=0)
    assert nearness_limit(pairs, 0.5, most=50) == pytest.approx(1, abs=1e-6)
