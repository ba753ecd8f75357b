"""What a workspace holds, in a form that two workspaces can be compared by."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb

import synalign as sa
from synalign.store.lake.lake import Lake
from synalign.store.lake.schemas import TABLES
from synalign.store.ledger.ledger import Ledger

#: Columns that say when and how long; and versions of tables, which a killed write may add to.
ASIDE = {
    "started_at",
    "finished_at",
    "at",
    "activated_at",
    "day",
    "seconds",
    "latency_s",
    "median_latency_s",
    "attempts",
    "table_versions",
}

#: All files of a workspace at rest.
AT_REST = {".calls.lock", ".lock", "catalog.duckdb", "format.json", "lance", "ledger.sqlite", "synalign.toml"}


def contents(path: Path) -> dict[str, list[str]]:
    """Return all rows, one text each and sorted, of the Lance tables (rows that no view shows included), of the
    relations in live SQL, of the published catalog and of the ledger; and the configuration and the file names.

    Floats and vectors stand there with all their digits: equal tables are equal bit by bit. Only the sums that views
    make are rounded, since DuckDB adds in the order in which its threads come by.
    """
    lake = Lake(path / "lance")
    found = {f"lance {name}": _rows(lake.read(name).to_pylist()) for name in lake.names()}
    found["files"] = sorted(file.name for file in path.iterdir())
    ledger = Ledger(path / "ledger.sqlite")
    found["ledger"] = _rows(ledger.rows().to_pylist())
    ledger.close()
    workspace = sa.open(path, create=False)
    with closing(workspace.connect()) as live:
        for name in _relations(live):
            found[f"live {name}"] = _query(live, name)
    workspace._ledger.close()
    with closing(duckdb.connect(str(path / "catalog.duckdb"), read_only=True)) as published:
        published.execute("set search_path = 'main,detail'")
        for name in _relations(published):
            # catalog_state counts versions of a table, so that it is stale rather once too often.
            if name != "catalog_state":
                found[f"published {name}"] = _query(published, name)
    found["configuration"] = (path / "synalign.toml").read_text().splitlines()
    return found


def differences(found: dict[str, list[str]], wanted: dict[str, list[str]]) -> list[str]:
    """Return a line for each table in which the two differ; none for equal contents."""
    lines = []
    for name in sorted(found.keys() | wanted.keys()):
        ours, theirs = found.get(name), wanted.get(name)
        if ours is None or theirs is None:
            lines.append(f"{name}: only in the {'undisturbed' if ours is None else 'killed'} run")
        elif ours != theirs:
            extra = [row for row in ours if row not in theirs]
            lacking = [row for row in theirs if row not in ours]
            lines.append(f"{name}: {len(ours)} rows, {len(theirs)} wanted; extra {extra[:1]}, lacking {lacking[:1]}")
    return lines


def state_on_disk(path: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of each file of the Lance tables and of the catalog."""
    files = [*(path / "lance").rglob("*"), path / "catalog.duckdb", path / "synalign.toml"]
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()}


def _relations(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "select table_name from information_schema.tables where not starts_with(table_name, 'raw_') order by 1"
    )
    return [row[0] for row in rows.fetchall()]


def _query(connection: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    columns = [column for column in connection.sql(f'from "{name}"').columns if column not in ASIDE]
    rows = connection.sql(f'from "{name}"').select(*columns).fetchall()
    if name not in TABLES:
        rows = [[f"{value:.12g}" if isinstance(value, float) else value for value in row] for row in rows]
    return _rows([dict(zip(columns, row, strict=True)) for row in rows])


def _rows(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(repr({name: value for name, value in row.items() if name not in ASIDE}) for row in rows)
