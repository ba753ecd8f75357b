"""Sampling weights that match mean features, by the entropic dual (DESIGN section 5).

Over weights w on the simplex, with prior q, feature rows phi_i and target mean mu,

    primal   P(w) = KL(w || q) + |Phi'w - mu|^2 / (2 eps)
    dual     G(l) = l.mu - A(l) - eps/2 |l|^2,     A(l) = max_w { w.Phi l - KL(w || q) }.

Without a cap A(l) = log sum_i q_i exp(phi_i . l) and w_i(l) ~ q_i exp(phi_i . l). With a cap w_i <= u_i, which makes it
a problem over the capped simplex, w_i(l) = min(u_i, q_i exp(phi_i . l - nu)) with the nu that makes them sum to 1.

It is Fenchel duality for regularised maximum entropy (Dudik, Phillips and Schapire, JMLR 8 (2007), Theorem 2, squared
l2 potential). With r = Phi'w(l) - mu, KL(w(l) || q) = l.Phi'w(l) - A(l), so that the duality gap is

    P(w(l)) - G(l) = |r + eps l|^2 / (2 eps) = |grad G|^2 / (2 eps),

a certificate that costs nothing and loses no digits. P - min P is at most the gap, and so is KL(w || w*).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.checks import as_vector, as_weights, check_count, check_positive
from synalign.numerics.core.threads import blas_alone

#: A gap of this many nats is always accepted: float32 sums resolve no less.
ABSOLUTE_GAP = 1e-9

#: The largest strength that `solve_with_floor` tries before it gives the prior: there the weights are the prior's but
#: for a factor of exp(|mu| / eps).
WEAKEST = 1e3

#: A weight below exp(-14) times the largest, a millionth of it, is negligible while others are found. Once no more than
#: a quarter of the records have weights that are not, after some iterations, the others are left out, in rounds: the
#: problem of the active records is solved, to a part of the gap, and all records are looked at again.
_NEGLIGIBLE, _SCREENED, _FIRST, _ROUNDS, _INNER = 14.0, 0.25, 3, 6, 0.3

#: How near, as a share, the effective size comes to its floor.
_FLOOR_SLACK = 0.02


@dataclass(frozen=True)
class DualSolution:
    """The solution of one stratum: D features, m records.

    dual: float64 [D], l. weights: float64 [m], sum 1. mean: float64 [D], their mean feature. log_normaliser: nu, with
    log w_i = log q_i + phi_i . l - nu, but for the cap, and q with sum 1. objective: the primal value, in nats. gap:
    primal - dual, in nats, at least 0: the certificate. eps: what was solved for; infinite for the prior itself.
    iterations: of L-BFGS over all records, a round over the active ones counting as one. converged: whether the gap is
    within the tolerance. effective_size: 1 / sum(w^2), in records, from 1 to m.
    """

    dual: np.ndarray
    weights: np.ndarray
    mean: np.ndarray
    log_normaliser: float
    objective: float
    gap: float
    eps: float
    iterations: int
    converged: bool

    @property
    def relative_gap(self) -> float:
        """The gap over the objective: how far, at most, the objective is from the best one, as a share of it."""
        return self.gap / max(self.objective, ABSOLUTE_GAP)

    @property
    def effective_size(self) -> float:
        """1 / sum(w^2), in records."""
        return effective_size(self.weights)


def effective_size(weights: np.ndarray) -> float:
    """Return the effective sample size 1 / sum(w^2) of weights [m] that sum to 1, in records, from 1 to m."""
    return float(1.0 / (weights @ weights))


def solve_dual(
    blocks: FeatureBlocks,
    target: Any,
    prior: Any = None,
    eps: float = 1e-3,
    *,
    cap: Any = None,
    max_iterations: int = 500,
    relative_gap: float = 1e-3,
    start: Any = None,
) -> DualSolution:
    """Learn the weights of m records so that their mean feature comes near to `target`.

    One record gets the weight 1, and records with equal vectors share in the ratio of their priors.

    Args:
        blocks: the features of the synthetic records, m rows of D.
        target: float [D], mu: the mean feature of the real records (`features.mean`).
        prior: [m], q: not negative, any scale; None is uniform. A record of prior 0 keeps weight 0.
        eps: above 0; smaller pulls harder towards the target. Infinity pulls not at all: the prior, under the cap.
        cap: [m], u: the largest weight that each record may have; None is none. Those of positive prior must have
            room for a sum of 1.
        max_iterations: of L-BFGS; the solution so far is returned with converged=False.
        relative_gap: stop when gap <= relative_gap * objective (or <= ABSOLUTE_GAP).
        start: float [D], where to begin, e.g. the solution for a larger eps; None is 0.

    Raises:
        NumericsError: if an array does not fit or is not finite, the prior is negative, the caps leave no room, or an
            argument is out of range.
    """
    mu = as_vector("target", target, blocks.size)
    log_prior = _log(as_weights("prior", prior, blocks.count))
    log_cap = None if cap is None else _log_cap(as_vector("cap", cap, blocks.count), log_prior)
    if eps != math.inf:
        check_positive("eps", eps)
    check_positive("relative_gap", relative_gap)
    check_count("max_iterations", max_iterations, 1, 10**6, "iterations")
    point = np.zeros(blocks.size) if start is None else as_vector("start", start, blocks.size)
    if eps == math.inf:
        return _untilted(blocks, log_prior, log_cap)

    problem, goal = _Problem(blocks, log_prior, log_cap, mu, eps), _Goal(relative_gap, max_iterations)
    # Other threads of the linear algebra would wait for work on small vectors, and keep a core busy with it.
    with blas_alone():
        iterations = _solve(problem, goal, point)
    return DualSolution(
        dual=problem.best,
        weights=_weights(problem.best_log_weights),
        mean=problem.best_mean,
        log_normaliser=problem.best_log_normaliser,
        objective=problem.best_objective,
        gap=problem.best_gap,
        eps=eps,
        iterations=iterations,
        converged=goal.met(problem),
    )


def solve_with_floor(
    blocks: FeatureBlocks,
    target: Any,
    prior: Any = None,
    eps: float = 1e-3,
    *,
    min_effective_size: float,
    cap: Any = None,
    relative_gap: float = 1e-3,
) -> DualSolution:
    """Learn weights as `solve_dual`, with the smallest eps not below `eps` that keeps the effective sample size at or
    above `min_effective_size`, to within 2%: a weaker pull where the pull asked for would leave too few records.

    From a uniform prior the effective size falls as eps falls, so eps is found by bisection of its logarithm. Where the
    prior itself has a smaller effective size, the larger of its own (eps infinite) and that at `eps` is returned, and
    the floor may be missed.

    Raises:
        NumericsError: as `solve_dual`.
    """
    check_positive("min_effective_size", min_effective_size)

    def solve(strength: float, start: np.ndarray | None) -> DualSolution:
        return solve_dual(blocks, target, prior, strength, cap=cap, relative_gap=relative_gap, start=start)

    strong = solve(eps, None)
    spent = strong.iterations
    if strong.effective_size >= min_effective_size:
        return strong
    weak = solve(math.inf, None)
    if weak.effective_size <= min_effective_size:
        return max(weak, strong, key=lambda solution: solution.effective_size)
    low, high = math.log(eps), math.log(max(WEAKEST, 2 * eps))
    while weak.effective_size > (1 + _FLOOR_SLACK) * min_effective_size and high - low > 1e-3:
        middle = 0.5 * (low + high)
        tried = solve(math.exp(middle), strong.dual)
        spent += tried.iterations
        if tried.effective_size >= min_effective_size:
            weak, high = tried, middle
        else:
            strong, low = tried, middle
    return replace(weak, iterations=spent)


def score(
    blocks: FeatureBlocks, dual: Any, prior: Any = None, log_normaliser: float | None = None, cap: Any = None
) -> np.ndarray:
    """Return log-weights of records, float64 [n], under a solved dual, without refitting.

    log w_i = log q_i + phi_i . l - log_normaliser, but at most log u_i; q is scaled to sum 1 over these records; -inf
    where q_i is 0. With the solution's own log_normaliser, the records it was fitted on get the logarithm of their
    weights again, and the exponentials of others sum to the mass that the fit would give them relative to the fitted
    records. With None they are normalised among themselves: the exponentials sum to 1.

    Args:
        blocks: the features of the records, under the feature map of the fit.
        dual: float [D], `DualSolution.dual`.
        prior: [n], not negative, any scale; None is uniform.
        log_normaliser: `DualSolution.log_normaliser`, or None.
        cap: [n], as `solve_dual`; None is none.

    Raises:
        NumericsError: if an array does not fit or is not finite, or the prior is negative.
    """
    point = as_vector("dual", dual, blocks.size)
    log_prior = _log(as_weights("prior", prior, blocks.count))
    logits = log_prior + blocks.product(point)
    log_cap = None if cap is None else _log_cap(as_vector("cap", cap, blocks.count), log_prior)
    nu = _normaliser(logits, log_cap) if log_normaliser is None else log_normaliser
    return logits - nu if log_cap is None else np.minimum(log_cap, logits - nu)


@dataclass(frozen=True)
class _Goal:
    """When to stop: at a gap relative to the objective, or after some iterations."""

    relative_gap: float
    iterations: int

    def met(self, problem: _Problem) -> bool:
        """Whether the best point so far is near enough."""
        limit = max(ABSOLUTE_GAP, self.relative_gap * problem.best_objective)
        return math.isfinite(problem.best_gap) and problem.best_gap <= limit


def _solve(problem: _Problem, goal: _Goal, point: np.ndarray) -> int:
    """Descend from `point` until the goal is met, leaving out records of no weight once they are many; return the
    iterations."""
    problem.value_and_gradient(point)
    if problem.count == 1 and not goal.met(problem):
        # Its weight is 1 whatever l is, so that the gradient is linear in l.
        problem.value_and_gradient((problem.mu - problem.best_mean) / problem.eps)
    iterations = _descend(problem, goal, point, screen=problem.screens)
    for _ in range(_ROUNDS if problem.screens else 0):
        active = problem.active()
        if goal.met(problem) or active.mean() > _SCREENED:
            break
        part = problem.part(np.flatnonzero(active))
        part.value_and_gradient(problem.latest)
        _descend(part, _Goal(_INNER * goal.relative_gap, goal.iterations), problem.latest, screen=False)
        problem.value_and_gradient(part.best)
        iterations += 1
    rest = _Goal(goal.relative_gap, goal.iterations - iterations)
    return iterations + _descend(problem, rest, problem.best, screen=False)


def _descend(problem: _Problem, goal: _Goal, start: np.ndarray, screen: bool) -> int:
    """Run L-BFGS until the goal is met, or, with `screen`, few records have weight; return its iterations."""
    from scipy.optimize import minimize

    if goal.met(problem) or goal.iterations < 1:
        return 0
    seen = 0
    # In units in which the first step, of length 1 over the gradient, is about Newton's.
    scale = problem.scale()

    def evaluate(point: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = problem.value_and_gradient(scale * point)
        return value, scale * gradient

    def stop(intermediate_result: Any) -> None:  # noqa: ARG001 scipy looks for this very name
        nonlocal seen
        seen += 1
        if goal.met(problem) or (screen and seen >= _FIRST and problem.active().mean() <= _SCREENED):
            raise StopIteration

    limit = goal.iterations
    options = {"maxcor": 20, "maxiter": limit, "maxfun": 4 * limit, "ftol": 0.0, "gtol": 0.0}
    found = minimize(evaluate, start / scale, jac=True, method="L-BFGS-B", callback=stop, options=options)
    return int(found.nit)


class _Problem:
    """The negative dual and its gradient; remembers the evaluation of the smallest gap. Arguments are checked."""

    def __init__(
        self, blocks: FeatureBlocks, log_prior: np.ndarray, log_cap: np.ndarray | None, mu: np.ndarray, eps: float
    ) -> None:
        self._blocks, self._log_prior, self._log_cap, self.mu, self.eps = blocks, log_prior, log_cap, mu, eps
        self.best = self.best_mean = np.zeros_like(mu)
        self.best_gap = self.best_objective = np.inf
        self.best_log_normaliser = 0.0
        self.best_log_weights = self._log_weights = log_prior
        self.latest = self.best
        self._found: tuple[float, np.ndarray] | None = None
        self._scale: float | None = None
        self._active = np.zeros(len(log_prior), dtype=bool)

    @property
    def count(self) -> int:
        """The number of records."""
        return self._blocks.count

    @property
    def screens(self) -> bool:
        """Whether records may be left out for a while: under a cap those of no weight matter to the others."""
        return self._log_cap is None

    def part(self, rows: np.ndarray) -> _Problem:
        """Return the problem of some of the records, without a cap."""
        return _Problem(self._blocks.take(rows), self._log_prior[rows], None, self.mu, self.eps)

    def scale(self) -> float:
        """Return the square root of the inverse curvature of the dual along its gradient at the best point so far."""
        if self._scale is None:
            gradient = self.best_mean - self.mu + self.eps * self.best
            length = float(gradient @ gradient)
            products = self._blocks.product(gradient)
            weights = np.exp(self.best_log_weights)
            spread = float(weights @ np.square(products - weights @ products)) / length if length > 0 else 0.0
            self._scale = 1.0 / math.sqrt(spread + self.eps)
        return self._scale

    def active(self) -> np.ndarray:
        """Return which records have, or had at an earlier call, a weight that is not negligible, bool [m]."""
        self._active |= self._log_weights > self._log_weights.max() - _NEGLIGIBLE
        return self._active

    def value_and_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        if self._found is not None and np.array_equal(point, self.latest):
            return self._found[0], self._found[1].copy()
        nu, potential, mean, log_weights = self._evaluate(point)
        residual = mean - self.mu
        gradient = residual + self.eps * point
        gap = float(gradient @ gradient) / (2.0 * self.eps)
        value = potential - float(point @ self.mu) + 0.5 * self.eps * float(point @ point)
        if gap < self.best_gap:
            self.best, self.best_gap, self.best_objective = point.copy(), gap, max(gap - value, 0.0)
            self.best_log_normaliser, self.best_log_weights, self.best_mean = nu, log_weights, mean
        self.latest, self._found, self._log_weights = point.copy(), (value, gradient.copy()), log_weights
        return value, gradient

    def _evaluate(self, point: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
        """Return nu, A(l), the mean feature and the log-weights at l."""
        if self._log_cap is None:
            nu, mean, logits = self._blocks.tilt(point, self._log_prior)
            return nu, nu, mean, logits - nu
        products = self._blocks.product(point)
        logits = self._log_prior + products
        nu = _normaliser(logits, self._log_cap)
        log_weights = np.minimum(self._log_cap, logits - nu)
        weights = np.exp(log_weights)
        there = weights > 0
        divergence = float(weights[there] @ (log_weights[there] - self._log_prior[there]))
        return nu, float(weights @ products) - divergence, self._blocks.mean(weights), log_weights


def _untilted(blocks: FeatureBlocks, log_prior: np.ndarray, log_cap: np.ndarray | None) -> DualSolution:
    nu = _normaliser(log_prior, log_cap)
    weights = _weights(log_prior - nu if log_cap is None else np.minimum(log_cap, log_prior - nu))
    zero = np.zeros(blocks.size)
    return DualSolution(zero, weights, blocks.mean(weights), nu, 0.0, 0.0, math.inf, 0, True)


def _normaliser(logits: np.ndarray, log_cap: np.ndarray | None) -> float:
    """Return the nu for which sum_i min(u_i, exp(logit_i - nu)) is 1.

    Starting from no record at its cap, nu is solved for given the records that are, and those that then exceed their
    cap join them. nu only rises, and the set only grows, so that it ends.
    """
    from scipy.special import logsumexp

    if log_cap is None:
        return float(logsumexp(logits))
    capped = np.zeros(len(logits), dtype=bool)
    while True:
        room = 1.0 - float(np.exp(log_cap[capped]).sum())
        free = logits[~capped]
        if not free.size or room <= 0 or free.max() == -np.inf:
            return float(np.min(logits[capped] - log_cap[capped]))
        nu = float(logsumexp(free) - np.log(room))
        above = ~capped & (logits - nu > log_cap + 1e-12)
        if not above.any():
            return nu
        capped |= above


def _log_cap(cap: np.ndarray, log_prior: np.ndarray) -> np.ndarray:
    room = float(cap[log_prior > -np.inf].sum())
    if cap.min() < 0 or room < 1.0 - 1e-9:
        raise NumericsError(
            f"cap must not be negative and leave room for weights that sum to 1; the caps of the records of positive "
            f"prior sum to {room:.6g}. Allow larger weights."
        )
    return _log(cap)


def _weights(log_weights: np.ndarray) -> np.ndarray:
    weights = np.exp(log_weights)
    return weights / weights.sum()


def _log(values: np.ndarray) -> np.ndarray:
    """Return the logarithm of values that may be 0, without a warning."""
    with np.errstate(divide="ignore"):
        return np.log(values)
