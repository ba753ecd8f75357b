"""What select refuses, in errors that name what was wrong and the cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gpytorch
import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.errors import ConfigError, NotReadyError, NumericsError, SynAlignError, UsageError
from tests.conftest import CORPUS
from tests.steps.workspaces import clustered, corpus, one

#: Fifty messages; of the label 'rare' there is one.
REAL = corpus().head(50)
RARE = pl.concat([REAL, pl.DataFrame({"text": ["A bell that nobody rang"], "label": ["rare"], "channel": ["web"]})])


class Negative(gpytorch.kernels.Kernel):
    """Minus an RBF kernel: no covariance."""

    has_lengthscale = True

    def forward(self, x1: Any, x2: Any, diag: bool = False, **given: Any) -> Any:
        found = gpytorch.kernels.RBFKernel().forward(x1, x2, diag=diag, **given)
        return -found


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    return clustered(tmp_path_factory.mktemp("bad") / "w", RARE, k=6)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """Records that are all the same but for their names, without labels."""
    same = pl.DataFrame({"text": ["the same lamp"] * 12, "key": [f"n{n}" for n in range(12)]})
    return clustered(tmp_path_factory.mktemp("same") / "w", same, k=1, label=None)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"budget": 7}, UsageError, r"7 is more than the 6 clusters.*unit='record'.*cluster\(k=7\)"),
        ({"budget": 52, "unit": "record"}, UsageError, r"52 is more than the 51 records.*Lower it"),
        (
            {"budget": 12, "unit": "record", "label_shares": "average"},
            UsageError,
            r"'rare' is to get 2 of 12 selections and has 1 records.*Lower the budget or min_per_label",
        ),
        (
            {"budget": 12, "unit": "record", "min_per_label": 2},
            UsageError,
            r"'rare' is to get 2 of 12 selections and has 1 records",
        ),
        ({"budget": 6, "min_per_label": 2}, UsageError, r"2 for 6 labels needs a budget of 12; it is 6"),
        ({"label_shares": {"refund": 1}}, UsageError, r"each label.*account, defect.*rare.*Given: refund"),
        (
            {"label_shares": dict.fromkeys(("account", "defect", "delivery", "praise", "refund", "rare", "odd"), 1)},
            UsageError,
            r"and no other.*Given: .*odd",
        ),
        (
            {"label_shares": dict.fromkeys(("account", "defect", "delivery", "praise", "refund", "rare"), 0)},
            UsageError,
            "with a sum of 0",
        ),
        ({"label_shares": {"refund": -1}}, ConfigError, r"label_shares.*-1"),
        ({"label_shares": "equal"}, ConfigError, "(?s)label_shares.*proportional.*average"),
        ({"kernel": "rbf + matern42"}, ConfigError, "'matern42' is unknown .did you mean 'matern52'"),
        ({"kernel": "rbf +"}, ConfigError, "lacks a name"),
        ({"kernel": Negative()}, NumericsError, r"not positive definite.*matern52"),
        ({"kernel": gpytorch.kernels.RBFKernel(), "length_scale": 0.5}, UsageError, "leave length_scale out"),
        ({"kernel": 7}, NumericsError, r"must be a gpytorch.kernels.Kernel; given: int"),
        ({"ard": True}, UsageError, "goes with length_scale='learned'"),
        ({"noise": 0.0}, ConfigError, "(?s)noise.*greater than 0"),
        ({"length_scale": 0.0}, ConfigError, "length_scale"),
        ({"length_scale": "mean"}, ConfigError, "(?s)length_scale.*median.*learned"),
        ({"unit": "word"}, ConfigError, "(?s)unit.*cluster.*record"),
        ({"show": "far"}, ConfigError, "(?s)show.*spread.*nearest.*random"),
        ({"guide": "light"}, ConfigError, "(?s)guide.*none.*witness"),
        ({"min_gain": 1.0}, ConfigError, "min_gain"),
        ({"batch": 0}, ConfigError, "batch"),
        ({"beta": -1.0}, ConfigError, "beta"),
        ({"budget": 0}, ConfigError, "budget"),
        ({"round": 2}, UsageError, "from 1 to 1.*or 'next'; given: 2"),
        ({"round": 0}, UsageError, "from 1 to 1.*given: 0"),
        ({"round": "last"}, UsageError, "or 'next'; given: 'last'"),
        ({"embedder": "lsa_x"}, UsageError, r"not of 'lsa_x'.*ws\.cluster\(embedder='lsa_x'\)"),
    ],
)
def test_a_setting_that_cannot_be_kept_is_refused_with_the_cure(
    workspace: sa.Workspace, settings: dict[str, Any], error: type[SynAlignError], message: str
) -> None:
    with pytest.raises(error, match=message):
        workspace.select(**settings)
    assert "select" not in workspace._lake.read("runs")["step"].to_pylist()
    assert workspace._lake.read("selections").num_rows == 0


def test_shares_of_labels_need_labels(unlabelled: sa.Workspace) -> None:
    with pytest.raises(UsageError, match="the records have none"):
        unlabelled.select(budget=1, label_shares={"a": 1.0})


def test_records_that_are_all_alike_leave_nothing_to_choose(unlabelled: sa.Workspace) -> None:
    with pytest.raises(NumericsError, match=r"All 12 candidates are equal.*encoder that tells them apart"):
        unlabelled.select(budget=2, unit="record")
    assert unlabelled.select(budget=1, unit="record").counts["selections"] == 1
    # All are near-duplicates: one is shown.
    assert [len(row[0]) for row in unlabelled.sql("select demonstrations from selections").fetchall()] == [1]


def test_a_round_after_the_first_needs_text_that_was_generated_since(unlabelled: sa.Workspace) -> None:
    unlabelled.select(budget=1)
    for number in (2, "next"):
        with pytest.raises(NotReadyError, match=r"Round 2 .* nothing has been generated since round 1.*ws\.generate"):
            unlabelled.select(budget=1, round=number)
    with pytest.raises(UsageError, match=r"from 1 to 2.*given: 3"):
        unlabelled.select(budget=1, round=3)


def test_select_needs_clusters(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(CORPUS, label="label")
    with pytest.raises(NotReadyError, match=r"ws\.cluster"):
        workspace.select()


def test_more_clusters_than_records_are_refused_with_the_range(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(pl.DataFrame({"text": [f"message number {n} about lamps" for n in range(30)]}))
    with pytest.raises(NumericsError, match="from 1 to 30"):
        workspace.cluster(k=31)


def test_what_a_failed_selection_half_wrote_is_swept_by_the_next(workspace: sa.Workspace) -> None:
    """Rows without a run, as a killed process leaves them, are gone; none is ever seen."""
    stray = {"run_id": "killed", "cluster_id": 0, "variance_before": 1.0, "variance_after": 1.0}
    workspace._lake.insert_rows("uncertainty", [stray])
    assert one(workspace, "select count(*) from uncertainty") == 0
    workspace.select(budget=2)
    stored = workspace._lake.read("uncertainty")["run_id"].to_pylist()
    assert "killed" not in stored
    assert len(stored) == 6
    assert np.isfinite(workspace._lake.read("uncertainty")["variance_after"].to_numpy()).all()
