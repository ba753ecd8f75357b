"""The published catalog: the relations of a workspace as one DuckDB file, for everyone who has no SynAlign.

Base relations and what is queried most are plain tables in it, since a view that joins took 27 times a table's time.
A view that joins nothing, such as training_mix, takes no longer than a table, and no room. What people ask is in the
schema `main`, the rest in the schema `detail`; each file of `sql/` says which. Views and macros name both parts, and
DuckDB finds the tables of a view in the file of the view. Those of a macro it looks up where the macro is called, so
each takes the name of the attached catalog as an argument (duckdb 1.5.5 and 2.0.0).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from synalign.errors import StoreError
from synalign.store.disk.disk_errors import advice
from synalign.store.lake.lake import Lake, reason
from synalign.store.ledger.ledger import Ledger
from synalign.store.sql import statements
from synalign.store.sql.query import SETTINGS, interruptible, literal, quoted, sources
from synalign.store.sql.statements import DETAIL, MAIN, MATERIALISED

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: One row, which names what the catalog was made of.
_STATE = f"{DETAIL}.catalog_state"
_TEMPORARY_SUFFIX = ".publishing"


def published_state(path: Path) -> str | None:
    """Return the state that a published catalog was made of, or None if there is none that can be read."""
    if not path.is_file():
        return None
    try:
        with closing(duckdb.connect(str(path), read_only=True, config=SETTINGS)) as connection:
            row = connection.execute(f"select state from {_STATE}").fetchone()
    except duckdb.Error:
        return None  # A file that cannot be read, whatever the reason, is one to replace.
    return row[0] if row else None


def everything(path: Path) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield the name of each table of a published catalog with its rows, some at a time.

    Raises:
        StoreError: if it cannot be read.
    """
    try:
        with closing(duckdb.connect(str(path), read_only=True, config=SETTINGS)) as connection:
            for place, name in tables(connection).items():
                for batch in connection.sql(f"from {place}").to_arrow_reader(65536):
                    yield name, batch
    except duckdb.Error as error:
        raise StoreError(f"{path} cannot be read: {reason(error)}.") from error


def tables(connection: DuckDBPyConnection) -> dict[str, str]:
    """Return the tables of an open catalog by how SQL reads them, {"main"."real": real}, of any schema version."""
    found = connection.sql("select schema_name, table_name from duckdb_tables() order by all").fetchall()
    return {f"{quoted(schema)}.{quoted(name)}": name for schema, name in found}


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
        with interruptible(), closing(sources(lake, ledger, labels)) as connection:
            connection.execute(f"attach {literal(temporary)} as published (storage_version 'v1.0.0')")
            connection.execute("begin transaction")  # One for all: of each statement by itself, the disk is waited for.
            connection.execute(f"create schema published.{DETAIL}")
            # Each is made of those before it as they stand in the file, and nothing is computed twice.
            connection.execute(f"set search_path = 'published.{MAIN},published.{DETAIL}'")
            for statement in statements.load("base"):
                connection.execute(f"create table {statement.place} as\n{statement.sql}")
            connection.execute(f"create table {_STATE} as select $state as state", {"state": state})
            for statement in statements.load("views"):
                kind = "table" if statement.name in MATERIALISED else "view"
                connection.execute(f"create {kind} {statement.place} as\n{statement.sql}")
            for statement in statements.load("macros"):
                connection.execute(statement.sql)
            for comment in _comments():
                connection.execute(comment)
            connection.execute("commit")
            connection.execute("use memory")
            connection.execute("detach published")
        temporary.chmod(0o444)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # DuckDB would replay the log that a dead writer left beside the old file into the new one.
        path.with_name(path.name + ".wal").unlink(missing_ok=True)
        os.replace(temporary, path)
    except (duckdb.Error, OSError) as error:
        said = " ".join(reason(error).split()).rstrip(".")
        raise StoreError(
            f"{path} could not be published: {said}. The one that was there is unchanged, and so are the tables."
            f"{advice(error)}"
        ) from error
    finally:
        with suppress(OSError):  # What stands in the way was said above.
            _remove(temporary)


def _comments() -> Iterator[str]:
    """Yield the SQL that says in the catalog what each relation, column and macro is for."""
    for area in statements.RELATIONS:
        for statement in statements.load(area):
            kind = "table" if area == "base" or statement.name in MATERIALISED else "view"
            yield f"comment on {kind} {statement.place} is {literal(statement.about)}"
            for column, meaning in statements.meanings(statement).items():
                yield f'comment on column {statement.place}."{column}" is {literal(meaning)}'
    for statement in statements.load("macros"):
        kind = "macro" if statement.is_scalar else "macro table"
        yield f"comment on {kind} {statement.place} is {literal(statement.about)}"


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".wal").unlink(missing_ok=True)
