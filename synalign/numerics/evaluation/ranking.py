"""Exact search, what a ranking is worth, and whether one is better than another.

Every query has one document that answers it. The discounted gain is that of Jarvelin and Kekalainen, ACM TOIS 20
(2002). Rankings are compared query by query, by a bootstrap over queries (Sakai, SIGIR 2006), or over groups of them:
queries of one document, or written from one demonstration, are no independent observations. A percentile interval of n
observations is too narrow by about sqrt((n - 1) / n) and by the difference of Student's t from the normal
distribution; it is widened by both (Hesterberg, The American Statistician 69 (2015), section 4.1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import (
    as_matrix,
    as_vector,
    as_weights,
    block_rows,
    check_columns,
    check_count,
    check_positive,
)

#: Documents that a block of queries is compared to at a time.
_TILE = 8192

#: Queries compared at a time: with a tile of documents, 32 MiB of scores.
_QUERIES = 1024


class Interval(NamedTuple):
    """A mean over queries, and where the mean of all such queries lies at the level asked for."""

    mean: float
    low: float
    high: float


class Comparison(NamedTuple):
    """The mean of first - second over queries, where that of all such queries lies, and the two-sided p-value of there
    being none: below 1 - level where the interval leaves 0 out."""

    difference: float
    low: float
    high: float
    p_value: float


def exact_search(queries: Any, documents: Any, top: int, block: int = _QUERIES) -> tuple[np.ndarray, np.ndarray]:
    """Return for each query the `top` documents of largest inner product, int64 [n, t], best first, and these products,
    float32 [n, t], where t is the smaller of `top` and m. Of equal scores, the smaller row comes first.

    The products that count are summed in float64 and rounded, so that equal documents have equal scores wherever they
    stand, and the result is a function of its arguments alone, whatever `block` is.

    Args:
        queries: float [n, k]. documents: float [m, k]. Of length 1 each, the score is the cosine.
        top: how many documents, at least 1.
        block: queries at a time. Memory is block times the larger of 8,192 scores and `top` rows.

    Raises:
        NumericsError: if an array does not fit or is not finite, or a number is out of range.
    """
    left = as_matrix("queries", queries).astype(np.float32, copy=False)
    right = as_matrix("documents", documents).astype(np.float32, copy=False)
    check_columns("documents", right, left.shape[1], "queries")
    top = min(check_count("top", top, 1, 2**31, "documents"), len(right))
    check_count("block", block, 1, 2**31, "queries")
    # What a float32 product may be off by, of either of two that are compared.
    longest = np.sqrt(np.einsum("id,id->i", right, right, dtype=np.float64).max())
    rounding = 2.0 * (left.shape[1] + 8) * 2.0**-24 * longest
    rows = np.empty((len(left), top), dtype=np.int64)
    scores = np.empty((len(left), top), dtype=np.float32)
    for start in range(0, len(left), block):
        here = slice(start, start + block)
        part = left[here]
        margin = rounding * np.linalg.norm(part.astype(np.float64), axis=1)
        near, far = _candidates(part, right, top, margin)
        exact = _products(part, right, near, far)
        first = _first(near, far, exact, top, len(part))
        rows[here], scores[here] = far[first], exact[first]
    return rows, scores


def hits(rows: Any, relevant: Any) -> np.ndarray:
    """Return at which rank the document of each query is, int64 [n], from 1; 0 where it was not found.

    Args:
        rows: integer [n, t], the documents found for each query, best first; -1 where an index found fewer.
        relevant: integer [n], the document that answers each query.

    Raises:
        NumericsError: if an array does not fit, or a relevant document is negative.
    """
    found = _as_rows("rows", rows, 2)
    wanted = _as_rows("relevant", relevant, 1)
    if len(wanted) != len(found):
        raise NumericsError(f"rows and relevant must be of the same queries; given: {len(found)} and {len(wanted)}.")
    if wanted.size and wanted.min() < 0:
        query = int(np.argmax(wanted < 0))
        raise NumericsError(
            f"Every query needs a document that answers it; query {query} has row {wanted[query]}. Leave it out."
        )
    same = found == wanted[:, None]
    return np.where(same.any(axis=1), same.argmax(axis=1) + 1, 0).astype(np.int64)


def recall_at(ranks: Any, k: int) -> np.ndarray:
    """Return 1 for each query whose document is among the first k, else 0, float64 [n]. `ranks` is that of `hits`.

    Raises:
        NumericsError: if the ranks or k are none.
    """
    return _within(ranks, k)[1].astype(np.float64)


def reciprocal_rank(ranks: Any, k: int = 10) -> np.ndarray:
    """Return 1 / rank for each query whose document is among the first k, else 0, float64 [n].

    Arguments and errors are those of `recall_at`.
    """
    place, found = _within(ranks, k)
    return np.where(found, 1.0 / np.maximum(place, 1), 0.0)


def ndcg_at(ranks: Any, k: int = 10) -> np.ndarray:
    """Return 1 / log2(1 + rank) for each query whose document is among the first k, else 0, float64 [n]: the discounted
    gain, whose ideal is 1 for a single document.

    Arguments and errors are those of `recall_at`.
    """
    place, found = _within(ranks, k)
    return np.where(found, 1.0 / np.log2(1.0 + np.maximum(place, 1)), 0.0)


def agreement(index_rows: Any, exact_rows: Any, k: int) -> np.ndarray:
    """Return for each query which share of its k nearest documents is among the first k that an index found, float64
    [n]: the recall of an approximate index.

    Args:
        index_rows: integer [n, t], the documents that the index found, each once; -1 where it found fewer.
        exact_rows: integer [n, u], from `exact_search` with `top` of at least k.
        k: how many documents, at least 1. With fewer in all, the share of these.

    Raises:
        NumericsError: if an array does not fit or k is out of range.
    """
    approximate, exact = _as_rows("index_rows", index_rows, 2), _as_rows("exact_rows", exact_rows, 2)
    check_count("k", k, 1, 2**31, "documents")
    if len(approximate) != len(exact) or not exact.shape[1]:
        raise NumericsError(
            "index_rows [n, t] and exact_rows [n, u] must be of the same queries, with u >= 1; given: shapes "
            f"{approximate.shape} and {exact.shape}."
        )
    approximate, exact = approximate[:, :k], exact[:, :k]
    result = np.empty(len(exact))
    step = block_rows(max(1, approximate.shape[1] * exact.shape[1]), 1)
    for start in range(0, len(exact), step):
        here = slice(start, start + step)
        result[here] = (exact[here, :, None] == approximate[here, None, :]).any(axis=2).mean(axis=1)
    return result


def bootstrap_mean(
    values: Any, seed: int, rounds: int = 10_000, level: float = 0.95, *, groups: Any = None, weights: Any = None
) -> Interval:
    """Return the mean of a figure over queries, with its bootstrap interval. Of values that are all equal, the interval
    is the one point.

    Args:
        values: [n] numbers, one for each query.
        seed: of the resamples.
        rounds: resamples.
        level: of the interval.
        groups: [n], what is drawn as a whole, such as the row of each query's document. None: each query alone.
        weights: [n], not negative, how much each query counts. None: equally.

    Raises:
        NumericsError: if an array does not fit or is not finite, there are fewer than two queries or groups of positive
            weight, or a number is out of range.
    """
    mean, means, count = _resampled(values, seed, rounds, groups, weights)
    return Interval(mean, *_limits(means, count, level))


def paired_bootstrap(
    first: Any,
    second: Any,
    seed: int,
    rounds: int = 10_000,
    level: float = 0.95,
    *,
    groups: Any = None,
    weights: Any = None,
) -> Comparison:
    """Return how much better the first of two retrievers is on the same queries, with its bootstrap interval.

    Args:
        first, second: [n] numbers, a figure of each retriever for the same queries, in the same order.

    Other arguments, and errors, are those of `bootstrap_mean`.
    """
    values = as_vector("first", first, np.size(first)) - as_vector("second", second, np.size(first))
    mean, means, count = _resampled(values, seed, rounds, groups, weights)
    low, high = _limits(means, count, level)
    return Comparison(mean, low, high, _p_value(means, count))


def _resampled(values: Any, seed: int, rounds: int, groups: Any, weights: Any) -> tuple[float, np.ndarray, int]:
    """Return the mean, that of each resample, float64 [rounds], and how many groups were drawn from."""
    figures = as_vector("values", values, np.size(values))
    check_count("rounds", rounds, 1, 10_000_000, "resamples")
    share = as_weights("weights", weights, len(figures)) if len(figures) else figures
    names = np.arange(len(figures)) if groups is None else _as_codes(groups, len(figures))
    used = share > 0
    _, codes = np.unique(names[used], return_inverse=True)
    count = int(codes.max()) + 1 if len(codes) else 0
    if count < 2:
        raise NumericsError(
            f"A bootstrap draws from 2 {'queries' if groups is None else 'groups of queries'} of positive weight or "
            f"more; given: {count}. There is no interval for fewer."
        )
    sums = np.stack([np.bincount(codes, (share * figures)[used]), np.bincount(codes, share[used])], axis=1)
    # Groups that are alike are drawn as one: rankings have few different values, so that a resample is a few numbers.
    distinct, times = np.unique(sums, axis=0, return_counts=True)
    random = np.random.default_rng(seed)
    step = block_rows(len(distinct))
    parts = []
    for start in range(0, rounds, step):
        drawn = random.multinomial(count, times / count, size=min(step, rounds - start))
        totals = drawn.astype(np.float64) @ distinct
        parts.append(totals[:, 0] / totals[:, 1])
    return float(share @ figures), np.concatenate(parts), count


def _limits(means: np.ndarray, count: int, level: float) -> tuple[float, float]:
    """Return the limits of the widened percentile interval."""
    from scipy import stats

    if not 0.0 < check_positive("level", level) < 1.0:
        raise NumericsError(f"level must lie between 0 and 1, such as 0.95; given: {level!r}.")
    tail = stats.norm.cdf(np.sqrt(count / (count - 1)) * stats.t.ppf((1.0 - level) / 2.0, count - 1))
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def _p_value(means: np.ndarray, count: int) -> float:
    """Return at which level the interval would end at 0."""
    from scipy import stats

    beyond = min(np.count_nonzero(means <= 0.0), np.count_nonzero(means >= 0.0))
    tail = min(0.5, (1 + beyond) / (1 + len(means)))
    return float(2.0 * stats.t.cdf(stats.norm.ppf(tail) / np.sqrt(count / (count - 1)), count - 1))


def _candidates(
    queries: np.ndarray, documents: np.ndarray, top: int, margin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of a query and a document, int64 [p] each: all that may be among the `top` of the query."""
    least = np.full(len(queries), -np.inf)
    near, far, scores = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    for start in range(0, len(documents), _TILE):
        product = queries @ documents[start : start + _TILE].T
        if not start and product.shape[1] > top:
            best = np.partition(product, product.shape[1] - top, axis=1)[:, product.shape[1] - top]
            least = best - margin
        rows, columns = np.nonzero(product >= least[:, None])
        near, far = np.concatenate([near, rows]), np.concatenate([far, columns + start])
        scores = np.concatenate([scores, product[rows, columns]])
        counts = np.bincount(near, minlength=len(queries))
        full = np.flatnonzero(counts >= top)
        if not len(full):
            continue
        order = np.lexsort((-scores, near))
        begin = np.cumsum(counts) - counts
        least[full] = scores[order[begin[full] + top - 1]] - margin[full]
        keep = scores >= least[near]
        near, far, scores = near[keep], far[keep], scores[keep]
    return near, far


def _products(queries: np.ndarray, documents: np.ndarray, near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Return the inner product of each pair, summed in float64, float32 [p]."""
    result = np.empty(len(near), dtype=np.float32)
    step = block_rows(queries.shape[1])
    for start in range(0, len(near), step):
        pair = slice(start, start + step)
        terms = queries[near[pair]].astype(np.float64)
        terms *= documents[far[pair]]
        # Each row is summed in the same order, wherever it stands.
        result[pair] = terms.sum(axis=1)
    return result


def _first(near: np.ndarray, far: np.ndarray, scores: np.ndarray, top: int, count: int) -> np.ndarray:
    """Return the places of the `top` best pairs of each query, int64 [count, top]. Each has as many."""
    order = np.lexsort((far, -scores, near))
    sizes = np.bincount(near, minlength=count)
    begin = np.cumsum(sizes) - sizes
    return order[begin[:, None] + np.arange(top)]


def _within(ranks: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ranks, and which of them are among the first k."""
    place = _as_rows("ranks", ranks, 1)
    check_count("k", k, 1, 2**31, "documents")
    if place.size and place.min() < 0:
        raise NumericsError(f"ranks are 1 and above, and 0 for what was not found; given: {place.min()}.")
    return place, (place > 0) & (place <= k)


def _as_rows(name: str, array: Any, axes: int) -> np.ndarray:
    rows = np.asarray(array)
    if rows.ndim != axes or (rows.size and rows.dtype.kind not in "iu"):
        raise NumericsError(
            f"{name} must be {axes}-d and hold whole numbers; given: shape {rows.shape} of {rows.dtype}."
        )
    return rows.astype(np.int64, copy=False)


def _as_codes(groups: Any, size: int) -> np.ndarray:
    codes = np.asarray(groups)
    if codes.shape != (size,):
        raise NumericsError(f"groups must be a vector of length {size}; given: shape {codes.shape}.")
    return codes
