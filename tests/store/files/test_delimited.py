"""CSV and TSV: read as Python's csv module reads them, or refused; never anything else."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign.errors import InputError
from synalign.store.files.delimited import read_delimited
from synalign.store.sql import delimited as duckdb_reader


def by_the_csv_module(text: str, separator: str) -> list[tuple[str, ...]]:
    """The rows below the header by another reader, blank ones at the end left out."""
    header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    width = len(header)
    while rows and (not rows[-1] or (width > len(rows[-1]) == 1 and not rows[-1][0].strip())):
        rows.pop()
    return [(*row, *[""] * (width - len(row))) for row in rows]


pieces = st.sampled_from(["a", " ", '"', '""', '5"', "#", "'", "\\", "\u00e9", "\u00a0", "\0"])
quoted = st.sampled_from(["a", '""', "\n", "\r\n", "\r", ",", "\t", " ", "\U0001f95e"])
fields = st.one_of(
    st.lists(pieces, max_size=4).map("".join),
    st.lists(quoted, max_size=5).map(lambda signs: '"' + "".join(signs) + '"'),
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, str]:
    """A file, mostly well-formed, and its separator."""
    separator, width = draw(st.sampled_from(",\t")), draw(st.integers(1, 3))
    name = draw(st.sampled_from(["h%d", '"h\n%d"', '"h,\t%d"', ' h"%d', '"h""%d"']))
    row = st.lists(fields, min_size=width, max_size=width).map(separator.join)
    any_row = st.one_of(row, row, row, st.sampled_from(["", "  ", separator * 3]))
    ends = draw(st.sampled_from([["\n"], ["\r\n"], ["\n", "\r\n"]]))
    lines = [separator.join(name % place for place in range(width)), *draw(st.lists(any_row, min_size=1, max_size=6))]
    text = "".join(line + draw(st.sampled_from(ends)) for line in lines)
    return (text.rstrip("\r\n") if draw(st.booleans()) else text), separator


@settings(max_examples=150, deadline=None)
@given(tables())
def test_a_file_is_read_as_the_csv_module_does_or_is_refused(table: tuple[str, str]) -> None:
    text, separator = table
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    try:
        frame, first = read_delimited("a.csv", text.encode(), separator, header)
    except InputError as error:
        assert "row" in str(error), "by its row, and before DuckDB sees it"  # noqa: PT017
        assert "DuckDB" not in str(error)  # noqa: PT017
        return
    assert first == 2
    assert frame.columns == header
    assert frame.fill_null("").rows() == by_the_csv_module(text, separator)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quotation_marks_in_plain_fields_are_characters(end: str) -> None:
    lines = ["text,label", '5" screen,x', 'he said ",x', ' "spaced",y', '"quoted ""one""",y', '""" ",""']
    frame, _ = read_delimited("a.csv", end.join(lines).encode(), ",", ["text", "label"])
    assert frame.rows() == [
        ('5" screen', "x"), ('he said "', "x"), (' "spaced"', "y"), ('quoted "one"', "y"), ('" ', ""),
    ]  # fmt: skip


def test_a_row_longer_than_the_buffer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb_reader, "_BUFFER", 2**16)
    long = 'x, "" \n' * 20_000
    frame, _ = read_delimited("a.csv", f'text,n\na,1\n"{long}",2\nb,3\n'.encode(), ",", ["text"])
    assert frame.rows() == [("a", 1), (long.replace('""', '"'), 2), ("b", 3)]


def test_rows_that_duckdb_would_lose_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    split = duckdb_reader.split
    monkeypatch.setattr(duckdb_reader, "split", lambda *given: split(*given).head(1))
    with pytest.raises(InputError, match="leaves out rows"):
        read_delimited("a.csv", b"text\na\nb\n", ",", [])
