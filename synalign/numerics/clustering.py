"""Clusters of vectors: mini-batch k-means (Sculley, "Web-Scale K-Means Clustering", WWW 2010), ids made stable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.checks import as_matrix, as_vector, block_rows, check_columns, check_count

#: No more clusters than this are chosen by `choose_k`.
MAX_CLUSTERS = 1024


@dataclass(frozen=True)
class Clusters:
    """k non-empty clusters of n vectors, by decreasing size, equal sizes in the lexicographic order of centroids.

    centroids: float32 [k, d]. labels: int64 [n], the cluster of each row. distances: float32 [n], Euclidean, of each
    row to its centroid. sizes: float64 [k], the sum of the members' weights (their number without weights).
    radius: float32 [k], the largest distance of a member.
    """

    centroids: np.ndarray
    labels: np.ndarray
    distances: np.ndarray
    sizes: np.ndarray
    radius: np.ndarray


def choose_k(n: int) -> int:
    """Return the default number of clusters of n rows: the rounded square root, from 1 to MAX_CLUSTERS and to n.

    Raises:
        NumericsError: if n is below 1.
    """
    if n < 1:
        raise NumericsError(f"n must be at least 1 to choose a number of clusters; given: {n!r}.")
    return min(n, MAX_CLUSTERS, max(1, round(math.sqrt(n))))


def fit_clusters(vectors: Any, k: int, seed: int, weights: Any = None) -> Clusters:
    """Group vectors into at most k clusters; the same input and seed give the same clusters.

    There are fewer than k when fewer distinct rows exist, or when no row is nearest to a centroid: a cluster without
    members is left out. Rows of weight 0 are assigned and do not move a centroid; a cluster may consist of them.

    Args:
        vectors: [n, d] float; float32 is taken as it is, without a copy in float64.
        k: clusters wanted, from 1 to n.
        seed: of the initial centroids and the mini-batches.
        weights: [n] non-negative, e.g. multiplicities; None is 1 for each row.

    Raises:
        NumericsError: if `vectors` is no finite matrix, k is not in [1, n], or the weights do not fit.
    """
    from sklearn.cluster import MiniBatchKMeans

    matrix = as_matrix("vectors", vectors)
    n = len(matrix)
    check_count("k", k, 1, n, "clusters")
    weight = np.ones(n) if weights is None else as_vector("weights", weights, n)
    if weight.min() < 0 or weight.max() == 0:
        raise NumericsError("weights must not be negative, and one must be above 0.")
    start = _distinct_rows(matrix, k)
    if start is not None:
        centroids = start
    else:
        model = MiniBatchKMeans(k, random_state=seed % 2**32, n_init=3, batch_size=max(2048, 4 * k), max_iter=100)
        model.fit(matrix, sample_weight=weight)
        centroids = np.asarray(model.cluster_centers_)
    centroids = np.unique(centroids.astype(np.float32), axis=0)
    labels, _ = _assign(matrix, centroids)
    sizes = np.bincount(labels, weight, len(centroids))
    members = np.bincount(labels, minlength=len(centroids))
    # np.unique has put the centroids into lexicographic order, and a stable sort keeps it among equal sizes.
    order = np.argsort(-sizes, kind="stable")
    order = order[members[order] > 0]
    labels, distances = _assign(matrix, centroids[order])
    radius = np.zeros(len(order), dtype=np.float32)
    np.maximum.at(radius, labels, distances)
    return Clusters(centroids[order], labels, distances, sizes[order], radius)


def assign(vectors: Any, centroids: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row the nearest centroid, int64 [n], and the distance to it, float32 [n]; ties to the smaller.

    Works in blocks: memory beyond the result stays at a small multiple of `checks.BLOCK_BYTES`.

    Raises:
        NumericsError: if either is no finite matrix or their columns differ.
    """
    matrix, centres = as_matrix("vectors", vectors), as_matrix("centroids", centroids)
    check_columns("vectors", matrix, centres.shape[1], "centroids")
    return _assign(matrix, centres)


def _assign(matrix: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = np.empty(len(matrix), dtype=np.int64)
    distances = np.empty(len(matrix), dtype=np.float32)
    half = 0.5 * np.einsum("kd,kd->k", centroids, centroids)
    rows = block_rows(max(centroids.shape))
    for start in range(0, len(matrix), rows):
        block = matrix[start : start + rows]
        nearest = np.argmax(block @ centroids.T - half, axis=1)
        # The distance itself is taken from differences: |x|^2 - 2xc + |c|^2 cancels where a row is its centroid.
        distance = np.linalg.norm(block - centroids[nearest], axis=1)
        labels[start : start + rows], distances[start : start + rows] = nearest, distance
    return labels, distances


def _distinct_rows(matrix: np.ndarray, k: int) -> np.ndarray | None:
    """Return the distinct rows if there are at most k of them, else None; stops at the first k + 1."""
    seen: dict[bytes, int] = {}
    for row, values in enumerate(matrix):
        # Adding 0.0 turns -0.0 into 0.0, which is the same point.
        seen.setdefault((values + 0.0).tobytes(), row)
        if len(seen) > k:
            return None
    return matrix[list(seen.values())]
