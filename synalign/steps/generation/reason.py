"""reason: stage 1. The language model states the attributes of the demonstrations of each selection, and they are
brought into one vocabulary."""

from __future__ import annotations

from typing import Any

from synalign import ids
from synalign.config import EstimateRequest, ReasonRequest
from synalign.llm.prompting.schemas import AttributeSet, MergeList
from synalign.llm.prompting.vocabulary import Value, values
from synalign.steps.calling.jobs import Job, fold, require_usable
from synalign.steps.calling.label_descriptions import of_documents
from synalign.steps.calling.prompt_runner import (
    PromptRunner,
    current_selections,
    demonstrations,
    request_parameters,
    settings_for,
)
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.run_step import Result, run_step
from synalign.steps.generation.vocabulary import merge, normalised
from synalign.store.lake.journal import Clock, Plan, Run


def planned(
    context: Context, request: EstimateRequest
) -> tuple[Plan, PromptRunner[AttributeSet], Run, list[dict[str, Any]]]:
    """Return the run that `reason` would be, what asks its questions, and the current selections.

    Raises:
        NotReadyError: if nothing is selected.
    """
    settings = settings_for(context, request)
    section = context.config.reason
    run, selections = current_selections(context)
    templates = [section.prompt, *([section.merge_prompt] if section.merge else [])]
    parameters = request_parameters(context, settings, *templates) | {
        "attributes": section.attributes,
        "open": section.open,
        "values": {name: list(there) for name, there in section.values.items()},
        "merge": section.merge,
    }
    parameters |= of_documents(context)
    plan = Plan("reason", parameters, [run.run_id], context.config.seed, version=2)
    return plan, PromptRunner(context, plan, settings, section.prompt, AttributeSet), run, selections


def requests(runner: PromptRunner[AttributeSet], selections: list[dict[str, Any]]) -> list[Job]:
    """Return the requests of stage 1: one for each selection."""
    context, section = runner.context, runner.context.config.reason
    wanted = [
        {"name": name, "kind": kind, "values": list(section.values.get(name, ()))}
        for name, kind in section.attributes.items()
    ]
    shown = demonstrations(context, runner.settings, selections).shown
    jobs = []
    for row in selections:
        variables = {
            "task": context.config.task,
            "demonstrations": shown[row["selection_id"]],
            "attributes": wanted,
            "open": section.open,
        }
        jobs.append(runner.job(variables, ("reason", row["round"], row["step"]), row["selection_id"]))
    return jobs


def reason(context: Context, request: ReasonRequest) -> Outcome:
    """Ask for the attributes of each current selection, and have values that mean the same merged.

    Raises:
        NotReadyError: if nothing is selected.
        ModelError: if no reply can be used, or see `synalign.steps.calling.dispatch.send`; replies that came are kept.
    """
    clock = Clock()
    plan, runner, _, selections = planned(context, request)
    section = context.config.reason

    def work() -> Result:
        answers = runner.ask(requests(runner, selections))
        require_usable(context, plan.step, answers.calls, len(answers.answered), answers.refused)
        stated = {
            str(job.selection_id): (answer.call_id, values(answer.value.attributes, section.attributes, section.open))
            for job, answer in answers.answered
        }
        calls = set(answers.calls)
        if section.merge:
            merger = PromptRunner(context, plan, runner.settings, section.merge_prompt, MergeList)
            ends, merging = merge(merger, [value for _, found in stated.values() for value in found])
            calls |= set(merging.calls)
            refused = answers.refused + merging.refused
        else:
            ends, refused = {}, answers.refused
        fold(context, calls)
        kept, kept_values = [], []
        for selection_id, (call_id, found) in stated.items():
            name = ids.digest(["attributes/1", plan.run_id, selection_id])
            kept.append(attributes_row(name, selection_id, call_id, found))
            kept_values += value_rows(name, normalised(found, ends))
        notes = (
            [f"{len(refused)} replies or parts of them could not be used; see the relation rejections"]
            if refused
            else []
        )
        counts = {
            "selections": len(selections),
            "attributes": len(kept),
            "merged": len(ends),
            "rejections": len(refused),
        }
        rows = {"attributes": kept, "attribute_values": kept_values, "rejections": refused}
        return Result(rows, counts, notes)

    return run_step(context, clock, plan, work, reads=("selections", "calls"))


def attributes_row(name: str, selection_id: str, call_id: str | None, found: list[Value]) -> dict[str, Any]:
    """Return a row of `attributes`: what was stated, as it was stated."""
    return {
        "id": name,
        "selection_id": selection_id,
        "call_id": call_id,
        "attributes": [{"name": value.name, "value": value.stated} for value in found],
    }


def value_rows(name: str, found: list[Value]) -> list[dict[str, Any]]:
    """Return rows of `attribute_values`: each value in the vocabulary of the workspace."""
    return [{"attributes_id": name, **vars(value)} for value in found]
