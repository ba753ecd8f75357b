"""sample: synthetic records drawn by weight, alone or among real ones, through the same SQL that an analyst uses."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from operator import index
from typing import TYPE_CHECKING, Any

import polars as pl

from synalign.errors import NotReadyError, UsageError
from synalign.store.sql import query

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def sample(connection: DuckDBPyConnection, n: int, seed: int, distinct: bool) -> pl.DataFrame:
    """Return n draws by weight as records with a column `copies`, ordered by id.

    Raises:
        UsageError: if n is no integer, below 1, or too large for distinct records.
        NotReadyError: if there are no weights.
        StoreError: if a table is damaged.
    """
    n = _checked_draws(n)
    if not _frame(connection, "weighted_records").item():
        raise NotReadyError("There are no weights to draw by. Run ws.align() ('synalign align DIR') first.")
    heaviest = _frame(connection, "heaviest").item() if distinct else 0.0
    if n * heaviest > 1:
        raise UsageError(
            f"With {n} draws the heaviest record (weight {heaviest:.3g}) is drawn more than once. For distinct records "
            f"draw at most {int(1 / heaviest)}, or leave distinct out."
        )
    return _frame(connection, "drawn", {"n": n, "seed": seed, "only_distinct": distinct})


def sample_mix(connection: DuckDBPyConnection, n: int, synthetic_share: float, seed: int) -> pl.DataFrame:
    """Return n draws from real training records, by multiplicity, and synthetic ones, by weight, as rows of
    `training_mix` with a column `copies`, ordered by origin and id.

    Raises:
        UsageError: if n is no integer or below 1, or the share is no number from 0 to 1.
        NotReadyError: if the share asks for a side that has no records.
        StoreError: if a table is damaged.
    """
    n = _checked_draws(n)
    if isinstance(synthetic_share, bool) or not isinstance(synthetic_share, Real) or not 0 <= synthetic_share <= 1:
        raise UsageError(f"The synthetic share must be a number from 0 to 1, not {synthetic_share!r}.")
    real, synthetic = _frame(connection, "sides").row(0)
    if synthetic_share > 0 and not synthetic:
        raise NotReadyError(
            "There are no weights to draw synthetic records by. Run ws.align() ('synalign align DIR') first, or ask "
            "for a synthetic share of 0."
        )
    if synthetic_share < 1 and not real:
        raise NotReadyError(
            "There are no real training records. Ingest some with ws.ingest(...) ('synalign ingest'), or ask for a "
            "synthetic share of 1."
        )
    return _frame(connection, "drawn_mix", {"n": n, "synthetic_share": float(synthetic_share), "seed": seed})


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


def _checked_draws(n: int) -> int:
    try:
        n = index(n)
    except TypeError as error:
        raise UsageError(f"The number of draws must be an integer, not {n!r}.") from error
    if n < 1:
        raise UsageError(f"The number of draws must be at least 1, not {n}.")
    return n


def _frame(connection: DuckDBPyConnection, name: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
    return pl.DataFrame(query.named(connection, name, parameters))
