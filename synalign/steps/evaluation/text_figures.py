"""The figures of `text_quality`, side by side for real, raw and weighted texts. The relation `metrics` explains them.

Two kinds. Sums over texts (lengths, rates, leakage) use each side's weights as they are. What depends on how many texts
there are (distinct n-grams, self-BLEU, vocabulary, distances, MAUVE) is computed on the same number of texts of each
side, over ROUNDS random halves of them: see `synalign.numerics.statistics.intervals`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from synalign.ids import child_seed
from synalign.llm.validation.leakage import Leakage
from synalign.llm.validation.texts import Coder, Form, form, marks, word_tokens
from synalign.numerics.statistics.diversity import (
    Coded,
    covered_share,
    distinct_share,
    divergence,
    earth_movers,
    grams,
    jaccard,
    known_words,
    self_bleu,
)
from synalign.numerics.statistics.intervals import (
    Interval,
    quantile_interval,
    ratio_interval,
    share_interval,
    subsample_interval,
)
from synalign.numerics.statistics.mauve import cluster_count, curve_area, quantise
from synalign.steps.evaluation.text_samples import REAL_SIDE, Texts, TextSide

#: Random halves of the texts of a side that figures are computed on; of those that take long, fewer.
ROUNDS, SLOW_ROUNDS = 100, 20

#: Clusterings that MAUVE is averaged over: of 300 and 872 film reviews, single ones gave .72 and .87.
CLUSTERINGS = 8

#: Texts among which self-BLEU is computed, at most: Texygen's number.
BLEU_TEXTS = 500

#: n of the n-grams that are counted.
ORDERS = (1, 2, 3)

_QUANTILES = {"q10": 0.1, "median": 0.5, "q90": 0.9}
#: Rates: what is counted, and in what.
_RATIOS = {
    "punctuation_rate": ("marks", "visible"),
    "uppercase_rate": ("capitals", "letters"),
    "digit_rate": ("digits", "visible"),
}
_SHARES = {"emoji_rate": "emoji", "url_rate": "urls"}

Row = dict[str, Any]


def figures(texts: Texts, leakage: Leakage, base: Leakage, seed: int) -> Iterator[Row]:
    """Yield the rows of `metrics`: metric, scope, value, low, high and sizes. One that cannot be computed is left out;
    `texts.notes` then says why. `leakage` is into synthetic texts, `base` into the real ones it is held against."""
    coder, marker = Coder(word_tokens), Coder(marks)
    reference = _Reference(
        coded(coder, texts.reference), coded(marker, texts.reference), form(texts.reference), texts.vectors
    )
    for side in texts.sides:
        for metric, found, size in _sums(side, reference, coder, seed):
            yield _metric_row(side, metric, found, len(side.texts), size)
        into, sources = (base, texts.others) if side.scope == REAL_SIDE else (leakage, texts.sources)
        for kind, present in into.of(side.texts).items():
            if kind != "test_copy" or side.scope != REAL_SIDE:
                yield _metric_row(side, kind, share_interval(present, side.weights), len(side.texts), len(sources))
    real = next((side for side in texts.sides if side.scope == REAL_SIDE), None)
    copies = leakage.of(texts.reference).get("test_copy")
    if real is not None and copies is not None:
        # Of real texts, it is the training ones that may stand in the test split.
        yield _metric_row(real, "test_copy", share_interval(copies), len(texts.reference), None)
    drawn = [_Drawn(side, coded(coder, side.drawn), seed) for side in texts.sides if side.drawn]
    yield from _sized(drawn, reference, marker, texts.notes, seed)


def coded(coder: Coder, texts: list[str]) -> Coded:
    """Return texts as codes."""
    return Coded(*coder.code(texts))


class _Reference:
    """Real training texts, ready to be compared with."""

    def __init__(self, tokens: Coded, found_marks: Coded, lengths: Form, vectors: np.ndarray) -> None:
        self.tokens, self.marks, self.form, self.vectors = tokens, found_marks, lengths, vectors
        self.vocabulary = np.unique(tokens.values)

    def __len__(self) -> int:
        return len(self.tokens)

    def jaccard(self, values: np.ndarray) -> float:
        """Return how much of both vocabularies is common to both."""
        return jaccard(values, self.vocabulary)

    def covered(self, values: np.ndarray) -> float:
        """Return the share of the words of these texts that are among the values."""
        return covered_share(values, self.tokens.values)


class _Drawn:
    """The texts of one side that figures which depend on their number are computed on, in random orders."""

    def __init__(self, side: TextSide, tokens: Coded, seed: int) -> None:
        self.side, self.grams = side, {n: grams(tokens, n) for n in ORDERS}
        self.tokens = tokens
        self.seed = child_seed(seed, side.scope, "rounds")
        random = np.random.default_rng(self.seed)
        self.orders = [random.permutation(len(tokens)) for _ in range(ROUNDS)]

    def halves(self, size: int, rounds: int = ROUNDS) -> list[np.ndarray]:
        """Return rows of `size` texts, round by round."""
        return [order[:size] for order in self.orders[:rounds]]


def _sums(side: TextSide, reference: _Reference, coder: Coder, seed: int) -> Iterator[tuple[str, Interval, int | None]]:
    found = form(side.texts)
    start = child_seed(seed, side.scope, "bootstrap")
    for unit in ("words", "characters"):
        for name, quantile in _QUANTILES.items():
            yield f"{unit}_{name}", quantile_interval(getattr(found, unit), quantile, start, side.weights), None
    for metric, (above, below) in _RATIOS.items():
        ratio = ratio_interval(getattr(found, above), getattr(found, below), start, side.weights)
        if ratio is not None:
            yield metric, ratio, None
    for metric, trait in _SHARES.items():
        yield metric, share_interval(getattr(found, trait), side.weights), None
    tokens = coded(coder, side.texts)
    owner = np.repeat(np.arange(len(tokens)), tokens.lengths)
    known = np.bincount(owner, known_words(tokens.values, reference.vocabulary), len(tokens))
    ratio = ratio_interval(known, tokens.lengths, start, side.weights)
    if ratio is not None:
        yield "vocabulary_known", ratio, len(reference)


def _sized(drawn: list[_Drawn], reference: _Reference, marker: Coder, notes: list[str], seed: int) -> Iterator[Row]:
    """Yield what depends on the number of texts: half as many as were drawn, the same on each side."""
    if not drawn:
        return
    half = len(drawn[0].tokens) // 2
    for n in ORDERS:
        size = min(len(one.grams[n].values) for one in drawn) // 2
        if not size:
            notes.append(f"distinct_{n} is left out: the texts of a side hold next to no runs of {n} words")
            continue
        yield from _on_words(drawn, f"distinct_{n}", n, size, distinct_share)
        if n == 1:
            yield from _on_words(drawn, "vocabulary_jaccard", n, size, reference.jaccard, len(reference))
            if len(reference.vocabulary):
                yield from _on_words(drawn, "vocabulary_covered", n, size, reference.covered, len(reference))
    count = min(BLEU_TEXTS, half)
    for one in drawn:
        scores = [self_bleu(one.tokens.choose(rows)) for rows in one.halves(count, SLOW_ROUNDS)]
        yield _metric_row(one.side, "self_bleu", subsample_interval(scores, count / len(one.tokens), 1.0), count, None)
        yield from _distances(one, half, reference, marker, seed)


def _on_words(
    drawn: list[_Drawn],
    metric: str,
    n: int,
    size: int,
    compute: Callable[[np.ndarray], float],
    reference: int | None = None,
) -> Iterator[Row]:
    """Yield a figure of the first `size` n-grams of each order of the texts of each side."""
    for one in drawn:
        found = one.grams[n]
        values = [compute(found.of(order, size)) for order in one.orders]
        interval = subsample_interval(values, size / len(found.values), 1.0)
        yield _metric_row(one.side, metric, interval, len(one.tokens), reference)


def _distances(one: _Drawn, half: int, reference: _Reference, marker: Coder, seed: int) -> Iterator[Row]:
    """Yield how far lengths, marks and vectors of a side are from the reference's."""
    here, there = form(one.side.drawn), reference.form
    found_marks = coded(marker, one.side.drawn)
    usual = np.bincount(reference.marks.values, minlength=len(marker))
    computed: dict[str, tuple[Callable[[np.ndarray], float], float]] = {
        "words_distance": (lambda rows: earth_movers(here.words[rows], there.words), np.inf),
        "characters_distance": (lambda rows: earth_movers(here.characters[rows], there.characters), np.inf),
        "punctuation_divergence": (
            lambda rows: divergence(np.bincount(found_marks.of(rows), minlength=len(usual)), usual),
            1.0,
        ),
    }
    for metric, (compute, most) in computed.items():
        values = [compute(rows) for rows in one.halves(half)]
        interval = subsample_interval(values, half / len(one.tokens), most)
        yield _metric_row(one.side, metric, interval, len(one.tokens), len(reference))
    areas = [_areas(one, half, reference, repeat, seed) for repeat in range(CLUSTERINGS)]
    interval = subsample_interval(areas, half / len(one.tokens), 1.0)
    yield _metric_row(one.side, "mauve", interval, len(one.tokens), len(reference))


def _areas(one: _Drawn, half: int, reference: _Reference, repeat: int, seed: int) -> list[float]:
    """Return MAUVE by one clustering of all vectors, of some of the halves, others than of the other clusterings."""
    wanted = cluster_count(len(reference), half)
    mine, labels = quantise(reference.vectors, one.side.vectors, wanted, child_seed(seed, "clusters", repeat))
    size = int(max(mine.max(), labels.max())) + 1
    counts = np.bincount(mine, minlength=size)
    rounds = one.halves(half)[repeat::CLUSTERINGS][: ROUNDS // CLUSTERINGS]
    return [curve_area(counts, np.bincount(labels[rows], minlength=size)) for rows in rounds]


def _metric_row(side: TextSide, metric: str, found: Interval, size: int, reference: int | None) -> Row:
    sizes = (size, None) if side.scope == REAL_SIDE else (reference, size)
    return {
        "metric": metric,
        "scope": side.scope,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "real_records": sizes[0],
        "synthetic_records": sizes[1],
    }
