"""Attribute values in one vocabulary: spelt in one way, and values that mean the same under one name."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from synalign.config import AttributeKind
from synalign.llm.prompting.schemas import Attribute, Merge


@dataclass(frozen=True)
class Value:
    """One attribute as it is kept: `stated` as the model wrote it, `value` in the vocabulary, `number` where it is one.
    `added`: the model named it; it was not asked for."""

    name: str
    kind: AttributeKind
    value: str
    stated: str
    number: float | None
    added: bool


def spelt(text: str) -> str:
    """Return a name or a category value in the one way that is compared: lower case, single spaces, no end mark."""
    plain = unicodedata.normalize("NFC", text).casefold().replace("_", " ")
    return " ".join(plain.split()).strip(" .,;:'\"`*")


def values(attributes: Iterable[Attribute], asked: Mapping[str, AttributeKind], most_added: int) -> list[Value]:
    """Return what a model stated, each name once, the first time counts.

    Args:
        attributes: as they were answered.
        asked: the names that were asked for, with their kinds, which count more than what the model says they are.
        most_added: how many other attributes are kept.
    """
    known = {spelt(name): (name, kind) for name, kind in asked.items()}
    found: dict[str, Value] = {}
    added = 0
    for attribute in attributes:
        key = spelt(attribute.name)
        if not key or key in found or not attribute.value.strip():
            continue
        name, kind = known.get(key, (key, attribute.kind))
        if key not in known:
            if added >= most_added:
                continue
            added += 1
        found[key] = value_of(name, kind, attribute.value, added=key not in known)
    return list(found.values())


def value_of(name: str, kind: AttributeKind, stated: str, *, added: bool = False) -> Value:
    """Return one attribute: a category in the spelling that is compared, a number as a number, text as it is."""
    if kind == "category":
        return Value(name, kind, spelt(stated), stated, None, added)
    return Value(name, kind, stated.strip(), stated, _number(stated) if kind == "number" else None, added)


def _number(text: str) -> float | None:
    try:
        found = float(text.strip().replace(",", ""))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def merged(
    values: Mapping[str, Sequence[str]], known: Mapping[str, Iterable[str]], merges: Iterable[Merge]
) -> dict[tuple[str, str], str]:
    """Return what each (name, value) becomes, for those that change.

    Args:
        values: of each attribute, all values that were stated.
        known: of each attribute, the values that stay as they are: those of earlier runs, or the only ones allowed.
        merges: as a model proposed them. One that names a value which is not there is left out, and so is what would
            change a known value or lead back to itself.
    """
    fixed = {(name, value) for name, there in known.items() for value in there}
    there = fixed | {(name, value) for name, found in values.items() for value in found}
    steps: dict[tuple[str, str], tuple[str, str]] = {}
    names = {spelt(name): name for name in values}
    for merge in merges:
        name = names.get(spelt(merge.name), "")
        source, target = (name, spelt(merge.value)), (name, spelt(merge.becomes))
        if source in there and target in there and source != target and source not in fixed:
            steps.setdefault(source, target)
    ends: dict[tuple[str, str], str] = {}
    for source in steps:
        place, seen = source, {source}
        while place in steps and steps[place] not in seen:
            place = steps[place]
            seen.add(place)
        if place not in steps:  # else the way leads back into itself
            ends[source] = place[1]
    return ends
