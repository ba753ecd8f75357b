"""Every kind of file and frame gives the same records; damage is named with its row, line or byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from synalign.errors import InputError, UsageError
from synalign.store.files import files
from synalign.store.files.records import Columns, to_records

ROWS = [
    {"text": "plain", "label": "01", "n": 1},
    {"text": 'with "quotes", commas', "label": "b", "n": 2},
    {"text": "two\nlines and é 🥞", "label": None, "n": 3},
    {"text": "plain", "label": "01", "n": 1},
]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def make(kind: str, folder: Path):
    """Return (source, query) with ROWS in it."""
    frame = pl.DataFrame(ROWS)
    path = folder / f"rows[1].{kind}"  # brackets in a name are no pattern
    if kind == "csv":
        frame.write_csv(path)
    elif kind == "tsv":
        frame.write_csv(path, separator="\t")
    elif kind in ("jsonl", "ndjson"):
        frame.write_ndjson(path)
    elif kind == "parquet":
        frame.write_parquet(path)
    elif kind == "duckdb":
        with duckdb.connect(str(path)) as connection:
            connection.register("frame", frame.to_arrow())
            connection.execute("create table t as from frame")
        return path, "select text, label, n from t"
    else:
        frames = {"polars": frame, "lazy": frame.lazy(), "arrow": frame.to_arrow(), "pandas": pd.DataFrame(ROWS)}
        return frames[kind], None
    return path, None


def records(source, query=None, columns: Columns = Columns("text", "label")):  # noqa: B008
    rows, first = files.read(source, list(columns.named().values()), query)
    return to_records(rows, columns, first_row=first)


KINDS = ["csv", "tsv", "jsonl", "ndjson", "parquet", "duckdb", "polars", "lazy", "arrow", "pandas"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_records(kind, tmp_path):
    expected = records(pl.DataFrame(ROWS))
    found = records(*make(kind, tmp_path))
    assert found.frame.sort("id").equals(expected.frame.sort("id"))
    assert found.repeats.equals(expected.repeats)
    assert found.digest == expected.digest


def test_a_path_may_be_a_string(tmp_path):
    assert files.read(str(make("csv", tmp_path)[0]), [])[0].height == 4


def test_bom_crlf_and_quoted_line_breaks(tmp_path):
    source = write(tmp_path / "a.csv", b'\xef\xbb\xbf"text",label\r\n"one\r\ntwo",x\r\nthree,y\r\n')
    rows, first = files.read(source, ["text", "label"])
    assert (rows.to_dicts(), first) == (
        [{"text": "one\r\ntwo", "label": "x"}, {"text": "three", "label": "y"}],
        2,
    )
    lines = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"text": "one"}\r\n\r\n{"text": "two"}\r\n')
    rows, numbers = files.read(lines, ["text"])
    assert (rows["text"].to_list(), list(numbers)) == (["one", "two"], [1, 3])


def test_01_stays_in_csv(tmp_path):
    source = write(tmp_path / "a.csv", "text,label,n\n5,01,01\n6,02,02\n")
    assert files.read(source, ["text", "label"])[0].to_dicts()[0] == {"text": "5", "label": "01", "n": "01"}


def test_rows_are_numbered_as_the_file_shows_them(tmp_path):
    table = write(tmp_path / "a.csv", "text,label\na,x\n,x\nb,x\n")
    with pytest.raises(InputError, match=r"\(rows 3\)"):
        records(table)
    lines = write(tmp_path / "a.jsonl", '{"text": "a"}\n\n\n{"text": ""}\n{"text": null}\n')
    with pytest.raises(InputError, match=r"\(rows 4, 5\)"):
        records(lines, columns=Columns())
    with pytest.raises(InputError, match=r"\(rows 1\)"):
        records(pl.DataFrame({"text": ["a", None]}), columns=Columns())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "has no bytes"),
        ("a.jsonl", b"", "has no bytes"),
        ("a.jsonl", b"\n \n", "all its lines are blank"),
        ("a.csv", b"text,label\nfine,x\ncaf\xe9,y\n", "line 3, byte 4"),
        ("a.jsonl", b'{"text": "ok"}\n{"text": "caf\xe9"}\n', "line 2, byte 14"),
        ("a.csv", "text\nx".encode("utf-16"), "is UTF-16"),
        ("a.csv", b'text,label\n"a\nb",x\nc,y,z\n', r"row 3 \(line 4\) has 3 fields where the header has 2"),
        ("a.csv", b'text,label\na,x\n"b,y\nc,z\n', "row that begins in line 3"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n{"text": "b"}\n', "line 2 is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "b"', "line 3 is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n[1, 2]\n', "line 2 is JSON but not an object"),
        ("a.jsonl", b'{"text": "a"}{"text": "b"}\n', "line 1 is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "half \\ud83d"}\n', r"line 2 holds half a character .*\\ud83d"),
        ("a.parquet", b"PAR1 no parquet", "is not a Parquet file"),
        ("a.duckdb", b"no database at all" * 400, "a.duckdb"),
    ],
)
def test_damaged_files_say_where(name, content, message, tmp_path):
    source = write(tmp_path / name, content)
    with pytest.raises(InputError, match=message) as caught:
        files.read(source, ["text"], "select 1" if name.endswith("duckdb") else None)
    assert "Nothing was written" in str(caught.value)


def test_a_whole_surrogate_pair_is_a_character(tmp_path):
    source = write(tmp_path / "a.jsonl", '{"text": "cake \\ud83e\\udd5e"}\n')
    assert files.read(source, ["text"])[0]["text"].to_list() == ["cake 🥞"]


def test_a_truncated_parquet_file(tmp_path):
    path, _ = make("parquet", tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="is not a Parquet file"):
        files.read(path, [])


def test_header_only_has_columns_and_no_rows(tmp_path):
    with pytest.raises(InputError, match=r"has columns \(text, label\) but no rows"):
        records(write(tmp_path / "a.csv", "text,label\n"))


def test_short_rows_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"row 2 \(line 2\) has 2 fields where the header has 3"):
        files.read(write(tmp_path / "a.csv", "text,label,own\na,x\nb,y,1\n"), ["text"])


def test_fields_larger_than_the_csv_module_takes(tmp_path):
    long = "x" * 200_000
    assert files.read(write(tmp_path / "a.csv", f"text,label\n{long},1\n"), [])[0]["text"][0] == long
    with pytest.raises(InputError, match="not a table"):
        files.read(write(tmp_path / "b.csv", f"text,label\n{long},1\na,b,c\n"), [])


def test_what_is_no_table(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        files.read(tmp_path / "missing.csv", [])
    with pytest.raises(InputError, match="is a folder"):
        files.read(tmp_path, [])
    with pytest.raises(UsageError, match=r"end in \.xlsx are not known; known are \.csv"):
        files.read(write(tmp_path / "a.xlsx", "x"), [])
    with pytest.raises(UsageError, match="end in nothing"):
        files.read(write(tmp_path / "a", "x"), [])
    with pytest.raises(UsageError, match="Cannot ingest a list"):
        files.read([{"text": "a"}], [])


def test_queries_belong_to_duckdb_files(tmp_path):
    with pytest.raises(UsageError, match="needs a DuckDB file"):
        files.read(make("csv", tmp_path)[0], [], "select 1")
    with pytest.raises(UsageError, match="needs the path of a DuckDB file"):
        files.read(pl.DataFrame(ROWS), [], "select 1")
    path, _ = make("duckdb", tmp_path)
    with pytest.raises(UsageError, match="say what to ingest with a query"):
        files.read(path, [])
    for bad in ("select nothing from nowhere", "not sql", "select text + 1 from t"):
        with pytest.raises(InputError, match="The query was:"):
            files.read(path, [], bad)
    with pytest.raises(InputError, match=r"read-only|returns no rows"):
        files.read(path, [], "create table other as select 1")


@pytest.mark.parametrize("value", ["interval 1 day", "union_value(n := 1)"])
def test_query_results_without_a_column_type_are_refused(value, tmp_path):
    path, _ = make("duckdb", tmp_path)
    with pytest.raises(InputError, match=r"cannot be read.*Its columns: text string, own"):
        files.read(path, [], f"select text, {value} as own from t")


_HOLDER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("create table held (n int)")
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_duckdb_file_that_another_process_writes_to(tmp_path):
    path, query = make("duckdb", tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="lock"):
            files.read(path, [], query)
    finally:
        holder.communicate("done\n", timeout=30)
    assert files.read(path, [], query)[0].height == 4


def test_pandas_labels_with_gaps_are_whole_numbers():
    frame = pd.DataFrame({"text": ["a", "b", None], "label": [1, None, 2]})
    rows, _ = files.read(frame.dropna(subset=["text"]), [])
    assert to_records(rows, Columns("text", "label")).frame["label"].to_list() == ["1", None]
    with pytest.raises(InputError, match=r"\(rows 2\)"):
        records(frame)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"text": ["a", "b"], "own": [1, "x"]}),
        pd.DataFrame([["a", "b"]], columns=["text", "text"]),
    ],
)
def test_pandas_frames_that_have_no_column_types(frame):
    with pytest.raises(InputError, match="pandas frame cannot be read"):
        files.read(frame, [])


def test_arrow_types_that_have_no_column():
    table = pa.table({"text": ["a"], "own": pa.array([(1, 2, 3)], pa.month_day_nano_interval())})
    with pytest.raises(InputError, match="own month_day_nano_interval"):
        files.read(table, [])


def test_a_lazy_frame_that_fails(tmp_path):
    with pytest.raises(InputError, match="LazyFrame"):
        files.read(pl.scan_csv(tmp_path / "missing.csv"), [])


def test_json_lines_of_mixed_types_become_text(tmp_path):
    lines = [{"text": "a", "label": 1}, {"text": "b", "label": "x"}, {"text": "c", "own": [1]}]
    source = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    assert records(source).frame["label"].to_list() == ["1", "x", None]


@pytest.mark.parametrize(
    "index", [["x", "y"], range(2), pd.MultiIndex.from_tuples([(1, "x"), (2, "y")], names=["n", "m"])]
)
def test_an_index_with_a_name_is_kept(index):
    frame = pd.DataFrame({"text": ["a", "b"]}, index=index)
    names = [name for name in frame.index.names if name]
    assert files.read(frame, [])[0].columns == ["text", *names]
    if not names:
        frame.index.name = "ticket"
        rows = files.read(frame, [])[0]
        assert rows["ticket"].to_list() == list(index)
        assert files.read(frame.reset_index().set_index("ticket", drop=False), [])[0].columns == ["ticket", "text"]


@pytest.mark.parametrize("value", ["'101'::bit", "['101'::bit]", "time with time zone '10:00:00+02'"])
def test_duckdb_types_that_arrow_would_change_are_refused_with_the_cure(value: str, tmp_path: Path):
    path = tmp_path / "odd.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"create table t as select 'x' as text, {value} as odd")
    with pytest.raises(InputError, match=r"'odd' of the query over .* Cast it to text: odd::varchar"):
        files.read(path, ["text"], "from t")
    frame, _ = files.read(path, ["text"], "select text, odd::varchar as odd from t")
    assert frame["odd"].to_list()[0]
