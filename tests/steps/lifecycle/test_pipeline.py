"""The steps together: what is done again, what is kept, and what is never mixed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign import pipeline
from synalign.errors import ConfigError, NotReadyError, UsageError
from synalign.steps.lifecycle.publish import publish_if_stale
from synalign.workspace import CATALOG_NAME
from tests.conftest import CORPUS

ROWS = pl.read_csv(CORPUS).select("text", "label").unique("text", maintain_order=True)


def build(path: Path, rows: pl.DataFrame = ROWS[:120], *, label: str | None = "label") -> sa.Workspace:
    """Return a small workspace in which every step ran."""
    workspace = sa.open(path)
    settings = {"seed": 5, "embed": {"dimensions": 24}, "cluster": {"k": 6}, "generate": {"per_selection": 3}}
    workspace.configure(sa.Config.model_validate(settings | {"align": {"features": 64}}))
    workspace.ingest(rows, label=label)
    workspace.cluster()
    workspace.select()
    workspace.reason()
    workspace.generate()
    workspace.align()
    return workspace


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("template") / "workspace").path


@pytest.fixture
def workspace(template: Path, blank: Path) -> sa.Workspace:
    """A copy, for one test, of a small workspace in which every step ran."""
    shutil.copytree(template, blank)
    return sa.open(blank, create=False)


def count(workspace: sa.Workspace, relation: str) -> int:
    return workspace.sql(f"select count(*) from {relation}").fetchall()[0][0]


def runs(workspace: sa.Workspace, step: str) -> list[str]:
    query = "select run_id from runs where step = $step order by sequence"
    return [row[0] for row in workspace.sql(query, {"step": step}).fetchall()]


def assignments(workspace: sa.Workspace) -> dict[tuple[str, str], int]:
    rows = workspace.sql("select origin, id, cluster_id from cluster_members").fetchall()
    return {(origin, name): number for origin, name, number in rows}


def test_steps_name_what_is_not_known() -> None:
    assert pipeline.chosen(None) == ["ingest", *pipeline.STEPS]
    assert pipeline.chosen(("align", "embed")) == ["embed", "align"]
    with pytest.raises(ConfigError, match="no step 'train'; steps are ingest, embed, cluster"):
        pipeline.chosen(("train",))


def test_new_rows_are_embedded_alone_assigned_and_nothing_paid_is_asked_again(workspace: sa.Workspace) -> None:
    before = {step: runs(workspace, step) for step in ("embedder", "cluster", "select", "reason", "generate")}
    calls, members = count(workspace, "calls"), assignments(workspace)
    name = workspace.status()["steps"]["cluster"]["parameters"]["embedder"]
    lake = workspace._lake
    vectors = lake.read(f"vectors_{name}").num_rows
    workspace.ingest(ROWS[120:150], label="label")
    outcome = workspace.cluster()
    assert not outcome.reused
    assert any("30 new records assigned" in note for note in outcome.notes)
    assert lake.read(f"vectors_{name}").num_rows == vectors + 30
    after = assignments(workspace)
    assert {key: after[key] for key in members} == members
    assert len(after) == len(members) + 30
    assert all(step().reused for step in (workspace.select, workspace.reason, workspace.generate, workspace.cluster))
    assert {step: runs(workspace, step) for step in before} == before
    assert count(workspace, "calls") == calls
    again = workspace.align()
    assert not again.reused
    assert {step: runs(workspace, step) for step in ("reason", "generate")} == {
        step: before[step] for step in ("reason", "generate")
    }


def test_new_rows_are_assigned_to_the_nearest_centroid(workspace: sa.Workspace) -> None:
    """Second opinion: distances of all vectors to all centroids, in numpy."""
    workspace.ingest(ROWS[120:150], label="label")
    workspace.cluster()
    current = workspace.status()["steps"]["cluster"]
    rows = workspace.sql("select cluster_id, centroid from clusters order by cluster_id").fetchall()
    centroids = np.array([row[1] for row in rows])
    stored = workspace._lake.read(f"vectors_{current['parameters']['embedder']}").to_pylist()
    known = assignments(workspace)
    for row in stored:
        distances = np.linalg.norm(centroids - np.array(row["vector"]), axis=1)
        chosen = known[row["origin"], row["id"]]
        assert distances[chosen] <= distances.min() + 1e-5
    assert len(stored) == len(known) == 150 + count(workspace, "synthetic")


def test_refit_clusters_anew_and_says_what_is_stale(workspace: sa.Workspace) -> None:
    (first,) = runs(workspace, "cluster")
    workspace.ingest(ROWS[120:150], label="label")
    workspace.cluster()
    outcome = workspace.cluster(refit=True)
    assert runs(workspace, "cluster") == [first, outcome.run_id]
    assert outcome.counts["records"] == 150
    assert any("run select again" in text for text in workspace.status()["stale"])
    assert not workspace.select().reused
    with pytest.raises(NotReadyError, match="no attributes of the current selections"):
        workspace.generate()


def test_align_refits_the_embedder_once_synthetic_records_exist_and_not_again(workspace: sa.Workspace) -> None:
    fitted = workspace.sql("select fitted_on from embedders join runs using (run_id) order by sequence").fetchall()
    assert fitted == [(["real"],), (["real", "synthetic"],)]
    workspace.align(strength=1e-2)
    workspace.ingest(ROWS[120:150], label="label")
    workspace.align()
    assert len(runs(workspace, "embedder")) == 2
    used = workspace.sql("select distinct embedder from alignments").fetchall()
    assert len(used) == 1


def test_earlier_parameters_bring_the_earlier_run_back_as_the_current_one(workspace: sa.Workspace) -> None:
    weights = "select id, weight from synthetic_weighted order by id"
    first, weak = workspace.sql(weights).fetchall(), workspace.align(strength=0.5)
    assert workspace.sql(weights).fetchall() != first
    back = workspace.align()
    assert back.reused
    assert any("gone back" in note for note in back.notes)
    assert workspace.sql(weights).fetchall() == first
    assert runs(workspace, "align") == [back.run_id, weak.run_id]
    assert workspace.align().notes == ()
    sizes = [workspace.cluster(k=k).run_id for k in (6, 4, 6)]
    assert sizes[0] == sizes[2] != sizes[1]
    assert count(workspace, "clusters") == 6


@pytest.mark.long
def test_another_seed_names_every_run_otherwise(tmp_path: Path) -> None:
    one, two, same = (sa.open(tmp_path / name) for name in ("one", "two", "same"))
    for workspace, seed in ((one, 1), (two, 2), (same, 1)):
        settings = {"seed": seed, "embed": {"dimensions": 8}, "cluster": {"k": 3}, "generate": {"per_selection": 2}}
        workspace.configure(sa.Config.model_validate(settings))
        workspace.ingest(ROWS[:40], label="label")
        for step in ("embed", "cluster", "select", "reason", "generate"):
            getattr(workspace, step)()
    for step in ("embedder", "cluster", "select", "reason", "generate"):
        assert runs(one, step) == runs(same, step)
        assert not set(runs(one, step)) & set(runs(two, step))
    assert runs(one, "ingest") == runs(two, "ingest")


def test_two_embedders_are_never_mixed(workspace: sa.Workspace) -> None:
    old, new = (row[0] for row in workspace.sql("select name from embedders order by len(fitted_on)").fetchall())
    with pytest.raises(UsageError, match=f"not of '{new}': two are never mixed"):
        workspace.select(embedder=new)
    assert workspace.select(embedder=old).reused
    with pytest.raises(UsageError, match=f"no embedder 'lsa_x'. There are: {old}, {new}"):
        workspace.cluster(embedder="lsa_x")


def test_unlabelled_text_goes_all_the_way(blank: Path) -> None:
    workspace = build(blank, ROWS[:90].select("text"), label=None)
    assert workspace.sql("select distinct label from synthetic_weighted").fetchall() == [(None,)]
    assert workspace.sql("select sum(weight) from synthetic_weighted").fetchall()[0][0] == pytest.approx(1)
    assert [row[0] for row in workspace.sql("select stratum from alignments").fetchall()] == ["*"]
    assert workspace.sample(20, seed=1)["copies"].sum() == 20


@pytest.mark.parametrize("labelled", ["real", "synthetic"])
def test_labels_on_one_side_only_are_not_matched(blank: Path, labelled: str) -> None:
    """Without being asked, all records are matched together; asked to match labels, align says why it cannot."""
    workspace = sa.open(blank)
    for side, rows in (("real", ROWS[:60]), ("synthetic", ROWS[100:150])):
        label = "label" if side == labelled else None
        workspace.ingest(rows if label else rows.select("text"), label=label, synthetic=side == "synthetic")
    assert workspace.align(features=64).counts["strata"] == 1
    with pytest.raises(UsageError, match=r"No label occurs on both sides.*\(none\).*by_label=False"):
        workspace.align(by_label=True)


def test_excluded_records_lose_their_weight_and_get_it_back(workspace: sa.Workspace) -> None:
    name = workspace.sql("select id from synthetic_weighted order by weight desc limit 1").fetchall()[0][0]
    before = dict(workspace.sql("select id, weight from synthetic_weighted").fetchall())
    workspace.exclude(f"id = '{name}'", reason="a test")
    workspace.align()
    after = dict(workspace.sql("select id, weight from synthetic_weighted").fetchall())
    assert not after.get(name)
    assert sum(after.values()) == pytest.approx(1)
    assert name not in workspace.sample(2000)["id"].to_list()
    assert name not in workspace.training_data().ids
    workspace.include(f"id = '{name}'")
    workspace.align()
    back = dict(workspace.sql("select id, weight from synthetic_weighted").fetchall())
    assert back == pytest.approx(before, rel=1e-9)


def test_every_verb_works_inside_a_running_event_loop(
    blank: Path, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook: the loop is the caller's, and the calls of the language model go out from another."""
    from tests.steps.answers import good

    server = serve(good)
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    async def notebook() -> sa.Workspace:
        workspace = build(blank, ROWS[:60])
        workspace.reason(model="m1", base_url=server.url)
        workspace.generate(model="m1", base_url=server.url)
        workspace.align()
        assert publish_if_stale(workspace._context(), blank / CATALOG_NAME)
        await asyncio.sleep(0)
        return workspace

    workspace = asyncio.run(notebook())
    assert count(workspace, "calls where model = 'm1'") == len(server.bodies) == 12
    assert count(workspace, "lineage where model = 'm1'") > 0
    assert workspace.sql("select sum(weight) from synthetic_weighted").fetchall()[0][0] == pytest.approx(1)


def test_a_step_that_lacks_what_is_before_it_says_what_to_run(blank: Path) -> None:
    workspace = sa.open(blank)
    wanted = {"embed": "ingest", "cluster": "ingest", "select": "cluster", "reason": "select", "generate": "select"}
    for step, earlier in (wanted | {"align": "ingest"}).items():
        with pytest.raises(NotReadyError, match=rf"ws\.{earlier}\(|[Ii]ngest"):
            getattr(workspace, step)()
