"""What a text classifier is: fitted to weighted examples, it returns a probability for each label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Inputs:
    """n records to predict the labels of. vectors: float32 [n, d]. texts: n strings. Both are always there; a model
    reads the one that it is for."""

    vectors: np.ndarray
    texts: Sequence[str]

    def __len__(self) -> int:
        """The number of records."""
        return len(self.texts)


@dataclass(frozen=True)
class Examples:
    """n records to learn from. labels: int64 [n], codes from 0. weights: float64 [n], not negative: a record of weight
    2 counts as two records, so that their sum is what a model's regularisation is held against."""

    inputs: Inputs
    labels: np.ndarray
    weights: np.ndarray


class Fitted(Protocol):
    """A model that was fitted."""

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """Return the probability of each label, float64 [n, labels], rows of sum 1."""


class Classifier(Protocol):
    """A kind of model with its settings. `name`: what the user calls it. `fit` honours every sample weight, and is a
    function of its arguments alone: the same seed gives the same model."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    def fit(self, examples: Examples, labels: int, seed: int) -> Fitted:
        """Fit it to examples whose codes are below `labels`. A label that no example has gets probability 0.

        Raises:
            NumericsError: if no example has a positive weight, or a vector is not finite.
        """
