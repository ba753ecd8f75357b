"""What a language model says besides the text that it was asked for: refusals, openers, and parts of its prompt.

People write "I'm sorry but I can't log in" and "as an AI researcher, I ...": a form counts only where it stands as
models put it, at the start of a sentence or of the text, and with what models put after it. What real texts of the
workspace hold themselves is no sign of a model: `usual` finds such forms, and the others take them as an argument.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from synalign.llm.validation.overlap import SharedRuns, normalise
from synalign.llm.validation.personal import PLACEHOLDER
from synalign.llm.validation.phrases import patterns

#: Words in one run that show that a text repeats what its prompt says.
LEAKED_RUN = 8

#: Real texts that are looked at, at most, to find which forms are usual.
SAMPLE = 2000

# Share of the real texts that have a form, from which it is usual.
_USUAL_SHARE = 0.002


def _refusals() -> Mapping[str, re.Pattern[str]]:
    return patterns("refusals")


def _leaks() -> Mapping[str, re.Pattern[str]]:
    return patterns("leaks", placeholder=PLACEHOLDER.pattern)


def refusal(text: str, phrases: Collection[str] = (), *, allowed: Collection[str] = ()) -> str | None:
    """Return in words why a text is a refusal or boilerplate, or None if it is not.

    Args:
        text: one record.
        phrases: further phrases that mark a record, in whatever case; they count at the bounds of words only.
        allowed: names of forms that do not count here, see `usual`.
    """
    plain = _plain(text)
    for name, form in _refusals().items():
        if name not in allowed and (match := form.search(plain)):
            return f"{name}: {_excerpt(match)}"
    key = normalise(text)
    for phrase in phrases:
        wanted = normalise(phrase)
        if wanted and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", key):
            return f"the configured phrase {phrase!r}"
    return None


def leaked(text: str, prompt: SharedRuns | None = None, *, allowed: Collection[str] = ()) -> str | None:
    """Return in words what of a template or of its prompt stands in a text, or None if nothing does.

    Args:
        text: one record.
        prompt: the prompt's own words, without the data that it shows.
        allowed: names of forms that do not count here, see `usual`.
    """
    for name, form in _leaks().items():
        if name not in allowed and (match := form.search(text)):
            return f"{name}: {_excerpt(match)}"
    run = prompt.longest(text) if prompt is not None else None
    if run is not None and run.words >= LEAKED_RUN:
        return f"{run.words} words in one run of the prompt: '{' '.join(run.run)[:60]}'"
    return None


def forms(text: str) -> set[str]:
    """Return the names of all forms of refusals, boilerplate and templates that stand in a text."""
    plain = _plain(text)
    found = {name for name, form in _refusals().items() if form.search(plain)}
    return found | {name for name, form in _leaks().items() if form.search(text)}


def usual(real_texts: Sequence[str]) -> frozenset[str]:
    """Return the names of the forms that real texts have themselves: one in 500 of up to 2,000, by an even stride."""
    sample = real_texts[:: max(1, -(-len(real_texts) // SAMPLE))]
    counts = Counter(name for text in sample for name in forms(text))
    return frozenset(name for name, count in counts.items() if count >= max(1, _USUAL_SHARE * len(sample)))


def _plain(text: str) -> str:
    """Return the text with straight quotation marks and single spaces; line breaks, which part sentences, stay."""
    straight = text.strip().replace("\u2019", "'").replace("\u00a0", " ")
    return re.sub(r"[ \t]+", " ", straight)


def _excerpt(match: re.Match[str]) -> str:
    return repr(match[0].strip()[:60])
