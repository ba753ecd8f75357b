"""text_quality: what is said of the texts of each side, from which records, and when anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.errors import NotReadyError, UsageError
from tests.steps.workspaces import FIXED, copy, corpus, make, one, rows

SCOPES = ("real", "raw", "weighted")
SIZED = {
    "distinct_1", "distinct_2", "distinct_3", "self_bleu", "words_distance", "characters_distance",
    "punctuation_divergence", "vocabulary_jaccard", "vocabulary_covered", "mauve",
}  # fmt: skip
#: What counts words, or runs of them.
OF_WORDS = {"distinct_1", "distinct_2", "distinct_3", "vocabulary_known", "vocabulary_jaccard", "vocabulary_covered"}


def texts_of(frame: pl.DataFrame, texts: list[str]) -> pl.DataFrame:
    """As many records as there are texts, with the labels of a frame."""
    return frame.head(len(texts)).with_columns(text=pl.Series(texts))


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """A third of 210 real messages is for testing. Of 150 synthetic ones, six are real messages, two of them from the
    test split, and ten have emoji and an address."""
    frame = corpus()
    path = tmp_path_factory.mktemp("texts") / "w"
    workspace = sa.open(path)
    workspace.ingest(frame.head(210), label="label", test_share=1 / 3)
    taken = [
        text
        for name, count in (("train", 4), ("test", 2))
        for (text,) in workspace.sql(
            "select text from real where split = ? and length(text) > 60 order by id limit ?", [name, count]
        ).fetchall()
    ]
    written = frame.tail(150)
    marked = [f"{text} 👍 https://shop.example/{number}" for number, text in enumerate(written["text"].tail(10))]
    texts = [*(text.upper() for text in taken), *written["text"].slice(6, 134), *marked]
    workspace.ingest(texts_of(written, texts), label="label", synthetic=True)
    workspace.embed(dimensions=32)
    workspace.align(**FIXED)
    workspace.text_quality()
    return workspace


def figures(workspace: sa.Workspace) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of the newest run, by metric and scope."""
    query = "from metrics where run_id = (select run_id from current_runs where step = 'text_quality')"
    return {(row["metric"], row["scope"]): row for row in rows(workspace, query)}


def test_every_figure_is_there_for_each_side(split: sa.Workspace) -> None:
    found = figures(split)
    shown = rows(split, "from text_quality")
    assert {(row["metric"], scope) for row in shown for scope in SCOPES} == set(found)
    assert len(shown) == 27
    test = one(split, "select count(*) from real where split = 'test'")
    weights = split.sql("select weight from synthetic_weighted").pl()["weight"].to_numpy()
    for (metric, scope), row in found.items():
        assert row["low"] <= row["value"] <= row["high"], (metric, scope)
        assert row["value"] >= 0
        assert (row["split"], row["weight_set"]) == ("test", "default")
        assert row["weights_run_id"] == one(split, "select run_id from weight_sets")
        size = row["real_records"] if scope == "real" else row["synthetic_records"]
        assert (row["synthetic_records"] is None) == (scope == "real")
        if metric in SIZED:
            # As many on each side: what the smallest is worth.
            drawn = min(test, 150, int(1 / (weights**2).sum()))
            assert size == (drawn // 2 if metric == "self_bleu" else drawn)
        elif metric != "test_copy":
            assert size == (test if scope == "real" else 150)


def test_sums_are_those_of_sql(split: sa.Workspace) -> None:
    found = figures(split)
    query = r"""
        select sum(w * emoji) / sum(w), sum(w * url) / sum(w) from (
            select {} as w, contains(text, 'https')::int as url,
                regexp_matches(text, '[\x{{1F300}}-\x{{1FAFF}}\x{{2600}}-\x{{27BF}}]')::int as emoji
            from synthetic_weighted)
    """
    for scope, weight in (("raw", "1"), ("weighted", "weight")):
        emoji, url = split.sql(query.format(weight)).fetchall()[0]
        assert found["emoji_rate", scope]["value"] == pytest.approx(emoji)
        assert found["url_rate", scope]["value"] == pytest.approx(url)
    assert found["url_rate", "raw"]["value"] == pytest.approx(10 / 150)
    median = "select quantile_disc(length(trim(text)), 0.5) from real where split = 'test'"
    assert found["characters_median", "real"]["value"] == one(split, median)


def test_what_was_copied_is_found_and_weighted(split: sa.Workspace) -> None:
    found = figures(split)
    copies = "lower(w.text) in (select lower(text) from real where split = '{}')"
    for split_name, metric, count in (("train", "near_duplicate", 4), ("test", "test_copy", 2)):
        held = f"from synthetic_weighted w where {copies.format(split_name)}"
        assert one(split, f"select count(*) {held}") == count
        assert found[metric, "raw"]["value"] >= count / 150
        if metric == "test_copy":
            assert found[metric, "raw"]["value"] == pytest.approx(count / 150)
            assert found[metric, "weighted"]["value"] == pytest.approx(one(split, f"select sum(weight) {held}"))
    assert found["copied", "raw"]["value"] >= 4 / 150
    assert found["test_copy", "real"]["value"] == 0
    train = one(split, "select count(*) from real where split = 'train'")
    assert found["test_copy", "real"]["real_records"] == train


def test_the_summary_of_the_alignment_still_has_its_measurement(split: sa.Workspace) -> None:
    assert one(split, "select auc from alignment_summary where stratum = '*'") is not None


def test_a_run_is_done_once_and_anew_for_other_texts(split: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(split, tmp_path / "w")
    first = workspace.text_quality()
    assert first.reused
    assert not first.notes
    other = workspace.text_quality(seed=5)
    assert not other.reused
    assert workspace.text_quality(sample=30).counts["texts"] == 30
    assert one(workspace, "select max(synthetic_records) from metrics where scope = 'raw' and run_id = ?",
        workspace.text_quality(sample=30).run_id) == 30  # fmt: skip
    assert workspace.text_quality().notes == ("gone back to an earlier run",)
    assert one(workspace, "select any_value(run_id) from text_quality") == first.run_id
    workspace.exclude("id = (select min(id) from synthetic)")
    later = workspace.text_quality()
    assert not later.reused
    assert any("do not cover all records" in note for note in later.notes)
    assert figures(workspace)["words_median", "raw"]["synthetic_records"] == 149
    workspace.align(**FIXED)
    assert rows(workspace, "from text_quality") == [], "the new weights were not looked at yet"
    kept = workspace.text_quality().run_id
    workspace.gc(superseded=True)
    assert rows(workspace, "select distinct run_id from metrics m join runs r using (run_id) where "
        "r.step = 'text_quality'") == [{"run_id": kept}]  # fmt: skip
    assert not [problem for problem in workspace.fsck().problems if problem.kind == "error"]


def test_two_runs_of_one_seed_say_the_same(split: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(split, tmp_path / "w")
    before = rows(workspace, "from text_quality order by metric")
    workspace._lake.delete("metrics", f"run_id = '{before[0]['run_id']}'")
    workspace._lake.delete("runs", f"run_id = '{before[0]['run_id']}'")
    assert not workspace.text_quality().reused
    assert rows(workspace, "from text_quality order by metric") == before


def test_without_weights_there_are_two_sides(tmp_path: Path) -> None:
    frame = corpus()
    workspace = make(tmp_path / "w", frame.head(60), frame.tail(60))
    outcome = workspace.text_quality()
    assert outcome.counts["weight_set"] is None
    found = rows(workspace, "from text_quality")
    # 30 real texts are compared with the other 30, and there is no test split to copy from.
    assert len(found) == 26
    for row in found:
        assert (row["weight_set"], row["weighted"], row["better"], row["split"]) == (None, None, None, "train")
        assert row["is_current"]
        assert row["real"] is not None
        assert row["raw"] is not None
    with pytest.raises(NotReadyError, match=r"ws.align"):
        workspace.text_quality(weight_set="default")
    workspace.align(**FIXED)
    assert rows(workspace, "from text_quality") == []
    workspace.text_quality()
    assert {row["weight_set"] for row in rows(workspace, "from text_quality")} == {"default"}
    with pytest.raises(UsageError, match="no weight set 'other'"):
        workspace.text_quality(weight_set="other")


def test_real_text_is_never_compared_with_itself(tmp_path: Path) -> None:
    """Each real text has words of its own, so that no other real text has them."""
    frame = corpus()
    lone = [f"alpha{number} beta{number} gamma{number}" for number in range(60)]
    workspace = make(tmp_path / "w", texts_of(frame, lone), texts_of(frame, lone))
    workspace.text_quality()
    found = figures(workspace)
    for metric in ("vocabulary_known", "vocabulary_jaccard", "copied", "near_duplicate"):
        assert found[metric, "real"]["value"] == 0
        assert found[metric, "raw"]["value"] > 0.1
    assert found["distinct_1", "real"]["value"] == 1


@pytest.mark.parametrize(
    ("texts", "without"),
    [
        (["the very same text"] * 60, set()),
        (["one"] * 30 + ["two"] * 30, {"distinct_2", "distinct_3"}),
        (["👍"] * 30 + ["!!! ?"] * 30, OF_WORDS),
        ([f"你好世界{chr(0x4E00 + number)}" for number in range(60)], set()),
    ],
    ids=["one text", "one word", "no words", "no spaces"],
)
def test_odd_texts_leave_out_what_they_have_not(tmp_path: Path, texts: list[str], without: set[str]) -> None:
    frame = corpus().head(60)
    workspace = sa.open(tmp_path / "w")
    both = texts_of(frame, texts).with_columns(key=pl.int_range(60).cast(pl.String))
    workspace.ingest(frame, label="label")
    workspace.ingest(both, label="label", id="key", synthetic=True)
    workspace.embed(dimensions=16)
    workspace.align(**FIXED)
    outcome = workspace.text_quality()
    shown = {row["metric"] for row in rows(workspace, "from text_quality where raw is not null")}
    assert without.isdisjoint(shown)
    for metric in without & {"distinct_1", "distinct_2", "distinct_3"}:
        assert any(metric in note for note in outcome.notes)
    assert {"mauve", "self_bleu", "words_median", "punctuation_divergence"} <= shown
    values = workspace.sql("select value from metrics where scope <> '*'").pl()["value"].to_numpy()
    assert np.isfinite(values).all()


def test_a_side_that_is_worth_few_records_is_left_out_and_said(tmp_path: Path) -> None:
    frame = corpus()
    written = frame.tail(60).with_columns(given=pl.when(pl.int_range(60) < 9).then(1.0).otherwise(1e-9))
    workspace = make(tmp_path / "w", frame.head(60), written)
    workspace.align(strength="none", quality=False, label_shares="kept", prior="given")
    outcome = workspace.text_quality()
    assert any("weighted side" in note and "worth 9 records" in note for note in outcome.notes)
    found = figures(workspace)
    for metric in SIZED:
        assert (metric, "raw") in found
        assert (metric, "weighted") not in found
    assert ("words_median", "weighted") in found


def test_what_is_lacking_is_said(tmp_path: Path) -> None:
    frame = corpus()
    workspace = sa.open(tmp_path / "w")
    with pytest.raises(NotReadyError, match="no real training records"):
        workspace.text_quality()
    workspace.ingest(frame.head(40), label="label")
    with pytest.raises(NotReadyError, match="no synthetic records"):
        workspace.text_quality()
    workspace.ingest(frame.tail(40), label="label", synthetic=True)
    for sample in (0, 19, 1_000_000, 30.5, True):
        with pytest.raises(UsageError, match="sample must be"):
            workspace.text_quality(sample=sample)
    workspace.exclude("true")
    with pytest.raises(NotReadyError, match="include"):
        workspace.text_quality()


def test_without_a_test_split_copies_are_looked_for_in_all_training_texts(tmp_path: Path) -> None:
    frame = corpus().head(120)
    workspace = make(tmp_path / "w", frame, frame)
    workspace.text_quality()
    found = figures(workspace)
    assert found["copied", "raw"]["value"] == pytest.approx(1.0)
    assert found["copied", "real"]["value"] < 0.5
