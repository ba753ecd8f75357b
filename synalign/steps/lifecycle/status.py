"""status: what is in a workspace, and what the current run of each step is."""

from __future__ import annotations

from typing import Any

from synalign.steps.core.context import Context
from synalign.steps.core.reading import record_runs, records
from synalign.steps.forget.tombstones import forget_runs
from synalign.store.lake.journal import Run
from synalign.store.lake.schemas import ORIGINS, SYNTHETIC

_STEPS = ("embedder", "cluster", "select", "reason", "generate", "align")


def status(context: Context) -> dict[str, Any]:
    """Return {"records": {side: {split: count}}, "steps": {step: {...} or None}, "stale": [...]}."""
    counts = {origin: dict(records(context, origin)["split"].value_counts().sort("split").rows()) for origin in ORIGINS}
    steps: dict[str, Any] = {}
    for name in _STEPS:
        run = context.journal.current(name)
        steps[name] = (
            None if run is None else {"run_id": run.run_id, "counts": run.counts, "parameters": run.parameters}
        )
    return {"workspace": str(context.root), "records": counts, "steps": steps, "stale": _stale(context)}


def stale_weights(context: Context, run: Run) -> list[str]:
    """Say whether the weights of a run lack records that came in, or do not heed an exclusion."""
    known = set(run.inputs)
    late = [source for origin in ORIGINS for source in record_runs(context, origin) if source.run_id not in known]
    verdicts = [source for source in context.journal.runs("exclude") if source.run_id not in known]
    if any(name not in known for name in forget_runs(context)):
        return ["records were forgotten since the weights were learned: run align again"]
    if late or verdicts:
        return ["the weights do not cover all records or exclusions: run align again (or score, for new records)"]
    return []


def _stale(context: Context) -> list[str]:
    """Say which results no longer cover what is in the workspace."""
    aligned = context.journal.current("align")
    found = [] if aligned is None else stale_weights(context, aligned)
    selected, clustered = context.journal.current("select"), context.journal.current("cluster")
    if selected is not None and clustered is not None and clustered.run_id not in selected.inputs:
        found.append("the selections are of other clusters than the current ones: run select again")
    reasoned, generated = context.journal.current("reason"), context.journal.current("generate")
    if selected is not None and reasoned is not None and selected.run_id not in reasoned.inputs:
        found.append("the attributes are of other selections than the current ones: run reason again")
    if generated is not None and reasoned is not None and reasoned.run_id not in generated.inputs:
        found.append(f"the newest {SYNTHETIC} records are not of the current attributes: run generate again")
    return found
