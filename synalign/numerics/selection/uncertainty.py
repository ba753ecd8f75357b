"""The uncertainty tracker: what a Gaussian process is still uncertain of, and what to pick next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from synalign.numerics.selection.greedy import Picks, select
from synalign.numerics.selection.posterior import Posterior


class UncertaintyTracker(Posterior):
    """Where a Gaussian process is uncertain, given the points that were observed so far.

    The tracker holds the observed points, float64 [s, d], and the factor L, float64 [s, s]. Any gpytorch kernel over
    rows of length d will do: sums, products, with a length scale for each column.

    Args:
        kernel: e.g. of `synalign.numerics.selection.kernels.make_kernel`; taken to float64, and never changed.
        noise: variance of the observation noise, above 0, in units of the kernel.

    Raises:
        NumericsError: if the noise is not a finite number above 0, or the kernel is no gpytorch kernel.
    """

    def select(
        self,
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
        """Take up to `budget` candidates by greatest score, and observe them. See `selection.select`."""
        return select(
            self,
            candidates,
            budget,
            batch=batch,
            weights=weights,
            groups=groups,
            quotas=quotas,
            min_variance=min_variance,
            min_gain=min_gain,
            progress=progress,
        )
