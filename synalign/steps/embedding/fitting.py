"""Chooses the texts that a fitted embedder is fitted to: a sample of each kind of text that it will embed."""

from __future__ import annotations

import polars as pl

from synalign.steps.core.context import Context
from synalign.steps.core.reading import by_hash, document_runs, record_runs, records
from synalign.steps.corpus.documents import documents
from synalign.steps.forget.tombstones import forget_runs
from synalign.store.lake.schemas import DOCUMENT, ORIGINS


def fit_sources(context: Context) -> list[str]:
    """Return the runs that a fitted embedder depends on. After a forget it is another one, though the runs are those
    that it was fitted to before."""
    found = [run.run_id for origin in ORIGINS for run in record_runs(context, origin)]
    return found + [run.run_id for run in document_runs(context)] + forget_runs(context)


def fit_texts(context: Context) -> dict[str, pl.DataFrame]:
    """Choose the text and multiplicity of the training records and documents to fit on, by origin, by the hash of the
    id: each kind has an equal part of the room, and what one leaves is for the others."""
    from synalign.numerics.core.lsa import MAX_FIT_TEXTS

    frames = {
        origin: records(context, origin, split="train", with_excluded=True).select("id", "text", "multiplicity")
        for origin in ORIGINS
    }
    if document_runs(context):
        frames[DOCUMENT] = documents(context).with_columns(pl.lit(1).cast(pl.Int64).alias("multiplicity"))
    left = MAX_FIT_TEXTS
    chosen: dict[str, pl.DataFrame] = {}
    smallest_first = sorted(frames, key=lambda origin: frames[origin].height)
    for number, origin in enumerate(smallest_first):
        room, frame = left // (len(frames) - number), frames[origin]
        chosen[origin] = frame if frame.height <= room else by_hash(frame, room, "fit/1").sort("id")
        left -= chosen[origin].height
    return {origin: chosen[origin] for origin in frames}
