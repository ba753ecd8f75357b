"""How far two samples of vectors are from each other, and whether they can be told apart.

The permutation test is that of Gretton et al., "A Kernel Two-Sample Test", JMLR 13 (2012), equation 3 and section 5.
The classifier test is that of Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017. Precision and
recall are those of Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models",
NeurIPS 2019, density and coverage those of Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative
Models", ICML 2020; `prdc` says how weights enter them. Callers hand in rows that they have subsampled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
from synalign.numerics.core.duplicates import first_equal_rows

#: Rows of both samples together that `permutation_test` takes: its kernel matrix is then 3.2 GB.
MAX_POOLED = 20_000

#: Bootstrap resamples behind the interval of `classifier_two_sample_auc`.
RESAMPLES = 1000

# Values no further apart are the same value, rounded on two ways.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PermutationTest:
    """mmd2: unbiased MMD^2, may be below 0. p_value: in (0, 1]. null_mean, null_q95: of the permuted MMD^2."""

    mmd2: float
    p_value: float
    null_mean: float
    null_q95: float


@dataclass(frozen=True)
class ClassifierTest:
    """auc: 0.5 = cannot be told apart, 1 = always. low, high: its 95% interval. The records are those of weight > 0."""

    auc: float
    low: float
    high: float
    real_records: int
    synthetic_records: int


@dataclass(frozen=True)
class Prdc:
    """Precision, recall and coverage lie in [0, 1]. Density is 1 where the samples agree, and can be above 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def permutation_test(real: Any, synthetic: Any, bandwidths: Any, seed: int, permutations: int = 500) -> PermutationTest:
    """Test by MMD whether two samples come from one distribution, all splits of the pooled rows being equally likely.

    The kernel is the mean of Gaussian kernels exp(-|x - y|^2 / (2 b^2)) over the bandwidths b. The p-value is
    (1 + permutations with MMD^2 not below the observed) / (1 + permutations): valid at any number of permutations.
    Rows drawn by weights that were fitted to `real` are not exchangeable with it: hand in other real rows, and a
    `resample` of the synthetic ones.

    Args:
        real, synthetic: [n, d] and [m, d] float, two rows or more each, at most MAX_POOLED together. Time and memory
            grow with (n + m)^2.
        bandwidths: one number or a sequence, in units of distance.
        seed: of the permutations.
        permutations: at least 1; the smallest p-value is 1 / (1 + permutations).

    Raises:
        NumericsError: if an array does not fit or is not finite, or an argument is out of range.
    """
    x, y = _pair(real, synthetic)
    n, m = len(x), len(y)
    for name, size in (("real", n), ("synthetic", m)):
        if size < 2:
            raise NumericsError(f"A permutation test needs at least 2 rows in {name}; given: {size}.")
    if n + m > MAX_POOLED:
        raise NumericsError(
            f"A permutation test takes at most {MAX_POOLED} rows of both samples together; given: {n} real and {m} "
            "synthetic rows. Hand in a subsample of each."
        )
    scales = np.atleast_1d(np.asarray(bandwidths))
    scales = as_vector("bandwidths", scales, max(1, scales.size))
    check_positive("bandwidths", float(scales.min()))
    check_count("permutations", permutations, 1, 1_000_000, "permutations")
    kernel = _kernel(np.concatenate([x, y]), scales)
    random = np.random.default_rng(seed)
    first = np.arange(n + m) < n
    observed = _split_mmd2(kernel, first[None])[0]
    step = block_rows(n + m)
    null = np.concatenate(
        [
            _split_mmd2(kernel, random.permuted(np.tile(first, (min(step, permutations - start), 1)), axis=1))
            for start in range(0, permutations, step)
        ]
    )
    # A permutation that gives the observed split anew, or its mirror image, may differ from it by rounding.
    reached = int(np.count_nonzero(null >= observed - _ROUNDING))
    p_value = (1 + reached) / (1 + permutations)
    return PermutationTest(float(observed), p_value, float(null.mean()), float(np.quantile(null, 0.95)))


def resample(weights: Any, size: int, seed: int) -> np.ndarray:
    """Draw `size` rows by weight, int64 [size], ascending: systematic sampling with probability proportional to size.

    Row i comes floor(size w_i) or one more times, size w_i on average, w scaled to sum 1; a row of weight 0 never.
    The draw makes a plain sample of a weighted one for tests that know no weights. It shows no more than the weights
    hold: the larger `size` against their effective size 1 / sum(w^2), the more rows come twice and more, and a test
    takes the copies for evidence. Keeping it to the floor of the effective size at most is the caller's business.
    With true weights of an effective size of 15%, a test at level 5% rejected 13% of the time there, 7% at half of it.

    Raises:
        NumericsError: if `weights` is no finite vector, holds a negative or no positive weight, or size is below 1.
    """
    share = as_weights("weights", weights, _length("weights", weights))
    check_count("size", size, 1, 2**31, "rows")
    random = np.random.default_rng(seed)
    # In a random order, so that rows that stand together are not drawn in turns.
    rows = random.permutation(np.flatnonzero(share > 0))
    edges = np.cumsum(share[rows])
    places = (np.arange(size) + random.uniform()) / size * edges[-1]
    drawn = np.minimum(np.searchsorted(edges, places, side="right"), len(rows) - 1)
    return np.sort(rows[drawn]).astype(np.int64)


def classifier_two_sample_auc(
    real: Any, synthetic: Any, real_weights: Any, synthetic_weights: Any, seed: int, folds: int = 5
) -> ClassifierTest:
    """Return how well a logistic regression tells the two samples apart on records that it was not fitted on.

    The area under the ROC curve is the weighted share of pairs (synthetic, real) of one fold in which the synthetic
    record has the higher score; ties count half. Pairs of different folds have scores of different fits, and are left
    out. Both samples have the same total weight in each fit. Equal rows always share a fold, so that no record is
    scored by a fit that knows its copy. The interval is that of a bootstrap over the distinct rows with the scores
    kept: it does not hold the variation of the fits, and is too narrow at effective sizes of a few records.

    Args:
        real, synthetic: [n, d] and [m, d] float, each with at least `folds` distinct rows of positive weight.
        real_weights, synthetic_weights: [n] and [m], not negative, any scale; None is equal weights. Records of
            weight 0 count as absent.
        seed: of the folds and the bootstrap.
        folds: from 2 to 100.

    Raises:
        NumericsError: if an array does not fit or is not finite, or a sample has too few distinct rows.
    """
    x, y = _pair(real, synthetic)
    check_count("folds", folds, 2, 100, "folds")
    x, u = _present(x, as_weights("real_weights", real_weights, len(x)))
    y, v = _present(y, as_weights("synthetic_weights", synthetic_weights, len(y)))
    rows, weights = np.concatenate([x, y]), np.concatenate([u, v])
    is_synthetic = np.arange(len(rows)) >= len(x)
    group = np.unique(first_equal_rows(rows), return_inverse=True)[1]
    kind = _kinds(group, is_synthetic)
    for name, absent in (("real", 2), ("synthetic", 0)):
        distinct = int(np.count_nonzero(kind != absent))
        if distinct < folds:
            raise NumericsError(
                f"The classifier test with {folds} folds needs at least {folds} distinct rows of positive weight in "
                f"{name}; given: {distinct}. Use fewer folds or more records."
            )
    random = np.random.default_rng(seed)
    fold = _deal(group, kind, folds, random)[group]
    scores = np.empty(len(rows))
    for k in range(folds):
        scores[fold == k] = _fold_scores(rows[fold != k], is_synthetic[fold != k], weights[fold != k], rows[fold == k])
    auc = _auc(scores, is_synthetic, fold, weights[None])[0]
    values = []
    step = block_rows(8 * len(rows))
    for start in range(0, RESAMPLES, step):
        counts = _bootstrap_counts(kind, min(step, RESAMPLES - start), random)
        values.append(_auc(scores, is_synthetic, fold, weights * counts[:, group]))
    low, high = np.nanquantile(np.concatenate(values), [0.025, 0.975])
    return ClassifierTest(float(auc), float(low), float(high), len(x), len(y))


def prdc(real: Any, synthetic: Any, k: int = 5, real_weights: Any = None, synthetic_weights: Any = None) -> Prdc:
    """Return precision, recall, density and coverage of weighted samples.

    A weighted record stands for c_i = n_eff w_i records of its sample, w scaled to sum 1 and n_eff = 1 / sum(w^2) the
    effective size. Each count of records in the papers' definitions becomes a sum of c:

    - the ball of a record reaches to the distance within which the other records of its sample first sum to k (to the
      farthest one, where they sum to less: a record that outweighs its sample);
    - coverage: the mean over real records of min(1, sum of c_j over synthetic j in the record's ball);
    - precision: the mean over synthetic records of min(1, sum of c_i over real i whose balls hold the record);
    - density: the mean over synthetic records of the same sum, not cut at 1, divided by k;
    - recall: the mean over real records of min(1, sum of c_j over synthetic j whose balls hold the record);

    with means weighted by w. With equal weights c is 1, and these are the papers' definitions. A record of weight 0 is
    as good as absent, and so, nearly, is one of a tiny weight, however large its ball. A record on the edge of a ball
    is in it.

    Args:
        real, synthetic: [n, d] and [m, d] float, each of an effective size of k + 1 or more. Time grows with
            (n + m)^2; memory is bounded.
        k: neighbours, at least 1.
        real_weights, synthetic_weights: [n] and [m], not negative, any scale; None is equal weights.

    Raises:
        NumericsError: if an array does not fit or is not finite, or a sample is too small for k.
    """
    x, y = _pair(real, synthetic)
    check_count("k", k, 1, 10_000, "neighbours")
    x, c = _effective_counts("real", x, real_weights, k)
    y, e = _effective_counts("synthetic", y, synthetic_weights, k)
    centre = x.mean(axis=0)
    x, y = x - centre, y - centre
    x_reach, y_reach = _reach(x, c, k), _reach(y, e, k)
    covered, recalled, holding = np.empty(len(x)), np.empty(len(x)), np.zeros(len(y))
    for rows, distances in _distance_blocks(x, y):
        in_real_ball = distances <= x_reach[rows, None]
        covered[rows] = in_real_ball @ e
        holding += c[rows] @ in_real_ball
        recalled[rows] = (distances <= y_reach) @ e
    return Prdc(
        precision=float(e @ np.minimum(holding, 1.0) / e.sum()),
        recall=float(c @ np.minimum(recalled, 1.0) / c.sum()),
        density=float(e @ holding / (k * e.sum())),
        coverage=float(c @ np.minimum(covered, 1.0) / c.sum()),
    )


def share_distance(a: Any, b: Any) -> float:
    """Return the total variation distance of two vectors of shares, in [0, 1]: the share that would have to move.

    a and b, float [c], are not negative and of any scale; entry i of both is the same label or cluster.

    Raises:
        NumericsError: if they are not finite vectors of one length, or hold a negative or no positive value.
    """
    size = _length("a", a)
    p, q = as_weights("a", a, size), as_weights("b", np.asarray(b), size)
    return min(1.0, float(np.abs(p - q).sum() / 2))


def _pair(real: Any, synthetic: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = as_matrix("real", real), as_matrix("synthetic", synthetic)
    check_columns("synthetic", y, x.shape[1], "real")
    return x.astype(np.float64, copy=False), y.astype(np.float64, copy=False)


def _length(name: str, array: Any) -> int:
    shape = np.shape(array)
    if len(shape) != 1 or shape[0] == 0:
        raise NumericsError(f"{name} must be a vector of at least one number; given: shape {shape}.")
    return int(shape[0])


def _present(rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows[weights > 0], weights[weights > 0]


def _distance_blocks(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield squared distances [rows, m] of slices of x to y, float64. Assumes both centred: less is cancelled."""
    y_norm = np.einsum("jd,jd->j", y, y)
    step = block_rows(len(y))
    for start in range(0, len(x), step):
        rows = slice(start, min(start + step, len(x)))
        distances = x[rows] @ y.T
        distances *= -2.0
        distances += np.einsum("id,id->i", x[rows], x[rows])[:, None]
        distances += y_norm
        yield rows, np.maximum(distances, 0.0, out=distances)


def _kernel(rows: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
    """Return the kernel matrix with a diagonal of 0: the unbiased form has no use for it."""
    rows = rows - rows.mean(axis=0)
    kernel = np.zeros((len(rows), len(rows)))
    for part, distances in _distance_blocks(rows, rows):
        for bandwidth in bandwidths:
            kernel[part] += np.exp(distances * (-0.5 / bandwidth**2))
    kernel /= len(bandwidths)
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _split_mmd2(kernel: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the unbiased MMD^2, [p], of each split of the rows: first, bool [p, N], is one of the two samples."""
    chosen = first.astype(np.float64)
    n = chosen[0].sum()
    m = len(kernel) - n
    sums = kernel.sum(axis=1)
    within = np.einsum("pi,pi->p", chosen @ kernel, chosen)
    across = chosen @ sums - within
    rest = sums.sum() - within - 2.0 * across
    return within / (n * (n - 1)) + rest / (m * (m - 1)) - 2.0 * across / (n * m)


def _kinds(group: np.ndarray, is_synthetic: np.ndarray) -> np.ndarray:
    """Return for each group of equal rows whether its rows are real (0), of both samples (1) or synthetic (2)."""
    synthetic, size = np.bincount(group, is_synthetic), np.bincount(group)
    return np.where(synthetic == 0, 0, np.where(synthetic == size, 2, 1))


def _deal(group: np.ndarray, kind: np.ndarray, folds: int, random: np.random.Generator) -> np.ndarray:
    """Return the fold of each group: dealt in turn, kind by kind, large groups first, each sample spread evenly.

    Real groups, those of both samples and synthetic groups follow each other, so those that hold records of one
    sample are dealt in one run: if there are `folds` of them, each fold gets one.
    """
    size = np.bincount(group)
    order = random.permutation(len(size))
    order = order[np.lexsort((-size[order], kind[order]))]
    fold = np.empty(len(size), dtype=np.int64)
    fold[order] = np.arange(len(size)) % folds
    return fold


def _fold_scores(rows: np.ndarray, is_synthetic: np.ndarray, weights: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """Return the scores of the rows `scored`, higher = more likely synthetic, by a fit to the others."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    share = weights.copy()
    for side in (is_synthetic, ~is_synthetic):
        share[side] /= share[side].sum()
    # Each sample weighs as much as there are records in it, so that few effective records are fitted as few.
    effective = sum(1.0 / (share[side] @ share[side]) for side in (is_synthetic, ~is_synthetic))
    share *= effective / 2
    scaler = StandardScaler().fit(rows, sample_weight=share)
    # Standardised rows have a squared norm of d: a penalty that grows with it found small shifts of 384 columns best.
    model = LogisticRegression(C=1.0 / rows.shape[1], max_iter=1000)
    model.fit(scaler.transform(rows), is_synthetic, sample_weight=share)
    return model.decision_function(scaler.transform(scored))


def _bootstrap_counts(kind: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Return how often each group is drawn, [resamples, groups]; kinds apart, so that no sample is ever empty."""
    counts = np.zeros((resamples, len(kind)))
    for value in np.unique(kind):
        members = np.flatnonzero(kind == value)
        counts[:, members] = random.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return counts


def _auc(scores: np.ndarray, positive: np.ndarray, fold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return for each row of weights [b, N] the share of the weight of pairs (positive, negative) of one fold in which
    the positive has the higher score. NaN where no fold holds a pair."""
    order = np.lexsort((scores, fold))
    scores, fold = scores[order], fold[order]
    new_fold = np.append(True, fold[1:] != fold[:-1])
    # Records of equal score are summed first: a tie within them counts half.
    starts = np.flatnonzero(new_fold | np.append(True, scores[1:] != scores[:-1]))
    sorted_weights = weights[:, order]
    up = np.add.reduceat(sorted_weights * positive[order], starts, axis=1)
    down = np.add.reduceat(sorted_weights * ~positive[order], starts, axis=1)
    fold_starts = np.flatnonzero(new_fold[starts])
    fold_of = np.cumsum(new_fold[starts]) - 1
    below = np.cumsum(down, axis=1) - down
    below -= below[:, fold_starts][:, fold_of]
    pairs = np.add.reduceat(up, fold_starts, axis=1) * np.add.reduceat(down, fold_starts, axis=1)
    total = pairs.sum(axis=1)
    won = np.einsum("bg,bg->b", up, below + 0.5 * down)
    return np.divide(won, total, out=np.full(len(weights), np.nan), where=total > 0)


def _effective_counts(name: str, rows: np.ndarray, weights: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of positive weight and the number of records that each stands for."""
    present, share = _present(rows, as_weights(f"{name}_weights", weights, len(rows)))
    size = 1.0 / (share @ share)
    if size < (k + 1) * (1 - 1e-9):
        raise NumericsError(
            f"k = {k} needs an effective sample size of at least {k + 1} in {name}; given: {size:.1f}, from "
            f"{len(present)} records of positive weight. Use a smaller k or more records."
        )
    counts = size * share
    # Equal weights must count 1 each and not nearly 1, or a cut at 1 would show the difference.
    return present, np.where(np.abs(counts - 1.0) < _ROUNDING, 1.0, counts)


def _reach(rows: np.ndarray, counts: np.ndarray, k: int) -> np.ndarray:
    """Return the squared radius of each row's ball, widened by rounding: a copy of the k-th neighbour is in it."""
    reach = np.empty(len(rows))
    for part, distances in _distance_blocks(rows, rows):
        own = np.arange(part.start, part.stop)
        distances[own - part.start, own] = np.inf
        order = np.argsort(distances, axis=1)
        summed = np.cumsum(counts[order[:, :-1]], axis=1) >= k - 1e-9
        place = np.where(summed[:, -1], np.argmax(summed, axis=1), len(rows) - 2)
        reach[part] = distances[own - part.start, order[own - part.start, place]]
    return reach + _ROUNDING * (reach + np.einsum("id,id->i", rows, rows))
