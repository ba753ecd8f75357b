"""Several clients of one endpoint side by side, each with few connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """Something with connections."""

    async def close(self) -> None:
        """Close them."""


C = TypeVar("C", bound=Closable)

#: Requests under way in one client, beyond which another one is made. At each request a client's pool looks at all of
#: its connections: with 64 in one, that took as long as sending the request.
PER_LANE = 12


@dataclass
class _Lane(Generic[C]):
    client: C
    under_way: int = 0


class Lanes(Generic[C]):
    """Clients that are made when they are needed. One event loop has it."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._lanes = [_Lane(make())]

    @contextmanager
    def client(self) -> Iterator[C]:
        """Lend the first client that has room."""
        lane = next((lane for lane in self._lanes if lane.under_way < PER_LANE), None)
        if lane is None:
            lane = _Lane(self._make())
            self._lanes.append(lane)
        lane.under_way += 1
        try:
            yield lane.client
        finally:
            lane.under_way -= 1

    async def close(self) -> None:
        """Close the connections of all."""
        for lane in self._lanes:
            await lane.client.close()
