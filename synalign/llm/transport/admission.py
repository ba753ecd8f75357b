"""Admission control: when a request may be sent to an endpoint, by its concurrency, rates and pauses."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from synalign.config import Llm
from synalign.errors import ModelUnavailableError
from synalign.llm.transport.limits import AdaptiveLimit, Allowance, Breaker

# A pause that an endpoint asks for is told to the user from this many seconds on.
_TELL = 5.0
# Seconds without an answer after which refusals of too many requests may open the breaker.
_QUIET = 1.0
# Requests are spread over this part of a round trip, but are no more than so many seconds apart: in bursts all of
# them wait for this processor, and more are refused. Timers are coarse: up to _BUNCH seconds of delay are made up for.
_SPREAD, _APART, _BUNCH = 0.9, 0.002, 0.003
# Weight of one request in the smoothed round trip.
_SMOOTH = 1 / 16


@dataclass(frozen=True)
class Admitted:
    """A request that was admitted: when, and the entry of its tokens in `Allowance`, to be corrected by `settle`."""

    at: float
    taken: list[float] | None


class Admission:
    """Admits as many requests as the endpoint can take. Used in one event loop; `notice` is called with what a user
    should know, such as a pause."""

    def __init__(self, settings: Llm, notice: Callable[[str], None]) -> None:
        self._limit = AdaptiveLimit(settings.concurrency)
        self._requests = Allowance(settings.requests_per_minute) if settings.requests_per_minute else None
        self._tokens = Allowance(settings.tokens_per_minute) if settings.tokens_per_minute else None
        self._breaker = Breaker()
        self._notice = notice
        self._patience = settings.patience
        self._paused_until = 0.0
        self._refusals: deque[float] = deque(maxlen=2)  # until when the last two asked to wait
        self._waiting: deque[tuple[float, asyncio.Future[Admitted]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._round_trip = 0.0  # seconds of one request, smoothed
        self._next = 0.0  # when the next may enter, where they are spread out
        self._told = False  # whether a pause was told of, after which nothing was answered
        self._silent_since = time.monotonic()
        self.under_way = 0

    async def enter(self, tokens: float, *, again: bool = False) -> Admitted:
        """Wait for a place for a request of about so many tokens. One that is tried again comes before new ones."""
        if not self._waiting and self._delay(tokens) == 0.0:
            return self._admit(tokens)
        place: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if again else self._waiting.append)((tokens, place))
        self._admit_waiting()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.under_way -= 1
            self._admit_waiting()
            raise

    def answered(self, entry: Admitted, used: float | None) -> None:
        """An admitted request ended: the endpoint answered. `used`: its tokens, where they are known."""
        self._limit.answered(self.under_way)
        now = self._silent_since = time.monotonic()
        self._round_trip += _SMOOTH * (now - entry.at - self._round_trip)
        if self._tokens is not None and entry.taken is not None and used is not None:
            self._tokens.settle(entry.taken, used, now)
        self._breaker.answered()
        if self._told:
            self._told = False
            self._notice("The endpoint answers again.")
        self._leave()

    def failed(self, error: ModelUnavailableError) -> None:
        """An admitted request ended: the endpoint did not answer it."""
        now = time.monotonic()
        others = self.under_way > 1
        if error.overloaded:
            self._limit.refused(self.under_way)
        if error.retry_after:
            until = now + min(error.retry_after, self._patience)
            # One refusal among answers may be of the excess alone; a second before the time is up is of all.
            if not others or any(earlier > now for earlier in self._refusals):
                self._pause(until, f"it asks for a pause ({error})")
            self._refusals.append(until)
        # That it is too busy, said a moment after an answer, is for the limit to deal with: it is no outage.
        if self._breaker.failed(now, silent=not error.overloaded or self.silence >= _QUIET):
            self._pause(self._breaker.paused_until, f"{self._breaker.failures} failures in a row, the last: {error}")
        self._leave()

    def refused(self) -> None:
        """An admitted request ended: the endpoint understood it and would not answer it."""
        self._breaker.answered()
        self._silent_since = time.monotonic()
        self._leave()

    def leave(self) -> None:
        """An admitted request ended, and nothing is learned from it."""
        self._leave()

    @property
    def silence(self) -> float:
        """Seconds since the endpoint last answered, or since the start."""
        return time.monotonic() - self._silent_since

    @property
    def outage(self) -> float:
        """Seconds since so many requests failed in a row that only one at a time tries; 0 while that is not so."""
        return max(1e-9, time.monotonic() - self._breaker.opened_at) if self._breaker.is_open else 0.0

    def _pause(self, until: float, why: str) -> None:
        now = time.monotonic()
        if until > self._paused_until:
            if until - now >= _TELL and self._paused_until - now < _TELL:
                self._told = True
                self._notice(f"Paused for {until - now:.0f} s: {why}")
            self._paused_until = until

    def _leave(self) -> None:
        self.under_way -= 1
        self._admit_waiting()

    def _admit(self, tokens: float) -> Admitted:
        now = time.monotonic()
        self.under_way += 1
        apart = min(_APART, _SPREAD * self._round_trip / self._limit.value)
        self._next = max(self._next, now - _BUNCH) + apart
        if self._requests is not None:
            self._requests.take(1, now)
        return Admitted(now, None if self._tokens is None else self._tokens.take(tokens, now))

    def _delay(self, tokens: float) -> float | None:
        """Return the seconds until a request may enter, or None until another one leaves."""
        if self.under_way >= (1 if self._breaker.is_open else self._limit.value):
            return None
        now = time.monotonic()
        waits = [self._paused_until - now, self._next - now]
        if self._requests is not None:
            waits.append(self._requests.wait(1, now))
        if self._tokens is not None:
            waits.append(self._tokens.wait(tokens, now))
        return max(0.0, *waits)

    def _admit_waiting(self) -> None:
        """Let in those that may enter now, and come back when the next may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            tokens, place = self._waiting[0]
            if place.done():
                self._waiting.popleft()
                continue
            delay = self._delay(tokens)
            if delay is None:
                return
            if delay > 0.0:
                self._timer = asyncio.get_running_loop().call_later(delay, self._admit_waiting)
                return
            self._waiting.popleft()
            place.set_result(self._admit(tokens))
