"""The log of an experiment with users, wherever it lies: added up for each user, and what the statistics need of that.

Nothing is read into Python but one row for each metric and arm, so that a log may be of any length.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from synalign.errors import InputError, UsageError, without_passwords

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

#: What the log is called in the connection: a relation, or a database of one table.
LOG = "log"

#: The column that names the experiment, where a log is of several.
EXPERIMENT = "experiment"

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN", "UTINYINT",
            "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")  # fmt: skip
_TIMES = ("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
_ZONED = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True)
class LogColumns:
    """The columns of a log that mean something. metrics: for each the column that is added up for each user, and the
    one that it is divided by, None for a mean over users. time: when the event was."""

    user: str
    arm: str
    metrics: Mapping[str, tuple[str, str | None]]
    time: str | None = None


@dataclass(frozen=True)
class LogFigures:
    """What a log says. Users who were seen in two arms count as `crossed`, and nowhere else.

    arms: users of each arm. moments: a row for each metric and arm, with the fields of
    `synalign.experiments.effects.Moments`; null where there are too few users. An arm that no user is
    left in has none. without_user, without_arm: rows that belong to none. negative, missing: for each column, users
    with a value below 0, and rows without a value, which count as 0.
    """

    arms: dict[str, int]
    moments: pl.DataFrame
    crossed: int
    crossed_example: str | None
    without_user: int
    without_arm: int
    negative: dict[str, int]
    missing: dict[str, int]
    first_event: datetime | None
    last_event: datetime | None


def read_log(
    connection: DuckDBPyConnection,
    columns: LogColumns,
    query: str | None = None,
    experiment: str | None = None,
    shown: str = "The log",
) -> LogFigures:
    """Add up a log, which the connection sees as `log`. Relations called log_... are made in it.

    Args:
        query: SQL over it; the tables of a database are called by their names. Without one, a database must have one
            table.
        experiment: the one to read, in the column `experiment`.
        shown: what messages call the log.

    Raises:
        UsageError: if there is no such column, or the log is of several experiments and none is named.
        InputError: if the query fails, a column holds no numbers or no times, a value is not finite, or no row is left.
    """
    try:
        return _added_up(connection, columns, query, experiment, shown)
    except duckdb.Error as error:
        said = without_passwords(str(error).strip())
        asked = "" if query is None else f"\nThe query was: {query}"
        raise InputError(f"{shown} cannot be analysed: {said}{asked}") from error


def _added_up(
    connection: DuckDBPyConnection, columns: LogColumns, query: str | None, experiment: str | None, shown: str
) -> LogFigures:
    source = f"from ({query.rstrip().rstrip(';')})" if query is not None else f"from {LOG}"
    if LOG in (row[0] for row in connection.sql("select database_name from duckdb_databases()").fetchall()):
        connection.execute(f"use {LOG}")
        source = source if query is not None else f"from {_quoted(_only_table(connection, shown))}"
    rows = connection.sql(source)
    counted = list(dict.fromkeys(name for pair in columns.metrics.values() for name in pair if name is not None))
    time = [] if columns.time is None else [columns.time]
    named = [EXPERIMENT] if experiment is not None else []
    _require_columns(rows, [columns.user, columns.arm, *counted, *time, *named], shown)
    happened = _check_types(rows, counted, columns.time, shown)
    numbers = ", ".join(f"{_quoted(name)}::double as m{place}" for place, name in enumerate(counted))
    where = "" if experiment is None else f" where {_quoted(EXPERIMENT)}::varchar = {_literal(experiment)}"
    if experiment is None and EXPERIMENT in rows.columns:
        _require_one_experiment(connection, source)
    connection.execute(
        f"create temp view log_events as select {_quoted(columns.user)} as unit, "
        f"{_quoted(columns.arm)}::varchar as arm, {happened} as happened_at, {numbers} {source}{where}"
    )
    connection.execute(f"create temp table log_seen as {_sql('units')}")
    strays, crossed, faults = (_row(connection, name) for name in ("strays", "crossed", "faults"))
    kept = f"table log_units as {_sql('uncrossed')}" if crossed["users"] else "view log_units as from log_seen"
    connection.execute(f"create temp {kept}")
    arms = connection.sql(_sql("arms")).pl()
    if not arms.height and not crossed["users"]:
        which = "" if experiment is None else f" of the experiment {experiment!r}"
        raise InputError(f"{shown} has no row{which} with a user and an arm.")
    endless = [name for place, name in enumerate(counted) if faults[f"endless_m{place}"]]
    if endless:
        raise InputError(
            f"Columns of {shown} hold values that are not finite: {', '.join(endless)}. Repair them, or "
            "leave those rows out with a query."
        )
    metrics = ", ".join(_metric(name, pair, counted) for name, pair in columns.metrics.items())
    connection.execute(
        f"create temp view log_metrics as select arm, unnest([{metrics}], recursive := true) from log_units"
    )
    return LogFigures(
        arms=dict(arms.select("arm", "users").iter_rows()),
        moments=connection.sql(_sql("moments")).pl(),
        crossed=crossed["users"],
        crossed_example=crossed["example"],
        without_user=strays["without_user"],
        without_arm=strays["without_arm"],
        negative={name: faults[f"negative_m{place}"] for place, name in enumerate(counted)},
        missing={name: faults[f"missing_m{place}"] or 0 for place, name in enumerate(counted)},
        first_event=arms["first_event"].min(),
        last_event=arms["last_event"].max(),
    )


def _metric(name: str, pair: tuple[str, str | None], counted: list[str]) -> str:
    top, base = (None if part is None else f"coalesce(sum_m{counted.index(part)}, 0)" for part in pair)
    return f"{{'metric': {_literal(name)}, 'y': {top}, 'x': {base or '1::double'}}}"


@cache
def _sql(name: str) -> str:
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _row(connection: DuckDBPyConnection, name: str) -> dict[str, Any]:
    found: dict[str, Any] = connection.sql(_sql(name)).pl().row(0, named=True)
    return found


def _only_table(connection: DuckDBPyConnection, shown: str) -> str:
    names = [row[0] for row in connection.sql(f"show tables from {LOG}").fetchall()]
    if len(names) != 1:
        raise UsageError(
            f"{shown} has {len(names)} tables: {', '.join(names[:20]) or 'none'}. Say with a query which "
            "one is the log, such as 'from clicks'."
        )
    return str(names[0])


def _require_columns(rows: DuckDBPyRelation, names: Collection[str], shown: str) -> None:
    unknown = [name for name in names if name not in rows.columns]
    if unknown:
        raise UsageError(
            f"{shown} has no column {unknown[0]!r}. It has: {', '.join(rows.columns)}. Name the columns of the user "
            "and of the arm, and those of each metric."
        )


def _check_types(rows: DuckDBPyRelation, counted: Collection[str], time: str | None, shown: str) -> str:
    """Check that counted columns are numbers, and return the SQL of the time of an event, in UTC."""
    kinds = {name: str(kind) for name, kind in zip(rows.columns, rows.types, strict=True)}
    for name in counted:
        if kinds[name].partition("(")[0] not in _NUMBERS:
            raise InputError(
                f"The column {name!r} of {shown} holds {kinds[name]}, and no numbers to add up. Cast it in a query, or "
                "name another column."
            )
    if time is None:
        return "null::timestamp"
    if kinds[time] == _ZONED:
        return f"make_timestamp(epoch_us({_quoted(time)}))"
    if kinds[time] not in _TIMES:
        raise InputError(f"The column {time!r} of {shown} holds {kinds[time]}, and no times. Cast it in a query.")
    return f"{_quoted(time)}::timestamp"


def _require_one_experiment(connection: DuckDBPyConnection, source: str) -> None:
    connection.execute(
        f"create temp view log_experiments as select {_quoted(EXPERIMENT)}::varchar as experiment {source}"
    )
    found = [row[0] for row in connection.sql(_sql("named")).fetchall()]
    if len(found) > 1:
        raise UsageError(
            f"The log is of {'at least ' if len(found) == 20 else ''}{len(found)} experiments: {', '.join(found)}. Say "
            "which one to analyse."
        )


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
