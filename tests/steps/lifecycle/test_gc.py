"""gc drops only what nothing needs: afterwards the workspace answers as before, and a run has nothing to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

import synalign as sa
from synalign.errors import StoreError
from synalign.store.lake.journal import Plan
from synalign.store.lake.lake import FEW_FRAGMENTS
from synalign.store.lake.schemas import TABLES, vectors_spec

QUERY = "select id, weight from synthetic_weighted order by id"


def _copy(filled: sa.Workspace, target: Path) -> sa.Workspace:
    shutil.copytree(filled.path, target)
    return sa.open(target)


def test_gc_keeps_every_answer_and_every_reply(filled: sa.Workspace, tmp_path: Path) -> None:
    workspace = _copy(filled, tmp_path / "w")
    before = workspace.sql(QUERY).fetchall()
    calls = workspace.sql("select call_id, reply from calls order by call_id").fetchall()
    dropped = workspace.gc()
    assert dropped["replies"] == len(calls)
    assert workspace.gc()["replies"] == 0
    assert workspace.sql(QUERY).fetchall() == before
    assert workspace.sql("select call_id, reply from calls order by call_id").fetchall() == calls
    for outcome in (
        workspace.cluster(k=12),
        workspace.select(),
        workspace.reason(),
        workspace.generate(per_selection=6),
    ):
        assert outcome.reused, outcome.step


def test_gc_drops_rows_tables_and_folders_that_no_finished_run_owns(filled: sa.Workspace, tmp_path: Path) -> None:
    workspace = _copy(filled, tmp_path / "w")
    lake = workspace._lake
    unfinished = Plan("select", {"never": "finished"}).run_id
    row = {field.name: None for field in TABLES["selections"].schema} | {"run_id": unfinished, "step": 0}
    lake.insert_rows("selections", [row])
    spec = vectors_spec(2)
    vector = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0], pa.float32()), 2)
    stray = pa.table({"origin": ["real"], "id": ["a"], "run_id": ["r"], "vector": vector}, schema=spec.schema)
    lake.insert("vectors_stray", stray, spec)
    (lake.path / "vectors_killed.lance" / "data").mkdir(parents=True)
    (lake.path / "vectors_killed.lance" / "data" / "part.lance").write_bytes(b"x" * 1000)
    orphan = lake.path / "weights.lance" / "data" / "orphan.lance"
    orphan.write_bytes(b"y" * 2000)
    # What Lance was about to put in place when it was killed.
    staged = [lake.path / "weights.lance" / name for name in ("_transactions/.tmpAb12Cd", "_versions/9.manifest#1")]
    for path in staged:
        path.write_bytes(b"z")
    dropped = workspace.gc()
    assert dropped["rows"] == 1
    assert dropped["tables"] == 1
    assert dropped["bytes"] >= 3000
    assert not orphan.exists()
    assert not [path for path in staged if path.exists()]
    assert not [name for name in lake.names() if name in ("vectors_stray", "vectors_killed")]
    assert not (lake.path / "vectors_killed.lance").exists()
    assert lake.read("selections", where=f"run_id = '{unfinished}'").num_rows == 0


def test_records_can_come_in_after_gc(filled: sa.Workspace, tmp_path: Path) -> None:
    workspace = _copy(filled, tmp_path / "w")
    workspace.gc()
    more = pl.DataFrame({"text": ["the lamp flickers since monday"], "label": ["defect"]})
    assert workspace.ingest(more, label="label").counts["added"] == 1
    assert (
        workspace.align(features=256).counts["records"] == filled.sql("select count(*) from synthetic").fetchall()[0][0]
    )


def test_a_workspace_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        sa.open(tmp_path / "file" / "workspace").ingest(pl.DataFrame({"text": ["a lamp"]}))


def _bytes(workspace: sa.Workspace) -> int:
    files = [*workspace._lake.path.rglob("*"), *workspace.path.glob("ledger.sqlite*")]
    return sum(path.stat().st_size for path in files if path.is_file())


def test_gc_says_what_it_gave_back_and_does_not_grow_a_workspace(filled: sa.Workspace, tmp_path: Path) -> None:
    workspace = _copy(filled, tmp_path / "w")
    for _ in range(2):
        before = _bytes(workspace)
        given_back = workspace.gc()["bytes"]
        assert given_back == before - _bytes(workspace)
        assert given_back >= 0


def test_a_table_of_many_fragments_is_merged(blank: Path) -> None:
    workspace = sa.open(blank)
    for number in range(FEW_FRAGMENTS + 1):
        assert len(workspace._lake.dataset("real").get_fragments() if number else []) == number
        workspace.ingest(pl.DataFrame({"text": [f"text {number}"]}))
    before = _bytes(workspace)
    given_back = workspace.gc()["bytes"]
    assert given_back == before - _bytes(workspace)
    assert len(workspace._lake.dataset("real").get_fragments()) == 1
    assert workspace.sql("select count(*) from real").fetchall() == [(FEW_FRAGMENTS + 1,)]
