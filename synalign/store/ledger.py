"""The ledger of language model calls: SQLite, so that a paid reply survives a killed process and a power cut.

One row for each request, named by the hash of all that decides its reply. A reply is durable (WAL, synchronous=FULL)
before it counts. When a run closes its rows are copied to the Lance table `calls`; `gc` trims them here after that.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from synalign.errors import StoreError
from synalign.store.schemas import TABLES

COMPLETE, FAILED, REFUSED = "complete", "failed", "refused"

_COLUMNS = [field.name for field in TABLES["calls"].schema]
_INTEGERS = {field.name for field in TABLES["calls"].schema if pa.types.is_integer(field.type)}
_REALS = {field.name for field in TABLES["calls"].schema if pa.types.is_floating(field.type)}


def _kind(column: str) -> str:
    return "integer" if column in _INTEGERS else "real" if column in _REALS else "text"


_CREATE = (
    "create table if not exists calls ("
    + ", ".join(f"{name} {_kind(name)}{' primary key' if name == 'call_id' else ''}" for name in _COLUMNS)
    + ") without rowid"
)


class Ledger:
    """The calls of a workspace. Opening makes no file; the first write does. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def put(self, row: Mapping[str, Any]) -> None:
        """Write the outcome of one call, durable on return. A complete reply is never replaced by another outcome.

        Raises:
            StoreError: if the file cannot be written (a full disk). The reply then does not count.
        """
        values = {**row, "finished_at": datetime.now(UTC).isoformat()}
        names = ", ".join(_COLUMNS)
        marks = ", ".join(f":{name}" for name in _COLUMNS)
        changes = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "call_id")
        statement = (
            f"insert into calls ({names}) values ({marks}) on conflict (call_id) do update set {changes} "
            f"where calls.status <> '{COMPLETE}'"
        )
        with self._lock:
            try:
                with self._open() as connection:
                    connection.execute(statement, {name: values.get(name) for name in _COLUMNS})
            except sqlite3.Error as error:
                raise StoreError(
                    f"The ledger {self.path} cannot be written: {error}. The reply was not kept.{_cure(error)}"
                ) from error

    def rows(self, call_ids: Iterable[str] | None = None) -> pa.Table:
        """Return the calls of the given names, or all, in the layout of the table `calls`, ordered by name.

        Raises:
            StoreError: if the file is there and cannot be read.
        """
        if call_ids is None:
            return self._select("", [])
        return self._select("where call_id in (select value from json_each(?))", [json.dumps(list(call_ids))])

    def rows_but(self, call_ids: Iterable[str]) -> pa.Table:
        """Return the calls of other names than these, as `rows` does."""
        return self._select("where call_id not in (select value from json_each(?))", [json.dumps(list(call_ids))])

    def state(self) -> list[Any]:
        """Return a value that changes whenever a call is written or forgotten: their number, and the last time."""
        found = self._read("select count(*), max(finished_at) from calls", [])
        return list(found[0]) if found else [0, None]

    def _select(self, choice: str, names: list[str]) -> pa.Table:
        found = self._read(f"select {', '.join(_COLUMNS)} from calls {choice} order by call_id", names)
        rows = [dict(zip(_COLUMNS, row, strict=True)) for row in found]
        for row in rows:
            row["finished_at"] = datetime.fromisoformat(row["finished_at"])
        return pa.Table.from_pylist(rows, schema=TABLES["calls"].schema)

    def _read(self, statement: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return the rows of a query; none if there is no ledger yet. A reader needs no right to write."""
        if not self.path.exists():
            return []
        with self._lock:
            try:
                if self._connection is not None:
                    return _fetch(self._connection, statement, values)
                return self._read_only(statement, values)
            except sqlite3.Error as error:
                raise StoreError(f"The ledger {self.path} cannot be read: {error}.{_cure(error)}") from error

    def _read_only(self, statement: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        # Opened for reading alone, SQLite leaves its log and index behind when it closes: only where it must be.
        address = self.path.resolve().as_uri()
        modes = ("mode=rw",) if os.access(self.path.parent, os.W_OK) else ("mode=ro", "mode=ro&immutable=1")
        for mode in modes:
            try:
                with closing(sqlite3.connect(f"{address}?{mode}", uri=True, timeout=30)) as connection:
                    return _fetch(connection, statement, values)
            except sqlite3.OperationalError:
                # Without a right to write there is no index of the log to be made, and no writer who needs one.
                if mode == modes[-1]:
                    raise
        return []

    def forget(self, call_ids: Sequence[str]) -> int:
        """Drop calls that are safe elsewhere, give the space back, and return how many there were.

        Raises:
            StoreError: if the file cannot be written. The calls may be gone from it then, or not.
        """
        if not self.path.exists():
            return 0
        with self._lock:
            try:
                connection = self._open()
                with connection:
                    before = connection.total_changes
                    connection.executemany("delete from calls where call_id = ?", [(call_id,) for call_id in call_ids])
                    dropped = connection.total_changes - before
                connection.execute("vacuum")
            except sqlite3.Error as error:
                raise StoreError(f"The ledger {self.path} cannot be trimmed: {error}.{_cure(error)}") from error
        return dropped

    def fail(self, call_ids: Iterable[str], error: str) -> None:
        """Mark calls as failed, so that they are asked again. Replies are kept; `error` is put where none was.

        Raises:
            StoreError: if the file cannot be written. The calls are as they were then.
        """
        statement = (
            f"update calls set status = '{FAILED}', error = coalesce(error, ?), finished_at = ? "
            "where call_id in (select value from json_each(?))"
        )
        values = [error, datetime.now(UTC).isoformat(), json.dumps(list(call_ids))]
        with self._lock:
            try:
                with self._open() as connection:
                    connection.execute(statement, values)
            except sqlite3.Error as cause:
                raise StoreError(f"The ledger {self.path} cannot be written: {cause}.") from cause

    def close(self) -> None:
        """Close the file. The ledger can be used again: the next call opens it."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=30, check_same_thread=False)
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")
            connection.execute(_CREATE)
            self._connection = connection
        return self._connection


def _cure(error: sqlite3.Error) -> str:
    """Say what to do about a file that is no database or a damaged one, the two that have no class of their own."""
    if type(error) is not sqlite3.DatabaseError:
        return ""
    return " Move the file away: replies in the table `calls` stay, those not yet folded into it are asked again."


def _fetch(connection: sqlite3.Connection, statement: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the rows of a query; none from a file whose making was killed before its table."""
    made = connection.execute("select 1 from sqlite_master where name = 'calls'").fetchone()
    return connection.execute(statement, values).fetchall() if made else []
