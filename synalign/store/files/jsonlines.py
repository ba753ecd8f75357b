"""JSON lines: polars finds the columns and their types, and each line is held against what it made of it.

polars takes the first of two equal keys, goes down as deep as a line does, and does not say at which line it stops.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import polars as pl

from synalign.errors import InputError

#: Half of a surrogate pair, as JSON escapes it. Alone it is no character; polars would turn it into NUL.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
#: Lists and objects inside each other. Arrow hands over no more than 64 from one library to another.
DEEPEST = 32
_TOO_DEEP = f"has lists or objects inside each other more than {DEEPEST} deep; write them as text"
_ARRAY = "Turn a JSON array into lines (for example: jq -c '.[]' old.json > new.jsonl)"
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}


class _Refused(Exception):
    """Why a line cannot be taken."""


def read_json_lines(name: str, data: bytes) -> tuple[pl.DataFrame, Sequence[int]]:
    """Return the rows of a file of JSON lines in UTF-8, and the line of each.

    Raises:
        InputError: with the line, if one is no JSON object, names a field twice, holds half a character, NaN, or what
            the column that its field becomes cannot hold.
    """
    numbered = [
        (number, line)
        for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1)
        if line.strip()
    ]
    if not numbered:
        raise InputError(f"{name} has no rows: all its lines are blank. Nothing was written.")
    for number, line in numbered:
        if _brackets(line) > DEEPEST:  # before polars sees it
            _object(name, number, line)
    try:
        frame = pl.read_ndjson(io.BytesIO(b"\n".join(line for _, line in numbered)), infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        found = _clash((number, _object(name, number, line)) for number, line in numbered)
        why = found or str(error).strip().splitlines()[0].rstrip(".")
        raise InputError(f"{name}: {why}. Nothing was written.") from error
    rows = frame.iter_rows(named=True)
    for number, line in numbered:
        given, kept = _object(name, number, line), next(rows, {})
        lost = [field for field, value in given.items() if not _same(value, kept.get(field))]
        if lost:
            raise InputError(
                f"{name}: line {number}: the field {lost[0]!r} holds {_short(given[lost[0]])}, which its column, of "
                f"type {frame.schema.get(lost[0])}, cannot hold exactly. Write that field as text in all lines. "
                "Nothing was written."
            )
    if frame.height != len(numbered):
        raise InputError(f"{name}: {len(numbered)} lines gave {frame.height} rows. Nothing was written.")
    return frame, [number for number, _ in numbered]


def _object(name: str, number: int, line: bytes) -> dict[str, Any]:
    """Return the object on a line, or raise InputError."""
    try:
        return _parsed(line)
    except _Refused as error:
        raise InputError(f"{name}: line {number} {error}. Nothing was written.") from error


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line, object_pairs_hook=_fields, parse_constant=_no_number, parse_float=_finite)
    except json.JSONDecodeError as error:
        cure = _ARRAY if line.lstrip().startswith(b"[") else "Each line is one whole object, {...}"
        raise _Refused(f"is not JSON ({error.msg}, at character {error.pos + 1}). {cure}") from error
    except RecursionError as error:
        raise _Refused(_TOO_DEEP) from error
    except ValueError as error:  # Python's limit on the digits of an integer
        raise _Refused(f"holds a number that is too long ({error}); write it as text") from error
    if not isinstance(value, dict):
        raise _Refused(f"is JSON but not an object with named fields. {_ARRAY}")
    if _SURROGATE.search(line):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):x}"
            raise _Refused(f"holds half a character (the lone surrogate {half}). Remove it") from error
    if _brackets(line) > DEEPEST and _depth(value) > DEEPEST:
        raise _Refused(_TOO_DEEP)
    return value


def _brackets(line: bytes) -> int:
    return line.count(b"[") + line.count(b"{")


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(f"names the field {twice!r} twice. Keep one of them")
    return value


def _no_number(name: str) -> NoReturn:
    raise _Refused(f"holds {name}, which is not JSON. Write null, or the word in quotation marks")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _Refused(f"holds {digits}, which is too large for a number. Write it as text")
    return value


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def _same(given: Any, kept: Any) -> bool:
    """Return whether a column kept a value. Of values of several kinds it makes text, and of no value null."""
    if given is None or kept is None:
        return given is kept or (given == {} and kept is None)
    if isinstance(given, dict) and isinstance(kept, dict):
        return all(_same(value, kept.get(field)) for field, value in given.items())
    if isinstance(given, list) and isinstance(kept, list):
        return len(given) == len(kept) and all(map(_same, given, kept))
    if isinstance(given, str) or not isinstance(kept, str):
        return isinstance(given, bool) is isinstance(kept, bool) and bool(given == kept)
    try:
        return bool(json.loads(kept) == given)
    except ValueError:
        return False


def _clash(rows: Iterable[tuple[int, dict[str, Any]]]) -> str | None:
    """Return what to say of the first line whose field is of another kind than in the lines above it."""
    first: dict[str, tuple[int, str]] = {}
    for number, row in rows:
        for field, value in row.items():
            if value is None:
                continue
            kind = _KINDS[type(value)]
            above, other = first.setdefault(field, (number, kind))
            if kind != other:
                return (
                    f"line {number}: the field {field!r} holds {kind}, {_short(value)}, and {other} in line {above}. A "
                    "column has one type: write that field as text in all lines"
                )
    return None


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
