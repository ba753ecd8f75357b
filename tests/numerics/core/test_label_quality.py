from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from synalign.errors import NumericsError
from synalign.numerics.core import label_quality as quality_module
from synalign.numerics.core.label_quality import Quality, label_quality, root_mean_square


def _data(n: int = 90, m: int = 40, labels: int = 3, seed: int = 0) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    centres = 2.0 * random.normal(size=(labels, 4))
    real_labels = np.arange(n) % labels
    synthetic_labels = random.integers(0, labels, size=m)
    real = centres[real_labels] + 1.5 * random.normal(size=(n, 4))
    synthetic = centres[synthetic_labels] + 2.0 * random.normal(size=(m, 4))
    return real, real_labels, synthetic, synthetic_labels


def _on_the_sphere(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _ask(
    real: Any, real_labels: Any, synthetic: Any, synthetic_labels: Any, weights: Any = None, seed: int = 0
) -> Quality:
    return label_quality(real, real_labels, weights, synthetic, synthetic_labels, seed)


@pytest.mark.parametrize("labels", [2, 3, 12])
def test_a_pipeline_of_scikit_learn_with_another_solver_agrees(labels: int) -> None:
    real, known, synthetic, claimed = _data(120, labels=labels)
    # Above ten labels L-BFGS stops a little early.
    atol = 5e-3 if labels <= 10 else 0.03
    length = np.sqrt((np.linalg.norm(real, axis=1) ** 2).mean())
    model = make_pipeline(
        FunctionTransformer(lambda x: x / length), LogisticRegression(C=10.0, solver="newton-cholesky", tol=1e-9)
    )
    table = model.fit(real, known).predict_proba(synthetic)
    found = _ask(real, known, synthetic, claimed)
    np.testing.assert_allclose(found.probability, np.choose(claimed, table.T), atol=atol)
    np.testing.assert_array_equal(found.predicted, model.predict(synthetic))
    np.testing.assert_allclose(found.predicted_probability, table.max(axis=1), atol=atol)
    assert np.all(found.predicted_probability >= found.probability)


def test_two_points_have_the_closed_form_of_penalised_logistic_regression() -> None:
    """At -1 and 1 the slope b solves b / C = 2 / (1 + exp(b)), and the intercept is 0."""
    slope = 1.0
    for _ in range(200):
        slope = 0.9 * slope + 0.1 * (10.0 * 2.0 / (1.0 + np.exp(slope)))
    found = _ask([[-1.0], [1.0]], np.array([0, 1]), [[0.0], [1.0], [-1.0]], np.array([1, 1, 1]))
    np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(-slope * np.array([0.0, 1.0, -1.0]))), atol=1e-3)
    np.testing.assert_array_equal(found.predicted[1:], [1, 0])


def test_a_wrong_label_is_believed_less_than_a_right_one() -> None:
    real, known, synthetic, claimed = _data(labels=2)
    right, wrong = _ask(real, known, synthetic, claimed), _ask(real, known, synthetic, 1 - claimed)
    np.testing.assert_allclose(right.probability + wrong.probability, 1.0, atol=1e-5)
    assert right.probability.mean() > 0.6


def test_a_label_that_no_real_record_has_gets_next_to_nothing_and_no_zero() -> None:
    real, known, synthetic, claimed = _data()
    strange = claimed.copy()
    strange[::2] = 5
    found, usual = _ask(real, known, synthetic, strange), _ask(real, known, synthetic, claimed)
    assert np.all(found.probability[::2] <= 1e-5)
    assert np.all(found.probability[::2] > 0)
    np.testing.assert_allclose(found.probability[1::2], usual.probability[1::2])
    assert set(found.predicted) <= {0, 1, 2}
    # A gap in the codes of the real labels is no label either.
    gap = _ask(real, known * 2, synthetic, claimed * 2)
    np.testing.assert_allclose(gap.probability, usual.probability)
    np.testing.assert_array_equal(gap.predicted, usual.predicted * 2)


def test_one_real_label_is_believed_wholly_and_others_not() -> None:
    real, _, synthetic, _ = _data()
    found = _ask(real, np.full(90, 1), synthetic, np.arange(40) % 3)
    np.testing.assert_array_equal(found.probability[1::3], 1.0)
    assert np.all((found.probability[0::3] > 0) & (found.probability[0::3] <= 1e-5))
    np.testing.assert_array_equal(found.predicted, 1)
    np.testing.assert_array_equal(found.predicted_probability, 1.0)


def test_a_weight_counts_as_repetition() -> None:
    real, known, synthetic, claimed = _data(60)
    # On the sphere the scale of the vectors is 1 with or without repetition.
    real, synthetic = _on_the_sphere(real), _on_the_sphere(synthetic)
    copies = np.random.default_rng(1).integers(1, 6, size=60)
    # Weights have mean 1, so that the penalty is that of 60 records.
    model = LogisticRegression(C=10.0 * 60 / copies.sum(), tol=1e-8, max_iter=1000)
    model.fit(np.repeat(real, copies, axis=0), np.repeat(known, copies))
    found = _ask(real, known, synthetic, claimed, copies)
    expected = np.choose(claimed, model.predict_proba(synthetic).T)
    np.testing.assert_allclose(found.probability, expected, atol=2e-3)
    assert np.abs(_ask(real, known, synthetic, claimed).probability - expected).max() > 0.02
    np.testing.assert_allclose(_ask(real, known, synthetic, claimed, 1e5 * copies).probability, found.probability)


def test_a_record_of_weight_0_is_not_seen() -> None:
    real, known, synthetic, claimed = _data(60)
    weights = np.ones(60)
    weights[:20] = 0
    lied = known.copy()
    lied[:20] = (known[:20] + 1) % 3
    np.testing.assert_allclose(
        _ask(real, lied, synthetic, claimed, weights).probability,
        _ask(real, known, synthetic, claimed, weights).probability,
        atol=1e-6,
    )


def test_more_records_than_the_maximum_are_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    real, known, synthetic, claimed = _data(600)
    everything = _ask(real, known, synthetic, claimed)
    monkeypatch.setattr(quality_module, "MAX_RECORDS", 60)
    first, again, other = (_ask(real, known, synthetic, claimed, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.probability, again.probability)
    assert np.abs(first.probability - other.probability).max() > 0.01
    assert np.corrcoef(first.probability, everything.probability)[0, 1] > 0.8
    # As many as the maximum are all taken, whatever the seed.
    monkeypatch.setattr(quality_module, "MAX_RECORDS", 600)
    np.testing.assert_array_equal(_ask(real, known, synthetic, claimed, seed=9).probability, everything.probability)


def test_drawn_records_are_fitted_as_if_there_were_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of thirty records: whichever are drawn, the fit is about the one to the thirty, as sure of itself."""
    real, known, synthetic, claimed = _data(30)
    tiled, tiled_labels = np.tile(real, (40, 1)), np.tile(known, 40)
    monkeypatch.setattr(quality_module, "MAX_RECORDS", 400)
    drawn = [_ask(tiled, tiled_labels, synthetic, claimed, seed=seed).probability for seed in range(4)]
    copies = np.full(30, 400 / 30)
    length = np.sqrt((np.linalg.norm(real, axis=1) ** 2).mean())
    model = LogisticRegression(C=10.0, tol=1e-8, max_iter=1000).fit(real / length, known, sample_weight=copies)
    expected = np.choose(claimed, model.predict_proba(synthetic / length).T)
    np.testing.assert_allclose(np.mean(drawn, axis=0), expected, atol=0.05)
    assert np.mean(np.abs(np.mean(drawn, axis=0) - expected)) < 0.01


@pytest.mark.parametrize("scale", [1e3, 1e-3])
def test_the_scale_of_the_vectors_does_not_matter(scale: float) -> None:
    real, known, synthetic, claimed = _data()
    np.testing.assert_allclose(
        _ask(scale * real, known, scale * synthetic, claimed).probability,
        _ask(real, known, synthetic, claimed).probability,
        rtol=1e-3,
    )


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    real, known, synthetic, claimed = _data()
    claimed[-1] = 7  # only the last block has the largest code
    whole = _ask(real, known, synthetic, claimed)
    monkeypatch.setattr(quality_module, "_BLOCK", 7)
    parts = _ask(real, known, synthetic, claimed)
    np.testing.assert_allclose(parts.probability, whole.probability, rtol=1e-12)
    np.testing.assert_array_equal(parts.predicted, whole.predicted)
    np.testing.assert_allclose(parts.predicted_probability, whole.predicted_probability, rtol=1e-12)


def test_float32_and_vectors_of_zeros() -> None:
    real, known, synthetic, claimed = _data()
    single = _ask(real.astype(np.float32), known, synthetic.astype(np.float32), claimed)
    np.testing.assert_allclose(single.probability, _ask(real, known, synthetic, claimed).probability, atol=1e-3)
    # Nothing to go by but how frequent the labels are.
    nothing = _ask(np.zeros((6, 2)), np.array([0, 0, 1, 0, 1, 0]), np.zeros((2, 2)), np.array([0, 1]))
    np.testing.assert_allclose(nothing.probability, [2 / 3, 1 / 3], atol=1e-3)


def test_the_root_mean_square_length() -> None:
    assert root_mean_square(np.array([[3.0, 4.0], [0.0, 0.0]])) == pytest.approx(np.sqrt(12.5))
    assert root_mean_square(np.zeros((3, 2))) == 1.0
    # Squares of float32 would be infinite.
    assert root_mean_square(np.full((2, 4), 1e25, dtype=np.float32)) == pytest.approx(2e25, rel=1e-6)


def test_wrong_arguments_are_named() -> None:
    real, known, synthetic, claimed = _data()
    with pytest.raises(NumericsError, match="real_labels must be 90 whole numbers from 0"):
        _ask(real, known[:-1], synthetic, claimed)
    with pytest.raises(NumericsError, match="synthetic_labels must be 40 whole numbers from 0"):
        _ask(real, known, synthetic, claimed[:-1])
    with pytest.raises(NumericsError, match="the smallest -1"):
        _ask(real, known, synthetic, claimed - 1)
    with pytest.raises(NumericsError, match="float64"):
        _ask(real, known.astype(float), synthetic, claimed)
    with pytest.raises(NumericsError, match="synthetic must have 4 columns"):
        _ask(real, known, synthetic[:, :2], claimed)
    with pytest.raises(NumericsError, match="real must be finite; row 0"):
        _ask(real * np.nan, known, synthetic, claimed)
    with pytest.raises(NumericsError, match="real_weights must be a vector of length 90"):
        _ask(real, known, synthetic, claimed, np.ones(89))
