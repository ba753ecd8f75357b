"""run_step: what every step does around its own work. It goes back to a run that is there, or writes a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from synalign.steps.core.context import Context, Outcome
from synalign.store.lake.journal import Clock, Plan, Run

#: Rows of one table, as dicts or as a frame.
Rows = Sequence[Mapping[str, Any]] | pl.DataFrame


@dataclass(frozen=True)
class Result:
    """What the work of a step came to, before it is written.

    rows: by table, as dicts or as a frame, without `run_id`. counts, notes: see `Outcome`.
    """

    rows: Mapping[str, Rows]
    counts: Mapping[str, Any]
    notes: Sequence[str] = ()


def run_step(
    context: Context, clock: Clock, plan: Plan, work: Callable[[], Result], reads: Sequence[str] = ()
) -> Outcome:
    """Do what a plan names, unless it was done before, and make it the current run of its step.

    `work` reads and computes, and is not called if the run is there. What it returns is then written: rows that a
    killed run left in the same tables are dropped first, since records are insert-only by id, and the row of `runs`
    that makes all of it visible comes last. Whatever `work` raises, nothing of its result is written.

    Args:
        clock: started when the caller began to wait. `work` may measure parts of its own with it.
        reads: tables whose versions are recorded with the run, beside those of the tables that are written.
    """
    done = context.journal.get(plan.run_id)
    if done is not None:
        return reuse(context, done, clock)
    result = work()
    with clock.part("write"):
        context.journal.sweep(tuple(result.rows))
        for table, rows in result.rows.items():
            if isinstance(rows, pl.DataFrame):
                context.lake.insert(table, rows.with_columns(pl.lit(plan.run_id).alias("run_id")).to_arrow())
            else:
                context.lake.insert_rows(table, ({**row, "run_id": plan.run_id} for row in rows))
    return finish(context, plan, clock, result.counts, result.notes, (*reads, *result.rows))


def reuse(context: Context, run: Run, clock: Clock) -> Outcome:
    """Make a finished run current again, if it is not, and say so."""
    notes = ("gone back to an earlier run",) if context.journal.activate(run) else ()
    return Outcome(run.step, run.run_id, True, run.counts, notes).timed(clock)


def finish(
    context: Context,
    plan: Plan,
    clock: Clock,
    counts: Mapping[str, Any],
    notes: Sequence[str] = (),
    tables: Sequence[str] = (),
) -> Outcome:
    """Write the row that makes a run visible, last of all, and return its outcome."""
    context.journal.finish(plan, clock, counts, notes, tables)
    return Outcome(plan.step, plan.run_id, False, dict(counts), tuple(notes)).timed(clock)
