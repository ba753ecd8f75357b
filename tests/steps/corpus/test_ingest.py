"""ingest, through a workspace: all rows or none, and what is there already."""

from __future__ import annotations

import datetime
import decimal
import re
from pathlib import Path

import duckdb
import polars as pl
import pytest

import synalign as sa
from synalign.errors import InputError, SynAlignError, UsageError
from synalign.steps.lifecycle.publish import publish_if_stale
from synalign.store.lake.lake import Lake
from synalign.workspace import CATALOG_NAME

ROOT = Path(__file__).resolve().parents[3]
CORPUS = ROOT / "fixtures" / "support.csv"


def versions(path: Path) -> dict[str, int]:
    lake = Lake(path / "lance")
    return {name: lake.version(name) for name in lake.names()}


def records(workspace: sa.Workspace, side: str = "real") -> list[tuple]:
    return workspace.sql(f"select text, label, split, multiplicity from {side} order by text").fetchall()


def frame(**columns) -> pl.DataFrame:
    return pl.DataFrame(columns)


BAD = {
    "no column": (frame(words=["a"]), {}),
    "no rows": (frame(text=pl.Series([], dtype=pl.String)), {}),
    "empty text": (frame(text=["a", " "]), {}),
    "label": (frame(text=["a"], label=["*"]), {"label": "label"}),
    "split": (frame(text=["a"], part=["holdout"]), {"split": "part"}),
    "ids": (frame(text=["a", "b"], id=["1", "1"]), {"id": "id"}),
    "type": (frame(text=["a"], own=[datetime.timedelta(1)]), {}),
    "names": (frame(text=["a"], Own=[1], own=[2]), {}),
    "share": (frame(text=["a"]), {"test_share": 2.0}),
    "share of synthetic": (frame(text=["a"]), {"test_share": 0.5, "synthetic": True}),
    "missing file": ("nothing.csv", {}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_leaves_nothing_behind(case: str, blank: Path):
    source, options = BAD[case]
    with pytest.raises(SynAlignError):
        sa.open(blank).ingest(source, **options)
    assert not blank.exists()
    sa.open(blank).ingest(frame(text=["there before"]))
    before = versions(blank)
    with pytest.raises(SynAlignError):
        sa.open(blank).ingest(source, **options)
    assert versions(blank) == before


def test_the_fixture_corpus(blank: Path):
    workspace = sa.open(blank)
    outcome = workspace.ingest(CORPUS, label="label", test_share=0.2)
    rows = pl.read_csv(CORPUS)
    counted = workspace.sql("select sum(multiplicity), count(*) from real").fetchall()[0]
    assert counted == (rows.height, rows.select("text", "label").unique().height)
    assert outcome.counts["records"] == outcome.counts["added"] == counted[1]
    kept = workspace.sql("select distinct text, label, channel, received from real").pl()
    assert set(kept.iter_rows()) <= set(rows.select("text", "label", "channel", "received").iter_rows())


def test_the_same_content_again_adds_nothing(blank: Path):
    workspace = sa.open(blank)
    first = workspace.ingest(CORPUS, label="label")
    before = versions(blank)
    again = workspace.ingest(pl.read_csv(CORPUS).reverse(), label="label")
    assert (again.reused, again.run_id) == (True, first.run_id)
    assert versions(blank) == before


def test_a_file_that_grew_adds_its_new_rows_and_the_larger_multiplicity_counts(blank: Path):
    workspace = sa.open(blank)
    workspace.ingest(frame(text=["a", "a", "b", "c", "c", "c"]))
    outcome = workspace.ingest(frame(text=["a", "a", "a", "b", "c", "d"]))
    assert (outcome.counts["records"], outcome.counts["added"]) == (4, 1)
    expected = [("a", None, "train", 3), ("b", None, "train", 1), ("c", None, "train", 3), ("d", None, "train", 1)]
    assert records(workspace) == expected
    assert any("in the workspace already" in note for note in outcome.notes)


def test_a_known_id_with_other_content_is_refused(blank: Path):
    workspace = sa.open(blank)
    workspace.ingest(frame(id=["1", "2"], text=["a", "b"], label=["x", None]), id="id", label="label")
    before = versions(blank)
    for changed in (
        frame(id=["1"], text=["other"], label=["x"]),
        frame(id=["1"], text=["a"], label=["y"]),
        frame(id=["1"], text=["a"], label=pl.Series([None], dtype=pl.String)),
        frame(id=["2", "3"], text=["b", "c"], label=["x", "x"]),
    ):
        with pytest.raises(InputError, match="in the workspace already with different text, label or split"):
            workspace.ingest(changed, id="id", label="label")
    assert versions(blank) == before
    with pytest.raises(InputError, match="different text, label or split"):
        workspace.ingest(
            frame(id=["1"], text=["a"], label=["x"], split=["test"]), id="id", label="label", split="split"
        )
    assert (
        workspace.ingest(frame(id=["1", "3"], text=["a", "c"], label=["x", "x"]), id="id", label="label").counts[
            "added"
        ]
        == 1
    )


def test_both_sides_may_share_ids(blank: Path):
    workspace = sa.open(blank)
    workspace.ingest(frame(id=["1"], text=["real"]), id="id")
    workspace.ingest(frame(id=["1"], text=["synthetic"]), id="id", synthetic=True)
    workspace.ingest(frame(text=["same", "same"]))
    workspace.ingest(frame(text=["same", "same", "same"]), synthetic=True)
    assert [row[0] for row in records(workspace)] == ["real", "same"]
    assert [(row[0], row[3]) for row in records(workspace, "synthetic")] == [("same", 3), ("synthetic", 1)]
    assert records(workspace)[1][3] == 2


def test_new_own_columns_are_null_in_old_rows(blank: Path):
    workspace = sa.open(blank)
    workspace.ingest(frame(text=["a"], channel=["chat"]))
    workspace.ingest(frame(text=["b"], stars=[5]))
    workspace.ingest(frame(text=["c"], channel=["app"], stars=[3]))
    found = workspace.sql("select text, channel, stars from real order by text").fetchall()
    assert found == [("a", "chat", None), ("b", None, 5), ("c", "app", 3)]
    publish_if_stale(workspace._context(), blank / CATALOG_NAME)
    with duckdb.connect(str(blank / CATALOG_NAME), read_only=True) as connection:
        assert connection.sql("select text, channel, stars from real order by text").fetchall() == found


def test_an_own_column_that_changes_its_type(blank: Path):
    workspace = sa.open(blank)
    workspace.ingest(frame(text=["a"], stars=[5]))
    before = versions(blank)
    with pytest.raises(InputError, match=r"'stars' holds .*string here and int64 in the workspace"):
        workspace.ingest(frame(text=["b"], stars=["many"]))
    with pytest.raises(InputError, match="'stars' holds double here"):
        workspace.ingest(frame(text=["b"], stars=[4.5]))
    assert versions(blank) == before
    workspace.ingest(frame(text=["b"], stars=["4"]))
    workspace.ingest(frame(text=["c"], stars=[None]))
    assert workspace.sql("select stars from real order by text").fetchall() == [(5,), (4,), (None,)]


def test_an_own_column_that_differs_by_case_only(blank: Path):
    workspace = sa.open(blank)
    workspace.ingest(frame(text=["a"], channel=["chat"]))
    before = versions(blank)
    with pytest.raises(SynAlignError, match="upper and lower case only"):
        workspace.ingest(frame(text=["b"], Channel=["app"]))
    assert versions(blank) == before


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_test_share_is_kept_apart(share: float, blank: Path):
    workspace = sa.open(blank)
    outcome = workspace.ingest(CORPUS, label="label", test_share=share)
    total = outcome.counts["records"]
    assert outcome.counts["split_train"] + outcome.counts["split_test"] == total
    assert abs(outcome.counts["split_test"] - share * total) < 4 * (total * share * (1 - share)) ** 0.5
    with pytest.raises(InputError, match="different text, label or split"):
        workspace.ingest(CORPUS, label="label", test_share=share + 0.2)


def test_synthetic_records_have_no_test_share(blank: Path):
    with pytest.raises(InputError, match="no test split"):
        sa.open(blank).ingest(CORPUS, synthetic=True, test_share=0.2)
    with pytest.raises(UsageError, match="not both"):
        sa.open(blank).ingest(frame(text=["a"], split=["test"]), split="split", test_share=0.2)


OWN = {
    "category": pl.Series(["a", "b", None], dtype=pl.Categorical),
    "enum": pl.Series(["a", "b", None], dtype=pl.Enum(["a", "b"])),
    "date": [datetime.date(2026, 1, 2), None, None],
    "time": [datetime.datetime(2026, 1, 2, 3, 4, 5, 6), None, None],
    "zoned": pl.Series([datetime.datetime(2026, 1, 2), None, None], dtype=pl.Datetime("us", "UTC")),
    "nanoseconds": pl.Series([datetime.datetime(2026, 1, 2), None, None], dtype=pl.Datetime("ns")),
    "clock": [datetime.time(1, 2, 3), None, None],
    "decimal": [decimal.Decimal("1.50"), decimal.Decimal("-2.25"), None],
    "bytes": [b"\x00\xff", b"", None],
    "list": [["a", None], [], None],
    "numbers": [[1, 2], [3], None],
    "array": pl.Series([[1, 2], [3, 4], None], dtype=pl.Array(pl.Int64, 2)),
    "struct": [{"a": "x", "b": 1}, {"a": None, "b": None}, {"a": "y", "b": 2}],
    "structs": [[{"a": "x"}], [], None],
    "deep": [{"a": [{"b": ["x"]}]}, {"a": []}, {"a": None}],
    "nulls": [None, None, None],
    "list of nulls": [[None], [], None],
    "unsigned": pl.Series([2**64 - 1, 0, None], dtype=pl.UInt64),
    "tiny": pl.Series([1, 2, None], dtype=pl.Int8),
    "float32": pl.Series([1.5, float("inf"), None], dtype=pl.Float32),
    "truth": [True, False, None],
}


@pytest.mark.parametrize("case", OWN)
def test_own_columns_are_kept_and_can_be_asked_for(case: str, blank: Path):
    given = pl.DataFrame({"text": ["a", "b", "c"]}).with_columns(pl.Series("own", OWN[case]))
    workspace = sa.open(blank)
    workspace.ingest(given)
    question = "select text, own from real where split = 'train' order by text"  # a filter is pushed into Lance
    live = workspace.sql(question).pl()
    publish_if_stale(workspace._context(), blank / CATALOG_NAME)
    with duckdb.connect(str(blank / CATALOG_NAME), read_only=True) as connection:
        published = connection.sql(question).pl()
    assert live.equals(published)
    expected = given["own"].to_list()
    found = live["own"].to_list()
    if case == "zoned":
        assert found[0] == expected[0]
    else:
        assert found == expected
    assert workspace.ingest(given.reverse()).reused
    workspace.ingest(pl.DataFrame({"text": ["d"]}))
    assert workspace.sql("select own from real where text = 'd'").pl()["own"].null_count() == 1


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([datetime.timedelta(1)]),
        pl.Series([object()], dtype=pl.Object),
        pl.Series([[b"x"]]),
        pl.Series([{}], dtype=pl.Struct([])),
    ],
)
def test_own_columns_that_cannot_be_kept_are_refused(values: pl.Series, blank: Path):
    with pytest.raises(InputError, match=r"'own' holds .*, which cannot be stored"):
        sa.open(blank).ingest(pl.DataFrame({"text": ["a"]}).with_columns(values.alias("own")))
    assert not blank.exists()


def test_own_values_of_known_records_are_kept_and_that_is_said(blank: Path):
    workspace = sa.open(blank)
    workspace.ingest(frame(text=["a", "b"], channel=["chat", "app"], stars=[1, 2]))
    again = workspace.ingest(
        frame(text=["a", "b", "c"], channel=["chat", "mail", "app"], stars=[1, 2, 3], extra=[5, 6, 7])
    )
    assert "2 records were in the workspace already; their columns channel, extra are kept as they were" in again.notes
    found = workspace.sql("select text, channel, stars, extra from real order by text").fetchall()
    assert found == [("a", "chat", 1, None), ("b", "app", 2, None), ("c", "app", 3, 7)]
    same = workspace.ingest(frame(text=["a", "b", "d"], channel=["chat", "app", "app"], stars=["1", "2", "3"]))
    assert "2 records were in the workspace already" in same.notes


def test_synthetic_texts_of_real_records_are_counted(blank: Path):
    workspace = sa.open(blank)
    real = frame(text=["a", "b", "c", "d"], split=["train", "test", "test", "train"])
    workspace.ingest(real, split="split")
    note = (
        '3 of these texts are texts of real records (2 of the test split): exclude them with synalign exclude DIR "{}"'
    )
    condition = "text in (select text from real)"
    outcome = workspace.ingest(frame(text=["a", "b", "c", "new"]), synthetic=True)
    assert note.format(condition) in outcome.notes
    workspace.exclude(condition)
    assert workspace.sql("select count(*) from exclusions").fetchall() == [(3,)]
    assert not any("real records" in note for note in workspace.ingest(frame(text=["e"]), synthetic=True).notes)


CURES = {
    "split": (
        frame(text=["a", "b", "c"], split=["train", "Test", "dev"]),
        {},
        "2 rows that it marks as test or validation are taken as train; say split='split' (--split split) to use it",
    ),
    "split of train only": (frame(text=["a"], split=["train"]), {}, ": say split='split' (--split split) to use it"),
    "Split": (frame(text=["a"], Split=["test"]), {}, "1 rows .* say split='Split' \\(--split Split\\)"),
    "split of numbers": (frame(text=["a"], split=[1]), {}, ": say split='split'"),
    "label": (frame(text=["a"], label=["x"]), {}, "the records have no labels; say label='label' (--label label)"),
    "id": (frame(text=["a"], id=["x"]), {}, "say id='id' (--id id)"),
    "text": (frame(text=["a"], body=["x"]), {"text": "body"}, "say text='text' (--text text)"),
}


@pytest.mark.parametrize("case", CURES)
def test_a_column_that_was_not_named_comes_with_its_cure(case: str, blank: Path):
    given, options, cure = CURES[case]
    notes = " ".join(sa.open(blank).ingest(given, **options).notes)
    assert cure in notes or re.search(cure, notes)


def test_a_second_label_column_is_no_missing_label(blank: Path):
    notes = sa.open(blank).ingest(frame(text=["a"], label=["x"], topic=["y"]), label="topic").notes
    assert notes == ("the column 'label' was not named as one with a meaning; it is kept as 'file_label'",)
