"""Which label each pick is to be written for, so that the labels of all picks follow the shares of the real records."""

from __future__ import annotations

import numpy as np

from synalign.numerics.checks import as_matrix, as_weights, check_count


def assign_labels(counts: np.ndarray, shares: np.ndarray, enough: int) -> np.ndarray:
    """Return one label for each pick, int64 [b]: the one furthest behind its share among those the pick can show.

    A pick can show a label if it has `enough` records of it, or as many as it has of its commonest label when that is
    fewer. This is the largest-remainder rule taken one pick at a time; ties go to the label that is commoner in the
    pick, then to the smaller index.

    Args:
        counts: float [b, L], records of each label at each pick.
        shares: float [L], the shares to follow; normalised here.
        enough: records of one label that a pick needs for its demonstrations.

    Raises:
        NumericsError: if the shapes do not fit, or a value is negative or not finite.
    """
    table = as_matrix("counts", counts).astype(np.float64)
    wanted = as_weights("shares", shares, table.shape[1])
    check_count("enough", enough, 1, 2**31, "records")
    given = np.zeros(table.shape[1])
    labels = np.empty(len(table), dtype=np.int64)
    for pick, row in enumerate(table):
        able = row >= min(enough, row.max())
        behind = np.where(able & (row > 0), (pick + 1) * wanted - given, -np.inf)
        # Rounded, so that ties are those of exact arithmetic and go to the commoner label.
        labels[pick] = np.lexsort((np.arange(len(row)), -row, -behind.round(9)))[0]
        given[labels[pick]] += 1
    return labels
