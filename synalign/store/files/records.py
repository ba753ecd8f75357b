"""Turns a user's rows into records: ids, labels, splits, multiplicities. Frames in, frames out; nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import polars as pl

from synalign import ids
from synalign.errors import InputError, UsageError
from synalign.store.files.columns import SPLIT_NAMES, as_text, json_lines, own_columns
from synalign.store.lake.schemas import SPLITS

_SHOWN = 10
_SHOWN_COLUMNS = 50
#: Labels that would be mistaken for "all records" and "no label" where labels are listed.
_RESERVED_LABELS = ("*", "(none)")
#: Columns of a frame of records that are not the user's own. `_row` numbers the rows while they are read.
_STANDARD = ("id", "text", "label", "split", "_row")


@dataclass(frozen=True)
class Columns:
    """Which of a user's columns mean something. Only `text` has to exist."""

    text: str = "text"
    label: str | None = None
    id: str | None = None
    split: str | None = None

    def named(self) -> dict[str, str]:
        """Return {meaning: column name} of those that were given."""
        given = {"text": self.text, "label": self.label, "id": self.id, "split": self.split}
        return {meaning: name for meaning, name in given.items() if name is not None}


@dataclass(frozen=True)
class Records:
    """Rows ready to be stored.

    frame: columns id, text, label, split and the user's own, one row for each record.
    repeats: columns id, multiplicity, for the records that came more than once.
    digest: a hash of all content; the same rows have the same one in any order.
    """

    frame: pl.DataFrame
    repeats: pl.DataFrame
    digest: str
    notes: tuple[str, ...]


def to_records(
    rows: pl.DataFrame,
    columns: Columns,
    *,
    first_row: int | Sequence[int] = 0,
    skip_empty: bool = False,
    test_share: float | None = None,
    source: str = "the input",
) -> Records:
    """Check a user's rows and give them ids, labels, splits and multiplicities.

    Args:
        first_row: the number that the first row has in messages, or the numbers of all rows.

    Raises:
        UsageError: if a named column does not exist, or one column is given two meanings.
        InputError: for no rows, empty texts, ids that are missing or stand for different content, unknown splits,
            reserved labels, or columns that cannot be stored.
    """
    _check_columns(rows, columns, source)
    if test_share is not None:
        _check_share(test_share, columns)
    if not rows.height:
        raise InputError(f"{source} has columns ({', '.join(rows.columns)}) but no rows. Nothing was written.")
    notes: list[str] = []
    numbers = range(first_row, first_row + rows.height) if isinstance(first_row, int) else first_row
    frame = _standard_columns(*_with_text(rows, numbers, columns, skip_empty, source, notes), columns, source, notes)
    if columns.id is None:
        # "train" and no split are one: a record ingested with and without a split column is the same record.
        content = frame.select("text", "label", pl.col("split").replace("train", None)).iter_rows()
        frame = frame.with_columns(pl.Series("id", [ids.record_id(*row) for row in content], pl.String))
    frame = frame.with_columns(pl.col("split").fill_null("train"))
    if columns.id is None:
        frame, repeats = _fold_repeats(frame, notes)
    else:
        frame = _one_row_an_id(frame, source, notes)
        repeats = pl.DataFrame(schema={"id": pl.String, "multiplicity": pl.Int64})
    if test_share is not None:
        frame = frame.with_columns(pl.Series("split", split_of(frame["id"].to_list(), test_share), pl.String))
    frame = frame.drop("_row")
    return Records(frame, repeats, _digest(frame, repeats), tuple(notes))


def label_text(values: pl.Series, source: str) -> pl.Series:
    """Return labels as strings: 1 and 1.0 are "1", true is "true", surrounding blanks are dropped, empty is null.

    Raises:
        InputError: if the column holds lists or structs, or a label that these tables give a meaning to.
    """
    text = as_text(values, "label", source).str.strip_chars().replace("", None)
    for name in _RESERVED_LABELS:
        if (text == name).any():
            raise InputError(
                f"The label column {values.name!r} of {source} holds {name!r}, which stands for something else in this "
                "toolkit's tables. Rename that label. Nothing was written."
            )
    return text


def _check_columns(rows: pl.DataFrame, columns: Columns, source: str) -> None:
    named = columns.named()
    for meaning, name in named.items():
        if name not in rows.columns:
            raise UsageError(
                f"{source} has no column {name!r} to take as {meaning}. {_listed_columns(rows)} "
                f"Name one with {meaning}=... (--{meaning} on the command line). Nothing was written."
            )
    if len(set(named.values())) < len(named):
        raise UsageError(f"One column is named for two meanings: {named}. Nothing was written.")


def _listed_columns(rows: pl.DataFrame) -> str:
    names = rows.columns
    more = f" and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
    listed = f"Its columns: {', '.join(names[:_SHOWN_COLUMNS])}{more}."
    inside = [sign for sign in ";\t|," if len(names) == 1 and sign in names[0]]
    if inside:
        listed += (
            f" That is one column, with {inside[0]!r} in its name: if it separates fields, save the file with commas "
            "(.csv) or tabs (.tsv)."
        )
    return listed


def _check_share(share: float, columns: Columns) -> None:
    if columns.split is not None:
        raise UsageError(f"Give a split column ({columns.split!r}) or a test share ({share}), not both.")
    if not 0 < share < 1:
        raise UsageError(f"The test share must be above 0 and below 1, not {share}.")


def _with_text(
    rows: pl.DataFrame, numbers: Sequence[int], columns: Columns, skip_empty: bool, source: str, notes: list[str]
) -> tuple[pl.DataFrame, pl.Series]:
    """Return the rows that have text, the text column as strings, and their numbers."""
    text = as_text(rows[columns.text], "text", source)
    rows = rows.with_columns(text)
    row = pl.Series("_row", numbers, pl.Int64)
    there = (text.str.strip_chars() != "").fill_null(False)
    if there.all():
        return rows, row
    blank = row.filter(~there).to_list()
    listed = _listed(blank)
    if not skip_empty:
        raise InputError(
            f"{source}: {len(blank)} of {rows.height} texts in column {columns.text!r} are empty or null (rows "
            f"{listed}). Drop them with skip_empty=True (--skip-empty). Nothing was written."
        )
    if not there.any():
        raise InputError(f"{source}: all {len(blank)} texts are empty or null. Nothing was written.")
    notes.append(f"{len(blank)} rows with empty text were left out (rows {listed})")
    return rows.filter(there), row.filter(there)


def _listed(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return ", ".join(map(str, numbers[:_SHOWN])) + more


def _standard_columns(
    rows: pl.DataFrame, row: pl.Series, columns: Columns, source: str, notes: list[str]
) -> pl.DataFrame:
    none = pl.Series([None] * rows.height, dtype=pl.String)
    record_id = _given_ids(rows[columns.id], row, source) if columns.id else none
    label = label_text(rows[columns.label], source) if columns.label else none
    split = _split_names(rows[columns.split], source) if columns.split else none
    standard = zip(_STANDARD, (record_id, rows[columns.text], label, split, row), strict=True)
    own = own_columns(rows, row, columns.named(), source, notes)
    return pl.DataFrame([*(values.alias(name) for name, values in standard), *own])


def _given_ids(values: pl.Series, row: pl.Series, source: str) -> pl.Series:
    given = as_text(values, "id", source)
    bad = row.filter(given.is_null() | (given.str.strip_chars() == "").fill_null(False)).to_list()
    if bad:
        raise InputError(f"{source}: the id is null or blank in {len(bad)} rows ({_listed(bad)}). Nothing was written.")
    return given


def _split_names(values: pl.Series, source: str) -> pl.Series:
    given = as_text(values, "split", source).str.strip_chars().str.to_lowercase().replace("", None)
    named = given.replace(SPLIT_NAMES)
    unknown = sorted(set(named.drop_nulls().unique().to_list()) - set(SPLITS))
    if unknown:
        raise InputError(
            f"{source}: the split column {values.name!r} holds {', '.join(map(repr, unknown[:_SHOWN]))}; allowed are "
            f"{', '.join(SPLITS)} (also {', '.join(SPLIT_NAMES)}). Nothing was written."
        )
    return named


def _fold_repeats(frame: pl.DataFrame, notes: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Keep one row for each id, and return how often the repeated ones came.

    Of rows that differ in the user's own columns the first in the order of their content is kept, so that the result
    does not depend on the order of the file.
    """
    counts = frame.group_by("id").agg(pl.len().cast(pl.Int64).alias("multiplicity"))
    repeats = counts.filter(pl.col("multiplicity") > 1).sort("id")
    if not repeats.height:
        return frame, repeats
    extra = int(repeats["multiplicity"].sum()) - repeats.height
    notes.append(f"{extra} repeated rows are kept as the multiplicity of {repeats.height} records")
    repeated = frame.join(repeats, on="id", how="semi")
    own = [name for name in frame.columns if name not in _STANDARD]
    lines = json_lines(repeated.select(own)) if own else [""] * repeated.height
    content = repeated.select("id", "_row").with_columns(pl.Series("content", lines, pl.String))
    differing = content.group_by("id").agg(pl.col("content").n_unique()).filter(pl.col("content") > 1).height
    if differing:
        notes.append(f"{differing} of them differ in other columns ({', '.join(own)}): one row's values are kept")
    kept = content.sort("id", "content", "_row").unique("id", keep="first")
    dropped = content.join(kept, on="_row", how="anti")
    return frame.join(dropped, on="_row", how="anti", maintain_order="left"), repeats


def _one_row_an_id(frame: pl.DataFrame, source: str, notes: list[str]) -> pl.DataFrame:
    lines = json_lines(frame.drop("_row"))
    content = frame.select("id", "_row").with_columns(pl.Series("content", lines, pl.String))
    distinct = content.unique("content", keep="first", maintain_order=True)
    clashing = distinct.filter(pl.col("id").is_duplicated())
    if clashing.height:
        first = clashing["id"][0]
        numbers = clashing.filter(pl.col("id") == first)["_row"].to_list()
        raise InputError(
            f"{source}: {clashing['id'].n_unique()} ids stand for different content, first {first!r} (rows "
            f"{', '.join(map(str, numbers[:_SHOWN]))}). An id names one record; without an id column, records "
            "are named by their content. Nothing was written."
        )
    if distinct.height < frame.height:
        notes.append(f"{frame.height - distinct.height} rows repeated an id with the same content and count once")
    return frame.join(distinct, on="_row", how="semi", maintain_order="left")


def split_of(record_ids: Sequence[str], share: float) -> list[str]:
    """Return "test" or "train" for each id, by its hash: the same id is always on the same side."""
    limit = int(share * 2**32)
    return [
        "test" if int.from_bytes(sha256(f"split/1:{name}".encode()).digest()[:4], "big") < limit else "train"
        for name in record_ids
    ]


def _digest(frame: pl.DataFrame, repeats: pl.DataFrame) -> str:
    """Hash the content in an order that does not depend on that of the file."""
    columns = sorted(frame.columns)
    hashed = sha256()
    for line in json_lines(frame.select(columns).sort("id")):
        hashed.update(line.encode() + b"\n")
    return ids.digest(["records/1", columns, hashed.hexdigest(), repeats.sort("id").rows()])
