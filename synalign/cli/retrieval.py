"""Commands of retrieval: documents, retrievers, and what they find."""

from __future__ import annotations

from typing import Annotated

import typer

from synalign.cli.steps import FILE, AsJson, Csv, Where, opened, show_frame, step
from synalign.errors import UsageError

_NAME = Annotated[str | None, typer.Argument(help="Name of the retriever; default: what it is trained on.")]

documents = step("documents", "ingest_documents", arguments={"source": FILE}, create=True)
retriever = step("retriever", "train_retriever", arguments={"name": _NAME}, leave_out=("dimensions", "batch", "device"))


def retrieve(
    path: Where,
    text: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", "--k", help="Documents to find.")] = 10,
    retriever: Annotated[str | None, typer.Option(help="Its name; default: the one trained last.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with all documents, without the index.")] = False,
    as_json: AsJson = False,
    as_csv: Csv = False,
) -> None:
    """Find the documents that answer a text."""
    with opened(path) as workspace:
        found = workspace.retrieve(text, k, retriever=retriever, exact=exact)
    show_frame(found, ["rank", "id", "score", "text"], as_json, as_csv)


def _ranks(given: str) -> list[int]:
    try:
        return [int(part) for part in given.split(",")]
    except ValueError as error:
        raise UsageError(f"--k takes whole numbers with commas between, such as 1,5,10; given: {given!r}.") from error


evaluate_retrieval = step(
    "evaluate-retrieval",
    "evaluate_retrievers",
    flags={"names": ("--name",), "k": ("-k", "--k")},
    texts={"k": "RANK,RANK"},
    read={"k": _ranks},
)
