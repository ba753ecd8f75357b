"""What can be counted in texts: the attributes that the embedded model states, and how it reads a prompt.

It knows no language: a topic is the most frequent long word, a tone is whether there are exclamation marks.
"""

from __future__ import annotations

import json
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Tokens = list[str]

#: A JSON object of a prompt.
PromptObject = Mapping[str, Any]

# Mean characters between spaces above which a script is taken for one that has no spaces between words.
_LONG_WORD = 7
# Characters that a content word has at least, in scripts with spaces.
_CONTENT_WORD = 4
# Sections of a prompt whose texts are no demonstrations.
_OTHERS = ("records", "written", "labels", "label", "attributes", "task")


def sections(user: str) -> dict[str, list[PromptObject]]:
    """Return the JSON objects of a prompt by the tag that they stand in; "" for those outside of all tags."""
    found: defaultdict[str, list[PromptObject]] = defaultdict(list)
    name = ""
    for line in map(str.strip, user.splitlines()):
        if line.startswith("<") and line.endswith(">"):
            name = "" if line.startswith("</") else line[1:-1]
        elif line.startswith("{"):
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            found[name].append(entry)
    return dict(found)


def asked_label(parts: Mapping[str, Sequence[PromptObject]]) -> str | None:
    """Return the label that a prompt asks for: that of the last line which has a label and no text, or None."""
    bare = [entry for entries in parts.values() for entry in entries if "text" not in entry]
    named = [entry["label"] for entry in bare if "label" in entry]
    return next((label for label in reversed(named) if isinstance(label, str)), None)


def demonstrations(user: str) -> list[str]:
    """Return the texts of a prompt's demonstrations: of those with the label to write for, if there are two or more."""
    parts = sections(user)
    wanted = asked_label(parts)
    shown = parts.get("demonstrations") or [e for name, part in parts.items() if name not in _OTHERS for e in part]
    fitting = [entry for entry in shown if entry.get("label") == wanted and _text(entry)]
    return texts_of(fitting if wanted is not None and len(fitting) >= 2 else shown)


def texts_of(entries: Iterable[PromptObject]) -> list[str]:
    """Return the texts that the entries have, without empty ones."""
    return [text for entry in entries if (text := _text(entry))]


def _text(entry: PromptObject) -> str:
    text = entry.get("text")
    return text if isinstance(text, str) and text.strip() else ""


def describe(texts: Sequence[str]) -> list[dict[str, str]]:
    """Return attributes of the texts that can be counted, for a prompt that names none."""
    counted = _count(texts)
    return [{"name": name, "kind": "text", "value": value} for name, value in counted.items()]


def state(name: str, kind: str, values: Sequence[str], texts: Sequence[str], otherwise: str | None = None) -> str:
    """Return the value of one named attribute of the texts.

    Args:
        name: a name of the default configuration counts what it means; any other the vocabulary.
        kind: category, number or text.
        values: the values that a category has; one of them is returned, if any fits.
        otherwise: for a category of whose values none fits; None: the first of them.
    """
    if kind == "number":
        return f"{statistics.median(map(len, _tokens(texts))):g}"
    if kind == "category":
        own = _category(name, texts)
        if not values or own in values:
            return own
        words = set(_words(texts))
        shared = [len(words.intersection(_words([value]))) for value in values]
        fallback = values[0] if otherwise is None else otherwise
        return values[shared.index(max(shared))] if any(shared) else fallback
    counted = _count(texts)
    if name == "style":
        return f"starts with {counted['typical first word']}, ends with {counted['typical ending']}"
    if name == "quirks":
        return "; ".join(f"{quirk} {counted[quirk]}" for quirk in _QUIRKS)
    return counted.get(name, counted["vocabulary"])


def merges(entries: Iterable[PromptObject]) -> list[dict[str, str]]:
    """Return which values of the attributes of a prompt differ from another by case or a plural s only."""
    found: list[dict[str, str]] = []
    for entry in entries:
        listed = entry.get("values")
        values = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
        targets: dict[str, str] = {}
        for item in sorted(values, key=lambda item: item.get("known") is not True):
            value = str(item.get("value", ""))
            target = targets.setdefault(_stem(value), value)
            if target != value:
                found.append({"name": str(entry.get("name", "")), "value": value, "becomes": target})
    return found


def _stem(value: str) -> str:
    words = value.casefold().split()
    plural = [len(word) > 3 and word.endswith("s") and not word.endswith("ss") for word in words]
    return " ".join(word[:-1] if cut else word for word, cut in zip(words, plural, strict=True))


def _category(name: str, texts: Sequence[str]) -> str:
    """Return one to three words for what most of the texts have."""
    if name == "tone":
        return "excited" if _most_have(texts, _exclaims) else "plain"
    if name == "intent":
        return "question" if _most_have(texts, _asks) else "statement"
    if name == "register":
        return "lower case" if _most_have(texts, str.islower) else "mixed case"
    if name == "structure":
        return "several lines" if _most_have(texts, _has_lines) else "one paragraph"
    return next(iter(_frequent(texts)), "other")


def _most_have(texts: Sequence[str], has: Callable[[str], bool]) -> bool:
    return 2 * sum(map(has, texts)) > len(texts)


def _exclaims(text: str) -> bool:
    return "!" in text or "！" in text


def _asks(text: str) -> bool:
    return "?" in text or "？" in text


def _has_lines(text: str) -> bool:
    return "\n" in text.strip()


#: What is counted as present or absent in each text.
_QUIRKS: dict[str, Callable[[str], bool]] = {
    "exclamation marks": _exclaims,
    "questions": _asks,
    "digits": lambda text: any(map(str.isdigit, text)),
    "emoji": lambda text: any(unicodedata.category(char) == "So" for char in text),
    "all lower case": str.islower,
    "more than one line": _has_lines,
}


def _count(texts: Sequence[str]) -> dict[str, str]:
    unit = "words" if tokeniser(texts)[1] else "characters"
    tokens = _tokens(texts)
    lengths = sorted(map(len, tokens))
    openings = Counter(text[0] for text in tokens)
    endings = Counter("no full stop" if text.rstrip()[-1].isalnum() else f"'{text.rstrip()[-1]}'" for text in texts)
    return {
        "length": f"{statistics.median(lengths):g} {unit} ({lengths[0]} to {lengths[-1]})",
        "vocabulary": ", ".join(_frequent(texts)[:8]) or "none that stands out",
        "typical first word": _most(openings),
        "typical ending": _most(endings),
    } | {name: f"in {sum(map(has, texts))} of {len(texts)} texts" for name, has in _QUIRKS.items()}


def _most(counts: Counter[str]) -> str:
    value, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return f"{value} (in {count} of {counts.total()} texts)"


def _frequent(texts: Sequence[str]) -> Tokens:
    """Return the content words, the most frequent and then the longest first."""
    counts = Counter(_content_words(texts))
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], -len(item[0]), item[0]))]


def _content_words(texts: Sequence[str]) -> Tokens:
    """Return the words of the texts that are long enough to mean something, in lower case, without punctuation."""
    least = _CONTENT_WORD if tokeniser(texts)[1] else 1
    return [word for word in _words(texts) if len(word) >= least and any(map(str.isalnum, word))]


def _words(texts: Sequence[str]) -> Tokens:
    return [word.strip(".,;:!?\"'()[]").casefold() for text in _tokens(texts) for word in text]


def _tokens(texts: Sequence[str]) -> list[Tokens]:
    split = tokeniser(texts)[0]
    return [split(text) for text in texts]


def tokeniser(texts: Sequence[str]) -> tuple[Callable[[str], Tokens], str]:
    """Return how to split the texts, and what joins tokens again: words, or characters in scripts without spaces."""
    words = [word for text in texts for word in text.split()]
    letters = [char for word in words for char in word if char.isalpha()]
    caseless = sum(unicodedata.category(char) == "Lo" for char in letters)  # Arabic, Hindi and Korean too: with spaces
    unbroken = len(words) == len(texts) or sum(map(len, words)) > _LONG_WORD * len(words)
    return (_characters, "") if 2 * caseless > len(letters) and unbroken else (str.split, " ")


def _characters(text: str) -> Tokens:
    """Split into characters, each with the marks and joiners that belong to it."""
    tokens: Tokens = []
    for char in " ".join(text.split()):
        mark = unicodedata.category(char) in ("Mn", "Mc", "Me") or char in "\u200d\ufe0f"
        if tokens and (mark or tokens[-1].endswith("\u200d")):
            tokens[-1] += char
        else:
            tokens.append(char)
    return tokens
