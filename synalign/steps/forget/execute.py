"""Carries out the plan of a forget, from the beginning or after one that was killed: each part can be repeated without
harm, and readers never see a row that refers to a removed one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from synalign.errors import ConfigError, StoreError
from synalign.llm.builtin.replay import RecordedReply, Recording, recording_text
from synalign.steps.calling.recording import write_whole
from synalign.steps.core.context import Context, Outcome
from synalign.steps.forget import plan_file
from synalign.steps.forget.plan_file import ForgetPlan, Replacement
from synalign.steps.forget.tombstones import forget_runs, keep_out
from synalign.steps.forget.verify import Verification, verify
from synalign.steps.lifecycle import publish
from synalign.store.disk.byte_search import ByteSearch
from synalign.store.lake.journal import Clock, Plan, now
from synalign.store.lake.schemas import TABLES


def resume(context: Context, catalog: Path) -> Outcome | None:
    """Finish a forget that was killed; return its outcome, or None if there was none.

    Raises:
        StoreError: as `carry_out`.
    """
    work = plan_file.read(context.root)
    if work is None:
        return None
    context.notice("A forget that was stopped is finished first.")
    return carry_out(context, work, catalog)


def carry_out(context: Context, work: ForgetPlan, catalog: Path) -> Outcome:
    """Do all that is planned, and prove it.

    Raises:
        StoreError: if something could not be removed, or is still there: the next command that writes goes on with it.
            Or if a file that is the user's own holds what was forgotten, which is for the user to change: then all else
            is done.
    """
    clock = Clock()
    keep_out(context, work.digests, work.salt, now())
    context.ledger.erase(work.calls, work.held)
    _remove(context, work)
    rewritten, left = _rewrite_recordings(context, work)
    run_id = _note_run(context, work, clock)
    names = context.lake.names()
    for number, name in enumerate(names):
        context.progress("removing for good", number, len(names))
        context.lake.expunge(name)
    context.progress("removing for good", len(names), len(names))
    _publish(context, catalog)
    verification = verify(context, work, catalog)
    plan_file.remove(context.root)
    if verification.users:
        raise StoreError(
            f"The records are forgotten, but {', '.join(map(str, verification.users))} "
            f"hold{'s' * (len(verification.users) == 1)} the text or the id of one. These files are yours: take it out "
            "of them, or remove them."
        )
    return _outcome(work, run_id, rewritten, left, verification, clock.seconds)


def _remove(context: Context, work: ForgetPlan) -> None:
    lake = context.lake
    # First, since some of these rows are to go as a whole.
    for replacement in work.replacements:
        lake.delete(replacement.table, replacement.where)
        lake.insert(replacement.table, _as_table(replacement))
    for removal in work.removals:
        for where in removal.conditions():
            lake.delete(removal.table, where)
    for name in work.dropped:
        if lake.exists(name):
            lake.drop(name)


def _as_table(replacement: Replacement) -> pa.Table:
    """Return the row as a table; what was read of a file has times as text."""
    schema = TABLES[replacement.table].schema
    row = dict(replacement.row)
    for field in schema:
        value = row.get(field.name)
        if pa.types.is_timestamp(field.type) and isinstance(value, str):
            row[field.name] = datetime.fromisoformat(value)
    return pa.Table.from_pylist([row], schema=schema)


def _rewrite_recordings(context: Context, work: ForgetPlan) -> tuple[int, list[str]]:
    """Take the entries that answer forgotten calls, or quote records, out of recordings; return how many files that
    changed, and those that it could not be done in."""
    needles, subjects = ByteSearch(work.needles), set(work.subjects)
    changed, left = 0, []
    for name in work.recordings:
        path = context.root / name
        path.with_name(f".{path.name}.partial").unlink(missing_ok=True)
        try:
            entries = Recording(path).entries
            kept = _kept(entries, subjects, needles)
            if len(kept) < len(entries):
                write_whole(path, recording_text(kept).encode("utf-8"))
                changed += 1
        except (ConfigError, StoreError):  # moved, changed into something else, or not ours to write
            left.append(str(path))
    return changed, left


def _kept(entries: Sequence[RecordedReply], subjects: set[str], needles: ByteSearch) -> list[RecordedReply]:
    quoting = needles.held_by(pl.Series([entry.reply for entry in entries], dtype=pl.String)).to_list()
    return [
        entry for entry, quotes in zip(entries, quoting, strict=True) if not quotes and entry.subject not in subjects
    ]


def _note_run(context: Context, work: ForgetPlan, clock: Clock) -> str:
    """Write the row of this forget, unless it is there, and return its name. It holds numbers, and nothing of whom."""
    for run in context.journal.runs("forget"):
        if run.parameters["number"] == work.number:
            return run.run_id
    plan = Plan("forget", work.parameters, forget_runs(context)[-1:], context.config.seed)
    return context.journal.finish(plan, clock, work.counts).run_id


def _publish(context: Context, catalog: Path) -> None:
    """Put a catalog without the records in place; what a killed writer left beside it goes."""
    publish.publish_if_stale(context, catalog)
    for path in catalog.parent.glob(f"{catalog.name}.*"):
        path.unlink()


def _outcome(
    work: ForgetPlan, run_id: str, rewritten: int, left: Sequence[str], verification: Verification, seconds: float
) -> Outcome:
    counts: dict[str, Any] = dict(work.counts) | {"recordings": rewritten}
    counts |= {"files_decoded": verification.files, "bytes": verification.bytes}
    notes = list(work.notes)
    if rewritten:
        notes.append("what a recording answered counts as another model's from now on: it is a changed file")
    if left:
        notes.append(
            f"these recordings were not found, or could not be read or written, and are left to you: {', '.join(left)}"
        )
    if verification.unknown:
        notes.append(
            "files of kinds that are not known here were searched as bytes only: "
            + ", ".join(map(str, verification.unknown))
        )
    return Outcome("forget", run_id, False, counts, tuple(notes), seconds)
