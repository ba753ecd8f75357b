"""The posterior variance of a Gaussian process, kept as one triangular factor that only ever grows.

With observations at the points S, each with noise of a given variance, the variance of f at x is

    v_S(x) = k(x, x) - k(x, S) (K_SS + noise I)^-1 k(S, x)      (Rasmussen and Williams 2006, equation 2.26).

It does not depend on what was observed, so nothing is ever refitted: with K_SS + noise I = L L', an observed point adds
a row to L, and v_S(x) = k(x, x) - |L^-1 k(S, x)|^2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_matrix, block_rows, check_columns, check_positive
from synalign.numerics.core.threads import each
from synalign.numerics.selection.covariance import Covariance

if TYPE_CHECKING:
    import gpytorch
    import torch


#: Where a variance is further below 0 than this share of the prior variance, the kernel is not positive definite.
NEGATIVE = 1e-6

#: Points of one block of work, at most. Larger blocks leave threads idle at the end, smaller ones cost calls.
_ROWS = 4096


class Posterior:
    """The posterior of a Gaussian process, given the points that were observed so far; see `UncertaintyTracker`."""

    def __init__(self, kernel: gpytorch.kernels.Kernel, noise: float = 1e-2) -> None:
        import torch

        self.noise = check_positive("noise", noise)
        self.covariance = Covariance(kernel)
        self._points: np.ndarray | None = None
        self._prepared = torch.zeros((0, 0), dtype=torch.float64)
        self._factor = torch.zeros((0, 0), dtype=torch.float64)

    def __len__(self) -> int:
        """The number of points observed."""
        return len(self._factor)

    @property
    def points(self) -> np.ndarray:
        """The points observed so far, float64 [s, d], in order; [0, 0] before the first."""
        return np.zeros((0, 0)) if self._points is None else self._points.copy()

    def condition(self, points: Any) -> None:
        """Observe more points: m new rows of the factor, exactly, in O(m s^2 + m^2 s).

        Args:
            points: float [m, d].

        Raises:
            NumericsError: if the points are no finite matrix, their columns differ from those before, or the kernel
                matrix is not positive definite. The tracker is as before then.
        """
        matrix = as_matrix("points", points)
        self.admit("points", matrix)
        self.observe(matrix)

    def variance(self, points: Any) -> np.ndarray:
        """Return the posterior variance of f, without observation noise, at n points, float64 [n].

        Args:
            points: float [n, d]; worked on in blocks.

        Raises:
            NumericsError: as `condition`, and if a variance is below 0 by more than rounding.
        """
        matrix = as_matrix("points", points)
        self.admit("points", matrix)
        return self.variance_of(matrix, np.arange(len(matrix)))

    # What `selection` builds on. Arrays are checked by then.

    def admit(self, name: str, matrix: np.ndarray) -> None:
        """Check that rows are as long as those observed; before any is, distances are taken from where these are.

        Raises:
            NumericsError: if they are not, or the kernel does not take rows of that length.
        """
        if self._points is None:
            self.covariance.centre(matrix)
        else:
            check_columns(name, matrix, self._points.shape[1], "the points observed before")

    def observe(self, matrix: np.ndarray) -> None:
        """Do what `condition` does, for rows that were admitted."""
        import torch

        fresh = self.covariance.prepare(matrix)
        size = max(1, min(_ROWS, block_rows(max(len(matrix), len(self)))))
        parts = [slice(start, start + size) for start in range(0, len(matrix), size)]
        known = np.concatenate(each(lambda part: self.whiten(fresh[part]).T.numpy(), parts))

        def residual(part: slice) -> np.ndarray:
            found: np.ndarray = self.covariance.between(fresh[part], fresh).numpy() - known[part] @ known.T
            return found

        self.extend(matrix, fresh, torch.from_numpy(known), np.concatenate(each(residual, parts)))

    def whiten(self, points: torch.Tensor) -> torch.Tensor:
        """Return L^-1 k(S, points), float64 [s, n], of prepared points."""
        import torch

        if not len(self):
            return torch.zeros((0, len(points)), dtype=torch.float64)
        rows = self.covariance.between(self._prepared, points)
        return torch.linalg.solve_triangular(self._factor, rows, upper=False)

    def update(self, whitened: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Return the rows of `whiten(points)` that were added since its first rows, `whitened`, were computed."""
        import torch

        known = len(whitened)
        rows = self.covariance.between(self._prepared[known:], points)
        rows -= self._factor[known:, :known] @ whitened
        return torch.linalg.solve_triangular(self._factor[known:, known:], rows, upper=False)

    def variance_of(self, matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the posterior variance at some rows of a matrix, float64 [len(rows)], computed by all threads."""

        def block(part: np.ndarray) -> np.ndarray:
            points = self.covariance.prepare(matrix[part])
            prior = self.covariance.prior(points)
            found: np.ndarray = (prior - self.whiten(points).square().sum(dim=0)).numpy()
            return self.not_negative(found, float(prior.max()))

        size = max(1, min(_ROWS, block_rows(max(matrix.shape[1], len(self)))))
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        return np.concatenate([np.zeros(0), *each(block, parts)])

    def not_negative(self, variance: np.ndarray, level: float) -> np.ndarray:
        """Return variances with what rounding put below 0 at 0; `level` is the largest prior variance.

        Raises:
            NumericsError: if one is further below 0, or not finite: the kernel is not positive definite.
        """
        lowest = float(variance.min(initial=0.0))
        if not np.isfinite(variance).all() or lowest < -NEGATIVE * max(level, 0.0):
            raise _not_positive_definite(f"it gives a posterior variance of {lowest:.3g}", self.noise)
        return np.maximum(variance, 0.0)

    def extend(self, points: np.ndarray, prepared: torch.Tensor, whitened: torch.Tensor, residual: np.ndarray) -> None:
        """Add rows to the factor, given k(points, S) L^-T, float64 [m, s], and the posterior covariance of the
        points, float64 [m, m].

        Raises:
            NumericsError: if the kernel matrix is not positive definite. The tracker is as before then.
        """
        import torch

        known, new = len(self), len(points)
        try:
            # By numpy: threads inside operations of torch that are as small as this one wait for each other.
            corner = np.linalg.cholesky(residual + self.noise * np.eye(new))
        except np.linalg.LinAlgError as error:
            raise _not_positive_definite("points can't be added to the factor", self.noise) from error
        if not np.isfinite(corner).all():
            raise _not_positive_definite("a covariance is not finite", self.noise)
        factor = np.zeros((known + new, known + new))
        factor[:known, :known] = self._factor.numpy()
        factor[known:, :known] = whitened.numpy()
        factor[known:, known:] = corner
        self._factor = torch.from_numpy(factor)
        fresh = np.array(points, dtype=np.float64)
        if self._points is None:
            self._prepared, self._points = prepared, fresh
        else:
            self._prepared = torch.cat([self._prepared, prepared])
            self._points = np.concatenate([self._points, fresh])


def _not_positive_definite(what: str, noise: float) -> NumericsError:
    return NumericsError(
        f"The kernel is not positive definite on these points (noise {noise:g}): {what}. Use one that is, such as rbf "
        "or matern52, or sums and products of such; if it is one, the noise is too small for its rounding: raise it."
    )
