"""Logistic regression on embeddings: the default classifier, fitted in a fraction of a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.models.protocol import Examples, Fitted, Inputs

#: Labels up to which the solver is Newton's.
_FEW_LABELS = 10


@dataclass(frozen=True)
class Logistic:
    """L2-regularised multinomial logistic regression on vectors of root mean square length 1. penalty: of the squared
    coefficients, the inverse of scikit-learn's C."""

    penalty: float = 1.0
    name: str = "logistic"
    fast: bool = True

    def fit(self, examples: Examples, labels: int, seed: int) -> Fitted:
        """See `Classifier.fit`."""
        from sklearn.linear_model import LogisticRegression

        used = np.flatnonzero(examples.weights > 0)
        if not len(used):
            raise NumericsError("A classifier needs an example of positive weight; there is none.")
        vectors, codes, weights = examples.inputs.vectors[used], examples.labels[used], examples.weights[used]
        if not np.isfinite(vectors).all():
            raise NumericsError("A classifier is fitted to finite vectors; some are not.")
        if len(np.unique(codes)) < 2:
            return Constant(int(codes[0]), labels)
        scale = root_mean_square(vectors)
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
        found = np.zeros((len(inputs), self.labels))
        found[:, self.model.classes_] = self.model.predict_proba(inputs.vectors / self.scale)
        return found


@dataclass(frozen=True)
class Constant:
    """What is learned of examples of one label: that label, with certainty."""

    label: int
    labels: int

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """See `Fitted.predict_proba`."""
        found = np.zeros((len(inputs), self.labels))
        found[:, self.label] = 1.0
        return found


def root_mean_square(vectors: np.ndarray) -> float:
    """Return the root mean square length of the rows, 1.0 if all are zero."""
    squared = float(np.mean(np.einsum("id,id->i", vectors, vectors, dtype=np.float64)))
    return squared**0.5 if squared > 0 else 1.0
