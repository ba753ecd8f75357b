from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special

from synalign.errors import NumericsError
from synalign.models.logistic import Logistic, root_mean_square
from synalign.models.protocol import Examples, Inputs
from tests.models.toy import examples, inputs, rows

LATER = inputs(np.arange(20) % 3, 99)
ASKED = inputs(np.arange(20) % 2, 98)


def _two_labels(n: int, seed: int) -> Examples:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(n, 3)).astype(np.float32)
    codes = (vectors[:, 0] + random.normal(size=n) > 0).astype(np.int64)
    return Examples(Inputs(vectors, [""] * n), codes, random.uniform(0.1, 4.0, n))


def test_against_another_solver() -> None:
    """The softmax objective of three labels, written out, minimised by Newton's steps on a trust region."""
    given = examples(60, 3, weights=np.random.default_rng(0).exponential(size=60))
    penalty = 0.7
    w = given.weights
    scale = np.sqrt((w * (given.inputs.vectors.astype(float) ** 2).sum(axis=1)).sum() / w.sum())
    x = given.inputs.vectors / scale
    hot = np.eye(3)[given.labels]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients, intercepts = flat[:18].reshape(3, 6), flat[18:]
        scores = x @ coefficients.T + intercepts
        losses = special.logsumexp(scores, axis=1) - (hot * scores).sum(axis=1)
        off = w[:, None] * (special.softmax(scores, axis=1) - hot)
        gradient = np.concatenate([(off.T @ x + penalty * coefficients).ravel(), off.sum(axis=0)])
        return float(w @ losses + penalty / 2 * (coefficients**2).sum()), gradient

    best = optimize.minimize(objective, np.zeros(21), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    expected = special.softmax(LATER.vectors / scale @ best[:18].reshape(3, 6).T + best[18:], axis=1)
    found = Logistic(penalty).fit(given, 3, 0).predict_proba(LATER)
    np.testing.assert_allclose(found, expected, atol=3e-3)


def test_vectors_that_say_nothing_leave_the_weighted_shares() -> None:
    codes = np.array([0, 0, 1, 2])
    given = Examples(Inputs(np.zeros((4, 3), np.float32), [""] * 4), codes, np.array([1.0, 2.0, 5.0, 2.0]))
    found = Logistic().fit(given, 3, 0).predict_proba(Inputs(np.ones((1, 3), np.float32), [""]))
    np.testing.assert_allclose(found, [[0.3, 0.5, 0.2]], atol=1e-3)


def test_weights_are_repetition() -> None:
    given = _two_labels(40, 1)
    counts = np.random.default_rng(2).integers(0, 4, 40)
    many = rows(given, np.repeat(np.arange(40), counts), np.ones(int(counts.sum())))
    weighted = Examples(given.inputs, given.labels, counts * 1.0)
    later = Inputs(ASKED.vectors[:, :3], ASKED.texts)
    by_weight = Logistic(1.0).fit(weighted, 2, 0).predict_proba(later)
    by_copies = Logistic(1.0).fit(many, 2, 0).predict_proba(later)
    np.testing.assert_allclose(by_weight, by_copies, atol=1e-3)


def test_the_length_of_the_vectors_is_free() -> None:
    given = _two_labels(40, 1)
    longer = Examples(Inputs(given.inputs.vectors * 64, given.inputs.texts), given.labels, given.weights)
    later = Inputs(ASKED.vectors[:, :3], ASKED.texts)
    found = Logistic().fit(given, 2, 0).predict_proba(later)
    further = Logistic().fit(longer, 2, 0).predict_proba(Inputs(later.vectors * 64, later.texts))
    np.testing.assert_allclose(further, found, atol=1e-6)


def test_root_mean_square() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 1.0]], np.float32)
    assert root_mean_square(vectors, np.array([1.0, 3.0])) == pytest.approx(7**0.5)
    assert root_mean_square(np.zeros((2, 3), np.float32), np.ones(2)) == 1.0


def test_a_record_without_a_finite_vector_has_no_prediction() -> None:
    fitted = Logistic().fit(_two_labels(20, 1), 2, 0)
    with pytest.raises(NumericsError, match="number 1 of 2"):
        fitted.predict_proba(Inputs(np.array([[0, 0, 0], [0, np.nan, 0]], np.float32), ["", ""]))
