"""Nearest rows by cosine similarity, some rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_matrix, block_rows


def unit_rows(matrix: Any) -> np.ndarray:
    """Return the rows at length 1, float32 [n, d]; rows of zeros stay.

    Raises:
        NumericsError: if it is no finite matrix.
    """
    rows = as_matrix("matrix", matrix).astype(np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def nearest_cosine(units: np.ndarray, others: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """Return for each row its largest cosine similarity to one of `others`, float32 [n]; -1 where there are none.

    Args:
        units: [n, d] rows of length 1.
        others: [m, d] rows of length 1.
        own: [n] integer, for each row the one of `others` that is itself, which does not count.

    Raises:
        NumericsError: if the two have different numbers of columns.
    """
    return nearest_rows(units, others, own)[1]


def nearest_rows(units: np.ndarray, others: np.ndarray, own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row the place of the one of `others` with the largest cosine similarity, int64 [n], and that
    similarity, float32 [n]; -1 and -1 where there is none. Of several equally near, the first.

    Arguments and errors are those of `nearest_cosine`.
    """
    if units.shape[1] != others.shape[1]:
        raise NumericsError(f"rows of {units.shape[1]} and of {others.shape[1]} numbers cannot be compared.")
    places = np.full(len(units), -1, dtype=np.int64)
    best = np.full(len(units), -1.0, dtype=np.float32)
    if not len(others):
        return places, best
    step = block_rows(len(others), 4)
    for start in range(0, len(units), step):
        here = slice(start, start + step)
        similar = units[here] @ others.T
        if own is not None:
            similar[np.arange(len(similar)), own[here]] = -np.inf
        places[here] = similar.argmax(axis=1)
        best[here] = similar[np.arange(len(similar)), places[here]]
    alone = np.isneginf(best)
    places[alone], best[alone] = -1, -1.0
    return places, best


def distinct_rows(units: np.ndarray, threshold: float) -> np.ndarray:
    """Return which rows to keep, bool [n]: in order, those with no cosine similarity of `threshold` to one kept before.

    `units`: [n, d] rows of length 1.
    """
    keep = np.ones(len(units), dtype=bool)
    step = block_rows(max(1, len(units)), 4)
    for start in range(0, len(units), step):
        block = units[start : start + step]
        before = np.flatnonzero(keep[:start])
        keep[start : start + step] = nearest_cosine(block, units[before]) < threshold
        similar = block @ block.T >= threshold
        for row in range(len(block)):
            place = start + row
            keep[place] &= not (similar[row, :row] & keep[start:place]).any()
    return keep


def nearness_limit(units: np.ndarray, quantile: float, most: int = 2_000) -> float:
    """Return the cosine similarity to its nearest other row that only a share of `quantile` of the rows exceeds.

    Measured on at most `most` rows, by even stride. With fewer than two rows it is infinite: nothing is too near.

    `units`: [n, d] rows of length 1.
    """
    if len(units) < 2:
        return float("inf")
    chosen = np.unique(np.linspace(0, len(units) - 1, min(most, len(units))).astype(np.int64))
    return float(np.quantile(nearest_cosine(units[chosen], units, chosen), 1.0 - quantile))
