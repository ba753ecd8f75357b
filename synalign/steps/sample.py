"""sample: synthetic records drawn by weight, through the same SQL that an analyst uses."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import TYPE_CHECKING, Any

import polars as pl

from synalign.errors import NotReadyError, UsageError
from synalign.store import query

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def sample(connection: DuckDBPyConnection, n: int, seed: int, distinct: bool) -> pl.DataFrame:
    """Return n draws by weight as records with a column `copies`, ordered by id.

    Raises:
        UsageError: if n is no integer, below 1, or too large for distinct records.
        NotReadyError: if there are no weights.
        StoreError: if a table is damaged.
    """
    try:
        n = index(n)
    except TypeError as error:
        raise UsageError(f"The number of draws must be an integer, not {n!r}.") from error
    if n < 1:
        raise UsageError(f"The number of draws must be at least 1, not {n}.")
    records, heaviest = _frame(connection, "heaviest").row(0)
    if not records:
        raise NotReadyError("There are no weights to draw by. Run ws.align() ('synalign align DIR') first.")
    if distinct and n * heaviest > 1:
        raise UsageError(
            f"With {n} draws the heaviest record (weight {heaviest:.3g}) is drawn more than once. For distinct records "
            f"draw at most {int(1 / heaviest)}, or leave distinct out."
        )
    return _frame(connection, "drawn", {"n": n, "seed": seed, "only_distinct": distinct})


def repeat(frame: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each copy."""
    rows = frame.with_row_index("_row").select(pl.col("_row").repeat_by("copies").explode())["_row"]
    return frame[rows].drop("copies")


def weighted(connection: DuckDBPyConnection) -> pl.DataFrame:
    """Return all weighted synthetic records, ordered by id.

    Raises:
        NotReadyError: if there are none.
    """
    frame = _frame(connection, "weighted")
    if not frame.height:
        raise NotReadyError("There are no weighted records to export. Run ws.align() ('synalign align DIR') first.")
    return frame


def facts(connection: DuckDBPyConnection) -> dict[str, Any]:
    """Return what a dataset card says of the current alignment, by column name."""
    rows = _frame(connection, "facts").to_dicts()
    return rows[0] if rows else {}


def _frame(connection: DuckDBPyConnection, name: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
    frame = pl.from_arrow(query.named(connection, name, parameters))
    assert isinstance(frame, pl.DataFrame)
    return frame
