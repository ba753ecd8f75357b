"""Readers beside a writer, Ctrl-C, and damaged tables: what the SQL surfaces do when things go on around them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest

import synalign as sa
from synalign.errors import SqlError, StoreError
from synalign.store.lake.lake import Lake, reason
from synalign.store.lake.schemas import TABLES, TableSpec
from synalign.store.ledger.ledger import Ledger
from synalign.store.sql import query


class Meanwhile(Lake):
    """A lake in which something happens just after the reader has opened one table."""

    def __init__(self, path: Path, after: str, action: Callable[[], None]) -> None:
        super().__init__(path)
        self._after, self._action, self._done = after, action, False

    def dataset(self, name: str):
        found = super().dataset(name)
        if name == self._after and not self._done:
            self._done = True
            self._action()
        return found


@pytest.mark.parametrize("after", ["real", "multiplicities", "runs"])
def test_a_reader_sees_all_rows_of_a_run_or_none(after: str, blank: Path) -> None:
    workspace = sa.open(blank)
    workspace.ingest(pl.DataFrame({"text": ["one", "one", "two"]}))
    lake = Meanwhile(
        blank / "lance", after, lambda: workspace.ingest(pl.DataFrame({"text": ["three", "four", "four"]}))
    )
    connection = query.connect(lake, Ledger(blank / "ledger.sqlite"), {})
    assert lake._done
    runs = connection.sql("select count(*) from runs").fetchall()[0][0]
    found = connection.sql("select count(*), sum(multiplicity) from real").fetchall()[0]
    assert found == (2 * runs, 3 * runs)


@pytest.mark.parametrize("after", ["runs", "calls"])
def test_a_call_that_gc_moves_meanwhile_is_seen_once(after: str, blank: Path) -> None:
    workspace = sa.open(blank)
    workspace.ingest(pl.DataFrame({"text": ["one"]}))
    lake, ledger = workspace._lake, workspace._ledger
    lake.insert("calls", TABLES["calls"].schema.empty_table())
    ledger.put({"call_id": "c", "status": "complete", "reply": "paid for"})

    def fold_and_trim() -> None:
        lake.insert("calls", ledger.rows())
        assert ledger.trim(["c"]) == 1

    meanwhile = Meanwhile(blank / "lance", after, fold_and_trim)
    connection = query.connect(meanwhile, Ledger(ledger.path), {})
    assert meanwhile._done
    assert connection.sql("select call_id, reply from calls").fetchall() == [("c", "paid for")]


_PUBLISH = """
import sys
from pathlib import Path
from synalign.store.lake.lake import Lake
from synalign.store.ledger.ledger import Ledger
from synalign.store.sql.catalog import publish
root = Path(sys.argv[1])
try:
    publish(Lake(root / "lance"), Ledger(root / "ledger.sqlite"), {}, root / "catalog.duckdb", "state")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_while_publishing(blank: Path) -> None:
    lake = Lake(blank / "lance")
    count = 300_000
    texts = pa.array([f"text number {number} " * 10 for number in range(count)])
    nulls = pa.nulls(count, pa.string())
    names = pa.array([f"id{number}" for number in range(count)])
    columns = {"id": names, "text": texts, "label": nulls, "split": nulls, "run_id": pa.array(["r"] * count)}
    lake.insert("real", pa.table(columns).cast(TABLES["real"].schema))
    run = {field.name: None for field in TABLES["runs"].schema} | {"run_id": "r", "sequence": 1, "step": "ingest"}
    lake.insert_rows("runs", [run])
    child = subprocess.Popen([sys.executable, "-c", _PUBLISH, str(blank)], stdout=subprocess.PIPE, text=True)
    temporary = blank / "catalog.duckdb.publishing"
    deadline = time.monotonic() + 60
    while not (temporary.exists() and temporary.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(child.pid, signal.SIGINT)
    assert child.communicate(timeout=60)[0] == "interrupted\n"
    assert not list(blank.glob("catalog*"))


def test_an_interrupted_query_is_no_sql_error(filled: sa.Workspace) -> None:
    connection = filled.connect()
    relation = query.run(connection, "select sum(a.range * b.range) from range(10000000) a, range(1000000) b", None)
    ended = threading.Event()

    def interrupt() -> None:
        while not ended.wait(0.2):  # One that comes before the query runs is lost.
            connection.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            query.fetch(relation)
    finally:
        ended.set()
        thread.join()


def test_a_query_about_interrupts_is_a_query(filled: sa.Workspace) -> None:
    with pytest.raises(SqlError):
        filled.sql("select no_such_column from real where text = 'KeyboardInterrupt'")


@pytest.mark.parametrize("use", [lambda ws: ws.sample(3), lambda ws: ws.export(ws.path / "all.csv")])
def test_a_damaged_table_is_a_typed_error(use: Callable, filled: sa.Workspace, tmp_path: Path) -> None:
    shutil.copytree(filled.path, tmp_path / "w")
    for path in (tmp_path / "w" / "lance" / "weights.lance" / "data").iterdir():
        path.write_bytes(b"junk" * 100)
    with pytest.raises(StoreError, match="cannot be read") as caught:
        use(sa.open(tmp_path / "w"))
    assert ".rs:" not in str(caught.value)


def test_named_queries_come_whole(filled: sa.Workspace) -> None:
    connection = filled.connect()
    table = query.named(connection, "weighted")
    connection.close()
    assert table.num_rows == filled.sql("select count(*) from synthetic_weighted").fetchall()[0][0]


@pytest.mark.parametrize(
    "source",
    [", /rustc/0a1b/library/core/src/ops/function.rs:250:5", ", /home/runner/src/lance/rust/lance-io/src/local.rs:12"],
)
def test_messages_have_no_source_paths(source: str) -> None:
    assert reason(duckdb.IOException(f"IO Error: no file at /data/part.lance{source}")) == (
        "IO Error: no file at /data/part.lance"
    )


def test_tables_of_an_earlier_version_are_read_with_nulls(blank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TABLES["metrics"]
    older = TableSpec(pa.schema([field for field in spec.schema if field.name != "split"]), spec.key)
    monkeypatch.setitem(TABLES, "metrics", older)
    workspace = sa.open(blank)
    row = {"run_id": "m", "metric": "coverage", "scope": "*", "weights_run_id": "r", "value": 0.5}
    workspace._lake.insert("metrics", pa.Table.from_pylist([row], schema=older.schema))
    monkeypatch.undo()
    found = workspace.connect().sql("select metric, value, split from raw_metrics").fetchall()
    assert found == [("coverage", 0.5, None)]
