from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synalign.errors import NumericsError
from synalign.numerics.core import checks, duplicates
from synalign.numerics.core.duplicates import TOLERANCE, first_equal_rows, group_prior, near_duplicate_groups

SMALL = settings(max_examples=30, deadline=None)


def _walk(vectors: np.ndarray, threshold: float) -> list[int]:
    """Groups by walking from row to row over similar pairs, cosines one by one in plain Python."""

    def similar(a: list[float], b: list[float]) -> bool:
        if a == b:
            return True
        lengths = math.hypot(*a) * math.hypot(*b)
        return lengths > 0 and math.fsum(s * t for s, t in zip(a, b, strict=True)) / lengths >= threshold - TOLERANCE

    rows = [[float(value) for value in row] for row in vectors]
    group = [-1] * len(rows)
    for start in range(len(rows)):
        if group[start] < 0:
            group[start], open_ = max(group) + 1, [start]
            while open_:
                here = open_.pop()
                for other in range(len(rows)):
                    if group[other] < 0 and similar(rows[here], rows[other]):
                        group[other] = group[start]
                        open_.append(other)
    return group


def _pairs(seed: int, pairs: int, columns: int, cosine: float, common: float = 0.0) -> np.ndarray:
    """Return float32 [2 * pairs, columns]: row i and row pairs + i have that cosine, other rows are unrelated.

    Unrelated rows have a cosine of about common^2 / (1 + common^2).
    """
    random = np.random.default_rng(seed)
    base = random.normal(size=(pairs, columns))
    base[:, 0] += common * math.sqrt(columns)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    across = random.normal(size=base.shape)
    across -= (across * base).sum(axis=1, keepdims=True) * base
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return np.concatenate([base, cosine * base + math.sqrt(1 - cosine**2) * across]).astype(np.float32)


def _found(groups: np.ndarray) -> int:
    half = len(groups) // 2
    return int(np.count_nonzero(groups[:half] == groups[half:]))


@SMALL
@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=1, max_size=25),
    st.sampled_from([0.3, 0.71, 0.9, 0.97, 1.0]),
)
def test_against_a_walk(rows: list[list[int]], threshold: float) -> None:
    vectors = np.array(rows, dtype=np.float64)
    groups = near_duplicate_groups(vectors, threshold)
    assert groups.dtype == np.int64
    assert groups.tolist() == _walk(vectors, threshold)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(120, 4))
    whole = near_duplicate_groups(vectors, 0.9)
    assert 1 < whole.max() + 1 < 120
    assert whole.tolist() == _walk(vectors, 0.9)
    monkeypatch.setattr(checks, "BLOCK_BYTES", 7 * 4 * 120)
    np.testing.assert_array_equal(near_duplicate_groups(vectors, 0.9), whole)


def test_groups_are_chains_and_numbered_by_first_occurrence() -> None:
    degrees = np.radians([90, 0, 180, 20, 200, 40])
    vectors = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    # 0, 20 and 40 degrees hang together though cos 40 is below the threshold; opposite rows do not.
    assert near_duplicate_groups(vectors, math.cos(math.radians(20))).tolist() == [0, 1, 2, 1, 2, 1]
    assert near_duplicate_groups(vectors, math.cos(math.radians(19.9))).tolist() == [0, 1, 2, 3, 4, 5]
    assert duplicates._by_first_occurrence(np.array([5, 2, 5, 0, 2])).tolist() == [0, 1, 0, 2, 1]


def test_length_does_not_matter_and_zeros_have_no_direction() -> None:
    vectors = np.array([[1, 2, 3], [0, 0, 0], [3e200, 6e200, 9e200], [-0.0, 0, 0], [1e-300, 2e-300, 3e-300], [3, 2, 1]])
    assert near_duplicate_groups(vectors, 1.0).tolist() == [0, 1, 0, 1, 0, 2]
    assert near_duplicate_groups(vectors, 0.01).tolist() == [0, 1, 0, 1, 0, 0]
    assert near_duplicate_groups(np.zeros((1, 2)), 0.9).tolist() == [0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_first_equal_rows(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(1).integers(-1, 2, size=(300, 4)).astype(dtype)
    matrix[matrix == 0] *= np.random.default_rng(2).choice([-1.0, 1.0], np.count_nonzero(matrix == 0))
    assert np.signbit(matrix[matrix == 0]).any()
    seen: dict[tuple[float, ...], int] = {}
    expected = [seen.setdefault(tuple(row), i) for i, row in enumerate(matrix.tolist())]
    assert first_equal_rows(matrix).tolist() == expected
    # Rows of one hash that differ are kept apart, whatever the hash is worth.
    monkeypatch.setattr(duplicates, "_row_hashes", lambda rows: np.zeros(len(rows), dtype=np.int64))
    assert first_equal_rows(matrix).tolist() == expected


@pytest.mark.parametrize(("cosine", "common"), [(0.9, 0.0), (0.9, 0.7), (0.95, 1.0), (0.99, 0.0)])
def test_hashing_finds_99_of_100_pairs(cosine: float, common: float, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = _pairs(3, 2000, 64, cosine + 1e-5, common)
    exact = near_duplicate_groups(vectors, cosine)
    assert _found(exact) == 2000
    monkeypatch.setattr(duplicates, "EXACT_ROWS", 0)
    hashed = near_duplicate_groups(vectors, cosine, seed=5)
    assert _found(hashed) >= stats.binom.ppf(1e-4, 2000, 0.99)
    # What is joined is joined in truth: no hashed group holds rows of two exact ones.
    assert len(set(zip(hashed.tolist(), exact.tolist(), strict=True))) == hashed.max() + 1
    np.testing.assert_array_equal(hashed, near_duplicate_groups(vectors, cosine, seed=5))


def test_the_sketch_loses_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = _pairs(4, 3000, 64, 0.95 + 1e-5)
    monkeypatch.setattr(duplicates, "EXACT_ROWS", 0)
    limited = _found(near_duplicate_groups(vectors, 0.95))
    plan = duplicates._plan
    monkeypatch.setattr(duplicates, "_plan", lambda *given: (*plan(*given)[:2], 256))
    assert _found(near_duplicate_groups(vectors, 0.95)) - limited <= 12


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("rows", [30_000, 1_000_000, 30_000_000])
@pytest.mark.parametrize("agreement", [0.5, 0.77])
def test_the_plan_keeps_its_promise(threshold: float, rows: int, agreement: float) -> None:
    bits, bands, limit = duplicates._plan(rows, threshold, np.full(10, agreement))
    # A pair is found unless all bands fail; chances by scipy's distributions of runs and counts.
    same = 1 - math.degrees(math.acos(threshold)) / 180
    assert stats.binom.sf(0, bands, stats.binom.pmf(bits, bits, same)) >= 0.994
    assert stats.binom.cdf(limit, 256, 1 - same) >= 0.999
    assert bands <= 256
    if threshold >= 0.9:
        # Enough bits for a bucket of about one row where directions are not crowded.
        assert rows * 0.5**bits < 2 or agreement > 0.5


def test_crowded_directions_get_more_bits() -> None:
    bits = [duplicates._plan(1_000_000, 0.95, np.array([p]))[0] for p in (0.5, 0.6, 0.7)]
    # A bucket of one row: 2^-20, 0.6^-27.05.
    assert bits[:2] == [20, 28]
    assert bits[2] > 28


def test_thousands_of_near_copies_are_one_group_and_comparisons_stay_few(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    copies = random.normal(size=32) + 0.02 * random.normal(size=(3000, 32))
    vectors = np.concatenate([copies, random.normal(size=(1000, 32)), np.tile(copies[:1], (500, 1))])
    order = random.permutation(len(vectors))
    compared: list[int] = []
    similar = duplicates._similar

    def count(units: np.ndarray, left: np.ndarray, *rest: object) -> np.ndarray:
        compared.append(len(left))
        return similar(units, left, *rest)

    monkeypatch.setattr(duplicates, "EXACT_ROWS", 0)
    monkeypatch.setattr(duplicates, "_similar", count)
    groups = near_duplicate_groups(vectors[order], 0.95)
    assert len(set(groups[(order < 3000) | (order >= 4000)].tolist())) == 1
    assert Counter(groups.tolist()).most_common(1)[0][1] == 3500
    assert groups.max() == 1000
    assert sum(compared) < 40 * 4000


def test_a_full_bucket_is_not_compared_all_with_all() -> None:
    codes, rows = np.zeros(5000, dtype=np.uint32), np.arange(5000)
    left, right = duplicates._candidates(codes, 12, np.zeros((5000, 4), dtype=np.uint64), 10, rows)
    assert len(left) == sum(5000 - offset for offset in range(1, 33))
    assert not np.any(left == right)
    nothing = duplicates._candidates(codes, 12, np.zeros((5000, 4), dtype=np.uint64), 10, np.zeros(5000, dtype=int))
    assert len(nothing[0]) == len(nothing[1]) == 0


def test_wrong_arguments_are_named() -> None:
    for wrong in (0.0, 1.01, -0.5, math.nan):
        with pytest.raises(NumericsError, match="threshold must be a cosine similarity above 0 and at most 1"):
            near_duplicate_groups(np.ones((2, 2)), wrong)
    with pytest.raises(NumericsError, match="vectors must be a matrix"):
        near_duplicate_groups(np.ones(3), 0.9)
    with pytest.raises(NumericsError, match="row 1 of its 2 rows"):
        near_duplicate_groups([[1.0, 2.0], [math.nan, 1.0]], 0.9)


def test_a_group_shares_the_largest_prior_of_its_members() -> None:
    shared = group_prior([1.0, 3.0, 0.5, 2.0, 0.0, 0.0], [7, -2, 7, -2, 7, 9])
    np.testing.assert_allclose(shared, [2 / 3, 9 / 5, 1 / 3, 6 / 5, 0.0, 0.0], rtol=1e-15)
    # Copies together get what one record had.
    np.testing.assert_allclose(group_prior(np.full(5, 0.2), [0, 1, 1, 1, 1]), [0.2, 0.05, 0.05, 0.05, 0.05])
    np.testing.assert_allclose(group_prior([1e308, 1e308, 5e-324], [0, 0, 1]), [5e307, 5e307, 5e-324])


@SMALL
@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 5)), min_size=1, max_size=40))
def test_budgets_and_ratios(members: list[tuple[float, int]]) -> None:
    prior, groups = (np.array(values) for values in zip(*members, strict=True))
    shared = group_prior(prior, groups)
    for group in set(groups.tolist()):
        before, after = prior[groups == group], shared[groups == group]
        assert math.fsum(after) == pytest.approx(before.max(), rel=1e-12)
        # Denormal numbers have few digits.
        np.testing.assert_allclose(after * before.max(), before * after.max(), rtol=1e-9, atol=1e-300)
        if len(before) == 1:
            assert after[0] == before[0]


def test_a_wrong_prior_is_named() -> None:
    with pytest.raises(NumericsError, match="prior must be a vector of length 2"):
        group_prior([1.0], [0, 1])
    with pytest.raises(NumericsError, match="prior must not be negative; entry 1"):
        group_prior([1.0, -1.0], [0, 1])
    for wrong in ([0.0, 1.0], [], [[1]], ["a"], None):
        with pytest.raises(NumericsError, match="groups must be a vector of at least one integer"):
            group_prior([1.0, 1.0], wrong)
