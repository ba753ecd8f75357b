from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from synalign.models.protocol import Examples, Inputs
from synalign.models.tfidf import Terms, Tfidf, _grams, _tokens

TEXTS = ["The parcel is late", "the parcel came :-) !!", "", "late late parcels", "the parcel came :-) !!"]


def _inputs(texts: list[str]) -> Inputs:
    return Inputs(np.zeros((len(texts), 2), np.float32), texts)


def _counted(texts: list[str], names: dict[str, int], grams: bool) -> np.ndarray:
    """Counts by scikit-learn, of the same words."""
    analyzer = (lambda text: [gram for word in _tokens(text) for gram in _grams(word)]) if grams else _tokens
    return CountVectorizer(analyzer=analyzer, vocabulary=names).fit_transform(texts).toarray()


def test_tokens_and_ngrams() -> None:
    assert _tokens("Don't! :-) \uff26oo_1") == ["don", "'", "t", "!", ":-)", "foo_1"]
    assert _grams("ab") == [" a", "ab", "b ", " ab", "ab ", " ab "]
    assert len(_grams("x" * 10_000)) < 700


def test_rows_against_scikit_learns_counts() -> None:
    weights = np.array([1.0, 2.0, 0.5, 4.0, 1.0])
    terms, found = Terms.learn(TEXTS, weights)
    assert set(terms.pairs) == {("the", "parcel")}, "only equal texts share another pair"
    assert "mat" not in terms.grams, "no word has it"
    assert "parc" in terms.grams, "parcel and parcels have it"
    assert ":-)" in terms.words
    assert ":-) " not in terms.grams, "one word alone has it"
    blocks = []
    # Three texts begin with "the parcel".
    pairs = np.array([[1], [1], [0], [0], [1]])
    for names, grams, idf in ((terms.words, False, terms.idf[0]), (terms.grams, True, terms.idf[1])):
        counts = _counted(TEXTS, names, grams)
        counts = counts if grams else np.concatenate([counts, pairs], axis=1)
        with np.errstate(divide="ignore"):
            rows = np.where(counts > 0, 1 + np.log(counts), 0.0) * idf
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        blocks.append(rows / np.where(lengths > 0, lengths, 1) / math.sqrt(2))
    np.testing.assert_allclose(found.toarray()[:, :-1], np.concatenate(blocks, axis=1), atol=1e-12)
    np.testing.assert_allclose(terms.rows(TEXTS).toarray(), found.toarray(), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found.toarray(), axis=1), [1, 1, 0, 1, 1])
    # The share of the weight whose text has "late": the first and the fourth.
    assert terms.idf[0][terms.words["late"]] == pytest.approx(1 - math.log((5 / 8.5 + 1e-3) / 1.001))


def test_copies_and_their_weight_are_the_same_terms() -> None:
    by_weight, _ = Terms.learn(TEXTS[:4], np.array([1.0, 2.0, 1.0, 1.0]))
    by_copies, _ = Terms.learn(TEXTS, np.ones(5))
    assert by_weight.grams == by_copies.grams
    np.testing.assert_allclose(by_weight.idf[1], by_copies.idf[1], atol=1e-12)


def test_weights_are_repetition() -> None:
    random = np.random.default_rng(0)
    words = ["late", "lost", "fine", "parcel", "box", "lovely"]
    texts = [" ".join(random.choice(words, 5)) for _ in range(30)]
    codes = np.array([("late" in text) + ("lost" in text) for text in texts], dtype=np.int64)
    counts = random.integers(0, 4, 30)
    many = np.repeat(np.arange(30), counts)
    by_weight = Tfidf(1.0).fit(Examples(_inputs(texts), codes, counts * 1.0), 3, 0).predict_proba(_inputs(texts))
    copied = Examples(_inputs([texts[row] for row in many]), codes[many], np.ones(len(many)))
    by_copies = Tfidf(1.0).fit(copied, 3, 0).predict_proba(_inputs(texts))
    np.testing.assert_allclose(by_weight, by_copies, atol=2e-3)


def test_texts_without_a_known_term_get_the_weighted_shares() -> None:
    given = Examples(_inputs(["", " ", "\n"]), np.array([0, 1, 1]), np.array([1.0, 1.0, 2.0]))
    found = Tfidf().fit(given, 2, 0).predict_proba(_inputs(["zebra", "", "\ud800"]))
    np.testing.assert_allclose(found, [[0.25, 0.75]] * 3, atol=1e-3)


def test_text_without_blanks_is_told_apart() -> None:
    texts = ["很高兴收到包裹", "包裹坏了要退款", "很高兴谢谢", "坏了退款"] * 3
    fitted = Tfidf().fit(Examples(_inputs(texts), np.arange(12) % 2, np.ones(12)), 2, 0)
    assert fitted.predict_proba(_inputs(["我很高兴", "我要退款"])).argmax(axis=1).tolist() == [0, 1]
