"""cluster and select: the log is the greedy answer of a Gaussian process that is asked again at every step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.gaussian_process.kernels import RBF

import synalign as sa
from tests.conftest import CORPUS
from tests.steps import workspaces
from tests.steps.workspaces import centroids, copy, corpus, posterior, selected


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """Twenty clusters of the fixture corpus, and a selection."""
    workspace = sa.open(tmp_path_factory.mktemp("select") / "w")
    workspace.ingest(CORPUS, label="label", test_share=0.2)
    workspace.cluster(k=20)
    workspace.select(budget=12, beta=0.0)
    return workspace


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """Six clusters of sixty messages, and a selection; to be copied."""
    workspace = workspaces.clustered(tmp_path_factory.mktemp("few") / "w", corpus().head(60), k=6)
    workspace.select(beta=0.0, budget=4)
    return workspace


def test_picks_are_those_of_a_process_that_is_refitted_at_every_step(clustered: sa.Workspace) -> None:
    points = centroids(clustered)
    log = clustered.sql("select * from selection_log order by step").pl()
    scale, noise = log["length_scale"][0], log["noise"][0]
    picked: list[int] = []
    for step in range(12):
        variance = posterior(points[picked], points, RBF(scale), noise)
        rest = [number for number in range(20) if number not in picked]
        picked.append(max(rest, key=lambda number: (round(variance[number], 9), -number)))
        assert log["variance_before"][step] == pytest.approx(variance[picked[-1]], rel=1e-5)
        after = posterior(points[picked], points[picked[-1:]], RBF(scale), noise)
        assert log["variance_after"][step] == pytest.approx(after[0], rel=1e-5)
    assert log["cluster_id"].to_list() == picked
    # Without weights the score is the variance.
    assert log["score"].to_list() == log["variance_before"].to_list()


def test_what_is_left_is_kept_for_every_cluster_picked_or_not(clustered: sa.Workspace) -> None:
    log = clustered.sql("select * from selection_log order by step").pl()
    left = clustered.sql("select u.* from uncertainty u join current_runs using (run_id) order by cluster_id").pl()
    points = centroids(clustered)
    expected = posterior(points[log["cluster_id"].to_numpy()], points, RBF(log["length_scale"][0]), log["noise"][0])
    np.testing.assert_allclose(left["variance_after"], expected, rtol=1e-5)
    np.testing.assert_allclose(left["variance_before"], 1.0)
    shown = clustered.sql("select variance_left, selections, generated from cluster_coverage order by cluster_id").pl()
    assert shown["variance_left"].to_list() == left["variance_after"].to_list()
    assert np.flatnonzero(shown["selections"]).tolist() == sorted(log["cluster_id"])
    assert shown["generated"].sum() == 0
    assert clustered.status()["steps"]["select"]["counts"]["max_variance_left"] == left["variance_after"].max()


def test_variance_falls_and_the_last_step_says_why_it_ended(clustered: sa.Workspace) -> None:
    log = clustered.sql("select * from selection_log order by step").pl()
    assert (log["variance_after"] < log["variance_before"]).all()
    assert (np.diff(log["variance_before"]) <= 1e-12).all()
    assert (np.diff(log["seconds"]) >= 0).all()
    assert log["stop_reason"].to_list() == [None] * 11 + ["budget"]
    assert log["round"].unique().to_list() == [1]


def test_demonstrations_are_distinct_training_records_of_the_cluster_and_the_label(clustered: sa.Workspace) -> None:
    rows = clustered.sql(
        "select s.step, s.label, s.cluster_id, r.id, r.label as shown_label, r.split, m.cluster_id as shown_cluster "
        "from selections s, unnest(s.demonstrations) as d(id) join real r on r.id = d.id "
        "join cluster_members m on m.id = r.id and m.origin = 'real'"
    ).pl()
    assert (rows["label"] == rows["shown_label"]).all()
    inside = clustered.sql(
        "select m.cluster_id, r.label, count(*) as inside from real r join cluster_members m on m.id = r.id "
        "where m.origin = 'real' and r.split = 'train' group by all"
    ).pl()
    enough = rows.join(inside.filter(pl.col("inside") >= 4), on=["cluster_id", "label"])
    assert enough.height > 20
    assert (enough["cluster_id"] == enough["shown_cluster"]).all()
    assert rows["split"].unique().to_list() == ["train"]
    assert not rows.select("step", "id").is_duplicated().any()
    assert rows.group_by("step").len()["len"].unique().to_list() == [4]


def test_clusters_hold_every_training_record_once(clustered: sa.Workspace) -> None:
    total = clustered.sql("select sum(size) from clusters").fetchall()[0][0]
    assert total == clustered.sql("select count(*) from real where split = 'train'").fetchall()[0][0]
    shares = clustered.sql("select list_sum(list_transform(label_mix, lambda x: x.share)) from clusters").fetchall()
    np.testing.assert_allclose(shares, 1.0)


def test_the_same_settings_give_the_run_there_is_and_others_a_new_one(few: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(few, tmp_path / "w")
    first = few.status()["steps"]["select"]["run_id"]
    again = workspace.select(beta=0.0, budget=4)
    assert again.reused
    assert again.run_id == first
    other = workspace.select(beta=0.0, budget=4, noise=0.1)
    assert not other.reused
    assert other.run_id != first
    assert workspace.sql("select count(*) from selection_log where noise = 0.1").fetchall() == [(4,)]
    back = workspace.select(beta=0.0, budget=4)
    assert back.run_id == first
    assert any("gone back" in note for note in back.notes)
    assert workspace.sql("select distinct noise from selection_log").fetchall() == [(0.01,)]


def test_records_that_come_in_later_change_a_selection_only_when_asked_to(few: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(few, tmp_path / "w")
    first = workspace.sql("select run_id, step, cluster_id, demonstrations from selections order by all").fetchall()
    workspace.ingest(corpus()[60:90], label="label")
    workspace.cluster(k=6)
    assert workspace.select(beta=0.0, budget=4).reused
    assert workspace.select(beta=0.0, budget=4, refit=True).reused  # The clusters are the same: it would pick the same.
    workspace.cluster(k=6, refit=True)
    anew = workspace.select(beta=0.0, budget=4)
    assert not anew.reused
    rows = "select run_id, step, cluster_id, demonstrations from selections where run_id {} $run order by all"
    assert workspace.sql(rows.format("<>"), {"run": anew.run_id}).fetchall() == first
    late = {row[0] for row in workspace.sql("select id from real").fetchall()} - {
        row[0] for row in few.sql("select id from real").fetchall()
    }
    shown = selected(workspace, budget=4)["demonstrations"].explode()
    assert late & set(shown)


def test_unlabelled_text_is_selected_without_labels(tmp_path: Path) -> None:
    workspace = workspaces.clustered(tmp_path / "w", corpus().head(40).select("text"), k=4, label=None)
    for settings in ({"budget": 3}, {"budget": 5, "unit": "record", "demonstrations": 2}):
        log = selected(workspace, **settings)
        assert log.height == settings["budget"]
        assert log["label"].to_list() == [None] * log.height
        assert log["demonstrations"].list.len().unique().to_list() == [settings.get("demonstrations", 4)]


def test_a_length_scale_far_too_short_is_said_and_logged(few: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(few, tmp_path / "w")
    outcome = workspace.select(beta=0.0, budget=5, length_scale=0.001)
    assert "so short that all clusters are equally uncertain" in outcome.notes[0]
    assert workspace.sql("select cluster_id, uninformative from selection_log order by step").fetchall() == [
        (cluster, True) for cluster in range(5)
    ]
    assert few.sql("select distinct uninformative from selections").fetchall() == [(False,)]
