"""ingest: a user's rows become records. All of them or, when something is wrong, none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from synalign.config import IngestRequest
from synalign.errors import InputError
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.run_step import finish
from synalign.steps.forget.tombstones import without_forgotten
from synalign.store.files import files
from synalign.store.files.columns import json_lines
from synalign.store.files.records import Columns, Records, to_records
from synalign.store.lake.journal import Clock, Plan
from synalign.store.lake.lake import is_in
from synalign.store.lake.schemas import REAL, SYNTHETIC, TABLES

_PROVENANCE = ("call_id", "selection_id", "attributes_id", "written_from")


def read(source: Any, request: IngestRequest) -> Records:
    """Read and check what is to be ingested. Touches no workspace, so that bad input cannot leave anything behind.

    Raises:
        InputError, UsageError: see `synalign.store.files.files.read` and `synalign.store.files.records.to_records`.
    """
    columns = Columns(request.text, request.label, request.id, request.split)
    name = str(source) if isinstance(source, str | Path) else f"the {type(source).__name__}"
    rows, first_row = files.read(source, list(columns.named().values()), request.query)
    if request.synthetic and request.test_share is not None:
        raise InputError("Synthetic records have no test split; leave the test share out. Nothing was written.")
    skip, share = request.skip_empty, request.test_share
    return to_records(rows, columns, first_row=first_row, skip_empty=skip, test_share=share, source=name)


def ingest(context: Context, records: Records, request: IngestRequest) -> Outcome:
    """Store records that were read and checked. The same content again adds nothing.

    Raises:
        InputError: if an id is known already and stands for other content, or a column changed its type.
    """
    clock, synthetic = Clock(), request.synthetic
    origin = SYNTHETIC if synthetic else REAL
    plan = Plan("ingest", {"origin": origin, "content": records.digest})
    done = context.journal.get(plan.run_id)
    if done is not None:
        # Records of all ingests count together: there is no current one to go back to.
        counts = {"origin": origin, "records": done.counts["records"], "added": 0}
        return Outcome(done.step, done.run_id, True, counts)
    context.journal.sweep((origin, "multiplicities"))
    frame, said = (records.frame, []) if synthetic else without_forgotten(context, records.frame)
    frame = frame.with_columns(pl.lit(plan.run_id).alias("run_id"))
    if synthetic:
        frame = frame.with_columns(*(pl.lit(None, pl.String).alias(name) for name in _PROVENANCE))
    _check_known_ids(context, frame, origin)
    notes = [*records.notes, *said]
    if synthetic:
        notes += _texts_of_real_records(context, frame["text"])
    added, known = store_new(context, origin, frame, "records")
    repeats = records.repeats.join(frame, on="id", how="semi").with_columns(
        pl.lit(plan.run_id).alias("run_id"), pl.lit(origin).alias("origin")
    )
    context.lake.insert("multiplicities", repeats.to_arrow())
    counts = {"origin": origin, "records": frame.height, "added": added}
    counts |= {f"split_{name}": count for name, count in sorted(frame["split"].value_counts().rows())}
    return finish(context, plan, clock, counts, [*notes, *known], (origin, "multiplicities"))


def store_new(context: Context, table: str, frame: pl.DataFrame, what: str) -> tuple[int, list[str]]:
    """Add rows of which the table has no such id, after making room for the user's own columns; return how many were
    added, and a note if some were there.

    Raises:
        InputError: if a column has another type than in the table. Nothing is written then.
    """
    rows = frame.to_arrow()
    _add_own_columns(context, rows, table)
    dropped = _other_own_values(context, rows, table)
    context.progress(f"storing {what}", 0, frame.height)
    added = context.lake.insert(table, rows)
    context.progress(f"storing {what}", frame.height, frame.height)
    kept = f"; their columns {', '.join(dropped)} are kept as they were" if dropped else ""
    known = [f"{frame.height - added} {what} were in the workspace already{kept}"] if added < frame.height else []
    return added, known


def _check_known_ids(context: Context, frame: pl.DataFrame, origin: str) -> None:
    known = context.lake.frame(origin, ["id", "text", "label", "split"])
    both = frame.select("id", "text", "label", "split").join(known, on="id", suffix="_known")
    other = both.filter(
        (pl.col("text") != pl.col("text_known"))
        | pl.col("label").ne_missing(pl.col("label_known"))
        | (pl.col("split") != pl.col("split_known"))
    )
    if other.height:
        first = other.row(0, named=True)
        raise InputError(
            f"{other.height} ids are in the workspace already with different text, label or split, first "
            f"{first['id']!r}: {short(first['text_known'])} ({first['label_known']}, {first['split_known']}) there, "
            f"{short(first['text'])} ({first['label']}, {first['split']}) here. Records are never changed in place: "
            "give new content a new id. Nothing was written."
        )


def _add_own_columns(context: Context, rows: pa.Table, origin: str) -> None:
    """Make room for columns that the workspace has not, and refuse those that it has with another type."""
    there = context.lake.schema(origin)
    folded = {name.lower(): name for name in there.names}
    for field in rows.schema:
        if field.name not in there.names and field.name.lower() in folded:
            raise InputError(
                f"The column {field.name!r} differs from {folded[field.name.lower()]!r} in the workspace by upper and "
                "lower case only. Rename it. Nothing was written."
            )
        if field.name not in there.names:
            continue
        wanted = there.field(field.name).type
        try:
            rows[field.name].cast(wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(
                f"The column {field.name!r} holds {field.type} here and {wanted} in the workspace, and cannot be "
                f"turned into that ({error}). Rename or convert it. Nothing was written."
            ) from error
    context.lake.add_columns(origin, [field for field in rows.schema if field.name not in there.names])


def _other_own_values(context: Context, rows: pa.Table, origin: str) -> list[str]:
    """Return the user's own columns in which a known record comes with another value than it has."""
    own = [name for name in rows.column_names if name not in TABLES[origin].schema.names]
    if not own:
        return []
    there = context.lake.read(origin, ["id", *own])
    given = rows.select(there.column_names).cast(pa.schema([(field.name, field.type) for field in there.schema]))
    known, new = pl.DataFrame(there), pl.DataFrame(given)
    before = known.join(new, on="id", how="semi").sort("id")
    now = new.join(known, on="id", how="semi").sort("id")
    return [name for name in own if json_lines(before.select(name)) != json_lines(now.select(name))]


def _texts_of_real_records(context: Context, texts: pl.Series) -> list[str]:
    """Return a note if texts said to be synthetic are those of real records, which no weighting should see twice."""
    finished = is_in("run_id", [run.run_id for run in context.journal.runs("ingest")])
    real = context.lake.frame(REAL, ["text", "split"], where=finished)
    same = texts.is_in(real["text"].implode()).sum()
    if not same:
        return []
    test = texts.is_in(real.filter(pl.col("split") == "test")["text"].implode()).sum()
    return [
        f"{same} of these texts are texts of real records ({test} of the test split): exclude them with synalign "
        'exclude DIR "text in (select text from real)"'
    ]


def short(text: str) -> str:
    """Return a text as a message shows it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
