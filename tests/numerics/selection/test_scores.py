from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from synalign.errors import NumericsError
from synalign.numerics.selection.scores import LEAST_GAP, gap, score_weights


def test_a_gap_is_the_mean_witness_of_a_unit_in_units_of_the_largest() -> None:
    # Means 2 * .1 + .4 over 3 = .2; .4; below 0; no record.
    found = gap([0.1, 0.4, 0.4, -0.3], [2, 1, 1, 1], np.array([0, 0, 1, 2]), 4)
    np.testing.assert_allclose(found, [0.5, 1.0, LEAST_GAP, LEAST_GAP])


def test_where_nothing_is_missing_all_units_count_alike() -> None:
    np.testing.assert_array_equal(gap([-0.1, -0.5], [1, 1], np.array([0, 1]), 2), [LEAST_GAP, LEAST_GAP])


@given(arrays.arrays(np.float64, 12, elements=st.floats(-1, 1)), st.floats(1e-6, 1e6))
def test_gaps_are_in_their_range_and_have_no_scale(witness: np.ndarray, factor: float) -> None:
    units = np.arange(12) % 5
    found = gap(witness, np.ones(12), units, 5)
    assert LEAST_GAP <= found.min() <= found.max() <= 1.0
    np.testing.assert_allclose(gap(factor * witness, np.ones(12), units, 5), found, rtol=1e-6)


def test_score_weights_by_hand() -> None:
    np.testing.assert_allclose(score_weights([1, 3], 1.0), [0.5, 1.5])
    np.testing.assert_allclose(score_weights([1, 3], 2.0), [0.25, 2.25])
    np.testing.assert_allclose(score_weights([1, 3], 0.0, np.array([0.2, 1.0])), [0.2, 1.0])


def test_a_unit_without_mass_is_named() -> None:
    with pytest.raises(NumericsError, match=r"mass must be above 0; entry 1 is 0\.0"):
        score_weights([1, 0], 1.0)
    with pytest.raises(NumericsError, match="witness"):
        gap([0.1], [1.0, 2.0], np.array([0, 1]), 2)
