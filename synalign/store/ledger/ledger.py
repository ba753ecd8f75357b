"""The ledger of language model calls: SQLite, so that a paid reply survives a killed process and a power cut.

One row for each request, named by the hash of all that decides its reply. A reply is durable (WAL, synchronous=FULL)
before it counts. When a run closes its rows are copied to the Lance table `calls`; `gc` trims them here after that.
Batches that a provider works on are kept here too, so that a later process finds them again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from synalign.errors import StoreError
from synalign.store.disk.disk_errors import advice
from synalign.store.lake.schemas import TABLES

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
_CREATE_RESERVATIONS = (
    "create table if not exists reservations (id integer primary key, call_id text not null, tokens real, usd real)"
)
_CREATE_BATCHES = (
    "create table if not exists batches (batch_id text, run_id text, model text, base_url text not null, "
    "input_file_id text, call_ids text not null, status text not null, submitted_at text not null, finished_at text, "
    "primary key (batch_id, base_url)) without rowid"  # no two servers agree on ids
)
_PUT = (
    f"insert into calls ({', '.join(_COLUMNS)}) values ({', '.join('?' * len(_COLUMNS))}) on conflict (call_id) do "
    f"update set {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS if name != 'call_id')} "
    f"where calls.status <> '{COMPLETE}'"
)


@dataclass(frozen=True)
class Batch:
    """Calls that a provider works on together, and may go on with for a day.

    `call_ids`: those whose outcome has not been read yet. `status`: the provider's last. `submitted_at`: UTC.
    `finished_at`: when all its outcomes had been read, else None.
    """

    batch_id: str
    run_id: str
    model: str
    base_url: str | None
    input_file_id: str | None
    call_ids: tuple[str, ...]
    status: str
    submitted_at: datetime
    finished_at: datetime | None = None


_BATCH_COLUMNS = ", ".join(field.name for field in fields(Batch))
_DROP_BATCH = "delete from batches where batch_id = ? and base_url = ?"


class Ledger:
    """The calls of a workspace. Opening makes no file; the first write does. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def put(self, *rows: Mapping[str, Any], settled: Sequence[int] = ()) -> None:
        """Write the outcomes of calls, all or none, durable on return. A complete reply is never replaced.

        `settled`: ids of reservations to delete in the same transaction.

        Raises:
            StoreError: if the file cannot be written (a full disk). The replies then do not count.
        """
        now = datetime.now(UTC).isoformat()
        values = [[now if name == "finished_at" else row.get(name) for name in _COLUMNS] for row in rows]
        try:
            with self._lock, self._open() as connection:
                connection.executemany(_PUT, values)
                connection.executemany("delete from reservations where id = ?", [(number,) for number in settled])
        except sqlite3.Error as error:
            raise StoreError(
                f"The ledger {self.path} cannot be written: {error}. {len(rows)} replies were not kept.{_cure(error)}"
            ) from error

    def require_writable(self) -> None:
        """Check that the file can be written, before any call is paid for whose reply could not be kept.

        Raises:
            StoreError: if it cannot.
        """
        try:
            with self._lock, self._open() as connection:
                connection.execute("insert into reservations (call_id) values ('')")
                connection.execute("delete from reservations where call_id = ''")
        except sqlite3.Error as error:
            why = f"The ledger {self.path} cannot be written: {error}. Nothing was asked.{_cure(error)}"
            raise StoreError(why) from error

    def reserve(self, call_id: str, tokens: float | None, usd: float | None) -> int:
        """Reserve the most that one request can cost, as `reserve_all` does; return the reservation's id."""
        return self.reserve_all([(call_id, tokens, usd)])[0]

    def reserve_all(self, most: Iterable[tuple[str, float | None, float | None]]) -> list[int]:
        """Reserve the most that each request can cost, (call_id, tokens, usd), before it is sent; return the ids of the
        reservations. All are written or none, durable on return.

        Raises:
            StoreError: if the file cannot be written.
        """
        numbers: list[int] = []
        try:
            with self._lock, self._open() as connection:
                for values in most:
                    done = connection.execute(
                        "insert into reservations (call_id, tokens, usd) values (?, ?, ?)", values
                    )
                    numbers.append(int(done.lastrowid or 0))
        except sqlite3.Error as error:
            raise StoreError(f"The ledger {self.path} cannot be written: {error}.{_cure(error)}") from error
        return numbers

    def reserved(self) -> list[tuple[int, str, float | None, float | None]]:
        """Return (id, call_id, tokens, usd) of open reservations: of requests whose process was killed or whose reply
        never came, and which may have been billed."""
        found = self._read("select id, call_id, tokens, usd from reservations order by id", [], "reservations")
        return [(row[0], row[1], row[2], row[3]) for row in found]

    def put_batch(self, batch: Batch, instead_of: str | None = None, settled: Sequence[int] = ()) -> None:
        """Write a batch, replacing the one with the same base_url and id and the one with the id `instead_of`, and
        delete the `settled` reservations; in one transaction, durable on return.

        Raises:
            StoreError: if the file cannot be written.
        """
        row = {**vars(batch), "base_url": batch.base_url or "", "call_ids": json.dumps(batch.call_ids)}
        values = tuple(value.isoformat() if isinstance(value, datetime) else value for value in row.values())
        statement = f"insert or replace into batches ({_BATCH_COLUMNS}) values ({', '.join('?' * len(values))})"
        self._change_batches([(statement, [values]), (_DROP_BATCH, [(instead_of, row["base_url"])])], settled)

    def drop_batch(self, batch: Batch, settled: Sequence[int] = ()) -> None:
        """Delete a batch and the `settled` reservations; in one transaction, durable on return.

        Raises:
            StoreError: if the file cannot be written.
        """
        self._change_batches([(_DROP_BATCH, [(batch.batch_id, batch.base_url or "")])], settled)

    def _change_batches(self, changes: Sequence[tuple[str, Sequence[tuple[Any, ...]]]], settled: Sequence[int]) -> None:
        try:
            with self._lock, self._open() as connection:
                for statement, values in changes:
                    connection.executemany(statement, values)
                connection.executemany("delete from reservations where id = ?", [(number,) for number in settled])
        except sqlite3.Error as error:
            raise StoreError(f"The ledger {self.path} cannot be written: {error}.{_cure(error)}") from error

    def batches(self) -> list[Batch]:
        """Return all batches, finished ones included, the oldest first.

        Raises:
            StoreError: if the file is there and cannot be read.
        """
        found = self._read(f"select {_BATCH_COLUMNS} from batches order by submitted_at, batch_id", [], "batches")
        return [
            Batch(
                *(batch_id, run_id, model, base_url or None, input_file_id, tuple(json.loads(call_ids)), status),
                submitted_at=datetime.fromisoformat(submitted),
                finished_at=None if finished is None else datetime.fromisoformat(finished),
            )
            for batch_id, run_id, model, base_url, input_file_id, call_ids, status, submitted, finished in found
        ]

    def rows(self, call_ids: Iterable[str] | None = None) -> pa.Table:
        """Return the calls with the given ids, or all, with the columns of the table `calls`, ordered by call_id.

        Raises:
            StoreError: if the file is there and cannot be read.
        """
        if call_ids is None:
            return self._select("", [])
        return self._select("where call_id in (select value from json_each(?))", [json.dumps(list(call_ids))])

    def rows_except(self, call_ids: Iterable[str]) -> pa.Table:
        """Return all calls but those with these ids, as `rows` does."""
        return self._select("where call_id not in (select value from json_each(?))", [json.dumps(list(call_ids))])

    def state(self) -> list[Any]:
        """Return a value that changes with each call written or deleted: their number and the last `finished_at`."""
        found = self._read("select count(*), max(finished_at) from calls", [])
        return list(found[0]) if found else [0, None]

    def _select(self, choice: str, names: list[str]) -> pa.Table:
        there = {row[1] for row in self._read("pragma table_info(calls)", [])}  # an earlier version made fewer
        columns = ", ".join(name if name in there else f"null as {name}" for name in _COLUMNS)
        found = self._read(f"select {columns} from calls {choice} order by call_id", names)
        rows = [dict(zip(_COLUMNS, row, strict=True)) for row in found]
        for row in rows:
            row["finished_at"] = datetime.fromisoformat(row["finished_at"])
        return pa.Table.from_pylist(rows, schema=TABLES["calls"].schema)

    def _read(self, statement: str, values: Sequence[str], table: str = "calls") -> list[tuple[Any, ...]]:
        """Return the rows of a query; none if there is no ledger or no such table yet. Needs no write permission."""
        if not self.path.exists():
            return []
        with self._lock:
            try:
                if self._connection is not None:
                    return _fetch(self._connection, statement, values, table)
                return self._read_only(statement, values, table)
            except sqlite3.Error as error:
                raise StoreError(f"The ledger {self.path} cannot be read: {error}.{_cure(error)}") from error

    def _read_only(self, statement: str, values: Sequence[str], table: str) -> list[tuple[Any, ...]]:
        # A read-only connection leaves SQLite's -wal and -shm files behind on close, so it is the fallback.
        address = self.path.resolve().as_uri()
        modes = ("mode=rw",) if os.access(self.path.parent, os.W_OK) else ("mode=ro", "mode=ro&immutable=1")
        for mode in modes:
            try:
                with closing(sqlite3.connect(f"{address}?{mode}", uri=True, timeout=30)) as connection:
                    return _fetch(connection, statement, values, table)
            except sqlite3.OperationalError:
                # Without write permission the -shm file cannot be made; then no writer is active either.
                if mode == modes[-1]:
                    raise
        return []

    def trim(self, call_ids: Sequence[str]) -> int:
        """Delete calls that are stored elsewhere, shrink the file, and return how many were deleted.

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

    def erase(self, call_ids: Sequence[str], held: Sequence[tuple[str, float | None, float | None]]) -> None:
        """Delete calls, also from batches, and overwrite their bytes in the file (secure_delete).

        held: what they did cost goes on to count as reservations, (a name, tokens, usd), each written once. What was
        reserved for the calls themselves goes on to count, too, under no call's name.

        Raises:
            StoreError: if the file cannot be written, or another process has it open. To do it again is harmless.
        """
        if not (self.path.exists() or held):
            return
        listed = json.dumps(list(call_ids))
        within = "in (select value from json_each(?))"
        with self._lock:
            try:
                connection = self._open()
                connection.execute("pragma secure_delete = on")
                with connection:
                    connection.execute(f"delete from calls where call_id {within}", [listed])
                    connection.execute(f"update reservations set call_id = '' where call_id {within}", [listed])
                    connection.executemany(
                        "insert into reservations (call_id, tokens, usd) select ?1, ?2, ?3 where not exists (select 1 "
                        "from reservations where call_id = ?1)",
                        held,
                    )
                    gone = set(call_ids)
                    rows = connection.execute("select batch_id, base_url, call_ids from batches").fetchall()
                    for batch_id, base_url, names in rows:
                        kept = [name for name in json.loads(names) if name not in gone]
                        if len(kept) < len(json.loads(names)):
                            connection.execute(
                                "update batches set call_ids = ? where batch_id = ? and base_url = ?",
                                [json.dumps(kept), batch_id, base_url],
                            )
                connection.execute("vacuum")
                busy = connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0]
            except sqlite3.Error as error:
                raise StoreError(f"The ledger {self.path} cannot be written: {error}.{_cure(error)}") from error
        if busy:
            raise StoreError(f"Another process has the ledger {self.path} open. Close it, and do this again.")

    def everything(self) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
        """Yield the name and all rows of each table of the file.

        Raises:
            StoreError: if the file is there and cannot be read.
        """
        for (name,) in self._read("select name from sqlite_master where type = 'table'", [], "calls"):
            yield name, self._read(f'select * from "{name}"', [], name)

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

    def add_columns(self, columns: Mapping[str, str]) -> None:
        """Add columns, {name: SQLite type}, that the table of calls lacks; null in existing rows.

        Raises:
            StoreError: if the file is there and cannot be written.
        """
        if not self.path.exists():
            return
        try:
            with self._lock, self._open() as connection:
                there = {row[1] for row in connection.execute("pragma table_info(calls)")}
                for name, kind in columns.items():
                    if name not in there:
                        connection.execute(f"alter table calls add column {name} {kind}")
        except sqlite3.Error as error:
            raise StoreError(f"The ledger {self.path} cannot be written: {error}.{_cure(error)}") from error

    def problems(self) -> list[str]:
        """Return what SQLite's integrity check reports, and columns that are missing; nothing if there is no file yet.

        Raises:
            StoreError: if the file cannot be read at all.
        """
        found = [row[0] for row in self._read("pragma integrity_check", [])]
        there = {row[1] for row in self._read("pragma table_info(calls)", [])}
        lacking = [name for name in _COLUMNS if there and name not in there]
        return [line for line in found if line != "ok"] + [f"its calls have no column {name}" for name in lacking]

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
            connection.execute(_CREATE_RESERVATIONS)
            connection.execute(_CREATE_BATCHES)
            self._connection = connection
        return self._connection


def _cure(error: sqlite3.Error) -> str:
    """Return what the user can do: about a full disk, or a file that is damaged or no database, which SQLite reports
    without a class of its own."""
    if type(error) is not sqlite3.DatabaseError:
        return advice(error)
    return " Move the file away: replies in the table `calls` stay, those not yet folded into it are asked again."


def _fetch(connection: sqlite3.Connection, statement: str, values: Sequence[str], table: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query of one table; none if the file lacks it (after a kill, or an earlier version)."""
    made = connection.execute("select 1 from sqlite_master where name = ?", (table,)).fetchone()
    return connection.execute(statement, values).fetchall() if made else []
