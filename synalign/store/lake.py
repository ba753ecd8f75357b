"""The store of record: Lance tables in a LanceDB database. The only module that imports lancedb or lance.

Writes are whole commits, insert-only by key, so that doing one again adds nothing. Nothing here knows what a row means.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from synalign.errors import StoreError
from synalign.store.schemas import TABLES, TableSpec, empty

if TYPE_CHECKING:
    from lance import LanceDataset
    from lancedb.table import Table

#: Files newer than this format abort older Lance readers.
DATA_STORAGE_VERSION = "2.1"


#: Table versions that are younger are kept by `compact`, since a reader may have them open.
KEEP_VERSIONS = timedelta(minutes=10)


def quote(value: str) -> str:
    """Return a SQL string literal for a Lance filter."""
    return "'" + value.replace("'", "''") + "'"


def is_in(column: str, values: Iterable[str], *, negate: bool = False) -> str:
    """Return the filter `column [not] in (values)`, which is valid for no values too."""
    listed = ", ".join(quote(value) for value in values)
    if not listed:
        return "true" if negate else "false"
    return f"{column} {'not in' if negate else 'in'} ({listed})"


class Lake:
    """The Lance tables below one folder. The folder is made by the first write, not by opening."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _db(self) -> Any:
        import lancedb

        self.path.mkdir(parents=True, exist_ok=True)
        return lancedb.connect(self.path, read_consistency_interval=timedelta(0))

    def exists(self, name: str) -> bool:
        """Return whether the table `name` was ever written: a folder without a manifest is a creation that was killed."""
        return any((self.path / f"{name}.lance" / "_versions").glob("*.manifest"))

    def names(self) -> list[str]:
        """Return the names of the tables that exist, sorted."""
        found = (path.name.removesuffix(".lance") for path in self.path.glob("*.lance"))
        return sorted(name for name in found if self.exists(name))

    def insert(self, name: str, rows: pa.Table, spec: TableSpec | None = None) -> int:
        """Add the rows whose key is not there yet, in one commit, and return how many were new.

        Raises:
            StoreError: if `rows` lacks a column or holds one that cannot be cast. Then nothing is written.
        """
        spec = spec or TABLES[name]
        table = self._open_or_create(name, spec)
        schema = table.schema
        missing = [field.name for field in spec.schema if field.name not in rows.column_names]
        if missing:
            raise StoreError(f"Rows for table {name!r} lack the columns {missing}. Nothing was written.")
        for field in schema:
            if field.name not in rows.column_names:
                rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
        try:
            rows = rows.select(schema.names).cast(schema)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
            raise StoreError(
                f"Rows for table {name!r} do not fit its columns: {error}. Nothing was written."
            ) from error
        if not rows.num_rows:
            return 0
        result = table.merge_insert(list(spec.key)).when_not_matched_insert_all().execute(rows)
        return int(result.num_inserted_rows)

    def delete(self, name: str, where: str) -> int:
        """Delete the rows that match the filter; no commit is made when there are none. Return how many there were."""
        if not self.exists(name):
            return 0
        doomed = int(self.dataset(name).count_rows(filter=where))
        if doomed:
            self._open(name).delete(where)
        return doomed

    def add_columns(self, name: str, fields: Sequence[pa.Field]) -> None:
        """Add columns that are null in all rows there are."""
        spec = TABLES[name]
        table = self._open_or_create(name, spec)
        new = [field for field in fields if field.name not in table.schema.names]
        if new:
            table.add_columns(pa.schema(new))

    def read(self, name: str, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """Return the rows that match a filter; a table that was never written has none."""
        if not self.exists(name):
            blank = empty(name)
            return blank.select(list(columns)) if columns else blank
        return self.dataset(name).to_table(columns=list(columns) if columns else None, filter=where)

    def dataset(self, name: str) -> LanceDataset:
        """Return the newest version of a table as a Lance dataset, which DuckDB scans in place."""
        import lance

        path = self.path / f"{name}.lance"
        try:
            return lance.dataset(str(path))
        except (ValueError, OSError) as error:
            raise StoreError(f"The table {name!r} at {path} cannot be opened: {error}.") from error

    def schema(self, name: str) -> pa.Schema:
        """Return the columns of a table as they are now, the user's own included."""
        return self.dataset(name).schema if self.exists(name) else TABLES[name].schema

    def version(self, name: str) -> int:
        """Return the Lance version of a table, 0 if it was never written. Recorded with runs, never hashed."""
        return int(self.dataset(name).version) if self.exists(name) else 0

    def nearest(self, name: str, vector: Any, count: int, where: str, columns: Sequence[str]) -> pa.Table:
        """Return the `count` rows nearest by cosine distance to `vector` among those that match, nearest first."""
        query = self._open(name).search(vector, vector_column_name="vector").distance_type("cosine")
        return query.where(where, prefilter=True).limit(count).select([*columns, "_distance"]).to_arrow()

    def compact(self, name: str) -> int:
        """Merge small files, drop old versions and files no version names; return the bytes given back.

        Only safe while no other process writes: files of a writer under way look like orphans.
        """
        dataset = self.dataset(name)
        dataset.optimize.compact_files()
        stats = dataset.cleanup_old_versions(older_than=KEEP_VERSIONS, delete_unverified=True)
        return int(stats.bytes_removed)

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
