"""Commands of retrieval: documents, retrievers, and what they find."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synalign.cli.app import AsJson, Where, app, do_step, number, opened, show_frame
from synalign.errors import UsageError


@app.command()
def documents(
    path: Where,
    file: Annotated[Path, typer.Argument(help=".csv, .tsv, .jsonl, .parquet, or .duckdb with --query.")],
    text: Annotated[str, typer.Option(help="The column with the text.")] = "text",
    id: Annotated[str, typer.Option(help="The column with the id, which labels of records refer to.")] = "id",
    skip_empty: Annotated[bool, typer.Option("--skip-empty", help="Leave out rows without text.")] = False,
    query: Annotated[str | None, typer.Option(help="SQL over a DuckDB file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring in documents, which records are queries for."""
    do_step(
        path,
        as_json,
        lambda ws: ws.ingest_documents(file, text=text, id=id, skip_empty=skip_empty, query=query),
        create=True,
    )


@app.command()
def retriever(
    path: Where,
    name: Annotated[str | None, typer.Argument(help="What to call it; default: what it is trained on.")] = None,
    on: Annotated[
        str | None,
        typer.Option(help="frozen (nothing), real, synthetic, weighted, real+synthetic or real+weighted."),
    ] = None,
    share: Annotated[
        str | None, typer.Option(help="Share of all sample weight that synthetic queries get; auto (chosen).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the queries.")] = None,
    index: Annotated[str | None, typer.Option(help="ivf_flat, ivf_pq, ivf_hnsw, or none.")] = None,
    index_from: Annotated[int | None, typer.Option(help="Documents from which an index is built.")] = None,
    index_recall: Annotated[
        float | None, typer.Option(help="Share of the ten best documents that the index is to find.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a retriever on queries for the documents."""
    do_step(
        path,
        as_json,
        lambda ws: ws.train_retriever(
            name,
            on=on,
            share=number(share),
            epochs=epochs,
            index=index,
            index_from=index_from,
            index_recall=index_recall,
        ),
    )


@app.command()
def retrieve(
    path: Where,
    text: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", "--k", help="Documents to find.")] = 10,
    retriever: Annotated[str | None, typer.Option(help="Its name; default: the one trained last.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with all documents, without the index.")] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Find the documents that answer a text."""
    with opened(path) as workspace:
        found = workspace.retrieve(text, k, retriever=retriever, exact=exact)
    show_frame(found, ["rank", "id", "score", "text"], as_json, as_csv)


@app.command()
def evaluate_retrieval(
    path: Where,
    name: Annotated[list[str] | None, typer.Option(help="A retriever; can be repeated; default: all.")] = None,
    k: Annotated[str | None, typer.Option("-k", "--k", help="Ranks to give recall at, such as 1,5,10.")] = None,
    baseline: Annotated[str | None, typer.Option(help="The retriever that others are compared with.")] = None,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Go on though test queries are training texts, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Rank the documents for the test queries, with intervals."""
    ranks = _ranks(k)
    do_step(
        path,
        as_json,
        lambda ws: ws.evaluate_retrievers(name or None, k=ranks, baseline=baseline, allow_overlap=allow_overlap),
    )


def _ranks(given: str | None) -> list[int] | None:
    if given is None:
        return None
    try:
        return [int(part) for part in given.split(",")]
    except ValueError as error:
        raise UsageError(f"--k takes whole numbers with commas between, such as 1,5,10; given: {given!r}.") from error
