"""evaluate and learning_curve: what cannot be judged is refused with what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import synalign as sa
from synalign.errors import ConfigError, NotReadyError, SynAlignError, UsageError
from tests.steps.workspaces import one

Make = Callable[..., sa.Workspace]
WORDS = {"a": "alpha beta gamma delta", "b": "one two three four", "c": "red green blue white"}


def _texts(labels: str, start: int = 0) -> list[str]:
    return [f"{WORDS[label]} number {start + place}" for place, label in enumerate(labels)]


@pytest.fixture
def make(blank: Path) -> Make:
    """A workspace of train and test records with these labels, one character each, and synthetic ones; "-" is none."""

    def made(train: str = "ab" * 10, test: str = "ab" * 5, synthetic: str = "ab" * 10, **texts: Any) -> sa.Workspace:
        workspace = sa.open(blank)
        workspace.configure(sa.Config.model_validate({"embed": {"dimensions": 4}, "align": {"features": 16}}))
        for split, labels, start in (("train", train, 0), ("test", test, 1000)):
            frame = pl.DataFrame(
                {
                    "text": texts.get(f"{split}_texts") or _texts(labels.replace("-", "a"), start),
                    "label": [None if label == "-" else label for label in labels],
                    "split": split,
                },
                schema_overrides={"label": pl.String},
            )
            if len(labels):
                workspace.ingest(frame, label="label", split="split")
        if synthetic:
            frame = pl.DataFrame(
                {
                    "text": texts.get("synthetic_texts") or _texts(synthetic.replace("-", "a"), 2000),
                    "label": [None if label == "-" else label for label in synthetic],
                },
                schema_overrides={"label": pl.String},
            )
            workspace.ingest(frame, label="label", synthetic=True)
        return workspace

    return made


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"test": ""}, NotReadyError, r"no test records .*--test-share 0\.2"),
        ({"synthetic": ""}, NotReadyError, "no synthetic records"),
        ({"train": ""}, NotReadyError, "no real training records"),
        ({"train": "-" * 9}, NotReadyError, "no real training record has a label"),
        ({"test": "-" * 9}, NotReadyError, "no test record has a label"),
        ({"synthetic": "-" * 9}, NotReadyError, "no synthetic record has a label"),
        ({"train": "a" * 20, "test": "a" * 5}, UsageError, "one label, 'a'"),
        ({"train": "abab"}, UsageError, "5-fold cross-validation .* there are 4"),
        ({"test": "abcc"}, UsageError, r"2 test records have a label that no training record has: c; the first are "),
        ({"synthetic": "ccc"}, UsageError, "No synthetic record has a label that a real one has: a, b"),
    ],
)
def test_what_is_missing_is_named(make: Make, given: dict[str, str], error: type[SynAlignError], said: str) -> None:
    workspace = make(**given)
    for verb in (workspace.evaluate, workspace.learning_curve):
        with pytest.raises(error, match=said):
            verb(seeds=2)
    assert one(workspace, "select count(*) from evaluations") == 0


def test_a_test_record_that_is_trained_on_is_named_with_the_record_that_it_equals(make: Make) -> None:
    train, test, written = _texts("ab" * 10), _texts("ab" * 5, 1000), _texts("ab" * 10, 2000)
    test[3] = f"  {train[5].upper()} "
    written[8] = test[0]
    workspace = make(train_texts=train, test_texts=test, synthetic_texts=written)
    with pytest.raises(UsageError, match="overlap='drop'") as caught:
        workspace.evaluate(seeds=2)
    ids = dict(workspace.sql("select text, id from real union all select text, 's' || id from synthetic").fetchall())
    pairs = [(ids[test[3]], ids[train[5]])]
    pairs.append((one(workspace, "select id from real where text = $1 and split = 'test'", test[0]), None))
    assert f"1 are real training texts ({pairs[0][0]} = {pairs[0][1]})" in str(caught.value)
    assert f"1 are synthetic texts ({pairs[1][0]} = " in str(caught.value)
    assert one(workspace, "select count(*) from evaluations") == 0
    dropped = workspace.evaluate(seeds=2, overlap="drop", methods=("real", "real+synthetic"))
    assert any("2 of 10 test records are trained on, and left out" in note for note in dropped.notes)
    assert dropped.counts["test_records"] == 8
    kept = workspace.evaluate(seeds=2, overlap="keep", methods=("real", "real+synthetic"))
    assert any("and kept" in note for note in kept.notes)
    assert kept.counts["test_records"] == 10
    with pytest.raises(ConfigError, match="overlap"):
        workspace.evaluate(overlap="maybe")


def test_a_test_split_of_nothing_but_training_texts_is_refused_also_when_they_are_dropped(make: Make) -> None:
    texts = _texts("ab" * 10)
    workspace = make(train_texts=texts, test="ab", test_texts=[text.upper() for text in texts[:2]])
    with pytest.raises(UsageError, match="none left to judge on"):
        workspace.evaluate(overlap="drop")


def test_records_without_a_label_or_with_one_that_no_real_record_has_are_left_out_and_counted(make: Make) -> None:
    workspace = make(train="ab" * 10 + "---", test="ab" * 5 + "-", synthetic="ab" * 10 + "cc-")
    outcome = workspace.evaluate(seeds=2, methods=("real", "real+synthetic"))
    notes = " ".join(outcome.notes)
    assert "3 real training records without a label are left out" in notes
    assert "1 test records without a label are left out" in notes
    assert "2 synthetic records have a label that no real one has" in notes
    assert outcome.counts["test_records"] == 10


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"real": 21}, "to have 21 real training records, and there are 20"),
        ({"synthetic": 99}, "to have 99 synthetic records, and there are 20"),
        ({"real": 3}, "needs 5 real training records or more"),
        ({"seeds": 1}, "seeds"),
        ({"train_share": 0}, "train_share"),
        ({"methods": ("real", "weigted")}, "There is no method 'weigted'"),
        ({"model": "logistics"}, "logistic"),
        ({"settings": {"penalty": -1}}, "penalty"),
        ({"settings": {"depth": 3}}, "depth"),
        ({"embedder": "none"}, "none"),
    ],
)
def test_a_wrong_setting_is_named(make: Make, given: dict[str, Any], said: str) -> None:
    workspace = make()
    with pytest.raises(UsageError, match=said):
        workspace.evaluate(**({"seeds": 2} | given))
    assert one(workspace, "select count(*) from evaluations") == 0


def test_a_learning_curve_of_too_few_records_is_refused(make: Make) -> None:
    with pytest.raises(UsageError, match="starts at 5 real records"):
        make().learning_curve(sizes=(2,))
