"""How many real labels the synthetic records are worth.

A model trained on n real records alone scores r(n); one trained on n real records and the synthetic ones scores m(n).
The worth of the latter is the number n' at which the curve r reaches m(n): so many labels would have had to be bought
for the same score. Both are isotonic regressions of the mean scores over the seeds, since more real records harm
neither but by chance; between the sizes r is a straight line over log n. Beyond the sizes that were measured nothing is
said: n' is censored there, not extrapolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_matrix, check_columns, check_count

#: Bootstrap resamples of the seeds behind an interval.
RESAMPLES = 2000

# Scores no further apart, in units of the largest, are the same score, rounded on two ways.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Worth:
    """What the synthetic records are worth beside `real_records` real ones.

    equivalent: the number of real records alone that score as much; the smallest or largest size that was measured
        where it lies outside, and `bound` says so: "<", ">" or "". gain: equivalent - real_records, to which the
        same bound applies.
    low, high: 95% interval of `equivalent` over the seeds; low_bound, high_bound as `bound`. NaN with a single seed.
    seeds: how many there were.
    """

    real_records: int
    equivalent: float
    bound: str
    gain: float
    low: float
    low_bound: str
    high: float
    high_bound: str
    seeds: int

    def __str__(self) -> str:
        """Say it in one line."""
        said = (
            f"{self.real_records} real records with the synthetic ones score as {self.bound}{self.equivalent:.0f} alone"
        )
        if math.isnan(self.low):
            return f"{said}, one seed"
        edges = f"{self.low_bound}{self.low:.0f} to {self.high_bound}{self.high:.0f}"
        return f"{said}, 95% interval {edges} over {self.seeds} seeds"


def worth(sizes: Any, real: Any, mixed: Any, seed: int, resamples: int = RESAMPLES) -> list[Worth]:
    """Return the worth at each size. The interval is that of a percentile bootstrap over the seeds: a seed's scores of
    all sizes, real and mixed, are drawn together, since they share its records.

    Args:
        sizes: int [s], numbers of real records, ascending, at least two.
        real, mixed: float [seeds, s], scores of which more is better: of training on the real records alone, and with
            the synthetic ones.
        seed: of the bootstrap. resamples: at least 1.

    Raises:
        NumericsError: if an array does not fit or is not finite, or sizes are not ascending numbers of at least 1.
    """
    alone, both = as_matrix("real", real).astype(np.float64), as_matrix("mixed", mixed).astype(np.float64)
    counts = _sizes(sizes, alone.shape[1])
    check_columns("mixed", both, alone.shape[1], "real")
    if len(both) != len(alone):
        raise NumericsError(f"mixed must have a row for each of the {len(alone)} seeds of real; given: {len(both)}.")
    check_count("resamples", resamples, 1, 1_000_000, "resamples")
    steps = np.log(counts)
    point = _reach(steps, alone.mean(axis=0), both.mean(axis=0))
    drawn = np.random.default_rng(seed).multinomial(len(alone), np.full(len(alone), 1 / len(alone)), resamples)
    resampled = np.array([_reach(steps, row @ alone / len(alone), row @ both / len(alone)) for row in drawn])
    # Order statistics, not means of two: one of them may be censored.
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0, method="inverted_cdf")
    found = []
    for column, count in enumerate(counts):
        value, bound = _censored(point[column], counts)
        edges = [(math.nan, "")] * 2 if len(alone) < 2 else [_censored(edge[column], counts) for edge in (low, high)]
        found.append(Worth(int(count), value, bound, value - float(count), *edges[0], *edges[1], len(alone)))
    return found


def _sizes(sizes: Any, columns: int) -> np.ndarray:
    counts = np.asarray(sizes)
    if counts.shape != (columns,) or columns < 2:
        raise NumericsError(f"sizes must name the {columns} columns of real, two or more; given: shape {counts.shape}.")
    if not np.issubdtype(counts.dtype, np.integer) or counts[0] < 1 or (np.diff(counts) <= 0).any():
        raise NumericsError(f"sizes must be whole numbers of at least 1 in ascending order; given: {counts.tolist()}.")
    return counts


def _rising(scores: np.ndarray) -> np.ndarray:
    """Return the isotonic regression of scores at sizes of equal weight: pools of adjacent violators."""
    pools: list[tuple[float, int]] = []
    for score in scores.tolist():
        mean, count = score, 1
        while pools and pools[-1][0] >= mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in pools])


def _reach(steps: np.ndarray, alone: np.ndarray, both: np.ndarray) -> np.ndarray:
    """Return the log size at which the curve of mean scores `alone` reaches that of `both` at each size: -inf below all
    sizes, inf above them. Where the curve is level, the size of the level that is nearest: a gain that is certain."""
    curve, scores = _rising(alone), _rising(both)
    same = _ROUNDING * max(1.0, float(np.abs(curve).max()))
    found = []
    for own, score in zip(steps, scores, strict=True):
        first = int(np.searchsorted(curve, score - same, side="left"))
        last = int(np.searchsorted(curve, score + same, side="right"))
        if first < last:
            found.append(min(max(own, steps[first]), steps[last - 1]))
        elif first == 0:
            found.append(-math.inf)
        elif first == len(curve):
            found.append(math.inf)
        else:
            share = (score - curve[first - 1]) / (curve[first] - curve[first - 1])
            found.append(steps[first - 1] + share * (steps[first] - steps[first - 1]))
    return np.array(found)


def _censored(step: float, counts: np.ndarray) -> tuple[float, str]:
    """Return a number of records, and on which side of it the true one lies if it was not measured."""
    if step == -math.inf:
        return float(counts[0]), "<"
    if step == math.inf:
        return float(counts[-1]), ">"
    return float(min(max(math.exp(step), counts[0]), counts[-1])), ""
