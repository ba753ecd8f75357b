"""Sends requests to the language model through the ledger: what was answered once is never asked again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.compute as pc
from pydantic import BaseModel

from synalign.config import Llm, override
from synalign.errors import ModelError, ModelRefusedError, ModelUnavailableError, NotReadyError
from synalign.ids import child_seed
from synalign.llm.chat import CallFailure, ChatReply, ChatRequest, run_calls
from synalign.llm.endpoints import resolved_base_url
from synalign.llm.models import open_model, recording
from synalign.llm.parsing import ParseFailure, parse
from synalign.llm.prompts import Prompt
from synalign.llm.schemas import json_schema
from synalign.steps.context import Context
from synalign.steps.reading import records
from synalign.store.journal import Plan, Run
from synalign.store.lake import is_in, quote
from synalign.store.ledger import COMPLETE, FAILED, REFUSED
from synalign.store.schemas import REAL

M = TypeVar("M", bound=BaseModel)

#: What `generate` says of its embedded default.
NGRAM_NOTE = (
    "the model is builtin/ngram, which recombines the demonstrations to prove the path: its text is not for training. "
    "Set llm.model (and llm.base_url) to use a language model"
)


@dataclass(frozen=True)
class Job:
    """One request, and the selection that it is made for."""

    request: ChatRequest
    selection_id: str
    template_hash: str


def current_selections(context: Context) -> tuple[Run, list[dict[str, Any]]]:
    """Return the current run of select and its rows, in order.

    Raises:
        NotReadyError: if nothing is selected.
    """
    run = context.journal.current("select")
    if run is None:
        raise NotReadyError("There are no selections. Run ws.select() ('synalign select DIR') first.")
    rows = context.lake.read("selections", where=f"run_id = {quote(run.run_id)}").to_pylist()
    return run, sorted(rows, key=lambda row: row["step"])


def demonstrations(context: Context, selections: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, str | None]]]:
    """Return for each selection_id the texts and label meanings to show, in the order that was selected."""
    real = records(context, REAL, split="train")
    by_id = {row["id"]: row for row in real.select("id", "text", "label").iter_rows(named=True)}
    task = context.config.task
    return {
        row["selection_id"]: [
            {"text": shown["text"], "label": None if shown["label"] is None else task.meaning(shown["label"])}
            for shown in (by_id[record_id] for record_id in row["demonstrations"])
        ]
        for row in selections
    }


def settings_for(context: Context, model: str | None, base_url: str | None) -> Llm:
    """Return the settings of one step: as configured but for what is given, with the address that will be used.

    Raises:
        ConfigError: if a value is not allowed, an address that holds a password included.
    """
    settings = override(context.config.llm, {"model": model, "base_url": base_url})
    return settings.model_copy(update={"base_url": resolved_base_url(settings.base_url, settings.model)})


def chat_request(
    context: Context,
    settings: Llm,
    prompt: Prompt,
    answer: type[Any],
    purpose: tuple[str, int, int],
    recorded: str | None = None,
    count: int | None = None,
) -> ChatRequest:
    """Return the request that asks for an answer of the pydantic type `answer`.

    `purpose` is step, round and selection: the seed differs for each, so that a later round that shows the same records
    is not answered from memory. `recorded`: see ChatRequest.
    """
    return ChatRequest(
        model=settings.model,
        base_url=settings.base_url,
        system=prompt.system,
        user=prompt.user,
        schema_name=purpose[0],
        schema=json_schema(answer),
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        seed=child_seed(context.config.seed, *purpose) % 2**31,
        count=count,
        recording=recorded,
    )


def request_parameters(context: Context, settings: Llm, template: str) -> dict[str, Any]:
    """Return what of the settings decides the replies, for the run's name."""
    recorded = recording(settings.model, context.root)
    return ({} if recorded is None else {"recording": recorded}) | {
        "model": settings.model,
        "base_url": settings.base_url,
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "template": template,
        "task": context.config.task.model_dump(),
    }


def prompt_name(context: Context, name: str) -> str:
    """Return a prompt's name as `llm.prompts` takes it: paths of a user's own files are relative to the workspace."""
    return str(context.root / Path(name).expanduser()) if name.endswith(".j2") else name


def send(context: Context, plan: Plan, settings: Llm, jobs: Sequence[Job]) -> dict[str, dict[str, Any]]:
    """Have every job answered or refused; return the rows of `calls` by call_id.

    Raises:
        ModelUnavailableError: if some requests got no reply for a reason that may pass. All replies that came are in
            the ledger, and the next run asks only for the others.
        ModelRefusedError: if the first requests were all refused, so that the rest was not sent; all are asked again.
        ModelAuthError, ConfigError: if no request can be answered as things are set up.
    """
    by_id = {job.request.call_id: job for job in jobs}
    known = settled(context, list(by_id))
    missing = [job for call_id, job in by_id.items() if call_id not in known]
    done = len(known)
    what = f"{plan.step}: calls of {settings.model}"
    failures: list[CallFailure] = []

    def keep(result: ChatReply | CallFailure) -> None:
        nonlocal done
        job = by_id[result.call_id]
        context.ledger.put(_row(plan, settings, job, result))
        if isinstance(result, CallFailure) and result.retryable:
            failures.append(result)
        done += 1
        context.progress(what, done, len(by_id))

    context.progress(what, done, len(by_id))
    try:
        run_calls(
            lambda: open_model(settings, context.root),
            [job.request for job in missing],
            keep,
            concurrency=settings.concurrency,
            answered=any(call["status"] == COMPLETE for call in known.values()),
        )
    except ModelRefusedError as error:
        known = settled(context, list(by_id))
        _unsettle(context, [name for name, call in known.items() if call["status"] == REFUSED], str(error))
        raise
    if failures:
        raise ModelUnavailableError(
            f"{len(failures)} of {len(by_id)} calls got no reply, the last: {failures[-1].message} The other replies "
            "are kept; run the step again to ask for these only."
        )
    return settled(context, list(by_id))


def fold(context: Context, call_ids: Iterable[str]) -> None:
    """Copy the calls of a run that is known to be good from the ledger into the table `calls`, before its rows."""
    ledger = context.ledger.rows(call_ids)
    context.lake.insert("calls", ledger.filter(pc.not_equal(ledger["status"], FAILED)))


def require_usable(
    context: Context, step: str, calls: dict[str, dict[str, Any]], usable: int, refused: Sequence[dict[str, Any]]
) -> None:
    """Do nothing if there are answers that can be used, or nothing was asked.

    Raises:
        ModelRefusedError: if every request was refused.
        ModelError: if no reply can be used. In both cases the calls stay in the ledger as failed: they are asked again.
    """
    if usable or not calls:
        return
    first = next((row for row in refused if row["index"] == -1), None)
    cause = f"{first['reason']}: {first['detail']}" if first else "they hold no items"
    if all(call["reply"] is None for call in calls.values()):
        error: ModelError = ModelRefusedError(
            f"{step}: all {len(calls)} requests were refused, the first with {cause} Correct llm.model, llm.base_url "
            "or the prompt and run the step again: it asks again. Nothing but the calls was kept."
        )
    else:
        error = ModelError(
            f"{step}: none of {len(calls)} replies can be used, the first: {cause}. They are kept in the relation "
            "calls. Use a model that answers in JSON, raise llm.max_tokens or change the prompt, and run the step "
            "again: it asks again."
        )
    _unsettle(context, list(calls), cause)
    raise error


def _unsettle(context: Context, call_ids: Sequence[str], cause: str) -> None:
    """Have calls asked again: mark them as failed in the ledger, and take them out of the table `calls`."""
    folded = context.lake.read("calls", where=is_in("call_id", call_ids)).to_pylist()
    for row in folded:  # of another run that could use some other replies; gc may have trimmed them from the ledger
        context.ledger.put(row | {"status": FAILED})
    context.ledger.fail(call_ids, cause)
    if folded:
        context.lake.delete("calls", is_in("call_id", [row["call_id"] for row in folded]))


def settled(context: Context, call_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the calls, of those named, that are complete or refused for good, by call_id."""
    rows = context.lake.read("calls", where=is_in("call_id", call_ids)).to_pylist()
    rows += context.ledger.rows(call_ids).to_pylist()
    return {row["call_id"]: row for row in rows if row["status"] != FAILED}


def read_answers(
    run_id: str, jobs: Sequence[Job], calls: dict[str, dict[str, Any]], answer: type[M]
) -> tuple[list[tuple[Job, M]], list[dict[str, Any]]]:
    """Return what each job was answered, in order, and rows of `rejections` for what could not be read."""
    answered: list[tuple[Job, M]] = []
    refused: list[dict[str, Any]] = []
    for job in jobs:
        call = calls[job.request.call_id]
        call_id = call["call_id"]
        if call["reply"] is None:
            refused.append(rejection(run_id, call_id, -1, call["status"], call["error"] or "", ""))
            continue
        found = parse(call["reply"], answer)
        if isinstance(found, ParseFailure):
            refused.append(rejection(run_id, call_id, -1, found.reason, found.detail, call["reply"]))
            continue
        for number, problem in enumerate(found.problems):
            refused.append(rejection(run_id, call_id, -2 - number, problem.reason, problem.detail, ""))
        answered.append((job, found.value))
    return answered, refused


def rejection(run_id: str, call_id: str, index: int, reason: str, detail: str, text: str) -> dict[str, Any]:
    """Return a row of `rejections`; `index` -1 stands for a whole reply, lower ones for parts that were not found."""
    return {
        "run_id": run_id,
        "call_id": call_id,
        "index": index,
        "reason": reason,
        "detail": detail,
        "text": text,
    }


def _row(plan: Plan, settings: Llm, job: Job, result: ChatReply | CallFailure) -> dict[str, Any]:
    row: dict[str, Any] = {
        "call_id": result.call_id,
        "run_id": plan.run_id,
        "step": plan.step,
        "selection_id": job.selection_id,
        "model": settings.model,
        "base_url": settings.base_url,
        "template_hash": job.template_hash,
        "system": job.request.system,
        "user": job.request.user,
        "attempts": result.attempts,
        "latency_s": result.latency,
    }
    if isinstance(result, CallFailure):
        status = FAILED if result.retryable else REFUSED
        return row | {"status": status, "error": f"{result.error}: {result.message}"}
    return row | {
        "status": COMPLETE,
        "reply": result.text,
        "finish_reason": result.finish_reason,
        "mode": result.mode,
        "prompt_tokens": result.prompt_tokens,
        "completion_tokens": result.completion_tokens,
        "cost_usd": _cost(settings, result),
    }


def _cost(settings: Llm, reply: ChatReply) -> float | None:
    if settings.input_price is None or settings.output_price is None:
        return None
    if reply.prompt_tokens is None or reply.completion_tokens is None:
        return None
    return (reply.prompt_tokens * settings.input_price + reply.completion_tokens * settings.output_price) / 1e6
