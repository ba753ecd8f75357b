"""Validation at the door of this room: each model's `fit` takes its examples through here, and trusts them then."""

from __future__ import annotations

import math

import numpy as np

from synalign.errors import NumericsError, UsageError
from synalign.models.protocol import Examples, Inputs


def usable(examples: Examples, labels: int) -> Examples:
    """Return the examples of positive weight, so that nothing depends on those that are absent.

    Raises:
        NumericsError: if the sizes differ, a label is no code below `labels`, a weight is negative or not finite, none
            is positive, or a vector is not finite.
    """
    inputs, codes, weights = examples.inputs, np.asarray(examples.labels), np.asarray(examples.weights, np.float64)
    sizes = (len(inputs), len(inputs.vectors), len(codes), len(weights))
    if len(set(sizes)) > 1:
        raise NumericsError(
            "A classifier needs a text, a vector, a label and a weight for each example; given: {} texts, "
            "{} vectors, {} labels and {} weights.".format(*sizes)
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        row = int(np.argmin(np.isfinite(weights) & (weights >= 0)))
        raise NumericsError(f"Weights of examples are finite and not negative; number {row} is {weights[row]}.")
    used = np.flatnonzero(weights > 0)
    if not len(used):
        raise NumericsError("A classifier needs an example of positive weight; there is none.")
    codes = codes[used]
    if not np.issubdtype(codes.dtype, np.integer) or codes.min() < 0 or codes.max() >= labels:
        raise NumericsError(
            f"Labels are whole numbers from 0 to {labels - 1}; given: {codes.min()} to {codes.max()}, {codes.dtype}."
        )
    texts = inputs.texts
    kept = Inputs(finite(inputs.vectors[used]), [texts[row] for row in used.tolist()])
    return Examples(kept, codes.astype(np.int64), weights[used])


def of_mean_one(weights: np.ndarray) -> np.ndarray:
    """Return weights, float64 [n], above 0, scaled to a mean of 1: for models that are trained in steps, whose length
    is a setting, so that the scale of the weights is to change nothing."""
    # The largest is 1 first, so that the sum of neither tiny nor huge weights leaves the range of float64.
    scaled = weights / weights.max()
    found: np.ndarray = scaled / scaled.mean()
    return found


def finite(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors as they are.

    Raises:
        NumericsError: if one of them holds NaN or infinity.
    """
    if not np.isfinite(vectors).all():
        row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
        raise NumericsError(f"A classifier takes finite vectors; number {row} of {len(vectors)} holds NaN or infinity.")
    return vectors


def check_setting(model: str, name: str, value: float, low: float, high: float = math.inf, whole: bool = False) -> None:
    """Check that a setting of a model is a number from `low` to `high`; a `low` of 0 is itself allowed.

    Raises:
        UsageError: if it is not.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        limit = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"
        raise UsageError(f"The setting {name} of the classifier {model!r} is {kind} {limit}; given: {value!r}.")
