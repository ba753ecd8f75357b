"""Weight sets: several stand side by side, one is current, and all that is made of weights follows it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import synalign as sa
from tests.steps.workspaces import FIXED, copy, corpus, make, one, rows, weights


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    texts = corpus()
    workspace = make(tmp_path_factory.mktemp("sets") / "w", texts.head(80), texts.tail(80))
    workspace.align(**FIXED, weight_set="soft")
    workspace.align(**FIXED | {"strength": 1e-3}, weight_set="hard")
    return workspace


def test_both_sets_are_listed_and_the_last_is_current(two: sa.Workspace) -> None:
    found = rows(two, "select weight_set, is_current, records, total from weight_sets order by weight_set")
    assert [(row["weight_set"], row["is_current"], row["records"]) for row in found] == [
        ("hard", True, 80),
        ("soft", False, 80),
    ]
    assert [row["total"] for row in found] == pytest.approx([1.0, 1.0])


def test_two_sets_are_compared_record_by_record(two: sa.Workspace) -> None:
    found = rows(two, "from weights_compare")
    assert len(found) == 80
    assert {(row["weight_set_a"], row["weight_set_b"]) for row in found} == {("hard", "soft")}
    assert {row["id"]: row["weight_a"] for row in found} == weights(two)
    for row in found:
        assert row["log_ratio"] == pytest.approx(math.log(row["weight_b"] / row["weight_a"]), abs=1e-9)
    assert any(abs(row["log_ratio"]) > 0.1 for row in found)


def test_sample_export_and_training_data_follow_the_current_set(two: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(two, tmp_path / "w")
    named = dict(workspace.sql("select id, weight from synthetic_weighted_in('soft')").fetchall())

    def made() -> tuple[pl.DataFrame, dict[str, float], np.ndarray]:
        file = workspace.export(tmp_path / "all.jsonl")
        exported = {row["id"]: row["weight"] for row in pl.read_ndjson(file).to_dicts()}
        return workspace.sample(500, seed=1), exported, workspace.training_data().sample_weight

    hard = made()
    outcome = workspace.use_weights("soft")
    assert (outcome.counts["weight_set"], outcome.counts["records"]) == ("soft", 80)
    assert outcome.notes == ("soft is the current weight set",)
    again = workspace.use_weights("soft")
    assert (again.reused, again.notes) == (True, ("soft is the current weight set already",))
    soft = made()
    assert weights(workspace) == named
    assert soft[1] == pytest.approx(named)
    assert not hard[0].equals(soft[0])
    drawn = dict(soft[0].select("id", "copies").iter_rows())
    assert all(abs(copies - 500 * named[name]) < 1 for name, copies in drawn.items())
    assert np.abs(hard[2] - soft[2]).max() > 0.01
    assert hard[2].mean() == pytest.approx(soft[2].mean())


def test_aligning_under_a_name_that_is_taken_replaces_what_it_stands_for(two: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(two, tmp_path / "w")
    workspace.align(**FIXED | {"strength": 3e-2}, weight_set="soft")
    assert one(workspace, "select count(*) from weight_sets") == 2
    assert one(workspace, "select strength from alignment_summary where is_current and stratum = '*'") == 3e-2
    workspace.use_weights("hard")
    workspace.use_weights("soft")
    assert one(workspace, "select strength from alignment_summary where is_current and stratum = '*'") == 3e-2
