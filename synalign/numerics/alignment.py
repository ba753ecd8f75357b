"""The alignment of one stratum: weights fitted to all real records, and their distance to records not fitted on.

Mean features are all that a distance needs, so they are kept, and weighted strata are put together by adding them up:
with shares s_l of the strata, the mean feature of the whole is sum_l s_l m_l.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.dual import DualSolution, solve_dual
from synalign.numerics.features import RandomFeatures
from synalign.numerics.mmd import mmd2_features

#: Real records of a stratum below which there are no halves to fit and measure on.
MIN_HALVES = 8


@dataclass(frozen=True)
class Samples:
    """The records of one stratum, or of all.

    real: float [n, d], n >= 1, fitted to. real_weights: float [n], multiplicities. in_first_half: bool [n], which of
    them the half fit sees. synthetic: float [m, d], m >= 1. prior: float [m], not negative. test: float [t, d], t >= 0,
    seen by no fit. test_weights: float [t].
    """

    real: np.ndarray
    real_weights: np.ndarray
    in_first_half: np.ndarray
    synthetic: np.ndarray
    prior: np.ndarray
    test: np.ndarray
    test_weights: np.ndarray

    @property
    def has_halves(self) -> bool:
        """Whether there are records enough, in both halves, to fit to one and measure on the other."""
        return len(self.real) >= MIN_HALVES and bool(self.in_first_half.any() and not self.in_first_half.all())

    def means(self, features: RandomFeatures) -> dict[str, np.ndarray | None]:
        """Return the means that no fit decides: real, raw, first, second and test."""
        return {
            "real": features.mean(self.real, self.real_weights),
            "raw": features.mean(self.synthetic, self.prior),
            "first": self._half(features, self.in_first_half) if self.has_halves else None,
            "second": self._half(features, ~self.in_first_half) if self.has_halves else None,
            "test": features.mean(self.test, self.test_weights) if len(self.test) else None,
        }

    def _half(self, features: RandomFeatures, rows: np.ndarray) -> np.ndarray:
        return features.mean(self.real[rows], self.real_weights[rows])


@dataclass(frozen=True)
class Means:
    """Mean features, float64 [D] each; None where there are no records, or too few.

    real: of the real records fitted to. first, second: of its two halves. test: of records never fitted on.
    raw, weighted: of the synthetic records before and after. half_weighted: with weights fitted to `first` only.
    """

    real: np.ndarray
    raw: np.ndarray
    weighted: np.ndarray
    first: np.ndarray | None = None
    second: np.ndarray | None = None
    half_weighted: np.ndarray | None = None
    test: np.ndarray | None = None


@dataclass(frozen=True)
class Distances:
    """Squared MMD (biased, in random features). Held out: fitted to one half of the real records, measured on the
    other. floor: between those halves. test: weights fitted to all training records, measured on the test records."""

    before: float
    after: float
    heldout_before: float | None
    heldout_after: float | None
    floor: float | None
    test_before: float | None
    test_after: float | None


@dataclass(frozen=True)
class Fit:
    """The weights of one stratum, and the means that its distances are made of."""

    solution: DualSolution
    means: Means


def align_stratum(features: RandomFeatures, samples: Samples, eps: float) -> Fit:
    """Fit the weights of one stratum to all its real records, and once more to half of them for an honest distance.

    The half fit starts anew: begun at the full fit it could stop there, and that has seen the other half.

    Raises:
        NumericsError: if an array does not fit, is not finite, or has no rows.
    """
    known = samples.means(features)
    solution = solve_dual(samples.synthetic, features, known["real"], samples.prior, eps)
    half_weighted = None
    if known["first"] is not None:
        half = solve_dual(samples.synthetic, features, known["first"], samples.prior, eps)
        half_weighted = features.mean(samples.synthetic, half.weights)
    weighted = features.mean(samples.synthetic, solution.weights)
    return Fit(solution, Means(**known, weighted=weighted, half_weighted=half_weighted))  # type: ignore[arg-type]


def align_whole(features: RandomFeatures, samples: Samples, fits: Sequence[Fit], shares: np.ndarray) -> Means:
    """Return the means of all records together, for strata that were fitted one by one.

    Real, test and unweighted synthetic records are all that there are, also those of strata that could not be fitted;
    weighted ones are the strata in their shares. A stratum too small for halves goes into `half_weighted` unweighted:
    nothing in that mean has seen the second half.

    Args:
        features: the feature map of the fits.
        samples: all records.
        fits: of L strata. shares: float [L], the share of each in the weights, sum 1.

    Raises:
        NumericsError: if the numbers of strata and shares differ, or an array does not fit.
    """
    if len(fits) != len(shares):
        raise NumericsError(f"{len(fits)} strata need as many shares; given: {len(shares)}.")
    parts = [fit.means for fit in fits]
    halved = [part.raw if part.half_weighted is None else part.half_weighted for part in parts]
    weighted = np.tensordot(shares, [part.weighted for part in parts], axes=1)
    half_weighted = np.tensordot(shares, halved, axes=1) if samples.has_halves else None
    known = samples.means(features)
    return Means(**known, weighted=weighted, half_weighted=half_weighted)  # type: ignore[arg-type]


def effective_size(weights: np.ndarray) -> float:
    """Return the effective sample size 1 / sum(w^2) of weights [m] that sum to 1, in records, from 1 to m."""
    return float(1.0 / (weights @ weights))


def distances(means: Means) -> Distances:
    """Return the distances that these means give; None where a mean is missing."""

    def between(a: np.ndarray | None, b: np.ndarray | None) -> float | None:
        return None if a is None or b is None else mmd2_features(a, b)

    return Distances(
        before=mmd2_features(means.raw, means.real),
        after=mmd2_features(means.weighted, means.real),
        heldout_before=between(means.raw, means.second),
        heldout_after=between(means.half_weighted, means.second),
        floor=between(means.first, means.second),
        test_before=between(means.raw, means.test),
        test_after=between(means.weighted, means.test),
    )
