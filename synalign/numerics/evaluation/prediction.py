"""How good predicted probabilities are, and the order in which training records are drawn."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from synalign.errors import NumericsError

#: A probability below it counts as this in the log loss: one record must not decide.
_TINY = 1e-6

#: Bins of the calibration error.
BINS = 15


class Scores(NamedTuple):
    """Of n predictions. accuracy: share of labels found. macro_f1: mean of F1 over the labels that occur in the truth,
    each counting alike; 0 for one that is never found. log_loss: mean of -log of the true label's probability, in nats;
    a probability below 1e-6 counts as that. calibration_error: expected calibration error of the most probable label
    (Guo et al., ICML 2017, equation 3), in BINS bins of equal numbers of records. correct: float64 [n], 1 where the
    label was found."""

    accuracy: float
    macro_f1: float
    log_loss: float
    calibration_error: float
    correct: np.ndarray


def scores(probabilities: Any, labels: Any) -> Scores:
    """Return how good predictions are.

    Args:
        probabilities: float [n, labels], rows of sum 1. labels: int [n], codes from 0.

    Raises:
        NumericsError: if the shapes do not fit, a value is no probability, or there is no record.
    """
    from sklearn.metrics import f1_score

    table, codes = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if table.ndim != 2 or codes.shape != (len(table),) or not len(codes) or codes.max() >= table.shape[1]:
        raise NumericsError(
            f"Predictions of n records are [n, labels], with a code below labels for each; given: {table.shape} and "
            f"{codes.shape}."
        )
    if not (np.isfinite(table).all() and (table >= 0).all() and np.allclose(table.sum(axis=1), 1, atol=1e-4)):
        raise NumericsError("Predictions must be probabilities: finite, not negative, rows of sum 1.")
    predicted = table.argmax(axis=1)
    correct = (predicted == codes).astype(np.float64)
    likelihood = np.maximum(table[np.arange(len(codes)), codes], _TINY)
    return Scores(
        float(correct.mean()),
        float(f1_score(codes, predicted, labels=np.unique(codes), average="macro", zero_division=0.0)),
        float(-np.log(likelihood).mean()),
        calibration_error(table.max(axis=1), correct),
        correct,
    )


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Return the mean distance between confidence and accuracy over bins of equal numbers of records.

    Args:
        confidence: float64 [n], probability of the predicted label. correct: float64 [n], 1 where it is the true one.
        bins: how many, at most one for each record.
    """
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    gaps = [len(part) * abs(float(confidence[part].mean() - correct[part].mean())) for part in parts]
    return sum(gaps) / len(order)


def stratified_order(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return an order of records, int64 [n], whose every beginning has the labels in their shares, and each label at
    least once as soon as it has room for all: a larger training set holds each smaller one.

    Args:
        labels: int64 [n], codes. random: what breaks the order within a label.
    """
    shuffled = random.permutation(len(labels))
    codes = labels[shuffled]
    inside = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    rank = np.empty(len(codes), dtype=np.int64)
    rank[inside] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Of each label the first record, then the others where their label's share of the order comes to them.
    place = np.where(rank == 0, -1.0, (rank + random.uniform(size=len(codes))) / counts[codes])
    found: np.ndarray = shuffled[np.argsort(place, kind="stable")]
    return found
