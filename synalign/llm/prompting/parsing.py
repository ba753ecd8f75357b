"""From a raw reply to a validated answer, or to a typed failure that says what was wrong with it.

A reply may be the JSON that was asked for, or hold it among code fences, prose or <think> blocks; it may be a bare
list; it may end in the middle. JSON is found by a JSON decoder, never by a regular expression.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from synalign.llm.prompting.plaintext import repaired
from synalign.llm.prompting.schemas import list_field, required_fields

M = TypeVar("M", bound=BaseModel)

# Places in one reply where decoding is tried and fails before the search is given up: it bounds hostile input.
_MAX_MISSES = 1000

# What stands between the elements of a list.
_SEPARATORS = " \t\r\n,"

# Not strict: raw line breaks inside strings, which models write, are let through.
_DECODER = json.JSONDecoder(strict=False)


@dataclass(frozen=True)
class ParseFailure:
    """Why a reply, or one item of it, cannot be used.

    `empty`: nothing but white space. `not_json`: no JSON object or list in it. `truncated`: it ends before its JSON
    does. `wrong_shape`: JSON, but not what was asked for. `broken_item`: one item of a list is not; the others are.

    `raw`: what cannot be used, as text that can be stored: the whole reply, the one item as JSON, or what is left of a
    reply that ends too early.
    """

    reason: Literal["empty", "not_json", "truncated", "wrong_shape", "broken_item"]
    detail: str
    raw: str


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
    raw = repaired(raw)
    text = raw.strip()
    if not text:
        return ParseFailure("empty", "the reply has no text", raw)
    if text.startswith("<think>") and "</think>" not in text:
        return ParseFailure("truncated", "the reply ends inside its <think> block; raise llm.max_tokens", raw)
    _, closed, answer = text.rpartition("</think>")
    regions = [answer, text] if closed else [text]
    failures: list[ParseFailure] = []
    for region in regions:
        found = _parse_region(region, model)
        if isinstance(found, Parsed):
            return found if all(problem.raw for problem in found.problems) else _with_raw(found, raw)
        failures.append(found)
    reported = next((failure for failure in failures if failure.reason != "not_json"), failures[0])
    return replace(reported, raw=raw)


def _with_raw(found: Parsed[M], raw: str) -> Parsed[M]:
    """Have the broken items that could not be written out again show the whole reply."""
    problems = (
        replace(problem, raw=raw) if problem.reason == "broken_item" and not problem.raw else problem
        for problem in found.problems
    )
    return Parsed(found.value, tuple(problems))


def _parse_region(text: str, model: type[M]) -> Parsed[M] | ParseFailure:
    values = list(_values(text))
    shape = list_field(model)
    if shape is not None:  # what names the list that was asked for comes before what merely looks like one
        values.sort(key=lambda piece: not (isinstance(piece.value, dict) and shape[0] in piece.value))
    failures: list[ParseFailure] = []
    if not _cut_short(text):
        for piece in values:
            found = _validate(piece.value, model)
            if isinstance(found, Parsed):
                return found
            failures.append(found)
    salvaged = _salvage(text, values, model)
    if salvaged is not None:
        return salvaged
    if failures:
        return failures[0]
    if _cut_short(text):
        return ParseFailure("truncated", f"the reply's JSON ends early or is broken; it ends with {text[-60:]!r}", text)
    return ParseFailure("not_json", f"no JSON object or list in the reply: {text[:120]!r}", text)


@dataclass(frozen=True)
class _Piece:
    """A JSON value that stands at text[start:end] of a reply."""

    value: Any
    start: int
    end: int


def _values(text: str) -> Iterator[_Piece]:
    """Yield each outermost JSON object or list that can be decoded, in order."""
    position = misses = 0
    while misses < _MAX_MISSES:
        starts = [start for start in (text.find("{", position), text.find("[", position)) if start >= 0]
        if not starts:
            return
        piece = _decode(text, min(starts))
        if piece is None:
            misses += 1
            position = min(starts) + 1
        else:
            position = piece.end
            yield piece


def _decode(text: str, start: int) -> _Piece | None:
    """Return the JSON value that starts at `start`."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):  # a number of too many digits is a ValueError as well
        return None
    return _Piece(value, start, end)


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
        return ParseFailure("wrong_shape", _explain(error), _raw(value))


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
    """Return whether `value` has the outline of an item: its keys, or a string for an item that needs only a text."""
    needed = required_fields(item)
    if isinstance(value, str):
        return needed == ["text"]
    return isinstance(value, dict) and set(needed) <= set(value)


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
            detail = f"item {number} of {len(items)}: {_explain(error)}"
            broken.append(ParseFailure("broken_item", detail, _raw(raw)))
    if items and not kept:
        return ParseFailure("wrong_shape", "; ".join(failure.detail for failure in broken[:3]), _raw(items))
    try:
        return Parsed(model.model_validate({name: kept}), (*broken, *problems))
    except ValidationError as error:
        return ParseFailure("wrong_shape", _explain(error), _raw(items))


def _raw(value: Any) -> str:
    """Return a decoded value as JSON again, a string as itself."""
    try:
        return repaired(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError):  # nested about as deeply as can be decoded
        return ""


def _salvage(text: str, values: list[_Piece], model: type[M]) -> Parsed[M] | None:
    """Collect the complete items of a reply that holds no complete answer: cut short, or one object after another."""
    shape = list_field(model)
    if shape is None:
        return None
    objects = sorted((piece for piece in values if isinstance(piece.value, dict)), key=lambda piece: piece.start)
    pieces = [piece for piece in objects if _fits(piece.value, shape[1])]
    bracket = text.find("[")
    inside = any(piece.start < bracket < piece.end for piece in pieces)  # a list that belongs to one of the items
    listed = [] if inside else _listed(text, bracket)
    fitting = [piece.start for piece in listed if _fits(piece.value, shape[1])]
    leading = len(fitting) > len(pieces) or (fitting and fitting == [piece.start for piece in pieces])
    if not (pieces or fitting):
        return None
    problems: tuple[ParseFailure, ...] = ()
    if _cut_short(text):
        kept = len(fitting) if leading else len(pieces)
        detail = f"the reply's JSON ends early or is broken; complete items kept: {kept}; ...{text[-60:]!r}"
        rest = text[listed[-1].end :] if leading else _between(text, pieces)
        problems = (ParseFailure("truncated", detail, rest.strip(_SEPARATORS)),)
    elif not leading:
        pieces = objects  # what does not fit among whole objects is a broken item
    found = _from_items([piece.value for piece in (listed if leading else pieces)], shape, model, problems)
    return found if isinstance(found, Parsed) else None


def _between(text: str, pieces: list[_Piece]) -> str:
    """Return what stands before, between and after the pieces, a line for each."""
    ends = [0, *(piece.end for piece in pieces)]
    starts = [*(piece.start for piece in pieces), len(text)]
    gaps = [text[end:start].strip(_SEPARATORS) for end, start in zip(ends, starts, strict=True)]
    return "\n".join(gap for gap in gaps if gap)


def _listed(text: str, bracket: int) -> list[_Piece]:
    """Return the leading complete elements of the list that starts at `bracket`, whether or not it ends."""
    position = bracket + 1
    elements: list[_Piece] = []
    while position > 0:
        while position < len(text) and text[position] in _SEPARATORS:
            position += 1
        piece = _decode(text, position)
        if piece is None:
            break
        position = piece.end
        elements.append(piece)
    return elements


def _explain(error: ValidationError) -> str:
    """Return pydantic's findings as one line, without its links and without the whole input."""
    findings = error.errors(include_url=False, include_context=False, include_input=False)
    found = [f"{'.'.join(str(part) for part in item['loc']) or 'the answer'}: {item['msg']}" for item in findings]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more
