"""evaluate and learning_curve: what they train, judge and write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.errors import UsageError
from synalign.models.logistic import Logistic
from synalign.models.protocol import Examples
from synalign.numerics.evaluation.mixtures import METHODS
from synalign.numerics.statistics.intervals import t_interval
from tests.steps.workspaces import copy, corpus, one, rows

NAMES = {method.name for method in METHODS}
FEW = ("real", "real+synthetic", "real+weighted")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """Messages of four labels in a train and a test split, and the others as synthetic records. Do not write to it."""
    frame = corpus().with_columns(pl.int_range(pl.len()).alias("row"))
    count = frame.height
    split = pl.when(pl.col("row") < 60).then(pl.lit("train")).otherwise(pl.lit("test")).alias("split")
    workspace = sa.open(tmp_path_factory.mktemp("labelled") / "workspace")
    workspace.configure(sa.Config.model_validate({"embed": {"dimensions": 32}, "align": {"features": 64}}))
    workspace.ingest(frame.head(120).with_columns(split).select("text", "label", "split"), label="label", split="split")
    workspace.ingest(frame.slice(120, count).select("text", "label"), label="label", synthetic=True)
    return workspace


@pytest.fixture(scope="module")
def evaluated(labelled: sa.Workspace, tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """The same with weights and an ablation. Do not write to it."""
    workspace = copy(labelled, tmp_path_factory.mktemp("evaluated") / "workspace")
    workspace.align()
    workspace.evaluate(seeds=3)
    return workspace


def test_every_method_is_trained_for_every_seed(evaluated: sa.Workspace) -> None:
    found = evaluated.sql("select method, count(*), count(distinct seed) from evaluations group by all").fetchall()
    assert {name for name, _, _ in found} == NAMES | {"real+current"}
    assert {counts for _, *counts in map(tuple, found) for counts in [tuple(counts)]} == {(3, 3)}
    sizes = evaluated.sql("select distinct real_records, test_records, model from evaluations").fetchall()
    assert sizes == [(48, 60, "logistic")]  # 80% of 60


def test_the_view_has_means_and_paired_intervals_of_the_seeds(evaluated: sa.Workspace) -> None:
    table = evaluated.sql("select method, seed, accuracy, macro_f1, log_loss from evaluations order by seed").pl()
    values = {name: part for (name,), part in table.group_by("method", maintain_order=True)}
    for row in rows(evaluated, "from ablation"):
        own, plain = values[row["method"]], values["real+synthetic"]
        assert (row["accuracy"], row["accuracy_low"], row["accuracy_high"]) == pytest.approx(
            tuple(t_interval(own["accuracy"].to_numpy()))
        )
        assert row["log_loss"] == pytest.approx(own["log_loss"].mean())
        assert row["seeds"] == 3
        if row["method"] == "real+synthetic":
            assert row["gain"] is None
            continue
        gains = own["accuracy"].to_numpy() - plain["accuracy"].to_numpy()
        assert (row["gain"], row["gain_low"], row["gain_high"]) == pytest.approx(tuple(t_interval(gains)), abs=1e-12)
    assert one(evaluated, "select over_real from ablation where method = 'real'") is None
    assert one(evaluated, "select count(*) from metrics where metric = 'macro_f1_gain'") == len(NAMES)


def test_the_figures_are_those_of_models_that_were_trained_so(
    labelled: sa.Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each model is fitted to the records that the row says, with weights of the share that it says."""
    workspace = copy(labelled, tmp_path / "workspace")
    seen: list[Examples] = []
    fit = Logistic.fit

    def recorded(model: Logistic, examples: Examples, labels: int, seed: int) -> Any:
        seen.append(examples)
        return fit(model, examples, labels, seed)

    monkeypatch.setattr(Logistic, "fit", recorded)
    workspace.evaluate(seeds=2, real=30, synthetic=40, methods=("real", "synthetic", "real+synthetic"))
    real = set(workspace.sql("select text from real where split = 'train'").pl()["text"])
    test = set(workspace.sql("select text from real where split = 'test'").pl()["text"])
    found = rows(workspace, "select method, share, synthetic_records from evaluations order by seed, method <> 'real', "
                            "method <> 'synthetic'")  # fmt: skip
    assert len(seen) == len(found) == 6
    for examples, row in zip(seen, found, strict=True):
        texts = list(examples.inputs.texts)
        assert not test & set(texts)
        mine = np.array([text in real for text in texts])
        share = examples.weights[~mine].sum() / examples.weights.sum()
        assert share == pytest.approx(row["share"])
        assert mine.sum() == (0 if row["method"] == "synthetic" else 30)
        assert (~mine).sum() == (0 if row["share"] == 0 else 40)
    first, second = seen[0], seen[3]
    assert set(first.inputs.texts) != set(second.inputs.texts)  # another draw


def test_the_same_again_does_nothing_and_other_settings_are_another_run(
    evaluated: sa.Workspace, tmp_path: Path
) -> None:
    workspace = copy(evaluated, tmp_path / "workspace")
    again = workspace.evaluate(seeds=3)
    assert again.reused
    other = workspace.evaluate(seeds=2, methods=FEW)
    assert not other.reused
    assert one(workspace, "select count(*) from ablation") == 3
    back = workspace.evaluate(seeds=3)
    assert back.reused
    assert one(workspace, "select count(*) from ablation") == len(NAMES) + 1


def test_two_workspaces_come_to_the_same_figures(labelled: sa.Workspace, tmp_path: Path) -> None:
    figures = []
    for name in ("one", "other"):
        workspace = copy(labelled, tmp_path / name)
        workspace.evaluate(seeds=2, methods=FEW)
        figures.append(workspace.sql("select * exclude (seconds) from evaluations order by method, seed").fetchall())
    assert figures[0] == figures[1]


def test_new_records_or_weights_make_a_new_run(evaluated: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(evaluated, tmp_path / "workspace")
    workspace.align(strength=0.5)
    assert not workspace.evaluate(seeds=2, methods=("real", "real+synthetic", "real+current")).reused
    workspace.align(strength=0.05)
    assert not workspace.evaluate(seeds=2, methods=("real", "real+synthetic", "real+current")).reused
    # What does not look at the weights of the workspace does not depend on them.
    assert not workspace.evaluate(seeds=2, methods=FEW).reused
    workspace.align(strength=0.5)
    assert workspace.evaluate(seeds=2, methods=FEW).reused
    workspace.ingest(pl.DataFrame({"text": ["the lamp came in pieces"], "label": ["defect"]}), label="label")
    assert not workspace.evaluate(seeds=2, methods=FEW).reused


def test_the_weights_of_the_workspace_are_a_row_only_where_there_are_some(
    labelled: sa.Workspace, tmp_path: Path
) -> None:
    workspace = copy(labelled, tmp_path / "workspace")
    with pytest.raises(UsageError, match="has none yet"):
        workspace.evaluate(methods=("real+current",))
    workspace.evaluate(seeds=2)
    assert one(workspace, "select count(*) from ablation where method = 'real+current'") == 0


def test_all_records_each_time_says_what_the_intervals_lack(labelled: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(labelled, tmp_path / "workspace")
    outcome = workspace.evaluate(seeds=2, train_share=1, methods=("real", "real+synthetic"))
    assert any("trains on all records" in note for note in outcome.notes)
    assert any("60 test records are few" in note for note in outcome.notes)
    low, high = workspace.sql("select accuracy_low, accuracy_high from ablation where method = 'real'").fetchall()[0]
    assert low == high


def test_settings_of_align_that_a_draw_leaves_out_are_named(labelled: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(labelled, tmp_path / "workspace")
    workspace.configure(
        workspace.config.model_copy(
            update={"align": workspace.config.align.model_copy(update={"max_weight_ratio": 5.0})}
        )
    )
    outcome = workspace.evaluate(seeds=2, methods=FEW)
    assert any("without max_weight_ratio" in note for note in outcome.notes)


def test_the_learning_curve_has_every_number_and_all_of_them(labelled: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(labelled, tmp_path / "workspace")
    outcome = workspace.learning_curve(sizes=(20, 40, 5000), seeds=2)
    found = workspace.sql(
        "select method, real_records, accuracy, over_real from learning_curve order by all"
    ).fetchall()
    assert [row[:2] for row in found] == [(name, size) for name in sorted(FEW) for size in (20, 40, 60)]
    assert all((over is None) == (name == "real") for name, _, _, over in found)
    assert outcome.counts["real_records"] == 60
    assert workspace.learning_curve(sizes=(20, 40, 5000), seeds=2).reused


def test_fewer_real_records_are_a_part_of_more(labelled: sa.Workspace, tmp_path: Path, monkeypatch: Any) -> None:
    workspace = copy(labelled, tmp_path / "workspace")
    seen: list[set[str]] = []
    fit = Logistic.fit
    monkeypatch.setattr(
        Logistic,
        "fit",
        lambda model, examples, *rest: seen.append(set(examples.inputs.texts)) or fit(model, examples, *rest),
    )
    workspace.learning_curve(sizes=(10, 30), seeds=2, methods=("real",))
    assert [len(texts) for texts in seen] == [10, 10, 30, 30, 60, 60]
    assert seen[0] < seen[2] < seen[4]
    assert seen[1] < seen[3]
    assert seen[0] != seen[1]
