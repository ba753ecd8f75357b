from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from server import Answer, Server


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[dict[str, Any], int], Answer]], Server]]:
    """Start servers that answer as told; all are closed after the test."""
    servers: list[Server] = []

    def start(behaviour: Callable[[dict[str, Any], int], Answer]) -> Server:
        servers.append(Server(behaviour))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
