"""How hard to pull, chosen by cross-validation over the real records, fold by fold.

With labels the question is what helps a model. For each fold, everything is fitted to the other folds (label quality,
targets, weights); a fast classifier is fitted to the weighted synthetic records alone, and judged on the fold's real
records by the log-likelihood of their labels. How many it gets right says less of few records: two candidates that
differ in 300 records by two points of accuracy differ by one standard error or less, and in likelihood by several. The
difference of two candidates is taken record by record. Chosen is the weakest weighting, by effective sample size, whose
mean difference from the best is within LEAN standard errors, with "no weighting" among the candidates.

Without labels the smallest cross-validated MMD is chosen among the candidates above a floor on the effective sample
size. That distance alone would choose the strongest pull every time, and it is a poor guide to what a model needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.alignment.dual import effective_size, solve_dual
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.fast_classifier import Judgement, judge
from synalign.numerics.core.features import FeatureMap
from synalign.numerics.core.label_quality import label_quality, root_mean_square
from synalign.numerics.core.threads import blas_alone, each
from synalign.numerics.statistics.mmd import mmd2_features

#: The strengths that are tried, weakest first. Infinity is no pull: the base measure as it is.
STRENGTHS = (math.inf, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4)

FOLDS = 5

#: Records that are used for the choice, at most, real and synthetic. A strength holds for any number of records: the
#: dual vector tilts each record by itself.
MAX_REAL, MAX_SYNTHETIC = 3_000, 6_000

#: Standard errors of the paired difference within which the weaker of two weightings is taken.
LEAN = 0.5

#: The floor on the effective share, without labels.
MIN_EFFECTIVE_SHARE = 0.2

#: Relative gap to which a candidate is solved: the choice needs no more.
_GAP = 1e-2


@dataclass(frozen=True)
class Candidate:
    """One way to weight: eps of the dual; whether label quality is in the base measure; the shares of the strata:
    "real", "kept" (those that follow from the base measure) or "given"."""

    eps: float
    quality: bool
    shares: str


SHARES = ("real", "kept", "given")

#: What stands for the synthetic records as they came.
UNWEIGHTED = Candidate(math.inf, False, "kept")


@dataclass(frozen=True)
class Labelled:
    """Records with the stratum and the label of each. vectors: float [n, d]. weights: float64 [n], not negative:
    multiplicities, or the base measure. strata, labels: int64 [n], codes from 0."""

    vectors: np.ndarray
    weights: np.ndarray
    strata: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """The number of records."""
        return len(self.vectors)

    def take(self, rows: np.ndarray) -> Labelled:
        """Return some of the records."""
        return Labelled(self.vectors[rows], self.weights[rows], self.strata[rows], self.labels[rows])


@dataclass(frozen=True)
class Trial:
    """One candidate, cross-validated. effective_size: mean over folds, in records. effective_share: that over the
    number of synthetic records used. mmd2_fitted, mmd2_heldout: mean over folds of the squared distance to the real
    records fitted to, and to the others. scores: float64 [n], log-likelihood of each real record's label when held
    out, in nats, or minus the Brier score beyond MAX_LOGISTIC labels; higher is better. correct: float64 [n], 1 where
    the classifier is right. Both are None without labels."""

    candidate: Candidate
    effective_size: float
    effective_share: float
    mmd2_fitted: float
    mmd2_heldout: float
    scores: np.ndarray | None
    correct: np.ndarray | None


def candidates(quality: bool, shares: Sequence[str], strengths: Sequence[float] = STRENGTHS) -> list[Candidate]:
    """Return the candidates for these settings, "no weighting" first, each once."""
    found = [UNWEIGHTED]
    found += [Candidate(eps, quality, kind) for kind in shares for eps in strengths]
    return list(dict.fromkeys(found))


def cross_validate(
    features: FeatureMap,
    real: Labelled,
    synthetic: Labelled,
    tried: Sequence[Candidate],
    seed: int,
    *,
    given_shares: np.ndarray | None = None,
    classify: bool = True,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Trial]:
    """Fit and judge every candidate in FOLDS folds of the real records.

    Args:
        features: the feature map. real, synthetic: the records; subsampled to MAX_REAL and MAX_SYNTHETIC by the seed.
        tried: the candidates.
        seed: draws subsamples and folds.
        given_shares: float64 [strata], for candidates with shares "given".
        classify: whether there are labels to learn.
        progress: told of (folds done, folds).

    Raises:
        NumericsError: for fewer than two real records, no synthetic record of positive weight, shares that are not
            known or not given, or an array that does not fit or is not finite.
    """
    random = np.random.default_rng(seed)
    # Records that never get a weight must not take the places of others in a subsample.
    if not (synthetic.weights > 0).all():
        synthetic = synthetic.take(np.flatnonzero(synthetic.weights > 0))
    if len(real) < 2 or not len(synthetic):
        raise NumericsError(
            "A strength is chosen by cross-validation, which needs 2 real records and a synthetic one of positive "
            f"weight; given: {len(real)} and {len(synthetic)}."
        )
    for candidate in tried:
        if candidate.shares not in SHARES or (candidate.shares == "given" and given_shares is None):
            raise NumericsError(
                f"shares must be one of {', '.join(SHARES)}, and given_shares be there for the last; given: "
                f"{candidate.shares!r}."
            )
    real, synthetic = subsample(random, real, MAX_REAL), subsample(random, synthetic, MAX_SYNTHETIC)
    blocks = stratum_blocks(features, real, synthetic)
    folds = folds_of(random, real.labels if classify else np.zeros(len(real), dtype=np.int64))
    total = int(folds.max()) + 1
    classes = int(max(real.labels.max(), synthetic.labels.max())) + 1
    sums = {candidate: np.zeros(3) for candidate in tried}
    scores = {candidate: np.zeros(len(real)) for candidate in tried}
    correct = {candidate: np.zeros(len(real)) for candidate in tried}
    for fold in range(total):
        progress(fold, total)
        held = folds == fold
        train, out = real.take(np.flatnonzero(~held)), real.take(np.flatnonzero(held))
        fits = Weightings(features, train, synthetic, seed, given_shares, blocks)
        fitted_mean, heldout_mean = features.mean(train.vectors, train.weights), features.mean(out.vectors, out.weights)
        weighted = [fits.weights(candidate) for candidate in tried]
        for candidate, (weights, mean) in zip(tried, weighted, strict=True):
            figures = (effective_size(weights), mmd2_features(mean, fitted_mean), mmd2_features(mean, heldout_mean))
            sums[candidate] += np.array(figures) / total
        if classify:
            judged_by = partial(_judge, synthetic, out=out, classes=classes)
            with blas_alone():
                judged = each(judged_by, [weights for weights, _ in weighted])
            for candidate, found in zip(tried, judged, strict=True):
                scores[candidate][held], correct[candidate][held] = found
    progress(total, total)
    return [
        Trial(
            candidate,
            sums[candidate][0],
            sums[candidate][0] / len(synthetic),
            sums[candidate][1],
            sums[candidate][2],
            scores[candidate] if classify else None,
            correct[candidate] if classify else None,
        )
        for candidate in tried
    ]


def choose(trials: Sequence[Trial], min_effective_share: float = 0.0) -> int:
    """Return the place of the trial that is chosen, by the rule at the head of this module.

    Args:
        trials: of one cross-validation.
        min_effective_share: trials below it are left out, as long as one is above it; without labels it is at least
            MIN_EFFECTIVE_SHARE.

    Raises:
        NumericsError: if there is no trial.
    """
    if not trials:
        raise NumericsError("There is no trial to choose from.")
    labelled = trials[0].scores is not None
    floor = min_effective_share if labelled else max(min_effective_share, MIN_EFFECTIVE_SHARE)
    allowed = [place for place, trial in enumerate(trials) if trial.effective_share >= floor]
    allowed = allowed or [int(np.argmax([trial.effective_share for trial in trials]))]
    if not labelled:
        return min(allowed, key=lambda place: trials[place].mmd2_heldout)
    best = max(allowed, key=lambda place: float(np.mean(trials[place].scores)))  # type: ignore[arg-type]
    near = []
    for place in allowed:
        mean, error = paired(trials[best].scores, trials[place].scores)  # type: ignore[arg-type]
        if mean <= LEAN * error + 1e-12:
            near.append(place)
    return max(near, key=lambda place: trials[place].effective_share)


def paired(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the mean of first - second, float64 [n] each, and its standard error; 0 for fewer than two records."""
    difference = first - second
    if len(difference) < 2:
        return float(difference.mean()), 0.0
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))


def stratum_blocks(features: FeatureMap, real: Labelled, synthetic: Labelled) -> list[FeatureBlocks | None]:
    """Return the features of the synthetic records of each stratum; None where there are none.

    Raises:
        NumericsError: if a vector is not finite, or does not fit the map.
    """
    members = _members(real, synthetic)
    return [FeatureBlocks(features, synthetic.vectors[rows]) if len(rows) else None for rows in members]


def _members(real: Labelled, synthetic: Labelled) -> list[np.ndarray]:
    count = int(max(real.strata.max(), synthetic.strata.max())) + 1
    return [np.flatnonzero(synthetic.strata == stratum) for stratum in range(count)]


class Weightings:
    """The weights of synthetic records under any candidate, fitted to one set of real records.

    Solutions of one base measure are kept, and each is begun at the one before: ask from the weakest to the strongest.
    """

    def __init__(
        self,
        features: FeatureMap,
        train: Labelled,
        synthetic: Labelled,
        seed: int,
        given_shares: np.ndarray | None = None,
        blocks: Sequence[FeatureBlocks | None] | None = None,
    ) -> None:
        """Prepare to fit.

        Args:
            features: the feature map. train: the real records. synthetic: the records to weight.
            seed: as `label_quality`.
            given_shares: float64 [strata], for candidates with shares "given".
            blocks: from `stratum_blocks`, where several fits share them.
        """
        self._members = _members(train, synthetic)
        self._blocks = stratum_blocks(features, train, synthetic) if blocks is None else blocks
        self._given = given_shares
        self._train, self._synthetic, self._features, self._seed = train, synthetic, features, seed
        self._bases: dict[bool, np.ndarray] = {}
        self._starts: dict[tuple[bool, int], np.ndarray] = {}
        self._solved: dict[tuple[float, bool, int], tuple[np.ndarray, np.ndarray]] = {}
        self._targets: dict[int, np.ndarray] = {}

    def weights(self, candidate: Candidate) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights of all synthetic records, float64 [m], sum 1, and their mean feature, float64 [D]."""
        base = self.base(candidate.quality)
        result, mean = np.zeros(len(self._synthetic)), np.zeros(self._features.size)
        for stratum, share in enumerate(self._shares(candidate.shares, base)):
            if share > 0:
                weights, part = self._solve(candidate.eps, candidate.quality, stratum)
                result[self._members[stratum]] = share * weights
                mean += share * part
        return result, mean

    def base(self, quality: bool) -> np.ndarray:
        """Return what the synthetic records weigh before anything is learned, float64 [m], with label quality or
        without; not scaled."""
        if quality not in self._bases:
            base = self._synthetic.weights
            if quality:
                train, synthetic = self._train, self._synthetic
                found = label_quality(
                    train.vectors, train.labels, train.weights, synthetic.vectors, synthetic.labels, self._seed
                )
                base = base * found.probability
            self._bases[quality] = base
        return self._bases[quality]

    def _shares(self, kind: str, base: np.ndarray) -> np.ndarray:
        """Return the shares of the strata, float64 [strata]; 0 for those without synthetic records."""
        count = len(self._members)
        if kind == "given":
            assert self._given is not None
            # Strata after those of this fold have no synthetic records, and so no share.
            shares = self._given[:count]
        elif kind == "real":
            shares = np.bincount(self._train.strata, self._train.weights, minlength=count)
        else:
            shares = np.bincount(self._synthetic.strata, base, minlength=count)
        there = np.array([base[rows].sum() > 0 for rows in self._members])
        shares = np.where(there, shares, 0.0)
        if shares.sum() == 0:
            # A fold may lack the real records of every stratum that synthetic ones have: then the shares are kept.
            shares = np.bincount(self._synthetic.strata, base, minlength=count)
        return shares / shares.sum()

    def _solve(self, eps: float, quality: bool, stratum: int) -> tuple[np.ndarray, np.ndarray]:
        key = (eps, quality, stratum)
        if key not in self._solved:
            blocks, target = self._blocks[stratum], self._target(stratum)
            assert blocks is not None
            prior = self.base(quality)[self._members[stratum]]
            start = self._starts.get((quality, stratum))
            # Without real records of this stratum in the fold there is nothing to pull to.
            strength = math.inf if target is None else eps
            solution = solve_dual(
                blocks,
                np.zeros(self._features.size) if target is None else target,
                prior,
                strength,
                relative_gap=_GAP,
                start=start,
            )
            if strength < math.inf:
                self._starts[quality, stratum] = solution.dual
            self._solved[key] = (solution.weights, solution.mean)
        return self._solved[key]

    def _target(self, stratum: int) -> np.ndarray | None:
        if stratum not in self._targets:
            rows = np.flatnonzero(self._train.strata == stratum)
            if not len(rows):
                return None
            self._targets[stratum] = self._features.mean(self._train.vectors[rows], self._train.weights[rows])
        return self._targets[stratum]


def _judge(synthetic: Labelled, weights: np.ndarray, out: Labelled, classes: int) -> Judgement:
    """Return what a fast classifier fitted to the weighted synthetic records alone says of the real ones held out."""
    used = weights > 0
    scale = root_mean_square(synthetic.vectors)
    share = weights[used] * (used.sum() / weights[used].sum())
    return judge(
        synthetic.vectors[used] / scale, synthetic.labels[used], share, out.vectors / scale, out.labels, classes
    )


def subsample(random: np.random.Generator, records: Labelled, count: int) -> Labelled:
    """Return at most `count` of the records, drawn evenly."""
    if len(records) <= count:
        return records
    return records.take(np.sort(random.choice(len(records), count, replace=False)))


def folds_of(random: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Return the fold of each record, int64 [n], FOLDS of them or fewer, each label spread over all."""
    count = min(FOLDS, len(labels))
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % count
    return folds
