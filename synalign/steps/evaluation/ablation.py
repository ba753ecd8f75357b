"""One draw of an evaluation: draw training records, make mixtures of them, and train and test a model for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from synalign.config import Align
from synalign.ids import child_seed
from synalign.models.protocol import Classifier, Examples, Inputs
from synalign.numerics.alignment.strength import STRENGTHS, Candidate, candidates
from synalign.numerics.core.features import RandomFeatures, RandomProjections
from synalign.numerics.core.label_quality import MAX_LABELS
from synalign.numerics.evaluation.mixtures import Data, Kernels, Method, Mixture, mixtures
from synalign.numerics.evaluation.prediction import scores, stratified_order
from synalign.numerics.selection.kernels import median_distance
from synalign.steps.evaluation.data import EvaluationData

#: Random features, where the settings of `align` leave their number to be found.
_FEATURES = 1024


@dataclass(frozen=True)
class Draw:
    """Rows of the training records that one seed takes, int64, ascending."""

    seed: int
    real: np.ndarray
    synthetic: np.ndarray


@dataclass(frozen=True)
class Verdict:
    """How one model did on the test records. row: its columns of `evaluations`. correct: float64 [test], 1 where it
    found the label."""

    row: dict[str, Any]
    correct: np.ndarray


def draw(evaluation: EvaluationData, seed: int, real: int, synthetic: int) -> Draw:
    """Draw training records, each label in its share; of the same seed, fewer are a part of more."""
    labels = evaluation.data.real.records.labels
    chosen = stratified_order(labels, np.random.default_rng(child_seed(seed, "real")))[:real]
    random = np.random.default_rng(child_seed(seed, "synthetic"))
    written = random.permutation(len(evaluation.data.synthetic))[:synthetic]
    return Draw(seed, np.sort(chosen), np.sort(written))


def evaluate_draw(
    evaluation: EvaluationData,
    drawn: Draw,
    methods: Sequence[Method],
    classifier: Classifier,
    align: Align,
    progress: Callable[[], None],
) -> Iterator[Verdict]:
    """Train and judge a model for each method. `progress` is told of each."""
    whole = evaluation.data
    given = {name: weights[drawn.synthetic] for name, weights in whole.given.items()}
    data = Data(whole.real.take(drawn.real), whole.synthetic.take(drawn.synthetic), whole.classes, given)
    made = mixtures(_kernels(data, align, drawn.seed), data, methods, _tried(data, align), drawn.seed)
    texts = [
        *(evaluation.real["text"][row] for row in drawn.real.tolist()),
        *(evaluation.synthetic["text"][row] for row in drawn.synthetic.tolist()),
    ]
    inputs = Inputs(np.concatenate([data.real.records.vectors, data.synthetic.records.vectors]), texts)
    labels = np.concatenate([data.real.records.labels, data.synthetic.records.labels])
    for mixed in made:
        yield _judge(evaluation, mixed, inputs, labels, classifier, drawn)
        progress()


def _judge(
    evaluation: EvaluationData, mixed: Mixture, inputs: Inputs, labels: np.ndarray, classifier: Classifier, drawn: Draw
) -> Verdict:
    start = perf_counter()
    weights = np.concatenate([mixed.real, mixed.synthetic])
    used = np.flatnonzero(weights > 0)
    some = Inputs(inputs.vectors[used], [inputs.texts[row] for row in used.tolist()])
    fitted = classifier.fit(Examples(some, labels[used], weights[used]), len(evaluation.labels), drawn.seed)
    found = scores(fitted.predict_proba(evaluation.test_inputs), evaluation.test_codes)
    candidate = mixed.candidate
    row = {
        "method": mixed.method,
        "real_records": len(mixed.real),
        "seed": drawn.seed,
        "synthetic_records": len(mixed.synthetic),
        "test_records": len(evaluation.test_codes),
        "model": classifier.name,
        "share": mixed.share,
        "strength": candidate.eps if candidate else None,
        "quality": candidate.quality if candidate else None,
        "label_shares": candidate.shares if candidate else None,
        "effective_size": mixed.effective_size,
        "accuracy": found.accuracy,
        "macro_f1": found.macro_f1,
        "log_loss": found.log_loss,
        "calibration_error": found.calibration_error,
        "seconds": perf_counter() - start,
    }
    return Verdict(row, found.correct)


def _kernels(data: Data, align: Align, seed: int) -> Kernels:
    """Return the feature maps of this draw. A number of features that the settings leave open, or the exact kernel, is
    _FEATURES random ones here, which folds can share."""
    vectors = data.real.records.vectors
    count = align.features if isinstance(align.features, int) else _FEATURES
    median = median_distance(vectors, seed)
    bandwidths = align.bandwidths_at(median)
    linear = RandomProjections.draw(vectors.shape[1], count, seed)
    features = linear if align.kernel == "linear" else RandomFeatures.draw(vectors.shape[1], count, bandwidths, seed)
    return Kernels(features, linear)


def _tried(data: Data, align: Align) -> list[Candidate]:
    """Return the candidates for the way `weighted` that the settings of `align` leave open."""
    several = len(np.unique(data.synthetic.records.strata)) > 1
    quality = align.quality is not False and data.classes <= MAX_LABELS
    kinds = ["kept"] if not several else ["kept", "real"]
    if several and align.label_shares in ("kept", "real"):
        kinds = [str(align.label_shares)]
    if align.strength == "auto":
        return candidates(quality, kinds, STRENGTHS)
    eps = math.inf if align.strength == "none" else float(align.strength)
    return [Candidate(eps, quality, kind) for kind in kinds]
