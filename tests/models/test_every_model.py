"""What every classifier promises, of each."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from synalign.errors import NumericsError
from synalign.models.protocol import Classifier, Examples, Inputs
from tests.models.toy import examples, inputs, rows

Make = Callable[..., Classifier]
N = 48
CODES = np.arange(30) % 3
LATER = inputs(CODES, 99)
WEIGHTS = np.random.default_rng(5).uniform(0.2, 3.0, N)


@pytest.fixture(scope="module")
def plain(make: Make) -> np.ndarray:
    """What is predicted after a fit to weighted examples."""
    return make().fit(examples(N, 1, weights=WEIGHTS), 4, 7).predict_proba(LATER)


def test_it_learns(make: Make, kind: str) -> None:
    found = make().fit(examples(120, 1), 3, 7).predict_proba(LATER)
    # A transformer with random weights has only these few texts to learn the words from.
    assert (found.argmax(axis=1) == CODES).mean() >= (0.8 if kind == "transformers" else 0.9)


def test_probabilities_sum_to_one_and_a_label_without_examples_has_none(plain: np.ndarray) -> None:
    assert plain.shape == (30, 4)
    assert plain.dtype == np.float64
    np.testing.assert_allclose(plain.sum(axis=1), 1.0, atol=1e-12)
    assert (plain[:, :3] > 0).all()
    np.testing.assert_array_equal(plain[:, 3], 0.0)


def test_a_label_between_others_may_be_absent(make: Make) -> None:
    every = examples(N, 1)
    found = make().fit(rows(every, np.flatnonzero(every.labels != 1), np.ones(2 * N // 3)), 3, 7).predict_proba(LATER)
    np.testing.assert_array_equal(found[:, 1], 0.0)
    told = CODES != 1
    assert (found.argmax(axis=1) == CODES)[told].mean() > 0.7


def test_one_label_is_certain(make: Make) -> None:
    every = examples(N, 1)
    found = make().fit(rows(every, np.flatnonzero(every.labels == 2), np.ones(N // 3)), 4, 7).predict_proba(LATER)
    np.testing.assert_array_equal(found, np.tile([0.0, 0.0, 1.0, 0.0], (30, 1)))
    # Also where the others weigh nothing.
    weightless = Examples(every.inputs, every.labels, (every.labels == 2) * 1.0)
    np.testing.assert_array_equal(make().fit(weightless, 4, 7).predict_proba(LATER), found)


def test_a_weight_of_zero_is_absence(make: Make, plain: np.ndarray) -> None:
    odd = inputs(np.arange(9) % 3, 3)
    given = examples(N, 1)
    strange = [*given.inputs.texts[:20], *(f"zebra {text} yak" for text in odd.texts), *given.inputs.texts[20:]]
    padded = Examples(
        Inputs(np.insert(given.inputs.vectors, [20] * 9, odd.vectors * 30, axis=0), strange),
        np.insert(given.labels, [20] * 9, (np.arange(9) + 1) % 3),
        np.insert(WEIGHTS, [20] * 9, 0.0),
    )
    np.testing.assert_array_equal(make().fit(padded, 4, 7).predict_proba(LATER), plain)


@pytest.mark.parametrize("factor", [2.0, 2.0**-900, 1 / 3, 1e300])
def test_the_scale_of_the_weights_is_free_where_training_is_in_steps(
    make: Make, kind: str, plain: np.ndarray, factor: float
) -> None:
    if kind not in ("network", "transformers"):
        return  # there a penalty is held against their sum, see below
    scaled = make().fit(examples(N, 1, weights=WEIGHTS * factor), 4, 7).predict_proba(LATER)
    np.testing.assert_allclose(scaled, plain, atol=2e-3)


def test_twice_the_weight_is_twice_the_records_where_there_is_a_penalty(
    make: Make, kind: str, plain: np.ndarray
) -> None:
    if kind in ("network", "transformers"):
        return
    given = examples(N, 1)
    twice = rows(given, np.repeat(np.arange(N), 2), np.ones(2 * N))
    weighted = Examples(given.inputs, given.labels, np.full(N, 2.0))
    found = make().fit(weighted, 4, 7).predict_proba(LATER)
    np.testing.assert_allclose(found, make().fit(twice, 4, 7).predict_proba(LATER), atol=2e-3)
    # And less regularised: surer than with half of it.
    assert found.max(axis=1).mean() > make().fit(given, 4, 7).predict_proba(LATER).max(axis=1).mean() + 1e-3


def test_the_same_seed_is_the_same_model(make: Make, plain: np.ndarray) -> None:
    again = make().fit(examples(N, 1, weights=WEIGHTS), 4, 7)
    np.testing.assert_array_equal(again.predict_proba(LATER), plain)
    # A fitted model can be sent to another process, and what it says of a record does not depend on the others.
    sent = pickle.loads(pickle.dumps(again))
    few = Inputs(LATER.vectors[[4, 2]], [LATER.texts[4], LATER.texts[2]])
    np.testing.assert_allclose(sent.predict_proba(few), plain[[4, 2]], atol=1e-6)
    assert sent.predict_proba(Inputs(LATER.vectors[:0], [])).shape == (0, 4)


def test_any_seed_of_a_step_is_taken(make: Make) -> None:
    # Child seeds have 63 bits; scikit-learn takes 32.
    large = 2**63 - 1
    first, second = (make().fit(examples(N, 1), 4, large).predict_proba(LATER) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_seed_matters_where_training_is_random(make: Make, plain: np.ndarray, kind: str) -> None:
    other = make().fit(examples(N, 1, weights=WEIGHTS), 4, 8).predict_proba(LATER)
    assert (np.abs(other - plain).max() > 1e-6) == (kind in ("network", "transformers"))


def test_torch_is_left_as_it_was(make: Make) -> None:
    import torch

    before, threads = torch.get_rng_state(), torch.get_num_threads()
    make().fit(examples(12, 1), 3, 7).predict_proba(LATER)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_what_was_drawn_before_alters_nothing(make: Make, plain: np.ndarray) -> None:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(123)
        again = make().fit(examples(N, 1, weights=WEIGHTS), 4, 7).predict_proba(LATER)
    np.testing.assert_array_equal(again, plain)


def _doubted(copies: bool) -> Examples:
    """Return records of two kinds, each said to be of label 0 three times as often as of label 1, or the reverse: by
    copies, or by weights."""
    both = inputs(np.arange(24) % 2, 1)
    often = np.where(np.arange(24) % 2 == 0, 3, 1)
    chosen = np.concatenate([np.arange(24), np.arange(24)])
    labels = np.repeat([0, 1], 24)
    counts = np.concatenate([often, 4 - often])
    given = Examples(both, np.zeros(24), np.ones(24))
    if copies:
        many = np.repeat(np.arange(48), counts)
        found = rows(given, chosen[many], np.ones(len(many)))
        return Examples(found.inputs, labels[many], found.weights)
    found = rows(given, chosen, counts * 1.0)
    return Examples(found.inputs, labels, found.weights)


def test_a_weight_counts_as_that_many_copies(make: Make, kind: str) -> None:
    """Three of four copies say label 0 of one half of the records, one of four of the other half."""
    # Little regularisation: what is learned of copies of one record is then their shares.
    settings = {
        "network": {"least_steps": 300, "weight_decay": 0.01, "dropout": 0.05},
        "transformers": {"least_steps": 150, "weight_decay": 0.0},
    }.get(kind, {"penalty": 0.01})
    asked = inputs(np.arange(24) % 2, 1)
    by_weight, by_copies = (
        make(**settings).fit(_doubted(copies), 2, 3).predict_proba(asked)[:, 0] for copies in (False, True)
    )
    first = np.arange(24) % 2 == 0
    for side, share in ((first, 0.75), (~first, 0.25)):
        assert by_weight[side].mean() == pytest.approx(share, abs=0.1)
        assert by_weight[side].mean() == pytest.approx(by_copies[side].mean(), abs=0.06)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(make: Make, value: float) -> None:
    given = examples(N, 1)
    given.inputs.vectors[5, 2] = value
    with pytest.raises(NumericsError, match="number 5 of 48 holds NaN or infinity"):
        make().fit(given, 3, 7)


def test_wrong_examples_are_named(make: Make) -> None:
    given = examples(N, 1)
    with pytest.raises(NumericsError, match="positive weight; there is none"):
        make().fit(Examples(given.inputs, given.labels, np.zeros(N)), 3, 7)
    with pytest.raises(NumericsError, match="number 3 is -1"):
        make().fit(Examples(given.inputs, given.labels, np.where(np.arange(N) == 3, -1.0, 1.0)), 3, 7)
    with pytest.raises(NumericsError, match="number 0 is nan"):
        make().fit(Examples(given.inputs, given.labels, np.full(N, np.nan)), 3, 7)
    with pytest.raises(NumericsError, match="from 0 to 1; given: 0 to 2"):
        make().fit(given, 2, 7)
    with pytest.raises(NumericsError, match="given: 48 texts, 48 vectors, 47 labels and 48 weights"):
        make().fit(Examples(given.inputs, given.labels[1:], given.weights), 3, 7)
