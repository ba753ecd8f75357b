"""Searches for many texts at once: in columns, nested ones included, and in the bytes of files.

Aho-Corasick finds all texts in one pass, so that a thousand take about as long as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path

import polars as pl
import pyarrow as pa

#: Bytes of a file that are searched together.
_BLOCK = 16 * 2**20

_TEXTUAL = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
)


class ByteSearch:
    """A set of texts to search for, matched as substrings, case included.

    Args:
        texts: what to look for; empty ones are left out.
        exact: texts that match whole values only, in any column.
        whole: texts that match whole values of the columns named in `columns` only.
    """

    def __init__(
        self,
        texts: Iterable[str],
        exact: Iterable[str] = (),
        whole: Iterable[str] = (),
        columns: Sequence[str] = (),
    ) -> None:
        self.texts, self.exact = sorted({text for text in texts if text}), sorted(set(exact))
        self._whole, self._columns = sorted({*exact, *whole}), frozenset(columns)
        # Bytes are searched as text of one character a byte, which any bytes are.
        self._bytes = [_as_bytes(text) for text in self.texts]

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self.texts or self._whole)

    def held_by(self, values: pl.Series) -> pl.Series:
        """Return for each value of a text column whether it contains one of the texts, as booleans."""
        held = values.is_in(self.exact)
        if self.texts:
            held |= values.str.contains_any(self.texts)
        return held.fill_null(False)

    def in_rows(self, rows: pa.Table | pa.RecordBatch) -> list[str]:
        """Return the names of the columns that contain one of the texts, in nested values too."""
        found = []
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
            if any(self._in_leaf(leaf, name) for chunk in chunks for leaf in leaves(chunk)):
                found.append(name)
        return found

    def _in_leaf(self, leaf: pa.Array, name: str) -> bool:
        if pa.types.is_binary(leaf.type) or pa.types.is_large_binary(leaf.type):
            values = [value.decode("latin-1") for value in leaf.to_pylist() if value is not None]
            return self._in_bytes(values)
        series = pl.Series(leaf.cast(pa.large_string()))
        whole = name in self._columns and series.is_in(self._whole).any()
        return bool(whole or self.held_by(series).any())

    def in_file(self, path: Path) -> bool:
        """Return whether the bytes of a file contain one of the texts in UTF-8. Compressed data is not unpacked."""
        if not self.texts:
            return False
        overlap = max(len(text) for text in self._bytes) - 1
        with path.open("rb") as file:
            before = b""
            while block := file.read(_BLOCK):
                data = before + block
                if self._in_bytes([data.decode("latin-1")]):
                    return True
                before = data[-overlap:] if overlap else b""
        return False

    def only_across(self, path: Path, values: Iterable[str]) -> bool:
        """Return whether every match in a file only arises where one of `values` ends and another begins: Lance and
        Parquet store the values of a column side by side, with nothing between them."""
        whole = {value.encode("utf-8", "surrogatepass") for value in values if value}
        sizes = sorted({len(value) for value in whole})
        texts = [text.encode("latin-1") for text in self._bytes]
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return all(_across(data, place, len(text), whole, sizes) for text in texts for place in _places(data, text))

    def _in_bytes(self, values: Sequence[str]) -> bool:
        if not self._bytes or not values:
            return False
        return bool(pl.Series(values, dtype=pl.String).str.contains_any(self._bytes).any())


def leaves(array: pa.Array) -> Iterator[pa.Array]:
    """Yield the text and binary arrays nested in an array."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        yield from leaves(array.dictionary)
    elif pa.types.is_map(kind):
        yield from leaves(array.keys)
        yield from leaves(array.items)
    elif pa.types.is_struct(kind) or pa.types.is_nested(kind):
        parts = array.flatten()
        for part in parts if isinstance(parts, list) else [parts]:
            yield from leaves(part)
    elif isinstance(array, pa.ExtensionArray):
        yield from leaves(array.storage)
    elif any(holds(kind) for holds in _TEXTUAL):
        yield array
    elif pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        yield array.cast(pa.binary())


def forms(text: str, writers: Sequence[Callable[[str], str]]) -> set[str]:
    """Return a text and what each JSON writer makes of it: escaped once, and twice (JSON within JSON)."""
    once = {text, *(writer(text)[1:-1] for writer in writers)}
    return once | {writer(inner)[1:-1] for inner in once for writer in writers}


def quoted_in(texts: Sequence[str], others: pl.Series) -> set[str]:
    """Return those texts that occur in at least one of `others`."""
    if not texts:
        return set()
    found = others.str.extract_many(list(texts), overlapping=True).explode().drop_nulls()
    return set(found.unique().to_list())


def _places(data: mmap, text: bytes) -> Iterator[int]:
    place = data.find(text)
    while place >= 0:
        yield place
        place = data.find(text, place + 1)


def _across(data: mmap, start: int, size: int, whole: set[bytes], sizes: Sequence[int]) -> bool:
    """Return whether one whole value ends and another begins within the `size` bytes at `start`."""
    return any(
        any(length >= cut and data[start + cut - length : start + cut] in whole for length in sizes)
        and any(length >= size - cut and data[start + cut : start + cut + length] in whole for length in sizes)
        for cut in range(1, size)
    )


def _as_bytes(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").decode("latin-1")
