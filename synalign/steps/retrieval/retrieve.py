"""retrieve: the documents nearest to a text, as a retriever sees both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from synalign.errors import UsageError
from synalign.numerics.evaluation.ranking import exact_search
from synalign.steps.core.context import Context
from synalign.steps.corpus.documents import documents
from synalign.steps.embedding import embed as embedding
from synalign.steps.retrieval.retriever import Retriever, load, named
from synalign.store.lake.indexing import Searcher, is_built

_SCHEMA = {"query": pl.Int64, "rank": pl.Int64, "id": pl.String, "score": pl.Float64, "text": pl.String}


def retrieve(
    context: Context, given: str | Sequence[str], k: int, retriever: str | None, *, exact: bool = False
) -> pl.DataFrame:
    """Return the k best documents for each text, best first: query (the place of the text), rank, id, score (cosine
    similarity) and text.

    Args:
        given: one text, or several.
        retriever: the name of one; by default the one that was trained last.
        exact: compare with all documents, also where there is an index.

    Raises:
        UsageError: if a text is empty, k is below 1, or there is no such retriever.
        NotReadyError: if there are no documents, no retriever, or documents that it has not seen.
    """
    texts = [given] if isinstance(given, str) else list(given)
    if k < 1:
        raise UsageError(f"The number of documents to retrieve, k, must be at least 1, not {k}.")
    empty = [place for place, text in enumerate(texts) if not text.strip()]
    if empty:
        where = "" if isinstance(given, str) else f" number {empty[0]} (counted from 0)"
        raise UsageError(f"The query{where} is empty. Give a text to look for documents with.")
    chosen = named(context, retriever)
    if not texts:
        return pl.DataFrame(schema=_SCHEMA)
    encode = embedding.encoder(context, embedding.named(context, chosen.row["embedder"]))
    queries = load(context, chosen).queries(encode(texts))
    if exact or not is_indexed(context, chosen):
        names, matrix = stored(context, chosen)
        rows, scores = exact_search(queries, matrix, k)
        ids = names.to_numpy()
        found = [([ids[row] for row in rows[place]], scores[place].tolist()) for place in range(len(texts))]
    else:
        searcher = Searcher(context.lake, chosen.table, chosen.probing)
        found = [searcher.search(query, k) for query in queries]
    frame = pl.DataFrame(
        [
            (place, rank, name, score)
            for place, (names_found, scored) in enumerate(found)
            for rank, (name, score) in enumerate(zip(names_found, scored, strict=True), start=1)
        ],
        {name: kind for name, kind in _SCHEMA.items() if name != "text"},
        orient="row",
    )
    texts_of = documents(context, frame["id"].unique().to_list())
    return frame.join(texts_of, on="id", how="left").sort("query", "rank").select(list(_SCHEMA))


def is_indexed(context: Context, retriever: Retriever) -> bool:
    """Return whether there is an index over the retriever's documents. After a `forget` there is none, until it is
    trained again: all documents are compared then."""
    return retriever.row["index_kind"] is not None and is_built(context.lake, retriever.table)


def stored(context: Context, retriever: Retriever) -> tuple[pl.Series, np.ndarray]:
    """Return the ids of the documents, in order, and their vectors as the retriever sees them, float32 [m, k]."""
    table = context.lake.read(retriever.table, ["id", "vector"]).combine_chunks()
    width = table.schema.field("vector").type.list_size
    names = pl.Series("id", table["id"].to_pylist(), dtype=pl.String)
    flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    order = names.arg_sort().to_numpy()
    return names.gather(order), flat.reshape(-1, width)[order]
