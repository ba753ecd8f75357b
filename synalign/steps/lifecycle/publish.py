"""Keeps `catalog.duckdb` up to date with the tables."""

from __future__ import annotations

from pathlib import Path

from synalign import ids
from synalign.steps.core.context import Context
from synalign.store.lake.format import SCHEMA
from synalign.store.sql import catalog
from synalign.version import __version__


def state(context: Context) -> str:
    """Return a name of all that a catalog is made of: another one means that it is stale."""
    done = context.journal.runs()
    ledger = [context.ledger.state(), context.lake.version("calls")]
    activations = context.lake.read("activations", ["sequence"]).num_rows
    tags = context.lake.read("tags", ["number"]).num_rows
    labels = context.config.task.labels
    names = ids.digest([run.run_id for run in done])  # not their number: gc may drop some
    return ids.digest(["catalog/2", __version__, SCHEMA, names, activations, tags, ledger, labels])


def publish_if_stale(context: Context, path: Path) -> bool:
    """Publish the catalog if the tables, the ledger or the label names changed since; return whether it did."""
    now = state(context)
    if catalog.published_state(path) == now:
        return False
    context.progress("publishing the catalog", 0, 1)
    catalog.publish(context.lake, context.ledger, context.config.task.labels, path, now)
    context.progress("publishing the catalog", 1, 1)
    return True
