"""One request to a language model, what comes of it, and many of them at once.

A request is named by the content that decides its reply (`call_id`), so that a resumed run can leave out what it has.
`run_calls` hands each outcome to its caller before that outcome counts: the caller writes it to a durable ledger.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from synalign import ids
from synalign.errors import ModelAuthError, ModelError, ModelRefusedError, ModelUnavailableError, SynAlignError

#: Requests, as a multiple of the concurrency, that may fail alike in a row before all is given up.
GIVE_UP_FACTOR = 3

# Seconds between looks for Ctrl-C, which cannot end a wait everywhere, and seconds that cancelled requests get to end.
_POLL, _GRACE = 0.1, 5.0

ErrorT = TypeVar("ErrorT", bound=SynAlignError)


@dataclass(frozen=True)
class ChatRequest:
    """All that decides one reply. `count`: the records asked for, for models that do not read prose. `recording`: the
    hash of the recording that answers, if one does."""

    model: str
    base_url: str | None
    system: str
    user: str
    schema_name: str
    schema: Mapping[str, Any]
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    count: int | None = None
    recording: str | None = None

    @cached_property
    def call_id(self) -> str:
        """The name of this request: a hash of all of its fields."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if self.recording is None:  # names that were given before there was this field stay as they are
            del fields["recording"]
        return ids.digest(["chat/1", fields | {"schema": dict(self.schema)}])


@dataclass(frozen=True)
class ChatReply:
    """A received reply, not yet parsed.

    `mode`: how structure was asked for: "json_schema", "json_object" or "text". `latency`: seconds, retries included.
    `attempts`: HTTP requests that were sent for it. Token counts are None where the model reports none.
    """

    call_id: str
    text: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    attempts: int
    latency: float
    mode: str


@dataclass(frozen=True)
class CallFailure:
    """A request that got no usable reply; `error` is the class name of the typed error. The others went on."""

    call_id: str
    error: str
    message: str
    retryable: bool
    attempts: int
    latency: float


Outcome = ChatReply | CallFailure


class ChatModel(Protocol):
    """Something that answers chat requests; used inside one event loop."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request.

        Raises:
            ModelUnavailableError: the model may answer later; retries are used up.
            ModelRefusedError: this one request was refused; others may be answered.
            ModelAuthError, ConfigError: no request can be answered as things are set up.
        """

    async def close(self) -> None:
        """Give back connections. The model answers nothing afterwards."""


def attempted(error: ErrorT, attempts: int) -> ErrorT:
    """Return `error` with the number of HTTP requests that were sent before it, for `CallFailure.attempts`."""
    vars(error)["attempts"] = attempts
    return error


def run_calls(
    model_factory: Callable[[], ChatModel],
    requests: Sequence[ChatRequest],
    on_result: Callable[[Outcome], None],
    *,
    concurrency: int,
    answered: bool = False,
) -> None:
    """Send all requests, at most `concurrency` at a time, and hand each outcome to `on_result` as it arrives.

    `on_result` is called in the caller's thread; a request's place goes to the next one only after it returned. The
    requests run in an event loop of their own in another thread, where `model_factory` is called as well, so this
    works inside a running event loop. Requests with the same call_id are sent once.

    A request that fails by itself becomes a CallFailure. All is given up when GIVE_UP_FACTOR * concurrency outcomes in
    a row were ModelUnavailableError: each of them has used up its own retries by then. The same holds for refusals, as
    long as nothing was ever answered; `answered` says that something was, before this call.

    Ctrl-C stops the requests under way; replies received by then still go to `on_result`. A first Ctrl-C never
    interrupts `on_result`: no reply is half written.

    Raises:
        ModelAuthError, ConfigError: from the model, at once: the requests under way are cancelled.
        ModelUnavailableError, ModelRefusedError: by the rules above. The outcomes until then were handed over.
        KeyboardInterrupt: after Ctrl-C.
        Exception: whatever `on_result` raised; nothing is handed over after it.
    """
    unique = list({request.call_id: request for request in requests}.values())
    if not unique:
        return
    outbox: SimpleQueue[_Delivery | None] = SimpleQueue()
    calls = _Calls(unique, outbox, concurrency, answered)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="synalign-llm", daemon=True)
    with _held_interrupt(outbox) as interrupted:
        thread.start()
        work = asyncio.run_coroutine_threadsafe(calls.run(model_factory), loop)
        work.add_done_callback(lambda _: outbox.put(None))
        try:
            while not interrupted.is_set():
                with contextlib.suppress(Empty):
                    _hand_over(outbox.get(timeout=_POLL), on_result)
                if work.done() and outbox.empty():
                    work.result()
                    return
            loop.call_soon_threadsafe(calls.stop)
            concurrent.futures.wait([work], timeout=_GRACE)
            while not outbox.empty():
                _hand_over(outbox.get(), on_result)
        finally:
            loop.call_soon_threadsafe(calls.stop)
            concurrent.futures.wait([work], timeout=_GRACE)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=_GRACE)
            if not thread.is_alive():
                loop.close()
    if interrupted.is_set():
        raise KeyboardInterrupt


@dataclass(frozen=True)
class _Delivery:
    """An outcome on its way to the caller's thread; `taken` is resolved once `on_result` returned."""

    outcome: Outcome
    taken: asyncio.Future[None]


def _hand_over(delivery: _Delivery | None, on_result: Callable[[Outcome], None]) -> None:
    if delivery is None:  # only a wake-up
        return
    on_result(delivery.outcome)
    delivery.taken.get_loop().call_soon_threadsafe(_resolve, delivery.taken)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@contextlib.contextmanager
def _held_interrupt(outbox: SimpleQueue[Any]) -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event and a wake-up; a second raises. Another's handler is left alone."""
    pressed = threading.Event()

    def note(signum: int, frame: Any) -> None:
        if pressed.is_set():
            signal.default_int_handler(signum, frame)
        pressed.set()
        outbox.put(None)

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield pressed
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Calls:
    """The part of `run_calls` that lives in the event loop."""

    def __init__(
        self, requests: list[ChatRequest], outbox: SimpleQueue[_Delivery | None], concurrency: int, answered: bool
    ) -> None:
        self._waiting = iter(requests)
        self._outbox = outbox
        self._tasks: list[asyncio.Task[None]] = []
        self._places = max(1, min(concurrency, len(requests)))
        self._limit = GIVE_UP_FACTOR * max(1, concurrency)
        self._answered = answered
        self._unavailable = self._refused = 0
        self._stopped = False

    def stop(self) -> None:
        """Cancel all that is under way; called inside the loop."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    async def run(self, model_factory: Callable[[], ChatModel]) -> None:
        """Send everything; raise the first error that concerns all requests."""
        model = model_factory()
        try:
            self._tasks += [asyncio.create_task(self._work(model)) for _ in range(self._places)]
            if self._stopped:
                self.stop()
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self.stop()
            ends = await asyncio.gather(*self._tasks, return_exceptions=True)
            await model.close()
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                raise end

    async def _work(self, model: ChatModel) -> None:
        for request in self._waiting:
            outcome = await _outcome(model, request)
            delivery = _Delivery(outcome, asyncio.get_running_loop().create_future())
            self._outbox.put(delivery)
            await delivery.taken
            self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        if isinstance(outcome, ChatReply):
            self._answered = True
            self._unavailable = self._refused = 0
            return
        self._unavailable = self._unavailable + 1 if outcome.retryable else 0
        self._refused = 0 if outcome.retryable else self._refused + 1
        if self._refused >= self._limit and not self._answered:
            raise ModelRefusedError(
                f"{self._refused} requests in a row were refused and none was answered, so the rest was not sent. The "
                f"last: {outcome.message} Correct what was refused and run the step again: it asks again."
            )
        if self._unavailable >= self._limit:
            raise ModelUnavailableError(
                f"{self._unavailable} requests in a row were not answered, retries included, so the rest was not "
                f"sent. The last: {outcome.message} What was received is kept; run the step again to go on."
            )


async def _outcome(model: ChatModel, request: ChatRequest) -> Outcome:
    started = time.perf_counter()
    try:
        return await model.complete(request)
    except ModelAuthError:
        raise
    except ModelError as error:
        attempts = vars(error).get("attempts", 1)
        latency, name = time.perf_counter() - started, type(error).__name__
        return CallFailure(request.call_id, name, str(error), error.retryable, attempts, latency)
