"""check: limits that are kept pass; what breaks one, or cannot be measured, fails with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import synalign as sa
from synalign.errors import UsageError
from tests.steps.workspaces import FIXED, copy, corpus, make, rows


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    texts = corpus()
    marked = texts.tail(60).with_columns(text="as a helpful assistant i say: " + pl.col("text"))
    written = pl.concat([texts.slice(120, 60), marked])
    workspace = make(tmp_path_factory.mktemp("check") / "w", texts.head(120), written)
    workspace.align(**FIXED)
    return workspace


def test_the_figures_are_those_of_the_summary(aligned: sa.Workspace) -> None:
    found = aligned.check()
    (row,) = rows(aligned, "from alignment_summary where stratum = '*'")
    assert (found.passed, found.reasons, found.weight_set) == (True, (), "default")
    assert found.figures == {
        "mmd_ratio": pytest.approx(row["ratio_to_floor"]),
        "heldout_mmd2": row["heldout_after"],
        "floor": row["floor"],
        "effective_share": row["effective_share"],
        "effective_size": row["effective_size"],
        "auc": row["auc"],
        "converged": True,
    }


@pytest.mark.parametrize(
    ("limit", "figure", "above"),
    [("max_mmd_ratio", "mmd_ratio", 1), ("min_ess", "effective_share", -1), ("max_auc", "auc", 1)],
)
def test_a_limit_passes_on_one_side_of_the_figure_only(
    aligned: sa.Workspace, limit: str, figure: str, above: int
) -> None:
    value = aligned.check().figures[figure]
    assert aligned.check(**{limit: value}).passed
    assert aligned.check(**{limit: value + above * 1e-3}).passed
    failed = aligned.check(**{limit: value - above * 1e-3})
    assert not failed.passed
    (reason,) = failed.reasons
    assert f"{value:.4g}" in reason
    assert ("at most" if above == 1 else "at least") in reason


def test_all_limits_that_are_broken_are_told(aligned: sa.Workspace) -> None:
    assert len(aligned.check(max_mmd_ratio=0, min_ess=1, max_auc=0.5).reasons) >= 2


@pytest.mark.parametrize(
    "given",
    [{"max_mmd_ratio": -1}, {"min_ess": 1.5}, {"min_ess": -0.1}, {"max_auc": 0.4}, {"max_auc": float("nan")}],
)
def test_a_limit_out_of_range_is_refused(aligned: sa.Workspace, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(given))} must be at least"):
        aligned.check(**given)


def test_what_cannot_be_measured_fails_only_if_it_is_asked_for(tmp_path: Path) -> None:
    texts = corpus()
    workspace = make(tmp_path / "w", texts.head(6), texts.tail(12))
    workspace.align(**FIXED, by_label=False)
    assert workspace.check().passed
    reasons = workspace.check(max_mmd_ratio=9, max_auc=1).reasons
    why = "too few records, or too few that differ"
    assert [reason.rpartition(" could not be measured: ")[2] for reason in reasons] == [why, why]


def test_records_and_exclusions_that_weights_do_not_know_fail(aligned: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(aligned, tmp_path / "w")
    workspace.exclude("label = 'praise'")
    found = workspace.check()
    assert not found.passed
    assert "do not cover all records or exclusions" in found.reasons[0]
    workspace.align(**FIXED)
    assert workspace.check().passed
    workspace.ingest(texts := corpus().slice(200, 5), label="label", synthetic=True)
    assert not workspace.check().passed
    outcome = workspace.score()
    assert outcome.counts["new"] == texts.height
    due = any("refit is due" in note for note in outcome.notes)
    assert ["align again" in reason for reason in workspace.check().reasons] == [True] * due
    reason = workspace.check(max_mmd_ratio=100).reasons[-1]
    assert "these weights were scored; run align" in reason


def test_a_set_that_is_not_current_can_be_checked(aligned: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(aligned, tmp_path / "w")
    workspace.align(**FIXED | {"strength": 1e-4}, weight_set="strong")
    strong, weak = workspace.check(), workspace.check(weight_set="default")
    assert (strong.weight_set, weak.weight_set) == ("strong", "default")
    assert strong.figures["effective_share"] < weak.figures["effective_share"]
    assert workspace.status()["steps"]["align"]["counts"]["weight_set"] == "strong"
