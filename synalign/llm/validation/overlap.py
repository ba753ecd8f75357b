"""How much one text has in common with others, exactly: near copies by their pieces, copies by their longest run.

Near copies: Jaccard similarity of the sets of 3-character pieces, found by prefix filtering (Chaudhuri, Ganti and
Kaushik 2006) with the positional filter of PPJoin (Xiao et al. 2008). No approximation: what is skipped cannot reach
the threshold. Copies: all runs of four words of the given texts as sorted integers; two runs of four that follow each
other on both sides make one of five, and so on.
"""

from __future__ import annotations

import math
import re
import unicodedata
from array import array
from collections.abc import Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

K = TypeVar("K", bound=Hashable)

#: Length in characters of the pieces that are compared to find a near copy.
SHINGLE = 3

#: The shortest run of words that `SharedRuns` sees.
SHORTEST_RUN = 4

# Scripts that are written without spaces: Thai, Lao, Myanmar, Khmer, kana, Han. Each character counts as a word.
_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u1049\u1780-\u17d3\u3005\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
# Marks that belong to a word but are no word characters to `re`: accents, Hebrew and Arabic points, Indic vowels.
_MARKS = "\u0300-\u036f\u0591-\u05bd\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff\u200d"
_LETTER = rf"(?:[^\W{_UNSPACED}]|[{_MARKS}])"
_WORD = re.compile(rf"[{_UNSPACED}]|{_LETTER}+(?:'{_LETTER}+)*")
_ASCII_WORD = re.compile(r"\w+(?:'\w+)*", re.ASCII)
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")

# Texts after whose number the pieces are ranked anew by how rare they are, and again whenever the number has doubled.
_FIRST_RANKING = 500


def normalise(text: str) -> str:
    """Return the form in which texts are compared: NFC, case folded, runs of white space as one space."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFC", text).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def words(text: str) -> list[str]:
    """Return the words of the normalised text without punctuation; in scripts without spaces, its characters."""
    key = normalise(text)
    return _ASCII_WORD.findall(key) if key.isascii() else _WORD.findall(key.replace("\u2019", "'"))


def word_count(tokens: Sequence[str]) -> float:
    """Return how many words the tokens of `words` are worth: a character of a script without spaces is half a word."""
    return sum(0.5 if _IS_UNSPACED.match(token) else 1.0 for token in tokens)


def shingles(key: str) -> frozenset[str]:
    """Return all pieces of SHINGLE characters of a normalised text; of a shorter one that is not empty, itself."""
    if len(key) < SHINGLE:
        return frozenset([key]) if key else frozenset()
    return frozenset([key[start : start + SHINGLE] for start in range(len(key) - SHINGLE + 1)])


class NearCopies(Generic[K]):
    """Texts added one by one, of which the most similar to a given one is found.

    Args:
        threshold: the least Jaccard similarity that counts, above 0 and up to 1.
    """

    def __init__(self, threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
        self.threshold = threshold
        self._keys: list[K] = []
        self._pieces: list[
            array[int]
        ] = []  # of each text: the numbers of its pieces, those that come first by rank first
        self._numbers: dict[str, int] = {}
        self._frequency: list[int] = []
        self._rank: list[int] = []
        self._postings: dict[int, list[tuple[int, int, int]]] = {}
        self._rank_at = _FIRST_RANKING

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, text: str, key: K) -> None:
        """Remember a text under a key, which may be any value; a text without characters is not remembered."""
        pieces = shingles(normalise(text))
        if not pieces:
            return
        numbers = []
        for piece in sorted(pieces):  # sets of strings have another order in each process
            number = self._numbers.get(piece)
            if number is None:
                number = self._numbers[piece] = len(self._rank)
                self._frequency.append(0)
                self._rank.append(-1 - number)  # what is new is rarer than all before
            self._frequency[number] += 1
            numbers.append(number)
        self._keys.append(key)
        self._pieces.append(array("i", sorted(numbers, key=self._rank.__getitem__)))
        self._post(len(self._pieces) - 1)
        if len(self._pieces) >= self._rank_at:
            self._rank_anew()

    def nearest(self, text: str) -> tuple[float, K] | None:
        """Return the similarity and key of the most similar text; None if none reaches the threshold.

        Of several that are equally similar, it is the one that was added first.
        """
        pieces = shingles(normalise(text))
        size = len(pieces)
        if not size or not self._keys:
            return None
        known = [number for number in map(self._numbers.get, pieces) if number is not None]
        known.sort(key=self._rank.__getitem__)
        unknown = size - len(known)  # rarer than all: they hold the first places of the prefix
        have = set(known)
        best, found = self.threshold, -1
        seen: set[int] = set()
        smallest, largest = _ceil(best * size), math.floor(size / best + 1e-9)
        wanted = [_ceil(best / (1 + best) * (size + other)) for other in range(smallest, largest + 1)]
        for place, number in enumerate(known[: max(0, size - smallest + 1 - unknown)], start=unknown):
            for text_number, other_size, other_place in self._postings.get(number, ()):
                if not smallest <= other_size <= largest or text_number in seen:
                    continue
                seen.add(text_number)
                # Both lists have one order, and this is the first piece in common: what comes before it is not shared.
                if min(size - place, other_size - other_place) < wanted[other_size - smallest]:
                    continue
                shared = len(have.intersection(self._pieces[text_number]))
                similarity = shared / (size + other_size - shared)
                if similarity > best or (similarity == best and (found < 0 or text_number < found)):
                    best, found = similarity, text_number
        return None if found < 0 else (best, self._keys[found])

    def _post(self, text_number: int) -> None:
        numbers = self._pieces[text_number]
        size = len(numbers)
        for place in range(size - _ceil(self.threshold * size) + 1):
            self._postings.setdefault(numbers[place], []).append((text_number, size, place))

    def _rank_anew(self) -> None:
        """Put rare pieces first: prefixes then have few others in common with them. The order must be one for all."""
        order = sorted(range(len(self._rank)), key=lambda number: (self._frequency[number], number))
        for rank, number in enumerate(order):
            self._rank[number] = rank
        self._postings = {}
        for text_number, numbers in enumerate(self._pieces):
            self._pieces[text_number] = array("i", sorted(numbers, key=self._rank.__getitem__))
            self._post(text_number)
        self._rank_at *= 2


class SharedRun(NamedTuple):
    """The longest run of words that a text shares with another: as a share of its words, in words, where, and which."""

    share: float
    words: int
    source: int
    run: tuple[str, ...]


class SharedRuns:
    """Texts prepared for many questions: which of them shares the longest run of consecutive words with a text?"""

    def __init__(self, texts: Sequence[str]) -> None:
        vocabulary: dict[str, int] = {}
        flat: list[int] = []
        starts: list[int] = []
        sources: list[int] = []
        seen: set[tuple[int, ...]] = set()
        for source, text in enumerate(texts):
            numbers = tuple([vocabulary.setdefault(word, len(vocabulary) + 1) for word in words(text)])
            # A text that stands there often adds nothing but time.
            if len(numbers) >= SHORTEST_RUN and numbers not in seen:
                seen.add(numbers)
                starts.append(len(flat))
                sources.append(source)
                flat.extend(numbers)
                flat.append(0)
        self._vocabulary = vocabulary
        self._starts = np.array(starts, dtype=np.int64)
        self._sources = sources
        tokens = np.array(flat, dtype=np.int64)
        del flat, seen
        # Pairs of words get numbers, then pairs of pairs: exact, where a hash could collide.
        pairs = _joined(tokens[:-1], tokens[1:])
        self._pairs = np.unique(pairs[pairs >= 0])
        numbered = _numbered(pairs, self._pairs)
        quads = _joined(numbered[:-2], numbered[2:])
        places = np.flatnonzero(quads >= 0)
        order = np.argsort(quads[places], kind="stable")
        self._places = places[order].astype(np.int32 if len(tokens) < 2**31 else np.int64)
        self._quads = quads[places][order]

    def longest(self, text: str) -> SharedRun | None:
        """Return the longest run of `text` that stands in one of the texts; None if none of four words or more does.

        Of several equally long, it is the one in the earliest text, and there the first.
        """
        own = words(text)
        if len(own) < SHORTEST_RUN or not len(self._quads):
            return None
        tokens = np.array([self._vocabulary.get(word, 0) for word in own], dtype=np.int64)
        numbered = _numbered(_joined(tokens[:-1], tokens[1:]), self._pairs)
        quads = _joined(numbered[:-2], numbered[2:])
        left = np.searchsorted(self._quads, quads, side="left")
        counts = np.searchsorted(self._quads, quads, side="right") - left
        total = int(counts.sum())
        if not total:
            return None
        here = np.repeat(np.arange(len(quads)), counts)
        offsets = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        there = self._places[np.repeat(left, counts) + offsets].astype(np.int64)
        # What runs on in both texts keeps its distance: same distance and next place means one longer run.
        order = np.lexsort((here, there - here))
        here, there = here[order], there[order]
        breaks = np.flatnonzero((np.diff(here) != 1) | (np.diff(there) != 1)) + 1
        firsts = np.concatenate(([0], breaks))
        lengths = np.diff(np.concatenate((firsts, [total])))
        longest = int(lengths.max())
        first = min(firsts[lengths == longest], key=lambda place: int(there[place]))
        source = self._sources[int(np.searchsorted(self._starts, there[first], side="right")) - 1]
        start, count = int(here[first]), longest + SHORTEST_RUN - 1
        return SharedRun(count / len(own), count, source, tuple(own[start : start + count]))


def _joined(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number for each pair of positive numbers below 2^31, and -1 where one of them is 0."""
    return np.where((left > 0) & (right > 0), (left << 31) | right, -1)


def _numbered(values: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each value its place among the sorted `known`, from 1; 0 for what is not there."""
    if not len(known):
        return np.zeros(len(values), dtype=np.int64)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[places] == values, places + 1, 0)


def _ceil(value: float) -> int:
    """Round up, and let a product that floating point put just above a whole number be that number."""
    return math.ceil(value - 1e-9)
