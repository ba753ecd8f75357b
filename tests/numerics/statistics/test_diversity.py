from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from synalign.errors import NumericsError
from synalign.numerics.statistics.diversity import (
    Coded,
    covered_share,
    distinct_share,
    divergence,
    earth_movers,
    grams,
    jaccard,
    self_bleu,
)

Texts = list[list[int]]
SOME_TEXTS = st.lists(st.lists(st.integers(0, 5), max_size=8), min_size=2, max_size=7)
SMALL = settings(max_examples=80, deadline=None)


def coded(texts: Texts) -> Coded:
    flat = [code for text in texts for code in text]
    return Coded(np.array(flat, dtype=np.int64), np.cumsum([0, *map(len, texts)]))


def spelt(texts: list[str]) -> Coded:
    codes: dict[str, int] = {}
    return coded([[codes.setdefault(word, len(codes)) for word in text.split()] for text in texts])


def runs(text: list[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(text[place : place + n]) for place in range(len(text) - n + 1)]


@given(SOME_TEXTS, st.integers(1, 4))
@SMALL
def test_grams_are_the_runs_within_each_text(texts: Texts, n: int) -> None:
    found = grams(coded(texts), n)
    expected = [run for text in texts for run in runs(text, n)]
    assert found.lengths.tolist() == [len(runs(text, n)) for text in texts]
    assert len(found.values) == len(expected)
    # One code for each run, and the other way round.
    assert len(set(zip(found.values.tolist(), expected, strict=True))) == len(set(expected)) == len(set(found.values))


@given(SOME_TEXTS, st.data())
@SMALL
def test_texts_are_chosen_in_any_order(texts: Texts, data: st.DataObject) -> None:
    rows = data.draw(st.permutations(range(len(texts))))
    most = data.draw(st.integers(0, 20))
    flat = [code for row in rows for code in texts[row]]
    assert coded(texts).of(rows).tolist() == flat
    assert coded(texts).of(rows, most).tolist() == flat[:most]
    assert coded(texts).choose(rows).lengths.tolist() == [len(texts[row]) for row in rows]


def test_distinct_shares() -> None:
    texts = spelt(["a b a b", "a b c", "d"])
    assert distinct_share(grams(texts, 1).values) == 4 / 8
    assert distinct_share(grams(texts, 2).values) == 3 / 5  # ab ba ab, ab bc
    assert distinct_share(grams(texts, 3).values) == 3 / 3
    with pytest.raises(NumericsError):
        distinct_share(grams(texts, 5).values)


def naive_bleu(text: list[int], others: Texts, words: int) -> float:
    """By the definition, one n-gram after the other."""
    if not text or not set(text) & {code for other in others for code in other}:
        return 0.0
    logs = 0.0
    for n in range(1, words + 1):
        counts = Counter(runs(text, n))
        most = Counter()
        for other in others:
            most |= Counter(runs(other, n))
        shared = sum(min(count, most[run]) for run, count in counts.items())
        logs += math.log((shared or 0.1) / max(1, sum(counts.values()))) / words
    nearest = min((abs(len(other) - len(text)), len(other)) for other in others)[1]
    return math.exp(logs) * (1 if nearest <= len(text) else math.exp(1 - nearest / len(text)))


@given(SOME_TEXTS, st.integers(1, 4))
@SMALL
def test_self_bleu_is_the_mean_bleu_against_all_others(texts: Texts, words: int) -> None:
    expected = [naive_bleu(text, texts[:row] + texts[row + 1 :], words) for row, text in enumerate(texts)]
    assert self_bleu(coded(texts), words) == pytest.approx(np.mean(expected), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("texts", "nltk"),
    [
        (["the cat sat on the mat", "the cat sat on a mat", "a dog ran"], 0.3804751552201811),
        (["red red red red", "red red blue", "blue"], 0.1281690319002392),
    ],
)
def test_self_bleu_is_that_of_nltk(texts: list[str], nltk: float) -> None:
    """Second opinion, computed once with nltk 3.10: sentence_bleu, weights 1/4, SmoothingFunction().method1."""
    assert self_bleu(spelt(texts)) == pytest.approx(nltk, rel=1e-12)


def test_self_bleu_at_its_ends() -> None:
    assert self_bleu(spelt(["one and the same text"] * 5)) == pytest.approx(1)
    assert self_bleu(spelt(["a b c d e", "f g h i j", "k l m n o"])) == 0
    assert self_bleu(coded([[], []])) == 0
    with pytest.raises(NumericsError):
        self_bleu(coded([[1, 2]]))


def test_vocabularies_in_common() -> None:
    one, other = np.array([1, 1, 2, 3]), np.array([2, 3, 3, 4])
    assert jaccard(one, other) == 2 / 4
    assert covered_share(one, other) == 3 / 4
    assert covered_share(other, one) == 2 / 4
    assert jaccard(one[:0], other[:0]) == 1
    assert jaccard(one[:0], other) == 0
    with pytest.raises(NumericsError):
        covered_share(one, other[:0])


def test_divergence_is_the_mean_entropy_to_the_mixture() -> None:
    p, q = np.array([3.0, 1.0, 0.0]), np.array([1.0, 1.0, 2.0])
    mixed = p / 4 + q / 4
    expected = (entropy(p, mixed, base=2) + entropy(q, mixed, base=2)) / 2
    assert divergence(p, q) == pytest.approx(expected)
    assert divergence(p, 7 * p) == pytest.approx(0, abs=1e-12)
    assert divergence([1, 0], [0, 1]) == pytest.approx(1)


def test_earth_movers_distance_is_a_shift() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert earth_movers(values, values + 3) == pytest.approx(3)
    assert earth_movers([0, 0, 6], [0]) == pytest.approx(2)
    with pytest.raises(NumericsError):
        earth_movers([], [1.0])
