"""Turns a user's rows into records: ids, labels, splits, multiplicities. Frames in, frames out; nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import polars as pl

from synalign import ids
from synalign.errors import InputError, UsageError
from synalign.store.schemas import RESERVED, SPLITS

_SHOWN = 10
#: Labels that would be mistaken for "all records" and "no label" where labels are listed.
_RESERVED_LABELS = ("*", "(none)")
_SPLIT_NAMES = {"training": "train", "dev": "validation", "val": "validation", "valid": "validation"}


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
    first_row: int = 0,
    skip_empty: bool = False,
    test_share: float | None = None,
    source: str = "the input",
) -> Records:
    """Check a user's rows and give them ids, labels, splits and multiplicities.

    Raises:
        UsageError: if a named column does not exist, or one column is given two meanings.
        InputError: for no rows, empty texts, duplicate ids with different content, or unknown splits.
    """
    _check_columns(rows, columns, source)
    if not rows.height:
        raise InputError(f"{source} has columns ({', '.join(rows.columns)}) but no rows. Nothing was written.")
    notes: list[str] = []
    rows = rows.with_row_index("_row", offset=first_row)
    rows = _drop_empty(rows, columns, skip_empty, source, notes)
    frame = _standard_columns(rows, columns, source, notes)
    if columns.id is None:
        frame = frame.with_columns(
            pl.Series(
                "id", [ids.record_id(*row) for row in frame.select("text", "label", "split").iter_rows()], pl.String
            )
        )
        frame, repeats = _fold_repeats(frame)
        if repeats.height:
            extra = int(repeats["multiplicity"].sum()) - repeats.height
            notes.append(f"{extra} repeated rows are kept as the multiplicity of {repeats.height} records")
    else:
        frame = _one_row_an_id(frame, source, notes)
        repeats = pl.DataFrame(schema={"id": pl.String, "multiplicity": pl.Int64})
    if test_share is not None:
        frame = _split_by_id(frame, test_share, columns)
    frame = frame.with_columns(pl.col("split").fill_null("train"))
    frame = frame.drop("_row")
    return Records(frame, repeats, _digest(frame, repeats), tuple(notes))


def label_text(values: pl.Series, source: str) -> pl.Series:
    """Return labels as strings: 1 and 1.0 are "1", true is "true", surrounding blanks are dropped, empty is null.

    Raises:
        InputError: if the column holds lists or structs.
    """
    if values.dtype.is_nested():
        raise InputError(f"The label column {values.name!r} of {source} holds {values.dtype}; a label is one value.")
    if values.dtype.is_float():
        whole = values.drop_nulls().drop_nans()
        values = values.fill_nan(None)
        if (whole == whole.round()).all():
            values = values.cast(pl.Int64)
    text = values.cast(pl.String).str.strip_chars().replace("", None)
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
                f"{source} has no column {name!r} to take as {meaning}. Its columns: {', '.join(rows.columns)}. "
                f"Name one with {meaning}=... (--{meaning} on the command line). Nothing was written."
            )
    if len(set(named.values())) < len(named):
        raise UsageError(f"One column is named for two meanings: {named}. Nothing was written.")
    if "_row" in rows.columns:
        raise InputError(f"{source} has a column '_row', a name used while reading. Rename it. Nothing was written.")


def _drop_empty(rows: pl.DataFrame, columns: Columns, skip_empty: bool, source: str, notes: list[str]) -> pl.DataFrame:
    text = rows[columns.text]
    if text.dtype != pl.String:
        if text.dtype.is_nested() or text.dtype == pl.Binary:
            raise InputError(f"The text column {columns.text!r} of {source} holds {text.dtype}, not text.")
        text = text.cast(pl.String)
        rows = rows.with_columns(text)
    blank = rows.filter(pl.col(columns.text).is_null() | (pl.col(columns.text).str.strip_chars() == ""))
    if not blank.height:
        return rows
    numbers = blank["_row"].to_list()
    listed = ", ".join(map(str, numbers[:_SHOWN])) + (
        f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    )
    if not skip_empty:
        raise InputError(
            f"{source}: {len(numbers)} of {rows.height} texts in column {columns.text!r} are empty or null (rows "
            f"{listed}). Drop them with skip_empty=True (--skip-empty). Nothing was written."
        )
    notes.append(f"{len(numbers)} rows with empty text were left out (rows {listed})")
    rows = rows.filter(pl.col(columns.text).str.strip_chars() != "")
    if not rows.height:
        raise InputError(f"{source}: all {len(numbers)} texts are empty or null. Nothing was written.")
    return rows


def _standard_columns(rows: pl.DataFrame, columns: Columns, source: str, notes: list[str]) -> pl.DataFrame:
    none = pl.lit(None, pl.String)
    taken = set(columns.named().values())
    label = label_text(rows[columns.label], source).alias("label") if columns.label else none.alias("label")
    split = _split_names(rows, columns.split, source) if columns.split else none.alias("split")
    record_key = pl.col(columns.id).cast(pl.String).alias("id") if columns.id else none.alias("id")
    own = []
    renamed = []
    for name in rows.columns:
        if name in taken or name == "_row":
            continue
        if name in RESERVED:
            renamed.append(name)
        own.append(pl.col(name).alias(f"file_{name}" if name in RESERVED else name))
    for name in renamed:
        notes.append(f"the column {name!r} was not named as one with a meaning; it is kept as 'file_{name}'")
    frame = rows.select(record_key, pl.col(columns.text).alias("text"), label, split, "_row", *own)
    if columns.id and frame["id"].null_count():
        bad = frame.filter(pl.col("id").is_null())["_row"].to_list()
        raise InputError(f"{source}: the id is null in {len(bad)} rows, first in row {bad[0]}. Nothing was written.")
    clash = [name for name in frame.columns if frame.columns.count(name) > 1]
    if clash:
        raise InputError(f"{source}: two columns would be kept as {clash[0]!r}. Rename one. Nothing was written.")
    return frame


def _split_names(rows: pl.DataFrame, column: str, source: str) -> pl.Series:
    given = rows[column].cast(pl.String).str.strip_chars().str.to_lowercase().replace("", None)
    named = given.replace(_SPLIT_NAMES).alias("split")
    unknown = sorted(set(named.drop_nulls().unique().to_list()) - set(SPLITS))
    if unknown:
        raise InputError(
            f"{source}: the split column {column!r} holds {', '.join(map(repr, unknown[:_SHOWN]))}; allowed are "
            f"{', '.join(SPLITS)} (also {', '.join(_SPLIT_NAMES)}). Nothing was written."
        )
    return named


def _fold_repeats(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    counts = frame.group_by("id").agg(pl.len().cast(pl.Int64).alias("multiplicity"))
    repeats = counts.filter(pl.col("multiplicity") > 1).sort("id")
    return frame.unique("id", keep="first", maintain_order=True), repeats


def _one_row_an_id(frame: pl.DataFrame, source: str, notes: list[str]) -> pl.DataFrame:
    content = [name for name in frame.columns if name != "_row"]
    distinct = frame.unique(content, keep="first", maintain_order=True)
    clashing = distinct.filter(pl.col("id").is_duplicated())
    if clashing.height:
        first = clashing["id"][0]
        numbers = clashing.filter(pl.col("id") == first)["_row"].to_list()
        raise InputError(
            f"{source}: {clashing['id'].n_unique()} ids stand for different content, first {first!r} (rows "
            f"{', '.join(map(str, numbers[:_SHOWN]))}). An id names one record; without an id column, records are named "
            "by their content. Nothing was written."
        )
    if distinct.height < frame.height:
        notes.append(f"{frame.height - distinct.height} rows repeated an id with the same content and count once")
    return distinct


def _split_by_id(frame: pl.DataFrame, share: float, columns: Columns) -> pl.DataFrame:
    if columns.split is not None:
        raise UsageError(f"Give a split column ({columns.split!r}) or a test share ({share}), not both.")
    if not 0 < share < 1:
        raise UsageError(f"The test share must be above 0 and below 1, not {share}.")
    return frame.with_columns(pl.Series("split", split_of(frame["id"].to_list(), share), pl.String))


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
    rows = frame.select(columns).sort("id").with_columns(pl.col(pl.Binary).bin.encode("hex")).write_ndjson()
    return ids.digest(["records/1", columns, sha256(rows.encode()).hexdigest(), repeats.sort("id").rows()])
