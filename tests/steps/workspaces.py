"""Small workspaces of the fixture corpus for tests of selections and weights, and what is asked of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from duckdb import DuckDBPyConnection
from sklearn.gaussian_process import GaussianProcessRegressor

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


@contextmanager
def unpublished() -> Iterator[None]:
    """Leave out the catalog: no test inside reads it, and writing it takes longer than most steps do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synalign.steps.lifecycle.publish.publish_if_stale", lambda *_: None)
        yield


def one(workspace: sa.Workspace, query: str, *parameters: Any) -> Any:
    """The first column of the first row."""
    return workspace.sql(query, list(parameters) or None).fetchall()[0][0]


def rows(workspace: sa.Workspace | DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """All rows, by column name. A connection of `workspace.connect()` saves making one for each query."""
    return workspace.sql(query).pl().to_dicts()


def weights(workspace: sa.Workspace) -> dict[str, float]:
    """The current weight of each record."""
    return dict(workspace.sql("select id, weight from synthetic_weighted").fetchall())


def clustered(path: Path, real: pl.DataFrame, k: int, label: str | None = "label", **given: Any) -> sa.Workspace:
    """A workspace of real records alone, embedded in few dimensions, in k clusters; `given` is for the clustering."""
    workspace = sa.open(path)
    workspace.ingest(real, label=label, id="key" if "key" in real.columns else None)
    workspace.embed(dimensions=16)
    workspace.cluster(k=k, **given)
    return workspace


def selected(workspace: sa.Workspace, **settings: Any) -> pl.DataFrame:
    """The rows of `selections` that selecting with these settings gives, in order; mass does not count unless asked."""
    outcome = workspace.select(**({"beta": 0.0} | settings))
    # Not through SQL: a connection takes longer than most selections.
    found = workspace._lake.frame("selections", None, f"run_id = '{outcome.run_id}'")
    return found.sort("step")


def vectors_of(workspace: sa.Workspace, origin: str = "real") -> dict[str, np.ndarray]:
    """The vector of each record of one side, of the embedder that the current clusters are in, in float64."""
    name = workspace.status()["steps"]["cluster"]["parameters"]["embedder"]
    stored = workspace._lake.read(f"vectors_{name}", ["id", "vector"], f"origin = '{origin}'").to_pylist()
    return {row["id"]: np.array(row["vector"], dtype=np.float64) for row in stored}


def centroids(workspace: sa.Workspace) -> np.ndarray:
    """The centroids of the current clusters, float64 [k, d]."""
    return np.array(workspace.sql("select centroid from clusters order by cluster_id").fetchall())[:, 0]


def posterior(observed: np.ndarray, points: np.ndarray, kernel: Any, noise: float) -> np.ndarray:
    """Second opinion: the variance that scikit-learn's Gaussian process has at the points, float64 [n]."""
    process = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None)
    if len(observed):
        process.fit(observed, np.zeros(len(observed)))
    return process.predict(points, return_std=True)[1] ** 2
