"""Greedy selection by the posterior variance of a Gaussian process, exact, for a million candidates.

Taking the candidate of the largest variance again and again is a partial pivoted Cholesky factorisation of
K + noise I (Harbrecht, Peters and Schneider 2012). It is done in fronts: the posterior covariance of the few candidates
of largest score is held, and picks are taken from it as long as the best of them exceeds every bound outside
(`synalign.numerics.selection.candidates`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_matrix, as_vector, check_count
from synalign.numerics.core.threads import blas_alone, each
from synalign.numerics.selection.candidates import TIE, Candidates, first_largest, parts

if TYPE_CHECKING:
    from synalign.numerics.selection.posterior import Posterior

#: From this share of the other candidates that the first pick did not move, the picks are called not informative.
UNMOVED_SHARE = 0.9

#: Candidates on which that is looked at, evenly spaced; duplicates of the first pick do not hide it.
_LOOKED_AT = 500

#: Candidates of the front, at least and at most; between, one in 64 of all.
FRONT = (96, 1024)

#: Candidates of one block of work on the front.
_FRONT_BLOCK = 128


@dataclass(frozen=True)
class Picks:
    """b picks in the order taken. Variances are of the latent f, without observation noise, in units of the kernel.

    indices: int64 [b], rows of the candidates, each at most once.
    variance_before, variance_after: float64 [b], at the pick, just before and just after it is observed (with its
        batch).
    score: float64 [b], the variance before times the candidate's weight.
    seconds: float64 [b], from the call to the pick.
    stop_reason: "budget"; "min_variance" or "min_gain", where that limit ended it earlier; "quotas", where no group
        with candidates has a pick left.
    informative: False if the first pick left at least UNMOVED_SHARE of the other candidates at their variance (within
        TIE): the length scale is far too short for these distances, they tie, and the picks are arbitrary. True where
        there is no other candidate.
    """

    indices: np.ndarray
    variance_before: np.ndarray
    variance_after: np.ndarray
    score: np.ndarray
    seconds: np.ndarray
    stop_reason: str
    informative: bool


def select(
    tracker: Posterior,
    candidates: Any,
    budget: int,
    *,
    batch: int = 1,
    weights: Any = None,
    groups: Any = None,
    quotas: Any = None,
    min_variance: float = 0.0,
    min_gain: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> Picks:
    """Take candidates, each time the one of the largest score, variance times weight; ties go to the smaller index.

    The picks are those of the plain way that computes every variance anew after every pick. They are observed: the
    tracker holds them afterwards, and a second call goes on from there. Memory beyond the candidates:
    `candidates.POOL_BYTES`, small blocks, and 8 * (s + budget)^2 bytes for the factor.

    Args:
        tracker: what was observed before counts; it is conditioned on the picks.
        candidates: [n, d] float, e.g. cluster centroids, or records; float32 is taken as it is, in blocks of float64.
        budget: picks to make, from 1 to n.
        batch: picks taken between two updates of the variances; above 1 they are taken by the same variances, so that
            neighbours may come together.
        weights: [n] float, above 0, times which the variance is taken; None is 1.
        groups: [n] integer, from 0: the group of each candidate. quotas: [max(groups) + 1] integer, how many picks
            each group may have. Both or neither.
        min_variance: stops before a pick of smaller variance.
        min_gain: stops before a pick whose score is below this share of the first one's. 0 does not stop.
        progress: told of (picks made, budget) now and then.

    Raises:
        NumericsError: if an array does not fit or is not finite, a number is out of range, all of several candidates
            are equal (nothing can be chosen among them), or the kernel is not positive definite. In the last case the
            tracker may hold some of the picks.
    """
    matrix = as_matrix("candidates", candidates)
    tracker.admit("candidates", matrix)
    check_count("budget", budget, 1, len(matrix), "picks, at most one for each candidate")
    check_count("batch", batch, 1, 2**31, "picks")
    limits = _limits(min_variance, min_gain)
    if budget > 1 and (matrix[1] == matrix[0]).all() and (matrix == matrix[0]).all():
        raise NumericsError(
            f"All {len(matrix)} candidates are equal, so that there is nothing to choose among. Embed them with an "
            "encoder that tells them apart, or take a budget of 1."
        )
    codes, left = _quotas(groups, quotas, len(matrix))
    with blas_alone():
        front = max(int(np.clip(len(matrix) // 64, *FRONT)), min(batch, budget))
        known = Candidates(tracker, matrix, _weights(weights, len(matrix)), len(tracker) + budget, 2 * front)
        return _Search(tracker, known, codes, left, limits, front).run(budget, batch, progress)


class _Search:
    """One selection: the picks so far."""

    def __init__(
        self,
        tracker: Posterior,
        known: Candidates,
        groups: np.ndarray | None,
        quotas: np.ndarray,
        limits: tuple[float, float],
        front: int,
    ) -> None:
        self.tracker, self.known, self.groups, self.quotas = tracker, known, groups, quotas
        self.limits, self.front = limits, front
        if groups is not None:
            known.open &= quotas[groups] > 0
        self.started = perf_counter()
        self.picks: list[int] = []
        self.before: list[float] = []
        self.after: list[float] = []
        self.seconds: list[float] = []
        self.stop: str | None = None

    def run(self, budget: int, batch: int, progress: Callable[[int, int], None] | None) -> Picks:
        """Take the picks."""
        count = len(self.known.matrix)
        looked_at = np.unique(np.linspace(0, count - 1, min(_LOOKED_AT, count)).astype(np.int64))
        prior = self.tracker.variance_of(self.known.matrix, looked_at)
        informative = None
        while self.stop is None and len(self.picks) < budget:
            room = budget - len(self.picks)
            if batch > 1:
                self._take_together(min(batch, room))
            else:
                # The first alone, to see what it moves.
                self._take_in_turn(room if self.picks else 1)
            if informative is None and self.picks:
                others = ~np.isin(looked_at, self.picks)
                moved = prior - self.tracker.variance_of(self.known.matrix, looked_at)
                unmoved = (moved <= TIE * prior)[others]
                informative = not len(unmoved) or bool(unmoved.mean() < UNMOVED_SHARE)
            if progress is not None:
                progress(len(self.picks), budget)
        before, indices = np.array(self.before), np.array(self.picks, dtype=np.int64)
        return Picks(
            indices,
            before,
            np.array(self.after),
            before * self.known.weights[indices],
            np.array(self.seconds),
            self.stop or "budget",
            informative is not False,
        )

    def _take_in_turn(self, room: int) -> None:
        """Take picks from a front, each observed before the next, until a candidate outside it may be better."""
        known, rows = self.known, self.known.best(self.front)
        if not len(rows):
            self.stop = "quotas"
            return
        points, whitened = known.prepared(rows), known.whitened(rows)

        def covariance(part: slice) -> np.ndarray:
            prior = self.tracker.covariance.between(points[part], points)
            found: np.ndarray = (prior - whitened[part] @ whitened.T).numpy()
            return found

        residual = np.concatenate(each(covariance, parts(len(rows), _FRONT_BLOCK)))
        outside = known.score()
        outside[rows] = -np.inf
        rest = float(outside.max())
        first_outside = int(np.argmax(outside >= rest - 2 * known.tolerance))
        variance, weights = known.variance[rows], known.weights[rows]
        lowest = np.zeros(len(rows))
        taken: list[int] = []
        factor = np.empty((min(room, len(rows)), len(rows)))
        while len(taken) < len(factor):
            score = variance * weights
            score[~known.open[rows]] = -np.inf
            place = first_largest(score, known.tolerance)
            tied = score[place] >= rest - known.tolerance and rows[place] < first_outside
            # The first is the best of all, since no bound outside exceeds the front's scores when it is formed.
            if score[place] == -np.inf or (taken and not (score[place] > rest + known.tolerance or tied)):
                break
            if self._ended(variance[place], score[place]):
                break
            row = residual[place] - factor[: len(taken), place] @ factor[: len(taken)]
            row[place] = variance[place]
            row /= np.sqrt(variance[place] + self.tracker.noise)
            factor[len(taken)] = row
            self._took(int(rows[place]), variance[place])
            row *= row
            variance -= row
            np.minimum(lowest, variance, out=lowest)
            np.maximum(variance, 0.0, out=variance)
            self.after.append(variance[place])
            taken.append(place)
        self.tracker.not_negative(lowest, known.level)
        corner = residual[np.ix_(taken, taken)]
        self.tracker.extend(known.matrix[rows[taken]], points[taken], whitened[taken], corner)
        known.observed(rows, variance)

    def _take_together(self, room: int) -> None:
        """Take the best by the same variances, then observe them."""
        known, taken = self.known, list[int]()
        while len(taken) < room and self.stop is None:
            rows = known.best(self.front)
            if not len(rows):
                self.stop = "quotas"
            # None outside is better than those in the front, whichever of them a full group closes.
            while len(taken) < room and known.open[rows].any():
                score = np.where(known.open[rows], known.variance[rows] * known.weights[rows], -np.inf)
                place = first_largest(score, known.tolerance)
                variance = known.variance[rows[place]]
                if self._ended(variance, score[place]):
                    break
                self._took(int(rows[place]), variance)
                taken.append(int(rows[place]))
        if taken:
            self.tracker.observe(known.matrix[taken])
            variances = self.tracker.variance_of(known.matrix, np.array(taken))
            known.observed(np.array(taken), variances)
            self.after.extend(variances)

    def _took(self, row: int, variance: float) -> None:
        self.picks.append(row)
        self.before.append(variance)
        self.seconds.append(perf_counter() - self.started)
        self.known.open[row] = False
        if self.groups is not None:
            group = self.groups[row]
            self.quotas[group] -= 1
            if not self.quotas[group]:
                self.known.open[self.groups == group] = False

    def _ended(self, variance: float, score: float) -> bool:
        """Say whether a limit ends the selection before this pick."""
        min_variance, min_gain = self.limits
        if variance < min_variance:
            self.stop = "min_variance"
        elif self.picks and score < min_gain * self.before[0] * self.known.weights[self.picks[0]]:
            self.stop = "min_gain"
        return self.stop is not None


def _weights(weights: Any, count: int) -> np.ndarray:
    if weights is None:
        return np.ones(count)
    found = as_vector("weights", weights, count)
    if found.min() <= 0:
        row = int(np.argmax(found <= 0))
        raise NumericsError(f"weights must be above 0; entry {row} is {found[row]}.")
    return found


def _quotas(groups: Any, quotas: Any, count: int) -> tuple[np.ndarray | None, np.ndarray]:
    if groups is None and quotas is None:
        return None, np.zeros(0, dtype=np.int64)
    if groups is None or quotas is None:
        raise NumericsError("groups and quotas go together: give both or neither.")
    codes, left = np.asarray(groups), np.array(quotas)
    if codes.shape != (count,) or left.ndim != 1 or codes.dtype.kind not in "iu" or left.dtype.kind not in "iu":
        raise NumericsError(
            f"groups must be {count} integers and quotas one integer for each group; given: shapes {codes.shape} and "
            f"{left.shape}, {codes.dtype} and {left.dtype}."
        )
    if codes.min() < 0 or codes.max() >= len(left) or (left < 0).any():
        raise NumericsError(
            f"groups must be from 0 to {len(left) - 1}, the last group with a quota, and no quota below 0; given: "
            f"groups from {codes.min()} to {codes.max()}, quotas {left[:20].tolist()}."
        )
    return codes, left


def _limits(min_variance: float, min_gain: float) -> tuple[float, float]:
    for name, value, high in (("min_variance", min_variance, np.inf), ("min_gain", min_gain, 1.0)):
        if not 0.0 <= value <= high:
            raise NumericsError(f"{name} must be from 0 to {high:g}; given: {value!r}.")
    return float(min_variance), float(min_gain)
