"""Covariances of a gpytorch kernel between blocks of rows that are prepared once.

For the stationary kernels that nearly everyone uses (RBF, Matern) gpytorch scales, centres and pads both blocks at
every call, which cost four times the rest where few points meet many. Here a row x is prepared once, as
(x / l, -|x / l|^2 / 2, 1); the product with another whose last two entries are swapped is -|x - y|^2 / 2 l^2, and the
kernel is a function of that. All other kernels are called as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synalign.errors import NumericsError

if TYPE_CHECKING:
    import gpytorch
    import torch

#: Pairs whose covariance is within this share of the prior variance are looked at for equal rows.
_NEAR = 1e-6


class Covariance:
    """The covariance function of a Gaussian process, in float64. The kernel that is given stays as it is."""

    def __init__(self, kernel: gpytorch.kernels.Kernel) -> None:
        import copy

        import gpytorch

        if not isinstance(kernel, gpytorch.kernels.Kernel):
            raise NumericsError(
                f"kernel must be a gpytorch kernel, e.g. gpytorch.kernels.RBFKernel(), or one of "
                f"synalign.numerics.selection.kernels.make_kernel('rbf', length_scale); given: {kernel!r}."
            )
        # A copy: `.double()` and `.eval()` would change the caller's kernel.
        self._kernel = copy.deepcopy(kernel).double().requires_grad_(False).eval()
        self._smoothness = _stationary(self._kernel)
        self._centre: np.ndarray | None = None

    def centre(self, matrix: np.ndarray) -> None:
        """Have distances be taken from where these rows are: far from the origin they would cancel.

        Raises:
            NumericsError: if the kernel does not take rows of that length.
        """
        self._centre = matrix[:_CENTRED].mean(axis=0, dtype=np.float64)
        columns = matrix.shape[1]
        if self._smoothness is not None:
            scales = self._kernel.lengthscale.numel()
            if scales not in (1, columns):
                raise _refused(columns, f"it has {scales} length scales")
            return
        row = self.prepare(matrix[:1])
        self._call(row, row)

    def prepare(self, rows: np.ndarray) -> torch.Tensor:
        """Return rows as all other methods take them, float64 [n, d] or [n, d + 2]."""
        import torch

        if self._smoothness is None:
            return torch.from_numpy(np.array(rows, dtype=np.float64))
        assert self._centre is not None
        scale = self._kernel.lengthscale.reshape(-1).numpy()
        found = np.empty((rows.shape[0], rows.shape[1] + 2))
        found[:, -1] = 1.0
        for start in range(0, len(rows), _PREPARED):  # few at a time: each is passed over while it is in the cache
            part = found[start : start + _PREPARED]
            scaled = part[:, :-2]
            np.subtract(rows[start : start + _PREPARED], self._centre, out=scaled)
            scaled /= scale
            part[:, -2] = -0.5 * np.einsum("nd,nd->n", scaled, scaled)
        return torch.from_numpy(found)

    def prior(self, points: torch.Tensor) -> torch.Tensor:
        """Return the prior variance at prepared rows, float64 [n]."""
        import torch

        if self._smoothness is not None:
            return torch.ones(len(points), dtype=torch.float64)
        return self._call(points, None)

    def prior_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the prior variance at rows as they come, float64 [n]."""
        if self._smoothness is not None:
            return np.ones(len(rows))
        found: np.ndarray = self.prior(self.prepare(rows)).numpy()
        return found

    def between(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the covariances of prepared rows, float64 [len(a), len(b)]. Equal rows get the prior variance itself:
        their distance may come out as 1e-8, which a rough kernel does not forgive."""
        import torch

        if self._smoothness is None:
            return self._with_equal_rows(self._call(a, b), a, b)
        swapped = torch.cat([a[:, :-2], a[:, -1:], a[:, -2:-1]], dim=1)
        exponent = (swapped @ b.T).clamp_max_(0.0)
        if self._smoothness == np.inf:
            return exponent.exp_()
        # Rasmussen and Williams 2006, equation 4.17, at nu = 1/2, 3/2 and 5/2.
        root = exponent.mul_(-4.0 * self._smoothness).sqrt_()
        if self._smoothness == 0.5:
            found = root.neg_().exp_()
            # The distance is off by about 1e-8 * |x / l|: within 0.01 length scales of the centre that is nothing.
            near = float(-2.0 * torch.minimum(a[:, -2].amin(), b[:, -2].amin())) < 1e-4
            return found if near else self._with_equal_rows(found, a[:, :-2], b[:, :-2])
        if self._smoothness == 1.5:
            return (1.0 + root) * torch.exp(-root)
        return (1.0 + root + root.square() / 3.0) * torch.exp(-root)

    def _with_equal_rows(self, found: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        import torch

        here, there = self.prior(a), self.prior(b)
        level = here[0]
        # Only kernels of distances need this, and their prior variance is the same everywhere.
        if not bool((here == level).all() and (there == level).all()):
            return found
        threshold = (1 - _NEAR) * level
        if bool(found.amax() < threshold):
            return found
        # Equal rows have an equal first entry: few pairs are left to compare, and those in blocks.
        pairs = torch.nonzero((found >= threshold) & (a[:, :1] == b[:, 0]))
        for part in pairs.split(_PAIRS):
            equal = part[(a[part[:, 0]] == b[part[:, 1]]).all(dim=1)]
            found[equal[:, 0], equal[:, 1]] = level
        return found

    def _call(self, a: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
        """Return what gpytorch's kernel gives, the prior variances of `a` without `b`.

        Raises:
            NumericsError: if it does not take such rows.
        """
        import torch

        try:
            with torch.no_grad():
                found = self._kernel(a, diag=True) if b is None else self._kernel(a, b).to_dense()
        except (RuntimeError, ValueError, IndexError) as error:
            raise _refused(a.shape[1], str(error).splitlines()[0]) from error
        expected = (len(a),) if b is None else (len(a), len(b))
        if tuple(found.shape) != expected:
            raise _refused(a.shape[1], f"it gives the shape {tuple(found.shape)} where {expected} is due")
        return found


#: Pairs that are compared at once.
_PAIRS = 8192

#: Rows that are prepared at once.
_PREPARED = 128

#: Rows that the centre is the mean of.
_CENTRED = 4096


def _stationary(kernel: gpytorch.kernels.Kernel) -> float | None:
    """Return the smoothness nu of a plain Matern kernel, infinity for RBF, None for all others."""
    import gpytorch

    # The exact classes: a subclass may compute anything.
    kinds = (gpytorch.kernels.RBFKernel, gpytorch.kernels.MaternKernel)
    if type(kernel) not in kinds or kernel.active_dims is not None or len(kernel.batch_shape):
        return None
    return float(kernel.nu) if type(kernel) is gpytorch.kernels.MaternKernel else float(np.inf)


def _refused(columns: int, why: str) -> NumericsError:
    return NumericsError(
        f"The kernel does not take rows of {columns} columns: {why.rstrip('.')}. Its length scales and active_dims "
        "must be those of the embedder's vectors, and it must not have a batch shape."
    )
