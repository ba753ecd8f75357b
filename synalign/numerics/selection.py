"""Greedy selection by the posterior variance of a Gaussian process.

The posterior variance of f at x given noisy observations at the picks S,

    v_S(x) = k(x, x) - k(x, S) (K_SS + noise I)^-1 k(S, x)      (Rasmussen and Williams 2006, equation 2.26),

does not depend on the targets. Taking the largest one again and again is a partial pivoted Cholesky factorisation of
K + noise I (Harbrecht, Peters and Schneider 2012): each pick adds one row l = (k(p, .) - L_p' L) / sqrt(v(p) + noise)
to the factor, and v falls by l^2. Nothing is refitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synalign.numerics.checks import as_matrix, check_count, check_positive

if TYPE_CHECKING:
    import gpytorch

#: A kernel matrix up to this size is computed at once; for more candidates, one row for each pick.
KERNEL_BYTES = 128 * 2**20

#: A variance within this relative distance of the prior variance counts as not moved by the first pick.
TIE = 1e-9

#: From this share of the other candidates that the first pick did not move, the picks are called not informative.
UNMOVED_SHARE = 0.9


@dataclass(frozen=True)
class Picks:
    """b picks in the order taken. Variances are of the latent f, without observation noise, in units of the kernel.

    indices: int64 [b], rows of the candidates, each at most once.
    variance_before, variance_after: float64 [b], at the pick, just before and just after it is observed.
    max_remaining: float64 [b], the largest over all candidates after the pick, picked ones included.
    informative: False if the first pick left at least UNMOVED_SHARE of the other candidates at their prior variance
        (within TIE): the length scale is far too short for these distances, they tie, and the picks are arbitrary.
        A few duplicates of the first pick do not hide that. True where there was no second pick.
    """

    indices: np.ndarray
    variance_before: np.ndarray
    variance_after: np.ndarray
    max_remaining: np.ndarray
    informative: bool


def select_by_variance(candidates: Any, budget: int, kernel: gpytorch.kernels.Kernel, noise: float) -> Picks:
    """Take `budget` candidates, each time the one of the largest posterior variance; ties go to the smaller index.

    Variances within 1e-12 of the prior variance count as ties, so that rounding does not decide. Memory: 8 * budget * n
    bytes, and the kernel matrix where it fits into KERNEL_BYTES.

    Args:
        candidates: [n, d] float, e.g. cluster centroids. Computed in float64.
        budget: picks to make, from 1 to n.
        kernel: a gpytorch kernel over rows of length d, e.g. of `kernels.make_kernel`.
        noise: variance of the observation noise, above 0, in units of the kernel.

    Raises:
        NumericsError: if `candidates` is no finite matrix, or budget or noise is out of range.
    """
    import torch

    points = torch.from_numpy(as_matrix("candidates", candidates)).double()
    n = len(points)
    check_count("budget", budget, 1, n, "picks")
    check_positive("noise", noise)
    with torch.no_grad():
        prior = kernel(points, diag=True).numpy().astype(np.float64)
        variance = prior.copy()
        tolerance = 1e-12 * prior.max()
        whole = kernel(points).to_dense().numpy() if 8 * n * n <= KERNEL_BYTES else None
        open_ = np.ones(n, dtype=bool)
        factor = np.empty((budget, n))
        indices = np.empty(budget, dtype=np.int64)
        before, after, remaining = np.empty(budget), np.empty(budget), np.empty(budget)
        informative = True
        for step in range(budget):
            pick = _first_largest(variance, open_, tolerance)
            if step == 1:
                informative = bool(np.mean((prior - variance)[open_] <= TIE * prior[open_]) < UNMOVED_SHARE)
            before[step] = variance[pick]
            source = kernel(points[pick : pick + 1], points).to_dense().numpy()[0] if whole is None else whole[pick]
            row = source.astype(np.float64)
            # Through distances, gpytorch's Matern kernels are off by 3e-8 at distance 0; the diagonal is exact.
            row[pick] = prior[pick]
            row -= factor[:step, pick] @ factor[:step]
            row /= np.sqrt(variance[pick] + noise)
            factor[step] = row
            variance -= row * row
            np.maximum(variance, 0.0, out=variance)
            open_[pick] = False
            indices[step], after[step], remaining[step] = pick, variance[pick], variance.max()
    return Picks(indices, before, after, remaining, informative)


def _first_largest(variance: np.ndarray, open_: np.ndarray, tolerance: float) -> int:
    largest = variance[open_].max()
    return int(np.argmax(open_ & (variance >= largest - tolerance)))
