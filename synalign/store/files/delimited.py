"""CSV and TSV: a grammar checks every row, DuckDB splits the rows into columns.

DuckDB alone, in its strict mode, loses or changes some rows without a word (1.5.5 and 2.0.0): the last row if its
quotation mark is never closed, a separator too many at the end of a row, text and blanks around quotation marks, blank
lines. So one regular expression says first whether each row is well-formed, and where the first is that is not. No
number is guessed that text could not be got back from: 007 stays text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import polars as pl

from synalign.errors import InputError
from synalign.store.sql import delimited as sql

#: Spellings that a number is written back in. Not 007 or +1: those are codes, postcodes, telephone numbers.
_INTEGER = r"^(0|-?[1-9][0-9]*)$"
_NUMBER = r"^(-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|-?\.[0-9]+([eE][-+]?[0-9]+)?|-?inf|NaN)$"
#: From here on not every integer is a float.
_EXACT = 2**53
_SEPARATORS = {",": "commas", "\t": "tabs"}


def read_delimited(name: str, data: bytes, separator: str, strings: Sequence[str]) -> tuple[pl.DataFrame, int]:
    """Return the rows of a CSV or TSV file in UTF-8, and the number of the first as a spreadsheet counts it.

    A field that begins with a quotation mark ends with one, and doubles those inside; in any other field they are
    plain characters, as in 5" screen. Blank lines at the end are no rows. A blank line between rows is a row of nulls.

    Args:
        name: of the file, for messages.
        strings: columns that are text whatever they look like.

    Raises:
        InputError: with the row and the line, if a row has another number of fields than the header, a field in
            quotation marks is not closed or goes on behind them, lines end in carriage returns alone, or the header
            names a column twice.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    body = data.lstrip(b"\r\n")
    skipped = data[: len(data) - len(body)]
    above = skipped.count(b"\n") or skipped.count(b"\r")
    if not body:
        raise InputError(f"{name} has no rows: all its lines are blank. Nothing was written.")
    if b"\n" not in body and b"\r" in body.rstrip(b"\r"):
        raise InputError(
            f"{name}: its lines end in carriage returns alone, as on an old Macintosh. Turn them into line feeds (for "
            f"example: tr '\\r' '\\n' < old.csv > new.csv). Nothing was written."
        )
    header = _header(name, body, separator, above)
    grammar = _grammar(separator, len(header))
    body = _without_blank_end(body, len(header))
    ends = ("\n",) if re.search("[\r\n]", "".join(header)) else ("\n", "\r\n")
    line_end = next((end for end in ends if grammar.even[end].fullmatch(body)), None)
    if line_end is None:
        good = grammar.rows.match(body)
        if good is None or good.end() < len(body):
            raise _refused(name, body, good.end() if good else 0, grammar, above)
        body, line_end = _even(body, grammar), "\n"
    frame = sql.split(name, body, len(header), separator, line_end)
    inside = frame.select(pl.all().str.count_matches("\n", literal=True)).sum().sum_horizontal().item()
    if body.count(b"\n") != 1 + "".join(header).count("\n") + frame.height + inside:
        raise InputError(f"{name} is not a table that can be read: DuckDB leaves out rows of it. Nothing was written.")
    frame.columns = header
    return frame.with_columns(_typed(frame[column]) for column in frame.columns if column not in strings), above + 2


@dataclass(frozen=True)
class _Grammar:
    """What rows of `width` fields are, as patterns of bytes. No pattern tries a byte more than a few times."""

    separator: bytes
    width: int
    field: re.Pattern[bytes]
    end: re.Pattern[bytes]  # of a line
    row: re.Pattern[bytes]  # one row or blank line with its end; the group is what stands before the end
    rows: re.Pattern[bytes]  # as many rows as are well-formed
    even: dict[str, re.Pattern[bytes]]  # rows that DuckDB reads as they are, for each way to end a line


@cache
def _grammar(separator: str, width: int) -> _Grammar:
    sign = re.escape(separator.encode())
    quoted, plain = rb'"[^"]*+(?:""[^"]*+)*+"', rb"[^" + sign + rb"\r\n]*+"
    field, even = rb'(?:%b|(?!")%b)' % (quoted, plain), rb'(?:%b|(?! *")%b)' % (quoted, plain)
    more = rb"(?:" + sign + rb"%b){" + str(width - 1).encode() + rb"}"
    end, blank = rb"\r?(?:\n|\Z)", rb"| *+" if width > 1 else b""
    row = rb"(?!\Z)(" + field + more % field + blank + rb")" + end
    return _Grammar(
        separator.encode(),
        width,
        re.compile(field),
        re.compile(end),
        re.compile(row),
        re.compile(rb"(?:" + row + rb")*+"),
        {end: re.compile(rb"(?:%b%b%b)*+" % (even, more % even, end.encode())) for end in ("\n", "\r\n")},
    )


def _header(name: str, body: bytes, separator: str, above: int) -> list[str]:
    """Return the names of the columns. One without a name is called by its place."""
    grammar = _grammar(separator, 1)
    fields, place = _fields(body, grammar, 0)
    if not grammar.end.match(body, place):
        raise _refused(name, body, 0, grammar, above)
    names = [_plain(field).decode() for field in fields]
    names = [column if column.strip() else f"column_{place}" for place, column in enumerate(names, start=1)]
    twice = sorted({column for column in names if names.count(column) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InputError(
            f"{name}: the header (row {above + 1}) names {', '.join(map(repr, twice))} more than once. Its fields, "
            f"separated by {_SEPARATORS[separator]}: {', '.join(names)}. Rename one. Nothing was written."
        )
    return names


def _fields(body: bytes, grammar: _Grammar, place: int) -> tuple[list[bytes], int]:
    """Return the fields from a place to the end of the row or to what no field holds, and where that is."""
    fields = []
    while (field := grammar.field.match(body, place)) is not None:
        fields.append(field[0])
        place = field.end()
        if not body.startswith(grammar.separator, place):
            break
        place += 1
    return fields, place


def _plain(field: bytes) -> bytes:
    return field[1:-1].replace(b'""', b'"') if field.startswith(b'"') else field


def _without_blank_end(body: bytes, width: int) -> bytes:
    """Return the bytes up to the end of the last line that is not blank. In a single column blanks are a value."""
    filled = len(body.rstrip(b"\r\n " if width > 1 else b"\r\n"))
    return body[: body.find(b"\n", filled) + 1 or len(body)]


def _even(body: bytes, grammar: _Grammar) -> bytes:
    """Return well-formed rows as DuckDB takes them and changes nothing in them.

    Lines end in line feeds; blank lines have their separators; a field such as ` "x"`, whose blanks and quotation marks
    DuckDB would drop, is put in quotation marks. Most files are so already.
    """
    lines = []
    for row in grammar.row.finditer(body):
        fields, _ = _fields(row[1], grammar, 0)
        fields += [b""] * (grammar.width - len(fields))
        quote = [field.startswith(b" ") and field.lstrip(b" ").startswith(b'"') for field in fields]
        if any(quote):
            fields = [b'"%b"' % f.replace(b'"', b'""') if q else f for f, q in zip(fields, quote, strict=True)]
        lines.append(grammar.separator.join(fields))
    return b"\n".join([*lines, b""])


def _refused(name: str, body: bytes, at: int, grammar: _Grammar, above: int) -> InputError:
    """Return the error for the row that begins at a place: the first that is not well-formed."""
    number = above + 1 + sum(1 for _ in grammar.row.finditer(body, 0, at))
    line = above + 1 + body.count(b"\n", 0, at)
    fields, place = _fields(body, grammar, at)
    rest = body[place : place + 1]
    if grammar.end.match(body, place):
        cure = (
            "Put a field that holds the separator or a line break in quotation marks"
            if len(fields) > grammar.width
            else "Give every row all its separators, also where its last fields are empty"
        )
        return InputError(
            f"{name} is not a table that can be read: row {number} (line {line}) has {len(fields)} fields where the "
            f"header has {grammar.width}. {cure}. Nothing was written."
        )
    if rest == b"\r":
        return InputError(
            f"{name} is not a table that can be read: row {number} (line {line}) has a carriage return that ends no "
            "line. Remove it, or put the field that holds it in quotation marks. Nothing was written."
        )
    why = "its last quotation mark is never closed" if rest == b'"' else "text stands behind a closing quotation mark"
    return InputError(
        f"{name} is not a table that can be read: row {number}, the row that begins in line {line}, cannot be split "
        f"into fields: {why}. A field that begins with a quotation mark ends with one, with each of its own doubled: "
        '"say ""hello""". Nothing was written.'
    )


def _typed(values: pl.Series) -> pl.Series:
    """Return text as truth values, integers or numbers, if all of it is; else as it is."""
    there = values.drop_nulls()
    if not there.len():
        return values
    if there.str.to_lowercase().is_in(["true", "false"]).all():
        return values.str.to_lowercase() == "true"
    if there.str.contains(_INTEGER).all():
        whole = values.cast(pl.Int64, strict=False)
        return whole if whole.null_count() == values.null_count() else values
    if not there.str.contains(_NUMBER).all() or (there == "-0").any():
        return values
    numbers = there.cast(pl.Float64, strict=False)
    spelled = there.str.contains("inf|NaN")
    whole = there.filter(there.str.contains(_INTEGER)).cast(pl.Float64, strict=False)
    exact = (numbers.is_finite() | spelled).fill_null(False).all() and bool((whole.abs() < _EXACT).all())
    return values.cast(pl.Float64) if exact else values
