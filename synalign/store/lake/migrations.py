"""What brings a workspace of an earlier schema up to date: numbered, and only ever added to.

A migration has the number of the schema that it leads to. It is done by the first writer, under the workspace's lock,
and noted in `format.json` after it; one that was killed is done again, so each leaves alone what is done already.
Layouts stand here as they were then: `schemas.TABLES` goes on changing, and a migration must not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from synalign.store.lake import format
from synalign.store.lake.format import Format
from synalign.store.lake.lake import Lake
from synalign.store.ledger.ledger import Ledger
from synalign.version import __version__


@dataclass(frozen=True)
class Migration:
    """One step between two schemas. `needs`: the first version of this package that reads what it leads to."""

    number: int
    name: str
    needs: str
    apply: Callable[[Lake, Ledger], None]


_S, _I, _F, _B = pa.string(), pa.int64(), pa.float64(), pa.bool_()

#: table -> columns that schema 2 added to tables of schema 1.
_ADDED_BY_2: dict[str, dict[str, pa.DataType]] = {
    "synthetic": {"written_from": _S},
    "calls": {"subject": _S, "seed": _I, "repairs": _S, "batch_id": _S},
}
#: The same for tables of before schema 1, which tables of schema 1 may still be where nothing was written since.
_ADDED_BY_1: dict[str, dict[str, pa.DataType]] = {
    "clusters": {"label": _S, "purity": _F, "silhouette": _F},
    "selections": {
        "unit": _S, "record_id": _S, "mass": _F, "gap": _F, "length_scale_from": _S, "length_scales": pa.list_(_F),
        "shown_by": _S, "uninformative": _B, "seconds": _F,
    },
    "alignments": {
        "bandwidths": pa.list_(_F), "quality": _B, "label_shares": _S, "scored_from": _S, "drift": _F,
        "log_normaliser": _F,
    },
    "metrics": {"weights_run_id": _S, "weight_set": _S, "split": _S, "p_value": _F},
}  # fmt: skip


def _what_was_asked(lake: Lake, ledger: Ledger) -> None:
    """Schema 2: calls say what they were about, synthetic records what they were written from. The tables of attribute
    values, annotations, checks and redactions are made when something is written to them."""
    for table, columns in (_ADDED_BY_1 | _ADDED_BY_2).items():
        if lake.exists(table):
            lake.add_columns(table, [pa.field(name, kind) for name, kind in columns.items()])
    ledger.add_columns({"subject": "text", "seed": "integer", "repairs": "text", "batch_id": "text"})


def _states_by_name(_lake: Lake, _ledger: Ledger) -> None:
    """Schema 3: tags, forgotten records and neighbours have tables, which are made when something is written to them.
    No row changes; the number keeps out versions that would not know what was forgotten or tagged."""


def _relations_in_two_schemas(_lake: Lake, _ledger: Ledger) -> None:
    """Schema 4: the published catalog has the relations that people ask in the schema `main`, the others in `detail`.
    No table changes. The number makes the catalog stale, so that the writer publishes it anew, and keeps out earlier
    versions, which would publish the former layout in its place."""


MIGRATIONS = (
    Migration(2, "calls say what they asked", "0.1.0", _what_was_asked),
    Migration(3, "tags, forgotten records, neighbours", "0.1.0", _states_by_name),
    Migration(4, "relations in two schemas", "0.1.0", _relations_in_two_schemas),
)


def bring_up_to_date(root: Path, lake: Lake, ledger: Ledger) -> list[int]:
    """Do the migrations that a workspace lacks, in order, and return their numbers; a new one is of the newest schema.

    The caller holds the workspace's lock. One that fails or is killed leaves the workspace readable, and is done again
    by the next writer.

    Raises:
        WorkspaceVersionError: if the workspace is of a newer schema. Nothing is changed then.
        StoreError: if a table or a file cannot be written.
    """
    found = format.require_readable(root)
    if not found.written:
        if not lake.names() and not ledger.path.exists():
            format.write(root, Format(format.SCHEMA))
            return []
        # Versions that wrote no number changed each table when they next wrote to it: some may be of schema 1 still.
        found = Format(1)
    done = []
    for migration in MIGRATIONS:
        if migration.number <= found.schema:
            continue
        migration.apply(lake, ledger)
        note = {
            "number": migration.number,
            "name": migration.name,
            "applied_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "package_version": __version__,
        }
        found = Format(migration.number, migration.needs, (*found.migrations, note))
        format.write(root, found)
        done.append(migration.number)
    return done
