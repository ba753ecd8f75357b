"""The choice of the strength: a whole curve in SQL, and what is done where nothing can be compared."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.numerics.alignment.strength import MIN_EFFECTIVE_SHARE, STRENGTHS
from synalign.steps.alignment.strength import FALLBACK
from tests.steps.workspaces import copy, corpus, make, one, rows

CURVE = "from strength_curve join current_runs using (run_id) order by candidate"


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    texts = corpus()
    workspace = make(tmp_path_factory.mktemp("strength") / "w", texts.head(100), texts.tail(120))
    workspace.align(features=64)
    return workspace


def test_the_curve_has_every_candidate_and_one_is_chosen(chosen: sa.Workspace) -> None:
    curve = rows(chosen, CURVE)
    tried = {(row["strength"], row["label_shares"]) for row in curve if row["quality"]}
    assert tried == {(eps, kind) for eps in STRENGTHS for kind in ("kept", "real")}
    assert len(curve) == len(tried) + 1
    assert [row["candidate"] for row in curve] == list(range(len(curve)))
    assert sum(row["chosen"] for row in curve) == 1
    (reference,) = [row for row in curve if row["unweighted"]]
    assert (reference["strength"], reference["gain"], reference["gain_error"]) == (math.inf, 0.0, 0.0)
    assert reference["effective_share"] == pytest.approx(1.0)
    for row in curve:
        assert 0 <= row["accuracy"] <= 1
        assert row["gain"] == pytest.approx(row["accuracy"] - reference["accuracy"])
        assert 0 < row["effective_share"] <= 1 + 1e-12
        assert (row["folds"], row["real_records"], row["synthetic_records"]) == (5, 100, 120)


def test_what_is_chosen_is_what_the_weights_are_learned_with(chosen: sa.Workspace) -> None:
    (pick,) = [row for row in rows(chosen, CURVE) if row["chosen"]]
    found = rows(chosen, "select strength, quality, label_shares from alignment_summary")
    assert {tuple(row.values()) for row in found} == {(pick["strength"], pick["quality"], pick["label_shares"])}
    counts = chosen.align(features=64).counts
    assert counts["accuracy_gain"] == pytest.approx(pick["gain"])


def test_what_is_given_is_not_chosen(chosen: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(chosen, tmp_path / "w")
    workspace.align(strength=3e-2, features=64, quality=False)
    (pick,) = [row for row in rows(workspace, CURVE) if row["chosen"]]
    assert {row["strength"] for row in rows(workspace, CURVE)} == {math.inf, 3e-2}
    assert (pick["strength"], pick["quality"]) == (3e-2, False)
    workspace.align(strength=3e-2, features=64, label_shares="real")
    assert rows(workspace, CURVE) == []


def test_without_labels_the_held_out_distance_chooses_above_a_floor(tmp_path: Path) -> None:
    texts = corpus()
    workspace = make(tmp_path / "w", texts.head(80).drop("label"), texts.tail(90).drop("label"), label=None)
    outcome = workspace.align(features=64)
    curve = rows(workspace, CURVE)
    assert {row["strength"] for row in curve} == set(STRENGTHS)
    assert all(row["accuracy"] is None and row["gain"] is None for row in curve)
    allowed = [row for row in curve if row["effective_share"] >= MIN_EFFECTIVE_SHARE]
    (pick,) = [row for row in curve if row["chosen"]]
    assert pick == min(allowed, key=lambda row: row["mmd2_heldout"])
    assert "accuracy_gain" not in outcome.counts


def test_too_few_real_records_are_said_and_a_middle_strength_taken(tmp_path: Path) -> None:
    texts = corpus()
    workspace = make(tmp_path / "w", texts.head(19), texts.tail(60))
    outcome = workspace.align(features=64)
    assert any(
        "19 real records that can be matched are too few to cross-validate (at least 20)" in note
        for note in outcome.notes
    )
    assert outcome.counts["strength"] == FALLBACK
    assert rows(workspace, CURVE) == []


def test_constant_labels_give_uniform_weights_and_say_so(tmp_path: Path) -> None:
    texts = corpus().with_columns(pl.lit("x").alias("label"))
    workspace = make(tmp_path / "w", texts.head(60), texts.tail(60))
    outcome = workspace.align(features=64)
    assert any("only one label is on both sides" in note and "by_label=False" in note for note in outcome.notes)
    np.testing.assert_allclose(workspace.sql("select weight from synthetic_weighted").pl()["weight"], 1 / 60)
    # What the note proposes works: without labels the distance chooses.
    freed = workspace.align(features=64, by_label=False)
    assert not any("only one label is on both sides" in note for note in freed.notes)
    assert len(rows(workspace, CURVE)) == len(STRENGTHS)
    workspace.align(features=64, match=["channel"], label_shares="real")
    shares = "select channel, sum(weight) from synthetic_weighted group by channel order by channel"
    real = "select channel, count(*) / 60 from real group by channel order by channel"
    assert dict(workspace.sql(shares).fetchall()) == pytest.approx(dict(workspace.sql(real).fetchall()))


def _labels(path: Path, count: int) -> sa.Workspace:
    real = pl.DataFrame({"text": [f"item {i} of kind {i % 97}" for i in range(count)]})
    real = real.with_columns(pl.Series("label", [f"L{i}" for i in range(count)]))
    more = count + count // 2
    synthetic = pl.DataFrame({"text": [f"thing {i} of kind {i % 89}" for i in range(more)]})
    synthetic = synthetic.with_columns(pl.Series("label", [f"L{i % count}" for i in range(more)]))
    return make(path, real, synthetic)


def _check_labels(workspace: sa.Workspace, count: int) -> None:
    notes = " ".join(workspace.align(features=64).notes)
    assert f"{count:,} labels are too many to cross-validate" in notes
    assert one(workspace, "select sum(weight) from synthetic_weighted") == pytest.approx(1.0)
    spread = "select max(w) - min(w) from (select sum(weight) as w from synthetic_weighted group by label)"
    assert one(workspace, spread) == pytest.approx(0.0, abs=1e-12)


def test_many_labels_are_not_compared(tmp_path: Path) -> None:
    _check_labels(_labels(tmp_path / "w", 201), 201)


@pytest.mark.long
def test_ten_thousand_labels_finish(tmp_path: Path) -> None:
    _check_labels(_labels(tmp_path / "w", 10_000), 10_000)


def test_labels_of_one_side_only_do_not_count_in_the_comparison(tmp_path: Path) -> None:
    texts = corpus()
    real = texts.with_columns(
        pl.when(pl.col("label") == "praise").then(pl.lit("a")).otherwise(pl.lit("b")).alias("label")
    )
    written = real.with_columns(pl.col("label").replace({"b": "c"}))
    workspace = make(tmp_path / "w", real.head(120), written.tail(120))
    notes = workspace.align(features=64).notes
    matched = real.head(120).filter(pl.col("label") == "a").height
    expected = "too few to cross-validate" if matched < 20 else "only one label is on both sides"
    assert any(expected in note for note in notes)
    assert rows(workspace, CURVE) == []


def test_no_weighting_can_be_chosen_without_label_quality(tmp_path: Path) -> None:
    texts = corpus()
    workspace = make(tmp_path / "w", texts.head(100), texts.tail(100))
    workspace.align(features=64, strength="none", quality=False)
    curve = workspace.sql("select label_shares, chosen from strength_curve order by candidate").fetchall()
    assert [shares for shares, _ in curve] == ["kept", "real"]
    assert sum(chosen for _, chosen in curve) == 1


def test_a_floor_that_the_base_measure_misses_is_said(tmp_path: Path) -> None:
    texts = corpus().with_columns(pl.Series("p", [1000.0 if i % 25 == 0 else 1.0 for i in range(corpus().height)]))
    workspace = make(tmp_path / "w", texts.head(100).drop("p"), texts.tail(100))
    settings = {"strength": 0.01, "features": 64, "quality": False, "label_shares": "real", "prior": "p"}
    assert any("below the floor of 0.9" in note for note in workspace.align(min_effective_share=0.9, **settings).notes)


def test_one_name_and_numbers_as_labels_are_taken(tmp_path: Path) -> None:
    texts = corpus().with_columns(pl.col("label").replace_strict({"praise": 1}, default=2, return_dtype=pl.Int64))
    workspace = make(tmp_path / "w", texts.head(100), texts.tail(100))
    workspace.align(strength=0.1, features=64, match="channel", bandwidths=2.0, label_shares={1: 0.5, 2: 0.5})
    shares = workspace.sql("select label, sum(weight) from synthetic_weighted group by label order by label").fetchall()
    assert shares == [("1", pytest.approx(0.5)), ("2", pytest.approx(0.5))]
