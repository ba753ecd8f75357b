"""Logistic regression on embeddings: the default classifier, fitted in a fraction of a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synalign.models.checks import check_setting, finite, usable
from synalign.models.protocol import Examples, Fitted, Inputs

#: Labels up to which the solver is Newton's.
_FEW_LABELS = 10


@dataclass(frozen=True)
class Logistic:
    """L2-regularised multinomial logistic regression on vectors of root mean square length 1. penalty: of the squared
    coefficients, the inverse of scikit-learn's C."""

    penalty: float = 1.0
    name: str = "logistic"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_setting(self.name, "penalty", self.penalty, 1e-9)

    def fit(self, examples: Examples, labels: int, seed: int) -> Fitted:
        """See `Classifier.fit`."""
        from sklearn.linear_model import LogisticRegression

        examples = usable(examples, labels)
        vectors, codes, weights = examples.inputs.vectors, examples.labels, examples.weights
        if len(np.unique(codes)) < 2:
            return Constant(int(codes[0]), labels)
        scale = root_mean_square(vectors, weights)
        # Newton's way takes a fifth of the time of L-BFGS for few labels; its system grows with their number.
        solver = "newton-cg" if len(np.unique(codes)) <= _FEW_LABELS else "lbfgs"
        model = LogisticRegression(
            C=1.0 / self.penalty, solver=solver, tol=1e-4, max_iter=500, random_state=seed % 2**32
        )
        model.fit(vectors / scale, codes, sample_weight=weights)
        return _FittedLogistic(model, scale, labels)


@dataclass(frozen=True)
class _FittedLogistic:
    model: Any
    scale: float
    labels: int

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """See `Fitted.predict_proba`."""
        if not len(inputs):
            return np.zeros((0, self.labels))
        found = self.model.predict_proba(finite(inputs.vectors) / self.scale)
        return spread(found, self.model.classes_, self.labels)


@dataclass(frozen=True)
class Constant:
    """What is learned of examples of one label: that label, with certainty."""

    label: int
    labels: int

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """See `Fitted.predict_proba`."""
        return spread(np.ones((len(inputs), 1)), np.array([self.label]), self.labels)


def spread(found: np.ndarray, present: np.ndarray, labels: int) -> np.ndarray:
    """Return the probabilities of all labels, float64 [n, labels], from those of the labels that had an example, float
    [n, present]: rows of sum 1, and 0 for the other labels."""
    every = np.zeros((len(found), labels))
    rows = found.astype(np.float64)
    every[:, present] = rows / rows.sum(axis=1, keepdims=True)
    return every


def root_mean_square(vectors: np.ndarray, weights: np.ndarray) -> float:
    """Return the weighted root mean square length of the rows, 1.0 if all are zero."""
    squared = float(np.average(np.einsum("id,id->i", vectors, vectors, dtype=np.float64), weights=weights))
    return squared**0.5 if squared > 0 else 1.0
