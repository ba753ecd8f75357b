"""Sample weights: the sides' totals, the records' ratios, the mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign.errors import NumericsError
from synalign.numerics.core.mixing import sample_weights

_AMOUNTS = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=20)


@given(_AMOUNTS, _AMOUNTS, st.floats(0.05, 0.95))
def test_totals_follow_the_shares_and_records_their_amounts(
    first: list[float], second: list[float], share: float
) -> None:
    found = sample_weights([np.array(first), np.array(second)], [1 - share, share])
    assert found.mean() == pytest.approx(1.0)
    assert found[len(first) :].sum() / found.sum() == pytest.approx(share)
    np.testing.assert_allclose(found[: len(first)] / found[0], np.array(first) / first[0], rtol=1e-9)


def test_one_side_alone_gets_all() -> None:
    np.testing.assert_allclose(sample_weights([np.array([1.0, 3.0])], [0.3]), [0.5, 1.5])


def test_sides_without_a_share_are_refused() -> None:
    with pytest.raises(NumericsError, match="at least one"):
        sample_weights([], [])
    with pytest.raises(NumericsError, match="2 sides"):
        sample_weights([np.ones(2), np.ones(2)], [1.0])
