"""Sends requests to the language model through the ledger: what was answered once is never asked again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from synalign.config import Llm
from synalign.errors import BudgetError, ModelError, ModelRefusedError, ModelUnavailableError, UsageError
from synalign.llm.budget import FREE, cost, price_of
from synalign.llm.chat import CallFailure, ChatReply, ChatRequest, Outcome
from synalign.llm.engine import run_calls
from synalign.llm.models import open_model
from synalign.steps.context import Context
from synalign.steps.spending import Spending, whole_calls
from synalign.store.journal import Plan
from synalign.store.lake import is_in, quote
from synalign.store.ledger import COMPLETE, FAILED, REFUSED


@dataclass(frozen=True)
class Job:
    """One request, and the selection that it is made for. `repairs`: the call whose answer it asks for again."""

    request: ChatRequest
    selection_id: str | None
    template_hash: str
    repairs: str | None = None


def send(context: Context, plan: Plan, settings: Llm, jobs: Sequence[Job]) -> dict[str, dict[str, Any]]:
    """Have every job answered or refused; return the rows of `calls` by call_id. Others may write meanwhile.

    Raises:
        ModelUnavailableError: if some requests got no reply for a reason that may pass. All replies that came are in
            the ledger, and the next run asks only for the others.
        ModelRefusedError: if the first requests were all refused, so that the rest was not sent; all are asked again.
        BudgetError: if the next request could pass the budget; the rest was not sent.
        ModelAuthError, ConfigError: if no request can be answered as things are set up.
        WorkspaceBusyError: if another process is asking the language model.
    """
    by_id = {job.request.call_id: job for job in jobs}
    known = settled(context, list(by_id))
    missing = [job for call_id, job in by_id.items() if call_id not in known]
    if not missing:
        return known
    with context.calling():
        if settings.batch and not settings.model.startswith(FREE):
            from synalign.steps.batches import send_batches

            send_batches(context, plan, settings, missing)
        else:
            _send_now(context, plan, settings, by_id, missing, known)
    return settled(context, list(by_id))


def _send_now(
    context: Context,
    plan: Plan,
    settings: Llm,
    by_id: dict[str, Job],
    missing: Sequence[Job],
    known: dict[str, dict[str, Any]],
) -> None:
    _refuse_open_batches(context, by_id)
    spending = Spending.of(context, settings)
    done = len(known)
    what = f"{plan.step}: calls of {settings.model}"
    failures: list[CallFailure] = []

    def keep(outcomes: Sequence[Outcome]) -> None:
        nonlocal done
        finished = spending.end(outcomes) if spending is not None else []
        rows = [row_of(context, plan, settings, by_id[outcome.call_id], outcome) for outcome in outcomes]
        context.ledger.put(*rows, settled=finished)
        failures.extend(found for found in outcomes if isinstance(found, CallFailure) and found.retryable)
        done += len(outcomes)
        context.progress(what, done, len(by_id))

    context.progress(what, done, len(by_id))
    mode = known_mode(context, settings)
    try:
        run_calls(
            lambda: open_model(settings, context.root, mode),
            [job.request for job in missing],
            keep,
            settings=settings,
            answered=any(call["status"] == COMPLETE for call in known.values()),
            grant=spending.grant if spending is not None else None,
            notice=context.notice,
        )
    except ModelRefusedError as error:
        known = settled(context, list(by_id))
        _unsettle(context, [name for name, call in known.items() if call["status"] == REFUSED], str(error))
        raise
    except BudgetError as error:
        assert spending is not None
        left = len(by_id) - len(settled(context, list(by_id)))
        raise BudgetError(
            f"{plan.step}: the budget is reached: {spending.said()}, and the next call could pass it. {left} of "
            f"{len(by_id)} calls were not made. What was received is kept; give a larger budget and run the step again "
            "to go on."
        ) from error
    if failures:
        raise ModelUnavailableError(
            f"{len(failures)} of {len(by_id)} calls got no reply, the last: {failures[-1].message} The other replies "
            "are kept; run the step again to ask for these only."
        )


def _refuse_open_batches(context: Context, by_id: Mapping[str, Job]) -> None:
    """Raise UsageError if a batch that is under way asks for some of the calls: they would be paid for twice."""
    for batch in context.ledger.batches():
        both = by_id.keys() & set(batch.call_ids) if batch.finished_at is None else ()
        if both:
            raise UsageError(
                f"{len(both)} of these calls are asked for by the batch {batch.batch_id!r}, which is under way. Run "
                "the step with batch=True (--batch) to fetch it, or cancel it at the provider and then do that."
            )


def known_mode(context: Context, settings: Llm) -> str | None:
    """Return how structure was asked for in the last call of this model that this endpoint answered."""
    if settings.base_url is None:
        return None
    where = f"model = {quote(settings.model)} and base_url = {quote(settings.base_url)} and status = '{COMPLETE}'"
    found = context.lake.read("calls", ["mode", "finished_at"], where).to_pylist()
    return max(found, key=lambda row: row["finished_at"])["mode"] if found else None


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
    # Those of another run that could use some other replies; gc may have trimmed them from the ledger.
    context.ledger.put(*[row | {"status": FAILED} for row in folded])
    context.ledger.fail(call_ids, cause)
    if folded:
        context.lake.delete("calls", is_in("call_id", [row["call_id"] for row in folded]))


def settled(context: Context, call_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the calls, of those named, that are complete or refused for good, by call_id."""
    return {row["call_id"]: row for row in whole_calls(context, call_ids) if row["status"] != FAILED}


def row_of(
    context: Context, plan: Plan, settings: Llm, job: Job, outcome: Outcome, batch_id: str | None = None
) -> dict[str, Any]:
    """Return the row of `calls` for what came of a request."""
    request = job.request
    row: dict[str, Any] = {
        "call_id": outcome.call_id,
        "run_id": plan.run_id,
        "step": plan.step,
        "selection_id": job.selection_id,
        "model": settings.model,
        "base_url": settings.base_url,
        "template_hash": job.template_hash,
        "system": request.system,
        "user": "\n\n".join([request.user, *(f"[{role}]\n{text}" for role, text in request.turns)]),
        "attempts": outcome.attempts,
        "latency_s": outcome.latency,
        "subject": request.subject,
        "seed": request.seed,
        "repairs": job.repairs,
        "batch_id": batch_id,
    }
    if isinstance(outcome, CallFailure):
        status = FAILED if outcome.retryable else REFUSED
        return row | {"status": status, "error": f"{outcome.error}: {outcome.message}"}
    return row | {
        "status": COMPLETE,
        "reply": outcome.text,
        "finish_reason": outcome.finish_reason,
        "mode": outcome.mode,
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "cost_usd": _cost(context, settings, outcome, batch_id is not None),
    }


def _cost(context: Context, settings: Llm, reply: ChatReply, batch: bool) -> float | None:
    price = price_of(settings.model, context.config.prices)
    return cost(price, reply.prompt_tokens, reply.completion_tokens, batch)
