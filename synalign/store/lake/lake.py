"""The store of record: Lance tables in a LanceDB database. The only module that imports lancedb or lance.

Writes are whole commits, insert-only by key, so that doing one again adds nothing. Nothing here knows what a row means.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from synalign.errors import StoreError
from synalign.store.disk.disk_errors import advice
from synalign.store.lake.fitting import fitted, plain
from synalign.store.lake.schemas import TABLES, TableSpec

if TYPE_CHECKING:
    import polars as pl
    from lance import LanceDataset
    from lancedb.table import Table

#: Files newer than this format abort older Lance readers.
DATA_STORAGE_VERSION = "2.1"

#: Table versions that are younger are kept by `compact`, since a reader may have them open.
KEEP_VERSIONS = timedelta(minutes=10)

#: Tables of no more fragments are left as they are by `compact`: rewriting costs more than it gives.
FEW_FRAGMENTS = 8

#: The names of a table's manifests, and which file one of them is.
_State = tuple[frozenset[str], int, int]
#: Folders of a table whose files are named by a version of it, or by none.
_NAMED_BY_VERSIONS = ("data/", "_deletions/", "_indices/", "_transactions/")
#: Rows that are searched together: what is looked for is set up anew for each such block.
_TOGETHER = 32_768
#: How Lance names files that it is about to put in place. Of killed processes its own clean-up leaves them behind.
_STAGED = re.compile(r".+#\d+|\.tmp\w+")

#: Where in its own source Lance met an error, which says nothing to a user.
_SOURCE = re.compile(r",?\s*/\S*\.rs:\d+(:\d+)?")


def quote(value: str) -> str:
    """Return a SQL string literal for a Lance filter."""
    return "'" + value.replace("'", "''") + "'"


def is_in(column: str, values: Iterable[str], *, negate: bool = False) -> str:
    """Return the filter `column [not] in (values)`, which is valid for no values too."""
    listed = ", ".join(quote(value) for value in values)
    if not listed:
        return "true" if negate else "false"
    return f"{column} {'not in' if negate else 'in'} ({listed})"


def reason(error: BaseException) -> str:
    """Return what a foreign error says, without paths of the library's own source."""
    return _SOURCE.sub("", str(error)).strip()


class Lake:
    """The Lance tables below one folder. The folder is made by the first write, not by opening."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: dict[tuple[str, tuple[str, ...]], tuple[_State | None, list[dict[str, Any]]]] = {}

    @cached_property
    def _db(self) -> Any:
        import lancedb

        self.path.mkdir(parents=True, exist_ok=True)
        return lancedb.connect(self.path, read_consistency_interval=timedelta(0))

    def exists(self, name: str) -> bool:
        """Return whether the table was ever written: a folder without a manifest is a creation that was killed."""
        return any((self.path / f"{name}.lance" / "_versions").glob("*.manifest"))

    def names(self) -> list[str]:
        """Return the names of the tables that exist, sorted."""
        found = (path.name.removesuffix(".lance") for path in self.path.glob("*.lance"))
        return sorted(name for name in found if self.exists(name))

    def insert(self, name: str, rows: pa.Table, spec: TableSpec | None = None) -> int:
        """Add the rows whose key is not there yet, in one commit, and return how many were new.

        Raises:
            StoreError: if `rows` lacks a column, has one that the table has not, holds one that cannot be cast, or has
                a key twice; or if the table cannot be written. Then nothing is written.
        """
        spec = spec or _spec_of(name)
        rows = fitted(name, rows, self.schema(name, spec), spec)
        with mapped(name, "written"):
            table = self._open_or_create(name, spec)
            if not rows.num_rows:
                return 0
            result = table.merge_insert(list(spec.key)).when_not_matched_insert_all().execute(rows)
        return int(result.num_inserted_rows)

    def insert_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add rows given as dicts, as `insert` does; a column that a row lacks is null there, and a key that names no
        column of the schema is left out."""
        return self.insert(name, pa.Table.from_pylist(list(rows), schema=_spec_of(name).schema))

    def delete(self, name: str, where: str) -> int:
        """Delete the rows that match the filter; no commit is made when there are none. Return how many there were."""
        if not self.exists(name):
            return 0
        with mapped(name, "read"):
            doomed = int(self.dataset(name).count_rows(filter=where))
        if doomed:
            with mapped(name, "written"):
                self._open(name).delete(where)
        return doomed

    def add_columns(self, name: str, fields: Sequence[pa.Field]) -> None:
        """Add columns that are null in all rows there are.

        Raises:
            StoreError: if one differs from a column that is there by upper and lower case only, which SQL could not
                tell apart. Then nothing is written.
        """
        spec = _spec_of(name)
        there = self.schema(name)
        new = [field.with_type(plain(field.type)) for field in fields if field.name not in there.names]
        folded = {column.lower(): column for column in there.names}
        for field in new:
            if field.name.lower() in folded:
                raise StoreError(
                    f"The column {field.name!r} differs from {folded[field.name.lower()]!r} of table {name!r} by upper "
                    "and lower case only, which SQL does not tell apart. Rename it. Nothing was written."
                )
        with mapped(name, "written"):
            table = self._open_or_create(name, spec)
            if new:
                table.add_columns(pa.schema(new))

    def read(self, name: str, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """Return the rows that match a filter; a table that was never written has none.

        Raises:
            StoreError: if the table is damaged, or there is no table of that name.
        """
        if not self.exists(name):
            blank = _spec_of(name).schema.empty_table()
            return blank.select(list(columns)) if columns else blank
        with mapped(name, "read"):
            dataset = self.dataset(name)
            there = dataset.schema.names
            wanted = list(columns) if columns else None
            found = dataset.to_table(columns=wanted and [item for item in wanted if item in there], filter=where)
        known = {field.name: field.type for field in TABLES[name].schema} if name in TABLES else {}
        lacking = [item for item in wanted or known if item not in there and item in known]
        for item in lacking:  # columns that an earlier version of this package did not write
            found = found.append_column(item, pa.nulls(found.num_rows, known[item]))
        return found.select(wanted) if wanted else found

    def frame(self, name: str, columns: Sequence[str] | None = None, where: str | None = None) -> pl.DataFrame:
        """Return the rows that match a filter as a polars frame, as `read` returns them."""
        import polars as pl

        return pl.DataFrame(self.read(name, columns, where))

    def rows(self, name: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Return some columns of all rows of a small table, which callers leave as they are. They are read again only
        if the table was written since, by this process or another: a scan takes longer than most questions to it.

        Raises:
            StoreError: if the table is damaged, or there is no table of that name.
        """
        key = name, tuple(columns)
        state = self._state(name)  # Before the rows are read: those of a later state are only read once more.
        kept = self._kept.get(key)
        if state is None or kept is None or kept[0] != state:
            kept = self._kept[key] = state, self.read(name, columns).to_pylist()
        return kept[1]

    def _state(self, name: str) -> _State | None:
        """Return what differs between any two states of a table, None if nothing does: each commit adds a manifest of a
        new name, and where a table was made anew the manifests are other files."""
        try:
            with os.scandir(self.path / f"{name}.lance" / "_versions") as entries:
                manifests = {entry.name: entry for entry in entries if entry.name.endswith(".manifest")}
            one = manifests[min(manifests)].stat() if manifests else None
        except FileNotFoundError:  # never written, or cleaned up meanwhile
            return None
        return one and (frozenset(manifests), one.st_ino, one.st_mtime_ns)

    def batches(self, name: str, columns: Sequence[str], where: str | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows that match a filter, some at a time, for tables that are too large to be held twice.

        Raises:
            StoreError: if there is no such table, or it is damaged.
        """
        with mapped(name, "read"):
            yield from self.dataset(name).to_batches(columns=list(columns), filter=where)

    def scan(self, name: str) -> Iterator[pa.RecordBatch]:
        """Yield all rows of a table with every column decoded and checked, so that damage anywhere in it is found.

        Raises:
            StoreError: if there is no such table, or it is damaged.
        """
        with mapped(name, "read"):
            for batch in self.dataset(name).to_batches():
                batch.validate(full=True)
                yield batch

    def orphans(self, name: str) -> list[str]:
        """Return the files of a table that no version of it names, as paths in its folder.

        Raises:
            StoreError: if a version of it is damaged.
        """
        dataset = self.dataset(name)
        with mapped(name, "listed"):
            there = dataset.all_files().read_all()["path"].to_pylist()
            named = set(dataset.tracked_files().read_all()["path"].to_pylist())
        # Beside what versions name: a hint at the newest version, and the names that Lance itself gives to versions.
        found = {path for path in there if path not in named and path.startswith(_NAMED_BY_VERSIONS)}
        root = self.path / f"{name}.lance"
        return sorted(found | {path.relative_to(root).as_posix() for path in self._staged(name)})

    def _staged(self, name: str) -> list[Path]:
        return [path for path in (self.path / f"{name}.lance").rglob("*") if _STAGED.fullmatch(path.name)]

    def _drop_staged(self, name: str) -> None:
        for path in self._staged(name):
            path.unlink()

    def dataset(self, name: str) -> LanceDataset:
        """Return the newest version of a table as a Lance dataset, which DuckDB scans in place."""
        import lance

        path = self.path / f"{name}.lance"
        with mapped(f"{name} at {path}", "opened"):
            return lance.dataset(str(path))

    def schema(self, name: str, spec: TableSpec | None = None) -> pa.Schema:
        """Return the columns of a table as they are now, the user's own included."""
        return self.dataset(name).schema if self.exists(name) else (spec or _spec_of(name)).schema

    def version(self, name: str) -> int:
        """Return the Lance version of a table, 0 if it was never written. Recorded with runs, never hashed."""
        return int(self.dataset(name).version) if self.exists(name) else 0

    def nearest(self, name: str, vector: Any, count: int, where: str, columns: Sequence[str]) -> pa.Table:
        """Return the `count` rows nearest by cosine distance to `vector` among those that match, nearest first."""
        with mapped(name, "searched"):
            query = self._open(name).search(vector, vector_column_name="vector").distance_type("cosine")
            return query.where(where, prefilter=True).limit(count).select([*columns, "_distance"]).to_arrow()

    def compact(self, name: str) -> None:
        """Merge the files of a table of many, drop its old versions and the files that no version names.

        Versions younger than `KEEP_VERSIONS` stay with their files: merging takes space until a later call.
        Only safe while no other process writes: files of a writer under way look like orphans.
        """
        dataset = self.dataset(name)
        with mapped(name, "compacted"):
            if len(dataset.get_fragments()) > FEW_FRAGMENTS:
                dataset.optimize.compact_files()
            dataset.cleanup_old_versions(older_than=KEEP_VERSIONS, delete_unverified=True)
            self._drop_staged(name)

    def count(self, name: str, where: str) -> int:
        """Return how many rows match the filter.

        Raises:
            StoreError: if the table is damaged.
        """
        if not self.exists(name):
            return 0
        with mapped(name, "read"):
            return int(self.dataset(name).count_rows(filter=where))

    def expunge(self, name: str) -> None:
        """Write a table anew where rows were deleted, and drop all that is not its newest version: old versions,
        Lance's own tags and branches of it, indices, files that no version names.

        What stood in a row that was deleted is then in none of its files. Readers that have an older version open lose
        it. Only safe while no other process writes.

        Raises:
            StoreError: if it cannot be done. The rows there are stay as they are then.
        """
        with mapped(name, "cleaned"):
            dataset = self.dataset(name)
            for tag in dataset.tags.list():
                dataset.tags.delete(tag)
            for branch in dataset.branches.list():
                dataset.branches.delete(branch)
            for index in dataset.describe_indices():
                dataset.drop_index(index.name)
            dataset.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
            dataset = self.dataset(name)
            # One more version of the same rows: the newest names the change that made it, a delete with its condition.
            dataset.restore()
            dataset.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
            self._drop_staged(name)

    def everything(self, name: str) -> Iterator[pa.RecordBatch]:
        """Yield all rows of all versions of a table that there are, some at a time.

        Raises:
            StoreError: if it is damaged.
        """
        import lance

        with mapped(name, "read"):
            for version in self.dataset(name).versions():
                yield from lance.dataset(str(self.path / f"{name}.lance"), version=version["version"]).to_batches(
                    batch_size=_TOGETHER
                )

    def hidden(self, name: str) -> list[Path]:
        """Return the files of a table that may hold rows that reading it does not show: those of deleted rows, and
        those that no version names.

        Raises:
            StoreError: if it is damaged.
        """
        import lance

        root = self.path / f"{name}.lance"
        named: set[str] = set()
        found: list[Path] = []
        with mapped(name, "read"):
            for version in self.dataset(name).versions():
                for fragment in lance.dataset(str(root), version=version["version"]).get_fragments():
                    named |= {file.path for file in fragment.data_files()}
                    if fragment.deletion_file() is not None:
                        found.append(root / fragment.deletion_file())
        data = root / "data"
        return found + [path for path in data.rglob("*") if path.is_file() and path.name not in named]

    def drop(self, name: str) -> None:
        """Remove a whole table."""
        self._db.drop_table(name)

    def _open(self, name: str) -> Table:
        return self._db.open_table(name)

    def _open_or_create(self, name: str, spec: TableSpec) -> Table:
        if self.exists(name):
            return self._open(name)
        options = {"new_table_data_storage_version": DATA_STORAGE_VERSION}
        return self._db.create_table(name, schema=spec.schema, exist_ok=True, storage_options=options)


def _spec_of(name: str) -> TableSpec:
    if name not in TABLES:
        raise StoreError(f"There is no table {name!r}. There are: {', '.join(TABLES)}.")
    return TABLES[name]


@contextmanager
def mapped(name: str, done: str) -> Iterator[None]:
    """Raise what Lance and LanceDB raise as StoreError. They have no error root of their own."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"The table {name!r} cannot be {done}: {reason(error).rstrip('.')}.{advice(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Lance's Rust, over a damaged file; it is no Exception
            raise
        raise StoreError(f"The table {name!r} cannot be {done}: {reason(error)}") from error
