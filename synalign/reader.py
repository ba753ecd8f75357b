"""What is asked of a workspace in SQL, of its newest state or of an earlier one: queries, samples, exports."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synalign.errors import SynAlignError

if TYPE_CHECKING:
    import polars as pl
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from synalign.store.lake.journal import Moment
    from synalign.store.sql.attachments import Attachments


class Reader:
    """Questions that a DuckDB connection over the relations of a workspace answers. Asking changes nothing."""

    def _relations(self, wanted: Collection[str] | None = None) -> DuckDBPyConnection:
        """Return a DuckDB connection with the relations of these names in it, or all, and nothing else."""
        raise NotImplementedError

    def _attached(self) -> Attachments:
        """Return what was attached."""
        raise NotImplementedError

    def connect(self) -> DuckDBPyConnection:
        """Return a DuckDB connection of your own with all relations in it, and what was attached: make tables, join.

        Raises:
            AttachmentError: if what was attached cannot be read any more.
        """
        return self._connected(None)

    def _connected(self, wanted: Collection[str] | None) -> DuckDBPyConnection:
        connection = self._relations(wanted)
        try:
            self._attached().put_into(connection)
        except SynAlignError:
            connection.close()
            raise
        return connection

    def sql(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> DuckDBPyRelation:
        """Run SQL over all tables and views and what was attached, and return a DuckDB relation (`.pl()`, `.df()`,
        `.arrow()`, `.fetchall()`). It goes on from the relations that the query names; for others beside it, use
        `connect`.

        Raises:
            SqlError: with DuckDB's message and the relations there are; or if the SQL would change something.
            AttachmentError: if what was attached cannot be read any more.
        """
        from synalign.store.sql import query as surface

        return surface.ask(self._connected, query, parameters)

    def fetch(self, relation: DuckDBPyRelation) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the columns and rows of a relation that `sql` gave.

        Raises:
            SqlError: if the query fails only now, when it runs.
        """
        from synalign.store.sql import query as surface

        return surface.fetch(relation)

    def save(self, relation: DuckDBPyRelation, path: str | os.PathLike[str]) -> Path:
        """Write the rows of a relation that `sql` gave to a .parquet, .csv or .jsonl file, whole or not at all.

        Raises:
            UsageError: for an ending that is not known, a folder that does not exist, or lists and structs in CSV.
            InputError: if the disk refuses.
            SqlError: if the query fails only now, when it runs.
        """
        from synalign.store.sql import query as surface

        return surface.save(relation, Path(path))

    def sample(self, n: int, *, seed: int = 0, distinct: bool = False) -> pl.DataFrame:
        """Draw n synthetic records by weight, each as often as its column `copies` says.

        The same seed gives the same sample. `distinct` refuses an n for which a record could be drawn twice.

        Raises:
            UsageError: if n is below 1, or too large for distinct records.
            NotReadyError: if there are no weights.
        """
        from synalign.steps.corpus.sample import sample

        with closing(self._relations(["sample_synthetic"])) as connection:
            return sample(connection, n, seed, distinct)

    def sample_training_mix(self, n: int, *, synthetic_share: float = 0.5, seed: int = 0) -> pl.DataFrame:
        """Draw n records to train on, each as often as its column `copies` says: real ones by their multiplicity, and a
        share of synthetic ones by their weight, each label as often as it should be, to within one draw.

        Raises:
            UsageError: if n is below 1, or the share is not from 0 to 1.
            NotReadyError: if there is nothing to draw from.
        """
        from synalign.steps.corpus.sample import sample_mix

        with closing(self._relations(["sample_training_mix"])) as connection:
            return sample_mix(connection, n, synthetic_share, seed)

    def runs(self, step: str | None = None) -> pl.DataFrame:
        """Return the finished runs in order, of one step or of all. See `synalign.steps.lifecycle.history.run_list`."""
        from synalign.steps.lifecycle.history import run_list

        with closing(self._relations()) as connection:
            return run_list(connection, step)

    def explain(self, record_id: str, *, origin: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """Return where a record comes from and what became of it: demonstrations, cluster, variance, attributes,
        prompt, reply, checks, weights in every set. See `synalign.steps.lifecycle.explain`.

        Raises:
            UsageError: if there is no such record, or several that begin so.
        """
        from synalign.steps.lifecycle.explain import explain

        with closing(self._relations()) as connection:
            return explain(connection, record_id, origin)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        n: int | None = None,
        seed: int = 0,
        columns: Sequence[str] | None = None,
        partition_by: str | Sequence[str] | None = None,
    ) -> Path:
        """Write synthetic records to a .parquet, .csv or .jsonl file, and a dataset card beside it.

        Without n: all records with their weights. With n: n draws by weight, one row for each.

        Args:
            path: of the file; of a folder with `partition_by`.
            n: draws.
            seed: of the draws.
            columns: those to write, in that order; all by default. `["id", "weight"]` writes the weights alone.
            partition_by: a column, or several: the folder then holds one Parquet file for each value, in subfolders
                named `label=refund`. A folder that this wrote before is replaced.

        Raises:
            UsageError: for an ending or a column that is not known, or a folder that holds other things.
            InputError: if a value cannot be written so, or the disk refuses. What was there then stays.
            NotReadyError: if there are no weights.
        """
        from synalign.steps.corpus import export, partition
        from synalign.steps.corpus.sample import facts, repeat, sample, weighted

        with closing(self._relations()) as connection:
            frame = weighted(connection) if n is None else repeat(sample(connection, n, seed, False))
            known = facts(connection) | ({} if n is None else {"drawn": n, "seed": seed})
        if partition_by is None:
            return export.write(frame, Path(path), known, columns)[0]
        keys = [partition_by] if isinstance(partition_by, str) else list(partition_by)
        return partition.write(frame, Path(path), known, keys, columns)[0]


class Snapshot(Reader):
    """A workspace as it was at an earlier moment: what `Workspace.at` gives. It stays as it is while others write."""

    def __init__(self, workspace: Any, moment: Moment) -> None:
        self._workspace = workspace
        self.moment = moment

    def __repr__(self) -> str:
        """The workspace and the moment."""
        return f"<{self._workspace!r} at run {self.moment.sequence}, {self.moment.at:%Y-%m-%d %H:%M:%S} UTC>"

    def _relations(self, wanted: Collection[str] | None = None) -> DuckDBPyConnection:
        connection: DuckDBPyConnection = self._workspace._connect(self.moment, wanted)
        return connection

    def _attached(self) -> Attachments:
        attached: Attachments = self._workspace._attached()
        return attached
