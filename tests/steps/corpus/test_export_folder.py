"""export into a folder: what DuckDB, Arrow and polars read back is what was written, whatever a label holds."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest

import synalign as sa
from synalign.errors import InputError, UsageError
from synalign.steps.corpus.partition import FILE, write

ODD = [
    None, "refund", "a/b", "..", ".", "it's", '"q"', "a b", "ünï 💸", "%41", "a=b", "NULL", "null", "Null", "", "  ",
    "a\\b", "x\ny", "+", "#?", "nan", "a,b;c", "[x]*?", "_x", ".h", "None", "true", "\x01",
]  # fmt: skip


def records(labels: list[Any]) -> pl.DataFrame:
    size = len(labels)
    return pl.DataFrame(
        {"id": [f"id{i:02}" for i in range(size)], "label": labels, "text": ["t"] * size, "weight": [1 / size] * size}
    )


def in_duckdb(path: Path) -> dict[str, Any]:
    query = f"select id, label from read_parquet('{path}/**/*.parquet', hive_partitioning = true)"
    return dict(duckdb.sql(query).fetchall())


def in_arrow(path: Path) -> dict[str, Any]:
    table = ds.dataset(path, partitioning="hive").to_table()
    return dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))


def in_polars(path: Path) -> dict[str, Any]:
    return dict(pl.read_parquet(path).select("id", "label").rows())


@pytest.mark.parametrize("read", [in_duckdb, in_arrow, in_polars])
def test_odd_labels_come_back(read: Any, tmp_path: Path) -> None:
    frame = records(ODD)
    path, card = write(frame, tmp_path / "out", {}, ["label"])
    assert read(path) == dict(frame.select("id", "label").rows())
    assert card == tmp_path / "out.md"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "out.md"]
    assert {entry.parent for entry in path.iterdir()} == {path}
    assert [name for name in (entry.name for entry in path.iterdir()) if not name.isascii()] == []


def test_all_weights_come_back_in_the_order_of_ids(filled: sa.Workspace, tmp_path: Path) -> None:
    path = filled.export(tmp_path / "weights", partition_by="label", columns=["id", "weight", "label_quality"])
    expected = filled.sql("select id, weight, label_quality, label from synthetic_weighted order by id").pl()
    found = pl.read_parquet(path)
    assert found.columns == expected.columns
    assert found.sort("id").equals(expected)
    for file in path.glob(f"*/{FILE}"):
        part = pl.read_parquet(file, hive_partitioning=False)
        assert part["id"].is_sorted()
        assert part.columns == ["id", "weight", "label_quality"], "the label is in the folder's name alone"
    card = (tmp_path / "weights.md").read_text(encoding="utf-8")
    assert f"| rows | {expected.height} |" in card
    assert "- `weight`: Float64" in card
    assert "`text`" not in card
    again = sa.open(filled.path, create=False)
    theirs = again.attach(path, "theirs")
    assert again.sql(f"select count(*) from {theirs} join synthetic using (id, label)").fetchall() == [(found.height,)]


def test_the_same_state_gives_the_same_bytes(filled: sa.Workspace, tmp_path: Path) -> None:
    def contents(path: Path) -> dict[str, bytes]:
        return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}

    first = contents(filled.export(tmp_path / "a", partition_by="label"))
    assert first
    assert contents(filled.export(tmp_path / "b", partition_by="label")) == first


def test_draws_and_several_keys(filled: sa.Workspace, tmp_path: Path) -> None:
    path = filled.export(tmp_path / "drawn", n=40, seed=2, partition_by=["label", "split"], columns=["id"])
    assert pl.read_parquet(path).height == 40
    assert {entry.name for entry in path.glob("*/*")} == {"split=train"}
    assert "| drawn | 40 |" in (tmp_path / "drawn.md").read_text(encoding="utf-8")


def test_an_export_is_replaced_as_a_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(records(["a", "b", "c"]), out, {}, ["label"])
    write(records(["c", "d"]), out, {}, ["label"])
    assert sorted(entry.name for entry in out.iterdir()) == ["label=c", "label=d"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "out.md"]
    (tmp_path / "empty").mkdir()
    write(records(["a"]), tmp_path / "empty", {}, ["label"])


def test_what_others_wrote_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(records(["a"]), out, {}, ["label"])
    (out / "label=a" / "mine.parquet").write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"holds label=a/mine\.parquet, which no export wrote"):
        write(records(["b"]), out, {}, ["label"])
    assert (out / "label=a" / "mine.parquet").read_bytes() == b"precious"
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(out)
    for taken in ("file", "link"):
        with pytest.raises(UsageError, match="is no folder"):
            write(records(["b"]), tmp_path / taken, {}, ["label"])
    with pytest.raises(UsageError, match="no folder"):
        write(records(["b"]), tmp_path / "none" / "out", {}, ["label"])
    with pytest.raises(UsageError, match="names no folder"):
        write(records(["b"]), Path(), {}, ["label"])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "link", "out", "out.md"]


@pytest.mark.parametrize(
    ("labels", "said"),
    [(["a", "x" * 300], "too long"), (["a", "💸" * 22], "too long"), (["a", "__HIVE_DEFAULT_PARTITION__"], "null")],
)
def test_a_label_that_cannot_be_a_folder_leaves_the_old_export(labels: list[str], said: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(records(["old"]), out, {}, ["label"])
    with pytest.raises(InputError, match=said):
        write(records(labels), out, {}, ["label"])
    assert in_polars(out) == {"id00": "old"}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "out.md"]


@pytest.mark.parametrize(
    ("keys", "columns", "said"),
    [
        (["lable"], None, "no column lable"),
        (["weight"], None, "cannot be partitioned by weight, which holds Float64"),
        ([], None, "each once"),
        (["label", "label"], None, "each once"),
        (["label"], ["label"], "no column is left"),
        (["label"], ["id", "wieght"], "no column wieght"),
    ],
)
def test_wrong_columns(keys: list[str], columns: list[str] | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        write(records(["a"]), tmp_path / "out", {}, keys, columns)
    assert not list(tmp_path.iterdir())


def test_keys_of_other_types(tmp_path: Path) -> None:
    days = [datetime.date(2026, 1, 31), None]
    frame = records(["a", "b"]).with_columns(day=pl.Series(days), kept=pl.Series([True, False]), n=pl.Series([3, 4]))
    path, _ = write(frame, tmp_path / "out", {}, ["day", "kept", "n"])
    scan = f"read_parquet('{path}/**/*.parquet', hive_partitioning = true)"
    found = duckdb.sql(f"select day, kept::varchar, n from {scan} order by id").fetchall()
    assert found == [(days[0], "true", 3), (None, "false", 4)]


def test_some_columns_of_a_file(filled: sa.Workspace, tmp_path: Path) -> None:
    path = filled.export(tmp_path / "weights.csv", columns=["weight", "id"])
    assert pl.read_csv(path).columns == ["weight", "id"]
    assert "## Labels\n\n| label | rows | share of weight |" in (tmp_path / "weights.csv.md").read_text(
        encoding="utf-8"
    )
    with pytest.raises(UsageError, match="no column wieght"):
        filled.export(tmp_path / "b.csv", columns=["wieght"])
    with pytest.raises(UsageError, match="list of names"):
        filled.export(tmp_path / "b.csv", columns="weight")
