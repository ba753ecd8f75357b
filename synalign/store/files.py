"""Reads what a user hands in: a file, a frame, an Arrow table, or a query over a DuckDB file. Polars out, unjudged.

Parsing is polars'. What is ours is the message: which row, which byte, which file types there are.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from synalign.errors import InputError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    Tabular = str | Path | pl.DataFrame | pa.Table | pd.DataFrame

_TEXT_SUFFIXES = {".csv": ",", ".tsv": "\t"}
_JSON_SUFFIXES = (".jsonl", ".ndjson")
_DUCKDB_SUFFIXES = (".duckdb", ".ddb", ".db")
#: Half of a surrogate pair, as JSON escapes it. Alone it is no character; polars would turn it into NUL.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
KNOWN = (*_TEXT_SUFFIXES, *_JSON_SUFFIXES, ".parquet", *_DUCKDB_SUFFIXES)


def read(source: Any, strings: Sequence[str], query: str | None = None) -> tuple[pl.DataFrame, int | Sequence[int]]:
    """Return the rows of `source`, and the number that its first row has in messages, or those of all rows.

    A row of a CSV or TSV file is numbered as a spreadsheet does (the header is row 1), one of JSON lines by its line,
    one of anything else from 0. CSV rows with too few fields are filled with nulls.

    Args:
        source: a path, a polars or pandas frame, or an Arrow table.
        strings: columns that are text whatever they look like, so that a label 01 stays 01.
        query: SQL over `source`, which is then a DuckDB file.

    Raises:
        InputError: if the file is missing, empty, damaged or not UTF-8, or a frame holds what has no column type.
        UsageError: if its kind is not known, or a query comes with something that is no DuckDB file.
    """
    if isinstance(source, str | Path):
        try:
            return _read_path(Path(source), strings, query)
        except OSError as error:
            raise InputError(f"{source} cannot be read: {error}. Nothing was written.") from error
    if query is not None:
        raise UsageError(f"A query needs the path of a DuckDB file, not a {type(source).__name__}.")
    if isinstance(source, pl.DataFrame):
        return source, 0
    if isinstance(source, pl.LazyFrame):
        return _collected(source), 0
    if isinstance(source, pa.Table):
        return _from_arrow(source, "the Arrow table"), 0
    if type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns"):
        return _from_pandas(source), 0
    raise UsageError(
        f"Cannot ingest a {type(source).__name__}: give a path ({', '.join(KNOWN)}), a polars or pandas frame, or an "
        "Arrow table."
    )


def _collected(lazy: pl.LazyFrame) -> pl.DataFrame:
    try:
        return lazy.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"The LazyFrame cannot be computed: {_first_line(error)}. Nothing was written.") from error


def _from_pandas(frame: pd.DataFrame) -> pl.DataFrame:
    # An index with a name is data; one that was set with drop=False is a column already.
    index = any(name is not None and name not in frame.columns for name in frame.index.names)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=index)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"The pandas frame cannot be read: {_first_line(error)}. Nothing was written.") from error
    return _from_arrow(table, "the pandas frame")


def _from_arrow(table: pa.Table, source: str) -> pl.DataFrame:
    try:
        frame = pl.from_arrow(table)
    except pl.exceptions.PolarsError as error:
        kinds = ", ".join(f"{field.name} {field.type}" for field in table.schema)
        raise InputError(
            f"A column of {source} cannot be read: {_first_line(error)}. Its columns: {kinds}. Cast that one to text "
            "or a number. Nothing was written."
        ) from error
    assert isinstance(frame, pl.DataFrame)
    return frame


def _read_path(path: Path, strings: Sequence[str], query: str | None) -> tuple[pl.DataFrame, int | Sequence[int]]:
    suffix = path.suffix.lower()
    if not path.exists():
        raise InputError(f"There is no file {path}. Nothing was written.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; a file is needed ({', '.join(KNOWN)}). Nothing was written.")
    if query is not None and suffix not in _DUCKDB_SUFFIXES:
        raise UsageError(f"A query needs a DuckDB file ({', '.join(_DUCKDB_SUFFIXES)}), and {path} is none.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: it has no bytes. Nothing was written.")
    if suffix in _TEXT_SUFFIXES:
        return _read_csv(path, _TEXT_SUFFIXES[suffix], strings), 2
    if suffix in _JSON_SUFFIXES:
        return _read_json_lines(path)
    if suffix == ".parquet":
        return _read_parquet(path), 0
    if suffix in _DUCKDB_SUFFIXES:
        if query is None:
            raise UsageError(f"{path} is a DuckDB file: say what to ingest with a query, such as 'select * from t'.")
        from synalign.store import query as sql

        return _from_arrow(sql.read_file(path, query), f"the query over {path}"), 0
    raise UsageError(f"{path}: files that end in {suffix or 'nothing'} are not known; known are {', '.join(KNOWN)}.")


def _read_csv(path: Path, separator: str, strings: Sequence[str]) -> pl.DataFrame:
    _require_utf8(path)
    try:
        # glob=False: brackets in a file's name are no pattern.
        header = pl.read_csv(path, separator=separator, n_rows=0, glob=False).columns
        kinds = {name: pl.String for name in strings if name in header}
        return pl.read_csv(path, separator=separator, schema_overrides=kinds, infer_schema_length=None, glob=False)
    except pl.exceptions.PolarsError as error:
        why = _first_bad_csv_row(path, separator) or _first_line(error)
        raise InputError(f"{path} is not a table that can be read: {why}. Nothing was written.") from error


def _read_json_lines(path: Path) -> tuple[pl.DataFrame, Sequence[int]]:
    _require_utf8(path)
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    lines = data.splitlines()
    numbers = [number for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbers:
        raise InputError(f"{path} has no rows: all its lines are blank. Nothing was written.")
    if _SURROGATE.search(data):
        _require_whole_characters(path, lines)
    try:
        frame = pl.read_ndjson(io.BytesIO(data), infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        why = _first_bad_json_line(lines) or _first_line(error)
        raise InputError(f"{path}: {why}. Nothing was written.") from error
    if frame.height != len(numbers):
        why = _first_bad_json_line(lines) or f"{len(numbers)} lines gave {frame.height} rows"
        raise InputError(f"{path}: {why}. Nothing was written.")
    return frame, numbers


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, glob=False)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path} is not a Parquet file: {_first_line(error)}. Nothing was written.") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def _require_utf8(path: Path) -> None:
    """Raise InputError with the line of the first bytes that are not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.isascii():
                continue
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                shown = line[max(0, error.start - 20) : error.end + 20]
                raise InputError(
                    f"{path} is not UTF-8: line {number}, byte {error.start + 1}: {shown!r}. Save it as UTF-8 (for "
                    f"example: iconv -f latin1 -t utf-8 {path.name} > utf8_{path.name}). Nothing was written."
                ) from error


def _first_bad_json_line(lines: Sequence[bytes]) -> str | None:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            return f"line {number} is not JSON ({error.msg}, at character {error.pos + 1})"
        if not isinstance(value, dict):
            return f"line {number} is JSON but not an object with named fields"
    return None


def _require_whole_characters(path: Path, lines: Sequence[bytes]) -> None:
    """Raise InputError with the first line that holds half a surrogate pair."""
    for number, line in enumerate(lines, start=1):
        if not _SURROGATE.search(line):
            continue
        try:
            json.dumps(json.loads(line), ensure_ascii=False).encode()
        except json.JSONDecodeError:
            return  # The parser that comes next says where.
        except UnicodeEncodeError as error:
            raise InputError(
                f"{path}: line {number} holds half a character (the lone surrogate "
                f"\\u{ord(error.object[error.start]):x}). Remove it. Nothing was written."
            ) from error


def _first_bad_csv_row(path: Path, separator: str) -> str | None:
    """Find the row that has too many fields, or the quotation mark that is never closed."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=separator, strict=True)
        width, line = 0, 1
        try:
            for number, row in enumerate(rows, start=1):
                width = width or len(row)
                if len(row) > width:
                    return f"row {number} (line {line}) has {len(row)} fields where the header has {width}"
                line = rows.line_num + 1
        except csv.Error as error:
            return f"the row that begins in line {line} cannot be split into fields ({error})"
    return None
