"""Many requests at once, each of them answered, refused or given up with its reason, and none lost.

The requests run in an event loop of their own, in another thread. Their outcomes go to the caller's thread, some at a
time, and count only when the caller has made them durable.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any

from synalign.config import Llm
from synalign.errors import BudgetError, ModelAuthError, ModelError, ModelRefusedError, ModelUnavailableError
from synalign.llm.transport.admission import Admission, Admitted
from synalign.llm.transport.chat import CallFailure, ChatModel, ChatReply, ChatRequest, Outcome
from synalign.llm.transport.interrupt import held_interrupt

#: Requests that may be given up before the first is answered; then all is.
GIVE_UP_AFTER = 3

#: Refusals in a row, as a multiple of the concurrency, after which all is given up if nothing was ever answered.
REFUSED_FACTOR = 3

# Seconds between looks for Ctrl-C, which cannot end a wait everywhere, and seconds that cancelled requests get to end.
_POLL, _GRACE = 0.1, 5.0
# Seconds in which outcomes gather that are made durable together: one by one they would cost as much as the requests.
_GATHER = 0.002
# Seconds before the second try of a request, its factor for each further try, and the longest.
_WAIT, _FACTOR, _LONGEST = 0.1, 4.0, 30.0
# Seconds of an outage after which an endpoint is given up that never answered anything.
_HOPELESS = 14.0
# A token is about so many bytes: for limits on tokens a minute, until a reply says how many there were.
_BYTES_A_TOKEN = 4


def run_calls(
    model_factory: Callable[[], ChatModel],
    requests: Sequence[ChatRequest],
    on_results: Callable[[Sequence[Outcome]], None],
    *,
    settings: Llm,
    answered: bool = False,
    grant: Callable[[ChatRequest], bool] | None = None,
    release: Callable[[Collection[str]], None] = lambda _: None,
    notice: Callable[[str], None] = lambda _: None,
) -> None:
    """Send all requests, and hand their outcomes to `on_results` as they arrive, some at a time.

    `on_results`, `grant`, `release` and `notice` are called in the caller's thread. No more outcomes than
    `settings.concurrency` wait to be handed over; then nothing new is sent. `model_factory` is called in the thread of
    the requests, so all of this works inside a running event loop. Requests with the same call_id are sent once.

    What fails for a reason that may pass is tried again, up to `settings.max_attempts` times, and then becomes a
    CallFailure, as does what fails by itself. The others go on. How many are under way adapts to the endpoint, and
    sending pauses when nothing is answered; see `synalign.llm.transport.limits`. Tries in such an outage of an
    endpoint that answered before do not count, for `settings.patience` seconds.

    `answered` says that the endpoint answered something before this call. `grant` is asked before each request is sent,
    and again before one is sent that may have been billed already: what it says no to waits until others have ended.
    `release` is told at the end of those (call_id) that were granted, have no outcome and cannot have been billed.
    `notice` is told what a user should know while it waits.

    A first Ctrl-C sends nothing more, waits for the requests under way and hands their outcomes over; a second drops
    them. Neither interrupts `on_results`: no reply is half written.

    Raises:
        ModelAuthError, ConfigError: from the model. Requests under way are cancelled if nothing was ever answered.
        ModelUnavailableError: if GIVE_UP_AFTER requests were given up before anything was answered, or an outage began
            and did not soon end; or nothing has been answered for `settings.patience` seconds. The outcomes until then
            were handed over.
        ModelRefusedError: if nothing was ever answered, and very many were refused.
        BudgetError: if `grant` says no while nothing is under way.
        KeyboardInterrupt: after Ctrl-C.
        Exception: whatever `on_results` raised; nothing is handed over after it.
    """
    unique = list({request.call_id: request for request in requests}.values())
    if not unique:
        return
    events: SimpleQueue[_Event | None] = SimpleQueue()
    calls = _Calls(unique, events, settings, answered, grant is not None)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="synalign-llm", daemon=True)
    consumer = _ResultConsumer(calls, loop, on_results, grant, notice)
    with held_interrupt(events) as interrupt:
        thread.start()
        work = asyncio.run_coroutine_threadsafe(calls.run(model_factory), loop)
        work.add_done_callback(lambda _: events.put(None))
        presses = 0
        try:
            while not (work.done() and events.empty()):
                consumer.take(events)
                if interrupt.presses > presses:
                    presses = interrupt.presses
                    loop.call_soon_threadsafe(calls.drain if presses == 1 else calls.stop)
                    if presses == 1 and calls.sending:
                        notice(f"Waiting for {len(calls.sending)} calls under way. Ctrl-C again drops them.")
        finally:
            loop.call_soon_threadsafe(calls.stop)
            concurrent.futures.wait([work], timeout=_GRACE)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=_GRACE)
            if not thread.is_alive():
                loop.close()
    release(consumer.granted - calls.billed)
    if interrupt.presses:
        raise KeyboardInterrupt
    work.result()


@dataclass(frozen=True)
class _Event:
    """What goes to the caller's thread: an outcome, a request that wants a grant, or a notice."""

    outcome: Outcome | None = None
    wanted: tuple[ChatRequest, asyncio.Future[bool]] | None = None
    notice: str | None = None


class _ResultConsumer:
    """The part of `run_calls` that lives in the caller's thread."""

    def __init__(
        self,
        calls: _Calls,
        loop: asyncio.AbstractEventLoop,
        on_results: Callable[[Sequence[Outcome]], None],
        grant: Callable[[ChatRequest], bool] | None,
        notice: Callable[[str], None],
    ) -> None:
        self._calls, self._loop = calls, loop
        self._on_results, self._grant, self._notice = on_results, grant, notice
        self._wanted: deque[tuple[ChatRequest, asyncio.Future[bool]]] = deque()
        self.granted: set[str] = set()  # requests that were granted and have not ended

    def take(self, events: SimpleQueue[_Event | None]) -> None:
        """Handle all events that are there; wait a moment for the first."""
        outcomes: list[Outcome] = []
        with contextlib.suppress(Empty):
            event = events.get(timeout=_POLL)
            time.sleep(_GATHER)
            while True:
                if event is not None and event.outcome is not None:
                    outcomes.append(event.outcome)
                elif event is not None and event.wanted is not None:
                    self._wanted.append(event.wanted)
                elif event is not None and event.notice is not None:
                    self._notice(event.notice)
                event = events.get_nowait()
        if outcomes:
            self._on_results(outcomes)
            self.granted -= {outcome.call_id for outcome in outcomes}
            self._loop.call_soon_threadsafe(self._calls.made_durable, len(outcomes))
        if self._grant is not None:
            self._give(self._grant)

    def _give(self, grant: Callable[[ChatRequest], bool]) -> None:
        while self._wanted:
            request, answer = self._wanted[0]
            if not answer.done():  # else nobody waits for it any more
                allowed = grant(request)
                # What is under way may give something back; what waits here itself may not.
                if not allowed and self.granted - {waiting.call_id for waiting, _ in self._wanted}:
                    return
                # One that is told no ends without an outcome: others do not wait for it.
                (self.granted.add if allowed else self.granted.discard)(request.call_id)
                self._loop.call_soon_threadsafe(_resolve, answer, allowed)
            self._wanted.popleft()


def _resolve(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)


class _Calls:
    """The part of `run_calls` that lives in the event loop."""

    def __init__(
        self,
        requests: list[ChatRequest],
        events: SimpleQueue[_Event | None],
        settings: Llm,
        answered: bool,
        metered: bool,
    ) -> None:
        self._waiting = iter(requests)
        self._events = events
        self._settings = settings
        self._answered = answered
        self._metered = metered
        self._admission = Admission(settings, lambda text: events.put(_Event(notice=text)))
        self._tasks: set[asyncio.Task[None]] = set()
        self._sender: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._drained = asyncio.Event()
        self._not_durable = self._given_up = self._refused = 0
        self._stopping = False
        self.sending: set[asyncio.Task[Any] | None] = set()  # those whose request is with the endpoint
        self.billed: set[str] = set()  # requests that may have been billed

    def made_durable(self, count: int) -> None:
        """So many outcomes are durable; called inside the loop."""
        self._not_durable -= count
        self._drained.set()

    def drain(self) -> None:
        """Send nothing more, and let what is under way end; called inside the loop."""
        self._stopping = True
        if self._sender is not None:
            self._sender.cancel()
        for task in self._tasks - self.sending:
            task.cancel()

    def stop(self) -> None:
        """Cancel all that is under way; called inside the loop."""
        self.drain()
        for task in self._tasks:
            task.cancel()

    async def run(self, model_factory: Callable[[], ChatModel]) -> None:
        """Send everything; raise the first error that concerns all requests."""
        model = model_factory()
        try:
            self._sender = asyncio.create_task(self._send_all(model))
            if self._stopping:
                self.stop()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            self.stop()
            await model.close()
        if self._error is not None:
            raise self._error

    async def _send_all(self, model: ChatModel) -> None:
        # More than may be with the endpoint at once: those that wait for their next try hold nobody up.
        places = asyncio.Semaphore(2 * self._settings.concurrency)
        for request in self._waiting:
            while self._not_durable >= self._settings.concurrency:
                self._drained.clear()
                await self._drained.wait()
            await places.acquire()
            task = asyncio.create_task(self._work(model, request))
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._ended(done, places))

    def _ended(self, task: asyncio.Task[None], places: asyncio.Semaphore) -> None:
        self._tasks.discard(task)
        places.release()
        error = None if task.cancelled() else task.exception()
        if error is None or not isinstance(self._error, BudgetError | None):  # those after a BudgetError go on
            return
        self._error = error
        if isinstance(error, BudgetError) and self._sender is not None:
            self._sender.cancel()  # those that were granted go on, with all their tries
        elif isinstance(error, ModelError) and self._answered:
            self.drain()  # what is under way may be answered, and is paid for
        else:
            self.stop()

    async def _work(self, model: ChatModel, request: ChatRequest) -> None:
        outcome = await self._outcome(model, request)
        self._not_durable += 1
        self._events.put(_Event(outcome))
        self._count(outcome)

    async def _outcome(self, model: ChatModel, request: ChatRequest) -> Outcome:
        """Send a request until it is answered, refused or given up.

        The loop is our own, not a library's: what a failed try means for the next one depends on admission, the
        budget and what became of all other requests.
        """
        started, spent, tries, uncertain, granted = time.perf_counter(), 0, 0, False, False
        tokens = request.most_prompt_tokens / _BYTES_A_TOKEN + (request.max_tokens or 0)
        while True:
            if self._metered and (uncertain or not granted):
                await self._granted(request)
                granted = True
            # In an outage others try first: those that fail may be the reason of it.
            entry = await self._admission.enter(tokens, again=tries > 0 and not self._admission.outage)
            self.billed.add(request.call_id)
            tries += 1
            try:
                reply = await self._send(model, request, entry)
            except ModelError as error:
                spent += vars(error).get("attempts", 1)
                uncertain = vars(error).get("uncertain", False)  # of a refusal too: it may be a reply
                if not uncertain:
                    self.billed.discard(request.call_id)
                if isinstance(error, ModelAuthError):
                    raise
                if not isinstance(error, ModelUnavailableError) or self._enough(tries, error):
                    latency, name = time.perf_counter() - started, type(error).__name__
                    retryable = error.retryable
                    return CallFailure(request.call_id, name, str(error), retryable, spent, latency, uncertain)
                wait = _backoff(tries, error)
            else:
                latency = time.perf_counter() - started
                return replace(reply, attempts=spent + reply.attempts, latency=latency)
            await asyncio.sleep(wait)

    def _enough(self, tries: int, error: ModelUnavailableError) -> bool:
        """Return whether a request is given up that has just failed."""
        if self._stopping or (error.retry_after or 0.0) > self._settings.patience:
            return True
        if self._answered and self._admission.outage:
            return self._admission.silence > self._settings.patience
        return self._hopeless or tries >= self._settings.max_attempts

    @property
    def _hopeless(self) -> bool:
        return not self._answered and self._admission.outage > _HOPELESS

    async def _send(self, model: ChatModel, request: ChatRequest, entry: Admitted) -> ChatReply:
        """Send an admitted request, and report to the admission control what came of it."""
        task = asyncio.current_task()
        self.sending.add(task)
        try:
            reply = await model.complete(request)
        except ModelUnavailableError as error:
            self._admission.failed(error)
            raise
        except ModelRefusedError:
            self._admission.refused()
            raise
        except BaseException:
            self._admission.leave()
            raise
        finally:
            self.sending.discard(task)
        known = reply.prompt_tokens is not None and reply.completion_tokens is not None
        self._admission.answered(entry, (reply.prompt_tokens or 0) + (reply.completion_tokens or 0) if known else None)
        return reply

    async def _granted(self, request: ChatRequest) -> None:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._events.put(_Event(wanted=(request, answer)))
        if not await answer:
            raise BudgetError("The next request could pass the budget.")

    def _count(self, outcome: Outcome) -> None:
        if isinstance(outcome, ChatReply):
            self._answered = True
            self._given_up = self._refused = 0
            return
        if outcome.retryable:
            self._given_up += 1
        else:
            self._refused += 1
        if self._refused >= REFUSED_FACTOR * self._settings.concurrency and not self._answered:
            raise ModelRefusedError(
                f"{self._refused} requests were refused and none was answered, so the rest was not sent. The last: "
                f"{outcome.message} Correct what was refused and run the step again: it asks again."
            )
        if outcome.retryable and not self._answered and (self._given_up >= GIVE_UP_AFTER or self._hopeless):
            raise ModelUnavailableError(
                f"Nothing was answered and {self._given_up} given up after at most {self._settings.max_attempts} tries "
                f"each, so the rest was not sent. The last: {outcome.message} Run the step again to go on."
            )
        if outcome.retryable and self._admission.silence > self._settings.patience:
            raise ModelUnavailableError(
                f"Nothing was answered for {self._admission.silence:.0f} s (llm.patience is "
                f"{self._settings.patience:g}), so the rest was not sent. The last: {outcome.message} What was "
                "received is kept; run the step again to go on."
            )


def _backoff(tries: int, error: ModelUnavailableError) -> float:
    """Return the seconds before the next try: longer each time, with jitter, and never less than was asked for."""
    backoff = min(_LONGEST, _WAIT * _FACTOR ** (tries - 1)) + random.uniform(0, _WAIT)
    return max(backoff, error.retry_after or 0.0)
