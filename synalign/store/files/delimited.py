"""CSV and TSV: split into fields by two parsers, which must agree.

polars is lenient: it fills short rows, drops the quotes of a field that closes early and takes a stray quote for the
end of the table. Python's csv module, told to be strict, says where each row stands. What they read differently is
damage, and is refused with its row. No number is guessed that text could not be got back from: 007 stays text.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import polars as pl

from synalign.errors import InputError

#: The csv module has one limit for the whole process, 128 KiB, below the length of a long text.
_LONGEST_FIELD = 2**31 - 1
_LIMIT = threading.Lock()
#: Spellings that a number is written back in. Not 007 or +1: those are codes, postcodes, telephone numbers.
_INTEGER = r"^(0|-?[1-9][0-9]*)$"
_NUMBER = r"^(-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|-?\.[0-9]+([eE][-+]?[0-9]+)?|-?inf|NaN)$"
#: From here on not every integer is a float.
_EXACT = 2**53
_SEPARATORS = {",": "commas", "\t": "tabs"}


def read_delimited(name: str, data: bytes, separator: str, strings: Sequence[str]) -> tuple[pl.DataFrame, int]:
    """Return the rows of a CSV or TSV file in UTF-8, and the number of the first as a spreadsheet counts it.

    Blank lines at the end are none of the rows. A blank line between rows is a row of nulls.

    Args:
        name: of the file, for messages.
        strings: columns that are text whatever they look like.

    Raises:
        InputError: with the row and the line, if a row has another number of fields than the header, a quotation mark
            stands where none may, lines end in carriage returns alone, or the header names a column twice.
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
    with _rows(body, separator) as rows:
        header = _header(name, rows, separator, above)
        frame, problem = _parsed(body, separator, header)
        height = _agreed(name, rows, frame, header, above, problem)
    frame = frame.slice(1, height)
    return frame.with_columns(_typed(frame[column]) for column in frame.columns if column not in strings), above + 2


class _Rows:
    """The rows of a CSV file by the csv module, and where the last one stands."""

    def __init__(self, body: bytes, separator: str) -> None:
        self._text = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8", newline="")
        self._parts: list[str] = []
        self._reader = csv.reader(self._lines(), delimiter=separator, strict=True)
        self.line = 1  # in which the last row began

    def _lines(self) -> Iterator[str]:
        for line in self._text:
            self._parts.append(line)
            yield line

    @property
    def raw(self) -> str:
        """The last row as it stands in the file."""
        return "".join(self._parts)

    def __iter__(self) -> Iterator[list[str]]:
        while True:
            self.line = self._reader.line_num + 1
            self._parts.clear()
            try:
                row = next(self._reader)
            except StopIteration:
                return
            yield row


@contextmanager
def _rows(body: bytes, separator: str) -> Iterator[_Rows]:
    with _LIMIT:
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            yield _Rows(body, separator)
        finally:
            csv.field_size_limit(before)


def _header(name: str, rows: _Rows, separator: str, above: int) -> list[str]:
    try:
        names = next(iter(rows))
    except csv.Error as error:
        raise _unsplit(name, above + 1, above + 1, error) from error
    names = [column if column.strip() else f"column_{place}" for place, column in enumerate(names, start=1)]
    twice = sorted({column for column in names if names.count(column) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InputError(
            f"{name}: the header (row {above + 1}) names {', '.join(map(repr, twice))} more than once. Its fields, "
            f"separated by {_SEPARATORS[separator]}: {', '.join(names)}. Rename one. Nothing was written."
        )
    return names


def _parsed(body: bytes, separator: str, header: list[str]) -> tuple[pl.DataFrame, str]:
    """Return all rows by polars, the header among them, as text; and why there are none, if there are none."""
    schema = dict.fromkeys(header, pl.String())
    try:
        return pl.read_csv(io.BytesIO(body), separator=separator, has_header=False, schema=schema), ""
    except pl.exceptions.PolarsError as error:
        return pl.DataFrame(schema=schema), str(error).strip().splitlines()[0].rstrip(".")
    except pl.exceptions.PanicException as error:
        return pl.DataFrame(schema=schema), f"the reader broke down ({error})"


def _agreed(name: str, rows: _Rows, frame: pl.DataFrame, header: list[str], above: int, problem: str) -> int:
    """Return how many rows below the header both parsers read alike, blank ones at the end left out; or refuse."""
    width, height = len(header), 0
    other = frame.fill_null("").iter_rows()
    next(other, None)
    stray, number = None, above + 1
    try:
        for number, row in enumerate(rows, start=above + 2):
            blank = not row or (width > len(row) == 1 and not row[0].strip())
            if len(row) != width and not blank:
                raise _ragged(name, number, rows.line + above, len(row), width)
            if stray is None and rows.raw.count('"') % 2:
                stray = number, rows.line + above
            found = next(other, None)
            same = not any(map(str.strip, found or ())) if blank else found == tuple(row)
            if not problem and not same:
                raise _stray_quote(name, *(stray or (number, rows.line + above)))
            height = height if blank else number - above - 1
        if not problem and any(any(row) for row in other):
            problem = "it goes on after its last row"
    except csv.Error as error:
        raise _unsplit(name, number + 1, rows.line + above, error) from error
    if stray is not None and problem:
        raise _stray_quote(name, *stray)
    if problem:
        raise InputError(f"{name} is not a table that can be read: {problem}. Nothing was written.")
    return height


def _ragged(name: str, number: int, line: int, fields: int, width: int) -> InputError:
    cure = (
        "Put a field that holds the separator or a line break in quotation marks"
        if fields > width
        else "Give every row all its separators, also where its last fields are empty"
    )
    return InputError(
        f"{name} is not a table that can be read: row {number} (line {line}) has {fields} fields where the header has "
        f"{width}. {cure}. Nothing was written."
    )


def _unsplit(name: str, number: int, line: int, error: csv.Error) -> InputError:
    return InputError(
        f"{name} is not a table that can be read: row {number}, the row that begins in line {line}, cannot be split "
        f"into fields ({error}). A field with quotation marks in it stands in quotation marks, with each of its own "
        'doubled: "say ""hello""". Nothing was written.'
    )


def _stray_quote(name: str, number: int, line: int) -> InputError:
    return InputError(
        f"{name} is not a table that can be read: row {number} (line {line}) has a quotation mark or a line end where "
        "readers disagree on what it means. A field with quotation marks or line ends in it stands in quotation marks, "
        'with each of its own doubled: "say ""hello""". Nothing was written.'
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
