"""Workspaces of the help articles: documents, and queries for them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

import synalign as sa
from tests.conftest import ROOT

ARTICLES = ROOT / "fixtures" / "helpdesk_articles.jsonl"
QUERIES = ROOT / "fixtures" / "helpdesk_queries.jsonl"

#: Fewer passes than the default: what is tested does not hang on the last of them.
EPOCHS = 4


def articles() -> pl.DataFrame:
    return pl.read_ndjson(ARTICLES)


def queries() -> pl.DataFrame:
    return pl.read_ndjson(QUERIES)


def helpdesk(path: Path) -> sa.Workspace:
    """A workspace with the articles and the queries."""
    workspace = sa.open(path)
    workspace.configure(sa.Config.model_validate({"seed": 3, "retrieve": {"epochs": EPOCHS}}))
    workspace.ingest_documents(ARTICLES)
    workspace.ingest(QUERIES, id="id", label="article", split="split")
    return workspace


def written() -> pl.DataFrame:
    """Synthetic queries: what the articles say, sentence by sentence."""
    rows = [
        {"id": f"s-{row['id']}-{number}", "text": sentence.strip(), "article": row["id"]}
        for row in articles().iter_rows(named=True)
        for number, sentence in enumerate(row["text"].split(". "))
    ]
    return pl.DataFrame(rows)
