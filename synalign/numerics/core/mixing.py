"""Sample weights of several sides of records that are trained on together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_weights


def sample_weights(amounts: Sequence[np.ndarray], shares: Sequence[float]) -> np.ndarray:
    """Return the weights of all records, float64 [n], one side after the other, with mean 1.

    Within a side a record's weight follows its amount; the sides' totals follow their shares.

    Args:
        amounts: for each side, float [n_s], n_s >= 1: multiplicities or learned weights, any scale.
        shares: of the sides, not negative, any scale.

    Raises:
        NumericsError: if there is no side, the numbers differ, or a value is negative or not finite.
    """
    if not amounts or len(amounts) != len(shares):
        raise NumericsError(f"{len(amounts)} sides need as many shares, at least one; given: {len(shares)}.")
    totals = as_weights("shares", np.asarray(shares, dtype=np.float64), len(shares))
    count = sum(len(side) for side in amounts)
    parts = [as_weights("amounts", side, len(side)) * total for side, total in zip(amounts, totals, strict=True)]
    return np.concatenate(parts) * count
