"""Requests to a language model and their outcomes: rows of `calls`, in the ledger and in the Lance table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from synalign.config import Llm
from synalign.errors import ModelError, ModelRefusedError
from synalign.llm.transport.budget import cost, price_of
from synalign.llm.transport.chat import CallFailure, ChatReply, ChatRequest, Outcome
from synalign.steps.calling.spending import whole_calls
from synalign.steps.core.context import Context
from synalign.store.lake.journal import Plan
from synalign.store.lake.lake import is_in, quote
from synalign.store.ledger.ledger import COMPLETE, FAILED, REFUSED


@dataclass(frozen=True)
class Job:
    """One request, and the selection that it is made for. `repairs`: the id of an earlier call whose reply was invalid
    and is asked for again."""

    request: ChatRequest
    selection_id: str | None
    template_hash: str
    repairs: str | None = None


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
    unsettle(context, list(calls), cause)
    raise error


def unsettle(context: Context, call_ids: Sequence[str], cause: str) -> None:
    """Have calls asked again: mark them as failed in the ledger, and take them out of the table `calls`."""
    folded = context.lake.read("calls", where=is_in("call_id", call_ids)).to_pylist()
    # Those of another run that could use some other replies; gc may have trimmed them from the ledger.
    context.ledger.put(*[row | {"status": FAILED} for row in folded])
    context.ledger.fail(call_ids, cause)
    if folded:
        context.lake.delete("calls", is_in("call_id", [row["call_id"] for row in folded]))
