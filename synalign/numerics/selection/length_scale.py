"""The length scale of a Gaussian process by marginal likelihood: the distance over which the targets change.

The columns of the targets are modelled as independent draws y ~ N(0, s K(l) + v I) of one Gaussian process; l, s and v
maximise the sum of their log marginal likelihoods: Rasmussen and Williams, "Gaussian Processes for Machine Learning"
(2006), equations 2.30 and 5.8. Label one-hots are regressed as they are, as in their section 6.5.

The optimiser is scipy's L-BFGS-B with gpytorch's gradients, over logarithms within bounds; torch.optim.LBFGS has no
bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_matrix, check_count
from synalign.numerics.core.threads import each, scipy_alone
from synalign.numerics.selection.kernels import check_kernel_expression, make_kernel, median_distance

if TYPE_CHECKING:
    import torch

#: A length scale stays within these multiples of the median distance.
SCALE_BOUNDS = (1e-2, 1e2)

#: Variance of the process and of the noise, in units of the variance of a target column.
SIGNAL_BOUNDS = (1e-4, 1e4)
NOISE_BOUNDS = (1e-5, 1e2)

#: Rows at most: each step factorises a matrix [n, n] in float64.
MAX_SAMPLE = 5000

#: L-BFGS steps at most, of each of the two searches (one length scale, then one for each column).
MAX_STEPS = 100

#: The search ends where a step raises the log likelihood of an entry of the targets by a smaller share of it.
_TOLERANCE = 1e-6

_START_NOISE = 0.1


@dataclass(frozen=True)
class LearnedScale:
    """The length scale of largest marginal likelihood, in units of Euclidean distance between vectors.

    length_scale: the one of all columns, or with ARD the geometric mean of `length_scales`.
    length_scales: float64 [d], one for each column (ARD), or None. A column that the targets do not depend on has a
        large one, up to the bound, SCALE_BOUNDS[1] times the median distance.
    log_likelihood: of the standardised targets, in nats, divided by the number of their entries; -1.419 is that of
        noise alone.
    steps: of L-BFGS.
    converged: False if the search ended before the likelihood was flat, or at a bound: the length scale (with ARD: one
        at the lower bound, or all at the upper) or the variance of the process; or if noise alone explains the targets
        as well (by Akaike's criterion). One length scale then does not describe the targets: e.g. those that are linear
        in the vectors, such as their principal components, have none that is long enough.
    """

    length_scale: float
    length_scales: np.ndarray | None
    log_likelihood: float
    steps: int
    converged: bool


def learn_length_scale(
    vectors: Any, targets: Any, kernel: str, seed: int, ard: bool = False, sample: int = 1000
) -> LearnedScale:
    """Return the length scale at which a Gaussian process explains the targets best, by marginal likelihood.

    Variance of the process and of the noise are free too. The search starts at the median distance of the sampled rows
    and stays within SCALE_BOUNDS times it; with `ard`, it goes on from the best common length scale. The same input and
    seed give the same result.

    Args:
        vectors: [n, d] float.
        targets: [n, t] float, e.g. one-hot labels or clusters. Each column is centred and scaled to variance 1 over
            the sampled rows; constant ones are dropped.
        kernel: a kernel expression, as `kernels.make_kernel` takes it; its parts share the length scale.
        seed: draws the rows; not used where n <= sample.
        ard: learn one length scale for each column of `vectors`.
        sample: rows to draw without replacement, from 2 to MAX_SAMPLE. Memory is about 70 * sample**2 bytes
            for one kernel, 170 for an expression of three.

    Raises:
        NumericsError: if an array does not fit or is not finite, `kernel` or `sample` is not valid, no two of the
            sampled vectors differ, or all columns of the targets are constant.
    """
    matrix, wanted = as_matrix("vectors", vectors), as_matrix("targets", targets)
    if len(wanted) != len(matrix):
        raise NumericsError(
            f"targets must have a row for each of the {len(matrix)} vectors; given: shape {wanted.shape}."
        )
    expression = check_kernel_expression(kernel)
    check_count("sample", sample, 2, MAX_SAMPLE, "rows")
    if len(matrix) > sample:
        rows = np.sort(np.random.default_rng(seed).choice(len(matrix), sample, replace=False))
        matrix, wanted = matrix[rows], wanted[rows]
    if not np.any(matrix != matrix[0]):
        raise NumericsError(
            f"vectors must differ for a length scale to be learned: all {len(matrix)} sampled rows are equal. Give "
            "more rows, or set a length scale."
        )
    median = median_distance(matrix, seed, max(2, len(matrix)))
    fit = _Fit(matrix.astype(np.float64) / median, _standardised(wanted), expression)
    # By one thread: an evaluation with two took 1.1 s on a busy machine, with one 0.3 s; on an idle one 0.1 and 0.2 s.
    with scipy_alone():
        [found] = each(lambda wide: fit.search(matrix.shape[1] if wide else None), [ard])
    scales = median * np.exp(found.log_scales)
    return LearnedScale(
        length_scale=float(median * math.exp(found.log_scales.mean())),
        length_scales=scales if ard else None,
        log_likelihood=found.log_likelihood,
        steps=found.steps,
        converged=found.flat and not found.at_bound() and fit.beats_noise(found),
    )


def _standardised(targets: np.ndarray) -> np.ndarray:
    """Return the columns that are not constant, centred, of variance 1."""
    columns = targets.astype(np.float64)
    # The mean of equal numbers may differ from them in its last digit: their range does not.
    varied = columns[:, np.ptp(columns, axis=0) > 0]
    if not varied.shape[1]:
        raise NumericsError(
            f"targets must vary: all of their {columns.shape[1]} columns are constant over the {len(columns)} sampled "
            "rows. Raise the sample, give other targets, or set a length scale."
        )
    return (varied - varied.mean(axis=0)) / varied.std(axis=0)


@dataclass(frozen=True)
class _Found:
    """Where a search ended. Lengths in units of the median distance."""

    log_scales: np.ndarray
    log_signal: float
    log_noise: float
    log_likelihood: float
    steps: int
    flat: bool

    def at_bound(self) -> bool:
        (shortest, longest), (weakest, strongest) = np.log(SCALE_BOUNDS), np.log(SIGNAL_BOUNDS)
        scale_at_bound = np.any(self.log_scales <= shortest) or np.all(self.log_scales >= longest)
        return bool(scale_at_bound or not weakest < self.log_signal < strongest)


class _Fit:
    """The likelihood of targets [n, t] at vectors [n, d] in units of their median distance. Arguments are checked."""

    def __init__(self, vectors: np.ndarray, targets: np.ndarray, expression: str) -> None:
        import torch

        self._vectors, self._targets = torch.from_numpy(vectors), torch.from_numpy(targets)
        # The vectors are divided by the length scale instead, which all parts of the kernel then share.
        self._kernel = make_kernel(expression, 1.0)

    def search(self, columns: int | None) -> _Found:
        """Find the common length scale, and from there one for each of the columns unless that is None."""
        found = self._climb(np.zeros(1), 0.0, math.log(_START_NOISE))
        if columns is None:
            return found
        wide = self._climb(np.full(columns, found.log_scales[0]), found.log_signal, found.log_noise)
        return replace(wide, steps=found.steps + wide.steps)

    def beats_noise(self, found: _Found) -> bool:
        """Whether the likelihood repays, by Akaike's criterion, the parameters that noise alone would not have."""
        noise_alone = -0.5 * (1 + math.log(2 * math.pi))
        gain = (found.log_likelihood - noise_alone) * self._targets.numel()
        return gain > len(found.log_scales) + 1

    def _climb(self, log_scales: np.ndarray, log_signal: float, log_noise: float) -> _Found:
        from scipy.optimize import minimize

        start = np.concatenate([log_scales, [log_signal, log_noise]])
        bounds = np.log([SCALE_BOUNDS] * len(log_scales) + [SIGNAL_BOUNDS, NOISE_BOUNDS])
        options = {"maxcor": 20, "maxiter": MAX_STEPS, "ftol": _TOLERANCE, "gtol": 1e-5}
        found = minimize(self._evaluate, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return _Found(
            log_scales=found.x[:-2],
            log_signal=float(found.x[-2]),
            log_noise=float(found.x[-1]),
            log_likelihood=-float(found.fun),
            steps=int(found.nit),
            flat=bool(found.success),
        )

    def _evaluate(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the negative log likelihood for each entry of the targets, and its gradient."""
        import torch

        logs = torch.from_numpy(point.copy()).requires_grad_(True)
        loss = -self._log_likelihood(logs) / self._targets.numel()
        loss.backward()
        assert logs.grad is not None
        return loss.item(), logs.grad.numpy()

    def _log_likelihood(self, logs: torch.Tensor) -> torch.Tensor:
        import gpytorch

        n, t = self._targets.shape
        scales, signal, noise = logs[:-2].exp(), logs[-2].exp(), logs[-1].exp()
        covariance = (self._kernel(self._vectors / scales).evaluate_kernel() * signal).add_diagonal(noise)
        # What gpytorch's MultivariateNormal.log_prob does, with one factorisation for all columns instead of one for
        # each. With `fast_computations` it would be a random estimate from 800 rows on.
        with gpytorch.settings.fast_computations(False, False, False):
            inverse, determinant = covariance.inv_quad_logdet(self._targets, logdet=True)
        return -0.5 * (inverse + t * determinant + n * t * math.log(2 * math.pi))
