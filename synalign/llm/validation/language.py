"""Which languages the real texts are in, and whether another text is plainly in none of them.

Languages are told by py3langid (its own model, 140 languages, no network). Short texts and mixed ones are told badly:
only what is long enough and certain counts, on both sides. Measured on English texts of 25 letters or more (film
reviews, tweets, requests): .06% are taken for another language with a probability of .7 or more, .3% with .5.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

#: Letters that a text needs for its language to be told; a character of a script without spaces counts as three.
MIN_LETTERS = 25

#: Probability from which a language counts as told.
CERTAIN = 0.7

#: Real texts that are looked at, at most, by an even stride.
SAMPLE = 2000

#: Share of the real texts with a told language that a language needs to be one of theirs. Low: a language wrongly let
#: in costs little, and 1% refused 2.7% of the held-out half of a set where six languages have a text or two each.
MIN_SHARE = 0.002

# Languages that short texts cannot tell apart: their probabilities are added, and one stands for all.
_FAMILIES = [
    family.split()
    for family in (
        "en pcm", "es ext an gl ca oc", "pt gl", "zh wuu yue", "no nn da fo", "sr hr bs sl", "id ms jv ace", "de lb",
        "nl af fy", "it vec lij la", "fr wa gcf gcr ht oc", "cs sk", "ru uk be bg mk", "ar ary arz", "fa ps",
        "hi mr ne sa", "tr az crh tk", "xh zu st nso", "kk ky tt ba",
    )
]  # fmt: skip
_RELATED = {
    code: frozenset().union(*(family for family in _FAMILIES if code in family))
    for code in {code for family in _FAMILIES for code in family}
}
_NO_LANGUAGE = re.compile(r"https?://\S+|www\.\S+|\S*@\S+|[#\[<{]\w+[\]>}]?|[\w-]*\d[\w-]*")
_DENSE = re.compile(r"[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff\uac00-\ud7ff]")


class Languages:
    """The languages of a set of real texts."""

    def __init__(self, real_texts: Sequence[str]) -> None:
        stride = max(1, -(-len(real_texts) // SAMPLE))
        told = Counter(filter(None, map(identify, real_texts[::stride])))
        needed = MIN_SHARE * told.total()
        #: Codes (ISO 639) of the languages that real texts are in; empty if too few texts are long enough to tell.
        self.codes: frozenset[str] = frozenset(code for code, count in told.items() if count >= needed)
        self._known = frozenset().union(*(_related(code) for code in self.codes))

    def foreign(self, text: str) -> str | None:
        """Return the code of the language of `text` if that is plain and no real text is in it; else None.

        None too where no language of the real texts could be told.
        """
        if not self._known:
            return None
        code = identify(text, self._known)
        return None if code is None or code in self._known else code


def identify(text: str, expected: frozenset[str] = frozenset()) -> str | None:
    """Return the code of a text's language; None if it is too short or not certain.

    `expected`: languages of which it is enough that one is the likeliest, however uncertain: the answer comes sooner.
    """
    cleaned = _NO_LANGUAGE.sub(" ", text)
    letters = sum(map(str.isalpha, cleaned))
    if letters < MIN_LETTERS and letters + 2 * len(_DENSE.findall(cleaned)) < MIN_LETTERS:
        return None
    identifier = _identifier()
    code: str
    code, probability = identifier.classify(cleaned)
    if code in expected:
        return code
    if probability < CERTAIN:
        related = _related(code)
        probability = sum(share for other, share in identifier.rank(cleaned) if other in related)
    return code if probability >= CERTAIN else None


def _related(code: str) -> frozenset[str]:
    return _RELATED.get(code, frozenset([code]))


@cache
def _identifier() -> Any:
    """Read the model, which takes half a second, when a text first needs it."""
    langid = import_module("py3langid.langid")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
