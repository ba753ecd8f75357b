"""A hundredth more rows costs a hundredth of the work: rows that are embedded, assigned and asked about are counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import synalign as sa
from synalign.numerics.core.lsa import Lsa
from synalign.steps.selection import cluster as clustering
from tests.steps.workspaces import corpus

#: Records at first, and that come later.
FIRST, LATER = 400, 4


class Counted:
    """What went through the functions that do the work, counted on the way."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.embedded: list[int] = []
        self.assigned: list[int] = []
        self.fitted = 0
        transform, assign, fit_clusters = Lsa.transform, clustering.assign, clustering.fit_clusters

        def transformed(model: Lsa, texts: Any) -> Any:
            self.embedded.append(len(texts))
            return transform(model, texts)

        def assigned(matrix: Any, centres: Any) -> Any:
            self.assigned.append(len(matrix))
            return assign(matrix, centres)

        def fitted(*given: Any) -> Any:
            self.fitted += 1
            return fit_clusters(*given)

        patch.setattr(Lsa, "transform", transformed)
        patch.setattr(clustering, "assign", assigned)
        patch.setattr(clustering, "fit_clusters", fitted)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def all_steps(workspace: sa.Workspace) -> None:
    workspace.cluster(k=8)
    workspace.select(budget=6)
    workspace.reason()
    workspace.generate(per_selection=4)
    workspace.align(features=64, strength=0.01)


def test_a_hundredth_more_rows_costs_a_hundredth_of_the_work(blank: Path, counted: Counted) -> None:
    frame = corpus()
    workspace = sa.open(blank)
    workspace.configure(sa.Config.model_validate({"embed": {"dimensions": 16}}))
    workspace.ingest(frame.head(FIRST), label="label")
    all_steps(workspace)
    written = workspace.sql("select count(*) from synthetic").fetchall()[0][0]
    assert sum(counted.assigned) == FIRST + written
    assert counted.fitted == 1
    calls = workspace.sql("select call_id from calls order by all").fetchall()
    embedders = workspace.sql("select count(*) from embedders").fetchall()[0][0]
    assert (len(calls) > 6, embedders) == (True, 2)  # align fitted one to both sides

    counted.embedded.clear()
    counted.assigned.clear()
    workspace.ingest(frame.slice(FIRST, LATER), label="label")
    all_steps(workspace)
    # Once for each embedder: the clusters lie in the space of the first, the weights in that of the second.
    assert sum(counted.embedded) == embedders * LATER
    assert sum(counted.assigned) == LATER
    assert counted.fitted == 1
    assert workspace.sql("select call_id from calls order by all").fetchall() == calls
    members = workspace.sql("select count(*) from cluster_members where origin = 'real'").fetchall()
    assert members == [(FIRST + LATER,)]
    assert not workspace.status()["stale"]


def test_a_hundredth_more_synthetic_rows_likewise(blank: Path, counted: Counted) -> None:
    frame = corpus()
    workspace = sa.open(blank)
    workspace.configure(sa.Config.model_validate({"embed": {"dimensions": 16}}))
    workspace.ingest(frame.head(40), label="label")
    workspace.ingest(frame.slice(40, 300), label="label", synthetic=True)
    workspace.cluster(k=4)
    workspace.align(features=64, strength=0.01)
    counted.embedded.clear()
    counted.assigned.clear()
    workspace.ingest(frame.slice(340, 3), label="label", synthetic=True)
    workspace.cluster(k=4)
    workspace.score()
    assert sum(counted.assigned) == 3
    assert sum(counted.embedded) == 3 * workspace.sql("select count(*) from embedders").fetchall()[0][0]
    assert workspace.sql("select count(*) from synthetic_weighted").fetchall() == [(303,)]
