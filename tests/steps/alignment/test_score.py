"""score: new synthetic records get weights from the dual vectors of an earlier fit, and a due refit is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.errors import NotReadyError, UsageError
from tests.steps.workspaces import FIXED, copy, corpus, make, one, rows, weights


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    texts = corpus()
    workspace = make(tmp_path_factory.mktemp("score") / "w", texts.head(150), texts.slice(150, 140))
    workspace.align(**FIXED | {"quality": True})
    return workspace


@pytest.fixture(scope="module")
def scored(fitted: sa.Workspace, tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """40 more messages of the same kind were scored."""
    workspace = copy(fitted, tmp_path_factory.mktemp("scored") / "w")
    workspace.ingest(corpus().slice(290, 40), label="label", synthetic=True)
    outcome = workspace.score()
    assert outcome.counts["new"] == 40
    assert outcome.counts["records"] == 180
    assert not outcome.notes
    return workspace


def test_new_records_get_weight_and_old_ones_keep_their_ratios(fitted: sa.Workspace, scored: sa.Workspace) -> None:
    before, after = weights(fitted), weights(scored)
    assert sum(after.values()) == pytest.approx(1.0, abs=1e-12)
    assert len(after) == len(before) + 40
    assert min(after.values()) > 0
    labels = dict(fitted.sql("select id, label from synthetic").fetchall())
    for label in set(labels.values()):
        ids = [name for name in before if labels[name] == label]
        ratios = np.array([after[name] / before[name] for name in ids])
        np.testing.assert_allclose(ratios, ratios[0], rtol=1e-5)
        assert ratios[0] < 1


def test_label_shares_stay_those_of_the_fit(fitted: sa.Workspace, scored: sa.Workspace) -> None:
    query = "select label, sum(weight) from synthetic_weighted group by label"
    assert dict(scored.sql(query).fetchall()) == pytest.approx(dict(fitted.sql(query).fetchall()))


def test_the_scored_set_is_current_and_the_fit_is_still_there(scored: sa.Workspace) -> None:
    found = {row["weight_set"]: row for row in rows(scored, "from weight_sets")}
    assert {name: (row["is_current"], row["records"]) for name, row in found.items()} == {
        "default": (False, 140),
        "default-scored": (True, 180),
    }
    summary = rows(scored, "from alignment_summary where weight_set = 'default-scored'")
    assert {row["scored_from"] for row in summary} == {found["default"]["run_id"]}
    assert all(row["drift"] >= 0 for row in summary)
    assert all(row["heldout_after"] is None and row["floor"] is not None for row in summary if row["stratum"] == "*")
    assert scored.status()["stale"] == []


def test_label_quality_covers_new_records_and_is_that_of_the_fit(fitted: sa.Workspace, scored: sa.Workspace) -> None:
    query = "select id, label_quality from synthetic_weighted"
    before, after = dict(fitted.sql(query).fetchall()), dict(scored.sql(query).fetchall())
    assert len(after) == 180
    assert all(0 < value <= 1 for value in after.values())
    assert {name: after[name] for name in before} == pytest.approx(before, rel=1e-6)
    assert one(scored, "select count(*) from doubted_labels where weight > 0") > 0


def test_scoring_again_does_nothing_and_goes_back_to_the_fit(scored: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(scored, tmp_path / "w")
    assert workspace.score().reused
    other = workspace.score(into="other")  # from default-scored, which is current
    assert not other.reused
    found = workspace.sql("select weight_set, scored_from from alignments where stratum = '*'").fetchall()
    run = one(workspace, "select run_id from weight_sets where weight_set = 'default'")
    assert dict(found) == {"default": None, "default-scored": run, "other": run}
    assert one(workspace, "select max(abs(coalesce(log_ratio, 1))) from weights_compare where "
        "weight_set_a = 'default-scored' and weight_set_b = 'other'") == 0  # fmt: skip


def test_the_name_of_the_fit_is_refused(scored: sa.Workspace) -> None:
    for given in ({"into": "default"}, {"into": "default", "weight_set": "default-scored"}):
        with pytest.raises(UsageError, match=r"'default' is the name of a set that was fitted.*--into"):
            scored.score(**given)


def test_much_new_text_of_another_kind_makes_a_refit_due(fitted: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(fitted, tmp_path / "w")
    odd = pl.DataFrame({"text": [f"stir the soup with {i} onions and more salt" for i in range(400)]})
    workspace.ingest(odd.with_columns(label=pl.lit("delivery")), label="label", synthetic=True)
    (note,) = workspace.score().notes
    assert note.startswith("a refit is due: the mean of the weighted synthetic records moved by")


def test_much_new_real_text_of_another_kind_makes_a_refit_due(fitted: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(fitted, tmp_path / "w")
    odd = pl.DataFrame({"text": [f"stir the soup with {i} onions and more salt" for i in range(400)]})
    workspace.ingest(odd.with_columns(label=pl.lit("delivery")), label="label")
    (note,) = workspace.score().notes
    assert note.startswith("a refit is due: the mean of the real records moved by")


def test_records_of_an_unknown_label_get_no_weight_and_are_counted(fitted: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(fitted, tmp_path / "w")
    workspace.ingest(pl.DataFrame({"text": ["an odd one"], "label": ["odd"]}), label="label", synthetic=True)
    (note,) = workspace.score().notes
    assert note.startswith("1 synthetic records are of strata that the fit did not know")
    assert one(workspace, "select count(*) from synthetic_weighted") == 140
    workspace.exclude("label <> 'odd'")
    with pytest.raises(NotReadyError, match=r"nothing to score.*synalign align"):
        workspace.score()


def test_an_exact_kernel_scores_nothing(fitted: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(fitted, tmp_path / "w")
    workspace.align(**FIXED | {"features": "exact"}, weight_set="exact")
    with pytest.raises(UsageError, match=r"'exact' was learned with the exact kernel.*features=1024"):
        workspace.score()
    assert workspace.score(weight_set="default").counts["weight_set"] == "default-scored"


def test_a_label_that_lost_its_records_is_named_and_fails_the_check(scored: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(scored, tmp_path / "w")
    workspace.exclude("label = 'refund'")
    notes = " ".join(workspace.score(weight_set="default", into="without").notes)
    assert "no synthetic record is left of refund" in notes
    assert "a refit is due" in notes
    assert any("align again" in reason for reason in workspace.check(weight_set="without").reasons)


def test_real_records_of_a_label_that_the_fit_did_not_know_are_named(scored: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(scored, tmp_path / "w")
    workspace.ingest(pl.DataFrame({"text": ["where is it", "still waiting"], "label": ["late", "late"]}), label="label")
    assert "2 real records are of strata that the fit did not know" in " ".join(workspace.score(into="x").notes)
