"""What is asked of a workspace in SQL, of its newest state or of an earlier one: queries, samples, exports."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from synalign.store.journal import Moment


class Reader:
    """Questions that a DuckDB connection over the relations of a workspace answers. Asking changes nothing."""

    def connect(self) -> DuckDBPyConnection:
        """Return a DuckDB connection of your own with all relations in it: attach files, make tables, join."""
        return self._connected(None)

    def _connected(self, wanted: Collection[str] | None) -> DuckDBPyConnection:
        """Return a connection with the relations of these names, or with all."""
        raise NotImplementedError

    def sql(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> DuckDBPyRelation:
        """Run SQL over all tables and views, and return a DuckDB relation (`.pl()`, `.df()`, `.arrow()`,
        `.fetchall()`). The relation goes on from those that the query names; for others beside it, use `connect`.

        Raises:
            SqlError: with DuckDB's message and the relations there are; or if the SQL would change something.
        """
        from synalign.store import query as surface

        return surface.ask(self._connected, query, parameters)

    def fetch(self, relation: DuckDBPyRelation) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the columns and rows of a relation that `sql` gave.

        Raises:
            SqlError: if the query fails only now, when it runs.
        """
        from synalign.store import query as surface

        return surface.fetch(relation)

    def sample(self, n: int, *, seed: int = 0, distinct: bool = False) -> pl.DataFrame:
        """Draw n synthetic records by weight, each as often as its column `copies` says.

        The same seed gives the same sample. `distinct` refuses an n for which a record could be drawn twice.

        Raises:
            UsageError: if n is below 1, or too large for distinct records.
            NotReadyError: if there are no weights.
        """
        from synalign.steps.sample import sample

        with closing(self.connect()) as connection:
            return sample(connection, n, seed, distinct)

    def sample_training_mix(self, n: int, *, synthetic_share: float = 0.5, seed: int = 0) -> pl.DataFrame:
        """Draw n records to train on, each as often as its column `copies` says: real ones by their multiplicity, and a
        share of synthetic ones by their weight, each label as often as it should be, to within one draw.

        Raises:
            UsageError: if n is below 1, or the share is not from 0 to 1.
            NotReadyError: if there is nothing to draw from.
        """
        from synalign.steps.sample import sample_mix

        with closing(self.connect()) as connection:
            return sample_mix(connection, n, synthetic_share, seed)

    def runs(self, step: str | None = None) -> pl.DataFrame:
        """Return the finished runs in order, of one step or of all. See `synalign.steps.history.run_list`."""
        from synalign.steps.history import run_list

        with closing(self.connect()) as connection:
            return run_list(connection, step)

    def explain(self, record_id: str, *, origin: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """Return where a record comes from and what became of it: demonstrations, cluster, variance, attributes,
        prompt, reply, checks, weights in every set. See `synalign.steps.explain`.

        Raises:
            UsageError: if there is no such record, or several that begin so.
        """
        from synalign.steps.explain import explain

        with closing(self.connect()) as connection:
            return explain(connection, record_id, origin)

    def export(self, path: str | os.PathLike[str], *, n: int | None = None, seed: int = 0) -> Path:
        """Write synthetic records to a .parquet, .csv or .jsonl file, and a dataset card beside it.

        Without n: all records with their weights. With n: n draws by weight, one row for each.

        Raises:
            UsageError: for an ending that is not known.
            NotReadyError: if there are no weights.
        """
        from synalign.steps.export import write
        from synalign.steps.sample import facts, repeat, sample, weighted

        with closing(self.connect()) as connection:
            frame = weighted(connection) if n is None else repeat(sample(connection, n, seed, False))
            known = facts(connection) | ({} if n is None else {"drawn": n, "seed": seed})
        return write(frame, Path(path), known)[0]


class Snapshot(Reader):
    """A workspace as it was at an earlier moment: what `Workspace.at` gives. It stays as it is while others write."""

    def __init__(self, workspace: Any, moment: Moment) -> None:
        self._workspace = workspace
        self.moment = moment

    def __repr__(self) -> str:
        """The workspace and the moment."""
        return f"<{self._workspace!r} at run {self.moment.sequence}, {self.moment.at:%Y-%m-%d %H:%M:%S} UTC>"

    def _connected(self, wanted: Collection[str] | None) -> DuckDBPyConnection:
        connection: DuckDBPyConnection = self._workspace._connect(self.moment, wanted)
        return connection
