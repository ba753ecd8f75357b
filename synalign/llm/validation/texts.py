"""What can be counted in a text without a model: its words as codes, its length, its marks, capitals, digits, emoji
and addresses. Arrays out: what is computed of them is arithmetic.

Words are those of `synalign.llm.validation.overlap.words`: case folded, without punctuation, and in scripts that are
written without spaces (Thai, Han, kana, ...) each character. A length in words counts such a character as half a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np

from synalign.llm.validation.overlap import word_count, words

#: What stands among the marks of a text that has none.
NO_MARK = ""

# What makes one picture of several characters: joiner, variation, skin tones, and tags of flags.
_EMOJI_PARTS = "[\u200d\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
# Extended_Pictographic of Unicode 15 in ranges, flags, and keycaps; not ©, ®, ™ and digits, which are no emoji alone.
_EMOJI = re.compile(
    "(?:[\u231a\u231b\u23e9-\u23f3\u23f8-\u23fa\u2600-\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55"
    "\U0001f000-\U0001f1ff\U0001f200-\U0001f2ff\U0001f300-\U0001f3fa\U0001f400-\U0001faff]"
    f"|[0-9#*]\ufe0f?\u20e3){_EMOJI_PARTS}*"
)
_URL = re.compile(r"(?:https?://|\bwww\.)\S+", re.IGNORECASE)


@dataclass(frozen=True)
class Form:
    """Numbers of n texts, each float64 [n]. words, characters: lengths; a character of a script without spaces is half
    a word, and runs of white space are one character. visible: characters that are no white space, outside addresses
    and emoji. marks: punctuation and symbols among them. digits: decimal digits of any script among them. letters:
    those that have two cases. capitals: upper case among them. emoji, urls: 1 for a text that has one, else 0."""

    words: np.ndarray
    characters: np.ndarray
    visible: np.ndarray
    marks: np.ndarray
    digits: np.ndarray
    letters: np.ndarray
    capitals: np.ndarray
    emoji: np.ndarray
    urls: np.ndarray


class Coder:
    """Gives what texts consist of numbers, from 0 in the order in which they come; the same number each time.

    Args:
        parts: what a text consists of, in order: `word_tokens` or `marks`.
    """

    def __init__(self, parts: Callable[[str], Sequence[str]]) -> None:
        self._parts = parts
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        """How many different parts were seen."""
        return len(self._codes)

    def code(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the codes of all texts, int64 [total], and where each text begins, int64 [n + 1]."""
        codes, values, starts = self._codes, [], [0]
        for text in texts:
            values += [codes.setdefault(part, len(codes)) for part in self._parts(text)]
            starts.append(len(values))
        return np.array(values, dtype=np.int64), np.array(starts, dtype=np.int64)


def word_tokens(text: str) -> list[str]:
    """Return the words of a text, in which emoji have no part."""
    return words(_EMOJI.sub(" ", text))


def marks(text: str) -> list[str]:
    """Return the punctuation marks and symbols of a text in order, those of addresses and emoji left out; of a text
    without any, NO_MARK alone."""
    return [char for char in _plain(text) if _kind(char) == "mark"] or [NO_MARK]


def form(texts: Sequence[str]) -> Form:
    """Return what `Form` says of each text."""
    found = np.array([_form(text) for text in texts], dtype=np.float64).reshape(len(texts), len(fields(Form)))
    return Form(*np.ascontiguousarray(found.T))


def _form(text: str) -> tuple[float, ...]:
    plain = _plain(text)
    kinds: Counter[str] = Counter()
    for char, count in Counter(plain).items():
        kinds[_kind(char)] += count
    return (
        word_count(word_tokens(text)),
        len(" ".join(text.split())),
        kinds.total() - kinds["space"],
        kinds["mark"],
        kinds["digit"],
        kinds["upper"] + kinds["lower"],
        kinds["upper"],
        _EMOJI.search(text) is not None,
        _URL.search(text) is not None,
    )


def _plain(text: str) -> str:
    """Return a text without addresses and emoji."""
    return _EMOJI.sub("", _URL.sub(" ", text))


@cache
def _kind(char: str) -> str:
    category = unicodedata.category(char)
    if category[0] in "PS":
        return "mark"
    if category[0] == "Z" or char.isspace():
        return "space"
    return {"Nd": "digit", "Lu": "upper", "Lt": "upper", "Ll": "lower"}.get(category, "other")
