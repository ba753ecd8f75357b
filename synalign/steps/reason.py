"""reason: stage 1. The language model states the attributes of the demonstrations of each selection."""

from __future__ import annotations

import pyarrow as pa

from synalign import ids
from synalign.llm.prompts import render, template_hash
from synalign.llm.schemas import AttributeSet
from synalign.steps.calls import (
    Job,
    chat_request,
    current_selections,
    demonstrations,
    fold,
    prompt_name,
    read_answers,
    request_parameters,
    require_usable,
    send,
    settings_for,
)
from synalign.steps.context import Context, Outcome, finish, reuse
from synalign.store.journal import Clock, Plan
from synalign.store.schemas import TABLES


def reason(context: Context, *, model: str | None = None, base_url: str | None = None) -> Outcome:
    """Ask for the attributes of each current selection.

    Raises:
        NotReadyError: if nothing is selected.
        ModelError: if no reply can be used, or see `synalign.steps.calls.send`; replies that came are kept.
    """
    settings = settings_for(context, model, base_url)
    run, selections = current_selections(context)
    template = prompt_name(context, context.config.reason.prompt)
    clock = Clock()
    task = context.config.task
    parameters = request_parameters(context, settings, template_hash(template))
    plan = Plan("reason", parameters, [run.run_id], context.config.seed)
    done = context.journal.get(plan.run_id)
    if done is not None:
        return reuse(context, done)
    recorded = parameters.get("recording")
    shown = demonstrations(context, selections)
    jobs = []
    for row in selections:
        prompt = render(template, {"task": task, "demonstrations": shown[row["selection_id"]]})
        request = chat_request(context, settings, prompt, AttributeSet, ("reason", row["round"], row["step"]), recorded)
        jobs.append(Job(request, row["selection_id"], prompt.template_hash))
    calls = send(context, plan, settings, jobs)
    answered, refused = read_answers(plan.run_id, jobs, calls, AttributeSet)
    require_usable(context, plan.step, calls, len(answered), refused)
    context.journal.sweep(("attributes", "rejections"))
    fold(context, calls)
    kept = [
        {
            "run_id": plan.run_id,
            "id": ids.digest(["attributes/1", plan.run_id, job.selection_id]),
            "selection_id": job.selection_id,
            "call_id": job.request.call_id,
            "attributes": [item.model_dump() for item in answer.attributes],
        }
        for job, answer in answered
    ]
    context.lake.insert("attributes", pa.Table.from_pylist(kept, schema=TABLES["attributes"].schema))
    context.lake.insert("rejections", pa.Table.from_pylist(refused, schema=TABLES["rejections"].schema))
    notes = (
        [f"{len(refused)} replies or parts of them could not be used; see the relation rejections"] if refused else []
    )
    counts = {"selections": len(selections), "attributes": len(kept), "rejections": len(refused)}
    return finish(context, plan, clock, counts, notes, ("selections", "calls", "attributes"))
