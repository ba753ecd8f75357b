"""Reads records as queries: their label is the id of the document that answers them, which must exist."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from synalign.config import Retrieve
from synalign.errors import InputError, NotReadyError
from synalign.steps.core.context import Context
from synalign.steps.core.reading import records, weights_of
from synalign.steps.corpus.documents import documents
from synalign.steps.lifecycle.status import stale_weights
from synalign.store.lake.schemas import REAL, SYNTHETIC

_SHOWN = 10


@dataclass(frozen=True)
class Queries:
    """n queries. frame: id, text, label (a document's id), amount (how much each counts), ordered by id. targets: int64
    [n], the row of its document. notes: what was left out."""

    frame: pl.DataFrame
    targets: np.ndarray
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """The number of queries."""
        return self.frame.height


def require_documents(context: Context) -> pl.DataFrame:
    """Return all documents ordered by id, with columns id and text.

    Raises:
        NotReadyError: if there are none, saying how to get them.
    """
    frame = documents(context)
    if not frame.height:
        raise NotReadyError(
            f"The workspace {context.root} has no documents to retrieve. Bring some in first: "
            "ws.ingest_documents('file.jsonl', id='...', text='...') or 'synalign documents DIR FILE'. Records are "
            "queries for them: their label is a document's id."
        )
    return frame


def real_queries(context: Context, known: pl.DataFrame, settings: Retrieve, split: str) -> Queries:
    """Return the real records of a split that are queries for a document; each counts by its multiplicity.

    Raises:
        InputError: if labels are no document's id, and the settings do not say to leave those out.
    """
    frame = records(context, REAL, split=split).with_columns(pl.col("multiplicity").cast(pl.Float64).alias("amount"))
    return _queries(frame, known, settings, f"real {split} records")


def synthetic_queries(context: Context, known: pl.DataFrame, settings: Retrieve, weighted: bool) -> Queries:
    """Return the synthetic records that are queries for a document: each counts by its weight in the current weight
    set, or by its multiplicity. Those of no weight are left out.

    Raises:
        NotReadyError: if there are none, or weights are wanted and there are none.
        InputError: if labels are no document's id, and the settings do not say to leave those out.
    """
    frame = records(context, SYNTHETIC, split="train")
    if not frame.height:
        raise NotReadyError(
            "There are no synthetic queries. Generate some (ws.select(), ws.reason(), ws.generate()), or ingest some: "
            "ws.ingest('file.jsonl', label='document', synthetic=True). Or train on='real'."
        )
    if not weighted:
        amounts = frame.with_columns(pl.col("multiplicity").cast(pl.Float64).alias("amount"))
        return _queries(amounts, known, settings, "synthetic records")
    run = context.journal.current("align")
    if run is None:
        raise NotReadyError(
            "There are no weights yet. Run ws.align() ('synalign align DIR') first, or train on='synthetic'."
        )
    weights = weights_of(context, run)
    frame = frame.join(weights.rename({"weight": "amount"}), on="id").filter(pl.col("amount") > 0).sort("id")
    found = _queries(frame, known, settings, "weighted synthetic records")
    return replace(found, notes=(*found.notes, *stale_weights(context, run)))


def _queries(frame: pl.DataFrame, known: pl.DataFrame, settings: Retrieve, what: str) -> Queries:
    """Return the rows whose label is the id of a document."""
    notes = []
    bare = frame["label"].null_count()
    if bare:
        notes.append(f"{bare} of {frame.height} {what} have no label, and so no document: they are left out")
    labelled = frame.filter(pl.col("label").is_not_null())
    unknown = labelled.join(known, left_on="label", right_on="id", how="anti")
    if unknown.height:
        counts = unknown["label"].value_counts().sort(["count", "label"], descending=[True, False])
        listed = ", ".join(f"{label!r} ({count})" for label, count in counts.head(_SHOWN).rows())
        listed += f" and {counts.height - _SHOWN} more" if counts.height > _SHOWN else ""
        said = f"{unknown.height} of {frame.height} {what} have a label that is the id of no document: {listed}"
        if settings.unknown == "refuse":
            raise InputError(
                f"{said}. In retrieval a record's label is the id of the document that answers it. Bring the documents "
                "in (ws.ingest_documents, 'synalign documents DIR FILE'), or leave such records out: unknown = "
                '"leave_out" below [retrieve] in synalign.toml.'
            )
        notes.append(f"{said}; they are left out")
    used = labelled.join(unknown.select("id"), on="id", how="anti").sort("id")
    places = known.select(pl.col("id").alias("label")).with_row_index("place")
    targets = used.join(places, on="label", how="left", maintain_order="left")["place"].to_numpy().astype(np.int64)
    return Queries(used.select("id", "text", "label", "amount"), targets, tuple(notes))
