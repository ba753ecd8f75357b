"""Reads what a user hands in: a file, a frame, an Arrow table, or a query over a DuckDB file. Polars out, unjudged.

Parsing is polars'. What is ours is the message: which row, which byte, which file types there are.
"""

from __future__ import annotations

import json
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
KNOWN = (*_TEXT_SUFFIXES, *_JSON_SUFFIXES, ".parquet", *_DUCKDB_SUFFIXES)


def read(source: Any, strings: Sequence[str], query: str | None = None) -> tuple[pl.DataFrame, int]:
    """Return the rows of `source`, and the number that its first row has in messages.

    Args:
        source: a path, a polars or pandas frame, or an Arrow table.
        strings: columns that are text whatever they look like, so that a label 01 stays 01.
        query: SQL over `source`, which is then a DuckDB file.

    Raises:
        InputError: if the file is missing, empty, damaged or not UTF-8.
        UsageError: if its kind is not known, or a query comes with something that is no DuckDB file.
    """
    if isinstance(source, str | Path):
        return _read_path(Path(source), strings, query)
    if query is not None:
        raise UsageError(f"A query needs the path of a DuckDB file, not a {type(source).__name__}.")
    if isinstance(source, pl.DataFrame):
        return source, 0
    if isinstance(source, pl.LazyFrame):
        return source.collect(), 0
    if isinstance(source, pa.Table):
        return _from_arrow(source), 0
    if type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns"):
        return _from_arrow(pa.Table.from_pandas(source, preserve_index=False)), 0
    raise UsageError(
        f"Cannot ingest a {type(source).__name__}: give a path ({', '.join(KNOWN)}), a polars or pandas frame, or an "
        "Arrow table."
    )


def _from_arrow(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _read_path(path: Path, strings: Sequence[str], query: str | None) -> tuple[pl.DataFrame, int]:
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
        return _read_json_lines(path), 1
    if suffix == ".parquet":
        return _read_parquet(path), 0
    if suffix in _DUCKDB_SUFFIXES:
        if query is None:
            raise UsageError(f"{path} is a DuckDB file: say what to ingest with a query, such as 'select * from t'.")
        from synalign.store import query as sql

        return _from_arrow(sql.read_file(path, query)), 0
    raise UsageError(f"{path}: files that end in {suffix or 'nothing'} are not known; known are {', '.join(KNOWN)}.")


def _read_csv(path: Path, separator: str, strings: Sequence[str]) -> pl.DataFrame:
    _require_utf8(path)
    try:
        header = pl.read_csv(path, separator=separator, n_rows=0).columns
        kinds = {name: pl.String for name in strings if name in header}
        return pl.read_csv(path, separator=separator, schema_overrides=kinds, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f"{path} is not a table that can be read: {_first_line(error)}. Nothing was written."
        ) from error


def _read_json_lines(path: Path) -> pl.DataFrame:
    _require_utf8(path)
    try:
        frame = pl.read_ndjson(path, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: {_first_bad_json_line(path) or _first_line(error)}. Nothing was written.") from error
    return frame


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
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


def _first_bad_json_line(path: Path) -> str | None:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                return f"line {number} is not JSON ({error.msg}, at character {error.pos + 1})"
            if not isinstance(value, dict):
                return f"line {number} is JSON but not an object with named fields"
    return None
