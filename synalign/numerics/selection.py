"""Greedy selection by the posterior variance of a Gaussian process, exact, for a million candidates.

Taking the candidate of the largest variance again and again is a partial pivoted Cholesky factorisation of
K + noise I (Harbrecht, Peters and Schneider 2012). Variance only falls as points are observed, so that a variance
computed earlier is an upper bound now, and most candidates need no new one at most picks (Minoux 1978, "Accelerated
greedy algorithms"). Three circles of candidates make use of that in blocks:

- the front: the few of largest score. Their posterior covariance is held, and picks are taken from it as long as the
  best one exceeds every bound outside.
- the pool: the next ones, as many as `POOL_BYTES` holds. Their rows of the factor are kept, so that new picks bring
  their variances up to date at the price of the new picks alone.
- the rest: a bound each. Where it exceeds the best score found, the variance is computed from the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.checks import as_matrix, as_vector, check_count
from synalign.numerics.threads import blas_alone, each
from synalign.numerics.uncertainty import UncertaintyTracker, shared_tensor

if TYPE_CHECKING:
    import torch

#: Scores within this share of the largest prior score count as ties, which go to the smaller index: rounding in the
#: factor reaches 1e-11 at a noise of 0.01 and a thousand picks.
TIE = 1e-9

#: From this share of the other candidates that the first pick did not move, the picks are called not informative.
UNMOVED_SHARE = 0.9

#: Candidates on which that is looked at, evenly spaced; duplicates of the first pick do not hide it.
_LOOKED_AT = 2_000

#: Memory for the rows of the factor that are kept for the pool.
POOL_BYTES = 512 * 2**20

#: Candidates of the front, at least and at most; between, one in 64 of all.
FRONT = (128, 1024)

#: Candidates of one block of work, on all and on the front.
_BLOCK, _FRONT_BLOCK = 2048, 128


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
    tracker: UncertaintyTracker,
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
    tracker holds them afterwards, and a second call goes on from there. Memory beyond the candidates: `POOL_BYTES` and
    small blocks; 8 * (s + budget)^2 bytes for the factor.

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
            are equal (nothing can be chosen among them), or the kernel is not positive definite. Picks made before
            such an error in the midst of the work stay observed.
    """
    matrix = as_matrix("candidates", candidates)
    tracker.admit("candidates", matrix)
    check_count("budget", budget, 1, len(matrix), "picks, at most one for each candidate")
    check_count("batch", batch, 1, 2**31, "picks")
    limits = _limits(min_variance, min_gain)
    if budget > 1 and (matrix == matrix[0]).all():
        raise NumericsError(
            f"All {len(matrix)} candidates are equal, so that there is nothing to choose among. Embed them with an "
            "encoder that tells them apart, or take a budget of 1."
        )
    codes, left = _quotas(groups, quotas, len(matrix))
    with blas_alone():
        search = _Search(tracker, matrix, _weights(weights, len(matrix)), codes, left, limits)
        return search.run(budget, batch, progress)


class _Search:
    """One selection: what is known of each candidate, and the picks so far."""

    def __init__(
        self,
        tracker: UncertaintyTracker,
        matrix: np.ndarray,
        weights: np.ndarray,
        groups: np.ndarray | None,
        quotas: np.ndarray,
        limits: tuple[float, float],
    ) -> None:
        self.tracker, self.matrix, self.weights = tracker, matrix, weights
        self.groups, self.quotas, self.limits = groups, quotas, limits
        # Upper bounds of the variances, exact as of so many observed points.
        self.variance = self._prior()
        self.as_of = np.zeros(len(matrix), dtype=np.int64)
        self.tolerance = TIE * float((self.variance * weights).max())
        self.open = np.ones(len(matrix), dtype=bool)
        if groups is not None:
            self.open &= quotas[groups] > 0
        self.started = perf_counter()
        self.picks: list[int] = []
        self.before: list[float] = []
        self.after: list[float] = []
        self.seconds: list[float] = []
        self.stop: str | None = None

    def run(self, budget: int, batch: int, progress: Callable[[int, int], None] | None) -> Picks:
        """Take the picks."""
        pool = _Pool(self, len(self.tracker) + budget)
        front = int(np.clip(len(self.matrix) // 64, *FRONT))
        looked_at = np.linspace(0, len(self.matrix) - 1, min(_LOOKED_AT, len(self.matrix))).astype(np.int64)
        looked_at = np.unique(looked_at)
        prior = self.tracker.variance_of(self.matrix, looked_at)
        informative = True
        while self.stop is None and len(self.picks) < budget:
            rows = pool.best(max(front, min(batch, len(self.matrix))))
            room = budget - len(self.picks)
            if not len(rows):
                self.stop = "quotas"
            elif batch > 1:
                self._take_together(rows, min(batch, room))
            else:
                # The first alone, to see what it moves.
                self._take_in_turn(pool, rows, room if self.picks else 1)
            if len(self.tracker) and informative and len(self.picks) == min(batch, budget):
                others = ~np.isin(looked_at, self.picks)
                moved = prior - self.tracker.variance_of(self.matrix, looked_at)
                informative = not others.any() or bool(np.mean((moved <= TIE * prior)[others]) < UNMOVED_SHARE)
            if progress is not None:
                progress(len(self.picks), budget)
        before = np.array(self.before)
        indices = np.array(self.picks, dtype=np.int64)
        return Picks(
            indices,
            before,
            np.array(self.after),
            before * self.weights[indices],
            np.array(self.seconds),
            self.stop or "budget",
            informative,
        )

    def score(self) -> np.ndarray:
        """Return an upper bound of each candidate's score, -1 where it may not be taken."""
        return np.where(self.open, self.variance * self.weights, -1.0)

    def refresh(self, rows: np.ndarray) -> None:
        """Compute the variances of candidates from the start."""
        self.variance[rows] = self.tracker.variance_of(self.matrix, rows)
        self.as_of[rows] = len(self.tracker)

    def _prior(self) -> np.ndarray:
        parts = _parts(len(self.matrix))
        covariance = self.tracker.covariance

        def block(part: slice) -> np.ndarray:
            found: np.ndarray = covariance.prior(covariance.prepare(self.matrix[part])).numpy()
            return found

        return self.tracker.not_negative(np.concatenate(each(block, parts)))

    def _take_in_turn(self, pool: _Pool, rows: np.ndarray, room: int) -> None:
        """Take picks from the front, each observed before the next, until a candidate outside it may be better."""
        points, known = pool.prepared(rows), pool.whitened(rows)

        def covariance(part: slice) -> np.ndarray:
            found: np.ndarray = (self.tracker.covariance.between(points[part], points) - known[part] @ known.T).numpy()
            return found

        residual = np.concatenate(each(covariance, _parts(len(rows), _FRONT_BLOCK)))
        outside = self.score()
        outside[rows] = -1.0
        rest = float(outside.max())
        first_outside = int(np.argmax(outside >= rest - 2 * self.tolerance))
        variance = self.variance[rows]
        weights = self.weights[rows]
        taken: list[int] = []
        factor = np.empty((min(room, len(rows)), len(rows)))
        while len(taken) < len(factor):
            score = np.where(self.open[rows], variance * weights, -1.0)
            place = _first_largest(score, self.tolerance)
            tied = score[place] >= rest - self.tolerance and rows[place] < first_outside
            # The first is the best of all, since no bound outside exceeds the front's scores when it is formed.
            if score[place] < 0 or (taken and not (score[place] > rest + self.tolerance or tied)):
                break
            if self._ended(variance[place], score[place]):
                break
            row = residual[place] - factor[: len(taken), place] @ factor[: len(taken)]
            row[place] = variance[place]
            row /= np.sqrt(variance[place] + self.tracker.noise)
            factor[len(taken)] = row
            self._took(int(rows[place]), variance[place])
            variance = self.tracker.not_negative(variance - row * row)
            self.after.append(variance[place])
            taken.append(place)
        corner = shared_tensor(residual[np.ix_(taken, taken)])
        self.tracker.extend(self.matrix[rows[taken]], points[taken], known[taken], corner)
        self.variance[rows] = variance
        self.as_of[rows] = len(self.tracker)

    def _take_together(self, rows: np.ndarray, room: int) -> None:
        """Take the best of the front by the same variances, then observe them."""
        taken: list[int] = []
        while len(taken) < room:
            score = np.where(self.open[rows], self.variance[rows] * self.weights[rows], -1.0)
            place = _first_largest(score, self.tolerance)
            if score[place] < 0 or self._ended(self.variance[rows[place]], score[place]):
                break
            self._took(int(rows[place]), self.variance[rows[place]])
            taken.append(int(rows[place]))
        if taken:
            self.tracker.condition(self.matrix[taken])
            self.refresh(np.array(taken))
            self.after.extend(self.variance[taken])

    def _took(self, row: int, variance: float) -> None:
        self.picks.append(row)
        self.before.append(variance)
        self.seconds.append(perf_counter() - self.started)
        self.open[row] = False
        if self.groups is not None:
            group = self.groups[row]
            self.quotas[group] -= 1
            if not self.quotas[group]:
                self.open[self.groups == group] = False

    def _ended(self, variance: float, score: float) -> bool:
        """Say whether a limit ends the selection before this pick."""
        min_variance, min_gain = self.limits
        if variance < min_variance:
            self.stop = "min_variance"
        elif self.picks and score < min_gain * self.before[0] * self.weights[self.picks[0]]:
            self.stop = "min_gain"
        return self.stop is not None


class _Pool:
    """Candidates that are kept at hand: `rows` [p], prepared, and L^-1 k(S, x) of each, float64 [p, s]."""

    def __init__(self, search: _Search, observed: int) -> None:
        self.search = search
        count = len(search.matrix)
        width = search.tracker.covariance.prepare(search.matrix[:1]).shape[1]
        self.size = min(count, max(2 * FRONT[1], POOL_BYTES // (8 * (observed + width))))
        self.rows = np.zeros(0, dtype=np.int64)
        self.known = 0
        self.points = np.empty((self.size, width))
        self.factor = np.empty((self.size, observed))
        self.place = np.full(count, -1, dtype=np.int64)

    def best(self, count: int) -> np.ndarray:
        """Return the `count` candidates of largest score that may be taken, ascending, their variances exact and their
        rows of the factor in the pool. Fewer where fewer may be taken."""
        search = self.search
        self._catch_up()
        score = search.score()
        rows = _largest(score, count, search.tolerance)
        if (self.place[rows] >= 0).all():
            return rows
        # A bound outside reaches into the front: the pool is filled anew with the best there are.
        while True:
            rows = _largest(score, self.size, search.tolerance)
            stale = rows[search.as_of[rows] < len(search.tracker)]
            if not len(stale):
                break
            search.refresh(stale)
            score[stale] = search.variance[stale] * search.weights[stale]
        self._fill(rows)
        return _largest(score, count, search.tolerance)

    def prepared(self, rows: np.ndarray) -> torch.Tensor:
        """Return candidates in the pool as covariances take them."""
        return shared_tensor(self.points[self.place[rows]])

    def whitened(self, rows: np.ndarray) -> torch.Tensor:
        """Return L^-1 k(S, x) of candidates in the pool, float64 [len(rows), s]."""
        return shared_tensor(self.factor[self.place[rows], : self.known])

    def _catch_up(self) -> None:
        """Bring the pool up to date with what was observed since."""
        search, observed = self.search, len(self.search.tracker)
        if self.known == observed or not len(self.rows):
            self.known = observed
            return

        def block(part: slice) -> np.ndarray:
            whitened = shared_tensor(self.factor[part, : self.known]).T
            rows = search.tracker.update(whitened, shared_tensor(self.points[part]))
            self.factor[part, self.known : observed] = rows.numpy().T
            found: np.ndarray = rows.square().sum(dim=0).numpy()
            return found

        fallen = np.concatenate(each(block, _parts(len(self.rows))))
        behind = search.as_of[self.rows] == self.known
        search.variance[self.rows[behind]] -= fallen[behind]
        search.variance[self.rows] = search.tracker.not_negative(search.variance[self.rows])
        search.as_of[self.rows] = observed
        self.known = observed

    def _fill(self, rows: np.ndarray) -> None:
        """Have the pool hold these candidates; those that it holds already keep their place."""
        search = self.search
        coming = rows[self.place[rows] < 0]
        staying = np.isin(self.rows, rows)
        free = np.concatenate([np.flatnonzero(~staying), np.arange(len(self.rows), self.size)])[: len(coming)]
        held = np.concatenate([self.rows, np.zeros(self.size - len(self.rows), dtype=np.int64)])
        leaving = free[free < len(self.rows)]
        self.place[held[leaving]] = -1
        held[free], self.place[coming] = coming, free
        self.rows = held[: max(len(self.rows), int(free.max(initial=-1)) + 1)]

        def block(part: slice) -> None:
            points = search.tracker.covariance.prepare(search.matrix[coming[part]])
            self.points[free[part]] = points.numpy()
            self.factor[free[part], : self.known] = search.tracker.whiten(points).numpy().T

        each(block, _parts(len(coming)))


def _parts(count: int, size: int = _BLOCK) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _first_largest(score: np.ndarray, tolerance: float) -> int:
    return int(np.argmax(score >= score.max() - tolerance))


def _largest(score: np.ndarray, count: int, tolerance: float) -> np.ndarray:
    """Return the `count` rows of largest score among those of 0 or more, ascending; ties go to the smaller row."""
    if len(score) > count:
        last = np.partition(score, len(score) - count)[len(score) - count]
        if last >= 0:
            above = np.flatnonzero(score > last + tolerance)
            tied = np.flatnonzero(np.abs(score - last) <= tolerance)
            return np.sort(np.concatenate([above, tied[: count - len(above)]]))
    return np.flatnonzero(score >= 0)


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
    if codes.min() < 0 or codes.max() >= len(left) or left.min() < 0:
        raise NumericsError(
            f"groups must be from 0 to {len(left) - 1}, the last group with a quota, and no quota below 0; given: "
            f"groups from {codes.min()} to {codes.max()}, quotas from {left.min()}."
        )
    return codes, left


def _limits(min_variance: float, min_gain: float) -> tuple[float, float]:
    for name, value, high in (("min_variance", min_variance, np.inf), ("min_gain", min_gain, 1.0)):
        if not 0.0 <= value <= high:
            raise NumericsError(f"{name} must be from 0 to {high:g}; given: {value!r}.")
    return float(min_variance), float(min_gain)
