"""search: the records nearest to a text or to a record, by cosine distance of one embedder's vectors."""

from __future__ import annotations

import polars as pl

from synalign.errors import NotReadyError, UsageError
from synalign.steps.core.context import Context
from synalign.steps.core.reading import records, vectors
from synalign.steps.embedding import embed as embedding
from synalign.store.lake.lake import quote
from synalign.store.lake.schemas import ORIGINS, vectors_table


def search(
    context: Context,
    text: str | None,
    record_id: str | None,
    count: int,
    origin: str | None,
    embedder: str | None,
) -> pl.DataFrame:
    """Return the nearest records with columns origin, id, distance, label, split, text, nearest first.

    Raises:
        UsageError: unless exactly one of text and record_id is given, or if the record, the side or the embedder does
            not exist.
        NotReadyError: if nothing is embedded yet.
    """
    if (text is None) == (record_id is None):
        raise UsageError("Search for a text or for a record's id: give one of them.")
    if origin not in (None, *ORIGINS):
        raise UsageError(f"There is no side {origin!r}; allowed are {' and '.join(ORIGINS)}.")
    if count < 1:
        raise UsageError(f"The number of records to find must be at least 1, not {count}.")
    chosen = embedding.named(context, embedder) if embedder else embedding.current(context)
    if chosen is None:
        raise NotReadyError("Nothing is embedded yet. Run ws.embed() ('synalign embed DIR') first.")
    embedding.require_complete(context, chosen)
    if text is not None:
        query = embedding.encoder(context, chosen)([text])[0]
    else:
        side = next((side for side in ORIGINS if record_id in records(context, side)["id"]), None)
        if side is None:
            raise UsageError(f"There is no record with the id {record_id!r}.")
        query = vectors(context, chosen.name, side, pl.Series("id", [record_id]))[0]
    found = []
    for side in ORIGINS if origin is None else (origin,):
        known = records(context, side).with_columns(pl.lit(side).alias("origin"))
        # Excluded records have vectors too, and the record itself is found first: ask for as many more.
        spare = records(context, side, with_excluded=True).height - known.height + 1
        where = f"origin = {quote(side)}"
        rows = context.lake.nearest(vectors_table(chosen.name), query, count + spare, where, ["origin", "id"])
        found.append(pl.DataFrame(rows).rename({"_distance": "distance"}).join(known, on=["origin", "id"]))
    frame = pl.concat(found)
    if record_id is not None:
        frame = frame.filter(pl.col("id") != record_id)
    columns = ["origin", "id", "distance", "label", "split", "text"]
    return frame.sort("distance", "origin", "id").head(count).select(columns)
