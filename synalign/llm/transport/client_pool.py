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
REQUESTS_PER_CLIENT = 12


@dataclass
class _PooledClient(Generic[C]):
    client: C
    under_way: int = 0


class ClientPool(Generic[C]):
    """Makes a client when all others are busy. Used in one event loop."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._clients = [_PooledClient(make())]

    @contextmanager
    def client(self) -> Iterator[C]:
        """Lend the first client that has room."""
        pooled = next((pooled for pooled in self._clients if pooled.under_way < REQUESTS_PER_CLIENT), None)
        if pooled is None:
            pooled = _PooledClient(self._make())
            self._clients.append(pooled)
        pooled.under_way += 1
        try:
            yield pooled.client
        finally:
            pooled.under_way -= 1

    async def close(self) -> None:
        """Close the connections of all."""
        for pooled in self._clients:
            await pooled.client.close()
