"""TF-IDF of words, pairs of words and character n-grams, and a logistic regression: a classifier that reads the text.

Character n-grams do not cross the edge of a word, so that those of a text follow from how often each word stands in it:
one product of sparse matrices, where taking them from each text anew takes several times as long.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from scipy import sparse

from synalign.models.checks import check_setting, usable
from synalign.models.logistic import Constant, spread
from synalign.models.protocol import Examples, Fitted, Inputs

#: A run of letters, digits and underscores, or one of signs: an emoticon or "!!" tells something.
_WORD = re.compile(r"\w+|[^\w\s]+")

#: Lengths of the character n-grams of a word, a blank put before and after it.
_SHORTEST, _LONGEST = 2, 4

#: Letters of a word whose n-grams are taken: a text without blanks counts as one word.
_LETTERS = 200

#: Added to the weighted share of the texts that a term is in before its logarithm is taken. A share, and not a count as
#: in scikit-learn, so that a record that comes twice is one of weight 2.
_SMOOTHING = 1e-3

ItemT = TypeVar("ItemT", bound=Hashable)


@dataclass(frozen=True)
class Tfidf:
    """L2-regularised multinomial logistic regression on TF-IDF vectors of length 1. penalty: of the squared
    coefficients, the inverse of scikit-learn's C."""

    penalty: float = 0.3
    name: str = "tfidf"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_setting(self.name, "penalty", self.penalty, 1e-9)

    def fit(self, examples: Examples, labels: int, seed: int) -> Fitted:
        """See `Classifier.fit`."""
        from sklearn.linear_model import LogisticRegression

        examples = usable(examples, labels)
        codes = examples.labels
        if len(np.unique(codes)) < 2:
            return Constant(int(codes[0]), labels)
        terms, rows = Terms.learn(examples.inputs.texts, examples.weights)
        model = LogisticRegression(C=1.0 / self.penalty, tol=1e-4, max_iter=500, random_state=seed % 2**32)
        model.fit(rows, codes, sample_weight=examples.weights)
        return _FittedTfidf(model, terms, labels)


@dataclass(frozen=True)
class _FittedTfidf:
    model: Any
    terms: Terms
    labels: int

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """See `Fitted.predict_proba`."""
        if not len(inputs):
            return np.zeros((0, self.labels))
        return spread(self.model.predict_proba(self.terms.rows(inputs.texts)), self.model.classes_, self.labels)


@dataclass(frozen=True)
class Terms:
    """What texts are described by. words, pairs, grams: the column of each in its block. idf: of the two blocks, words
    with pairs and grams, float64."""

    words: dict[str, int]
    pairs: dict[tuple[str, str], int]
    grams: dict[str, int]
    idf: tuple[np.ndarray, np.ndarray]

    @classmethod
    def learn(cls, texts: Sequence[str], weights: np.ndarray) -> tuple[Terms, Any]:
        """Return the terms of n >= 1 texts, and the rows of the texts.

        A pair of words that one text alone has, and an n-gram that one word alone has, are left out: they say what the
        text's words, or the word, say already. Texts that are equal count once for this, whatever their weights.
        """
        texts, place = _distinct(texts)
        tokens = [_tokens(text) for text in texts]
        words = _number(token for row in tokens for token in row)
        pairs = _common(set(pairwise(row)) for row in tokens)
        grams = _common(set(_grams(word)) for word in words)
        blank = cls(words, pairs, grams, (np.ones(len(words) + len(pairs)), np.ones(len(grams))))
        counts = blank._counts(tokens)
        share = np.bincount(place, weights=weights) / weights.sum()
        idf = [1.0 - np.log((share @ (block > 0) + _SMOOTHING) / (1.0 + _SMOOTHING)) for block in counts]
        terms = cls(words, pairs, grams, (idf[0], idf[1]))
        return terms, terms._rows(counts)[place]

    def rows(self, texts: Sequence[str]) -> Any:
        """Return the rows of texts, float64 csr [n, terms]; that of a text without a known term is zero."""
        texts, place = _distinct(texts)
        return self._rows(self._counts([_tokens(text) for text in texts]))[place]

    def _counts(self, tokens: list[list[str]]) -> tuple[Any, Any]:
        """Return how often each term of the two blocks stands in each text."""
        known = _number(token for row in tokens for token in row)
        by_word = _matrix(tokens, known)
        spelled = _matrix([_grams(word) for word in known], self.grams)
        words = _matrix(tokens, self.words)
        pairs = _matrix([list(pairwise(row)) for row in tokens], self.pairs)
        return sparse.hstack([words, pairs], format="csr"), (by_word @ spelled).tocsr()

    def _rows(self, counts: tuple[Any, Any]) -> Any:
        blocks = []
        for block, idf in zip(counts, self.idf, strict=True):
            rows = block.copy()
            rows.data = (1.0 + np.log(rows.data)) * idf[rows.indices]
            lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
            # Both blocks of length 1 / sqrt(2): a row is of length 1.
            rows.data /= np.repeat(np.sqrt(2.0) * lengths, np.diff(rows.indptr))
            blocks.append(rows)
        # A column of zeros: the regression takes no matrix without columns.
        return sparse.hstack([*blocks, sparse.csr_matrix((blocks[0].shape[0], 1))], format="csr")


def _distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the distinct texts and where each text is among them."""
    places = _number(texts)
    return list(places), np.array([places[text] for text in texts], dtype=np.int64)


def _tokens(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def _grams(word: str) -> list[str]:
    edged = f" {word[:_LETTERS]} "
    return [edged[at : at + size] for size in range(_SHORTEST, _LONGEST + 1) for at in range(len(edged) - size + 1)]


def _number(items: Iterable[ItemT]) -> dict[ItemT, int]:
    """Number the distinct items, in the order in which they first come."""
    return {item: number for number, item in enumerate(dict.fromkeys(items))}


def _common(groups: Iterable[set[ItemT]]) -> dict[ItemT, int]:
    """Number the items that two groups or more hold, in their own order: that of a set is another in each process."""
    seen: set[ItemT] = set()
    again: set[ItemT] = set()
    for group in groups:
        again |= group & seen
        seen |= group
    return _number(sorted(again, key=str))


def _matrix(rows: Sequence[Sequence[ItemT]], columns: dict[ItemT, int]) -> Any:
    """Return how often each item that has a column stands in each row, float64 csr."""
    found = [[columns[item] for item in row if item in columns] for row in rows]
    edges = np.concatenate([[0], np.cumsum([len(row) for row in found])])
    indices = np.fromiter((column for row in found for column in row), dtype=np.int64, count=int(edges[-1]))
    matrix = sparse.csr_matrix((np.ones(len(indices)), indices, edges), shape=(len(rows), len(columns)))
    matrix.sum_duplicates()
    return matrix
