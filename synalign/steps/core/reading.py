"""Reads the rows of finished runs as frames and arrays ordered by id."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import polars as pl
import pyarrow as pa

from synalign.errors import NotReadyError, StoreError, UsageError
from synalign.steps.core.context import Context
from synalign.store.lake.journal import Run
from synalign.store.lake.lake import is_in, quote
from synalign.store.lake.schemas import REAL, SYNTHETIC, vectors_table

#: Up to so many records are looked up by their ids; for more, a whole side is read.
_FEW = 20_000


def record_runs(context: Context, origin: str) -> list[Run]:
    """Return the runs that brought records of one side, in order."""
    runs = [run for run in context.journal.runs("ingest") if run.parameters["origin"] == origin]
    return runs + context.journal.runs("generate") if origin == SYNTHETIC else runs


def document_runs(context: Context) -> list[Run]:
    """Return the runs that brought documents, in order."""
    return context.journal.runs("documents")


def records(
    context: Context,
    origin: str,
    split: str | None = None,
    runs: Sequence[Run] | None = None,
    with_excluded: bool = False,
    columns: Sequence[str] = (),
) -> pl.DataFrame:
    """Return visible records ordered by id, with columns id, text, label, split, multiplicity, and `columns`.

    Synthetic records that a person excluded are left out, unless asked for. `split` and `runs` narrow the choice.

    Raises:
        UsageError: if there is no column of that name.
    """
    there = context.lake.schema(origin).names
    unknown = [name for name in columns if name not in there]
    if unknown:
        raise UsageError(f"The {origin} records have no column {unknown[0]!r}. They have: {', '.join(there)}.")
    sources = record_runs(context, origin) if runs is None else runs
    where = is_in("run_id", [run.run_id for run in sources])
    if split is not None:
        where += f" and split = {quote(split)}"
    frame = context.lake.frame(origin, list(dict.fromkeys(["id", "text", "label", "split", *columns])), where)
    frame = frame.join(_multiplicities(context, origin), on="id", how="left")
    frame = frame.with_columns(pl.col("multiplicity").fill_null(1)).sort("id")
    if origin == SYNTHETIC and not with_excluded:
        frame = frame.join(excluded(context), on="id", how="anti")
    return frame


def excluded(context: Context) -> pl.DataFrame:
    """Return the ids of synthetic records that a person excluded; of several verdicts the last counts."""
    order = pl.DataFrame(
        [{"run_id": run.run_id, "sequence": run.sequence} for run in context.journal.runs("exclude")],
        schema={"run_id": pl.String, "sequence": pl.Int64},
    )
    verdicts = context.lake.frame("exclusions", ["run_id", "id", "excluded"]).join(order, on="run_id")
    last = verdicts.sort("sequence").group_by("id", maintain_order=True).last()
    return last.filter(pl.col("excluded")).select("id").sort("id")


def weights_of(context: Context, run: Run) -> pl.DataFrame:
    """Return id and weight of the synthetic records of a weight set, by the run that made it."""
    return context.lake.frame("weights", ["id", "weight"], f"run_id = {quote(run.run_id)}")


def by_hash(frame: pl.DataFrame, count: int, salt: str) -> pl.DataFrame:
    """Return at most `count` rows by the hash of a salt and their ids, in that order: fewer are the first of more."""
    keys = pl.Series("key", [sha256(f"{salt}:{name}".encode()).hexdigest() for name in frame["id"]])
    return frame.with_columns(keys).sort("key").head(count).drop("key")


def require_real(context: Context, columns: Sequence[str] = ()) -> pl.DataFrame:
    """Return the real training records, with `columns` as `records` has them.

    Raises:
        NotReadyError: if there are none, saying how to get them.
    """
    frame = records(context, REAL, split="train", columns=columns)
    if not frame.height:
        raise NotReadyError(
            f"The workspace {context.root} has no real training records. Ingest some first: "
            "ws.ingest('file.csv', text='...') or 'synalign ingest DIR FILE --text COLUMN'."
        )
    return frame


def vectors(context: Context, embedder: str, origin: str, ids: pl.Series) -> np.ndarray:
    """Return the vectors of the given records, float32 [len(ids), d], in the order of `ids`.

    Raises:
        StoreError: if one of them has no vector of this embedder: two embedders are never mixed to fill a gap.
    """
    name = vectors_table(embedder)
    if not context.lake.exists(name):
        raise StoreError(f"There are no vectors of the embedder {embedder!r}. Run 'synalign embed'.")
    where = f"origin = {quote(origin)}"
    if len(ids) <= _FEW:
        where += f" and {is_in('id', ids.to_list())}"
    dimensions = context.lake.schema(name).field("vector").type.list_size
    matrix, seen = np.empty((len(ids), dimensions), dtype=np.float32), np.zeros(len(ids), dtype=bool)
    places = ids.to_frame("id").with_row_index("row")
    for batch in context.lake.batches(name, ["id", "vector"], where):
        there = pl.DataFrame(pa.table({"id": batch["id"]})).with_row_index("place").join(places, on="id")
        rows = there["row"].to_numpy()
        block = batch["vector"].flatten().to_numpy(zero_copy_only=False).reshape(-1, dimensions)
        matrix[rows], seen[rows] = block[there["place"].to_numpy()], True
    if not seen.all():
        raise StoreError(
            f"{(~seen).sum()} of {len(ids)} {origin} records have no vector of the embedder {embedder!r}. Run "
            "'synalign embed'."
        )
    return matrix


def _multiplicities(context: Context, origin: str) -> pl.DataFrame:
    finished = [run.run_id for run in record_runs(context, origin)]
    where = f"origin = {quote(origin)} and {is_in('run_id', finished)}"
    frame = context.lake.frame("multiplicities", ["id", "multiplicity"], where)
    return frame.group_by("id").agg(pl.col("multiplicity").max())
