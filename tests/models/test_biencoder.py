from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from synalign.errors import NumericsError
from synalign.models import contrastive
from synalign.models.biencoder import BiEncoder, Pairs, Settings, Trial, choose_share, chosen, fit, mix
from synalign.models.contrastive import Loss, steps
from synalign.numerics.core.lsa import fit_lsa
from synalign.numerics.evaluation.ranking import exact_search, hits, recall_at, reciprocal_rank

CLINC = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "clinc150"
QUICK = Settings(epochs=10, batch=64, learning_rate=1e-2)


def _units(random: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    matrix = random.normal(size=(rows, columns)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def _turned(seed: int, documents: int, each: int, columns: int = 16) -> tuple[Pairs, np.ndarray]:
    """Queries that are their document, turned by one rotation of the whole space and blurred: what a projection can
    learn, and the embeddings as they are do not know."""
    random = np.random.default_rng(7)
    rotation, _ = np.linalg.qr(random.normal(size=(columns, columns)))
    corpus = _units(random, documents, columns)
    random = np.random.default_rng([seed, 7])
    targets = np.repeat(np.arange(documents), each)
    queries = corpus[targets] @ rotation.T + 0.1 * random.normal(size=(len(targets), columns))
    return Pairs(queries.astype(np.float32), targets, np.ones(len(targets))), corpus


def _mrr(model: BiEncoder, pairs: Pairs, documents: np.ndarray) -> float:
    rows, _ = exact_search(model.queries(pairs.queries), model.documents(documents), 10)
    return float(reciprocal_rank(hits(rows, pairs.targets)).mean())


def test_it_learns_what_separates_queries_from_documents() -> None:
    pairs, documents = _turned(0, 60, 10)
    new, _ = _turned(1, 60, 10)
    assert _mrr(BiEncoder.identity(16), new, documents) < 0.15
    assert _mrr(fit(pairs, documents, QUICK, 1), new, documents) > 0.85


def test_what_is_learned_of_some_documents_holds_for_others() -> None:
    pairs, documents = _turned(0, 120, 10)
    new, _ = _turned(1, 120, 10)
    model = fit(pairs.take(np.flatnonzero(pairs.targets < 80)), documents, QUICK, 1)
    assert _mrr(model, new.take(np.flatnonzero(new.targets >= 80)), documents) > 0.6


def test_frozen_embeddings_stay_as_they_are() -> None:
    vectors = 3.0 * _units(np.random.default_rng(0), 20, 8)
    model = BiEncoder.identity(8)
    assert model.dimensions == 8
    for found in (model.queries(vectors), model.documents(vectors)):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, vectors / 3.0, rtol=1e-6)
    assert model.queries(np.empty((0, 8), np.float32)).shape == (0, 8)


def test_it_is_a_function_of_its_arguments_alone() -> None:
    pairs, documents = _turned(0, 30, 5)
    for array in (pairs.queries, pairs.targets, pairs.weights, documents):
        array.setflags(write=False)
    torch.manual_seed(5)
    np.random.seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    numbers = np.random.get_state()[1].copy()
    first = fit(pairs, documents, QUICK, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(np.random.get_state()[1], numbers)
    torch.manual_seed(6)
    assert fit(pairs, documents, QUICK, 3).to_bytes() == first.to_bytes()
    assert fit(pairs, documents, QUICK, 4).to_bytes() != first.to_bytes()


# Weights and negatives.


def test_weight_0_is_absence_and_only_ratios_count() -> None:
    pairs, documents = _turned(0, 30, 5)
    weights = np.random.default_rng(1).random(len(pairs))
    weights[::3] = 0.0
    model = fit(replace(pairs, weights=weights), documents, QUICK, 3)
    kept = np.flatnonzero(weights > 0)
    assert fit(replace(pairs, weights=weights).take(kept), documents, QUICK, 3).to_bytes() == model.to_bytes()
    assert fit(replace(pairs, weights=2.0 * weights), documents, QUICK, 3).to_bytes() == model.to_bytes()
    huge = fit(replace(pairs, weights=1e300 * weights), documents, QUICK, 3)
    np.testing.assert_allclose(huge.query_matrix, model.query_matrix, atol=1e-3)
    assert fit(pairs, documents, QUICK, 3).to_bytes() != model.to_bytes()


@pytest.mark.parametrize("favoured", [0, 1])
def test_of_two_documents_of_one_query_the_heavier_comes_first(favoured: int) -> None:
    random = np.random.default_rng(2)
    documents, query = _units(random, 12, 8), _units(random, 1, 8)
    pairs = Pairs(np.repeat(query, 2, axis=0), np.array([0, 1]), np.array([1.0, 1.0]))
    pairs.weights[favoured] = 9.0
    model = fit(pairs, documents, Settings(epochs=200, penalty=0.01), 1)
    scores = (model.queries(query) @ model.documents(documents).T)[0]
    assert scores.argmax() == favoured


def test_the_loss_is_infonce_over_documents_each_once() -> None:
    """Against its formula over all documents, with several queries of one document in the batch."""
    random = np.random.default_rng(3)
    documents, queries = _units(random, 9, 6), _units(random, 12, 6)
    targets = random.integers(0, 5, size=12)
    pairs = Pairs(queries, targets, random.random(12))
    settings = Settings(temperature=0.2, anchor=0.7, unasked=0.25)
    left, right = random.normal(size=(2, 4, 6)).astype(np.float32)
    loss = Loss(pairs, documents, settings, torch.device("cpu"))
    found = loss(torch.from_numpy(left), torch.from_numpy(right), np.arange(12), np.arange(9), np.arange(9))
    project = {
        name: (part @ matrix.T) / np.linalg.norm(part @ matrix.T, axis=1, keepdims=True)
        for name, part, matrix in (("q", queries, left), ("d", documents, right), ("own", documents, left))
    }
    asked = np.isin(np.arange(9), targets)
    logits = project["q"] @ project["d"].T / 0.2
    terms = logsumexp(logits, b=np.where(asked, 1.0, 0.25), axis=1) - logits[np.arange(12), targets]
    own = project["own"] @ project["d"].T / 0.2
    expected = (pairs.weights * terms).mean() + 0.7 * (logsumexp(own, axis=1) - np.diag(own)).mean()
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_documents_that_no_query_is_of_are_negatives() -> None:
    """Queries that lie nearer to a document that none of them is of than to their own."""
    random = np.random.default_rng(4)
    documents = _units(random, 20, 12)
    targets = np.repeat(np.arange(4), 10)
    queries = (2.0 * documents[19] + documents[targets] + 0.1 * random.normal(size=(40, 12))).astype(np.float32)
    pairs = Pairs(queries, targets, np.ones(40))
    share = {}
    for unasked in (0.0, 1.0):
        model = fit(pairs, documents, replace(QUICK, epochs=60, unasked=unasked, anchor=0.0), 1)
        rows, _ = exact_search(model.queries(queries), model.documents(documents), 1)
        share[unasked] = np.mean(rows[:, 0] == 19)
    assert share[1.0] == 0.0
    assert share[0.0] > 0.0


def test_in_a_large_corpus_negatives_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrastive, "ALL_DOCUMENTS", 16)
    pairs, documents = _turned(0, 300, 3)
    few = pairs.take(np.flatnonzero(pairs.targets < 200))
    settings = replace(QUICK, epochs=2, hard_negatives=3)
    drawn = set()
    nearest, _ = exact_search(few.queries, documents, 4)
    for rows, candidates, anchors in steps(few, documents, np.eye(16, dtype=np.float32), settings, 1):
        assert (np.diff(candidates) > 0).all()
        assert np.isin(few.targets[rows], candidates).all()
        assert len(candidates) < 300
        others = [
            [row for row in found if row != few.targets[i]][:3] for i, found in zip(rows, nearest[rows], strict=True)
        ]
        assert np.isin(others, candidates).all()
        assert len(anchors) == min(64, len(candidates))
        assert anchors.max() < len(candidates)
        drawn |= set(candidates)
    assert any(row >= 200 for row in drawn)
    new, _ = _turned(1, 300, 3)
    assert _mrr(fit(pairs, documents, QUICK, 1), new, documents) > 0.7


def test_a_hundred_thousand_documents() -> None:
    """A few queries, found among all of them after training."""
    pairs, documents = _turned(0, 100_150, 1, columns=24)
    some = pairs.take(np.random.default_rng(1).permutation(100_150)[:2000])
    train, new = some.take(np.arange(1500)), some.take(np.arange(1500, 2000))
    model = fit(train, documents, replace(QUICK, epochs=4), 1)
    assert _mrr(BiEncoder.identity(24), new, documents) < 0.01
    assert _mrr(model, new, documents) > 0.1


# Settings.


def test_the_pull_keeps_little_data_near_the_embeddings() -> None:
    pairs, documents = _turned(0, 30, 5)
    moved = {}
    for penalty in (0.0, 100.0, 1000.0):
        model = fit(pairs, documents, replace(QUICK, penalty=penalty), 1)
        moved[penalty] = float(np.linalg.norm(model.query_matrix - np.eye(16)))
    assert moved[0.0] > moved[100.0] > 2.0 * moved[1000.0] > 0.0


def test_fewer_dimensions_begin_at_the_principal_ones() -> None:
    """Vectors of rank 3 lose nothing in 3 dimensions."""
    random = np.random.default_rng(5)
    basis = random.normal(size=(3, 10))
    queries, documents = ((random.normal(size=(n, 3)) @ basis).astype(np.float32) for n in (15, 25))
    pairs = Pairs(queries, random.integers(0, 25, size=15), np.ones(15))
    model = fit(pairs, documents, Settings(dimensions=3, learning_rate=1e-9, epochs=1), 1)
    assert model.dimensions == 3
    frozen = BiEncoder.identity(10)
    expected = frozen.queries(queries) @ frozen.documents(documents).T
    np.testing.assert_allclose(model.queries(queries) @ model.documents(documents).T, expected, atol=1e-5)


def test_progress_tells_every_step() -> None:
    pairs, documents = _turned(0, 30, 5)
    told: list[tuple[int, int]] = []
    fit(pairs, documents, replace(QUICK, epochs=40), 1, lambda done, total: told.append((done, total)))
    assert told == [(done, 120) for done in range(121)]


def test_bytes_are_the_model_and_nothing_else_is_taken() -> None:
    pairs, documents = _turned(0, 10, 2)
    model = fit(pairs, documents, replace(QUICK, epochs=1, dimensions=5), 1)
    again = BiEncoder.from_bytes(model.to_bytes())
    np.testing.assert_array_equal(again.queries(pairs.queries), model.queries(pairs.queries))
    assert again.to_bytes() == model.to_bytes()

    def saved(**arrays: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    whole = np.eye(3, dtype=np.float32)
    for data in (
        b"",
        b"no model",
        model.to_bytes()[:100],
        model.to_bytes()[:-30],
        saved(query=whole),
        saved(query=whole, document=whole[:2]),
        saved(query=whole, document=np.array([{}], dtype=object)),
        saved(query=whole.astype(np.float64), document=whole),
        saved(query=np.full((3, 3), np.nan, np.float32), document=whole),
    ):
        with pytest.raises(NumericsError, match="bi-encoder"):
            BiEncoder.from_bytes(data)


_ONES, _ZERO = np.ones((2, 3), np.float32), np.zeros(2, np.int64)


@pytest.mark.parametrize(
    ("pairs", "documents", "said"),
    [
        (Pairs(_ONES, _ZERO, np.ones(2)), np.ones((2, 4)), "one length"),
        (Pairs(_ONES, _ZERO, np.ones(3)), _ONES, "weight for each"),
        (Pairs(_ONES, np.zeros(2), np.ones(2)), _ONES, "whole number"),
        (Pairs(_ONES, np.array([0, 2]), np.ones(2)), _ONES, "1 has 2"),
        (Pairs(_ONES, np.array([0, -1]), np.ones(2)), _ONES, "1 has -1"),
        (Pairs(_ONES, _ZERO, np.zeros(2)), _ONES, "above 0"),
        (Pairs(_ONES, _ZERO, np.array([1.0, -1.0])), _ONES, "not negative"),
        (Pairs(_ONES, _ZERO, np.array([1.0, np.nan])), _ONES, "finite"),
        (Pairs(np.full((2, 3), np.nan), _ZERO, np.ones(2)), _ONES, "queries must be finite"),
        (Pairs(_ONES, _ZERO, np.ones(2)), np.zeros((2, 3)), "direction"),
        (Pairs(_ONES[:0], _ZERO[:0], np.ones(0)), _ONES, "n >= 1"),
        (Pairs(_ONES, _ZERO, np.ones(2)), np.array([["a", "b"]]), "numbers only"),
    ],
)
def test_fit_refuses(pairs: Pairs, documents: np.ndarray, said: str) -> None:
    with pytest.raises(NumericsError, match=said):
        fit(pairs, documents, QUICK, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 1.5},
        {"dimensions": 0},
        {"hard_negatives": -1},
        {"temperature": 0.0},
        {"learning_rate": float("nan")},
        {"penalty": -1.0},
        {"unasked": 1.1},
        {"anchor": float("inf")},
    ],
)
def test_settings_refuse(wrong: dict[str, float]) -> None:
    with pytest.raises(NumericsError, match=next(iter(wrong))):
        Settings(**wrong)  # type: ignore[arg-type]


def test_no_more_dimensions_than_there_are() -> None:
    pairs, documents = _turned(0, 10, 2)
    with pytest.raises(NumericsError, match="16; given: 17"):
        fit(pairs, documents, Settings(dimensions=17), 1)


# The share of synthetic pairs.


def test_shares_are_shares_of_the_weight() -> None:
    pairs, _ = _turned(0, 10, 2)
    other = replace(pairs, weights=np.arange(20.0))
    both = mix(pairs, other, 0.25)
    assert both.weights[:20].sum() == pytest.approx(0.75)
    np.testing.assert_allclose(both.weights[20:], 0.25 * np.arange(20.0) / 190.0)
    assert len(mix(pairs, other, 0.0)) == len(mix(pairs, other, 1.0)) == 20
    np.testing.assert_allclose(mix(pairs, other, 1.0).weights, other.weights / 190.0)
    with pytest.raises(NumericsError, match="between 0 and 1"):
        mix(pairs, other, 1.5)
    with pytest.raises(NumericsError, match="above 0"):
        mix(pairs, replace(other, weights=np.zeros(20)), 0.5)
    np.testing.assert_array_equal(mix(pairs, replace(other, weights=np.zeros(20)), 0.0).targets, pairs.targets)


def test_good_synthetic_pairs_are_taken_and_wrong_ones_are_not() -> None:
    real, documents = _turned(0, 40, 1)
    good, _ = _turned(1, 40, 8)
    wrong = replace(good, targets=np.random.default_rng(2).permutation(good.targets))
    settings = replace(QUICK, epochs=20)
    told: list[tuple[int, int]] = []
    keep = {"folds": 4, "progress": lambda done, total: told.append((done, total))}
    trials = choose_share(real, good, documents, [0.5, 0.0], settings, 1, **keep)
    assert [trial.share for trial in trials] == [0.0, 0.5]
    assert told == [(done, 8) for done in range(9)]
    assert trials[1].mean > trials[0].mean + 0.3
    assert trials[1].error == 0.0
    assert trials[0].error > 0.0
    assert chosen(trials) == 0.5
    assert chosen(choose_share(real, wrong, documents, [0.0, 0.5], settings, 1, folds=4)) == 0.0


def test_a_trial_is_the_mean_over_what_was_held_out() -> None:
    """With as many folds as pairs, each fit is to all pairs but one: done here one by one."""
    real, documents = _turned(0, 6, 1)
    real = replace(real, weights=np.array([1.0, 2.0, 1.0, 1.0, 0.0, 4.0]))
    settings = replace(QUICK, epochs=1, learning_rate=1e-9)
    trial = choose_share(real, real, documents, [0.0], settings, 1, folds=99)[0]
    assert choose_share(real, real, documents, [0.0], settings, 1, folds=99) == [trial]
    frozen, _ = exact_search(BiEncoder.identity(16).queries(real.queries), documents, 6)
    expected = np.average(reciprocal_rank(hits(frozen, real.targets)), weights=real.weights)
    assert trial.mean == pytest.approx(expected)
    assert trial.error == 0.0


def test_the_smaller_share_within_the_error_is_chosen() -> None:
    trials = [Trial(0.0, 0.70, 0.02), Trial(0.25, 0.79, 0.02), Trial(0.5, 0.80, 0.0), Trial(0.75, 0.795, 0.01)]
    assert chosen(trials, lean=0.0) == 0.5
    assert chosen(trials, lean=0.6) == 0.25
    assert chosen(trials, lean=6.0) == 0.0
    with pytest.raises(NumericsError, match="no trial"):
        chosen([])


def test_a_share_needs_pairs_to_hold_out() -> None:
    real, documents = _turned(0, 6, 1)
    for pairs, shares, folds in ((real.take(np.arange(1)), [0.0], 5), (real, [], 5), (real, [0.0], 1)):
        with pytest.raises(NumericsError, match="cross-validation"):
            choose_share(pairs, real, documents, shares, QUICK, 1, folds=folds)


# Real queries.


@pytest.mark.skipif(not CLINC.is_dir(), reason="the real data are not beside the checkout")
def test_five_queries_of_an_intent_teach_it_to_find_the_intent() -> None:
    """clinc150: requests to an assistant, whose documents are the names of 150 intents."""
    names = [name.replace("_", " ") for name in json.loads((CLINC / "labels.json").read_text(encoding="utf-8"))]
    train, test = (
        [json.loads(line) for line in (CLINC / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("real_train", "real_test")
    )
    labels = np.array([row["label"] for row in train])
    few = np.concatenate([np.flatnonzero(labels == label)[:5] for label in range(150)])
    texts = [train[row]["text"] for row in few]
    lsa = fit_lsa(texts + names, 256)
    documents = lsa.transform(names)
    model = fit(Pairs(lsa.transform(texts), labels[few], np.ones(len(few))), documents, Settings(), 1)
    queries, truth = lsa.transform([row["text"] for row in test]), np.array([row["label"] for row in test])
    found = {}
    for name, encoder in (("frozen", BiEncoder.identity(lsa.dimensions)), ("trained", model)):
        rows, _ = exact_search(encoder.queries(queries), encoder.documents(documents), 1)
        found[name] = recall_at(hits(rows, truth), 1).mean()
    assert found["trained"] > found["frozen"] + 0.15
