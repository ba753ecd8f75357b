"""How far the real data believe the label of a synthetic record: q_i = P_real(y_i | x_i).

A language model's label is often wrong for what it wrote (compare "Not All LLM-Generated Data Are Equal", arXiv
2410.21526). A logistic regression that saw real records only says how likely the label is. Under the joint distribution
of vector x and label y the density ratio of real to synthetic is p(x) q(y | x) / (p'(x) q'(y | x)), so that q belongs
into the weights as a factor; here it is the base measure from which the weights are pulled towards the real mean.

Regularisation was chosen on four pairs of real and LLM-written text (docs/explanation/alignment.md): the most probable
setting by the classifier's own cross-validated likelihood (C = 1 to 3) is calibrated, but hedges; C = 10 weighted
better on two of the pairs and as well on two, C = 30 no better than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_matrix, as_weights, check_columns
from synalign.numerics.core.threads import scipy_alone

#: Inverse regularisation of the logistic regression, on vectors of root mean square length 1.
SHARPNESS = 10.0

#: Real records that the classifier is fitted to, at most, and labels it can tell apart in reasonable time.
MAX_RECORDS, MAX_LABELS = 20_000, 500

#: The smallest probability that is told apart from 0.
_TINY = 1e-6
_BLOCK = 16_384


@dataclass(frozen=True)
class Quality:
    """What real data say of m labels. probability: float64 [m], P_real(y_i | x_i), in (0, 1]; of a label that no real
    record has, next to 0. predicted: int64 [m], the most probable label. predicted_probability: float64 [m]."""

    probability: np.ndarray
    predicted: np.ndarray
    predicted_probability: np.ndarray


def label_quality(
    real: Any, real_labels: np.ndarray, real_weights: Any, synthetic: Any, synthetic_labels: np.ndarray, seed: int
) -> Quality:
    """Fit a logistic regression to the real records and return what it says of the synthetic ones' labels.

    With fewer than two labels among the real records there is nothing to tell apart: that label has probability 1.

    Args:
        real: [n, d] float. real_labels: int [n], codes from 0. real_weights: [n], multiplicities; None is equal.
        synthetic: [m, d] float. synthetic_labels: int [m], codes from 0.
        seed: draws the MAX_RECORDS to fit to, where there are more.

    Raises:
        NumericsError: if an array does not fit or is not finite.
    """
    from sklearn.linear_model import LogisticRegression

    known, unknown = as_matrix("real", real), as_matrix("synthetic", synthetic)
    check_columns("synthetic", unknown, known.shape[1], "real")
    weights = as_weights("real_weights", real_weights, len(known))
    labels = _codes("real_labels", real_labels, len(known))
    synthetic_labels = _codes("synthetic_labels", synthetic_labels, len(unknown))
    if len(known) > MAX_RECORDS:
        drawn = np.sort(np.random.default_rng(seed).choice(len(known), MAX_RECORDS, replace=False))
        # Scaled to sum 1 again: the penalty must not grow with the number of records that were left out.
        known, weights, labels = known[drawn], as_weights("real_weights", weights[drawn], MAX_RECORDS), labels[drawn]
    classes = np.unique(labels)
    size = max(int(classes.max()), int(synthetic_labels.max())) + 1
    if len(classes) < 2:
        table = np.zeros((len(unknown), size))
        table[:, classes] = 1.0
        return _read(table, synthetic_labels)
    scale = root_mean_square(known)
    model = LogisticRegression(
        C=SHARPNESS, solver="lbfgs" if len(classes) > 10 else "newton-cg", tol=1e-3, max_iter=300
    )
    with scipy_alone():
        model.fit(known / scale, labels, sample_weight=weights * len(known))
    parts = []
    for start in range(0, len(unknown), _BLOCK):
        rows = slice(start, start + _BLOCK)
        table = np.zeros((len(unknown[rows]), size))
        table[:, model.classes_] = model.predict_proba(unknown[rows] / scale)
        parts.append(_read(table, synthetic_labels[rows]))
    return Quality(
        np.concatenate([part.probability for part in parts]),
        np.concatenate([part.predicted for part in parts]),
        np.concatenate([part.predicted_probability for part in parts]),
    )


def root_mean_square(vectors: np.ndarray) -> float:
    """Return the root mean square length of the rows, 1.0 if all are zero: linear models are fitted to rows over it."""
    squared = float(np.mean(np.einsum("id,id->i", vectors, vectors, dtype=np.float64)))
    return squared**0.5 if squared > 0 else 1.0


def _codes(name: str, labels: Any, size: int) -> np.ndarray:
    codes = np.asarray(labels)
    if codes.shape != (size,) or codes.dtype.kind not in "iu" or codes.min() < 0:
        least = codes.min() if codes.size and codes.dtype.kind in "iu" else "none"
        raise NumericsError(
            f"{name} must be {size} whole numbers from 0, one for each record; given: shape {codes.shape} of "
            f"{codes.dtype}, the smallest {least}."
        )
    return codes


def _read(table: np.ndarray, labels: np.ndarray) -> Quality:
    rows = np.arange(len(table))
    predicted = np.argmax(table, axis=1)
    return Quality(np.maximum(table[rows, labels], _TINY), predicted, table[rows, predicted])
