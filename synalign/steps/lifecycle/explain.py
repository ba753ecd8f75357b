"""explain: the whole provenance of one record, through the same SQL that an analyst uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synalign.errors import UsageError
from synalign.store.lake.schemas import ORIGINS
from synalign.store.sql import query

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: What is told, in this order, each by a query `explain_<part>` in sql/queries/.
PARTS = (
    "record", "weights", "verdicts", "checks", "attributes", "selections", "demonstrations", "neighbours", "written",
    "call",
)  # fmt: skip
_SHOWN = 5


def explain(connection: DuckDBPyConnection, record_id: str, origin: str | None) -> dict[str, list[dict[str, Any]]]:
    """Return {part: rows} of one record, each row a dict; a part of which nothing is known has no rows.

    `record_id` may be the beginning of an id, if no other begins so.

    Raises:
        UsageError: if there is no such record, or several, or the origin is no side.
        StoreError: if a table is damaged.
    """
    if origin is not None and origin not in ORIGINS:
        raise UsageError(f"origin must be {' or '.join(ORIGINS)}, not {origin!r}.")
    side, name = _find_record(connection, record_id, origin)
    given = {"id": name, "origin": side}
    return {part: query.named(connection, f"explain_{part}", given).to_pylist() for part in PARTS}


def _find_record(connection: DuckDBPyConnection, record_id: str, origin: str | None) -> tuple[str, str]:
    rows = query.named(connection, "record_ids", {"id": record_id}).to_pylist() if record_id else []
    found = [(row["origin"], row["id"]) for row in rows if origin in (None, row["origin"])]
    found = [item for item in found if item[1] == record_id] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"There is no {origin or 'real or synthetic'} record {record_id!r}. Ids stand in the relations real and "
            "synthetic; 'synalign search DIR TEXT' finds records by what they say."
        )
    if len({name for _, name in found}) == 1:
        raise UsageError(f"The id {record_id!r} is a real and a synthetic record: give origin='real' or 'synthetic'.")
    listed = ", ".join(name for _, name in found[:_SHOWN])
    raise UsageError(f"{record_id!r} begins the ids of several records ({listed}, ...). Give more of one.")
