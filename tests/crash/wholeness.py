"""What must hold of a workspace at any moment: runs are seen whole or not at all, no key twice, every view answers.

And what must hold after `gc`: no file that no version of a table names.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import lance

import synalign as sa
from synalign.store.lake.lake import Lake
from synalign.store.lake.schemas import OWNED_BY_RUN, TABLES, vectors_spec
from synalign.store.sql.query import relation_names
from tests.crash.contents import ASIDE

#: By table and run, how many rows the run has, and a digest of them.
Whole = dict[str, dict[str, list[Any]]]

#: Tables whose rows belong to runs, and whose relations do not show which: they are read from Lance.
_SUMMED_UP = ("multiplicities", "exclusions", "cluster_members", "neighbours")
_SHOWN = [name for name in OWNED_BY_RUN if name not in _SUMMED_UP]


def whole(path: Path) -> Whole:
    """Return what each run of an undisturbed workspace wrote, and each call."""
    found = _of_lance(path)
    with closing(sa.open(path, create=False).connect()) as live:
        found |= _of_relations(live)
        found["calls"] = _calls(live)
    return found


def flaws(path: Path, wanted: Whole) -> dict[str, list[str]]:
    """Return what a reader finds wrong in a workspace as it lies there: {"half-written", "duplicates", "unanswered"}.

    Read are the live relations, the published catalog, and the vectors, which no relation shows.
    """
    found: dict[str, list[str]] = {"half-written": [], "duplicates": [], "unanswered": []}
    if not (path / "lance").is_dir():
        return found
    workspace = sa.open(path, create=False)
    with closing(workspace.connect()) as live:
        _look(live, "live", wanted, found)
        seen = {row[0] for row in live.execute("select run_id from runs").fetchall()}
    lake = Lake(path / "lance")
    for name, runs in _of_lance(path).items():
        visible = {run_id: rows for run_id, rows in runs.items() if run_id in seen}
        found["half-written"] += _half(f"lance {name}", visible, wanted.get(name, {}), seen)
        key = list(_key(name))
        rows = lake.read(name, key)
        if rows.group_by(key).aggregate([]).num_rows < rows.num_rows:
            found["duplicates"].append(f"lance {name}")
    if (path / "catalog.duckdb").exists():
        try:
            with closing(duckdb.connect(str(path / "catalog.duckdb"), read_only=True)) as published:
                published.execute("set search_path = 'main,detail'")
                _look(published, "published", wanted, found)
        except duckdb.Error as error:
            found["unanswered"].append(f"published: {error}")
    return found


def _look(connection: Any, where: str, wanted: Whole, found: dict[str, list[str]]) -> None:
    weighted = connection.execute("select count(*) from synthetic_weighted where weight > 0").fetchall() != [(0,)]
    for name in [*relation_names(), *(["sample_synthetic(7, 1)"] if weighted else [])]:
        try:
            connection.execute(f"from {name}").fetchall()
        except duckdb.Error as error:
            found["unanswered"].append(f"{where} {name}: {error}")
    if found["unanswered"]:
        return
    seen = {row[0] for row in connection.execute("select run_id from runs").fetchall()}
    for name, runs in _of_relations(connection).items():
        found["half-written"] += _half(f"{where} {name}", runs, wanted[name], seen)
    for call_id, rows in _calls(connection).items():
        if wanted["calls"].get(call_id) != rows:
            found["half-written"].append(f"{where} calls: {call_id} is {rows}, not {wanted['calls'].get(call_id)}")
    for name in [*_SHOWN, "runs", "calls"]:
        key = ", ".join(TABLES[name].key)
        doubled = connection.execute(f"select {key} from {name} group by all having count(*) > 1").fetchall()
        found["duplicates"] += [f"{where} {name}: {row}" for row in doubled]


def _half(what: str, runs: dict[str, list[Any]], wanted: dict[str, list[Any]], seen: set[str]) -> list[str]:
    """Return a line for each run that is in `runs` and has other rows than it has undisturbed."""
    there = {run_id: rows for run_id, rows in wanted.items() if run_id in seen}
    both = runs.keys() | there.keys()
    return [
        f"{what}: run {run_id} has {runs.get(run_id)}, not {there.get(run_id)}"
        for run_id in sorted(both)
        if runs.get(run_id) != there.get(run_id)
    ]


def _of_relations(connection: Any) -> Whole:
    found = {}
    for name in [*_SHOWN, "runs"]:
        # Columns of the user's may be added later to the same rows.
        there = connection.sql(f"from {name}").columns
        columns = [column for column in TABLES[name].schema.names if column in there and column not in ASIDE]
        rows = connection.execute(f"select {', '.join(columns)} from {name}").fetchall()
        found[name] = _by(columns.index("run_id"), rows)
    return found


def _calls(connection: Any) -> dict[str, list[Any]]:
    columns = [column for column in TABLES["calls"].schema.names if column not in ASIDE]
    rows = connection.execute(f"select {', '.join(columns)} from calls").fetchall()
    return _by(columns.index("call_id"), rows)


def _of_lance(path: Path) -> Whole:
    lake = Lake(path / "lance")
    found = {}
    for name in lake.names():
        if name.startswith("vectors_") or name in _SUMMED_UP:
            rows = lake.read(name)
            found[name] = _by(rows.column_names.index("run_id"), [tuple(row.values()) for row in rows.to_pylist()])
    return found


def _key(name: str) -> tuple[str, ...]:
    return (TABLES[name] if name in TABLES else vectors_spec(1)).key


def _by(place: int, rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        groups[row[place]].append(repr(row))
    return {
        name: [len(lines), sha256("\n".join(sorted(lines)).encode()).hexdigest()[:12]] for name, lines in groups.items()
    }


def orphans(path: Path) -> list[str]:
    """Return the files of the tables that no version which is left names, and what else should not lie there."""
    lines = [str(file) for pattern in ("*.publishing*", "*.partial", "*.wal", "*.owner") for file in path.glob(pattern)]
    for table in sorted((path / "lance").iterdir()):
        if not table.name.endswith(".lance"):
            lines.append(str(table))
            continue
        try:
            named = _named(table)
        except (ValueError, OSError) as error:
            lines.append(f"{table.name}: {error}")
            continue
        there = {str(file.relative_to(table)) for file in table.rglob("*") if file.is_file()}
        lines += [f"{table.name}/{file}" for file in sorted(there) if not any(file.startswith(name) for name in named)]
        lines += [f"{table.name} lacks {name}" for name in named if not (table / name).exists()]
    return lines


def _named(table: Path) -> set[str]:
    """Return the files, and folders ending in /, that the versions of a table name."""
    named = {"_versions/latest_version_hint.json"}
    for version in lance.dataset(str(table)).versions():
        number = version["version"]
        dataset = lance.dataset(str(table), version=number)
        named.add(f"_versions/{2**64 - 1 - number}.manifest")
        transaction = dataset.read_transaction(number)
        if transaction is not None:
            named.add(f"_transactions/{transaction.read_version}-{transaction.uuid}.txn")
        for fragment in dataset.get_fragments():
            named |= {f"data/{file.path}" for file in fragment.data_files()}
            deletions = fragment.deletion_file()
            if deletions is not None:
                named.add(deletions if deletions.startswith("_deletions") else f"_deletions/{deletions}")
        for index in dataset.describe_indices():
            named |= {f"_indices/{segment.uuid}/" for segment in index.segments}
    return named
