"""The fast classifier by which cross-validation judges: fitted in a few hundredths of a second."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Labels up to which the fast classifier is a logistic regression, scored by likelihood. Beyond, it is least squares,
#: scored by minus the squared error of the label's indicator (Brier), which takes no longer for more labels: on the
#: pairs below 4 labels its choices came to three quarters or more of the gain.
MAX_LOGISTIC = 10

#: Penalty of the squared coefficients, on vectors of root mean square length 1.
_PENALTY = 1.0

#: A likelihood below it counts as this: one record must not decide.
_TINY = 1e-6


class Judgement(NamedTuple):
    """What was found of n records held out. scores: float64 [n], log-likelihood of each label in nats, or minus the
    Brier score beyond MAX_LOGISTIC labels; higher is better. correct: float64 [n], 1 where the label was found."""

    scores: np.ndarray
    correct: np.ndarray


def judge(
    vectors: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    held: np.ndarray,
    held_labels: np.ndarray,
    classes: int,
) -> Judgement:
    """Fit the fast classifier to weighted records and judge it on others.

    Args:
        vectors: float [m, d]. labels: int64 [m], codes below `classes`. weights: float64 [m], above 0: a record of
            weight 2 counts as two, so that their sum against the penalty decides how far it is regularised.
        held: float [n, d]. held_labels: int64 [n].
        classes: how many codes there are.
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    rows, table = np.arange(len(held)), np.zeros((len(held), classes))
    if classes > MAX_LOGISTIC:
        ridge = Ridge(alpha=_PENALTY).fit(vectors, np.eye(classes)[labels], sample_weight=weights)
        table[:] = ridge.predict(held)
        scores = -np.square(table - np.eye(classes)[held_labels]).sum(axis=1)
        return Judgement(scores, (table.argmax(axis=1) == held_labels).astype(np.float64))
    if len(np.unique(labels)) < 2:
        table[:, labels[0]] = 1.0
    else:
        model = LogisticRegression(C=1.0 / _PENALTY, solver="newton-cg", tol=1e-3, max_iter=200)
        model.fit(vectors, labels, sample_weight=weights)
        table[:, model.classes_] = model.predict_proba(held)
    scores = np.log(np.maximum(table[rows, held_labels], _TINY))
    return Judgement(scores, (table.argmax(axis=1) == held_labels).astype(np.float64))
