"""What models of an ablation are trained on: real and synthetic records in shares that cross-validation chose.

The real records are in folds. For each fold, every way of weighting is fitted to the other folds, the fast classifier
is fitted to those real records and the weighted synthetic ones at each share, and judged on the fold's real records by
the log-likelihood of their labels. No test record is seen. "No synthetic records" is among the shares. The way
`weighted` has the strength that is best for training on synthetic records alone; in a mixture, "no weighting" and
"label quality alone" are tried beside it.

Weights are scaled to sum to their effective number, (sum w)^2 / sum w^2 (Kish 1965): a model that is regularised is
regularised for as many records as there really are. With a sum of n + m, as a mean weight of 1 gives, 300 real records
at half of the weight count as thousands of certain ones, and a mixture loses one to two points of accuracy to that
alone (docs/explanation/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.alignment.dual import effective_size
from synalign.numerics.alignment.strength import (
    FOLDS,
    UNWEIGHTED,
    Candidate,
    choose,
    cross_validate,
    folds_of,
    paired,
)
from synalign.numerics.core.fast_classifier import Judgement, judge
from synalign.numerics.core.features import FeatureMap
from synalign.numerics.core.label_quality import root_mean_square
from synalign.numerics.core.threads import blas_alone, each
from synalign.numerics.evaluation.reweighting import QUALITY, Corpus, Maps, Reweighting

#: Records that shares are chosen by, at most, real and synthetic. Few would not do: the share that helps 3,000 real
#: records is too much for 16,000, which know more by themselves (sst2: .7 points below real records alone).
MAX_REAL, MAX_SYNTHETIC = 20_000, 20_000

#: Shares of all weight that the synthetic records may get.
SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)

#: Standard errors of the paired difference from the best within which a smaller share is taken.
LEAN = 0.0


@dataclass(frozen=True)
class Method:
    """One row of an ablation. real: whether real records are trained on; without them the share is 1. way: how the
    synthetic records are weighted: one of `synalign.numerics.evaluation.reweighting.WAYS`, a name of weights that are
    given, or None without them."""

    name: str
    real: bool
    way: str | None


METHODS = (
    Method("real", True, None),
    Method("synthetic", False, "unweighted"),
    Method("weighted", False, "weighted"),
    Method("real+synthetic", True, "unweighted"),
    Method("real+random", True, "random"),
    Method("real+weighted", True, "weighted"),
    Method("real+resampled", True, "resampled"),
    Method("real+paper", True, "paper"),
    Method("real+quality", True, "quality"),
    Method("real+importance", True, "importance"),
    Method("real+dsir", True, "dsir"),
)

#: What all others are compared with: the mix as it comes.
REFERENCE = "real+synthetic"


@dataclass(frozen=True)
class Mixture:
    """What one model is trained on.

    real: float64 [n], synthetic: float64 [m]: the weight of each record; both together sum to their effective number.
    share: of the synthetic records in all weight. candidate: how the way `weighted` was fitted; None for other ways.
    effective_size: of the synthetic weights, in records; 0 without them.
    """

    method: str
    real: np.ndarray
    synthetic: np.ndarray
    share: float
    candidate: Candidate | None
    effective_size: float


@dataclass(frozen=True)
class Data:
    """What an ablation is made of. real: n records, with a stratum of -1 where no synthetic record can match.
    synthetic: m records of positive weight, all with a stratum. classes: how many codes of labels there are. given:
    weights of the synthetic records that stand already, float64 [m] each, by the name of their way."""

    real: Corpus
    synthetic: Corpus
    classes: int
    given: Mapping[str, np.ndarray] = field(default_factory=dict)

    def matched(self, rows: np.ndarray | None = None) -> Corpus:
        """Return those of some real records, or of all, that weights can be fitted to."""
        rows = np.arange(len(self.real)) if rows is None else rows
        return self.real.take(rows[self.real.records.strata[rows] >= 0])

    def some(self, seed: int) -> Data:
        """Return at most MAX_REAL and MAX_SYNTHETIC records, which are enough to choose by."""
        if len(self.real) <= MAX_REAL and len(self.synthetic) <= MAX_SYNTHETIC:
            return self
        random = np.random.default_rng(seed)
        rows = [
            np.sort(random.permutation(len(side))[:most])
            for side, most in ((self.real, MAX_REAL), (self.synthetic, MAX_SYNTHETIC))
        ]
        given = {name: weights[rows[1]] for name, weights in self.given.items()}
        return Data(self.real.take(rows[0]), self.synthetic.take(rows[1]), self.classes, given)


@dataclass(frozen=True)
class Kernels:
    """The feature maps of the ways `weighted` and `paper`."""

    features: FeatureMap
    linear: FeatureMap

    def maps(self, data: Data, seed: int) -> Maps:
        """Return what does not depend on the real records that weights are fitted to."""
        return Maps.of(self.features, self.linear, data.matched().records, data.synthetic.records, seed)


def mixtures(
    kernels: Kernels,
    data: Data,
    methods: Sequence[Method],
    tried: Sequence[Candidate],
    seed: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Mixture]:
    """Return what each method trains on, everything chosen on the real records given.

    Args:
        kernels: the feature maps.
        data: the records.
        methods: the rows.
        tried: candidates for `weighted`, from `synalign.numerics.alignment.strength.candidates`.
        seed: of folds and draws.
        progress: told of (folds done, folds).

    Raises:
        NumericsError: for fewer real records than FOLDS, or of one label, or none that weights can be fitted to.
    """
    real = data.real.records
    if len(real) < FOLDS or len(np.unique(real.labels)) < 2 or not (real.strata >= 0).any():
        raise NumericsError(
            f"Shares are chosen in {FOLDS} folds of real records of two labels or more, some of which synthetic ones "
            f"have, too; given: {len(real)} records of {len(np.unique(real.labels))} labels, "
            f"{int((real.strata >= 0).sum())} of them with such a label."
        )
    few = data.some(seed)
    maps = kernels.maps(few, seed)
    ways = dict.fromkeys(method.way for method in methods if method.way is not None)
    chosen = UNWEIGHTED
    if set(ways) & {"weighted", "resampled", "random", "dsir"}:
        matched = few.matched().records
        # "No weighting" is a row of its own; what weights are worth is to be seen in the others.
        pulls = [candidate for candidate in tried if candidate != UNWEIGHTED] or list(tried)
        trials = cross_validate(maps.features, matched, few.synthetic.records, pulls, seed) if len(pulls) > 1 else []
        chosen = pulls[choose(trials)] if trials else pulls[0]
    best = _best(maps, few, _jobs(methods, tried, chosen), chosen, seed, progress)
    if few is not data:
        maps = kernels.maps(data, seed)
    whole = Reweighting(maps, data.matched(), data.synthetic, chosen, seed, data.given)
    found = []
    for method in methods:
        if method.way is None:
            found.append(mixture(method.name, real.weights, np.zeros(len(data.synthetic)), 0.0))
            continue
        share, candidate = best[method.way] if method.real else (1.0, chosen if method.way == "weighted" else None)
        weights = whole.weights(method.way) if candidate is None else whole.by(candidate)
        found.append(mixture(method.name, real.weights, weights, share, candidate))
    return found


def mixture(
    method: str, real: np.ndarray, synthetic: np.ndarray, share: float, candidate: Candidate | None = None
) -> Mixture:
    """Return real and synthetic weights, any scale, put together in a share; see `Mixture`."""
    here = real / real.sum() * (1 - share)
    there = synthetic / synthetic.sum() * share if share > 0 else np.zeros(len(synthetic))
    size = effective_size(np.concatenate([here, there]))
    worth = effective_size(there / share) if share > 0 else 0.0
    return Mixture(method, here * size, there * size, share, candidate, worth)


@dataclass(frozen=True)
class _Job:
    """One thing to judge: a way of weighting, a candidate if it is `weighted`, and a share."""

    way: str | None
    candidate: Candidate | None
    share: float


def _jobs(methods: Sequence[Method], tried: Sequence[Candidate], chosen: Candidate) -> list[_Job]:
    found = [_Job(None, None, 0.0)]
    for way in dict.fromkeys(method.way for method in methods if method.real and method.way is not None):
        pulls: list[Candidate | None] = [None]
        if way == "weighted":
            pulls = list(dict.fromkeys([chosen, *(found for found in (UNWEIGHTED, QUALITY) if found in tried)]))
        found += [_Job(way, pull, share) for pull in pulls for share in SHARES if share > 0]
    return found


@dataclass(frozen=True)
class _Fold:
    """What one fold's records are judged by. vectors, labels: real training records, then synthetic ones."""

    vectors: np.ndarray
    labels: np.ndarray
    real: np.ndarray
    held: np.ndarray
    held_labels: np.ndarray
    classes: int
    weights: Mapping[tuple[str | None, Candidate | None], np.ndarray]

    def judge(self, job: _Job) -> Judgement:
        count = len(self.labels) - len(self.real)
        there = self.weights.get((job.way, job.candidate), np.ones(count))
        mixed = mixture("", self.real, there, job.share)
        amounts = np.concatenate([mixed.real, mixed.synthetic])
        used = np.flatnonzero(amounts > 0)
        return judge(self.vectors[used], self.labels[used], amounts[used], self.held, self.held_labels, self.classes)


def _best(
    maps: Maps, data: Data, jobs: Sequence[_Job], chosen: Candidate, seed: int, progress: Callable[[int, int], None]
) -> dict[str, tuple[float, Candidate | None]]:
    """Return the share of each way, and of `weighted` also the candidate."""
    if len(jobs) < 2:
        return {}
    real, synthetic = data.real.records, data.synthetic.records
    folds = folds_of(np.random.default_rng(seed), real.labels)
    total = int(folds.max()) + 1
    scores = {job: np.zeros(len(real)) for job in jobs}
    for number in range(total):
        progress(number, total)
        held = folds == number
        known, unknown = real.take(np.flatnonzero(~held)), real.take(np.flatnonzero(held))
        fit_to = data.matched(np.flatnonzero(~held))
        weights: dict[tuple[str | None, Candidate | None], np.ndarray] = {}
        if len(fit_to):  # else there is nothing to fit to, and the records are taken as they came
            fitted = Reweighting(maps, fit_to, data.synthetic, chosen, seed, data.given)
            for way, pull in dict.fromkeys((job.way, job.candidate) for job in jobs):
                if way is not None:
                    weights[way, pull] = fitted.weights(way) if pull is None else fitted.by(pull)
        vectors = np.concatenate([known.vectors, synthetic.vectors])
        scale = root_mean_square(vectors)
        labels = np.concatenate([known.labels, synthetic.labels])
        fold = _Fold(
            vectors / scale, labels, known.weights, unknown.vectors / scale, unknown.labels, data.classes, weights
        )
        with blas_alone():
            for job, found in zip(jobs, each(fold.judge, jobs), strict=True):
                scores[job][held] = found.scores
    progress(total, total)
    best: dict[str, tuple[float, Candidate | None]] = {}
    for way in dict.fromkeys(job.way for job in jobs if job.way is not None):
        job = _least({job: found for job, found in scores.items() if job.way in (None, way)})
        best[way] = (job.share, job.candidate or (chosen if way == "weighted" else None))
    return best


def _least(scores: Mapping[_Job, np.ndarray]) -> _Job:
    """Return the job of the best mean score, or of the smallest share that is within LEAN standard errors of it."""
    top = max(scores, key=lambda job: float(scores[job].mean()))
    near = []
    for job, score in scores.items():
        mean, error = paired(scores[top], score)
        if mean <= LEAN * error + 1e-12:
            near.append(job)
    return min(near, key=lambda job: job.share)
