"""What holds requests back: an adaptive limit on those under way, allowances a minute, and a circuit breaker.

Plain objects without a clock: callers report events and pass the time in seconds. `admission` combines them.
The limit follows TCP's additive increase with a remembered ceiling (Jain and Chiu 1989; CUBIC, RFC 9438).
"""

from __future__ import annotations

import math
from collections import deque

#: Failures in a row, of all requests together, after which sending pauses.
BREAK_AFTER = 10

# The limit to begin with, and how fast it grows below its ceiling: by this share of itself in each round trip.
_START, _RECOVER = 64, 1 / 8
# How much each answer adds before the first refusal: more would be refused in bursts where answers come together.
_FIRST = 1 / 4
# How far a refusal moves the ceiling, and how fast the ceiling rises while there is none.
_FORGET, _RISE = 1 / 2, 1 / 8
# A refusal counts if the one before it is less than this part of a round trip ago: what is too much is refused again
# at once, while a single refusal among answers says nothing about how many are under way.
_TOGETHER = 1 / 32
# Seconds over which an allowance holds, and of it that may be taken at once.
_MINUTE, _BURST = 60.0, 2.0
# Seconds of a breaker's first pause, and of its longest.
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class AdaptiveLimit:
    """How many requests may be under way.

    It grows by a quarter with each round trip until the endpoint first says that it is too busy. Each such refusal that
    follows another takes one request away and is remembered as a ceiling; below it the limit recovers by an eighth with
    each round trip, and the ceiling itself rises the faster the longer nothing is refused.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._value = float(min(most, _START))
        self._ceiling = math.inf
        self._calm = 0  # answers since the last refusal that counted
        self._apart = 0  # answers since the last refusal of all

    @property
    def value(self) -> int:
        """The limit, at least 1."""
        return int(self._value)

    def answered(self, under_way: int) -> None:
        """A request was answered while `under_way` were, itself included."""
        self._calm += 1
        self._apart += 1
        if under_way < self.value:  # the limit held nothing back, so nothing is learned about it
            return
        if self._ceiling == math.inf:
            self._value += _FIRST
        elif self._value < self._ceiling:
            self._value = min(self._ceiling, self._value + max(_RECOVER, 1 / self._value))
        else:
            self._ceiling += _RISE * (self._calm / self._value) / self._value
            self._value = self._ceiling
        self._value = min(self._value, float(self.most))

    def refused(self, under_way: int) -> None:
        """A request was refused as one too many while `under_way` were, itself included."""
        apart, self._apart = self._apart, 0
        if apart > self._value * _TOGETHER or under_way <= 1:  # nor does one that was alone
            return
        self._calm = 0
        fits = max(1.0, under_way - 1.0)
        if self._ceiling == math.inf:
            self._ceiling = fits
        elif fits < self._ceiling:
            self._ceiling += _FORGET * (fits - self._ceiling)
        self._value = max(1.0, min(self._value, self._ceiling) - 1)


class Allowance:
    """An amount a minute: no more is taken in any 60 seconds, and it is spread over them, but for a burst at first."""

    def __init__(self, per_minute: int) -> None:
        self._most = float(per_minute)
        self._taken: deque[list[float]] = deque()  # [when, how much] of the last minute
        self._sum = 0.0
        self._free_at = -math.inf  # when what was taken is paid off at an even pace

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` may be taken. More than the minute's amount waits for an empty minute."""
        while self._taken and self._taken[0][0] <= now - _MINUTE:
            self._sum -= self._taken.popleft()[1]
        paced = self._free_at - now - _BURST
        excess, until = self._sum + min(amount, self._most) - self._most, now
        for when, taken in self._taken:
            if excess <= 1e-9:
                break
            excess, until = excess - taken, when + _MINUTE
        return max(0.0, paced, until - now)

    def take(self, amount: float, now: float) -> list[float]:
        """Take an amount, whether or not it may be; return a note of it, for `settle`."""
        note = [now, amount]
        self._taken.append(note)
        self._sum += amount
        self._free_at = max(self._free_at, now) + amount * _MINUTE / self._most
        return note

    def settle(self, note: list[float], used: float, now: float) -> None:
        """Put right what was taken by an estimate, once it is known."""
        when, taken = note
        if when > now - _MINUTE:  # at the time when it was taken: a later minute gets no more for it
            note[1] = used
            self._sum += used - taken
        elif used > taken:
            self._taken.append([now, used - taken])
            self._sum += used - taken
        self._free_at += (used - taken) * _MINUTE / self._most


class Breaker:
    """Stops the sending when nothing is answered any more, and lets one request try after each pause."""

    def __init__(self) -> None:
        self.failures = 0  # in a row
        self.opened_at = -math.inf
        self.paused_until = -math.inf
        self.pause = 0.0
        self.is_open = False  # whether only one request at a time may try

    def failed(self, now: float, *, silent: bool = True) -> bool:
        """Note a failure; return whether it begins a pause. `silent`: it may open the breaker."""
        self.failures += 1
        if self.failures >= BREAK_AFTER and silent and not self.is_open:
            self.is_open, self.opened_at = True, now
        if not self.is_open or now < self.paused_until:
            return False
        self.pause = min(_LONGEST_PAUSE, 2 * self.pause or _PAUSE)
        self.paused_until = now + self.pause
        return True

    def answered(self) -> bool:
        """Note an answer; return whether it ends an outage."""
        was_open, self.is_open = self.is_open, False
        self.failures, self.pause, self.paused_until = 0, 0.0, -math.inf
        return was_open
