"""How varied the texts of a sample are, and how far its words and lengths are from those of another: on coded words.

Distinct n-grams: Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models", NAACL 2016; on
a fixed number of n-grams, since longer samples repeat themselves more. Self-BLEU: Zhu et al., "Texygen", SIGIR 2018.
BLEU is that of Papineni et al. 2002 with the smoothing of Chen and Cherry 2014, method 1, as nltk has it; all clipped
counts come from one sorting of the n-grams, so that the time grows with the text and not with its square.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_weights, check_count

#: n-grams up to this many words make a BLEU.
BLEU_WORDS = 4

# What stands for no match in a precision: Chen and Cherry's epsilon, as in nltk.
_EPSILON = 0.1


@dataclass(frozen=True)
class Coded:
    """What n texts consist of, in order: values int64 [total], codes from 0; starts int64 [n + 1], where each text
    begins."""

    values: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """How many codes each text has, int64 [n]."""
        return np.diff(self.starts)

    def of(self, rows: Any, most: int | None = None) -> np.ndarray:
        """Return the codes of some texts, in their order, int64; the first `most` of them if that is given."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        if most is not None and len(rows):
            kept = int(np.searchsorted(ends, most)) + 1
            rows, lengths, ends = rows[:kept], lengths[:kept], ends[:kept]
        total = int(ends[-1]) if len(ends) else 0
        places = np.arange(total) + np.repeat(self.starts[rows] - (ends - lengths), lengths)
        return self.values[places if most is None else places[:most]]

    def choose(self, rows: Any) -> Coded:
        """Return some texts, in the order of `rows`."""
        rows = np.asarray(rows, dtype=np.int64)
        return Coded(self.of(rows), np.concatenate([[0], np.cumsum(self.lengths[rows])]))


def grams(texts: Coded, n: int) -> Coded:
    """Return the runs of n codes within each text, coded anew from 0; a shorter text has none.

    Raises:
        NumericsError: if n is below 1.
    """
    check_count("n", n, 1, 100, "words")
    found = texts
    base = int(texts.values.max(initial=0)) + 1
    for size in range(2, n + 1):
        place = np.arange(len(found.values)) - np.repeat(found.starts[:-1], found.lengths)
        followed = place < np.repeat(found.lengths - 1, found.lengths)
        last = np.arange(len(texts.values)) - np.repeat(texts.starts[:-1], texts.lengths) >= size - 1
        pairs = found.values[followed] * base + texts.values[last]
        lengths = np.maximum(texts.lengths - (size - 1), 0)
        found = Coded(np.unique(pairs, return_inverse=True)[1], np.concatenate([[0], np.cumsum(lengths)]))
    return found


def distinct_share(values: np.ndarray) -> float:
    """Return the number of different codes, from 0, over the number of codes.

    Raises:
        NumericsError: if there are none.
    """
    check_count("the number of values", len(values), 1, 2**31, "codes")
    return int(np.count_nonzero(np.bincount(values))) / len(values)


def self_bleu(texts: Coded, words: int = BLEU_WORDS) -> float:
    """Return the mean BLEU of each text with all others as its references: 1 if all are equal, near 0 if nothing is
    shared.

    n-grams of 1 to `words` words count alike. A text that shares no word with any other has 0, as nltk has it.

    Raises:
        NumericsError: if there are fewer than two texts, or `words` is below 1.
    """
    check_count("the number of texts", len(texts), 2, 2**31, "texts")
    lengths = texts.lengths
    logs = np.zeros(len(texts))
    matched = np.zeros(len(texts), dtype=bool)
    for n in range(1, words + 1):
        found = grams(texts, n)
        shared = _clipped(found)
        if n == 1:
            matched = shared > 0
        precision = np.where(shared > 0, shared, _EPSILON) / np.maximum(found.lengths, 1)
        logs += np.log(precision) / words
    scores = np.where(matched, _brevity(lengths) * np.exp(logs), 0.0)
    return float(scores.mean())


def known_words(values: np.ndarray, vocabulary: np.ndarray) -> np.ndarray:
    """Return which codes are in a vocabulary, bool [n]. vocabulary: int64, the codes that are."""
    return np.isin(values, vocabulary)


def jaccard(values: np.ndarray, others: np.ndarray) -> float:
    """Return how many different codes both have, over how many either has; 1 if neither has any."""
    here, there = np.unique(values), np.unique(others)
    both = len(np.intersect1d(here, there, assume_unique=True))
    either = len(here) + len(there) - both
    return both / either if either else 1.0


def covered_share(values: np.ndarray, others: np.ndarray) -> float:
    """Return the share of the codes of `others` that occur among `values`, each as often as it stands there.

    Raises:
        NumericsError: if `others` is empty.
    """
    check_count("the number of others", len(others), 1, 2**31, "codes")
    return float(known_words(others, np.unique(values)).mean())


def divergence(a: Any, b: Any) -> float:
    """Return the Jensen-Shannon divergence of two vectors of shares in bits, from 0 (the same) to 1 (nothing in
    common).

    a and b, float [c], are not negative and of any scale; entry i of both is the same thing.

    Raises:
        NumericsError: if they are not finite vectors of one length, or hold a negative or no positive value.
    """
    from scipy.spatial.distance import jensenshannon

    size = np.size(a)
    p, q = as_weights("a", np.asarray(a), size), as_weights("b", np.asarray(b), size)
    return min(1.0, float(jensenshannon(p, q, base=2)) ** 2)


def earth_movers(values: Any, others: Any) -> float:
    """Return the Wasserstein distance of two samples of numbers, in their unit: how far the values would have to move
    on average.

    Raises:
        NumericsError: if one is empty.
    """
    from scipy.stats import wasserstein_distance

    for name, array in (("values", values), ("others", others)):
        if not np.size(array):
            raise NumericsError(f"{name} must hold at least one number.")
    return float(wasserstein_distance(values, others))


def _clipped(found: Coded) -> np.ndarray:
    """Return for each text how many of its n-grams other texts have, each at most as often as one of them, [n]."""
    size = int(found.values.max(initial=0)) + 1
    owner = np.repeat(np.arange(len(found)), found.lengths)
    pairs, counts = np.unique(owner * size + found.values, return_counts=True)
    owner, gram = pairs // size, pairs % size
    order = np.lexsort((-counts, gram))
    owner, gram, counts = owner[order], gram[order], counts[order]
    first = np.flatnonzero(np.diff(gram, prepend=-1))
    most, second = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    most[gram[first]] = counts[first]
    alone = np.diff(np.append(first, len(gram))) == 1
    second[gram[first[~alone]]] = counts[first[~alone] + 1]
    is_first = np.zeros(len(gram), dtype=bool)
    is_first[first] = True
    # Of a text that has an n-gram more often than all others, the next one is the best reference.
    elsewhere = np.where(is_first, second[gram], most[gram])
    return np.bincount(owner, np.minimum(counts, elsewhere), minlength=len(found))


def _brevity(lengths: np.ndarray) -> np.ndarray:
    """Return the brevity penalty of each text, [n]: against the other one whose length is nearest, of two the shorter.

    The texts themselves are the references, so that it depends on their lengths alone.
    """
    kinds, counts = np.unique(lengths, return_counts=True)
    nearest = np.empty(len(kinds), dtype=np.int64)
    for place, length in enumerate(kinds):
        if counts[place] > 1 or len(kinds) == 1:
            nearest[place] = length
            continue
        beside = kinds[[other for other in (place - 1, place + 1) if 0 <= other < len(kinds)]]
        nearest[place] = beside[np.argmin(np.abs(beside - length))]
    reference = nearest[np.searchsorted(kinds, lengths)]
    short = (lengths < reference) & (lengths > 0)
    penalty = np.ones(len(lengths))
    penalty[short] = np.exp(1 - reference[short] / lengths[short])
    return penalty
