"""From a raw reply to a validated answer, or to a typed failure that says what was wrong with it.

A reply may be the JSON that was asked for, or hold it among code fences, prose or <think> blocks; it may be a bare
list; it may end in the middle. JSON is found by a JSON decoder, never by a regular expression.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from synalign.llm.schemas import list_field

M = TypeVar("M", bound=BaseModel)

# Places in one reply where decoding is tried and fails before the search is given up: it bounds hostile input.
_MAX_MISSES = 1000

# Not strict: raw line breaks inside strings, which models write, are let through.
_DECODER = json.JSONDecoder(strict=False)


@dataclass(frozen=True)
class ParseFailure:
    """Why a reply, or one item of it, cannot be used.

    `empty`: nothing but white space. `not_json`: no JSON object or list in it. `truncated`: it ends before its JSON
    does. `wrong_shape`: JSON, but not what was asked for. `broken_item`: one item of a list is not; the others are.
    """

    reason: Literal["empty", "not_json", "truncated", "wrong_shape", "broken_item"]
    detail: str


@dataclass(frozen=True)
class Parsed(Generic[M]):
    """A validated answer, and what of the reply is missing in it: empty when the reply was whole."""

    value: M
    problems: tuple[ParseFailure, ...] = ()


def parse(raw: str, model: type[M]) -> Parsed[M] | ParseFailure:
    """Find and validate an answer of type `model` in a raw reply.

    The first JSON value in the reply that is such an answer counts; what stands after a closing </think> is searched
    before all else. If `model` is one list of items, these are taken too: a bare list, an object whose only list it
    is, strings for items that have a `text`, and one JSON object after another. Items that do not fit, and the rest of
    a reply that ends too early, become `problems`, and the complete items are kept.
    """
    text = raw.strip()
    if not text:
        return ParseFailure("empty", "the reply has no text")
    if text.startswith("<think>") and "</think>" not in text:
        return ParseFailure("truncated", "the reply ends inside its <think> block; raise llm.max_tokens")
    _, closed, answer = text.rpartition("</think>")
    regions = [answer, text] if closed else [text]
    failures: list[ParseFailure] = []
    for region in regions:
        found = _parse_region(region, model)
        if isinstance(found, Parsed):
            return found
        failures.append(found)
    return next((failure for failure in failures if failure.reason != "not_json"), failures[0])


def _parse_region(text: str, model: type[M]) -> Parsed[M] | ParseFailure:
    values = list(_values(text))
    shape = list_field(model)
    if shape is not None:  # what names the list that was asked for comes before what merely looks like one
        values.sort(key=lambda value: not (isinstance(value, dict) and shape[0] in value))
    failures: list[ParseFailure] = []
    if not _cut_short(text):
        for value in values:
            found = _validate(value, model)
            if isinstance(found, Parsed):
                return found
            failures.append(found)
    salvaged = _salvage(text, values, model)
    if salvaged is not None:
        return salvaged
    if failures:
        return failures[0]
    if _cut_short(text):
        return ParseFailure("truncated", f"the reply's JSON ends early or is broken; it ends with {text[-60:]!r}")
    return ParseFailure("not_json", f"no JSON object or list in the reply: {text[:120]!r}")


def _values(text: str) -> Iterator[Any]:
    """Yield each outermost JSON object or list that can be decoded, in order."""
    position = misses = 0
    while misses < _MAX_MISSES:
        starts = [start for start in (text.find("{", position), text.find("[", position)) if start >= 0]
        if not starts:
            return
        decoded = _decode(text, min(starts))
        if decoded is None:
            misses += 1
            position = min(starts) + 1
        else:
            value, position = decoded
            yield value


def _decode(text: str, start: int) -> tuple[Any, int] | None:
    """Return the JSON value that starts at `start`, and where it ends."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None


def _cut_short(text: str) -> bool:
    """Return whether an answer seems to start in `text` and not to end: its first bracket before content is open.

    Prose may hold brackets as well; only an object or list that starts with what JSON allows there counts.
    """
    misses = 0
    for start, char in enumerate(text):
        if char in "{[" and misses < _MAX_MISSES:
            misses += 1
            if _decode(text, start) is not None:
                return False
            following = text[start + 1 : start + 100].lstrip()[:1]
            if following == '"' or (char == "[" and following in ("{", "[")) or not following:
                return True
    return False


def _validate(value: Any, model: type[M]) -> Parsed[M] | ParseFailure:
    shape = list_field(model)
    items = _items_of(value, model) if shape is not None else None
    if shape is not None and items is not None:
        return _from_items(items, shape, model, ())
    try:
        return Parsed(model.model_validate(value))
    except ValidationError as error:
        return ParseFailure("wrong_shape", _explain(error))


def _items_of(value: Any, model: type[BaseModel]) -> list[Any] | None:
    """Return the raw items of an answer that is one list, or None where `value` does not plainly hold them."""
    shape = list_field(model)
    if shape is None:
        return None
    name, item = shape
    if isinstance(value, list):
        return value if value and all(_fits(part, item) for part in value) else None
    if not isinstance(value, dict):
        return None
    if isinstance(value.get(name), list):
        return list(value[name])
    if _fits(value, item):
        return None
    lists = [part for part in value.values() if isinstance(part, list)]
    if name not in value and len(lists) == 1 and lists[0] and all(_fits(part, item) for part in lists[0]):
        return list(lists[0])
    return None


def _fits(value: Any, item: type[BaseModel]) -> bool:
    """Return whether `value` has the outline of an item: its keys, or a string for an item that is only a text."""
    if isinstance(value, str):
        return list(item.model_fields) == ["text"]
    return isinstance(value, dict) and set(item.model_fields) <= set(value)


def _from_items(
    items: list[Any], shape: tuple[str, type[BaseModel]], model: type[M], problems: tuple[ParseFailure, ...]
) -> Parsed[M] | ParseFailure:
    name, item = shape
    kept: list[BaseModel] = []
    broken: list[ParseFailure] = []
    for number, raw in enumerate(items, start=1):
        value = {"text": raw} if isinstance(raw, str) and _fits(raw, item) else raw
        try:
            kept.append(item.model_validate(value))
        except ValidationError as error:
            broken.append(ParseFailure("broken_item", f"item {number} of {len(items)}: {_explain(error)}"))
    if items and not kept:
        return ParseFailure("wrong_shape", "; ".join(failure.detail for failure in broken[:3]))
    try:
        return Parsed(model.model_validate({name: kept}), (*broken, *problems))
    except ValidationError as error:
        return ParseFailure("wrong_shape", _explain(error))


def _salvage(text: str, values: list[Any], model: type[M]) -> Parsed[M] | None:
    """Collect the complete items of a reply that holds no complete answer: cut short, or one object after another."""
    shape = list_field(model)
    if shape is None:
        return None
    items = [value for value in values if isinstance(value, dict) and _fits(value, shape[1])]
    listed = _listed(text)
    if len(listed) > len(items):
        items = [value for value in listed if _fits(value, shape[1])]
    if not items:
        return None
    problems: tuple[ParseFailure, ...] = ()
    if _cut_short(text):
        detail = f"the reply's JSON ends early or is broken; complete items kept: {len(items)}; ...{text[-60:]!r}"
        problems = (ParseFailure("truncated", detail),)
    found = _from_items(items, shape, model, problems)
    return found if isinstance(found, Parsed) else None


def _listed(text: str) -> list[Any]:
    """Return the leading complete elements of the first list in `text`, whether or not the list ends."""
    position = text.find("[") + 1
    elements: list[Any] = []
    while position > 0:
        while position < len(text) and text[position] in " \t\r\n,":
            position += 1
        decoded = _decode(text, position)
        if decoded is None:
            break
        value, position = decoded
        elements.append(value)
    return elements


def _explain(error: ValidationError) -> str:
    """Return pydantic's findings as one line, without its links and without the whole input."""
    found = [f"{'.'.join(str(part) for part in item['loc']) or 'the answer'}: {item['msg']}" for item in error.errors()]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more
