"""Sends requests in batches: cheaper, and answered within a day or so, whichever process is there then to fetch them.

A batch is in the ledger before the provider is asked to take it, under the digest of its calls, and under the
provider's id from then on. So a process that is killed anywhere leaves what the next one needs to find it again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from synalign.config import Llm
from synalign.errors import BudgetError, ConfigError, ModelError, ModelRefusedError, ModelUnavailableError
from synalign.llm.transport import batch as provider
from synalign.llm.transport.batch import BatchApi, State, digest_of
from synalign.llm.transport.chat import CallFailure, ChatReply, ChatRequest, Outcome
from synalign.llm.transport.client import AbsentError
from synalign.steps.calling.jobs import Job, known_mode, row_of, settled
from synalign.steps.calling.spending import Spending
from synalign.steps.core.context import Context
from synalign.store.lake.journal import Plan
from synalign.store.ledger.ledger import Batch

#: A batch that the provider does not know is given up after so long: it keeps replies for a month.
GONE_AFTER = timedelta(days=30)

# How the id of a batch begins that the provider may not have taken; its digest follows.
_NEW = "new:"
# Replies that are made durable together.
_BLOCK = 500


def send_batches(context: Context, plan: Plan, settings: Llm, jobs: Sequence[Job]) -> None:
    """Have every job answered or refused in the ledger, through the provider's batch API.

    Jobs that are in batches of an earlier process are waited for and not asked again. Ctrl-C leaves batches running:
    nothing is lost, and the next call fetches them.

    Raises:
        ModelUnavailableError: if some requests got no reply for a reason that may pass, or the provider cannot be
            reached. The other replies are in the ledger, batches under way go on, and the next call asks for the rest.
        ModelRefusedError: if the provider did not take a batch; those that it took were waited for.
        BudgetError: if not all requests fit the budget; those that do were sent and waited for.
        ConfigError: if the endpoint has no batch API. Nothing was sent then.
        ModelAuthError: if the key may not use it.
    """
    with closing(BatchApi(settings, known_mode(context, settings))) as api:
        sending = _Sending(context, plan, settings, jobs, api)
        batches = sending.found_again()
        sent, left = sending.submit()
        sending.fetch(batches + sent)
        error = sending.error(left)
        # Last of all, when all replies are durable; and it must not hide what else went wrong.
        with nullcontext() if error is None else suppress(ModelError, ConfigError):
            sending.tidy()
    if error is not None:
        raise error


class _Sending:
    """The batches of some jobs, and what came of them."""

    def __init__(self, context: Context, plan: Plan, settings: Llm, jobs: Sequence[Job], api: BatchApi) -> None:
        self._context, self._plan, self._settings, self._api = context, plan, settings, api
        self._ledger = context.ledger
        self._jobs = {job.request.call_id: job for job in jobs}
        self._spending = Spending.of(context, settings)
        self._held: dict[str, int] = {}  # reservations of earlier processes, where no budget is kept now
        self._under_way: set[str] = set()
        self._uploads: list[str] = []
        self._failures: list[CallFailure] = []
        self._refusal: str | None = None
        self._stopped: ModelError | ConfigError | None = None  # why no more could be sent
        self._what = f"{plan.step}: batches of {settings.model}"

    def found_again(self) -> list[Batch]:
        """Return the batches of earlier processes that hold some of the jobs, and take their reservations over."""
        newest = {reservation[1]: reservation for reservation in self._ledger.reserved()}
        found: list[Batch] = []
        for batch in self._ledger.batches():
            elsewhere = batch.finished_at is not None or batch.base_url != self._settings.base_url
            if elsewhere or self._jobs.keys().isdisjoint(batch.call_ids):
                continue
            for call_id in batch.call_ids:
                if call_id in newest and self._spending is not None:
                    self._spending.take_over(*newest[call_id])
                elif call_id in newest:
                    self._held[call_id] = newest[call_id][0]
            taken = self._taken(batch) if batch.batch_id.startswith(_NEW) else batch
            if taken is not None:
                found.append(taken)
                self._under_way.update(taken.call_ids)
        return found

    def _taken(self, batch: Batch) -> Batch | None:
        """Return a batch whose process was killed while it was sent as the provider has it, or forget it."""
        try:
            state = self._api.find(batch.batch_id.removeprefix(_NEW), self._known())
        except AbsentError:  # it may have been taken, and be billed: what is reserved stays so
            self._ledger.drop_batch(batch)
            return None
        if state is None:
            self._ledger.drop_batch(batch, self._given_back(batch.call_ids))
            return None
        return self._named(batch, state)

    def submit(self) -> tuple[list[Batch], int]:
        """Send the jobs that are in no batch, as many as the budget lets, in order; return the batches, and how many
        jobs were not sent.

        An error ends it and is kept: replies that are paid for are fetched before it is raised.
        """
        rest = [job.request for call_id, job in self._jobs.items() if call_id not in self._under_way]
        sent: list[Batch] = []
        while rest:
            fitting = rest[: provider.MOST_REQUESTS]
            if self._spending is not None:
                fitting = fitting[: self._spending.fit(fitting)]
            if not fitting:
                break
            count, content = self._api.pack(fitting)
            try:
                sent.append(self._sent(fitting[:count], content))
            except (ModelError, ConfigError) as error:
                self._stopped = error
                if sent or self._under_way:
                    self._context.notice(f"No more can be sent: {error} What was sent before is waited for.")
                break
            rest = rest[count:]
        return sent, len(rest)

    def _sent(self, requests: Sequence[ChatRequest], content: bytes) -> Batch:
        call_ids = tuple(request.call_id for request in requests)
        digest = digest_of(call_ids)
        where = self._settings.model, self._settings.base_url
        batch = Batch(_NEW + digest, self._plan.run_id, *where, None, call_ids, "new", datetime.now(UTC))
        self._ledger.put_batch(batch)
        if self._spending is not None:
            self._spending.grant_all(requests)
        try:
            state = self._api.submit(content, digest, self._known())
        except (ModelError, ConfigError) as error:
            if not (isinstance(error, ModelUnavailableError) and error.uncertain):
                self._ledger.drop_batch(batch, self._given_back(call_ids))
            raise
        return self._named(batch, state)

    def _named(self, batch: Batch, state: State) -> Batch:
        named = replace(batch, batch_id=state.batch_id, input_file_id=state.input_file_id, status=state.status)
        self._ledger.put_batch(named, instead_of=batch.batch_id)
        return named

    def _known(self) -> set[str]:
        return {batch.batch_id for batch in self._ledger.batches() if batch.base_url == self._settings.base_url}

    def fetch(self, batches: Sequence[Batch]) -> None:
        """Wait until all batches have ended, and keep what came of each as soon as it has."""
        waiting = list(batches)
        total = sum(len(batch.call_ids) for batch in waiting)
        ended, seconds, told = 0, provider.FIRST_POLL, False
        while waiting:
            going: list[Batch] = []
            done = 0
            for batch in waiting:
                try:
                    state = self._api.state(batch.batch_id)
                    if state.final:
                        self._take(batch, state)
                except AbsentError as error:
                    self._lose(batch, error)
                else:
                    if not state.final:
                        going.append(batch)
                        done += state.done
                        continue
                ended += len(batch.call_ids)
            waiting = going
            self._context.progress(self._what, min(ended + done, total), total)
            if waiting:
                if not told:
                    self._context.notice(_listed_batches(waiting))
                    told = True
                time.sleep(seconds)
                seconds = min(seconds * provider.POLL_FACTOR, provider.LONGEST_POLL)

    def _take(self, batch: Batch, state: State) -> None:
        """Keep what came of a batch that has ended."""
        upload = batch.input_file_id or state.input_file_id
        if upload is not None:
            self._uploads.append(upload)
        if state.status == "failed":
            self._fail(batch, state)
            return
        open_ = self._jobs.keys() & set(batch.call_ids)
        block: list[Outcome] = []
        for outcome in self._api.replies(state, batch.submitted_at):
            if outcome.call_id in open_:
                open_.discard(outcome.call_id)
                block.append(outcome)
            if len(block) == _BLOCK:
                self._keep(batch, block)
                block = []
        self._keep(batch, block)
        self._miss(open_, f"batch {batch.batch_id} ended ({state.status}) before their turn")
        # Calls that nobody asks for now, and which have no outcome yet: they are fetched when they are asked for.
        others = [call_id for call_id in batch.call_ids if call_id not in self._jobs]
        known = settled(self._context, others) if others else {}
        self._finish(batch, state.status, [name for name in others if name not in known], self._given_back(open_))

    def _keep(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        rows = [
            row_of(self._context, self._plan, self._settings, self._jobs[found.call_id], found, batch.batch_id)
            for found in outcomes
        ]
        self._ledger.put(*rows, settled=self._end(outcomes))
        self._failures += [found for found in outcomes if isinstance(found, CallFailure) and found.retryable]

    def _fail(self, batch: Batch, state: State) -> None:
        """Note that the provider did not take a batch after all: nothing of it was answered or billed."""
        said = f"batch {batch.batch_id} of {len(batch.call_ids)} requests was not taken: {state.problem}"
        if state.passing:
            self._miss(self._jobs.keys() & set(batch.call_ids), said)
        else:
            self._refusal = said
        self._finish(batch, state.status, (), self._given_back(batch.call_ids))

    def _lose(self, batch: Batch, error: AbsentError) -> None:
        """Give up a batch that the provider has no longer. What is reserved for it stays so: it was paid."""
        endpoint = self._api.endpoint
        if datetime.now(UTC) - batch.submitted_at < GONE_AFTER:
            raise ConfigError(
                f"Batch {batch.batch_id} of {len(batch.call_ids)} requests, sent on {batch.submitted_at:%Y-%m-%d %H:%M}"
                f" UTC, is not known to {endpoint.base_url} ({error}). Set {endpoint.key_env} to a key of the account "
                "that sent it; or leave llm.batch (--batch) out, and its requests are asked again one by one."
            ) from error
        self._miss(self._jobs.keys() & set(batch.call_ids), f"batch {batch.batch_id} is gone ({error})")
        self._finish(batch, "gone", (), ())

    def _finish(self, batch: Batch, status: str, left: Iterable[str], reservations: Sequence[int]) -> None:
        left = tuple(left)
        finished = None if left else datetime.now(UTC)
        self._ledger.put_batch(replace(batch, status=status, call_ids=left, finished_at=finished), settled=reservations)

    def _miss(self, call_ids: Iterable[str], cause: str) -> None:
        self._failures += [_unanswered(call_id, cause) for call_id in call_ids]

    def _given_back(self, call_ids: Iterable[str]) -> list[int]:
        """Return the reservations, which are done with, of requests that were not answered and not billed."""
        return self._end([_unanswered(call_id, "") for call_id in call_ids])

    def _end(self, outcomes: Sequence[Outcome]) -> list[int]:
        if self._spending is not None:
            return self._spending.end(outcomes)
        held = [found for found in outcomes if found.call_id in self._held and _cost_is_known(found)]
        return [self._held.pop(found.call_id) for found in held]

    def error(self, left: int) -> ModelError | ConfigError | None:
        """Return what is to be raised when all batches have ended; `left`: jobs that were not sent."""
        step, asked = self._plan.step, len(self._jobs)
        if self._stopped is not None:
            return self._stopped
        if self._refusal is not None:
            return ModelRefusedError(
                f"{step}: {self._refusal}. Correct llm.model or what else it says, and run the step again. What other "
                "batches brought is kept."
            )
        if left:
            assert self._spending is not None
            return BudgetError(
                f"{step}: {left} of {asked} calls were not made, for they could pass the budget: "
                f"{self._spending.said()}. What was received is kept; run the step again to go on with what is left of "
                "the budget, or give a larger one."
            )
        if self._failures:
            return ModelUnavailableError(
                f"{step}: {len(self._failures)} of {asked} calls got no reply, the last: "
                f"{self._failures[-1].message.removesuffix('.')}. The other replies are kept; run the step again to "
                "ask for these only."
            )
        return None

    def tidy(self) -> None:
        """Have the provider delete the uploaded requests of batches that have ended.

        Raises:
            ModelError: or one of its kinds, if it cannot be asked. All replies are durable nevertheless.
        """
        while self._uploads:
            self._api.remove(self._uploads.pop())


def _listed_batches(batches: Sequence[Batch]) -> str:
    names = ", ".join(batch.batch_id for batch in batches[:3]) + (", ..." if len(batches) > 3 else "")
    if len(batches) == 1:
        said = f"Batch {names} is under way; it may take a day. Ctrl-C leaves it running"
        return f"{said}, and the same command fetches it."
    said = f"Batches {names} are under way; they may take a day. Ctrl-C leaves them running"
    return f"{said}, and the same command fetches them."


def _unanswered(call_id: str, cause: str) -> CallFailure:
    return CallFailure(call_id, "ModelUnavailableError", cause, retryable=True, attempts=0, latency=0.0)


def _cost_is_known(outcome: Outcome) -> bool:
    if isinstance(outcome, ChatReply):
        return outcome.prompt_tokens is not None and outcome.completion_tokens is not None
    return not outcome.uncertain
