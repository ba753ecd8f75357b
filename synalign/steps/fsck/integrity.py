"""Whether each part of a workspace can be read to its last byte: tables, ledger, catalog."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synalign.config import CATALOG_NAME
from synalign.errors import StoreError, SynAlignError
from synalign.steps.core.context import Context
from synalign.steps.fsck.report import ERROR, LEFTOVER, RESTORE, SHOWN, Problem, Report
from synalign.steps.lifecycle.publish import state
from synalign.store.lake.lake import Lake
from synalign.store.lake.schemas import TABLES, TableSpec, index_table, vectors_spec, vectors_table
from synalign.store.ledger.ledger import Ledger
from synalign.store.sql import catalog, checks, query

_AGAIN = "delete it: the next step, or 'synalign publish DIR', writes it anew"


@dataclass
class Readable:
    """What can be read. tables: names, vectors included. vectors: {table: embedder}. known: tables that are of this
    workspace, whether they can be read or not."""

    tables: set[str] = field(default_factory=set)
    vectors: dict[str, str] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)


def check_tables(lake: Lake, earlier: bool, report: Report) -> Readable:
    """Open every table, decode all of it, and compare its columns with the schema; return what is readable.

    `earlier`: tables may lack columns that a migration will add.
    """
    report.checked += ["tables", "schema", "vectors"]
    readable = Readable()
    names = lake.names()
    for name in (name for name in names if name in TABLES):
        readable.known.add(name)
        if _decoded(lake, name, report) and _fits(lake, name, TABLES[name], earlier, report):
            readable.tables.add(name)
    made = _embedders(lake, readable)
    for name in (name for name in names if name.startswith("vectors_")):
        if made is not None and name not in made:
            continue  # of an embedder that never finished: told with the files
        readable.known.add(name)
        embedder, dimensions = made[name] if made is not None else (name.removeprefix("vectors_"), None)
        if _decoded(lake, name, report, finite=True) and _fits_vectors(lake, name, dimensions, report):
            readable.tables.add(name)
            readable.vectors[name] = embedder
    _check_indices(lake, names, readable, report)
    return readable


def _check_indices(lake: Lake, names: list[str], readable: Readable, report: Report) -> None:
    """Check the documents of each retriever that finished: those of others are told with the files."""
    if {"retrievers", "runs"} & (readable.known - readable.tables):
        return
    finished = set(lake.read("runs", ["run_id"])["run_id"].to_pylist())
    for row in lake.read("retrievers", ["run_id", "name", "dimensions", "documents"]).to_pylist():
        if row["run_id"] not in finished:
            continue
        name = index_table(row["run_id"])
        again = f"delete the folder {name}.lance, and train the retriever {row['name']!r} as before"
        if name not in names:
            report.add("vectors", ERROR, f"the documents of the retriever {row['name']!r} are gone", name, again)
            continue
        readable.known.add(name)
        if not _decoded(lake, name, report, finite=True) or not _fits_vectors(lake, name, row["dimensions"], report):
            continue
        readable.tables.add(name)
        count = lake.count(name, "true")
        if count != row["documents"]:
            what = f"{count} documents are stored; the retriever {row['name']!r} has {row['documents']}"
            report.add("vectors", ERROR, what, name, again)


def _embedders(lake: Lake, readable: Readable) -> dict[str, tuple[str, int | None]] | None:
    """Return {table: (embedder, dimensions)} of the embedders that finished; None if that cannot be told."""
    if {"embedders", "runs"} & (readable.known - readable.tables):
        return None
    finished = set(lake.read("runs", ["run_id"])["run_id"].to_pylist())
    rows = lake.read("embedders", ["run_id", "name", "dimensions"]).to_pylist()
    return {
        vectors_table(row["name"]): (row["name"], row["dimensions"])
        for row in rows
        if row["run_id"] in finished and row["name"]
    }


def _decoded(lake: Lake, name: str, report: Report, *, finite: bool = False) -> bool:
    """Read all of a table; note if that fails or, with `finite`, which vectors hold what is no number."""
    bad: list[str] = []
    count = 0
    try:
        for batch in lake.scan(name):
            if finite and "vector" in batch.schema.names:
                wrong = _not_finite(batch)
                count += len(wrong)
                bad += [f"{row['origin']} {row['id']}" for row in wrong[: SHOWN - len(bad)]]
    except (StoreError, ValueError, TypeError) as error:
        report.add("tables", ERROR, str(error), name, RESTORE)
        return False
    if count:
        cure = "fit a new version of the embedder: 'synalign embed DIR --refit'"
        report.problems.append(Problem("vectors", ERROR, "vectors hold what is no number", name, cure, count, bad))
    return True


def _not_finite(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    vectors = batch["vector"]
    width = vectors.type.list_size if pa.types.is_fixed_size_list(vectors.type) else 0
    missing = pc.is_null(vectors).to_numpy(zero_copy_only=False)
    if not width:
        return []
    values = pc.fill_null(vectors.values.slice(vectors.offset * width, len(vectors) * width), 0.0)
    wrong = missing | ~np.isfinite(values.to_numpy(zero_copy_only=False).reshape(-1, width)).all(axis=1)
    return batch.select(["origin", "id"]).filter(pa.array(wrong)).to_pylist() if wrong.any() else []


def _fits(lake: Lake, name: str, spec: TableSpec, earlier: bool, report: Report) -> bool:
    """Compare the columns of a table with its schema; a user's own columns are allowed beside them."""
    there = lake.schema(name)
    lacking = [field.name for field in spec.schema if field.name not in there.names]
    wrong = [
        f"{field.name} is {there.field(field.name).type}, not {field.type}"
        for field in spec.schema
        if field.name in there.names and there.field(field.name).type != field.type
    ]
    if wrong:
        report.add("schema", ERROR, "columns have another type than in the schema", name, RESTORE, wrong)
    if lacking and not earlier:
        cure = "move format.json away: the next step does all migrations again, which add what is lacking"
        report.add("schema", ERROR, "columns of the schema are lacking", name, cure, lacking)
    if keys := [column for column in lacking if column in spec.key]:
        report.add("schema", ERROR, "columns of the key are lacking", name, RESTORE, keys)
    return not wrong and not keys


def _fits_vectors(lake: Lake, name: str, dimensions: int | None, report: Report) -> bool:
    kind = lake.schema(name).field("vector").type if "vector" in lake.schema(name).names else None
    width = kind.list_size if kind is not None and pa.types.is_fixed_size_list(kind) else 0
    if dimensions is not None and width and width != dimensions:
        what = f"vectors have {width} dimensions; the embedder makes {dimensions}"
        report.add("vectors", ERROR, what, name, "fit a new version of the embedder: 'synalign embed DIR --refit'")
    return _fits(lake, name, vectors_spec(width or 1), False, report)


def check_ledger(ledger: Ledger, earlier: bool, report: Report) -> pa.Table | None:
    """Have SQLite check the ledger and read all of it; return its calls, None if they cannot be read."""
    report.checked.append("ledger")
    where = ledger.path.name
    away = "move it away: replies in the table calls stay, those not yet folded into it are asked again"
    try:
        found = ledger.problems()
        calls = ledger.rows()
        ledger.batches()
        ledger.reserved()
    except (SynAlignError, ValueError, TypeError) as error:
        report.add("ledger", ERROR, str(error), where, away)
        return None
    found = [] if earlier and all("have no column" in line for line in found) else found
    if found:
        report.add("ledger", ERROR, "SQLite finds it damaged, or columns are lacking", where, away, found)
    return calls


def check_catalog(context: Context, report: Report) -> None:
    """Read all of the published catalog, and compare it with the tables."""
    try:
        now = state(context)
    except (SynAlignError, ValueError, TypeError) as error:
        report.skipped["catalog"] = f"what it should show cannot be told: {error}"
        return
    report.checked.append("catalog")
    path = context.root / CATALOG_NAME
    if path.is_symlink() or not path.is_file():
        return
    if path.stat().st_mode & 0o222 and os.name == "posix":
        what = "others can write to it, and SQL users would not notice"
        report.add("catalog", LEFTOVER, what, CATALOG_NAME, f"chmod 444 {path}")
    try:
        published = checks.published_counts(path)
        if catalog.published_state(path) != now:
            report.add(
                "catalog",
                LEFTOVER,
                "it shows an earlier state",
                CATALOG_NAME,
                "'synalign publish DIR', or the next step, brings it up to date",
            )
            return
        with query.connect(context.lake, context.ledger, context.config.task.labels) as connection:
            live = checks.row_counts(connection)
    except SynAlignError as error:
        report.add("catalog", ERROR, str(error), CATALOG_NAME, _AGAIN)
        return
    other = [
        f"{name} has {published.get(name, 'no')} rows, the tables {count}"
        for name, count in live.items()
        if published.get(name) != count
    ]
    if other:
        report.add("catalog", ERROR, "it says that it is current, and shows other rows", CATALOG_NAME, _AGAIN, other)
