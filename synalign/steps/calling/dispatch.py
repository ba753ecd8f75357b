"""Sends requests to the language model through the ledger: what was answered once is never asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synalign.config import Llm
from synalign.errors import BudgetError, ModelRefusedError, ModelUnavailableError, UsageError
from synalign.llm.models import open_model
from synalign.llm.transport.budget import FREE
from synalign.llm.transport.chat import CallFailure, Outcome
from synalign.llm.transport.engine import run_calls
from synalign.steps.calling.batches import send_batches
from synalign.steps.calling.jobs import Job, known_mode, row_of, settled, unsettle
from synalign.steps.calling.spending import Spending
from synalign.steps.core.context import Context
from synalign.store.lake.journal import Plan
from synalign.store.ledger.ledger import COMPLETE, REFUSED


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
    if by_id.keys() <= known.keys():
        return known
    with context.calling():
        # Another process may have been waited for, which asked for some of them.
        known = settled(context, list(by_id))
        missing = [job for call_id, job in by_id.items() if call_id not in known]
        if not missing:
            return known
        context.ledger.require_writable()
        if settings.batch and not settings.model.startswith(FREE):
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
            release=spending.release if spending is not None else lambda _: None,
            notice=context.notice,
        )
    except ModelRefusedError as error:
        known = settled(context, list(by_id))
        unsettle(context, [name for name, call in known.items() if call["status"] == REFUSED], str(error))
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
