from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_matrix, as_vector, as_weights, check_count


def test_float32_is_kept_and_all_else_becomes_float64() -> None:
    single = np.ones((2, 3), dtype=np.float32)
    assert as_matrix("x", single) is single
    assert as_matrix("x", [[1, 2]]).dtype == np.float64
    assert as_matrix("x", np.ones((2, 2), dtype=np.float16)).dtype == np.float64


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_bad_row_is_named(bad: float) -> None:
    matrix = np.zeros((5, 2))
    matrix[3, 1] = matrix[4, 0] = bad
    with pytest.raises(NumericsError, match=r"beans must be finite; row 3 of its 5 rows \(shape \(5, 2\)\)"):
        as_matrix("beans", matrix)


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((1, 2, 3))])
def test_shapes_that_are_no_matrix_are_named(bad: np.ndarray) -> None:
    with pytest.raises(NumericsError, match=r"given: shape"):
        as_matrix("x", bad)


def test_text_is_refused() -> None:
    with pytest.raises(NumericsError, match="numbers"):
        as_matrix("x", [["a", "b"]])


def test_vectors_and_counts() -> None:
    with pytest.raises(NumericsError, match="length 3"):
        as_vector("v", [1.0, 2.0], 3)
    with pytest.raises(NumericsError, match="entry 1"):
        as_vector("v", [1.0, np.nan], 2)
    with pytest.raises(NumericsError, match="from 1 to 4; given: 5"):
        check_count("k", 5, 1, 4, "clusters")
    with pytest.raises(NumericsError, match="whole"):
        check_count("k", 1.5, 1, 4, "clusters")  # type: ignore[arg-type]


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=20).filter(lambda values: max(values) > 0))
def test_weights_sum_to_one_whatever_their_scale(values: list[float]) -> None:
    weights = as_weights("w", values, len(values))
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1.0)


def test_weights_that_are_none_wrong_or_empty() -> None:
    np.testing.assert_allclose(as_weights("w", None, 4), 0.25)
    with pytest.raises(NumericsError, match="entry 1 is -1"):
        as_weights("w", [1, -1], 2)
    with pytest.raises(NumericsError, match="all 2 entries are 0"):
        as_weights("w", [0, 0], 2)
