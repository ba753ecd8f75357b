"""Clusters of vectors: mini-batch k-means (Sculley, "Web-Scale K-Means Clustering", WWW 2010), with stable ids, and how
pure and how separate they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.ids import child_seed
from synalign.numerics.core.checks import as_matrix, as_vector, block_rows, check_columns, check_count
from synalign.numerics.selection.quotas import quotas

#: No more clusters than this are chosen by `choose_k`.
MAX_CLUSTERS = 1024

#: Up to so many rows every step of k-means sees all of them; mini-batches are for more.
FULL_ROWS = 10_000


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
    matrix = as_matrix("vectors", vectors)
    check_count("k", k, 1, len(matrix), "clusters")
    weight = _weights(weights, len(matrix))
    every = np.arange(len(matrix))
    centroids = _centroids(matrix, every, weight, k, seed)
    labels, distances = _assign(matrix, centroids)
    return _ordered(centroids, np.zeros(len(centroids), np.int64), labels, distances, weight)[0]


def fit_clusters_within(
    vectors: Any, groups: Any, k: int, seed: int, weights: Any = None
) -> tuple[Clusters, np.ndarray]:
    """Group vectors into at most k clusters, none of which has members of two groups; e.g. groups are labels.

    The k clusters are shared out over the groups in proportion to their weight, at least one each, by largest
    remainders, and no more than it has rows. Each group is clustered by itself, as `fit_clusters` does. Clusters are
    ordered by size as there, whatever their group.

    Args:
        vectors: [n, d] float.
        groups: [n] integers, the group of each row.
        k: clusters wanted, from the number of groups to n.
        seed: the parent of one seed for each group.
        weights: [n] non-negative, above 0 somewhere in each group; None is 1 for each row.

    Returns:
        The clusters, and the group of each, int64 [k].

    Raises:
        NumericsError: as `fit_clusters`; and if there are more groups than clusters, or a group has no weight.
    """
    matrix = as_matrix("vectors", vectors)
    codes = _codes("groups", groups, len(matrix))
    check_count("k", k, 1, len(matrix), "clusters")
    weight = _weights(weights, len(matrix))
    there, places = np.unique(codes, return_inverse=True)
    if k < len(there):
        raise NumericsError(
            f"k must be at least the number of groups, {len(there)}, since each has clusters of its own; given: {k}. "
            f"Ask for {len(there)} clusters or more, or cluster without groups."
        )
    shares = np.bincount(places, weight)
    if shares.min() == 0:
        raise NumericsError(
            f"weights must be above 0 somewhere in each group; group {there[shares.argmin()]} has none."
        )
    centroids: list[np.ndarray] = []
    owners: list[int] = []
    labels, distances = np.empty(len(matrix), np.int64), np.empty(len(matrix), np.float32)
    for place, wanted in enumerate(quotas(k, shares, capacity=np.bincount(places)).tolist()):
        rows = np.flatnonzero(places == place)
        group = int(there[place])
        found = _centroids(matrix, rows, weight[rows], wanted, child_seed(seed, "group", group))
        nearest, distances[rows] = _assign(matrix, found, rows)
        labels[rows] = nearest + len(owners)
        centroids.append(found)
        owners += [group] * len(found)
    return _ordered(np.concatenate(centroids), np.array(owners, dtype=np.int64), labels, distances, weight)


def assign(vectors: Any, centroids: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row the nearest centroid, int64 [n], and the distance to it, float32 [n]; ties to the smaller.

    Works in blocks: memory beyond the result stays at a small multiple of `checks.BLOCK_BYTES`.

    Raises:
        NumericsError: if either is no finite matrix or their columns differ.
    """
    matrix, centres = as_matrix("vectors", vectors), as_matrix("centroids", centroids)
    check_columns("vectors", matrix, centres.shape[1], "centroids")
    return _assign(matrix, centres)


def assign_within(vectors: Any, groups: Any, centroids: Any, owners: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return what `assign` does, where a row may only join clusters of its own group.

    A row of a group that has no cluster may join any.

    Args:
        vectors: [n, d] float.
        groups: [n] integers, the group of each row; e.g. -1 for one that has none.
        centroids: [k, d] float.
        owners: [k] integers, the group of each cluster.

    Raises:
        NumericsError: as `assign`; and if the groups are no integers, or not as many as there are rows.
    """
    matrix, centres = as_matrix("vectors", vectors), as_matrix("centroids", centroids)
    check_columns("vectors", matrix, centres.shape[1], "centroids")
    codes, owner = _codes("groups", groups, len(matrix)), _codes("owners", owners, len(centres))
    labels, distances = np.empty(len(matrix), np.int64), np.empty(len(matrix), np.float32)
    strays = ~np.isin(codes, owner)
    work = [(np.flatnonzero(codes == group), np.flatnonzero(owner == group)) for group in np.unique(owner)]
    for rows, able in [*work, (np.flatnonzero(strays), np.arange(len(centres)))]:
        nearest, distances[rows] = _assign(matrix, centres[able], rows)
        labels[rows] = able[nearest]
    return labels, distances


def purity(labels: Any, codes: Any, weights: Any = None) -> tuple[np.ndarray, float]:
    """Return the share of the commonest code in each cluster, float64 [k], and over all clusters.

    The latter is the weight of the commonest code of each cluster, summed, over all weight (Manning, Raghavan and
    Schuetze, "Introduction to Information Retrieval", 2008, section 16.3): 1 when no cluster mixes codes. Rows without
    a code are left out; a cluster, or a whole, without any other has NaN.

    Args:
        labels: [n] integers from 0, the cluster of each row; k is one more than the largest.
        codes: [n] integers, e.g. of the labels that a classifier is to learn; below 0 for a row that has none.
        weights: [n] non-negative, e.g. multiplicities; None is 1 for each row.

    Raises:
        NumericsError: if there are no rows, or the arguments do not fit each other.
    """
    cluster = _cluster_numbers(labels)
    code = _codes("codes", codes, len(cluster))
    weight = _weights(weights, len(cluster))
    known = code >= 0
    kinds, places = np.unique(code[known], return_inverse=True)
    table = np.zeros((int(cluster.max()) + 1, max(1, len(kinds))))
    np.add.at(table, (cluster[known], places), weight[known])
    total, commonest = table.sum(axis=1), table.max(axis=1)
    each = np.full(len(table), np.nan)
    np.divide(commonest, total, out=each, where=total > 0)
    return each, float(commonest.sum() / total.sum()) if total.sum() > 0 else math.nan


def silhouette(vectors: Any, labels: Any, seed: int, sample: int = 5_000) -> tuple[float, np.ndarray]:
    """Return the mean silhouette of a sample of rows, and that of each cluster, float64 [k] (Rousseeuw 1987).

    From -1 to 1: how much nearer a row is to its own cluster than to the next one; about 0 where clusters touch. A row
    whose cluster is larger, and of which no other row was drawn, tells nothing of it and is left out; a cluster of
    one row has 0. NaN marks clusters without a row in the sample; all is NaN where the sample holds fewer than two
    clusters, or no two rows of one.

    Args:
        vectors: [n, d] float.
        labels: [n] integers from 0, the cluster of each row; k is one more than the largest.
        seed: of the sample.
        sample: rows to draw, at least 2; memory grows with its square, 200 MB for 5,000.

    Raises:
        NumericsError: if `vectors` is no finite matrix, the labels do not fit, or `sample` is below 2.
    """
    from sklearn.metrics import silhouette_samples

    matrix = as_matrix("vectors", vectors)
    cluster = _cluster_numbers(labels)
    if len(cluster) != len(matrix):
        raise NumericsError(f"labels must have one entry for each of {len(matrix)} rows; given: {len(cluster)}.")
    check_count("sample", sample, 2, 2**31, "rows")
    each = np.full(int(cluster.max()) + 1, np.nan)
    rows = np.arange(len(matrix))
    if len(rows) > sample:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), sample, replace=False))
    drawn = np.bincount(cluster[rows], minlength=len(each))
    alone = (drawn == 1) & (np.bincount(cluster) > 1)
    rows = rows[~alone[cluster[rows]]]
    held = len(np.unique(cluster[rows]))
    if not 2 <= held < len(rows):
        return math.nan, each
    values = silhouette_samples(matrix[rows], cluster[rows]).astype(np.float64)
    counts = np.bincount(cluster[rows], minlength=len(each))
    np.divide(np.bincount(cluster[rows], values, len(each)), counts, out=each, where=counts > 0)
    return float(values.mean()), each


def _weights(weights: Any, size: int) -> np.ndarray:
    weight = np.ones(size) if weights is None else as_vector("weights", weights, size)
    if weight.min() < 0 or weight.max() == 0:
        raise NumericsError("weights must not be negative, and one must be above 0.")
    return weight


def _codes(name: str, array: Any, size: int) -> np.ndarray:
    codes = np.asarray(array)
    if codes.shape != (size,) or codes.dtype.kind not in "iu":
        raise NumericsError(f"{name} must be a vector of {size} integers; given: shape {codes.shape} of {codes.dtype}.")
    return codes.astype(np.int64, copy=False)


def _cluster_numbers(labels: Any) -> np.ndarray:
    cluster = _codes("labels", labels, np.size(labels))
    if not len(cluster) or cluster.min() < 0:
        raise NumericsError("labels must be the numbers of clusters, from 0, of at least one row.")
    return cluster


def _ordered(
    centroids: np.ndarray, owners: np.ndarray, labels: np.ndarray, distances: np.ndarray, weight: np.ndarray
) -> tuple[Clusters, np.ndarray]:
    """Return the clusters that have members, numbered by size, and the owner of each."""
    sizes = np.bincount(labels, weight, len(centroids))
    members = np.bincount(labels, minlength=len(centroids))
    lexicographic = np.unique(centroids, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.lexsort((owners, lexicographic, -sizes))
    order = order[members[order] > 0]
    numbers = np.empty(len(centroids), dtype=np.int64)
    numbers[order] = np.arange(len(order))
    labels = numbers[labels]
    radius = np.zeros(len(order), dtype=np.float32)
    np.maximum.at(radius, labels, distances)
    return Clusters(centroids[order], labels, distances, sizes[order], radius), owners[order]


def _centroids(matrix: np.ndarray, rows: np.ndarray, weight: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return at most k distinct centroids of some rows, float32 [k, d], lexicographically; `weight` is of those."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    start = _distinct_rows(matrix, rows, k)
    if start is not None:
        return np.unique(start.astype(np.float32), axis=0)
    kept = weight > 0
    rows, weight = rows[kept], weight[kept]
    k, state = min(k, len(rows)), seed % 2**32
    # One start, scikit-learn's default for k-means++: the best of three was no better here (inertia within 0.5%), and
    # at a million rows the three took most of the time.
    if len(rows) <= FULL_ROWS:
        model = KMeans(k, random_state=state, n_init=1)
    else:
        batch = max(2048, 4 * k)
        model = MiniBatchKMeans(k, random_state=state, n_init=1, batch_size=batch, max_iter=100, compute_labels=False)
    chosen = matrix if len(rows) == len(matrix) else matrix[rows]
    if len(rows) <= FULL_ROWS:
        # What differs by processor is then far below what could send a row to another cluster.
        chosen = chosen.astype(np.float64)
    model.fit(chosen, sample_weight=weight)
    return np.unique(model.cluster_centers_.astype(np.float32), axis=0)


def _blocks(matrix: np.ndarray, rows: np.ndarray | None, columns: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the matrix, or some rows of it, block by block, and where each block lies among them."""
    height, step = len(matrix) if rows is None else len(rows), block_rows(columns)
    for start in range(0, height, step):
        part = slice(start, min(start + step, height))
        yield part, matrix[part] if rows is None else matrix[rows[part]]


def _assign(matrix: np.ndarray, centroids: np.ndarray, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    height = len(matrix) if rows is None else len(rows)
    labels, distances = np.empty(height, dtype=np.int64), np.empty(height, dtype=np.float32)
    half = 0.5 * np.einsum("kd,kd->k", centroids, centroids)
    for part, block in _blocks(matrix, rows, max(centroids.shape)):
        scores = block @ centroids.T
        scores -= half
        nearest = np.argmax(scores, axis=1)
        # The distance itself is taken from differences: |x|^2 - 2xc + |c|^2 cancels where a row is its centroid.
        labels[part], distances[part] = nearest, np.linalg.norm(block - centroids[nearest], axis=1)
    return labels, distances


def _distinct_rows(matrix: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray | None:
    """Return the distinct ones among some rows if there are at most k of them, else None; stops at the first k + 1."""
    seen: dict[bytes, int] = {}
    for row in rows:
        # Adding 0.0 turns -0.0 into 0.0, which is the same point.
        seen.setdefault((matrix[row] + 0.0).tobytes(), int(row))
        if len(seen) > k:
            return None
    return matrix[list(seen.values())]
