"""cluster and select: the log is the greedy answer of a Gaussian process that is asked again at every step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

import synalign as sa
from synalign.errors import NotReadyError, NumericsError, UsageError

CORPUS = Path(__file__).resolve().parents[2] / "fixtures" / "support.csv"


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """Twenty clusters of the fixture corpus, and the default selection."""
    workspace = sa.open(tmp_path_factory.mktemp("select") / "w")
    workspace.ingest(CORPUS, label="label", test_share=0.2)
    workspace.cluster(k=20)
    workspace.select(budget=12)
    return workspace


def test_picks_are_those_of_a_process_that_is_refitted_at_every_step(clustered: sa.Workspace) -> None:
    centroids = np.array(clustered.sql("select centroid from clusters order by cluster_id").fetchall())[:, 0]
    log = clustered.sql("select * from selection_log order by step").pl()
    scale, noise = log["length_scale"][0], log["noise"][0]
    picked: list[int] = []
    for step in range(12):
        process = GaussianProcessRegressor(RBF(scale), alpha=noise, optimizer=None)
        if picked:
            process.fit(centroids[picked], np.zeros(len(picked)))
        variance = process.predict(centroids, return_std=True)[1] ** 2
        rest = [number for number in range(20) if number not in picked]
        picked.append(max(rest, key=lambda number: (round(variance[number], 9), -number)))
        assert log["variance_before"][step] == pytest.approx(variance[picked[-1]], rel=1e-5)
    assert log["cluster_id"].to_list() == picked


def test_variance_falls_and_the_last_step_says_why_it_ended(clustered: sa.Workspace) -> None:
    log = clustered.sql("select * from selection_log order by step").pl()
    assert (log["variance_after"] < log["variance_before"]).all()
    assert (np.diff(log["max_remaining"].to_numpy()) <= 1e-12).all()
    assert log["stop_reason"].to_list() == [None] * 11 + ["budget"]


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


def test_a_budget_above_the_clusters_names_the_cure(clustered: sa.Workspace) -> None:
    with pytest.raises(UsageError, match=r"21 is more than the 20 clusters.*cluster\(k=21\)"):
        clustered.select(budget=21)


def test_more_clusters_than_records_are_refused_with_the_range(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(pl.DataFrame({"text": [f"message number {n} about lamps" for n in range(30)]}))
    with pytest.raises(NumericsError, match="from 1 to 30"):
        workspace.cluster(k=31)


def test_select_needs_clusters(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(CORPUS, label="label")
    with pytest.raises(NotReadyError, match=r"ws\.cluster"):
        workspace.select()


def test_a_length_scale_far_too_short_is_said_and_logged(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(CORPUS, label="label")
    workspace.cluster(k=10)
    outcome = workspace.select(budget=5, length_scale=0.001)
    assert "so short that all clusters are equally uncertain" in outcome.notes[0]
    assert workspace.sql("select distinct informative from selection_log").fetchall() == [(False,)]
