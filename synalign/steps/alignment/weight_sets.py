"""Named weight sets: which there are, which one is current, and what one was learned with."""

from __future__ import annotations

from typing import Any

import polars as pl

from synalign.config import Align, parse
from synalign.errors import NotReadyError, UsageError
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import records
from synalign.steps.core.run_step import reuse
from synalign.store.lake.journal import Clock, Run
from synalign.store.lake.lake import quote
from synalign.store.lake.schemas import SYNTHETIC


def find_set(context: Context, name: str | None = None) -> Run:
    """Return the run that a weight set's weights are of, the newest of that name; without a name, the current set's.

    Raises:
        NotReadyError: if there are no weights at all.
        UsageError: if there is no set of that name, listing those there are.
    """
    runs = context.journal.latest("align")
    if not runs:
        raise NotReadyError("There are no weights yet. Run ws.align() ('synalign align DIR') first.")
    if name is None:
        return runs[0]
    for run in runs:
        if run.parameters["weight_set"] == name:
            return run
    known = sorted({run.parameters["weight_set"] for run in runs})
    raise UsageError(f"There is no weight set {name!r}. There are: {', '.join(known)}.")


def use_set(context: Context, name: str) -> Outcome:
    """Make a weight set the current one, which synthetic_weighted, samples, exports and training data show.

    Raises:
        NotReadyError, UsageError: as `find_set`.
    """
    run = find_set(context, name)
    outcome = reuse(context, run, Clock())
    changed = bool(outcome.notes)
    note = f"{name} is the current weight set" + ("" if changed else " already")
    return Outcome("weights", run.run_id, not changed, {"weight_set": name, "records": run.counts["records"]}, (note,))


def fitted_run(context: Context, run: Run) -> Run:
    """Return the run that the dual vectors behind a set were fitted in: itself, or that which it was scored from."""
    source = run.parameters.get("scored_from")
    found = run if source is None else context.journal.get(source)
    assert found is not None
    return found


def settings_of(run: Run) -> tuple[Align, str]:
    """Return the settings of a run that was fitted, with what was decided for it, and the name of its embedder."""
    values: dict[str, Any] = {name: value for name, value in run.parameters.items() if name in Align.model_fields}
    return parse(Align, values, f"the settings of run {run.run_id}"), run.parameters["embedder"]


def weighted_records(context: Context, run: Run, columns: list[str]) -> pl.DataFrame:
    """Return the synthetic records of a set that are not excluded, with `weight`, which sums to 1, ordered by id."""
    table = context.lake.read("weights", ["id", "weight"], f"run_id = {quote(run.run_id)}")
    weights = pl.from_arrow(table)
    assert isinstance(weights, pl.DataFrame)
    found = records(context, SYNTHETIC, columns=columns).join(weights, on="id").sort("id")
    return found.with_columns(pl.col("weight") / pl.col("weight").sum())
