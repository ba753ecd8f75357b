"""Which generated texts are kept, and why the others are not. Pure: it changes nothing that it is given."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

#: Length in characters of the pieces that are compared to find a near copy.
SHINGLE = 3

#: Jaccard similarity of two texts' pieces from which one counts as a copy of the other.
NEAR_COPY = 0.9

Reason = Literal["empty", "copy", "near_copy", "duplicate", "surplus"]


@dataclass(frozen=True)
class Refusal:
    """One generated record that was not kept: its place in the reply, why, in words, and the text itself."""

    index: int
    reason: Reason
    detail: str
    text: str


def normalise(text: str) -> str:
    """Return the form in which texts are compared: NFC, case folded, runs of white space as one space."""
    folded = unicodedata.normalize("NFC", text).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def accept(
    records: Sequence[str],
    *,
    demonstrations: Sequence[str],
    seen: AbstractSet[str],
    limit: int,
) -> tuple[list[tuple[int, str]], list[Refusal]]:
    """Return the (index, stripped text) of the records to keep, and a refusal for each of the others, in order.

    Args:
        records: the texts of one reply.
        demonstrations: the real texts that the prompt showed; a copy or near copy of one is refused.
        seen: `normalise` of each text kept before. It is not changed: the caller adds what is returned here.
        limit: how many records were asked for; more are refused.
    """
    sources = Sources(demonstrations)
    keys: set[str] = set()
    accepted: list[tuple[int, str]] = []
    refusals: list[Refusal] = []
    for index, record in enumerate(records):
        text = record.strip()
        key = normalise(text)
        refused: tuple[Reason, str] | None = None
        if not key:
            refused = ("empty", "the record has no text")
        elif len(accepted) >= limit:
            refused = ("surplus", f"{limit} were asked for")
        elif key in keys:
            refused = ("duplicate", "the same text stands earlier in this reply")
        else:
            # What copies a demonstration is called so, though real texts may be among those seen.
            refused = sources.copied(text)
            if refused is None and key in seen:
                refused = ("duplicate", "the same text is in the workspace already")
        if refused is None:
            keys.add(key)
            accepted.append((index, text))
        else:
            refusals.append(Refusal(index, *refused, record))
    return accepted, refusals


class Sources:
    """The demonstrations, prepared for many comparisons."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._keys = [normalise(text) for text in texts]
        self._shingles = [_shingles(key) for key in self._keys]

    def copied(self, text: str) -> tuple[Reason, str] | None:
        """Return why `text` counts as a copy of a demonstration, or None if it does not."""
        key = normalise(text)
        if key in self._keys:
            return "copy", f"the same text as demonstration {self._keys.index(key) + 1}"
        pieces = _shingles(key)
        for number, other in enumerate(self._shingles, start=1):
            similarity = len(pieces & other) / max(1, len(pieces | other))
            if similarity >= NEAR_COPY:
                return (
                    "near_copy",
                    f"shares {similarity:.0%} of its {SHINGLE}-character pieces with demonstration {number}",
                )
        return None


def _shingles(key: str) -> frozenset[str]:
    """Return all pieces of SHINGLE characters; none for a shorter text, which is then compared as a whole only."""
    return frozenset(key[start : start + SHINGLE] for start in range(len(key) - SHINGLE + 1))
