"""A later round goes where the rounds before it have not been, and where alignment finds text missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.gaussian_process.kernels import RBF

import synalign as sa
from tests.steps.workspaces import (
    FIXED,
    centroids,
    clustered,
    copy,
    corpus,
    one,
    posterior,
    rows,
    selected,
    vectors_of,
)

ROUND: dict[str, Any] = {"budget": 3, "beta": 0.0}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """Nine clusters of unlabelled messages, and a first round that generated; to be copied."""
    workspace = clustered(tmp_path_factory.mktemp("rounds") / "w", corpus().head(70).select("text"), k=9, label=None)
    workspace.select(**ROUND)
    workspace.reason()
    workspace.generate(per_selection=3)
    return workspace


@pytest.fixture(scope="module")
def second(begun: sa.Workspace, tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """The same, with a second round selected; to be read."""
    workspace = copy(begun, tmp_path_factory.mktemp("second") / "w")
    workspace.select(**ROUND, round="next")
    return workspace


@pytest.fixture(scope="module")
def weighted(begun: sa.Workspace, tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """The first round and its weights. Selections are made in it, each test reads its own."""
    workspace = copy(begun, tmp_path_factory.mktemp("weighted") / "w")
    workspace.align(**FIXED)
    return workspace


@pytest.fixture
def workspace(begun: sa.Workspace, tmp_path: Path) -> sa.Workspace:
    return copy(begun, tmp_path / "w")


def test_a_second_round_knows_the_picks_of_the_first_and_all_that_was_generated(second: sa.Workspace) -> None:
    """Second opinion: a process fitted to the first round's centroids, the synthetic vectors, and the picks so far."""
    log = rows(second, "from selection_log order by round, step")
    assert [(row["round"], row["step"]) for row in log] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    points, written = centroids(second), vectors_of(second, "synthetic")
    assert len(written) == one(second, "select count(*) from synthetic") > 0
    seen = [*points[[row["cluster_id"] for row in log[:3]]], *written.values()]
    kernel, left = RBF(log[0]["length_scale"]), set(range(9))
    for row in log[3:]:
        variance = posterior(np.array(seen), points, kernel, 0.01)
        assert row["variance_before"] == pytest.approx(variance[row["cluster_id"]], abs=2e-4)
        assert variance[row["cluster_id"]] > max(variance[sorted(left)]) - 4e-4
        seen.append(points[row["cluster_id"]])
        left.remove(row["cluster_id"])
    left_over = "select variance_after from uncertainty u join current_runs using (run_id) order by cluster_id"
    found = [row["variance_after"] for row in rows(second, left_over)]
    np.testing.assert_allclose(found, posterior(np.array(seen), points, kernel, 0.01), atol=2e-4)


def test_views_hold_all_current_rounds_and_what_each_began_and_ended_with(second: sa.Workspace) -> None:
    database = second.connect()
    runs = rows(database, "select run_id from runs where step = 'select' order by sequence")
    summary = rows(database, "from round_summary")
    assert [(row["round"], row["select_run_id"]) for row in summary] == [(n + 1, runs[n]["run_id"]) for n in (0, 1)]
    assert [row["selections"] for row in summary] == [3, 3]
    assert [row["generated"] for row in summary] == [len(rows(database, "from synthetic")), 0]
    assert [row["decision"] for row in summary] == [None, None]
    assert [row["stop_reason"] for row in summary] == ["budget", "budget"]
    assert summary[0]["max_variance_before"] == pytest.approx(1.0)
    assert summary[1]["max_variance_before"] < summary[0]["max_variance_left"]
    assert rows(database, "from selection_rounds order by round") == [
        {"run_id": row["select_run_id"], "round": row["round"]} for row in summary
    ]
    cover = rows(database, "from cluster_coverage")
    picked = [row["cluster_id"] for row in rows(database, "from selection_log")]
    assert [row["selections"] for row in cover] == [picked.count(number) for number in range(9)]
    by_cluster = dict(database.sql("select cluster_id, count(*) from lineage group by 1").fetchall())
    assert [row["generated"] for row in cover] == [by_cluster.get(number, 0) for number in range(9)]


def test_a_round_is_selected_once_and_the_current_one_is_what_is_meant(second: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(second, tmp_path / "w")
    now = workspace.status()["steps"]["select"]
    for given in ({}, {"round": 2}):
        again = workspace.select(**ROUND, **given)
        assert again.reused
        assert again.run_id == now["run_id"]
    first = workspace.select(**ROUND, round=1)
    assert first.reused
    assert one(workspace, "select max(round) from selection_log") == 1
    assert rows(workspace, "select round from round_summary") == [{"round": 1}]
    assert workspace.select(**ROUND, round="next").run_id == now["run_id"]
    other = workspace.select(**ROUND, round=2, noise=0.05)
    assert not other.reused
    assert rows(workspace, "select round, noise from selection_log group by all order by all") == [
        {"round": 1, "noise": 0.01},
        {"round": 2, "noise": 0.05},
    ]


def test_text_of_another_generator_counts_until_it_is_excluded(second: sa.Workspace, workspace: sa.Workspace) -> None:
    """Text like that of the cluster where the round would begin is brought in: the round begins elsewhere."""
    plain = second.sql("from selection_log where round = 2 order by step").pl()
    target = plain["cluster_id"][0]
    texts = workspace.sql(f"select text from cluster_members join real using (id) where cluster_id = {target}").pl()
    workspace.ingest(texts.with_columns(key=pl.format("w{}", pl.int_range(pl.len()))), id="key", synthetic=True)
    moved = selected(workspace, **ROUND, round=2)
    assert target not in moved["cluster_id"]
    known = rows(workspace, "from uncertainty u join current_runs using (run_id) order by cluster_id")
    # The place is as known as it was uncertain: nothing was picked there in this workspace.
    assert known[target]["variance_before"] < plain["variance_before"][0] / 3
    workspace.exclude("id like 'w%'", reason="a test")
    assert workspace.select(**ROUND, round=2).reused
    back = selected(workspace, **ROUND, round=2, refit=True)
    assert back["cluster_id"].to_list() == plain["cluster_id"].to_list()
    np.testing.assert_allclose(back["variance_before"], plain["variance_before"], rtol=1e-6)


def test_a_round_of_records_knows_the_records_of_the_round_before(workspace: sa.Workspace) -> None:
    """Nothing was generated here but one text that was ingested; its vector is the only other thing known."""
    settings = {"unit": "record", "budget": 4, "length_scale": 0.9, "noise": 0.05}
    first = selected(workspace, **settings, round=1)
    generated = vectors_of(workspace, "synthetic")
    workspace.ingest(pl.DataFrame({"text": ["The parcel with the red lamp never came"]}), synthetic=True)
    log = selected(workspace, **settings, round=2)
    known, written = vectors_of(workspace), vectors_of(workspace, "synthetic")
    assert len(written) > len(generated)
    names = sorted(known)
    seen = [*(known[name] for name in first["record_id"]), *written.values()]
    variance = posterior(np.array(seen), np.array([known[name] for name in names]), RBF(0.9), 0.05)
    best = names[int(np.argmax(variance))]
    assert log["record_id"][0] == best
    assert log["variance_before"][0] == pytest.approx(variance.max(), abs=1e-3)
    assert not set(first["record_id"]) & set(log["record_id"])


def test_with_the_witness_as_guide_the_score_is_times_what_is_missing(weighted: sa.Workspace) -> None:
    # Unlabelled text has one line a cluster there.
    witness = {row["cluster_id"]: row["witness"] for row in rows(weighted, "from coverage_gaps")}
    assert sorted(witness) == list(range(9))
    plain = selected(weighted, **ROUND, round=2)
    log = selected(weighted, **ROUND | {"budget": 9}, round=2, guide="witness")
    assert plain["gap"].null_count() == 3
    expected = [max(witness[number] / max(witness.values()), 0.01) for number in log["cluster_id"]]
    np.testing.assert_allclose(log["gap"], expected, rtol=1e-9)
    assert max(expected) == 1.0
    assert 0.01 < min(value for value in expected if value > 0.01) < 0.9
    np.testing.assert_allclose(log["score"], log["variance_before"] * log["gap"], rtol=1e-12)
    assert log["score"].is_sorted(descending=True)
    assert not log["variance_before"].is_sorted(descending=True)


def test_gaps_of_records_are_their_own(weighted: sa.Workspace) -> None:
    log = selected(weighted, unit="record", budget=5, round=2, guide="witness")
    known = {row["id"]: row["witness"] for row in rows(weighted, "from witness")}
    expected = [max(known[name] / max(known.values()), 0.01) for name in log["record_id"]]
    np.testing.assert_allclose(log["gap"], expected, rtol=1e-9)


def test_a_first_round_with_a_guide_says_that_there_is_none_yet(workspace: sa.Workspace) -> None:
    outcome = workspace.select(**ROUND, guide="witness")
    assert any("no weights yet" in note for note in outcome.notes)
    assert rows(workspace, "select distinct gap from selection_log") == [{"gap": None}]
    workspace.align(**FIXED)
    assert workspace.select(**ROUND, guide="witness").reused
    # Asked to, it looks at the weights that there are now.
    assert not workspace.select(**ROUND, guide="witness", refit=True).reused
    assert one(workspace, "select count(gap) from selection_log") == 3


def test_a_later_round_shows_records_that_were_not_shown_before(workspace: sa.Workspace) -> None:
    """The same records again would bring much the same text again."""
    first = set(one(workspace, "select flatten(list(demonstrations)) from selections"))
    log = selected(workspace, **ROUND | {"budget": 9, "demonstrations": 2}, round=2)
    assert set(log["cluster_id"]) == set(range(9))
    assert not first & set(log["demonstrations"].explode())


def test_where_nothing_is_uncertain_enough_a_round_selects_nothing_and_says_so(workspace: sa.Workspace) -> None:
    outcome = workspace.select(**ROUND, round=2, min_variance=0.999)
    assert outcome.counts["selections"] == 0
    assert outcome.counts["stopped_by"] == "min_variance"
    assert any("nothing is selected" in note and "min_variance is 0.999" in note for note in outcome.notes)
    assert one(workspace, "select max(round) from selection_log") == 1
    summary = rows(workspace, "select round, selections, max_variance_left, generated from round_summary")
    assert [row["selections"] for row in summary] == [3, 0]
    assert summary[1]["max_variance_left"] == outcome.counts["max_variance_left"] < summary[0]["max_variance_left"]
