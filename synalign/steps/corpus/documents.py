"""documents: the corpus of retrieval. A record is a query, and its label is the id of the document that answers it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from synalign.config import IngestDocumentsRequest
from synalign.errors import InputError, NotReadyError
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import document_runs, records
from synalign.steps.core.run_step import finish
from synalign.steps.corpus.ingest import short, store_new
from synalign.store.files import files
from synalign.store.files.records import Columns, Records, to_records
from synalign.store.lake.journal import Clock, Plan, Run
from synalign.store.lake.lake import is_in
from synalign.store.lake.schemas import REAL

TABLE = "documents"

#: Up to so many documents are looked up by their ids; for more, all are read.
_FEW = 20_000


def read(source: Any, request: IngestDocumentsRequest) -> Records:
    """Read and check documents. Touches no workspace.

    Raises:
        InputError, UsageError: see `synalign.store.files.files.read` and `synalign.store.files.records.to_records`.
    """
    columns = Columns(request.text, id=request.id)
    name = str(source) if isinstance(source, str | Path) else f"the {type(source).__name__}"
    rows, first_row = files.read(source, list(columns.named().values()), request.query)
    return to_records(rows, columns, first_row=first_row, skip_empty=request.skip_empty, source=name)


def ingest_documents(context: Context, found: Records, request: IngestDocumentsRequest) -> Outcome:  # noqa: ARG001
    """Store documents that were read and checked. The same content again adds nothing.

    Raises:
        InputError: if an id is known already and stands for another text, or a column changed its type. Nothing is
            written then.
    """
    clock = Clock()
    plan = Plan(TABLE, {"content": found.digest})
    done = context.journal.get(plan.run_id)
    if done is not None:
        return Outcome(done.step, done.run_id, True, {"documents": done.counts["documents"], "added": 0})
    context.journal.sweep((TABLE,))
    frame = found.frame.drop("label", "split").with_columns(pl.lit(plan.run_id).alias("run_id"))
    _check_known_ids(context, frame)
    added, known = store_new(context, TABLE, frame, "documents")
    counts = {"documents": frame.height, "added": added}
    return finish(context, plan, clock, counts, [*found.notes, *known], (TABLE,))


def documents(context: Context, ids: Collection[str] | None = None, runs: Sequence[Run] | None = None) -> pl.DataFrame:
    """Return the documents ordered by id, with columns id and text; those of some ids or some runs, or all."""
    sources = document_runs(context) if runs is None else runs
    where = is_in("run_id", [run.run_id for run in sources])
    if ids is not None and len(ids) <= _FEW:
        where += f" and {is_in('id', sorted(ids))}"
    frame = context.lake.frame(TABLE, ["id", "text"], where)
    if ids is not None:
        frame = frame.filter(pl.col("id").is_in(list(ids)))
    return frame.sort("id")


def document_ids(context: Context, labels: Collection[str]) -> set[str]:
    """Return those of some labels that are ids of documents."""
    return set(documents(context, labels)["id"]) if document_runs(context) and labels else set()


def sampled_documents(context: Context, count: int) -> list[str]:
    """Return the ids of at most so many documents, those without a real training query first, by the hash of the id.

    Raises:
        NotReadyError: if there are none.
    """
    there = documents(context)["id"]
    if not len(there):
        raise NotReadyError(
            "There are no documents to write queries for. Bring some in first: ws.ingest_documents('file.jsonl') "
            "('synalign documents DIR FILE')."
        )
    asked = set(records(context, REAL, split="train")["label"])
    keys = {name: (name in asked, sha256(f"document/1:{name}".encode()).hexdigest()) for name in there}
    return sorted(keys, key=lambda name: keys[name])[:count]


def _check_known_ids(context: Context, frame: pl.DataFrame) -> None:
    known = context.lake.frame(TABLE, ["id", "text"])
    other = frame.select("id", "text").join(known, on="id", suffix="_known")
    other = other.filter(pl.col("text") != pl.col("text_known")).sort("id")
    if other.height:
        name, here, there = other.row(0)
        raise InputError(
            f"{other.height} documents are in the workspace already with another text, first {name!r}: {short(there)} "
            f"there, {short(here)} here. Documents are never changed in place: give a new text a new id. Nothing was "
            "written."
        )
