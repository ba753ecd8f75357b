"""Promises that the tables keep, as SQL: `sql/checks/<stage>/<name>.sql`. Each query returns the rows that break one.

A check's head says what the rows are, `-- cure:` what to do about them, and `-- kind: leftover` that they do no harm.
It reads `raw_<table>` (all rows), `kept_<table>` (those of finished runs), `records` (kept, of both sides), `embedded`
(these and documents), `vectors` (of all embedders), `all_calls` (of table and ledger), `owned` (rows by run) and
`forgettings` (when records went).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from synalign.errors import StoreError
from synalign.store.lake.lake import Lake, reason
from synalign.store.lake.schemas import OWNED_BY_RUN, TABLES, empty
from synalign.store.sql import catalog, statements
from synalign.store.sql.query import HELD, SETTINGS, interruptible

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_RECORDS = "select '{0}' as origin, id, text, label, split, run_id from kept_{0}"
#: What checks read besides tables, and the tables that it is made of. Vectors stand for all of their tables.
_MADE_OF = {
    "records": ("runs", "real", "synthetic"),
    "embedded": ("runs", "real", "synthetic", "documents"),
    "all_calls": ("calls", "ledger"),
    "raw_all_ledger": ("ledger",),
    "vectors": ("vectors",),
    "owned": ("runs", "vectors", *OWNED_BY_RUN),
}
#: Values of the JSON in `runs`, null where it is none.
_MACROS = """
create macro named(given, name) as
    json_extract_string(case when json_valid(given) then given end, '$."' || name || '"');
create macro recorded(given, name) as try_cast(named(given, name) as bigint);
"""


@dataclass(frozen=True)
class Check:
    """One promise: its name, what breaks it, what to do then, how bad it is, and the tables that it is about."""

    name: str
    about: str
    cure: str
    kind: str
    tables: frozenset[str]
    sql: str


@dataclass(frozen=True)
class Found:
    """Rows that break a promise: how many, and the first of them as "column value" pairs."""

    count: int
    first: tuple[str, ...]


def all_checks() -> list[Check]:
    """Return the checks that are shipped, by name.

    Raises:
        StoreError: if the head of one lacks its cure.
    """
    return sorted((_check(statement) for statement in statements.load("checks")), key=lambda check: check.name)


def _check(statement: statements.Statement) -> Check:
    about, said = [], {"kind": "error"}
    for line in statement.about.splitlines():
        key, colon, rest = line.partition(": ")
        if colon and key in ("cure", "kind"):
            said[key] = rest
        else:
            about.append(line)
    if "cure" not in said or said["kind"] not in ("error", "leftover"):
        raise StoreError(f"sql/checks/{statement.name}.sql needs one '-- cure:' line, and a kind that is known.")
    tables = {table for need in statement.needs for table in _tables_of(need)}
    return Check(statement.name, " ".join(about), said["cure"], said["kind"], frozenset(tables), statement.sql)


def _tables_of(need: str) -> tuple[str, ...]:
    if need in _MADE_OF:
        return _MADE_OF[need]
    table = need.removeprefix("raw_").removeprefix("kept_")
    return ("runs", table) if need.startswith("kept_") else (table,)


def connect(lake: Lake, sound: set[str], vectors: Mapping[str, str], ledger: pa.Table) -> DuckDBPyConnection:
    """Return an in-memory DuckDB connection with all that checks read.

    Args:
        sound: the tables that can be read; others are shown empty.
        vectors: {table: embedder} of the tables of vectors that can be read.
        ledger: the calls in the ledger.

    Raises:
        StoreError: if a table cannot be opened.
    """
    connection = duckdb.connect(config=SETTINGS)
    connection.execute(_MACROS)
    for name in TABLES:
        _register(connection, lake, name, name in sound)
    for name in OWNED_BY_RUN:
        connection.execute(f"create view kept_{name} as from raw_{name} t semi join raw_runs r on r.run_id = t.run_id")
    connection.execute(f"create view records as {_RECORDS.format('real')} union all {_RECORDS.format('synthetic')}")
    connection.execute(
        "create view embedded as select origin, id, run_id, split from records union all "
        "select 'document', id, run_id, 'train' from kept_documents"
    )
    connection.register("raw_all_ledger", ledger)
    connection.execute(
        "create view all_calls as from raw_calls union all by name "
        "(from raw_all_ledger l anti join raw_calls c on c.call_id = l.call_id)"
    )
    connection.execute("create view forgettings as select sequence from raw_runs where step = 'forget'")
    parts = ["select '' as embedder, '' as origin, '' as id, '' as run_id where false"]
    for table, embedder in vectors.items():
        connection.register(f"raw_{table}", lake.dataset(table))
        parts.append(f"select '{embedder}', origin, id, run_id from raw_{table}")
    connection.execute(f"create view vectors as {' union all '.join(parts)}")
    owned = " union all ".join(f"select '{name}' as source, run_id from raw_{name}" for name in OWNED_BY_RUN)
    connection.execute(f"create view owned as select source, run_id, count(*) as rows from ({owned}) group by all")
    return connection


def violations(connection: DuckDBPyConnection, sql: str, shown: int) -> Found:
    """Return how many rows a check finds, and the first `shown` of them.

    Raises:
        StoreError: if the query fails.
    """
    with _mapped("the check"):
        (count,) = connection.sql(f"select count(*) from ({sql})").fetchall()[0]
        if not count:
            return Found(0, ())
        relation = connection.sql(f"from ({sql}) order by all limit {shown}")
        names = relation.columns
        rows = relation.project(", ".join(f"#{place}::varchar" for place in range(1, len(names) + 1))).fetchall()
    return Found(
        count, tuple(", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True)) for row in rows)
    )


def repeated_keys(connection: DuckDBPyConnection, name: str, key: tuple[str, ...], shown: int) -> Found:
    """Return the keys of a table that name several rows, or are null.

    Raises:
        StoreError: if the query fails.
    """
    columns = ", ".join(f'"{column}"' for column in key)
    null = " or ".join(f'"{column}" is null' for column in key)
    sql = f"select {columns}, count(*) as rows from raw_{name} group by all having count(*) > 1 or {null}"
    return violations(connection, sql, shown)


def row_counts(connection: DuckDBPyConnection) -> dict[str, int]:
    """Return the rows of each base relation of a connection that has them.

    Raises:
        StoreError: if one cannot be read.
    """
    with _mapped("the relations"):
        return {
            statement.name: connection.sql(f"select count(*) from {statement.place}").fetchall()[0][0]
            for statement in statements.load("base")
        }


def published_counts(path: Path) -> dict[str, int]:
    """Return the rows of each base relation of a published catalog, all values of which are read.

    Raises:
        StoreError: if it cannot be opened, or a block of it is damaged.
    """
    with _mapped(str(path)), closing(duckdb.connect(str(path), read_only=True, config=SETTINGS)) as connection:
        counts = {}
        for place, name in catalog.tables(connection).items():
            rows = connection.sql(f"select count(*), bit_xor(hash(t)) from {place} t").fetchall()
            counts[name] = rows[0][0]
        return counts


def _register(connection: DuckDBPyConnection, lake: Lake, name: str, sound: bool) -> None:
    """Make the relation `raw_<name>`; columns that a table of an earlier schema lacks are null."""
    blank = empty(name)
    if not sound or not lake.exists(name):
        connection.register(f"raw_{name}", blank)
        return
    connection.register(f"raw_there_{name}", lake.read(name) if name in HELD else lake.dataset(name))
    connection.register(f"raw_blank_{name}", blank)
    connection.execute(f"create view raw_{name} as from raw_there_{name} union all by name from raw_blank_{name}")


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    try:
        with interruptible():
            yield
    except duckdb.Error as error:
        raise StoreError(f"{what} cannot be read: {reason(error)}") from error
