"""The alignment of one stratum: weights fitted to all real records, and their distance to records not fitted on.

Mean features are all that a distance needs, so they are kept, and strata are put together by adding them up: with
shares s_l of the strata, the mean feature of the whole is sum_l s_l m_l. No feature is computed twice for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.alignment.dual import DualSolution, solve_dual, solve_with_floor
from synalign.numerics.alignment.witness import witness
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.checks import as_weights
from synalign.numerics.core.features import FeatureMap
from synalign.numerics.statistics.mmd import mmd2_features

#: Real records of a stratum below which there are no halves to fit and measure on.
MIN_HALVES = 8


@dataclass(frozen=True)
class Samples:
    """The records of one stratum, or of all.

    real: float [n, d], n >= 1, fitted to; those of the first half first spares a copy. real_weights: float [n],
    multiplicities. in_first_half: bool [n], which of them the half fit sees. synthetic: float [m, d], m >= 1. counts:
    float [m], multiplicities. prior: float [m], the base measure, not negative. half_prior: float [m], the base measure
    when only the first half was seen. test: float [t, d], t >= 0, seen by no fit. test_weights: float [t].
    """

    real: np.ndarray
    real_weights: np.ndarray
    in_first_half: np.ndarray
    synthetic: np.ndarray
    counts: np.ndarray
    prior: np.ndarray
    half_prior: np.ndarray
    test: np.ndarray
    test_weights: np.ndarray

    @property
    def has_halves(self) -> bool:
        """Whether there are records enough, in both halves, to fit to one and measure on the other."""
        return len(self.real) >= MIN_HALVES and bool(self.in_first_half.any() and not self.in_first_half.all())

    def by_half(self) -> tuple[Samples, np.ndarray]:
        """Return the same with the real records of the first half first, if there are halves, and the rows that they
        come from, int64 [n]."""
        order = np.argsort(~self.in_first_half, kind="stable")
        if not self.has_halves or (order[1:] > order[:-1]).all():
            return self, np.arange(len(order))
        halves = {"real_weights": self.real_weights[order], "in_first_half": self.in_first_half[order]}
        return replace(self, real=self.real[order], **halves), order


@dataclass(frozen=True)
class SolverSettings:
    """What the weights of a stratum are solved for. eps: the regularisation of the dual, the smaller the nearer to the
    real mean; infinite leaves the prior as it is. max_weight_ratio: the largest weight, as a multiple of that record's
    share of the stratum by multiplicity. min_effective_share: the floor on the effective sample size, as a share of the
    stratum's records; eps is raised where it would be missed. device: where features are computed."""

    eps: float
    max_weight_ratio: float | None = None
    min_effective_share: float | None = None
    device: str = "cpu"

    def solve(self, blocks: FeatureBlocks, target: np.ndarray, prior: np.ndarray, counts: np.ndarray) -> DualSolution:
        """Return the weights of one stratum.

        Raises:
            NumericsError: if the cap leaves no room, because too few records have a base measure above 0.
        """
        cap = None if self.max_weight_ratio is None else self.max_weight_ratio * counts / counts.sum()
        if self.min_effective_share is None:
            return solve_dual(blocks, target, prior, self.eps, cap=cap)
        floor = self.min_effective_share * blocks.count
        return solve_with_floor(blocks, target, prior, self.eps, min_effective_size=floor, cap=cap)


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
    """The weights of one stratum, and the means that its distances are made of. witness: float64 [2, n], the mean
    kernel of each real record of the stratum to the other real ones, and to the weighted synthetic ones; None if it was
    not asked for."""

    solution: DualSolution
    means: Means
    witness: np.ndarray | None = None


def align_stratum(
    features: FeatureMap, samples: Samples, settings: SolverSettings, *, with_witness: bool = False
) -> Fit:
    """Fit the weights of one stratum to all its real records, and once more to half of them for an honest distance.

    The half fit starts anew: begun at the full fit it could stop there, and that has seen the other half.

    Args:
        features: the feature map.
        samples: the records.
        settings: of the solver.
        with_witness: also compare each real record with the weighted synthetic ones (`Fit.witness`).

    Raises:
        NumericsError: if an array does not fit, is not finite, or has no rows, or the cap leaves no room.
    """
    device = settings.device
    blocks = FeatureBlocks(features, samples.synthetic, device)
    samples, order = samples.by_half()
    # Kept for the witness alone.
    real_blocks = FeatureBlocks(features, samples.real, device, fill=False) if with_witness else None
    real, first, second = _real_means(features, samples, real_blocks, device)
    raw = blocks.mean(samples.counts)
    test = features.mean(samples.test, samples.test_weights, device) if len(samples.test) else None
    solution = settings.solve(blocks, real, samples.prior, samples.counts)
    half_weighted = None
    if first is not None:
        half_weighted = settings.solve(blocks, first, samples.half_prior, samples.counts).mean
    similarity = None
    if real_blocks is not None:
        found = witness(real_blocks, samples.real_weights, solution.mean)
        similarity = np.empty((2, len(samples.real)))
        similarity[:, order] = found
    return Fit(solution, Means(real, raw, solution.mean, first, second, half_weighted, test), similarity)


def _real_means(
    features: FeatureMap, samples: Samples, blocks: FeatureBlocks | None, device: str
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return the mean features of the real records, of their first half and of the second; None where there are no
    halves. Assumes the first half first. `blocks` of these records, if given, are filled."""

    def mean(rows: slice) -> np.ndarray:
        weights = samples.real_weights[rows]
        if blocks is None:
            return features.mean(samples.real[rows], weights, device)
        return blocks.filling_mean(rows, weights)

    if not samples.has_halves:
        return mean(slice(0, len(samples.real))), None, None
    count = int(samples.in_first_half.sum())
    first, second = mean(slice(0, count)), mean(slice(count, len(samples.real)))
    share = float(samples.real_weights[samples.in_first_half].sum() / samples.real_weights.sum())
    return share * first + (1.0 - share) * second, first, second


@dataclass(frozen=True)
class Rows:
    """Which of all records a stratum has: int64 places among the real, the synthetic and the test records."""

    real: np.ndarray
    synthetic: np.ndarray
    test: np.ndarray


def align_whole(
    features: FeatureMap,
    samples: Samples,
    fits: Sequence[Fit],
    shares: np.ndarray,
    device: str = "cpu",
    rows: Sequence[Rows] | None = None,
) -> Means:
    """Return the means of all records together, for strata that were fitted one by one.

    Real, test and unweighted synthetic records are all that there are, also those of strata that could not be fitted;
    weighted ones are the strata in their shares. A stratum too small for halves goes into `half_weighted` unweighted:
    nothing in that mean has seen the second half.

    Args:
        features: the feature map of the fits.
        samples: all records.
        fits: of L strata. shares: float [L], the share of each in the weights, sum 1.
        device: where features are computed.
        rows: of each of the L strata, whose means are then not computed again; None computes all of them.

    Raises:
        NumericsError: if the numbers of strata, shares and rows differ, or an array does not fit.
    """
    if len(fits) != len(shares) or (rows is not None and len(rows) != len(fits)):
        raise NumericsError(
            f"{len(fits)} strata need as many shares and rows; given: {len(shares)} and "
            f"{'none' if rows is None else len(rows)}."
        )
    weighted, half_weighted = np.zeros(features.size), np.zeros(features.size)
    for fit, share in zip(fits, shares, strict=True):
        means = fit.means
        weighted += share * means.weighted
        half_weighted += share * (means.raw if means.half_weighted is None else means.half_weighted)
    known = [] if rows is None else list(zip(fits, rows, strict=True))

    def mean(vectors: np.ndarray, weights: np.ndarray, parts: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> Any:
        return _pooled(features, vectors, weights, parts, device)

    def half(inside: np.ndarray, name: str) -> Any:
        parts = [(part.real[inside[part.real]], getattr(fit.means, name)) for fit, part in known]
        return mean(samples.real, np.where(inside, samples.real_weights, 0.0), parts)

    real = mean(samples.real, samples.real_weights, [(part.real, fit.means.real) for fit, part in known])
    raw = mean(samples.synthetic, samples.counts, [(part.synthetic, fit.means.raw) for fit, part in known])
    test = mean(samples.test, samples.test_weights, [(part.test, fit.means.test) for fit, part in known])
    if not samples.has_halves:
        return Means(real, raw, weighted, test=test)
    halves = half(samples.in_first_half, "first"), half(~samples.in_first_half, "second")
    return Means(real, raw, weighted, *halves, half_weighted, test)


def _pooled(
    features: FeatureMap,
    vectors: np.ndarray,
    weights: np.ndarray,
    parts: Iterable[tuple[np.ndarray, np.ndarray | None]],
    device: str,
) -> np.ndarray | None:
    """Return the weighted mean feature of all rows, from the known means of some of them (None where one is not known)
    and the features of the others; None without a row of positive weight."""
    total, open_ = np.zeros(features.size), weights > 0
    if not open_.any():
        return None
    for rows, mean in parts:
        if mean is not None and len(rows):
            total += weights[rows].sum() * mean
            open_[rows] = False
    rest = np.flatnonzero(open_)
    if len(rest):
        some = slice(None) if len(rest) == len(vectors) else rest
        total += weights[rest].sum() * features.mean(vectors[some], weights[some], device)
    found: np.ndarray = total / weights.sum()
    return found


@dataclass(frozen=True)
class Improvement:
    """By how much a squared MMD fell, and the standard error of that over the real records it was measured on. before,
    after: the two (biased, in random features)."""

    before: float
    after: float
    value: float
    error: float


def improvement(
    features: FeatureMap, heldout: np.ndarray, weights: np.ndarray, before: np.ndarray, after: np.ndarray
) -> Improvement:
    """Return how much nearer one weighted mean feature is to real records than another, paired record by record.

    |b - m|^2 - |a - m|^2 = |b|^2 - |a|^2 - 2 (b - a).m is linear in the mean feature m of the real records, so that
    its standard error is that of a mean: of 2 (a - b).phi over them. What the synthetic records owe to chance is not in
    it.

    Args:
        features: the feature map of both means.
        heldout: float [n, d], n >= 2, real records that neither mean was fitted to.
        weights: float [n], their multiplicities.
        before, after: float64 [D], mean features b and a.

    Raises:
        NumericsError: if an array does not fit or is not finite.
    """
    share = as_weights("weights", weights, len(heldout))
    blocks = FeatureBlocks(features, heldout)
    mean, along = blocks.mean(share), 2.0 * blocks.product(after - before)
    old, new = mmd2_features(before, mean), mmd2_features(after, mean)
    spread = float(np.sum(share * np.square(along - share @ along)))
    count = 1.0 / float(np.sum(np.square(share)))
    return Improvement(old, new, old - new, float(np.sqrt(spread / max(count - 1.0, 1.0))))


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
