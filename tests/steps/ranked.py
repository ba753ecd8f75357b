"""Workspaces that hold the rankings of retrievers, as their step writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import synalign as sa
from synalign.store.lake.journal import Clock, Plan

#: Documents, which the labels of queries name.
DOCUMENTS = [f"d{number:02d}" for number in range(40)]


def workspace(path: Path, queries: int = 600, seed: int = 0) -> sa.Workspace:
    """A workspace of test queries, each answered by one of DOCUMENTS, and some training records."""
    random = np.random.default_rng(seed)
    answers = random.choice(DOCUMENTS, queries)
    found = sa.open(path)
    rows = pl.DataFrame(
        {
            "id": [f"q{number:04d}" for number in range(queries)],
            "text": [f"query {number}" for number in range(queries)],
            "label": answers,
            "split": ["train" if number % 10 == 0 else "test" for number in range(queries)],
        }
    )
    found.ingest(rows, id="id", label="label", split="split")
    return found


def rank(
    workspace: sa.Workspace, retrievers: dict[str, float], *, seed: int = 0, depth: int = 12, leave: int = 0
) -> str:
    """Write a run that ranks all queries but `leave` of them: a retriever of a larger number puts the answer higher.
    Return its name."""
    asked = workspace.sql("select id, label from real order by id").fetchall()
    asked = asked[: len(asked) - leave]
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    plan = Plan("rank", {"retrievers": retrievers, "seed": seed, "leave": leave})
    for name, better in retrievers.items():
        scores = random.normal(size=(len(asked), len(DOCUMENTS)))
        scores[np.arange(len(asked)), [DOCUMENTS.index(label) for _, label in asked]] += better
        for (query, _), line in zip(asked, scores, strict=True):
            best = np.argsort(-line)[:depth]
            rows += [
                {
                    "run_id": plan.run_id, "retriever": name, "query_id": query, "rank": place,
                    "document_id": DOCUMENTS[document], "score": float(line[document]),
                }
                for place, document in enumerate(best, start=1)
            ]  # fmt: skip
    with workspace._writing():
        context = workspace._context()
        context.lake.insert_rows("rankings", rows)
        context.journal.finish(plan, Clock(), {"rows": len(rows)}, (), ("rankings",))
    return plan.run_id
