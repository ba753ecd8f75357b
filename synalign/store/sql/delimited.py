"""Has DuckDB split the bytes of a CSV or TSV file into columns of text."""

from __future__ import annotations

import io
from contextlib import closing, suppress
from typing import Any

import duckdb
import polars as pl
from fsspec import AbstractFileSystem

from synalign.errors import InputError
from synalign.store.sql.query import SETTINGS, interruptible, literal

_BATCH = 65_536
#: Bytes of DuckDB's buffer, which must hold the longest row: if these do not, the whole file's are taken.
_BUFFER = 2**24


def split(name: str, body: bytes, width: int, separator: str, line_end: str) -> pl.DataFrame:
    """Return the rows below the header, as text, in columns that are named "0", "1", ...

    A field without characters is null, and one that is only a pair of quotation marks is the empty text.

    Args:
        name: of the file, for messages.
        body: whole rows of `width` fields each, well-formed, in UTF-8, that all end in `line_end`.
            In the header no other line end stands.

    Raises:
        InputError: if DuckDB refuses the file after all.
    """
    if len(body) > _BUFFER:
        with suppress(duckdb.Error):
            return _split(body, width, separator, line_end, _BUFFER)
    try:
        return _split(body, width, separator, line_end, max(len(body), 2**16))
    except duckdb.Error as error:
        why = str(error).strip().splitlines()[0].rstrip(".")
        raise InputError(f"{name} is not a table that can be read: {why}. Nothing was written.") from error


def _split(body: bytes, width: int, separator: str, line_end: str, size: int) -> pl.DataFrame:
    # Told of "\r\n", DuckDB finds no rows. Untold, it looks for the first line end, whether quoted or not.
    told = "new_line = '\\n'," if line_end == "\n" else ""
    columns = ", ".join(f"'{place}': 'varchar'" for place in range(width))
    sql = f"""
        from read_csv(
            '{_Bytes.protocol}://body', columns = {{{columns}}}, header = true, auto_detect = false,
            delim = {literal(separator)}, quote = '"', escape = '"', {told} strict_mode = true,
            allow_quoted_nulls = false, parallel = false, max_line_size = {size}, buffer_size = {size}
        )"""
    frames = [pl.DataFrame(schema={str(place): pl.String for place in range(width)})]
    with closing(duckdb.connect(config={**SETTINGS, "threads": 1})) as connection, interruptible():
        connection.register_filesystem(_Bytes(body))
        for batch in connection.sql(sql).to_arrow_reader(_BATCH):
            frames.append(pl.DataFrame(batch))
    return pl.concat(frames, rechunk=False)


class _Bytes(AbstractFileSystem):
    """One file in memory, without a copy: DuckDB reads files, and the bytes here were checked to be well-formed."""

    protocol = "synalign-bytes"
    cachable = False

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def _open(self, path: str, mode: str = "rb", **options: Any) -> io.BytesIO:  # noqa: ARG002
        return io.BytesIO(self._data)

    def info(self, path: str, **options: Any) -> dict[str, Any]:  # noqa: ARG002
        return {"name": path, "size": len(self._data), "type": "file"}

    def glob(self, path: str, **options: Any) -> list[str]:  # noqa: ARG002
        return [path]
