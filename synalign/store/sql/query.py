"""SQL over a workspace, live: each relation is a view over an Arrow scan of Lance, which pushes filters and projections
down. `catalog` publishes the same relations as a file, `attachments` puts a user's own tables beside them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from synalign.errors import InputError, SqlError, StoreError, UsageError, without_passwords
from synalign.store.lake.journal import Moment
from synalign.store.lake.lake import Lake, reason
from synalign.store.lake.schemas import HIDDEN, TABLES, empty
from synalign.store.ledger.ledger import Ledger
from synalign.store.sql import statements
from synalign.store.sql.statements import DETAIL, MAIN

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

SETTINGS = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
_ZONED = ("TIMESTAMP WITH TIME ZONE", "TIME WITH TIME ZONE")
#: Kinds of statements that change no table and no file, by DuckDB's names. MULTI is a pivot.
_READING = ("SELECT", "EXPLAIN", "MULTI", "PRAGMA", "CALL", "SET", "VARIABLE_SET")
#: The formats that a result is written in, by the file's ending, as `copy` takes them.
_FORMATS = {".parquet": "format parquet", ".csv": "format csv, header", ".jsonl": "format json"}
_NESTED = ("list", "struct", "map", "array", "union")
_EXPLAIN = re.compile(r"^\s*explain\s+(analyze\s+|\([^)]*\)\s*)?", re.IGNORECASE)
#: What may ask for relations that it does not name.
_ANY = re.compile(
    r"\b(show|describe|pragma|call|query|query_table|\w*_schema|(duckdb|pg|sqlite)_\w+)\b|(^|[(;])\s*desc\b"
)
_SHOW_TABLES = re.compile(r"\s*show\s+tables\s*;?\s*", re.IGNORECASE)
#: Tables that are read once for each connection: they have few rows, and most relations join them, some several times.
HELD = ("runs",)
#: What a run that finishes meanwhile writes last is opened first: a run that is seen has all its rows.
_OPENED_FIRST = ("runs", "activations")


def connect(
    lake: Lake,
    ledger: Ledger,
    labels: Mapping[str, str],
    moment: Moment | None = None,
    wanted: Collection[str] | None = None,
) -> DuckDBPyConnection:
    """Return an in-memory DuckDB connection with all relations over the newest state of the tables, or as they were at
    a moment: runs that finished later, what they wrote, and later calls are not seen. `wanted` limits the relations to
    those of the names in it, and what they are made of: two thirds of the time go into the definitions. The schema
    `detail` is on the search path: `clusters` is found as `detail.clusters` is.

    Raises:
        StoreError: if a table cannot be opened.
    """
    chosen = [(area, statement) for area in statements.AREAS for statement in statements.load(area)]
    if wanted is not None:
        reached = _reached(wanted, {statement.name: statement.needs for _, statement in chosen})
        chosen = [(area, statement) for area, statement in chosen if statement.name in reached]
        wanted = {*wanted, *_words(" ".join(statement.sql for _, statement in chosen))}
    connection = sources(lake, ledger, labels, moment, wanted)
    connection.execute(f"create schema {DETAIL}")
    connection.execute(f"set search_path = '{MAIN},{DETAIL}'")
    for area, statement in chosen:
        sql = statement.sql if area == "macros" else f"create view {statement.place} as\n{statement.sql}"
        _define(connection, sql, area, statement.name)
    return connection


def sources(
    lake: Lake,
    ledger: Ledger,
    labels: Mapping[str, str],
    moment: Moment | None = None,
    wanted: Collection[str] | None = None,
) -> DuckDBPyConnection:
    """Return an in-memory DuckDB connection with what the relations are made of, and none of them: the tables, the
    ledger, the meanings of labels and the rows of `help`, each as a temporary view `raw_<name>`; of names in `wanted`
    only, if that is given."""
    connection = duckdb.connect(config=SETTINGS)
    for name in _OPENED_FIRST:
        if wanted is None or f"raw_{name}" in wanted:
            _register(connection, lake, name, None if moment is None else f"sequence <= {moment.sequence}")
    by_then = "true" if moment is None else f"finished_at <= timestamp {literal(moment.at.isoformat(sep=' '))}"
    if wanted is None or "raw_ledger" in wanted:
        # The ledger is read before `calls` is opened: what gc moves there meanwhile is in one of the two, or in both.
        connection.register(
            "raw_all_ledger", ledger.rows_except(lake.read("calls", ["call_id"])["call_id"].to_pylist())
        )
        connection.execute(f"create temp view raw_ledger as from raw_all_ledger where {by_then}")
    for name in TABLES:
        if name not in (*_OPENED_FIRST, *HIDDEN) and (wanted is None or f"raw_{name}" in wanted):
            _register(connection, lake, name, None if moment is None or name != "calls" else by_then)
    meanings = pa.table(
        {"label": pa.array(labels.keys(), pa.string()), "label_name": pa.array(labels.values(), pa.string())}
    )
    connection.register("raw_label_names", meanings)
    if wanted is None or "raw_help" in wanted:
        connection.register("raw_help", pa.Table.from_pylist(statements.help_rows()))
    return connection


def _words(sql: str) -> set[str]:
    return set(re.findall(r"\w+", sql.lower()))


def _reached(wanted: Collection[str], needs: Mapping[str, Collection[str]]) -> set[str]:
    """Return those relations and macros of the names wanted, and what they are made of, directly or through others."""
    found: set[str] = set()
    waiting = [name for name in needs if name in wanted]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs[name]
    return found


def ask(
    connected: Callable[[Collection[str] | None], DuckDBPyConnection],
    sql: str,
    parameters: Sequence[Any] | Mapping[str, Any] | None,
) -> DuckDBPyRelation:
    """Return the result of a user's SQL as `run` does, over a connection with the relations that it names.

    `connected` makes a connection with the relations of the names that it is given, or with all.

    Raises:
        SqlError: as `run`. What is not known there is looked for among all relations, which the message then lists.
    """
    if _SHOW_TABLES.fullmatch(sql):
        # On the search path are the schema detail and the temporary views, too.
        return run(connected(None), f"show tables from memory.{MAIN}", None)
    if not _ANY.search(sql.lower()):
        try:
            return run(connected(_words(sql)), sql, parameters)
        except SqlError as error:
            if not isinstance(error.__cause__, (duckdb.CatalogException, duckdb.BinderException)):
                raise
    return run(connected(None), sql, parameters)


def run(
    connection: DuckDBPyConnection, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None
) -> DuckDBPyRelation:
    """Return the result of a user's SQL as a relation (`.pl()`, `.df()`, `.arrow()`, `.fetchall()`).

    Raises:
        SqlError: with DuckDB's message, and the relations there are if it names one that is not there; or if the SQL
            would change something. Nothing is done then.
    """
    try:
        with interruptible():
            _require_reading(connection, sql)
            relation = connection.sql(sql, params=parameters)
    except duckdb.Error as error:
        known = f"\n\nRelations of a workspace: {', '.join(relation_names())}."
        known = known if isinstance(error, duckdb.CatalogException) else ""
        raise SqlError(without_passwords(str(error).strip()) + known) from _harmless(error)
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
        with interruptible():
            return columns, relation.fetchall()
    except duckdb.Error as error:
        raise SqlError(without_passwords(reason(error))) from _harmless(error)


def save(relation: DuckDBPyRelation, path: Path) -> Path:
    """Write the rows of a relation to a .parquet, .csv or .jsonl file, as they are computed, and return its path.

    They are written to a temporary name and put in place whole.

    Raises:
        UsageError: for an ending that is not known, a folder that does not exist, or lists and structs in CSV.
        InputError: if the disk refuses.
        SqlError: if the query fails only when it runs.
    """
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise UsageError(f"{path}: files that end in {path.suffix!r} are not written; known are {', '.join(_FORMATS)}.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} to write to. Make it first.")
    nested = [
        name for name, kind in zip(relation.columns, relation.types, strict=True) if str(kind.id).lower() in _NESTED
    ]
    if nested and path.suffix.lower() == ".csv":
        raise UsageError(f"CSV has no lists or structs, which {', '.join(nested)} hold. Write .parquet or .jsonl.")
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.touch()  # Where the disk refuses, that is said before the query runs.
        with interruptible():
            relation.query("saved_result", f"copy (from saved_result) to {literal(temporary)} ({form})")
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} could not be written: {error}.") from error
    except duckdb.Error as error:
        raise SqlError(f"{path} was not written: {without_passwords(reason(error))}") from _harmless(error)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _harmless(error: Exception) -> Exception | None:
    """Return an error to be shown as a cause, or None for one that holds a password."""
    return error if without_passwords(str(error)) == str(error) else None


def relation_names() -> list[str]:
    """Return the names of all relations that a workspace offers in SQL, sorted."""
    return sorted(statement.name for area in ("base", "views") for statement in statements.load(area))


def named(connection: DuckDBPyConnection, name: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
    """Return the whole result of a shipped query, a file in `sql/queries/`, with its parameters bound.

    Raises:
        StoreError: if a table is damaged.
    """
    try:
        with interruptible():
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
        with interruptible():
            found = connection.sql(f"from ({choice}) where excluded = $excluded", params={"excluded": excluded})
            return sorted(row[0] for row in found.filter(condition).project("id").fetchall())
    except duckdb.Error as error:
        raise SqlError(
            f"{str(error).strip()}\n\nThe condition was: {condition}\nIt is what stands after 'where' over the "
            f"relation synthetic, such as: text like '%as an AI%'. Its columns: {', '.join(found_columns(connection))}."
        ) from error


def matching_real(connection: DuckDBPyConnection, condition: str) -> list[str]:
    """Return the ids of real records for which a person's SQL condition holds, sorted.

    Raises:
        SqlError: if the condition is no SQL expression over the columns of `real`.
    """
    real = connection.sql(f"from {MAIN}.real")
    try:
        with interruptible():
            return sorted(row[0] for row in real.filter(condition).project("id").fetchall())
    except duckdb.Error as error:
        raise SqlError(
            f"{str(error).strip()}\n\nThe condition was: {condition}\nIt is what stands after 'where' over the "
            f"relation real, such as: customer = 'c-17'. Its columns: {', '.join(real.columns)}."
        ) from error


def found_columns(connection: DuckDBPyConnection) -> list[str]:
    """Return the columns of the relation `synthetic`."""
    return connection.sql(f"from {MAIN}.synthetic limit 0").columns


def read_file(path: Path, sql: str) -> pa.Table:
    """Return the result of a query over a user's DuckDB file, opened read-only.

    Raises:
        InputError: if the file is no DuckDB database, is locked, or the query fails; or for a column of a type that
            Arrow does not carry as it is.
    """
    try:
        with (
            interruptible(),
            closing(duckdb.connect(str(path), read_only=True, config=SETTINGS)) as connection,
        ):
            relation = connection.sql(sql)
            if relation is None:
                raise InputError(f"The query over {path} returns no rows: {sql!r}. Give a select.")
            _require_faithful(relation, path)
            return relation.to_arrow_table()
    except duckdb.Error as error:
        raise InputError(f"{path}: {str(error).strip()}\nThe query was: {sql}\nNothing was written.") from error


def _require_faithful(relation: DuckDBPyRelation, path: Path) -> None:
    """Raise InputError for columns that Arrow would change without a word: bits become bytes, a zone is lost."""
    for name, kind in zip(relation.columns, relation.types, strict=True):
        if re.search(r"\bBIT\b|TIME WITH TIME ZONE", str(kind)):
            raise InputError(
                f"The column {name!r} of the query over {path} holds {kind}, which cannot be taken as it is. Cast it "
                f"to text: {name}::varchar. Nothing was written."
            )


def _require_reading(connection: DuckDBPyConnection, sql: str) -> None:
    """Raise SqlError for SQL that would change something, of which nothing would stay."""
    for statement in connection.extract_statements(sql):
        kind, text = statement.type.name, statement.query.strip()
        if text and kind not in _READING:  # what DuckDB makes of a pivot by itself has no text
            raise SqlError(
                f"{kind.replace('_', ' ')} is not run here: SQL over a workspace reads, and changes nothing. The "
                f"statement was: {text}\n\nIn Python ws.connect() gives a DuckDB connection of your own, with all "
                "relations in it, for tables, attached files and 'copy ... to'. On the command line --attach joins a "
                "database, and --out writes a result to a file."
            )
        if kind == "EXPLAIN":
            _require_reading(connection, _EXPLAIN.sub("", text, count=1))


def _register(connection: DuckDBPyConnection, lake: Lake, name: str, where: str | None) -> None:
    """Make the relation `raw_<name>`, of the rows of a table that match a condition, if there is one.

    Raises:
        StoreError: if the table cannot be opened, or is one of those that are held and cannot be read.
    """
    blank = empty(name)
    if name in HELD:
        dataset = lake.read(name)
    else:
        dataset = lake.dataset(name) if lake.exists(name) else blank
    lacking = set(blank.column_names) - set(dataset.schema.names)
    if not lacking and where is None:
        connection.register(f"raw_{name}", dataset)
        return
    connection.register(f"raw_all_{name}", dataset)
    source = f"from raw_all_{name} where {where or 'true'}"
    if lacking:  # A table of an earlier version of this package: the columns that it lacks are null.
        connection.register(f"raw_blank_{name}", blank)
        source = f"from ({source}) union all by name from raw_blank_{name}"
    connection.execute(f"create temp view raw_{name} as {source}")


@contextmanager
def interruptible() -> Iterator[None]:
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


def literal(value: object) -> str:
    """Return a SQL string literal."""
    return "'" + str(value).replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Return a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
