"""A user's columns: what they are called in the tables, and what they may hold.

Lance refuses some names and DuckDB folds upper and lower case, so a name that one of them would stumble over is changed
here, and said so, before anything is written. A type that the store or the SQL surfaces cannot carry is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from synalign.errors import InputError
from synalign.store.schemas import RESERVED

_RESERVED = frozenset(name.lower() for name in RESERVED)
#: Names that Lance gives to columns of its own, and the one that rows are numbered with while they are read.
_TAKEN = frozenset(
    {
        "_row", "_rowid", "_rowaddr", "_rowoffset", "_row_created_at_version", "_row_last_updated_at_version",
        "_distance", "_score", "_relevance_score",
    }
)  # fmt: skip
#: In a column's name Lance reads the first two as a path or a quotation, and polars the others as a pattern.
_UNSAFE = str.maketrans(dict.fromkeys(".`*^", "_"))

_PLAIN = (
    pl.Boolean, pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Float32,
    pl.Float64, pl.String, pl.Date, pl.Datetime, pl.Time, pl.Decimal,
)  # fmt: skip


#: Other names of splits that a file may use.
SPLIT_NAMES = {"training": "train", "dev": "validation", "val": "validation", "valid": "validation"}


def own_columns(rows: pl.DataFrame, named: Mapping[str, str], source: str, notes: list[str]) -> list[pl.Series]:
    """Return the columns of `rows` that have no meaning, under the names and types that they are stored with.

    Args:
        named: {meaning: column} of those that have one.

    Raises:
        InputError: if two columns would get one name (upper and lower case are one in SQL), or a type is not storable.
    """
    kept: list[pl.Series] = []
    seen: dict[str, str] = {}
    for place, name in enumerate(rows.columns, start=1):
        if name in named.values():
            continue
        stored = stored_name(name, place)
        if stored.lower() in seen:
            raise InputError(
                f"{source}: the columns {seen[stored.lower()]!r} and {name!r} would both be kept as {stored!r} (SQL "
                "does not tell upper from lower case). Rename one. Nothing was written."
            )
        seen[stored.lower()] = name
        if stored != name:
            why = (
                "was not named as one with a meaning"
                if name.lower() in _RESERVED
                else "has a name that is not storable"
            )
            notes.append(f"the column {name!r} {why}; it is kept as {stored!r}{_cure(rows[name], named)}")
        kind = stored_type(rows.schema[name])
        if kind is None:
            raise InputError(
                f"{source}: the column {name!r} holds {rows.schema[name]}, which cannot be stored. Turn it into text "
                "or numbers, or leave it out. Nothing was written."
            )
        kept.append(rows[name].cast(kind).alias(stored))
    return kept


def _cure(values: pl.Series, named: Mapping[str, str]) -> str:
    """Return what to say, if anything, about a column that is called as a meaning is and was not named as it."""
    name, meaning = values.name, values.name.lower()
    if meaning not in ("text", "label", "id", "split") or (meaning in named and meaning != "text"):
        return ""
    say = f"say {meaning}={name!r} (--{meaning} {name})"
    if meaning == "label":
        return f": the records have no labels; {say}"
    held_out = _held_out(values) if meaning == "split" else 0
    if held_out:
        return f": {held_out} rows that it marks as test or validation are taken as train; {say} to use it"
    return f": {say} to use it"


def _held_out(values: pl.Series) -> int:
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return 0
    marks = values.cast(pl.String).str.strip_chars().str.to_lowercase().replace(SPLIT_NAMES)
    return marks.filter(marks.is_in(["test", "validation"])).len()


def stored_name(name: str, place: int) -> str:
    """Return the name under which a column is kept; `place` (from 1) names one that has no name."""
    clean = name.translate(_UNSAFE)
    if not clean.strip():
        return f"column_{place}"
    return f"file_{clean}" if clean.lower() in _RESERVED | _TAKEN else clean


def stored_type(kind: pl.DataType) -> pl.DataType | None:
    """Return the type in which a column is stored, or None if it cannot be."""
    if isinstance(kind, pl.Categorical | pl.Enum | pl.Null):
        return pl.String()
    if isinstance(kind, pl.Binary):
        return kind
    return _stored_inside(kind)


def _stored_inside(kind: pl.DataType) -> pl.DataType | None:
    """The same for what stands inside lists and structs, where bytes have no JSON form to be hashed by."""
    if isinstance(kind, pl.Categorical | pl.Enum | pl.Null):
        return pl.String()
    if isinstance(kind, pl.List | pl.Array):
        inner = _stored_inside(kind.inner)  # type: ignore[arg-type]
        return None if inner is None else pl.List(inner)
    if isinstance(kind, pl.Struct):
        fields = {field.name: _stored_inside(field.dtype) for field in kind.fields}  # type: ignore[arg-type]
        if not fields or None in fields.values():
            return None
        return pl.Struct({name: inner for name, inner in fields.items() if inner is not None})
    return kind if isinstance(kind, _PLAIN) else None


def as_text(values: pl.Series, meaning: str, source: str) -> pl.Series:
    """Return a column with a meaning as strings: 1 and 1.0 are "1", true is "true", NaN is null.

    Raises:
        InputError: if it holds lists, structs, bytes or Python objects.
    """
    if values.dtype.is_nested() or isinstance(values.dtype, pl.Binary | pl.Object):
        raise InputError(
            f"The {meaning} column {values.name!r} of {source} holds {values.dtype}; a {meaning} is one value. Nothing "
            "was written."
        )
    if values.dtype.is_float():
        values = values.fill_nan(None)
        there = values.drop_nulls()
        if (there.is_finite() & (there == there.round()) & (there.abs() < 2**63)).all():
            values = values.cast(pl.Int64)
    return values.cast(pl.String)


def json_lines(frame: pl.DataFrame) -> list[str]:
    """Return each row as one line of JSON: equal rows have equal lines."""
    return frame.with_columns(pl.col(pl.Binary).bin.encode("hex")).write_ndjson().splitlines()
