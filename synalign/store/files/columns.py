"""A user's columns: what they are called in the tables, and what they may hold.

Lance refuses some names and DuckDB folds upper and lower case, so a name that one of them would stumble over is changed
here, and said so, before anything is written. A type that the store or the SQL surfaces cannot carry is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime

import polars as pl

from synalign.errors import InputError
from synalign.store.lake.schemas import RESERVED

_RESERVED = frozenset(name.lower() for name in RESERVED)
#: Names that Lance gives to columns of its own, and the one that rows are numbered with while they are read.
_TAKEN = frozenset(
    {
        "_row", "_rowid", "_rowaddr", "_rowoffset", "_row_created_at_version", "_row_last_updated_at_version",
        "_distance", "_score", "_relevance_score",
    }
)  # fmt: skip
#: In a column's name Lance reads the first two as a path or a quotation, polars the next as a pattern; Arrow ends a
#: name at NUL.
_UNSAFE = str.maketrans(dict.fromkeys(".`*^\0", "_"))

_PLAIN = (
    pl.Boolean, pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Float32,
    pl.Float64, pl.String, pl.Date, pl.Datetime, pl.Time, pl.Decimal,
)  # fmt: skip
#: Kept as text: names of categories, nothing at all, and the digits of integers that no database column holds.
_AS_TEXT = (
    pl.Categorical, pl.Enum, pl.Null, *(getattr(pl, name) for name in ("Int128", "UInt128") if hasattr(pl, name)),
)  # fmt: skip
#: Arrow hands over no more levels than 64 from one library to another.
_DEEPEST = 60


#: Other names of splits that a file may use.
SPLIT_NAMES = {"training": "train", "dev": "validation", "val": "validation", "valid": "validation"}


def own_columns(
    rows: pl.DataFrame, numbers: Sequence[int] | pl.Series, named: Mapping[str, str], source: str, notes: list[str]
) -> list[pl.Series]:
    """Return the columns of `rows` that have no meaning, under the names and types that they are stored with.

    Args:
        numbers: of the rows, for messages.
        named: {meaning: column} of those that have one.

    Raises:
        InputError: if two columns would get one name (upper and lower case are one in SQL), a type is not storable, or
            a date is of no year from 1 to 9999.
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
        bad = _unfit_field(rows.schema[name])
        if bad is not None:
            raise InputError(
                f"{source}: the column {name!r} holds objects with a field {bad!r}, and a field needs a name without "
                "NUL that differs from the others by more than upper and lower case. Rename it. Nothing was written."
            )
        _require_years(rows[name], numbers, source)
        kept.append(rows[name].cast(kind).alias(stored))
    return kept


def _unfit_field(kind: pl.DataType) -> str | None:
    """Return the name of a field inside structs that DuckDB's files or Arrow have no place for."""
    if isinstance(kind, pl.List | pl.Array):
        return _unfit_field(kind.inner)  # type: ignore[arg-type]
    if not isinstance(kind, pl.Struct):
        return None
    seen: set[str] = set()
    for field in kind.fields:
        if not field.name or "\0" in field.name or field.name.lower() in seen:
            return field.name
        seen.add(field.name.lower())
        inner = _unfit_field(field.dtype)  # type: ignore[arg-type]
        if inner is not None:
            return inner
    return None


def _require_years(values: pl.Series, numbers: Sequence[int] | pl.Series, source: str) -> None:
    """Raise InputError for a date that DuckDB takes for infinity, Python has none for, or polars breaks down at."""
    for leaf in _leaves(values):
        if isinstance(leaf.dtype, pl.Date):
            low, high = date(1, 1, 1), date(9999, 12, 31)
        elif isinstance(leaf.dtype, pl.Datetime) and leaf.dtype.time_unit != "ns":
            leaf = leaf.dt.replace_time_zone(None) if leaf.dtype.time_zone else leaf
            low, high = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)
        else:
            continue
        strange = (~leaf.is_between(low, high)).fill_null(False)
        if strange.any():
            where = f" (row {numbers[strange.arg_max() or 0]})" if leaf.len() == values.len() else ""
            raise InputError(
                f"{source}: the column {values.name!r} holds {strange.sum()} dates that are infinite, or of no year "
                f"from 1 to 9999{where}. Write them as text, or as null. Nothing was written."
            )


def _leaves(values: pl.Series) -> Iterator[pl.Series]:
    """Return what stands inside lists and structs, or the values themselves."""
    if isinstance(values.dtype, pl.Struct):
        for inner in values.struct.unnest().get_columns():  # by place: a field may be called as a pattern is
            yield from _leaves(inner)
    elif isinstance(values.dtype, pl.List | pl.Array):
        yield from _leaves(values.explode())
    else:
        yield values


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
    if isinstance(kind, pl.Binary):
        return kind
    return _stored_inside(kind, _DEEPEST)


def _stored_inside(kind: pl.DataType, levels: int) -> pl.DataType | None:
    """The same for what stands inside lists and structs, where bytes have no JSON form to be hashed by."""
    if isinstance(kind, _AS_TEXT):
        return pl.String()
    if isinstance(kind, pl.List | pl.Array):
        inner = _stored_inside(kind.inner, levels - 1) if levels else None  # type: ignore[arg-type]
        return None if inner is None else pl.List(inner)
    if isinstance(kind, pl.Struct):
        if not levels:
            return None
        fields = {field.name: _stored_inside(field.dtype, levels - 1) for field in kind.fields}  # type: ignore[arg-type]
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
    written = frame.with_columns(pl.col(pl.Binary).bin.encode("hex")).write_ndjson()
    return written.removesuffix("\n").split("\n") if written else []  # splitlines() also parts at U+0085 and U+2028
