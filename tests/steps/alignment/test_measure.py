"""measure: what is measured of weights, against what, and when anew; and where it says that text is missing."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import cdist

import synalign as sa
from synalign.steps.alignment import inputs
from tests.steps.workspaces import FIXED, copy, corpus, make, one, rows

BOTH = ("mmd2_unbiased", "precision", "recall", "density", "coverage", "label_distance", "cluster_distance")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """A third of 210 real messages is for testing; the synthetic ones are another part of the corpus."""
    texts = corpus()
    workspace = make(tmp_path_factory.mktemp("measure") / "w", texts.head(210), texts.tail(150), test_share=1 / 3)
    workspace.cluster(k=8)
    workspace.align(**FIXED)
    return workspace


def test_every_figure_is_there_before_and_after_weighting(split: sa.Workspace) -> None:
    found = rows(split, "from metrics")
    expected = {f"{name}{suffix}" for name in BOTH for suffix in ("", "_raw")}
    assert {row["metric"] for row in found} == expected | {"auc_raw", "auc_weighted", "mmd2_permutation"}
    assert {row["scope"] for row in found} == {"*"}
    test = one(split, "select count(*) from real where split = 'test'")
    assert test >= 50
    for row in found:
        on_train = row["metric"].startswith(("label_", "cluster_"))
        assert row["split"] == ("train" if on_train else "test")
        if not on_train:
            assert row["real_records"] == test
        if row["metric"].startswith("auc"):
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
        if row["metric"].startswith(("precision", "recall", "coverage", "label_", "cluster_")):
            assert 0 <= row["value"] <= 1
    values = {row["metric"]: row for row in found}
    assert 0 < values["mmd2_permutation"]["p_value"] <= 1
    # The real label shares were asked for, and are there.
    assert values["label_distance"]["value"] == pytest.approx(0, abs=1e-9)
    assert values["label_distance_raw"]["value"] > 0.01


def test_label_and_cluster_distances_are_those_of_sql(split: sa.Workspace) -> None:
    query = """
        with r as (select cluster_id, count(*) / sum(count(*)) over () as share from real join cluster_members m
            using (id) where split = 'train' and origin = 'real' group by all),
        s as (select cluster_id, sum(weight) as share from synthetic_weighted join cluster_members m using (id)
            where origin = 'synthetic' group by all)
        select sum(abs(coalesce(r.share, 0) - coalesce(s.share, 0))) / 2 from r full join s using (cluster_id)
    """
    stored = one(split, "select value from metrics where metric = 'cluster_distance'")
    assert one(split, query) == pytest.approx(stored, rel=1e-9)


def test_the_summary_shows_the_newest_measurement_of_the_whole(split: sa.Workspace) -> None:
    row = split.sql("from alignment_summary where stratum = '*'").pl().row(0, named=True)
    values = {row["metric"]: row["value"] for row in rows(split, "from metrics")}
    assert row["auc"] == values["auc_weighted"]
    assert row["coverage"] == values["coverage"]


def test_the_nearest_real_record_of_each(split: sa.Workspace) -> None:
    """Against all distances, by scipy, of the vectors as they are stored."""
    (embedder,) = rows(split, "select embedder from alignments limit 1")
    stored = split._lake.read(f"vectors_{embedder['embedder']}").to_pylist()
    vectors = {(row["origin"], row["id"]): row["vector"] for row in stored}
    real = rows(split, "select id, label from real where split = 'train' order by id")
    matrix = np.array([vectors["real", row["id"]] for row in real])
    found = rows(split, "from neighbours")
    assert {(row["origin"], row["id"]) for row in found} == {("real", row["id"]) for row in real} | {
        ("synthetic", row["id"]) for row in rows(split, "from synthetic_weighted")
    }
    labels = {("real", row["id"]): row["label"] for row in real} | {
        ("synthetic", row["id"]): row["label"] for row in rows(split, "from synthetic")
    }
    places = {row["id"]: place for place, row in enumerate(real)}
    for row in found:
        distance = cdist([vectors[row["origin"], row["id"]]], matrix, "cosine")[0]
        if row["origin"] == "real":
            distance[places[row["id"]]] = 9
        assert row["similarity"] == pytest.approx(1 - distance.min(), abs=1e-5)
        assert distance[places[row["neighbour_id"]]] == pytest.approx(distance.min(), abs=1e-5)
        assert row["label"] == labels[row["origin"], row["id"]]
        assert row["neighbour_label"] == labels["real", row["neighbour_id"]]
    mixed = rows(
        split, "select origin, label, sum(share) as share, sum(records) as n from label_confusion group by all"
    )
    assert all(row["share"] == pytest.approx(1) for row in mixed)
    assert sum(row["n"] for row in mixed) == len(found)


def test_of_many_records_a_sample_is_looked_at(split: sa.Workspace, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("synalign.steps.alignment.measure.MAX_RECORDS", 30)
    workspace = copy(split, tmp_path / "w")
    workspace.exclude("id = (select min(id) from synthetic)")
    workspace.align(**FIXED)
    newest = "run_id = (select arg_max(run_id, sequence) from runs where step = 'measure')"
    found = rows(workspace, f"select origin, count(*) as n from neighbours where {newest} group by 1 order by 1")
    assert found == [{"origin": "real", "n": 30}, {"origin": "synthetic", "n": 30}]
    near = f"select max(similarity) as best from neighbours n where {newest} and origin = 'synthetic'"
    assert one(workspace, near) <= 1 + 1e-6


def test_without_enough_test_records_the_training_ones_are_compared(tmp_path: Path) -> None:
    texts = corpus()
    workspace = make(tmp_path / "w", texts.head(60), texts.tail(60))
    workspace.align(**FIXED)
    found = rows(workspace, "select metric, split from metrics")
    assert {row["split"] for row in found} == {"train"}
    assert "mmd2_permutation" not in {row["metric"] for row in found}


def test_few_records_leave_figures_out_and_say_why(tmp_path: Path) -> None:
    texts = corpus()
    workspace = make(tmp_path / "w", texts.head(9), texts.tail(9))
    workspace.align(**FIXED, by_label=False)
    metrics = {row["metric"] for row in rows(workspace, "from metrics")}
    assert metrics == {f"{name}_distance{end}" for name in ("label",) for end in ("", "_raw")} | {
        "mmd2_unbiased",
        "mmd2_unbiased_raw",
    }
    (run,) = rows(workspace, "select notes from runs where step = 'measure'")
    assert any("auc_weighted" in note and "real records have 9.0" in note for note in run["notes"])


def test_records_that_come_in_are_measured_by_check_and_by_align(split: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(split, tmp_path / "w")
    runs = "select count(*) from runs where step = 'measure'"
    workspace.check()
    assert one(workspace, runs) == 1
    workspace.ingest(corpus().slice(210, 40), label="label", test_share=0.5)
    workspace.check()
    assert one(workspace, runs) == 2
    newest = "select max(real_records) from metrics where metric = 'auc_weighted'"
    assert one(workspace, newest) == one(workspace, "select count(*) from real where split = 'test'")
    witnessed = "select count(*) from witness w where run_id = (select run_id from runs where step = 'measure' order by sequence desc limit 1)"  # noqa: E501
    assert one(workspace, witnessed) == one(workspace, "select count(*) from real where split = 'train'")
    workspace.check()
    assert one(workspace, runs) == 2


def test_text_that_was_taken_away_is_the_first_gap(tmp_path: Path) -> None:
    texts = corpus()
    soups = pl.DataFrame({"text": [f"stir the soup with {i} onions and more salt" for i in range(60)]})
    soups = soups.with_columns(label=pl.lit("delivery"), channel=pl.lit("app"))
    real, written = pl.concat([texts.head(90), soups.head(30)]), pl.concat([texts.tail(90), soups.tail(30)])
    workspace = make(tmp_path / "w", real, written)
    workspace.cluster(k=5)
    workspace.align(**FIXED)
    before = rows(workspace, "from coverage_gaps")
    place = max(range(len(before)), key=lambda i: sum("soup" in text for text in before[i]["examples"]))
    assert before[place]["weighted_share"] > 0
    workspace.exclude("text like '%soup%'")
    workspace.align(**FIXED)
    first = rows(workspace, "from coverage_gaps")[0]
    assert (first["cluster_id"], first["label"]) == (before[place]["cluster_id"], "delivery")
    assert first["real_records"] >= 30
    assert all("soup" in text for text in first["examples"])
    assert len(first["examples"]) == len(first["example_ids"]) == 3
    assert first["missing_share"] == pytest.approx(first["real_share"] - first["weighted_share"])
    assert first["missing_share"] > before[place]["missing_share"]
    assert first["witness"] > max(0, before[place]["witness"])
    assert first["coverage"] < before[place]["coverage"]


def test_a_measurement_that_reads_finds_what_one_does_that_is_handed_the_arrays(
    split: sa.Workspace, tmp_path: Path, monkeypatch
) -> None:
    workspace = copy(split, tmp_path / "w")
    queries = {
        "metrics": "select metric, value, low, high, p_value, split from metrics order by metric",
        "neighbours": "select * exclude (run_id) from neighbours order by origin, id",
    }
    before = {name: rows(workspace, query) for name, query in queries.items()}
    witnessed = rows(workspace, "select * exclude (run_id) from witness order by id")
    run = one(workspace, "select run_id from runs where step = 'measure'")
    workspace._context().journal.drop([run])
    read: list[str] = []
    vectors = inputs.vectors
    monkeypatch.setattr(inputs, "vectors", lambda *given: read.append(given[2]) or vectors(*given))
    workspace.check()
    assert read == ["real", "synthetic", "real"]
    assert {name: rows(workspace, query) for name, query in queries.items()} == before
    again = rows(workspace, "select * exclude (run_id) from witness order by id")
    assert [row["stratum"] for row in again] == [row["stratum"] for row in witnessed]
    for name in ("witness", "real_mean", "synthetic_mean"):
        np.testing.assert_allclose([row[name] for row in again], [row[name] for row in witnessed], atol=1e-6)


def test_align_reads_each_vector_once_and_says_what_its_caller_waited_for(
    split: sa.Workspace, tmp_path: Path, monkeypatch
) -> None:
    workspace = copy(split, tmp_path / "w")
    read: list[str] = []
    vectors = inputs.vectors
    monkeypatch.setattr(inputs, "vectors", lambda *given: read.append(given[2]) or vectors(*given))
    monkeypatch.setattr("synalign.steps.alignment.measure.MAX_PAIRS", 50 * 100)
    monkeypatch.setattr("synalign.steps.alignment.measure.MIN_NEIGHBOURS", 25)
    start = perf_counter()
    outcome = workspace.align(**FIXED, weight_set="other")
    waited = perf_counter() - start
    assert read == ["real", "synthetic", "real"]  # training, synthetic, test
    assert 0.5 * waited < outcome.seconds <= waited
    assert sum(outcome.parts.values()) == pytest.approx(outcome.seconds, rel=0.05)
    assert outcome.parts["measure"] > 0
    newest = "run_id = (select arg_max(run_id, sequence) from runs where step = 'measure')"
    real = one(workspace, "select count(*) from real where split = 'train'")
    found = rows(workspace, f"select origin, count(*) as n from neighbours where {newest} group by 1 order by 1")
    assert [row["n"] for row in found] == [5000 // real] * 2
    (run,) = rows(workspace, f"select notes from runs where {newest}")
    assert sum("neighbours are of" in note for note in run["notes"]) == 2
