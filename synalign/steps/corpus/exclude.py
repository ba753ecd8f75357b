"""exclude: a person excludes synthetic records from all weighting, or takes that back."""

from __future__ import annotations

from synalign import ids
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.run_step import Result, run_step
from synalign.store.lake.journal import Clock, Plan


def exclude(context: Context, record_ids: list[str], reason: str, *, excluded: bool = True) -> Outcome:
    """Record a verdict on synthetic records: `excluded`, or taken back. The last verdict on a record counts.

    A verdict that changes nothing writes nothing.
    """
    clock = Clock()
    last = context.journal.runs("exclude")
    names = sorted(record_ids)
    verb = "excluded" if excluded else "taken back"
    if not names:
        note = "no record matches whose verdict would change; nothing was written"
        return Outcome("exclude", last[-1].run_id if last else "", True, {verb: 0}, (note,))
    parameters = {"records": ids.digest(names), "reason": reason, "excluded": excluded}
    # The run before is part of the name: excluding, taking back and excluding again are three runs.
    plan = Plan("exclude", parameters, [run.run_id for run in last[-1:]])
    rows = [{"id": name, "excluded": excluded, "reason": reason} for name in names]
    notes = (f"{len(names)} records {verb}; run align again to have the weights of the others sum to 1",)
    return run_step(context, clock, plan, lambda: Result({"exclusions": rows}, {verb: len(names)}, notes))
