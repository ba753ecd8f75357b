"""Keeps `catalog.duckdb` up with the tables."""

from __future__ import annotations

from pathlib import Path

from synalign import ids
from synalign.steps.context import Context
from synalign.store import catalog
from synalign.version import __version__


def publish_if_stale(context: Context, path: Path) -> bool:
    """Publish the catalog if the tables, the ledger or the label names changed since; return whether it did."""
    done = context.journal.runs()
    ledger = [context.ledger.state(), context.lake.version("calls")]
    activations = context.lake.read("activations", ["sequence"]).num_rows
    tags = context.lake.read("tags", ["number"]).num_rows
    labels = context.config.task.labels
    names = ids.digest([run.run_id for run in done])  # not their number: gc may drop some
    state = ids.digest(["catalog/2", __version__, names, activations, tags, ledger, labels])
    if catalog.published_state(path) == state:
        return False
    context.progress("publishing the catalog", 0, 1)
    catalog.publish(context.lake, context.ledger, labels, path, state)
    context.progress("publishing the catalog", 1, 1)
    return True
