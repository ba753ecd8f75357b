"""rounds: select, reason, generate and align again and again, each round selecting where earlier ones did not, until
one of them no longer brings the weighted synthetic records nearer to the real ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from synalign.config import AlignRequest, GenerateRequest, ReasonRequest, SelectRequest
from synalign.numerics.alignment.stratum import Improvement, improvement
from synalign.numerics.alignment.strength import Candidate
from synalign.steps.alignment.align import align
from synalign.steps.alignment.inputs import base_measure, find_strata, given_shares, read_frames, read_inputs
from synalign.steps.alignment.kernel import choose_kernel
from synalign.steps.alignment.weight_sets import settings_of
from synalign.steps.alignment.weighting import Weighting
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import record_runs
from synalign.steps.core.run_step import Result, reuse, run_step
from synalign.steps.generation.generate import generate
from synalign.steps.generation.reason import reason
from synalign.steps.selection.select import planned, select
from synalign.store.lake.journal import Clock, Plan, Run
from synalign.store.lake.lake import is_in, quote
from synalign.store.lake.schemas import SYNTHETIC

STOP, GO_ON = "stop", "continue"

#: Real records of the held-out half below which a round is not judged.
_MIN_HELDOUT = 8


def rounds(context: Context, count: int) -> Iterator[Outcome]:
    """Do up to `count` rounds, and yield the outcome of each step; end with weights of all records there are.

    A round that was judged is not done again, with whatever settings of reason, generate and align: what it generated
    was paid for. Changed settings of select begin anew with the first round.

    Raises:
        SynAlignError: if a step fails; the next call goes on there.
    """
    previous: Run | None = None
    aligned = False
    for number in range(1, count + 1):
        selected = planned(context, number, previous)
        if selected is not None and not selected.counts["selections"]:  # nothing was left to explore
            aligned = False
            break
        judged = None if selected is None else _judgement(context, selected)
        aligned = judged is None
        if judged is None:
            current = context.journal.current("select")
            if previous is not None and (selected is None or current is None or current.run_id != selected.run_id):
                # Something else was selected in between: these rounds go on from their own.
                context.journal.activate(previous)
            outcome = select(context, SelectRequest(round=number))
            yield outcome
            if not outcome.counts["selections"]:
                aligned = False
                break
            yield reason(context, ReasonRequest())
            yield generate(context, GenerateRequest())
            yield align(context, AlignRequest())
            yield judge(context)
            selected = context.journal.current("select")
            assert selected is not None
            judged = _judgement(context, selected)
        else:
            yield Outcome(judged.step, judged.run_id, True, judged.counts)
        assert judged is not None
        previous = selected
        if judged.counts["decision"] == STOP:
            break
    if not aligned and previous is not None:
        yield reuse(context, previous, Clock())
        yield align(context, AlignRequest())


def judge(context: Context) -> Outcome:
    """Say whether the current round brought the weighted records nearer to real ones, and write `rounds`.

    The weights of all records, and of all but those that came since the round's selection, are fitted in the same way
    to one half of the real records, and both are measured on the other half. The round is worth going on from if the
    squared MMD fell by more than its standard error. Nothing of the test split is looked at.
    """
    clock = Clock()
    selected, aligned = context.journal.current("select"), context.journal.current("align")
    assert selected is not None
    assert aligned is not None
    came = [run for run in record_runs(context, SYNTHETIC) if run.sequence > selected.sequence]
    number = int(selected.counts["round"])
    inputs = [selected.run_id, aligned.run_id, *(run.run_id for run in came)]
    plan = Plan("round", {}, inputs, context.config.seed, round=number)

    def work() -> Result:
        context.progress("judging the round", 0, 1)
        table = context.lake.read(SYNTHETIC, ["id"], is_in("run_id", [run.run_id for run in came]))
        new = set(table["id"].to_pylist())
        found, why = _improvement(context, aligned, new)
        decision = STOP if found is not None and found.value <= found.error else GO_ON
        whole = context.lake.read("alignments", None, f"run_id = {quote(aligned.run_id)}").to_pylist()[-1]
        row: dict[str, Any] = {
            "round": number,
            "select_run_id": selected.run_id,
            "generate_run_id": next((run.run_id for run in came if run.step == "generate"), None),
            "align_run_id": aligned.run_id,
            "records": len(new),
            "synthetic_records": int(aligned.counts["records"]),
            "mmd2_without": None if found is None else found.before,
            "mmd2_with": whole["mmd2_heldout_after"] if found is None else found.after,
            "improvement": None if found is None else found.value,
            "improvement_error": None if found is None else found.error,
            "mmd2_floor": whole["mmd2_floor"],
            "effective_share": aligned.counts.get("effective_share"),
            "decision": decision,
            "reason": why if found is None else _said(found),
        }
        context.progress("judging the round", 1, 1)
        names = ("round", "records", "mmd2_without", "mmd2_with", "improvement", "improvement_error", "decision")
        return Result({"rounds": [row]}, {name: row[name] for name in names}, [row["reason"]])

    return run_step(context, clock, plan, work)


def _said(found: Improvement) -> str:
    fell = "fell" if found.value >= 0 else "rose"
    against = "more" if found.value > found.error else "not more"
    return (
        f"with this round's records, the squared MMD to held-out real records {fell} by {abs(found.value):.3g}, "
        f"{against} than its standard error of {found.error:.3g}"
    )


def _judgement(context: Context, selected: Run) -> Run | None:
    """Return the newest judgement of the round that a selection belongs to."""
    return next((run for run in context.journal.latest("round") if selected.run_id in run.inputs), None)


def _improvement(context: Context, aligned: Run, new: set[str]) -> tuple[Improvement | None, str]:
    """Return what the new records improve, fitted with the settings that the current weights were learned with; or why
    it can't be said."""
    settings, embedder = settings_of(aligned)
    rows = context.lake.read("alignments", None, f"run_id = {quote(aligned.run_id)}").to_pylist()
    strength = aligned.counts["strength"]
    eps = math.inf if strength == "none" else float(strength)
    candidate = Candidate(eps, bool(rows[0]["quality"]), str(rows[0]["label_shares"]))
    real, synthetic = read_frames(context, settings)
    strata = find_strata(real, synthetic, settings)
    inputs = read_inputs(context, embedder, real, synthetic, strata)
    left_out = inputs.synthetic.frame["id"].is_in(list(new)).to_numpy()
    if not new or not left_out.any():
        return None, "this round brought no records"
    if (inputs.synthetic.strata[~left_out] < 0).all():
        return None, "there were no synthetic records before this round"
    heldout = np.flatnonzero(~inputs.real.first_half)
    if len(heldout) < _MIN_HELDOUT:
        return None, f"fewer than {_MIN_HELDOUT} real records are held out, which is too few to judge by"
    seed = int(rows[0]["seed"])
    base, _ = base_measure(inputs.synthetic, settings, seed)
    drawn = choose_kernel(settings, inputs, seed)
    shares = given_shares(settings, strata, inputs.real)
    work = Weighting.of(context, settings, drawn, inputs, candidate, base, shares, seed)
    before, after = work.without(left_out).fit().whole, work.fit().whole
    if before.half_weighted is None or after.half_weighted is None:
        return None, "there are too few real records to hold a half of them out"
    amounts = inputs.real.multiplicity[heldout]
    matrix = inputs.real.matrix[heldout]
    return improvement(drawn.features, matrix, amounts, before.half_weighted, after.half_weighted), ""
