"""Finds superseded runs: no current or tagged state, no record and no reply depends on them."""

from __future__ import annotations

from collections.abc import Iterable

from synalign.steps.core.context import Context
from synalign.steps.lifecycle.history import tags
from synalign.store.lake.journal import Run

#: Steps whose runs can be computed again from what stays, without asking a language model.
_COMPUTED = ("embedder", "embed", "cluster", "assign", "align", "measure", "text_quality", "retriever", "rank", "ab")
#: Those of them that belong to a run of another step and to an ingest: kept with both, and with neither alone.
_DEPENDENT = ("embed", "assign")


def superseded(context: Context) -> list[str]:
    """Return the ids of the runs that can go: of the computed steps, those that neither the current run of a step, nor
    a named weight set or retriever, nor any of these as it was at a tag, was made from."""
    runs = {run.run_id: run for run in context.journal.runs()}
    latest = [None, *(int(tag["sequence"]) for tag in tags(context))]
    roots = {run.run_id for run in runs.values() if run.step not in _COMPUTED}
    for until in latest:
        roots |= _current(context, until)
    kept = _reached(roots, runs)
    kept |= {run.run_id for run in runs.values() if run.step in _DEPENDENT and kept.issuperset(run.inputs)}
    return sorted(run_id for run_id, run in runs.items() if run_id not in kept)


def _current(context: Context, until: int | None) -> set[str]:
    """Return the runs that a state shows: of each step the current one, each weight set, what measured it last, each
    retriever, and the last comparison of each two."""
    found: set[str] = set()
    for step in ("embedder", "cluster", "rank"):
        found |= {run.run_id for run in context.journal.latest(step, until)[:1]}
    sets: dict[str, Run] = {}
    for run in context.journal.latest("align", until):
        sets.setdefault(run.parameters["weight_set"], run)
    found |= {run.run_id for run in sets.values()}
    for step in ("measure", "text_quality"):
        found |= _measured(context, step, {run.run_id for run in sets.values()}, until)
    for step, told_by in (("retriever", ("name",)), ("ab", ("a", "b", "queries", "click_model"))):
        last: dict[tuple[str, ...], Run] = {}
        for run in context.journal.latest(step, until):
            last.setdefault(tuple(run.parameters[name] for name in told_by), run)
        found |= {run.run_id for run in last.values()}
    return found


def _measured(context: Context, step: str, sets: set[str], until: int | None) -> set[str]:
    """Return the run of a step that measured each weight set last; of one that measured none, the last."""
    found: set[str] = set()
    measured: set[str] = set()
    for run in context.journal.latest(step, until):
        of = sets.intersection(run.inputs)
        if of - measured or not (found or sets):
            found.add(run.run_id)
            measured |= of
    return found


def _reached(roots: Iterable[str], runs: dict[str, Run]) -> set[str]:
    """Return the runs that others were made from, directly or through others, and these themselves."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        run = runs.get(waiting.pop())
        if run is None or run.run_id in found:
            continue
        found.add(run.run_id)
        waiting += run.inputs
        source = run.parameters.get("scored_from")
        waiting += [source] if source else []
    return found
