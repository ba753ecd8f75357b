"""forget and embedders: a fixed one stays, without the vectors of the records; a fitted one goes, and is refitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

import synalign as sa
from tests.llm.server import Answer, Server
from tests.steps.decoded import holding
from tests.steps.embedding.test_embed import _embeddings
from tests.steps.workspaces import corpus, unpublished


def test_clusters_of_the_fitted_embedder_stay_current_and_a_fixed_one_is_not_paid_twice(
    blank: Path, serve: Callable[[Callable[[dict[str, object], int], Answer]], Server]
) -> None:
    server = serve(_embeddings)
    workspace = sa.open(blank)
    frame = corpus().head(60).with_columns(pl.format("customer-record-{}", pl.int_range(pl.len())).alias("id"))
    with unpublished():
        workspace.ingest(frame, label="label", id="id")
        fixed = workspace.embed(model="openai/small", base_url=server.url).counts["embedder"]
        fitted = workspace.embed(model="builtin/lsa", dimensions=16).counts["embedder"]
        workspace.cluster(k=4)
        workspace.select(budget=3)
    asked = len(server.bodies)
    outcome = workspace.forget(["customer-record-7", "customer-record-31"])
    assert outcome.counts["embedders"] == 1
    assert fitted in outcome.notes[0]
    assert workspace.sql("select name from embedders").fetchall() == [(fixed,)]
    assert not workspace._lake.exists(f"vectors_{fitted}")
    assert workspace._lake.dataset(f"vectors_{fixed}").count_rows() == 58
    assert holding(blank, "customer-record-31") == set()
    assert workspace.cluster(k=4).reused
    assert workspace.select(budget=3).reused
    assert workspace.select(budget=4).counts["selections"] == 4  # in the space of a new fit of the same settings
    names = [row[0] for row in workspace.sql("select name from embedders").fetchall()]
    assert len(names) == 2
    assert fitted not in names
    assert workspace.embed(model="openai/small", base_url=server.url).reused
    assert len(server.bodies) == asked
    assert not workspace.cluster(k=4, refit=True).reused
