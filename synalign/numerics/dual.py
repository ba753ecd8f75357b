"""Sampling weights that match mean random features, by the entropic dual (DESIGN section 5).

Over weights w on the simplex, with prior q, feature rows phi_i and target mean mu,

    primal   P(w) = KL(w || q) + |Phi'w - mu|^2 / (2 eps)
    dual     G(l) = l.mu - log sum_i q_i exp(phi_i . l) - eps/2 |l|^2,     w_i ~ q_i exp(phi_i . l).

It is Fenchel duality for regularised maximum entropy (Dudik, Phillips and Schapire, JMLR 8 (2007), Theorem 2, squared
l2 potential). With r = Phi'w(l) - mu, KL(w || q) = l.Phi'w - log sum_i q_i exp(phi_i . l), so that the duality gap is

    P(w(l)) - G(l) = |r + eps l|^2 / (2 eps) = |grad G|^2 / (2 eps),

a certificate that costs nothing and loses no digits. P - min P is at most the gap, and so is KL(w || w*).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.checks import (
    as_matrix,
    as_vector,
    as_weights,
    check_columns,
    check_count,
    check_positive,
)
from synalign.numerics.features import RandomFeatures

if TYPE_CHECKING:
    import torch

#: Feature matrices [m, D] in float32 up to this size are kept; larger ones are computed again in each evaluation.
KEEP_BYTES = 512 * 2**20

#: Rows of one block: sums within a block are in float32, across blocks in float64.
BLOCK_ROWS = 2048

#: A gap of this many nats is always accepted: float32 features resolve no less.
ABSOLUTE_GAP = 1e-9


@dataclass(frozen=True)
class DualSolution:
    """The solution of one stratum: D features, m records.

    dual: float64 [D], l. weights: float64 [m], sum 1. log_normaliser: log sum_i q_i exp(phi_i . l), q with sum 1.
    objective: the primal value, in nats. gap: primal - dual, in nats, at least 0: the certificate. iterations: of
    L-BFGS. converged: whether the gap is within the tolerance. effective_size: 1 / sum(w^2), in records, from 1 to m.
    """

    dual: np.ndarray
    weights: np.ndarray
    log_normaliser: float
    objective: float
    gap: float
    iterations: int
    converged: bool
    effective_size: float

    @property
    def relative_gap(self) -> float:
        """The gap over the objective: how far, at most, the objective is from the best one, as a share of it."""
        return self.gap / max(self.objective, ABSOLUTE_GAP)


def solve_dual(
    vectors: Any,
    features: RandomFeatures,
    target: Any,
    prior: Any,
    eps: float,
    *,
    max_iterations: int = 500,
    relative_gap: float = 1e-3,
    start: Any = None,
    device: str = "cpu",
) -> DualSolution:
    """Learn the weights of m records so that their mean feature comes near to `target`.

    One record gets the weight 1, and records with equal vectors share in the ratio of their priors.

    Args:
        vectors: [m, d] float, the synthetic records.
        features: the feature map, D features of rows of length d.
        target: float [D], mu: the mean feature of the real records (`features.mean`).
        prior: [m], q: not negative, any scale; None is uniform. A record of prior 0 keeps weight 0.
        eps: above 0; smaller pulls harder towards the target.
        max_iterations: of L-BFGS; the solution so far is returned with converged=False.
        relative_gap: stop when gap <= relative_gap * objective (or <= ABSOLUTE_GAP).
        start: float [D], where to begin, e.g. the solution for a larger eps; None is 0.
        device: where features are kept and multiplied, a name that torch knows: "cpu", "cuda".

    Raises:
        NumericsError: if an array does not fit, is not finite or has no rows, the prior is negative, or an argument
            is out of range.
    """
    from scipy.optimize import minimize

    matrix = as_matrix("vectors", vectors)
    check_columns("vectors", matrix, features.frequencies.shape[0], "the feature map")
    mu = as_vector("target", target, features.size)
    log_prior = _log(as_weights("prior", prior, len(matrix)))
    check_positive("eps", eps)
    check_positive("relative_gap", relative_gap)
    check_count("max_iterations", max_iterations, 1, 10**6, "iterations")
    point = np.zeros(features.size) if start is None else as_vector("start", start, features.size)

    problem = _Problem(_blocks(matrix, features, device), log_prior, mu, eps)

    def stop(intermediate_result: Any) -> None:  # noqa: ARG001 scipy looks for this very name
        if problem.best_gap <= _tolerance(problem.best_objective, relative_gap):
            raise StopIteration

    problem.value_and_gradient(point)
    iterations = 0
    if problem.best_gap > _tolerance(problem.best_objective, relative_gap):
        result = minimize(
            problem.value_and_gradient,
            point,
            jac=True,
            method="L-BFGS-B",
            callback=stop,
            options={"maxcor": 20, "maxiter": max_iterations, "maxfun": 4 * max_iterations, "ftol": 0.0, "gtol": 0.0},
        )
        iterations = int(result.nit)
    weights = np.exp(problem.best_log_weights)
    weights /= weights.sum()
    return DualSolution(
        dual=problem.best,
        weights=weights,
        log_normaliser=problem.best_log_normaliser,
        objective=problem.best_objective,
        gap=problem.best_gap,
        iterations=iterations,
        converged=bool(problem.best_gap <= _tolerance(problem.best_objective, relative_gap)),
        effective_size=float(1.0 / (weights @ weights)),
    )


def score(
    vectors: Any, features: RandomFeatures, dual: Any, prior: Any = None, log_normaliser: float | None = None
) -> np.ndarray:
    """Return log-weights of records, float64 [n], under a solved dual, without refitting.

    log w_i = log q_i + phi_i . l - log_normaliser, q scaled to sum 1 over these records; -inf where q_i is 0. With the
    solution's own log_normaliser, the records it was fitted on get the logarithm of their weights again, and the
    exponentials of others sum to the mass that the fit would give them relative to the fitted records. With None
    they are normalised among themselves: the exponentials sum to 1.

    Args:
        vectors: [n, d] float.
        features: the feature map of the fit.
        dual: float [D], `DualSolution.dual`.
        prior: [n], not negative, any scale; None is uniform.
        log_normaliser: `DualSolution.log_normaliser`, or None.

    Raises:
        NumericsError: if an array does not fit or is not finite, or the prior is negative.
    """
    from scipy.special import logsumexp

    matrix = as_matrix("vectors", vectors)
    check_columns("vectors", matrix, features.frequencies.shape[0], "the feature map")
    point = as_vector("dual", dual, features.size)
    log_weights = _log(as_weights("prior", prior, len(matrix)))
    # Blocks as in the fit, so that rounding is the same; |phi . l| loses float32 digits only within one row.
    for rows in _row_blocks(len(matrix)):
        log_weights[rows] += features.map(matrix[rows]) @ point.astype(np.float32)
    return log_weights - (logsumexp(log_weights) if log_normaliser is None else log_normaliser)


class _Blocks:
    """The feature matrix in blocks of rows on one device, kept where it fits and computed again where not."""

    def __init__(self, matrix: np.ndarray, features: RandomFeatures, device: str) -> None:
        import torch

        self.count = len(matrix)
        self._vectors = [matrix[rows] for rows in _row_blocks(len(matrix))]
        self._features = features
        self.device = torch.device(device)
        keep = len(matrix) * features.size * 4 <= KEEP_BYTES
        self._kept = [self._compute(vectors) for vectors in self._vectors] if keep else None

    def __getitem__(self, index: int) -> torch.Tensor:
        return self._kept[index] if self._kept is not None else self._compute(self._vectors[index])

    def _compute(self, vectors: np.ndarray) -> torch.Tensor:
        import torch

        return torch.from_numpy(self._features.map(vectors)).to(self.device)


class _Problem:
    """The negative dual and its gradient; remembers the evaluation of the smallest gap. Arguments are checked."""

    def __init__(self, blocks: _Blocks, log_prior: np.ndarray, mu: np.ndarray, eps: float) -> None:
        self._blocks, self._log_prior, self._mu, self._eps = blocks, log_prior, mu, eps
        self.best = np.zeros_like(mu)
        self.best_gap = self.best_objective = np.inf
        self.best_log_normaliser = 0.0
        self.best_log_weights = log_prior

    def value_and_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        log_normaliser, mean, logits = self._pass(point)
        residual = mean - self._mu
        gradient = residual + self._eps * point
        gap = float(gradient @ gradient) / (2.0 * self._eps)
        value = log_normaliser - float(point @ self._mu) + 0.5 * self._eps * float(point @ point)
        if gap < self.best_gap:
            self.best, self.best_gap, self.best_objective = point.copy(), gap, max(gap - value, 0.0)
            self.best_log_normaliser, self.best_log_weights = log_normaliser, logits - log_normaliser
        return value, gradient

    def _pass(self, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return log sum_i q_i exp(phi_i . l), the mean feature under w(l) and the logits, in one pass.

        The largest logit so far is carried along and sums are rescaled when it grows, so that nothing overflows.
        """
        import torch

        blocks = self._blocks
        direction = torch.from_numpy(point.astype(np.float32)).to(blocks.device)
        logits = self._log_prior.copy()
        top, mass, total = -np.inf, 0.0, np.zeros(len(point))
        for index, rows in enumerate(_row_blocks(blocks.count)):
            block = blocks[index]
            logits[rows] += (block @ direction).cpu().numpy()
            largest = logits[rows].max()
            if largest == -np.inf:
                continue
            if largest > top:
                shrink = np.exp(top - largest)
                top, mass, total = largest, mass * shrink, total * shrink
            share = np.exp(logits[rows] - top)
            mass += share.sum()
            summed = torch.from_numpy(share.astype(np.float32)).to(blocks.device) @ block
            total += summed.cpu().numpy().astype(np.float64)
        return float(top + np.log(mass)), total / mass, logits


def _blocks(matrix: np.ndarray, features: RandomFeatures, device: str) -> _Blocks:
    try:
        return _Blocks(matrix, features, device)
    except (RuntimeError, AssertionError) as error:
        raise NumericsError(f"device {device!r} cannot hold the features: {error}. Use 'cpu'.") from error


def _row_blocks(count: int) -> list[slice]:
    return [slice(start, start + BLOCK_ROWS) for start in range(0, count, BLOCK_ROWS)]


def _log(weights: np.ndarray) -> np.ndarray:
    logs = np.full(len(weights), -np.inf)
    np.log(weights, out=logs, where=weights > 0)
    return logs


def _tolerance(objective: float, relative_gap: float) -> float:
    return max(ABSOLUTE_GAP, relative_gap * objective)
