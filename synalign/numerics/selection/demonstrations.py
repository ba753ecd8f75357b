"""Which members of a cluster a language model is shown.

SynAlign (arXiv 2502.08661, section 3.1) shows those nearest to the point selected: "nearest". "spread" takes each next
one far from those already chosen, for variety: the farthest-point traversal of Gonzalez, "Clustering to Minimize the
Maximum Intercluster Distance", Theoretical Computer Science 38 (1985).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_matrix, as_vector, check_count

Way = Literal["spread", "nearest", "random"]

#: The ways to choose that `choose_demonstrations` knows.
WAYS: tuple[str, ...] = get_args(Way)

#: Two members whose cosine is above this, or that are equal, are near-duplicates: only one of them is shown.
DUPLICATE_COSINE = 0.98

#: "spread" stays within this quantile of the members' distances to the centroid, so that it shows no outlier.
EDGE_QUANTILE = 0.9

#: Numbers of a block that distances are computed in: its copy in float64 stays in the cache of a core.
_BLOCK_NUMBERS = 2**16

#: Rows looked through for distinct ones at once: at first, and at most.
_FIRST_ROWS, _MOST_ROWS = 64, 8192


def choose_demonstrations(vectors: Any, centroid: Any, count: int, how: Way = "spread", seed: int = 0) -> np.ndarray:
    """Return up to `count` row indices in the order chosen, int64 [m], no two of them near-duplicates.

    Near-duplicates have a cosine above DUPLICATE_COSINE or are equal; a zero vector is near-duplicate of zero vectors
    only. There are fewer than `count` only where no further member is distinct from those chosen. Equal distances: the
    smaller row.

    Args:
        vectors: [n, d] float, the members of one cluster.
        centroid: [d] float. Distances are Euclidean, in float64.
        count: demonstrations wanted, at least 1.
        how: "nearest": the nearest to the centroid. "spread": the nearest, then again and again the member whose
            distance to those chosen is largest, among the members within the EDGE_QUANTILE of all distances to the
            centroid; once none of these is distinct, the nearest of the others. "random": drawn without replacement.
        seed: draws them; used by "random" alone.

    Raises:
        NumericsError: if an array does not fit or is not finite, count is below 1, or `how` is not known.
    """
    matrix = as_matrix("vectors", vectors)
    centre = as_vector("centroid", centroid, matrix.shape[1])
    check_count("count", count, 1, 2**31, "demonstrations")
    if how not in WAYS:
        near = difflib.get_close_matches(str(how), WAYS, n=1)
        hint = f" The nearest is {near[0]!r}." if near else ""
        raise NumericsError(f"how must be one of {', '.join(WAYS)}; given: {how!r}.{hint}")
    if how == "random":
        chosen = _distinct(matrix, np.random.default_rng(seed).permutation(len(matrix)), count, [])
    else:
        distances = _distances(matrix, centre)
        order = np.argsort(distances, kind="stable")
        if how == "nearest":
            chosen = _distinct(matrix, order, count, [])
        else:
            inside = distances <= np.quantile(distances, EDGE_QUANTILE)
            chosen = _farthest_points(matrix, np.flatnonzero(inside), int(order[0]), count)
            chosen = _distinct(matrix, order[~inside[order]], count, chosen)
    return np.array(chosen, dtype=np.int64)


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
    order = np.argsort(_distances(matrix, centre)[rows], kind="stable")
    return np.sort(rows[order[:count]])


def _farthest_points(matrix: np.ndarray, rows: np.ndarray, first: int, count: int) -> list[int]:
    """Return up to `count` of `rows` (ascending), `first` first, each next one the farthest from those before it."""
    chosen = [first]
    closest = np.full(len(rows), np.inf)
    while len(chosen) < count:
        np.minimum(closest, _distances(matrix, matrix[chosen[-1]])[rows], out=closest)
        farthest = rows[np.argsort(-closest, kind="stable")]
        longer = _distinct(matrix, farthest, len(chosen) + 1, chosen)
        if len(longer) == len(chosen):
            break
        chosen = longer
    return chosen


def _distances(matrix: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return the distance of each row to the point, float64 [n]; equal rows have equal distances, to the last bit."""
    distances = np.empty(len(matrix))
    size = max(1, _BLOCK_NUMBERS // matrix.shape[1])
    buffer = np.empty((min(size, len(matrix)), matrix.shape[1]))
    target = point.astype(np.float64)
    for start in range(0, len(matrix), size):
        block = matrix[start : start + size]
        gap = np.subtract(block, target, out=buffer[: len(block)])
        np.einsum("ij,ij->i", gap, gap, out=distances[start : start + size])
    return np.sqrt(distances, out=distances)


def _distinct(matrix: np.ndarray, rows: np.ndarray, count: int, chosen: Sequence[int]) -> list[int]:
    """Extend `chosen` by rows in the given order, near-duplicates of chosen ones left out, to at most `count`."""
    result = list(chosen)
    shown = _units(matrix[result])
    start, size = 0, _FIRST_ROWS
    while len(result) < count and start < len(rows):
        part = rows[start : start + size]
        units = _units(matrix[part])
        open_ = np.ones(len(part), dtype=bool)
        for unit in shown:
            open_ &= ~_near(units, unit)
        while len(result) < count and open_.any():
            first = int(np.argmax(open_))
            result.append(int(part[first]))
            shown = np.vstack([shown, units[first]])
            open_ &= ~_near(units, units[first])
        start, size = start + size, min(2 * size, _MOST_ROWS)
    return result


def _near(units: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return which rows, bool [n], are near-duplicates of one; all of length 1, or zero."""
    if unit.any():
        return np.asarray(units @ unit > DUPLICATE_COSINE)
    return np.asarray(~units.any(axis=1))


def _units(matrix: np.ndarray) -> np.ndarray:
    rows = matrix.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=rows, where=norms > 0)
