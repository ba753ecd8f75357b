"""The Lance tables: keys, whole commits, concurrent writers, creations that were killed, damage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from synalign.errors import StoreError
from synalign.store.lake.lake import Lake, is_in, quote
from synalign.store.lake.schemas import TABLES, TableSpec, vectors_spec, vectors_table


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lance")


def weights(ids: list[str], run_id: str = "r", value: float = 1.0) -> pa.Table:
    rows = [{"run_id": run_id, "id": name, "weight_set": "s", "label": None, "weight": value} for name in ids]
    return pa.Table.from_pylist(rows, schema=TABLES["weights"].schema)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_its_key_and_format(lake: Lake, name: str):
    spec = TABLES[name]
    assert lake.insert(name, spec.schema.empty_table()) == 0
    dataset = lake.dataset(name)
    assert dataset.data_storage_version == "2.1"
    keyed = {
        field.name
        for field in dataset.schema
        if (field.metadata or {}).get(b"lance-schema:unenforced-primary-key") == b"true"
    }
    assert keyed == set(spec.key)
    assert {field.name for field in dataset.schema if not field.nullable} == set(spec.key)
    assert dataset.schema.names == spec.schema.names


def test_vectors_have_a_key_too_and_the_nearest_are_found(lake: Lake):
    spec = vectors_spec(3)
    name = vectors_table("e")
    matrix = np.eye(3, dtype=np.float32)
    matrix[2] = [0.9, 0.1, 0]
    rows = pa.table(
        {
            "origin": ["real", "real", "synthetic"],
            "id": ["a", "b", "a"],
            "run_id": ["r"] * 3,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), 3),
        },
        schema=spec.schema,
    )
    assert lake.insert(name, rows, spec) == 3
    assert lake.insert(name, rows, spec) == 0
    assert {f.name for f in lake.schema(name) if not f.nullable} == {"origin", "id"}
    found = lake.nearest(name, matrix[0], 3, "true", ["origin", "id"]).to_pylist()
    assert [(row["origin"], row["id"]) for row in found] == [("real", "a"), ("synthetic", "a"), ("real", "b")]
    expected = 1 - matrix[2] @ matrix[0] / np.linalg.norm(matrix[2])
    np.testing.assert_allclose([found[0]["_distance"], found[1]["_distance"]], [0, expected], atol=1e-6)
    assert [row["id"] for row in lake.nearest(name, matrix[0], 1, "origin = 'synthetic'", ["id"]).to_pylist()] == ["a"]


def test_insert_adds_only_new_keys_and_never_changes_a_row(lake: Lake):
    assert lake.insert("weights", weights(["a", "b"])) == 2
    assert lake.insert("weights", weights(["b", "c"], value=9.0)) == 1
    assert lake.insert("weights", weights(["a"], run_id="other")) == 1
    rows = lake.read("weights", ["run_id", "id", "weight"]).to_pylist()
    assert sorted((row["run_id"], row["id"], row["weight"]) for row in rows) == [
        ("other", "a", 1.0),
        ("r", "a", 1.0),
        ("r", "b", 1.0),
        ("r", "c", 9.0),
    ]


def test_rows_that_do_not_fit_write_nothing_not_even_the_table(lake: Lake):
    good = weights(["a"])
    bad = {
        "lack the columns": good.drop_columns(["label"]),
        "has no columns": good.append_column("own", pa.array([1])),
        "do not fit": good.set_column(4, "weight", pa.array(["heavy"])),
        "null values": weights(["a"]).set_column(1, "id", pa.array([None], pa.string())),
        "repeat a key": weights(["a", "b", "a"]),
    }
    for message, rows in bad.items():
        with pytest.raises(StoreError, match=message) as caught:
            lake.insert("weights", rows)
        assert "Nothing was written" in str(caught.value)
        assert lake.names() == []
    lake.insert("weights", good)
    version = lake.version("weights")
    for message, rows in bad.items():
        with pytest.raises(StoreError, match=message):
            lake.insert("weights", rows)
    assert lake.version("weights") == version
    assert lake.read("weights").num_rows == 1


def test_a_delete_without_a_match_makes_no_version(lake: Lake):
    assert lake.delete("weights", "true") == 0
    lake.insert("weights", weights(["a", "b's"]))
    version = lake.version("weights")
    assert lake.delete("weights", f"id = {quote('nobody')}") == 0
    assert lake.version("weights") == version
    assert lake.delete("weights", f"id = {quote(chr(98) + chr(39) + 's')}") == 1
    assert lake.read("weights")["id"].to_pylist() == ["a"]


def test_filters_on_no_values():
    assert (is_in("id", []), is_in("id", [], negate=True)) == ("false", "true")
    assert is_in("id", ["a", "b'"], negate=True) == "id not in ('a', 'b''')"


@pytest.mark.parametrize("leftover", ["", "data", "_versions"])
def test_a_creation_that_was_killed_is_no_table(lake: Lake, leftover: str):
    folder = lake.path / "weights.lance" / leftover
    folder.mkdir(parents=True)
    (folder / "part.lance").write_bytes(b"half of a file")
    assert (lake.exists("weights"), lake.names(), lake.version("weights")) == (False, [], 0)
    assert lake.read("weights", ["id"]).num_rows == 0
    assert lake.delete("weights", "true") == 0
    assert lake.insert("weights", weights(["a"])) == 1
    assert lake.read("weights")["id"].to_pylist() == ["a"]


def test_opening_and_reading_make_no_folder(lake: Lake):
    assert lake.read("real").num_rows == 0
    assert lake.schema("real").names == TABLES["real"].schema.names
    assert not lake.path.exists()


def test_own_columns_are_null_in_rows_there_are(lake: Lake):
    record = {"id": "a", "text": "t", "label": None, "split": "train", "run_id": "r"}
    lake.insert_rows("real", [record])
    lake.add_columns(
        "real", [pa.field("own", pa.large_string()), pa.field("deep", pa.struct([("a", pa.string_view())]))]
    )
    lake.add_columns("real", [pa.field("own", pa.int64())])  # is there: left as it is
    assert lake.schema("real").field("own").type == pa.string()
    assert lake.schema("real").field("deep").type == pa.struct([("a", pa.string())])
    assert lake.read("real", ["own"])["own"].to_pylist() == [None]
    version = lake.version("real")
    with pytest.raises(StoreError, match="upper and lower case only"):
        lake.add_columns("real", [pa.field("new", pa.int64()), pa.field("OWN", pa.int64())])
    assert lake.version("real") == version
    lake.insert_rows("real", [record | {"id": "b"}])
    assert lake.read("real", ["id", "own"], "id = 'b'").to_pylist() == [{"id": "b", "own": None}]


_WRITER = """
import sys
from pathlib import Path
from synalign.store.lake.lake import Lake
lake, mine = Lake(Path(sys.argv[1])), sys.argv[2]
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
added = 0
for block in range(12):
    rows = [
        {"run_id": "r", "id": f"{block}-{n}", "weight_set": mine, "label": None, "weight": 1.0} for n in range(40)
    ]
    added += lake.insert_rows("weights", rows)
print(added)
"""


def test_two_processes_that_insert_the_same_keys_make_no_duplicates(lake: Lake):
    lake.insert("weights", weights(["before"]))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(lake.path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    added = [int(writer.communicate(timeout=120)[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    found = lake.read("weights", ["id"])["id"].to_pylist()
    assert len(found) == len(set(found)) == 12 * 40 + 1
    assert sum(added) == 12 * 40


def test_damage_is_a_store_error(lake: Lake):
    lake.insert("weights", weights(["a"]))
    for file in (lake.path / "weights.lance" / "data").iterdir():
        file.unlink()
    for use in (lambda: lake.read("weights"), lambda: lake.insert("weights", weights(["a"]))):
        with pytest.raises(StoreError, match="'weights' cannot be"):
            use()
    for file in (lake.path / "weights.lance" / "_versions").iterdir():
        file.write_bytes(b"junk")
    with pytest.raises(StoreError, match="cannot be opened"):
        lake.read("weights")
    with pytest.raises(StoreError, match="There is no table 'weihgts'"):
        lake.read("weihgts")


def test_compacting_keeps_the_rows(lake: Lake):
    for name in "abcdef":
        lake.insert("weights", weights([name]))
    lake.compact("weights")
    assert sorted(lake.read("weights")["id"].to_pylist()) == list("abcdef")
    assert len(list((lake.path / "weights.lance" / "data").iterdir())) >= 1
    assert lake.insert("weights", weights(["a", "z"])) == 1


def test_a_table_of_an_earlier_schema_takes_rows_once_a_migration_added_its_columns(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
):
    spec = TABLES["weights"]
    older = TableSpec(pa.schema([field for field in spec.schema if field.name != "label"]), spec.key)
    rows, new = weights(["a"]).drop_columns(["label"]), weights(["b"])
    new = new.set_column(new.schema.get_field_index("label"), "label", pa.array(["x"]))
    monkeypatch.setitem(TABLES, "weights", older)
    lake.insert("weights", rows)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="no columns \\['label'\\]"):
        lake.insert("weights", new)
    lake.add_columns("weights", [pa.field("label", pa.string())])
    assert lake.insert("weights", new) == 1
    assert {row["id"]: row["label"] for row in lake.read("weights").to_pylist()} == {"a": None, "b": "x"}
