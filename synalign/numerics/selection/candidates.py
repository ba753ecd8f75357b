"""Candidates of a selection, with bounds of their variances: the best of a million without looking at most of them.

Variance only falls as points are observed, so that a variance computed earlier is an upper bound now (Minoux 1978,
"Accelerated greedy algorithms"). The pool is what is kept at hand: as many of the best candidates as `POOL_BYTES`
holds, with their rows of the factor, so that new picks bring their variances up to date at the price of the new picks
alone. All others have a bound each. Where one reaches into the best, variances are computed from the start, and the
pool is filled anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synalign.numerics.core.threads import each

if TYPE_CHECKING:
    import torch

    from synalign.numerics.selection.posterior import Posterior

#: Scores within this share of the largest prior score count as ties, which go to the smaller index: rounding in the
#: factor reaches 1e-11 at a noise of 0.01 and a thousand picks.
TIE = 1e-9

#: Memory for what is kept of the pool.
POOL_BYTES = 512 * 2**20

#: Candidates of one block of work.
BLOCK = 2048


class Candidates:
    """n candidates, of which some may still be taken.

    matrix: float [n, d]. weights: float64 [n], above 0. variance: float64 [n], upper bounds, exact as of `as_of`
    observed points, int64 [n]. open: bool [n], which may be taken. level: the largest prior variance. tolerance:
    scores within it tie.

    Args:
        tracker: whose variances they are.
        observed: points that the tracker will hold at most.
        least: candidates that the pool holds at least.
    """

    def __init__(self, tracker: Posterior, matrix: np.ndarray, weights: np.ndarray, observed: int, least: int) -> None:
        self.tracker, self.matrix, self.weights = tracker, matrix, weights
        covariance = tracker.covariance

        variance = np.concatenate(each(lambda part: covariance.prior_of(matrix[part]), parts(len(matrix))))
        self.level = float(variance.max())
        self.variance = tracker.not_negative(variance, self.level)
        self.as_of = np.zeros(len(matrix), dtype=np.int64)
        self.tolerance = TIE * float((self.variance * weights).max())
        self.open = np.ones(len(matrix), dtype=bool)
        # The pool: which candidates it holds, up to when their rows of the factor are known, and their places in it.
        width = covariance.prepare(matrix[:1]).shape[1]
        self._size = min(len(matrix), max(least, POOL_BYTES // (8 * (observed + width))))
        self._rows = np.zeros(0, dtype=np.int64)
        self._known = 0
        self._points = np.empty((self._size, width))
        self._factor = np.empty((self._size, observed))
        self._place = np.full(len(matrix), -1, dtype=np.int64)

    def score(self) -> np.ndarray:
        """Return an upper bound of each candidate's score, float64 [n], minus infinity where it may not be taken."""
        return np.where(self.open, self.variance * self.weights, -np.inf)

    def best(self, count: int) -> np.ndarray:
        """Return the `count` candidates of largest score that may be taken, ascending, their variances exact and in the
        pool; fewer where fewer may be taken. `count` is at most the `least` that the pool was to hold."""
        self._catch_up()
        score = self.score()
        rows = _largest(score, count, self.tolerance)
        if (self._place[rows] >= 0).all():
            return rows
        # A bound outside reaches into the best: the pool is filled anew with the best there are.
        while True:
            rows = _largest(score, self._size, self.tolerance)
            stale = rows[self.as_of[rows] < len(self.tracker)]
            if not len(stale):
                break
            self.variance[stale] = self.tracker.variance_of(self.matrix, stale)
            self.as_of[stale] = len(self.tracker)
            score[stale] = self.variance[stale] * self.weights[stale]
        self._fill(rows)
        return _largest(score, count, self.tolerance)

    def prepared(self, rows: np.ndarray) -> torch.Tensor:
        """Return candidates in the pool as covariances take them."""
        return _shared(self._points[self._place[rows]])

    def whitened(self, rows: np.ndarray) -> torch.Tensor:
        """Return L^-1 k(S, x) of candidates in the pool, float64 [len(rows), s]."""
        return _shared(self._factor[self._place[rows], : self._known])

    def observed(self, rows: np.ndarray, variance: np.ndarray) -> None:
        """Take over exact variances of some candidates, as of the points that the tracker now holds."""
        self.variance[rows] = variance
        self.as_of[rows] = len(self.tracker)

    def _catch_up(self) -> None:
        """Bring the pool up to date with what was observed since."""
        observed = len(self.tracker)
        if self._known == observed or not len(self._rows):
            self._known = observed
            return

        def block(part: slice) -> np.ndarray:
            whitened = _shared(self._factor[part, : self._known]).T
            rows = self.tracker.update(whitened, _shared(self._points[part]))
            self._factor[part, self._known : observed] = rows.numpy().T
            found: np.ndarray = rows.square().sum(dim=0).numpy()
            return found

        fallen = np.concatenate(each(block, parts(len(self._rows))))
        behind = self.as_of[self._rows] == self._known
        variance = self.variance[self._rows]
        variance[behind] -= fallen[behind]
        self.observed(self._rows, self.tracker.not_negative(variance, self.level))
        self._known = observed

    def _fill(self, rows: np.ndarray) -> None:
        """Have the pool hold these candidates; those that it holds already keep their place."""
        coming = rows[self._place[rows] < 0]
        leaving = np.flatnonzero(~np.isin(self._rows, rows))
        free = np.concatenate([leaving, np.arange(len(self._rows), self._size)])[: len(coming)]
        held = np.concatenate([self._rows, np.zeros(self._size - len(self._rows), dtype=np.int64)])
        self._place[held[free[free < len(self._rows)]]] = -1
        held[free], self._place[coming] = coming, free
        self._rows = held[: max(len(self._rows), int(free.max(initial=-1)) + 1)]

        def block(part: slice) -> None:
            points = self.tracker.covariance.prepare(self.matrix[coming[part]])
            self._points[free[part]] = points.numpy()
            self._factor[free[part], : self._known] = self.tracker.whiten(points).numpy().T

        each(block, parts(len(coming)))


def parts(count: int, size: int | None = None) -> list[slice]:
    """Return the slices that cut `count` rows into blocks."""
    # Small work is cut into four as well, so that few threads share it evenly.
    step = size or max(1, min(BLOCK, -(-count // 4)))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def first_largest(score: np.ndarray, tolerance: float) -> int:
    """Return the first place of a score within the tolerance of the largest."""
    return int(np.argmax(score >= score.max() - tolerance))


def _largest(score: np.ndarray, count: int, tolerance: float) -> np.ndarray:
    """Return the `count` rows of largest finite score, ascending; ties go to the smaller row."""
    if len(score) > count:
        last = np.partition(score, len(score) - count)[len(score) - count]
        if last > -np.inf:
            above = np.flatnonzero(score > last + tolerance)
            tied = np.flatnonzero(np.abs(score - last) <= tolerance)
            return np.sort(np.concatenate([above, tied[: count - len(above)]]))
    return np.flatnonzero(score > -np.inf)


def _shared(array: np.ndarray) -> torch.Tensor:
    """Return an array as a tensor, without a copy."""
    import torch

    return torch.from_numpy(array)
