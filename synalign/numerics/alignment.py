"""The alignment of one stratum: weights fitted to all real records, and their distance to records not fitted on.

Mean features are all that a distance needs, so they are kept, and strata are put together by adding them up: with
shares s_l of the strata, the mean feature of the whole is sum_l s_l m_l.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.dual import DualSolution, solve_dual
from synalign.numerics.features import RandomFeatures
from synalign.numerics.mmd import mmd2_features

#: Real records of a stratum below which there are no halves to fit and measure on.
MIN_HALVES = 8


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


def align_stratum(
    features: RandomFeatures,
    real: np.ndarray,
    real_weights: np.ndarray,
    in_first_half: np.ndarray,
    synthetic: np.ndarray,
    prior: np.ndarray,
    eps: float,
    test: np.ndarray | None = None,
    test_weights: np.ndarray | None = None,
    device: str = "cpu",
) -> Fit:
    """Fit the weights of one stratum to all its real records, and once more to half of them for an honest distance.

    Args:
        features: the feature map, D features.
        real: float [n, d], n >= 1. real_weights: float [n], multiplicities.
        in_first_half: bool [n]; which records the second fit sees. Ignored below MIN_HALVES records.
        synthetic: float [m, d], m >= 1. prior: float [m], not negative.
        eps: strength of the dual.
        test: float [t, d] or None, records that no part of the fit has seen. test_weights: float [t].

    Raises:
        NumericsError: if an array does not fit, is not finite, or has no rows.
    """
    mean = features.mean(real, real_weights)
    solution = solve_dual(synthetic, features, mean, prior, eps, device=device)
    first = second = half_weighted = None
    if len(real) >= MIN_HALVES and in_first_half.any() and not in_first_half.all():
        first = features.mean(real[in_first_half], real_weights[in_first_half])
        second = features.mean(real[~in_first_half], real_weights[~in_first_half])
        half = solve_dual(synthetic, features, first, prior, eps, start=solution.dual, device=device)
        half_weighted = features.mean(synthetic, half.weights)
    tested = features.mean(test, test_weights) if test is not None and len(test) else None
    means = Means(
        real=mean,
        raw=features.mean(synthetic, prior),
        weighted=features.mean(synthetic, solution.weights),
        first=first,
        second=second,
        half_weighted=half_weighted,
        test=tested,
    )
    return Fit(solution, means)


def mixture(means: Sequence[Means], real_shares: np.ndarray, raw_shares: np.ndarray, test_shares: np.ndarray) -> Means:
    """Return the means of the strata taken together.

    Weighted synthetic records have the real shares [L], unweighted ones the shares in which they came [L], and test
    records their own [L]. A mean that one stratum lacks, the whole lacks.

    Raises:
        NumericsError: if the numbers of strata and shares differ.
    """
    if not len(means) == len(real_shares) == len(raw_shares) == len(test_shares):
        raise NumericsError(f"{len(means)} strata need as many shares; given: {len(real_shares)}, {len(raw_shares)}.")
    by_name = {"raw": raw_shares, "test": test_shares}
    combined: dict[str, Any] = {}
    for field in fields(Means):
        parts = [getattr(item, field.name) for item in means]
        shares = by_name.get(field.name, real_shares)
        wanted = [(part, share) for part, share in zip(parts, shares, strict=True) if share > 0]
        complete = wanted and all(part is not None for part, _ in wanted)
        combined[field.name] = sum(share * part for part, share in wanted) if complete else None
    return Means(**combined)


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
