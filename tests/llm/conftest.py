"""Fixtures of the tests of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from synalign.llm.transport import engine, limits
from tests.llm.endpoint import Endpoint


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second tries come at once, and pauses are short."""
    monkeypatch.setattr(engine, "_WAIT", 0.001)
    monkeypatch.setattr(engine, "_LONGEST", 0.01)
    monkeypatch.setattr(limits, "_PAUSE", 0.01)
    monkeypatch.setattr(limits, "_LONGEST_PAUSE", 0.05)


@pytest.fixture
def start() -> Iterator[Callable[..., Endpoint]]:
    """Start endpoints in processes of their own."""
    endpoints: list[Endpoint] = []

    def begin(**options: Any) -> Endpoint:
        endpoints.append(Endpoint(**options))
        return endpoints[-1]

    yield begin
    for endpoint in endpoints:
        endpoint.close()
