"""Sources that are not what their name says: other formats, pipes, links, folders, files without a readable name."""

from __future__ import annotations

import gzip
import io
import os
import socket
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import synalign as sa
from synalign.errors import InputError, SynAlignError, UsageError
from synalign.store.files import files
from synalign.store.files.records import Columns, to_records
from tests.steps.workspaces import unpublished


@pytest.fixture(scope="module", autouse=True)
def without_catalog() -> Iterator[None]:
    """Leave out the catalog, which no test here reads."""
    with unpublished():
        yield


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", "<sheet/>")
    return buffer.getvalue()


def parquet(table: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


TABLE = pa.table({"text": ["abc"] * 40})
PLAIN = {"compression": "none", "use_dictionary": False}
CHECKED = parquet(TABLE, write_statistics=False, write_page_checksum=True, **PLAIN)

#: name, content, what the message must say.
DAMAGED = {
    "utf-16": ("a.csv", "text\nx".encode("utf-16"), r"is UTF-16.*iconv -f utf-16 -t utf-8"),
    "utf-16 without a mark": ("a.csv", "text,label\nab,x\n".encode("utf-16-le"), "many of its bytes are 0"),
    "utf-32": ("a.csv", "text\nx".encode("utf-32"), "is UTF-32"),
    "gzip": ("a.csv", gzip.compress(b"text\na\n"), "compressed with gzip.*gunzip"),
    "gzip as json": ("a.jsonl", gzip.compress(b'{"text": "a"}\n'), "compressed with gzip"),
    "excel": ("a.csv", zipped(), "Excel workbook.*CSV UTF-8"),
    "old excel": ("a.tsv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" * 9, "Excel workbook of the old kind"),
    "parquet as csv": ("a.csv", parquet(TABLE), "is a Parquet file.*name it .parquet"),
    "short row": ("a.csv", b"text,label\na,x\nb\nc,z\n", r"row 3 \(line 3\) has 1 fields where.*separat"),
    "long row": ("a.csv", b'text,label\n"a\nb",x\nc,d,z\n', r"row 3 \(line 4\) has 3 fields.*quotation marks"),
    "quote inside": ("a.csv", b'text,label\na,x\n"a "q" b",x\n', r"row 3, .*line 3, cannot be split.*doubled"),
    "quote left open": ("a.csv", b'text,label\na,x\n"b,y\nc,z\n', r"row 3, .*line 3, cannot be split"),
    "text behind quotes": ("a.csv", b'text,label\na,x\n"he" said,x\n', r"row 3, .*line 3, cannot be split.*behind"),
    "separator too many": ("a.csv", b"text,label\na,x\nb,y,\n", r"row 3 \(line 3\) has 3 fields where"),
    "quote left open at the end": ("a.csv", b'text,label\na,x\nb,"y', r"row 3, .*line 3, cannot be split.*closed"),
    "carriage returns": ("a.csv", b"text,label\ra,x\rb,y\r", r"carriage returns alone.*tr '\\r'"),
    "one carriage return": ("a.csv", b"text,label\na\rb,x\n", r"row 2 \(line 2\)"),
    "header twice": ("a.csv", b"text,label,label\na,x,y\n", r"header \(row 1\) names 'label' more than once"),
    "only blank lines": ("a.csv", b"\n\r\n\n", "all its lines are blank"),
    "array": ("a.jsonl", b'[{"text": "a"},\n{"text": "b"}]', r"line 1 is not JSON.*jq -c"),
    "array on one line": ("a.jsonl", b'[{"text": "a"}, {"text": "b"}]', r"line 1 is JSON but not an object.*jq -c"),
    "pretty": ("a.jsonl", b'{\n "text": "a"\n}\n', r"line 1 is not JSON.*one whole object"),
    "key twice": ("a.jsonl", b'{"text": "a"}\n{"text": "b", "text": "c"}\n', "line 2 names the field 'text' twice"),
    "inner key twice": ("a.jsonl", b'{"text": "a", "o": {"k": 1, "k": 2}}\n', "line 1 names the field 'k' twice"),
    "nan": ("a.jsonl", b'{"text": "a"}\n{"text": "b", "n": NaN}\n', "line 2 holds NaN, which is not JSON"),
    "infinity": ("a.jsonl", b'{"text": "a", "n": -Infinity}\n', "line 1 holds -Infinity"),
    "too large": ("a.jsonl", b'{"text": "a", "n": 1e999}\n', "line 1 holds 1e999, which is too large"),
    "deep": ("a.jsonl", b'{"text": "a", "n": ' + b"[" * 90 + b"]" * 90 + b"}\n", "line 1 has lists .* 32 deep"),
    "very deep": ("a.jsonl", b'{"text": "a", "n": ' + b"[" * 10**6 + b"]" * 10**6 + b"}\n", "line 1 has lists .* deep"),
    "digits": ("a.jsonl", b'{"text": "a", "n": ' + b"9" * 5_000 + b"}\n", "line 1 holds a number that is too long"),
    "mixed": ("a.jsonl", b'{"text": "a", "n": 1.5}\n\n{"text": "b", "n": true}\n', "line 3: the field .n. holds true"),
    "inexact": ("a.jsonl", b'{"text": "a", "n": 1.5}\n{"text": "b", "n": 9007199254740993}\n', "line 2: .*exactly"),
    "surrogate": ("a.jsonl", b'{"text": "a"}\n{"text": "b", "k\\ud83d": 1}\n', r"line 2 holds half a character"),
    "cesu": ("a.jsonl", b'{"text": "\xed\xa0\xbd"}\n', "line 1, byte 11"),
    "encrypted parquet": ("a.parquet", b"PARE" + b"x" * 90 + b"PARE", "is encrypted"),
    "truncated parquet": ("a.parquet", parquet(TABLE)[:-30], "is not a Parquet file"),
    "page checksum": (
        "a.parquet",
        CHECKED.replace(b"abc", b"abd", 1),
        "CRC checksum verification failed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_named_with_its_place_and_cure_and_nothing_is_written(case: str, blank: Path, tmp_path: Path) -> None:
    name, content, message = DAMAGED[case]
    source = tmp_path / name
    source.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        sa.open(blank).ingest(source)
    assert str(caught.value).endswith("Nothing was written.")
    assert len(str(caught.value)) < 1_000
    assert not blank.exists()


def varint(number: int) -> bytes:
    """A number of a Thrift footer: zigzag, seven bits a byte."""
    number, written = number * 2, b""
    while number > 127:
        written, number = written + bytes([number & 127 | 128]), number >> 7
    return written + bytes([number])


@pytest.mark.parametrize("rows", [10**9, 10**12, 2**62])
def test_a_footer_that_claims_a_million_million_rows(rows: int, tmp_path: Path) -> None:
    whole = parquet(TABLE, store_schema=False, **PLAIN)
    size = struct.unpack("<I", whole[-8:-4])[0]
    footer = whole[-8 - size : -8].replace(varint(40), varint(rows))  # of the file, of its row group, of its column
    assert len(footer) > size
    path = tmp_path / "bomb.parquet"
    path.write_bytes(whole[: -8 - size] + footer + struct.pack("<I", len(footer)) + b"PAR1")
    with pytest.raises(InputError, match=f"its footer claims {rows} rows, and it holds 40"):
        files.read(path, [])


def test_fields_that_another_separator_parts_are_hinted_at(blank: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text;label\na;x\n")
    with pytest.raises(UsageError, match=r"Its columns: text;label\. That is one column, with ';' in its name.*commas"):
        sa.open(blank).ingest(path)
    assert not blank.exists()


def test_lines_above_the_header_count_and_blank_ones_at_the_end_do_not(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\r\n\r\ntext,label\r\na,x\r\nb,y\r\n\r\n  \r\n\r\n")
    rows, first = files.read(path, ["text", "label"])
    assert (rows.rows(), first) == ([("a", "x"), ("b", "y")], 4)
    path.write_bytes(b"text,label\na,x\n\n,y\n")
    with pytest.raises(InputError, match=r"\(rows 3, 4\)"):
        to_records(*files.read(path, ["text"])[:1], Columns(), first_row=2)


@pytest.mark.parametrize(
    ("spelled", "kept"),
    [
        (["1", "-2", ""], [1, -2, None]),
        (["007", "1", "2"], ["007", "1", "2"]),
        (["+1", "2", "3"], ["+1", "2", "3"]),
        (["-0", "1", "2"], ["-0", "1", "2"]),
        (["9223372036854775807", "1", ""], [2**63 - 1, 1, None]),
        (["9223372036854775808", "1", "2"], ["9223372036854775808", "1", "2"]),
        (["1.5", "2", "-.25e3"], [1.5, 2.0, -250.0]),
        (["1.5", "9007199254740993", ""], ["1.5", "9007199254740993", None]),
        (["1e400", "1", "2"], ["1e400", "1", "2"]),
        (["true", "False", ""], [True, False, None]),
        (["1", '""', "2"], ["1", "", "2"]),
        ([" 1", "2 ", "3"], [" 1", "2 ", "3"]),
        (["NULL", "null", "NA"], ["NULL", "null", "NA"]),
        (["1_000", "0x10", "١"], ["1_000", "0x10", "١"]),
    ],
)
def test_a_number_is_made_of_text_only_if_the_text_can_be_got_back(spelled: list, kept: list, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,own\n" + "".join(f"t{n},{value}\n" for n, value in enumerate(spelled)), encoding="utf-8")
    assert files.read(path, ["text"])[0]["own"].to_list() == kept


@pytest.mark.parametrize("name", ["pipe.csv", "pipe.jsonl", "pipe.parquet", "pipe.duckdb"])
def test_a_pipe_is_refused_and_not_waited_for(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(InputError, match="is a pipe, a socket or a device"):
        files.read(path, [], "select 1" if name.endswith("duckdb") else None)


def test_sockets_devices_folders_and_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket may not be long
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.csv")
        with pytest.raises(InputError, match="is a pipe, a socket or a device"):
            files.read("socket.csv", [])
    links = {
        "zero.csv": ("/dev/zero", "is a pipe, a socket or a device"),
        "loop.csv": ("loop.csv", "cannot be read: .*symbolic links"),
        "nothing.csv": ("gone/away.csv", "There is no file nothing.csv. It is a link to gone/away.csv"),
        "folder.csv": (str(tmp_path), "is a folder"),
    }
    for name, (target, message) in links.items():
        Path(name).symlink_to(target)
        with pytest.raises(InputError, match=message):
            files.read(name, [])
    Path("folder.parquet").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        files.read("folder.parquet", [])
    for name in ("a\0b.csv", "x" * 5_000 + ".csv", "a.csv/b.csv", ""):
        with pytest.raises(SynAlignError):
            files.read(name, [])
    Path("real.csv").write_text("text\na\n")
    Path("to the real one.csv").symlink_to("real.csv")
    assert files.read("to the real one.csv", [])[0].rows() == [("a",)]


def test_a_file_that_vanishes_or_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\na\n")
    path.unlink()
    with pytest.raises(InputError, match="There is no file"):
        files.read(path, [])
    if os.geteuid() == 0:
        return  # who may read everything
    path.write_text("text\na\n")
    path.chmod(0)
    with pytest.raises(InputError, match=r"cannot be read: .*Permission denied"):
        files.read(path, [])


@pytest.mark.parametrize(
    "name", [b"two words.csv", b"caf\xe9.csv", "é 🥞.csv".encode(), b"a'b\"c$(d)[1].csv", b"-n.csv"]
)
def test_names_of_files_are_taken_as_they_are(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_text("text\na\n")
    assert files.read(path, [])[0].rows() == [("a",)]
    path = path.with_suffix(".parquet")
    path.write_bytes(parquet(pa.table({"text": ["b"]})))
    assert files.read(path, [])[0].rows() == [("b",)]
    path = path.with_suffix(".duckdb")
    path.write_bytes(b"no database")
    with pytest.raises(SynAlignError):
        files.read(path, [], "select 1")


HALF = "a\ud83d"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"text": ["ok", HALF]}, dtype=object), r"row 1, column 'text', holds half .*\\ud83d"),
        (pd.DataFrame({"text": ["ok"], "label": [HALF]}, dtype=object), r"row 0, column 'label', holds half"),
        (
            pd.DataFrame([["ok", 1]], columns=pd.Index(["text", HALF], dtype=object)),
            r"its name, column 'a\\ud83d', holds half",
        ),
    ],
)
def test_half_a_character_in_a_frame(frame: pd.DataFrame, message: str, blank: Path) -> None:
    with pytest.raises(InputError, match=message):
        sa.open(blank).ingest(frame, label="label" if "label" in frame.columns else None)
    assert not blank.exists()


def test_arrow_bytes_that_are_no_text(blank: Path) -> None:
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(struct.pack("<ii", 0, 2)), pa.py_buffer(b"\xed\xa0")]
    )
    with pytest.raises(InputError, match=r"column .text. of the Arrow table is damaged: .*UTF8"):
        sa.open(blank).ingest(pa.table({"text": bad}))
    assert not blank.exists()


ODD_SQL = {
    "'b'::enum('a', 'b')": "b",
    "42::hugeint": 42,
    "uuid '4af149d9-605e-4530-a99c-d2b7e4fab9ab'": "4af149d9-605e-4530-a99c-d2b7e4fab9ab",
    "time '01:02:03'": "01:02:03",
    "{'a': 1, 'b': [1, 2]}": {"a": 1, "b": [1, 2]},
    "1.50::decimal(38, 10)": "1.5000000000",
    "18446744073709551615::ubigint": 2**64 - 1,
    "null": None,
    "170141183460469231731687303715884105727::hugeint": InputError,
    "interval 1 day": InputError,
    "union_value(n := 1)": InputError,
    "map {'k': 1}": InputError,
    "date 'infinity'": InputError,
    "date '0044-03-15 (BC)'": InputError,
    "timestamp 'infinity'": InputError,
    "[date 'infinity']": InputError,
    "[[]::int[]]": [[]],
}


@pytest.mark.parametrize("expression", ODD_SQL)
def test_types_of_a_duckdb_file(expression: str, blank: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"create table t as select 'a' as text, {expression} as own")
    expected = ODD_SQL[expression]
    workspace = sa.open(blank)
    if expected is InputError:
        with pytest.raises(InputError, match="own"):
            workspace.ingest(path, query="from t")
        assert not blank.exists()
        return
    workspace.ingest(path, query="from t")
    found = workspace.sql("select own from real").fetchall()[0][0]
    assert (found if isinstance(expected, int | list | dict | None) else str(found)) == expected


def nested(depth: int) -> pa.Array:
    values = pa.array([1])
    for _ in range(depth):
        values = pa.ListArray.from_arrays([0, 1], values)
    return values


@pytest.mark.parametrize("depth", [70, 500])
def test_lists_inside_lists_without_end(depth: int) -> None:
    with pytest.raises(InputError, match="more than 60 deep"):
        files.read(pa.table({"text": ["a"], "own": nested(depth)}), [])
    rows = files.read(pa.table({"text": ["a"], "own": nested(30)}), [])[0]
    assert to_records(rows, Columns()).frame.height == 1


def test_wide_decimals_and_integers_are_kept(blank: Path) -> None:
    number = pa.array(["12345678901234567890.5"]).cast(pa.decimal256(50, 1))
    workspace = sa.open(blank)
    workspace.ingest(pa.table({"text": ["a"], "own": number}))
    workspace.ingest(pl.DataFrame({"text": ["b"], "wide": pl.Series([2**100], dtype=pl.Int128)}))
    found = workspace.sql("select own::varchar, wide from real order by text").fetchall()
    assert found == [("12345678901234567890.5", None), (None, str(2**100))]
    with pytest.raises(InputError, match="own"):
        workspace.ingest(pa.table({"text": ["c"], "own": pa.array(["1" * 45]).cast(pa.decimal256(50, 0))}))
