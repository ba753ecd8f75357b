"""SQL over a workspace: live over the Lance tables, or as the published `catalog.duckdb`. The only importer of duckdb.

Both surfaces have the same relations. Live, each is a view over an Arrow scan of Lance, which pushes filters and
projections down. Published, base relations and what is queried most are plain tables, since a view that joins took 27
times a table's time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from synalign.errors import InputError, SqlError, StoreError
from synalign.store import statements
from synalign.store.lake import Lake, reason
from synalign.store.ledger import Ledger
from synalign.store.schemas import HIDDEN, TABLES, empty

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

#: Views that are stored as tables when the catalog is published.
MATERIALISED = ("synthetic_weighted", "training_mix")

_SETTINGS = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
_ZONED = ("TIMESTAMP WITH TIME ZONE", "TIME WITH TIME ZONE")
_TEMPORARY_SUFFIX = ".publishing"
#: What a run that finishes meanwhile writes last is opened first: a run that is seen has all its rows.
_OPENED_FIRST = ("runs", "activations")


def connect(lake: Lake, ledger: Ledger, labels: Mapping[str, str]) -> DuckDBPyConnection:
    """Return an in-memory DuckDB connection with all relations over the newest state of the tables."""
    connection = duckdb.connect(config=_SETTINGS)
    for name in _OPENED_FIRST:
        _register(connection, lake, name)
    # The ledger is read before `calls` is opened: what gc moves there meanwhile is in one of the two, or in both.
    connection.register("raw_ledger", ledger.rows_but(lake.read("calls", ["call_id"])["call_id"].to_pylist()))
    for name in TABLES:
        if name not in (*_OPENED_FIRST, *HIDDEN):
            _register(connection, lake, name)
    meanings = pa.table(
        {"label": pa.array(labels.keys(), pa.string()), "label_name": pa.array(labels.values(), pa.string())}
    )
    connection.register("raw_label_names", meanings)
    for area in ("base", "views"):
        for statement in statements.load(area):
            _define(connection, f"create view {statement.name} as\n{statement.sql}", area, statement.name)
    for statement in statements.load("macros"):
        _define(connection, statement.sql, "macros", statement.name)
    return connection


def run(
    connection: DuckDBPyConnection, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None
) -> DuckDBPyRelation:
    """Return the result of a user's SQL as a relation (`.pl()`, `.df()`, `.arrow()`, `.fetchall()`).

    Raises:
        SqlError: with DuckDB's message, and the relations there are if it names one that is not there.
    """
    try:
        with _interruptible():
            relation = connection.sql(sql, params=parameters)
    except duckdb.Error as error:
        known = f"\n\nRelations of a workspace: {', '.join(relation_names())}."
        raise SqlError(str(error).strip() + (known if isinstance(error, duckdb.CatalogException) else "")) from error
    if relation is None:
        return connection.sql("select 'done' as result")
    return relation


def fetch(relation: DuckDBPyRelation) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the columns and all rows of a relation. Times with a zone come as text.

    Raises:
        SqlError: if the query fails only when it runs.
    """
    try:
        columns = list(relation.columns)
        if any(str(kind) in _ZONED for kind in relation.types):
            # DuckDB makes them Python values through pytz, which is not among what this package installs.
            shown = [
                f"#{place}::varchar" if str(kind) in _ZONED else f"#{place}"
                for place, kind in enumerate(relation.types, start=1)
            ]
            relation = relation.project(", ".join(shown))
        with _interruptible():
            return columns, relation.fetchall()
    except duckdb.Error as error:
        raise SqlError(reason(error)) from error


def relation_names() -> list[str]:
    """Return the names of all relations that a workspace offers in SQL, sorted."""
    return sorted(statement.name for area in ("base", "views") for statement in statements.load(area))


def named(connection: DuckDBPyConnection, name: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
    """Return the whole result of a shipped query, a file in `sql/queries/`, with its parameters bound.

    Raises:
        StoreError: if a table is damaged.
    """
    try:
        with _interruptible():
            return connection.sql(statements.read("queries", name).sql, params=parameters).to_arrow_table()
    except duckdb.Error as error:
        raise StoreError(f"The tables of the workspace cannot be read ({name}): {reason(error)}") from error


def matching(connection: DuckDBPyConnection, condition: str, excluded: bool) -> list[str]:
    """Return the ids of synthetic records, excluded or not, for which a person's SQL condition holds, sorted.

    Raises:
        SqlError: if the condition is no SQL expression over the columns of `synthetic`.
    """
    choice = statements.read("queries", "synthetic_ids").sql
    try:
        with _interruptible():
            found = connection.sql(f"from ({choice}) where excluded = $excluded", params={"excluded": excluded})
            return sorted(row[0] for row in found.filter(condition).project("id").fetchall())
    except duckdb.Error as error:
        raise SqlError(
            f"{str(error).strip()}\n\nThe condition was: {condition}\nIt is what stands after 'where' over the "
            f"relation synthetic, such as: text like '%as an AI%'. Its columns: {', '.join(found_columns(connection))}."
        ) from error


def found_columns(connection: DuckDBPyConnection) -> list[str]:
    """Return the columns of the relation `synthetic`."""
    return connection.sql("from synthetic limit 0").columns


def published_state(path: Path) -> str | None:
    """Return the state that a published catalog was made of, or None if there is none that can be read."""
    if not path.is_file():
        return None
    try:
        with closing(duckdb.connect(str(path), read_only=True, config=_SETTINGS)) as connection:
            row = connection.execute("select state from catalog_state").fetchone()
    except duckdb.Error:
        return None  # A file that cannot be read, whatever the reason, is one to replace.
    return row[0] if row else None


def publish(lake: Lake, ledger: Ledger, labels: Mapping[str, str], path: Path, state: str) -> None:
    """Write all relations to a new DuckDB file and put it in the place of `path` in one step.

    `state` names what it is made of; `published_state` gives it back.

    Readers that have the old file open keep it; none ever sees half of the new one. The file is read-only.

    Raises:
        StoreError: if it cannot be written. The catalog that was there then stays as it was.
        KeyboardInterrupt: likewise.
    """
    temporary = path.with_name(path.name + _TEMPORARY_SUFFIX)
    try:
        _remove(temporary)
        with _interruptible(), closing(connect(lake, ledger, labels)) as connection:
            connection.execute(f"attach {_literal(temporary)} as published (storage_version 'v1.0.0')")
            for statement in statements.load("base"):
                connection.execute(f"create table published.{statement.name} as from {statement.name}")
            connection.execute("create table published.catalog_state as select $state as state", {"state": state})
            connection.execute("use published")  # From here on all names are those of the file.
            for statement in statements.load("views"):
                kind = "table" if statement.name in MATERIALISED else "view"
                connection.execute(f"create {kind} {statement.name} as\n{statement.sql}")
            for statement in statements.load("macros"):
                connection.execute(statement.sql)
            for area in ("base", "views"):
                for statement in statements.load(area):
                    kind = "table" if area == "base" or statement.name in MATERIALISED else "view"
                    connection.execute(f"comment on {kind} {statement.name} is {_literal(statement.about)}")
            for statement in statements.load("macros"):
                connection.execute(f"comment on macro table {statement.name} is {_literal(statement.about)}")
            connection.execute("use memory")
            connection.execute("detach published")
        temporary.chmod(0o444)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # DuckDB would replay the log that a dead writer left beside the old file into the new one.
        path.with_name(path.name + ".wal").unlink(missing_ok=True)
        os.replace(temporary, path)
    except (duckdb.Error, OSError) as error:
        raise StoreError(
            f"{path} could not be published: {reason(error)}. The one that was there is unchanged."
        ) from error
    finally:
        with suppress(OSError):  # What stands in the way was said above.
            _remove(temporary)


def read_file(path: Path, sql: str) -> pa.Table:
    """Return the result of a query over a user's DuckDB file, opened read-only.

    Raises:
        InputError: if the file is no DuckDB database, is locked, or the query fails.
    """
    try:
        with (
            _interruptible(),
            closing(duckdb.connect(str(path), read_only=True, config=_SETTINGS)) as connection,
        ):
            relation = connection.sql(sql)
            if relation is None:
                raise InputError(f"The query over {path} returns no rows: {sql!r}. Give a select.")
            return relation.to_arrow_table()
    except duckdb.Error as error:
        raise InputError(f"{path}: {str(error).strip()}\nThe query was: {sql}\nNothing was written.") from error


def _register(connection: DuckDBPyConnection, lake: Lake, name: str) -> None:
    blank = empty(name)
    if not lake.exists(name):
        connection.register(f"raw_{name}", blank)
        return
    dataset = lake.dataset(name)
    if set(blank.column_names) <= set(dataset.schema.names):
        connection.register(f"raw_{name}", dataset)
        return
    # A table of an earlier version of this package: the columns that it lacks are null.
    connection.register(f"old_{name}", dataset)
    connection.register(f"new_{name}", blank)
    connection.execute(f"create view raw_{name} as from old_{name} union all by name from new_{name}")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt for what DuckDB makes of one: Ctrl-C is no fault of the query."""
    try:
        yield
    except (duckdb.Error, RuntimeError) as error:
        said = str(error).partition("\nLINE ")[0]  # After that comes the query, which may hold any word.
        if said.startswith(("INTERRUPT", "Query interrupted")) or "KeyboardInterrupt" in said:
            raise KeyboardInterrupt from error
        raise


def _define(connection: DuckDBPyConnection, sql: str, area: str, name: str) -> None:
    try:
        connection.execute(sql)
    except duckdb.Error as error:
        raise StoreError(f"sql/{area}/{name}.sql cannot be defined: {error}") from error


def _literal(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".wal").unlink(missing_ok=True)
