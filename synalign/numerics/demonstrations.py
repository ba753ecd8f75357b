"""Which members of a cluster a language model is shown: typical ones, and one from the edge for variety.

Showing both the nearest and a bordering member follows the demonstration sampling of SynAlign (arXiv 2502.08661,
section 3.1) and widens it: the paper shows nearest neighbours only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.checks import as_matrix, as_vector, check_count

#: Two members whose cosine is above this, or that are equal, are near-duplicates: only one of them is shown.
DUPLICATE_COSINE = 0.98

#: The member from the edge is the farthest within this quantile of the distances, so that it is no outlier.
EDGE_QUANTILE = 0.9


def choose_demonstrations(vectors: Any, centroid: Any, count: int) -> np.ndarray:
    """Return up to `count` row indices, int64 [m]: the nearest to the centroid by distance, then one from the edge.

    The first m - 1 are the nearest members; the last is the farthest one whose distance is within the EDGE_QUANTILE
    of all members' distances. No two are near-duplicates (cosine above DUPLICATE_COSINE, or equal rows; a zero vector
    is near-duplicate of zero vectors only). There are fewer than `count` when the cluster has not as many distinct
    members. Equal distances: the smaller row. count = 1 gives the nearest alone.

    Args:
        vectors: [n, d] float, the members of one cluster.
        centroid: [d] float.
        count: demonstrations wanted, at least 1.

    Raises:
        NumericsError: if an array does not fit or is not finite, or count is below 1.
    """
    matrix = as_matrix("vectors", vectors)
    centre = as_vector("centroid", centroid, matrix.shape[1])
    if count < 1:
        raise NumericsError(f"count must be at least 1; given: {count!r}.")
    check_count("count", count, 1, 2**31, "demonstrations")
    distances = np.linalg.norm(matrix - centre, axis=1)
    order = np.argsort(distances, kind="stable")
    units = _units(matrix)
    nearest = _distinct(order, units, count, [])
    if count == 1 or len(nearest) < 2:
        return np.array(nearest, dtype=np.int64)
    chosen = nearest[: count - 1] if len(nearest) == count else nearest[:-1]
    limit = np.quantile(distances, EDGE_QUANTILE)
    inside = np.flatnonzero(distances <= limit)
    outward = inside[np.argsort(-distances[inside], kind="stable")]
    edge = _distinct(outward, units, len(chosen) + 1, chosen)
    # In a small cluster nothing distinct may be left inside the quantile: the next nearest is shown instead.
    return np.array(edge if len(edge) > len(chosen) else nearest, dtype=np.int64)


def nearest_rows(vectors: Any, allowed: Any, centroid: Any, count: int) -> np.ndarray:
    """Return the up to `count` allowed rows that are nearest to a point, int64 [m], ascending row indices.

    Args:
        vectors: [n, d] float.
        allowed: bool [n], the rows to choose from.
        centroid: [d] float, the point.
        count: rows wanted, at least 1. Equal distances: the smaller row.

    Raises:
        NumericsError: if an array does not fit or is not finite, or count is below 1.
    """
    matrix = as_matrix("vectors", vectors)
    centre = as_vector("centroid", centroid, matrix.shape[1])
    check_count("count", count, 1, 2**31, "rows")
    rows = np.flatnonzero(as_vector("allowed", allowed, len(matrix)))
    order = np.argsort(np.linalg.norm(matrix[rows] - centre, axis=1), kind="stable")
    return np.sort(rows[order[:count]])


def _units(matrix: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
    return matrix / np.where(norms > 0, norms, 1.0)


def _distinct(rows: np.ndarray, units: np.ndarray, count: int, chosen: list[int]) -> list[int]:
    """Extend `chosen` by rows in the given order, near-duplicates of chosen ones left out, to at most `count`."""
    result = list(chosen)
    zero = not np.all(units[result].any(axis=1)) if result else False
    for row in rows:
        if len(result) == count:
            break
        is_zero = not units[row].any()
        if is_zero and zero:
            continue
        if result and np.max(units[result] @ units[row]) > DUPLICATE_COSINE:
            continue
        result.append(int(row))
        zero = zero or is_zero
    return result
