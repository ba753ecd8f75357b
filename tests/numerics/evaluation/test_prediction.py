from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from synalign.errors import NumericsError
from synalign.numerics.evaluation.prediction import calibration_error, scores, stratified_order


def _table(n: int = 200, labels: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.dirichlet(np.ones(labels), size=n), random.integers(0, labels, size=n)


def test_scikit_learn_agrees() -> None:
    table, labels = _table()
    found = scores(table, labels)
    predicted = table.argmax(axis=1)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert found.log_loss == pytest.approx(metrics.log_loss(labels, table, labels=range(4)))
    np.testing.assert_array_equal(found.correct, predicted == labels)


def test_a_label_that_is_never_in_the_truth_does_not_count_and_one_that_is_never_found_counts_as_nothing() -> None:
    table = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.7, 0.3, 0.0]])
    assert scores(table, np.array([0, 0, 0])).macro_f1 == 1.0
    # Of label 0: precision 2/3, recall 1; label 1 is not found.
    assert scores(table, np.array([0, 0, 1])).macro_f1 == pytest.approx((0.8 + 0) / 2)


def test_one_impossible_record_does_not_make_the_loss_infinite() -> None:
    assert scores([[1.0, 0.0]], np.array([1])).log_loss == pytest.approx(-np.log(1e-6))


def test_the_calibration_error_is_known_for_a_known_excess_of_confidence() -> None:
    correct = np.tile([1.0, 1.0, 1.0, 0.0, 0.0], 60)
    assert calibration_error(np.full(300, 0.6), correct, bins=1) == pytest.approx(0.0)
    assert calibration_error(np.full(300, 0.9), correct, bins=1) == pytest.approx(0.3)
    # Two kinds of record, one sure and right, one sure and wrong: by bins of their own.
    confidence = np.repeat([0.7, 1.0], 150)
    assert calibration_error(confidence, np.repeat([0.0, 1.0], 150), bins=2) == pytest.approx(0.35)


def test_calibrated_predictions_have_a_small_error_and_it_shrinks() -> None:
    random = np.random.default_rng(0)
    errors = []
    for n in (300, 30_000):
        confidence = random.uniform(0.5, 1.0, size=n)
        errors.append(calibration_error(confidence, (random.uniform(size=n) < confidence).astype(float)))
    assert errors[1] < 0.02 < errors[0] + 0.02
    assert errors[1] < errors[0]


@pytest.mark.parametrize(
    ("table", "labels", "said"),
    [
        ([[0.5, 0.5]], [2], "code below labels"),
        ([[0.5, 0.5]], [0, 1], "code below labels"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "code below labels"),
        ([[0.5, 0.6]], [0], "rows of sum 1"),
        ([[np.nan, 1.0]], [0], "rows of sum 1"),
        ([[-0.5, 1.5]], [0], "rows of sum 1"),
    ],
)
def test_what_is_no_prediction_is_refused(table: object, labels: object, said: str) -> None:
    with pytest.raises(NumericsError, match=said):
        scores(table, np.asarray(labels))


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=80), seed=st.integers(0, 99))
def test_every_beginning_of_the_order_has_the_labels_in_their_shares(labels: list[int], seed: int) -> None:
    codes = np.unique(np.array(labels), return_inverse=True)[1]
    order = stratified_order(codes, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(codes)))
    counts = np.bincount(codes)
    for size in range(len(counts), len(codes) + 1):
        drawn = np.bincount(codes[order[:size]], minlength=len(counts))
        assert (drawn >= 1).all()
        # No label is more than the number of labels away from its share.
        assert np.all(np.abs(drawn - size * counts / len(codes)) <= len(counts) + 1)


def test_the_order_within_a_label_is_drawn() -> None:
    labels = np.zeros(50, dtype=np.int64)
    firsts = {stratified_order(labels, np.random.default_rng(seed))[0] for seed in range(40)}
    assert len(firsts) > 15
