"""Reads what a user hands in: a file, a frame, an Arrow table, or a query over a DuckDB file. Polars out, unjudged.

Parsing is other libraries'. What is ours is the message: which row, which byte, which file types there are; and that
what comes out is what the file holds, or nothing. A text file is read once, so that all of it is of one moment.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from synalign.errors import InputError, UsageError
from synalign.store.files.delimited import read_delimited
from synalign.store.files.jsonlines import read_json_lines

if TYPE_CHECKING:
    import pandas as pd

    Tabular = str | Path | pl.DataFrame | pa.Table | pd.DataFrame

_TEXT_SUFFIXES = {".csv": ",", ".tsv": "\t"}
_JSON_SUFFIXES = (".jsonl", ".ndjson")
_DUCKDB_SUFFIXES = (".duckdb", ".ddb", ".db")
KNOWN = (*_TEXT_SUFFIXES, *_JSON_SUFFIXES, ".parquet", *_DUCKDB_SUFFIXES)

#: Types inside each other: at 64 Arrow hands them over no more.
_DEEPEST = 60

#: How files begin that are given the name of a text file, what they are, and what to do.
_OTHERS = (
    (b"\x1f\x8b", "is compressed with gzip", "gunzip < {0} > plain_{0}"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "zstd -d {0} -o plain_{0}"),
    (b"BZh", "is compressed with bzip2", "bunzip2 < {0} > plain_{0}"),
    (b"\xfd7zXZ", "is compressed with xz", "xz -d < {0} > plain_{0}"),
    (b"PK\x03\x04", "is a ZIP archive or an Excel workbook", "unzip it, or save the sheet as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "is an Excel workbook of the old kind", "save the sheet as CSV UTF-8"),
    (b"PAR1", "is a Parquet file", "name it .parquet"),
    (b"SQLite format 3", "is an SQLite database", "export the table as CSV"),
    (b"\xff\xfe\x00\x00", "is UTF-32", "iconv -f utf-32 -t utf-8 {0} > utf8_{0}"),
    (b"\xff\xfe", "is UTF-16", "iconv -f utf-16 -t utf-8 {0} > utf8_{0}"),
    (b"\xfe\xff", "is UTF-16", "iconv -f utf-16 -t utf-8 {0} > utf8_{0}"),
)  # fmt: skip


def read(source: Any, strings: Sequence[str], query: str | None = None) -> tuple[pl.DataFrame, int | Sequence[int]]:
    """Return the rows of `source`, and the number that its first row has in messages, or those of all rows.

    A row of a CSV or TSV file is numbered as a spreadsheet does (the header is row 1), one of JSON lines by its line,
    one of anything else from 0.

    Args:
        source: a path, a polars or pandas frame, or an Arrow table.
        strings: columns that are text whatever they look like, so that a label 01 stays 01.
        query: SQL over `source`, which is then a DuckDB file.

    Raises:
        InputError: if the file is missing, empty, damaged or not UTF-8, if it is no file but a folder or a pipe, or if
            a frame holds what has no column type.
        UsageError: if its kind is not known, or a query comes with something that is no DuckDB file.
    """
    if isinstance(source, str | Path):
        try:
            return _read_path(Path(source), strings, query)
        except OSError as error:
            raise InputError(f"{source} cannot be read: {error}. Nothing was written.") from error
        except MemoryError as error:
            raise InputError(f"{source} does not fit into memory. Split it. Nothing was written.") from error
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
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(f"The LazyFrame cannot be computed: {_first_line(error)}. Nothing was written.") from error


def _from_pandas(frame: pd.DataFrame) -> pl.DataFrame:
    # An index with a name is data; one that was set with drop=False is a column already.
    index = any(name is not None and name not in frame.columns for name in frame.index.names)
    try:
        for name in frame.columns:
            str(name).encode()
        table = pa.Table.from_pandas(frame, preserve_index=index)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, RecursionError) as error:
        why = _half_character(frame) or _first_line(error)
        raise InputError(f"The pandas frame cannot be read: {why}. Nothing was written.") from error
    return _from_arrow(table, "the pandas frame")


def _half_character(frame: pd.DataFrame) -> str | None:
    """Return where a pandas frame, which may hold what is no text, holds half a surrogate pair."""
    for place, name in enumerate(frame.columns):
        for number, value in enumerate([name, *frame.iloc[:, place]], start=-1):
            try:
                value.encode() if isinstance(value, str) else None
            except UnicodeEncodeError as error:
                half = f"half a character (the lone surrogate \\u{ord(error.object[error.start]):x})"
                where = f"row {number}" if number >= 0 else "its name"
                return f"{where}, column {name!a}, holds {half}. Remove it"
    return None


def _from_arrow(table: pa.Table, source: str) -> pl.DataFrame:
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InputError(
            f"The columns {', '.join(map(repr, twice))} stand more than once in {source}. Rename them. Nothing was "
            "written."
        )
    for name, values in zip(names, table.columns, strict=True):
        if _levels(values.type) > _DEEPEST:
            raise InputError(
                f"The column {name!r} of {source} has lists or structs inside each other more than {_DEEPEST} deep. "
                "Write it as text. Nothing was written."
            )
        try:
            # Bytes that are no UTF-8, offsets beyond the data, times beyond the day: polars would trust them.
            values.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"The column {name!r} of {source} is damaged: {_first_line(error)}. Nothing was written."
            ) from error
    try:
        frame = pl.from_arrow(pa.table([_known(values) for values in table.columns], names=names))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException) as error:
        kinds = ", ".join(f"{field.name} {field.type}" for field in table.schema)
        raise InputError(
            f"A column of {source} cannot be read: {_first_line(error)}. Its columns: {kinds}. Cast that one to text "
            "or a number. Nothing was written."
        ) from error
    assert isinstance(frame, pl.DataFrame)
    return frame


def _levels(kind: pa.DataType) -> int:
    """Return how many types stand inside each other, counted no further than matters."""
    levels, inner = 0, [kind]
    while inner and levels <= _DEEPEST:
        levels += 1
        inner = [each.field(place).type for each in inner for place in range(each.num_fields)]
    return levels


def _known(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return values of a type that polars breaks down at, or has no name for, as the same values of one that it knows.

    Raises:
        pa.ArrowException: if they have no such form.
    """
    kind = values.type
    if pa.types.is_decimal256(kind):
        return values.cast(pa.decimal128(min(kind.precision, 38), kind.scale))
    if isinstance(kind, pa.BaseExtensionType):
        if str(getattr(kind, "extension_name", "")) == "arrow.opaque":
            raise pa.ArrowNotImplementedError(f"{kind} has no form that others can read")
        return pa.chunked_array([chunk.storage for chunk in values.chunks], type=kind.storage_type)
    return values


def _read_path(path: Path, strings: Sequence[str], query: str | None) -> tuple[pl.DataFrame, int | Sequence[int]]:
    suffix = path.suffix.lower()
    _require_file(path)
    if query is not None and suffix not in _DUCKDB_SUFFIXES:
        raise UsageError(f"A query needs a DuckDB file ({', '.join(_DUCKDB_SUFFIXES)}), and {path} is none.")
    if suffix in _DUCKDB_SUFFIXES:
        return _read_duckdb(path, query), 0
    if suffix == ".parquet":
        return _read_parquet(path), 0
    if suffix not in (*_TEXT_SUFFIXES, *_JSON_SUFFIXES):
        raise UsageError(
            f"{path}: files that end in {suffix or 'nothing'} are not known; known are {', '.join(KNOWN)}."
        )
    with _opened(path) as file:
        data = file.read()
    _require_utf8(path, data)
    if suffix in _JSON_SUFFIXES:
        return read_json_lines(str(path), data)
    return read_delimited(str(path), data, _TEXT_SUFFIXES[suffix], strings)


def _require_file(path: Path) -> None:
    """Raise InputError if there is nothing to read; opening a pipe or a device could wait for ever."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        link = f" It is a link to {os.readlink(path)}." if "\0" not in str(path) and path.is_symlink() else ""
        raise InputError(f"There is no file {path}.{link} Nothing was written.") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; a file is needed ({', '.join(KNOWN)}). Nothing was written.")
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{path} is a pipe, a socket or a device; a file is needed. Write what comes out of it to a file first. "
            "Nothing was written."
        )
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: it has no bytes. Nothing was written.")


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file that is still one: without waiting, should a pipe have taken its place."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"{path} is no file any more. Nothing was written.")
        yield file


def _read_duckdb(path: Path, query: str | None) -> pl.DataFrame:
    if query is None:
        raise UsageError(f"{path} is a DuckDB file: say what to ingest with a query, such as 'select * from t'.")
    from synalign.store.sql import query as sql

    try:
        str(path).encode()
        query.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"DuckDB takes UTF-8 alone, which {str(path)!a} or the query {query!a} is not. Rename the file."
        ) from error
    return _from_arrow(sql.read_file(path, query), f"the query over {path}")


def _read_parquet(path: Path) -> pl.DataFrame:
    import pyarrow.parquet as pq

    # Not polars: a damaged file can make it break down, where Arrow's reader is hardened against such files.
    try:
        with _opened(path) as file:
            if file.read(4) == b"PARE":
                raise InputError(f"{path} is encrypted. Decrypt it first. Nothing was written.")
            file.seek(0)
            # Batch by batch and in this thread: a whole read waits for ever for the 10^12 rows that a damaged footer
            # claims, and threads that are at work when a page turns out to be damaged abort the process at its end.
            parquet = pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)
            claimed, schema = parquet.metadata.num_rows, parquet.schema_arrow
            batches = list(parquet.iter_batches(use_threads=False))
            table = pa.Table.from_batches(batches) if batches else schema.empty_table()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path} is not a Parquet file, is damaged or encrypted: {_first_line(error)}. Nothing was written."
        ) from error
    if table.num_rows != claimed:
        raise InputError(
            f"{path} is damaged: its footer claims {claimed} rows, and it holds {table.num_rows}. Nothing was written."
        )
    return _from_arrow(table, str(path))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _require_utf8(path: Path, data: bytes) -> None:
    """Raise InputError with what a file is if it is no text, or with the line of the first bytes that are not UTF-8."""
    for begins, what, cure in _OTHERS:
        if data.startswith(begins):
            raise InputError(
                f"{path} {what}; {'/'.join(_TEXT_SUFFIXES)}/{'/'.join(_JSON_SUFFIXES)} files are plain text in UTF-8. "
                f"Cure: {cure.format(path.name)}. Nothing was written."
            )
    if data.isascii() and not data[:1000].count(0) > len(data[:1000]) / 4:
        return
    if data[:1000].count(0) > len(data[:1000]) / 4:
        raise InputError(
            f"{path} is not UTF-8: many of its bytes are 0, as in UTF-16. Save it as UTF-8 (for example: iconv -f "
            f"utf-16le -t utf-8 {path.name} > utf8_{path.name}). Nothing was written."
        )
    for number, line in enumerate(io.BytesIO(data), start=1):
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
