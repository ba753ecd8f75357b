"""cluster: within labels, purity and silhouette, and what an older workspace lacks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from sklearn.metrics import silhouette_samples

import synalign as sa
from synalign.errors import NumericsError, UsageError
from synalign.store.lake.schemas import TABLES
from tests.cli import inside
from tests.steps.workspaces import copy, corpus, make, one, rows

OWN = "select m.origin, m.id, r.label, c.label as cluster_label, c.size from cluster_members m "
OWN += "join clusters c using (cluster_id) join (select 'real' as origin, id, label from real union all "
OWN += "select 'synthetic', id, label from synthetic) r on r.id = m.id and r.origin = m.origin"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """Records of which some have no label, on both sides; one synthetic label is not among the real ones."""
    frame = corpus()
    place = pl.int_range(pl.len())
    real = frame[:140].with_columns(label=pl.when(place < 12).then(None).otherwise(pl.col("label")))
    synthetic = frame[140:190].with_columns(
        label=pl.when(place < 5).then(None).when(place < 10).then(pl.lit("odd")).otherwise(pl.col("label"))
    )
    return make(tmp_path_factory.mktemp("cluster") / "w", real, synthetic)


@pytest.fixture(scope="module")
def clustered(embedded: sa.Workspace, tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """The same, first clustered with labels ignored, and then within them."""
    workspace = copy(embedded, tmp_path_factory.mktemp("cluster") / "w")
    workspace.cluster(k=14)
    workspace.cluster(k=14, by_label=True)
    return workspace


def test_no_cluster_mixes_labels_and_each_label_has_one(clustered: sa.Workspace) -> None:
    members = clustered.sql(OWN + " where m.origin = 'real'").pl()
    assert members.height == 140
    assert members["label"].null_count() == 12
    assert (members["label"].eq_missing(members["cluster_label"])).all()
    labels = clustered.sql("select label, purity from clusters").pl()
    assert labels.height <= 14
    assert (labels["purity"].is_null() == labels["label"].is_null()).all()
    assert labels["purity"].drop_nulls().unique().to_list() == [1.0]


def test_records_join_the_nearest_cluster_of_their_label(clustered: sa.Workspace) -> None:
    """Second opinion: distances of all vectors to the centroids that are allowed, in numpy."""
    embedder = clustered.status()["steps"]["cluster"]["parameters"]["embedder"]
    vectors = {
        (row["origin"], row["id"]): row["vector"] for row in clustered._lake.read(f"vectors_{embedder}").to_pylist()
    }
    clusters = rows(clustered, "select * from clusters order by cluster_id")
    places = rows(
        clustered,
        "select m.*, s.label from cluster_members m join synthetic s on s.id = m.id where origin = 'synthetic'",
    )
    assert {row["label"] for row in places} >= {None, "odd"}
    known = {row["label"] for row in clusters}
    assert "odd" not in known
    for row in places:
        allowed = [c for c in clusters if c["label"] == row["label"] or row["label"] not in known]
        distances = [np.linalg.norm(np.subtract(vectors["synthetic", row["id"]], c["centroid"])) for c in allowed]
        assert row["cluster_id"] in [c["cluster_id"] for c in allowed]
        assert row["distance"] == pytest.approx(min(distances), rel=1e-4)


def test_both_ways_stand_side_by_side_and_are_found_again(clustered: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(clustered, tmp_path / "w")
    within = workspace.cluster(k=14, by_label=True)
    across = workspace.cluster(k=14, by_label=False)
    assert within.reused
    assert across.reused
    assert within.run_id != across.run_id
    assert workspace.cluster(k=14).run_id == across.run_id
    assert one(workspace, "select count(label) from clusters") == 0
    workspace.configure(sa.Config.model_validate({"cluster": {"by_label": True}}))
    assert workspace.cluster(k=14).run_id == within.run_id


def test_only_the_choice_is_new_in_the_name_of_a_run(clustered: sa.Workspace) -> None:
    """Runs that were made before there was a choice keep their names."""
    first, second = (row["parameters"] for row in rows(clustered, "from runs where step = 'cluster' order by sequence"))
    assert "by_label" not in first
    assert '"by_label":true' in second


def test_records_that_come_later_keep_to_their_label(clustered: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(clustered, tmp_path / "w")
    workspace.ingest(corpus()[190:230], label="label")
    outcome = workspace.cluster(k=14, by_label=True)
    assert outcome.counts["records"] == 140
    assert "40 new records assigned" in outcome.notes[-1]
    members = workspace.sql(OWN + " where m.origin = 'real'").pl()
    assert members.height == 180
    assert (members["label"].eq_missing(members["cluster_label"])).all()


def test_purity_and_silhouette_are_those_of_the_members(clustered: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(clustered, tmp_path / "w")
    counts = workspace.cluster(k=14).counts
    table = workspace.sql(
        "select c.cluster_id, any_value(c.purity) as purity, any_value(c.silhouette) as silhouette, "
        "list(r.label) as labels from clusters c join cluster_members m using (cluster_id) "
        "join real r on r.id = m.id where m.origin = 'real' group by all order by all"
    ).pl()
    commonest, total = 0, 0
    for number, pure, _, labels in table.iter_rows():
        found = sorted(Counter(label for label in labels if label is not None).values())
        assert pure == pytest.approx(found[-1] / sum(found)), number
        commonest, total = commonest + found[-1], total + sum(found)
    assert total == 128
    assert counts["purity"] == pytest.approx(commonest / total)
    members = workspace.sql("select id, cluster_id from cluster_members where origin = 'real' order by id").pl()
    name = f"vectors_{counts['embedder']}"
    vectors = {row["id"]: row["vector"] for row in workspace._lake.read(name, where="origin = 'real'").to_pylist()}
    values = silhouette_samples(np.array([vectors[id] for id in members["id"]]), members["cluster_id"].to_numpy())
    assert counts["silhouette"] == pytest.approx(values.mean(), abs=1e-5)
    means = members.with_columns(value=values).group_by("cluster_id").agg(pl.col("value").mean()).sort("cluster_id")
    np.testing.assert_allclose(table["silhouette"], means["value"], atol=1e-5)


def test_without_labels_there_is_no_purity_and_nothing_to_cluster_within(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(corpus().select("text")[:40])
    workspace.embed(dimensions=8)
    with pytest.raises(UsageError, match=r"none of the 40 .*label='COLUMN'.*by_label=False.*Nothing was clustered"):
        workspace.cluster(k=3, by_label=True)
    assert one(workspace, "select count(*) from runs where step = 'cluster'") == 0
    outcome = workspace.cluster(k=1)
    assert outcome.counts["purity"] is None
    assert outcome.counts["silhouette"] is None
    assert rows(workspace, "select label, purity, silhouette from clusters") == [
        {"label": None, "purity": None, "silhouette": None}
    ]


def test_fewer_clusters_than_labels_are_refused(embedded: sa.Workspace, tmp_path: Path) -> None:
    with pytest.raises(NumericsError, match="at least the number of groups"):
        copy(embedded, tmp_path / "w").cluster(k=2, by_label=True)


def test_clusters_of_an_earlier_version_are_read_and_added_to(clustered: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(clustered, tmp_path / "w")
    old = workspace.cluster(k=14, by_label=False)
    there = workspace._lake.read("clusters", where=f"run_id = '{old.run_id}'")
    workspace._lake.drop("clusters")
    there = there.drop_columns(["label", "purity", "silhouette"])
    workspace._lake._db.create_table(
        "clusters", there, schema=pa.schema([TABLES["clusters"].schema.field(n) for n in there.column_names])
    )
    (workspace.path / "format.json").unlink()  # the first writer adds the columns
    found = rows(workspace, "select size, label, purity, silhouette from clusters")
    assert len(found) == there.num_rows
    assert {(row["label"], row["purity"], row["silhouette"]) for row in found} == {(None, None, None)}
    workspace.ingest(corpus()[190:200], label="label")
    assert "10 new records assigned" in workspace.cluster(k=14).notes[-1]
    new = workspace.cluster(k=7, by_label=True)
    assert one(workspace, "select count(*) from clusters where purity = 1") >= 3
    assert one(workspace, "select count(*) from clusters") == new.counts["clusters"]
    assert workspace.cluster(k=14).run_id == old.run_id
    assert one(workspace, "select count(purity) from clusters") == 0


def test_the_command_line_clusters_within_labels(embedded: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(embedded, tmp_path / "w")
    assert inside.cli("cluster", workspace.path, "-k", "9", "--by-label").returncode == 0
    assert one(workspace, "select count(distinct label) from clusters") > 1
    assert inside.cli("cluster", workspace.path, "-k", "9", "--no-by-label").returncode == 0
    assert one(workspace, "select count(label) from clusters") == 0
