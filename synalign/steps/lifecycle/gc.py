"""gc: gives back space. Needs the workspace's lock, since the files of a live writer look like orphans."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from synalign.steps.core.context import Context
from synalign.steps.embedding.embed import embedders
from synalign.steps.lifecycle.superseded import superseded as superseded_runs
from synalign.store.lake.schemas import OWNED_BY_RUN, index_table, vectors_table


def gc(context: Context, replies: bool = True, superseded: bool = False) -> dict[str, int]:
    """Clean up; return {"runs", "rows", "bytes", "tables", "replies"}: what was dropped, and the net bytes given back.

    With `superseded`, runs that neither the current state nor a tagged one needs, and that can be computed again, are
    dropped first: weights, measurements, clusters, retrievers and vectors; never records, documents, selections or
    replies. An untagged state before them lacks them from then on.

    Dropped are rows of runs that never finished, files that no table version names, old versions, tables of vectors
    whose embedder, or retriever, was never finished, and replies in the ledger that are in `calls` as well. Versions
    younger than 10 minutes are kept, since a reader may have them open; a later gc removes them. So a gc that merges
    the files of a table, or drops rows, may take space, and the bytes are then below 0. `replies` False leaves the
    ledger alone: another process is writing to it.
    """
    before = _size(context)
    gone = superseded_runs(context) if superseded else []
    if gone:
        context.journal.drop(gone)
    rows, stray = drop_unfinished(context)
    for number, name in enumerate(names := context.lake.names()):
        context.progress("compacting tables", number, len(names))
        context.lake.compact(name)
    context.progress("compacting tables", len(names), len(names))
    trimmed = _trim_ledger(context) if replies else 0
    return {"runs": len(gone), "rows": rows, "bytes": before - _size(context), "tables": stray, "replies": trimmed}


def drop_unfinished(context: Context) -> tuple[int, int]:
    """Drop what no finished run owns: rows, and tables of vectors; return how many of each."""
    rows = context.journal.sweep(OWNED_BY_RUN)
    kept = {vectors_table(embedder.name) for embedder in embedders(context)}
    kept |= {index_table(run.run_id) for run in context.journal.runs("retriever")}
    stray = [name for name in context.lake.names() if name.startswith(("vectors_", "index_")) and name not in kept]
    for name in stray:
        context.lake.drop(name)
    _remove_unfinished_tables(context.lake.path, set(context.lake.names()))
    return rows, len(stray)


def _size(context: Context) -> int:
    """Return the bytes of the tables and of the ledger, whose log is folded into its file first."""
    context.ledger.close()
    ledger = context.ledger.path
    files = [*context.lake.path.rglob("*"), *ledger.parent.glob(f"{ledger.name}*")]
    return sum(path.stat().st_size for path in files if path.is_file())


def _trim_ledger(context: Context) -> int:
    """Forget replies that `calls` holds. Lance makes no fsync: its files are made durable first."""
    folded = context.lake.read("calls", ["call_id"])["call_id"].to_pylist()
    if not folded:
        return 0
    for path in (context.lake.path / "calls.lance").rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return context.ledger.trim(folded)


def _remove_unfinished_tables(root: Path, known: set[str]) -> None:
    """Remove table folders whose creation was killed before the first version."""
    for folder in root.glob("*.lance"):
        if folder.name.removesuffix(".lance") not in known:
            shutil.rmtree(folder)
