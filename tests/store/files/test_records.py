"""Rows become records: ids, labels, splits, multiplicities, and a digest that does not depend on the file's order."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign import ids
from synalign.errors import InputError, UsageError
from synalign.store.files.records import Columns, split_of, to_records
from synalign.store.lake.schemas import RESERVED

LABELLED = Columns("text", "label")


def frame(*rows: tuple, names: tuple[str, ...] = ("text", "label")) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=list(names), orient="row")


def by_text(records) -> dict:
    return {row["text"]: row for row in records.frame.to_dicts()}


def test_ids_are_a_hash_of_content_whatever_the_order():
    rows = frame(("a", "x"), ("b", "y"), ("a", "y"))
    one, other = to_records(rows, LABELLED), to_records(rows.reverse(), LABELLED)
    assert sorted(one.frame["id"]) == sorted(other.frame["id"])
    assert one.digest == other.digest
    assert set(one.frame["id"]) == {ids.record_id(text, label, None) for text, label in rows.iter_rows()}


def test_repeats_become_multiplicities():
    records = to_records(frame(("a", "x"), ("a", "x"), ("b", "x"), ("a", "x"), ("a", "y")), LABELLED)
    assert records.frame.height == 3
    assert records.repeats.to_dicts() == [{"id": ids.record_id("a", "x", None), "multiplicity": 3}]
    assert any("2 repeated rows" in note for note in records.notes)


def test_repeats_that_differ_in_own_columns_are_folded_alike_in_any_order():
    rows = frame(("a", "chat"), ("a", "app"), ("b", "app"), names=("text", "channel"))
    one, other = to_records(rows, Columns()), to_records(rows.reverse(), Columns())
    assert one.digest == other.digest
    assert by_text(one)["a"]["channel"] == by_text(other)["a"]["channel"]
    assert any("differ in other columns" in note for note in one.notes)


def test_a_train_split_and_no_split_name_the_same_record():
    with_split = to_records(frame(("a", "train"), ("b", "test"), names=("text", "split")), Columns(split="split"))
    without = to_records(frame(("a",), ("b",), names=("text",)), Columns())
    assert by_text(with_split)["a"]["id"] == by_text(without)["a"]["id"]
    assert by_text(with_split)["b"]["id"] != by_text(without)["b"]["id"]
    half = to_records(frame(("a", "train"), ("a", None), names=("text", "split")), Columns(split="split"))
    assert half.repeats["multiplicity"].to_list() == [2]


def test_a_different_row_is_a_different_digest():
    base = to_records(frame(("a", "x"), ("b", "y")), LABELLED).digest
    assert to_records(frame(("a", "x"), ("b", "x")), LABELLED).digest != base
    assert to_records(frame(("a", "x"), ("b", "y"), ("b", "y")), LABELLED).digest != base
    more = frame(("a", "x", 1), ("b", "y", 2), names=("text", "label", "own"))
    other = frame(("a", "x", 1), ("b", "y", 3), names=("text", "label", "own"))
    assert len({base, to_records(more, LABELLED).digest, to_records(other, LABELLED).digest}) == 3


rows_of_text = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", " c", "d\n", "é", "\x00", "e,\"'"]),
        st.sampled_from(["x", "y", None]),
        st.sampled_from([None, 1, 2]),
        st.sampled_from(["train", "test", None]),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(rows_of_text, st.randoms(use_true_random=False))
def test_order_never_matters_and_no_row_is_lost(rows, random):
    schema = {"text": pl.String, "label": pl.String, "own": pl.Int64, "split": pl.String}
    columns = Columns("text", "label", split="split")
    shuffled = random.sample(rows, len(rows))
    one, other = (to_records(pl.DataFrame(r, schema=schema, orient="row"), columns) for r in (rows, shuffled))
    assert one.digest == other.digest
    assert one.frame.sort("id").equals(other.frame.sort("id"))
    assert one.frame["id"].is_unique().all()
    extra = int((one.repeats["multiplicity"] - 1).sum())
    assert one.frame.height + extra == len(rows)


@settings(max_examples=40, deadline=None)
@given(rows_of_text, st.randoms(use_true_random=False))
def test_order_never_matters_with_ids_of_their_own(rows, random):
    schema = {"id": pl.Int64, "text": pl.String, "label": pl.String, "own": pl.Int64, "split": pl.String}
    numbered = [(number, *row) for number, row in enumerate(rows)] * 2
    shuffled = random.sample(numbered, len(numbered))
    columns = Columns("text", "label", "id", "split")
    one, other = (to_records(pl.DataFrame(r, schema=schema, orient="row"), columns) for r in (numbered, shuffled))
    assert one.digest == other.digest
    assert sorted(one.frame["id"]) == sorted(str(number) for number in range(len(rows)))
    assert one.repeats.height == 0


def test_one_id_with_two_contents_is_refused_with_the_rows():
    rows = frame(("7", "a"), ("8", "b"), ("7", "c"), names=("id", "text"))
    with pytest.raises(InputError, match=r"first '7' \(rows 2, 4\)"):
        to_records(rows, Columns(id="id"), first_row=2)


def test_one_id_with_one_content_is_one_record():
    rows = frame(("7", "a", [1]), ("7", "a", [1]), ("8", "b", [2]), names=("id", "text", "own"))
    records = to_records(rows, Columns(id="id"))
    assert records.frame["id"].to_list() == ["7", "8"]
    assert any("repeated an id" in note for note in records.notes)


@pytest.mark.parametrize("sign", ["\x85", "\u2028", "\u2029", "\x1c", "\v", "\r"])
def test_signs_that_part_lines_elsewhere_part_no_record(sign):
    rows = frame((f"1{sign}", f"a{sign}b"), ("2", "c"), ("2", "c"), names=("id", "text"))
    found = to_records(rows, Columns(id="id")).frame
    assert found.select("id", "text").rows() == [(f"1{sign}", f"a{sign}b"), ("2", "c")]


@pytest.mark.parametrize("bad", [None, "", "  "])
def test_a_missing_id_is_refused_with_its_row(bad):
    with pytest.raises(InputError, match=r"null or blank in 2 rows \(1, 3\)"):
        to_records(frame(("7", "a"), (bad, "b"), ("8", "c"), (bad, "d"), names=("id", "text")), Columns(id="id"))


def test_float_ids_are_those_of_the_integers():
    rows = pl.DataFrame({"id": [1.0, 2.0], "text": ["a", "b"]})
    assert to_records(rows, Columns(id="id")).frame["id"].to_list() == ["1", "2"]


def test_a_missing_column_is_named_with_those_there_are():
    with pytest.raises(UsageError, match=r"no column 'review' to take as text. Its columns: text, label"):
        to_records(frame(("a", "x")), Columns("review"))
    with pytest.raises(UsageError, match="two meanings"):
        to_records(frame(("a", "x")), Columns("text", "text"))


def test_no_rows_are_refused():
    with pytest.raises(InputError, match="no rows"):
        to_records(frame(), LABELLED)


def test_texts_that_are_empty_are_refused_with_their_rows():
    rows = frame(("a", "x"), ("", "x"), (" \n\t", "x"), (None, "x"), ("b", "x"))
    with pytest.raises(InputError, match=r"3 of 5 texts in column 'text' are empty or null \(rows 3, 4, 5\)"):
        to_records(rows, LABELLED, first_row=2)
    with pytest.raises(InputError, match=r"\(rows 20, 40, 50\)"):
        to_records(rows, LABELLED, first_row=[10, 20, 40, 50, 60])


def test_long_lists_of_empty_texts_are_cut():
    with pytest.raises(InputError, match=r"12 of 13 .*rows 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more\)"):
        to_records(frame(("a",), *[("",)] * 12, names=("text",)), Columns())


def test_skip_empty_leaves_them_out_and_says_so():
    rows = frame(("a", "1", "train"), ("", None, "no such split"), names=("text", "id", "split"))
    records = to_records(rows, Columns(id="id", split="split"), skip_empty=True)
    assert records.frame["text"].to_list() == ["a"]
    assert any("1 rows with empty text" in note for note in records.notes)
    with pytest.raises(InputError, match="all 2 texts are empty"):
        to_records(frame(("",), (None,), names=("text",)), Columns(), skip_empty=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, None], ["1", "2", None]),
        ([1.0, 2.0, None], ["1", "2", None]),
        ([1.0, float("nan"), 2.0], ["1", None, "2"]),
        ([1.5, 2.0, None], ["1.5", "2.0", None]),
        ([True, False, None], ["true", "false", None]),
        ([" x ", "", "01"], ["x", None, "01"]),
        ([float("inf"), 1.0, None], ["inf", "1.0", None]),
        ([1e300, 1.0, None], ["1e+300", "1.0", None]),
        ([None, None, None], [None, None, None]),
    ],
)
def test_labels_are_strings(values, expected):
    rows = pl.DataFrame({"text": ["a", "b", "c"], "label": values})
    assert to_records(rows, LABELLED).frame["label"].to_list() == expected


def test_labels_of_categories_are_strings():
    rows = pl.DataFrame({"text": ["a", "b"], "label": pl.Series([" x", "y"], dtype=pl.Categorical)})
    assert to_records(rows, LABELLED).frame["label"].to_list() == ["x", "y"]


@pytest.mark.parametrize("label", ["*", " (none) "])
def test_labels_with_a_meaning_here_are_refused(label):
    with pytest.raises(InputError, match="stands for something else"):
        to_records(frame(("a", label)), LABELLED)


@pytest.mark.parametrize("column", ["text", "label", "id", "split"])
@pytest.mark.parametrize("value", [["x"], {"a": "x"}, b"x"])
def test_a_column_with_a_meaning_holds_single_values(column, value):
    rows = pl.DataFrame({"text": ["a"], "label": ["x"], "id": ["1"], "split": ["train"]})
    rows = rows.with_columns(pl.Series(column, [value]))
    with pytest.raises(InputError, match=f"The {column} column '{column}'"):
        to_records(rows, Columns("text", "label", "id", "split"))


def test_split_names_and_their_other_names():
    given = ["Train", " dev ", "val", "valid", "TEST", "training", "", None, "validation"]
    rows = pl.DataFrame({"text": list("abcdefghi"), "split": given})
    found = to_records(rows, Columns(split="split")).frame["split"].to_list()
    expected = ["train", *["validation"] * 3, "test", *["train"] * 3, "validation"]
    assert found == expected
    with pytest.raises(InputError, match=r"holds 'holdout'; allowed are train, validation, test \(also training"):
        to_records(pl.DataFrame({"text": ["a"], "split": ["holdout"]}), Columns(split="split"))


def test_the_test_share_is_right_and_follows_the_id():
    rows = pl.DataFrame({"text": [f"text {number}" for number in range(20_000)]})
    split = dict(to_records(rows, Columns(), test_share=0.2).frame.select("id", "split").iter_rows())
    share = sum(name == "test" for name in split.values()) / len(split)
    assert abs(share - 0.2) < 4 * (0.2 * 0.8 / len(split)) ** 0.5
    part = to_records(rows.tail(500), Columns(), test_share=0.2).frame
    assert all(split[record_id] == side for record_id, side in part.select("id", "split").iter_rows())
    wider = split_of(list(split), 0.3)
    assert all(now == "test" for now, before in zip(wider, split.values(), strict=True) if before == "test")


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_test_share_out_of_range_is_refused(share):
    with pytest.raises(UsageError, match="above 0 and below 1"):
        to_records(frame(("a", "x")), LABELLED, test_share=share)


def test_a_test_share_beside_a_split_column_is_refused():
    with pytest.raises(UsageError, match="not both"):
        to_records(frame(("a", "test"), names=("text", "split")), Columns(split="split"), test_share=0.2)


@pytest.mark.parametrize("name", [*sorted(RESERVED - {"text"}), "Weight", "ID", "_row", "_rowid", "_distance"])
def test_own_columns_with_a_name_of_ours_are_kept_under_another(name):
    records = to_records(pl.DataFrame({"text": ["a"], name: [5]}), Columns())
    assert records.frame[f"file_{name}"].to_list() == [5]
    assert any(f"kept as 'file_{name}'" in note for note in records.notes)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("a.b", "a_b"), ("", "column_2"), ("a`b", "a_b"), ("*", "_"), ("^x$", "_x$"), ("select", "select"), ("Ä", "Ä")],
)
def test_own_columns_with_a_name_that_tables_refuse_are_kept_under_another(name, kept):
    records = to_records(pl.DataFrame({"text": ["a", "b"], name: [5, 6]}), Columns())
    assert records.frame[kept].to_list() == [5, 6]
    assert to_records(pl.DataFrame({"text": ["a", "b"], name: [5, 7]}), Columns()).digest != records.digest


def test_two_columns_that_would_share_a_name_are_refused():
    for columns in ({"Own": [1], "own": [2]}, {"weight": [1], "file_weight": [2]}, {"a.b": [1], "a_b": [2]}):
        with pytest.raises(InputError, match="would both be kept as"):
            to_records(pl.DataFrame({"text": ["a"], **columns}), Columns())


def test_a_column_named_row_can_be_the_text():
    assert to_records(pl.DataFrame({"_row": ["a"]}), Columns("_row")).frame["text"].to_list() == ["a"]
