"""Small workspaces of the fixture corpus for tests of weights, and what is asked of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl

import synalign as sa
from tests.conftest import CORPUS

#: Nothing is left to choose: labels one by one, in the real shares.
FIXED: dict[str, Any] = {"strength": 1e-2, "features": 64, "quality": False, "label_shares": "real"}


def corpus() -> pl.DataFrame:
    """All messages, in an order that is no order."""
    return pl.read_csv(CORPUS).select("text", "label", "channel").sample(fraction=1.0, shuffle=True, seed=3)


def make(
    path: Path, real: pl.DataFrame, synthetic: pl.DataFrame, label: str | None = "label", **given: Any
) -> sa.Workspace:
    """A workspace of these records, embedded in few dimensions; `given` is for the real side."""
    workspace = sa.open(path)
    workspace.ingest(real, label=label, **given)
    key = "key" if "key" in synthetic.columns else None
    workspace.ingest(synthetic, label=label, id=key, synthetic=True)
    workspace.embed(dimensions=32)
    return workspace


def copy(workspace: sa.Workspace, path: Path) -> sa.Workspace:
    """A workspace of its own with the same content."""
    shutil.copytree(workspace.path, path)
    return sa.open(path)


def one(workspace: sa.Workspace, query: str, *parameters: Any) -> Any:
    """The first column of the first row."""
    return workspace.sql(query, list(parameters) or None).fetchall()[0][0]


def rows(workspace: sa.Workspace, query: str) -> list[dict[str, Any]]:
    """All rows, by column name."""
    return workspace.sql(query).pl().to_dicts()


def weights(workspace: sa.Workspace) -> dict[str, float]:
    """The current weight of each record."""
    return dict(workspace.sql("select id, weight from synthetic_weighted").fetchall())
