"""generate: stage 2. The language model writes new records from the attributes; what is not new or not valid is kept
apart, with the reason."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from synalign import ids
from synalign.config import Task, override
from synalign.errors import NotReadyError, UsageError
from synalign.llm.acceptance import accept, normalise
from synalign.llm.prompts import render, template_hash
from synalign.llm.schemas import RecordBatch
from synalign.steps.calls import (
    NGRAM_NOTE,
    Job,
    chat_request,
    current_selections,
    demonstrations,
    fold,
    prompt_name,
    read_answers,
    rejection,
    request_parameters,
    require_usable,
    send,
    settings_for,
)
from synalign.steps.context import Context, Outcome, finish, reuse
from synalign.steps.reading import records
from synalign.store.journal import Clock, Plan, Run
from synalign.store.lake import quote
from synalign.store.schemas import REAL, SYNTHETIC, TABLES


def generate(
    context: Context, *, per_selection: int | None = None, model: str | None = None, base_url: str | None = None
) -> Outcome:
    """Ask for new records for each current selection whose attributes are known.

    A record is refused, and kept in `rejections` with the reason, if it is empty, repeats another, copies a
    demonstration, or equals any real record, those of the test split included.

    Raises:
        NotReadyError: if there are no attributes of the current selections.
        UsageError: if no model is given and another than the configured one stated the attributes.
        ModelError: if no reply can be used, or see `synalign.steps.calls.send`; replies that came are kept.
    """
    settings = settings_for(context, model, base_url)
    section = override(context.config.generate, {"per_selection": per_selection})
    run, selections = current_selections(context)
    reasoned = context.journal.current("reason")
    if reasoned is None or run.run_id not in reasoned.inputs:
        raise NotReadyError(
            "There are no attributes of the current selections. Run ws.reason() ('synalign reason DIR') first."
        )
    stated_by = reasoned.parameters["model"]
    if model is None and stated_by != settings.model:
        raise UsageError(
            f"The attributes were stated by {stated_by!r}, and generate would use {settings.model!r}. Say which with "
            "model=... (--model)."
        )
    template = prompt_name(context, section.prompt)
    clock = Clock()
    task = context.config.task
    parameters = request_parameters(context, settings, template_hash(template)) | {
        "per_selection": section.per_selection
    }
    plan = Plan("generate", parameters, [run.run_id, reasoned.run_id], context.config.seed)
    done = context.journal.get(plan.run_id)
    if done is not None:
        return reuse(context, done)
    attributes = _attributes(context, reasoned)
    if not any(row["selection_id"] in attributes for row in selections):
        raise NotReadyError(
            "There are no attributes of the current selections: the model stated none. See the relation rejections, "
            "and run ws.reason() ('synalign reason DIR') again with another model or prompt."
        )
    recorded = parameters.get("recording")
    shown = demonstrations(context, selections)
    jobs = []
    for row in selections:
        if row["selection_id"] not in attributes:
            continue
        variables = {
            "task": task,
            "demonstrations": shown[row["selection_id"]],
            "attributes": attributes[row["selection_id"]]["attributes"],
            "label": None if row["label"] is None else _label(task, row["label"]),
            "labels": [_label(task, name) for name in task.labels],
            "count": section.per_selection,
        }
        prompt = render(template, variables)
        purpose = ("generate", row["round"], row["step"])
        request = chat_request(context, settings, prompt, RecordBatch, purpose, recorded, section.per_selection)
        jobs.append(Job(request, row["selection_id"], prompt.template_hash))
    calls = send(context, plan, settings, jobs)
    answered, unread = read_answers(plan.run_id, jobs, calls, RecordBatch)
    require_usable(context, plan.step, calls, sum(len(answer.records) for _, answer in answered), unread)
    context.journal.sweep((SYNTHETIC, "rejections"))
    known = {
        normalise(text)
        for origin in (REAL, SYNTHETIC)
        for text in records(context, origin, with_excluded=True)["text"].to_list()
    }
    labels = {row["selection_id"]: row["label"] for row in selections}
    kept, refused = _accepted(plan.run_id, answered, labels, attributes, shown, known, section.per_selection)
    refused = unread + refused
    fold(context, calls)
    context.lake.insert("rejections", pa.Table.from_pylist(refused, schema=TABLES["rejections"].schema))
    context.lake.insert(SYNTHETIC, pa.Table.from_pylist(kept, schema=TABLES[SYNTHETIC].schema))
    notes = [NGRAM_NOTE] if settings.model == "builtin/ngram" else []
    asked = section.per_selection * len(jobs)
    if len(kept) < asked:
        notes.append(f"{asked} records were asked for, {len(kept)} kept; see the relation rejections")
    counts = {"calls": len(jobs), "records": len(kept), "rejections": len(refused)}
    return finish(context, plan, clock, counts, notes, ("selections", "attributes", "calls", SYNTHETIC))


def _label(task: Task, name: str) -> dict[str, str]:
    return {"name": name, "meaning": task.meaning(name)}


def _attributes(context: Context, run: Run) -> dict[str, dict[str, Any]]:
    rows = context.lake.read("attributes", where=f"run_id = {quote(run.run_id)}").to_pylist()
    return {row["selection_id"]: row for row in rows}


def _accepted(
    run_id: str,
    answered: list[tuple[Job, RecordBatch]],
    labels: dict[str, str | None],
    attributes: dict[str, dict[str, Any]],
    shown: dict[str, list[dict[str, str | None]]],
    known: set[str],
    limit: int,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Turn answers into rows of `synthetic` and `rejections`, in the order of the selections."""
    kept: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for job, answer in answered:
        call_id = job.request.call_id
        label = labels[job.selection_id]
        accepted, refusals = accept(
            [record.text for record in answer.records],
            demonstrations=[str(item["text"]) for item in shown[job.selection_id]],
            seen=known,
            limit=limit,
        )
        known |= {normalise(text) for _, text in accepted}
        refused += [rejection(run_id, call_id, item.index, item.reason, item.detail, item.text) for item in refusals]
        kept += [
            {
                "id": ids.record_id(text, label, None),
                "text": text,
                "label": label,
                "split": "train",
                "run_id": run_id,
                "call_id": call_id,
                "selection_id": job.selection_id,
                "attributes_id": attributes[job.selection_id]["id"],
            }
            for _, text in accepted
        ]
    return kept, refused
