"""What the tests of the engine share: models in this process, what they answered, and a server of its own process."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from synalign.config import Llm
from synalign.errors import (
    ModelAuthError,
    ModelRefusedError,
    ModelUnavailableError,
)
from synalign.llm.transport.chat import CallFailure, ChatReply, ChatRequest
from synalign.llm.transport.client import OpenAIChat
from synalign.llm.transport.engine import run_calls


def ask(user: str) -> ChatRequest:
    return ChatRequest("m", None, "s", user, "n", {"type": "object"})


def many(count: int) -> list[ChatRequest]:
    return [ask(str(number)) for number in range(count)]


class Echo:
    """A model in this process: answers with the request's text, fails where that says so; keeps what it saw."""

    def __init__(self, act: Callable[[ChatRequest], None] | None = None) -> None:
        self.asked: list[str] = []
        self.closed = False
        self.act = act

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.asked.append(request.user)
        await asyncio.sleep(0)
        if self.act is not None:
            self.act(request)
        if "refuse" in request.user:
            raise ModelRefusedError("not this one")
        if "away" in request.user:
            raise ModelUnavailableError("gone")
        if "key" in request.user:
            raise ModelAuthError("wrong key")
        if "bug" in request.user:
            raise ZeroDivisionError
        if "hang" in request.user:
            await asyncio.sleep(3600)
        if "slow" in request.user:
            await asyncio.sleep(0.3)
        return ChatReply(request.call_id, request.user, "stop", None, None, 1, 0.0, "text")

    async def close(self) -> None:
        self.closed = True


class Kept:
    """Outcomes, in the order in which they were handed over."""

    def __init__(self) -> None:
        self.outcomes: list[Any] = []
        self.sizes: list[int] = []

    def __call__(self, outcomes: Sequence[Any]) -> None:
        self.outcomes.extend(outcomes)
        self.sizes.append(len(outcomes))

    @property
    def texts(self) -> list[str]:
        return [outcome.text for outcome in self.outcomes if isinstance(outcome, ChatReply)]

    @property
    def failures(self) -> list[CallFailure]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, CallFailure)]


def run(users: Sequence[str], concurrency: int = 2, act: Any = None, **values: Any) -> tuple[Echo, list[Any]]:
    model, kept = Echo(act), Kept()
    given = {name: values.pop(name) for name in ("answered", "grant", "release", "notice") if name in values}
    settings = Llm(model="m", concurrency=concurrency, **{"max_attempts": 1} | values)
    run_calls(lambda: model, [ask(user) for user in users], kept, settings=settings, **given)
    return model, kept.outcomes


def at(url: str, **values: Any) -> Llm:
    return Llm(model="m", base_url=url, api_key_env="NO_SUCH_KEY", **{"timeout": 10.0} | values)


def call(url: str, requests: list[ChatRequest], kept: Kept | None = None, **values: Any) -> Kept:
    """Have requests answered by a server."""
    kept = Kept() if kept is None else kept
    given = {name: values.pop(name) for name in ("answered", "notice") if name in values}
    settings = at(url, **values)
    run_calls(lambda: OpenAIChat(settings, {}), requests, kept, settings=settings, **given)
    return kept


class Moody:
    """Fails as a script says: for each request, what comes of its tries one after the other, then an answer."""

    def __init__(self, script: dict[str, list[str]], seed: int) -> None:
        self.script = {user: list(moods) for user, moods in script.items()}
        self.rng = random.Random(seed)
        self.asked: Counter[str] = Counter()
        self.under_way = self.most = 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.asked[request.user] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for _ in range(self.rng.randrange(4)):
                await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        moods = self.script[request.user]
        mood = moods.pop(0) if moods else "answer"
        if mood == "answer":
            return ChatReply(request.call_id, request.user, "stop", 1, 1, 1, 0.0, "text")
        if mood == "refuse":
            raise ModelRefusedError("no")
        raise ModelUnavailableError(
            mood,
            overloaded=mood == "busy",
            retry_after=0.001 if mood == "wait" else None,
            uncertain=mood == "hang",
        )

    async def close(self) -> None:
        pass
