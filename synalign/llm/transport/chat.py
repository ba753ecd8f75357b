"""One request to a language model, and what comes of it.

A request is named by the content that decides its reply (`call_id`), so that a resumed run can leave out what it has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

from synalign import ids
from synalign.errors import SynAlignError

ErrorT = TypeVar("ErrorT", bound=SynAlignError)

# Tokens that a chat template may put around one message, generously.
_PER_MESSAGE = 32


@dataclass(frozen=True)
class ChatRequest:
    """All that decides one reply.

    `count`: the records asked for, for models that do not read prose. `recording`: the hash of the recording that
    answers, if one does. `turns`: (role, content) of messages after the first two, where an answer is asked for again.
    `subject`: the hash of what is asked about, whatever the wording: recordings are found by it, names are not made
    of it.
    """

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
    turns: tuple[tuple[str, str], ...] = ()
    subject: str = ""

    @cached_property
    def call_id(self) -> str:
        """The name of this request: a hash of all of its fields but the subject."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "subject"}
        for name in ("recording", "turns"):  # names that were given before there was this field stay as they are
            if not fields[name]:
                del fields[name]
        return ids.digest(["chat/1", fields | {"schema": dict(self.schema)}])

    @property
    def messages(self) -> list[dict[str, str]]:
        """The messages as the protocol has them."""
        turns = (("system", self.system), ("user", self.user), *self.turns)
        return [{"role": role, "content": content} for role, content in turns]

    @cached_property
    def most_prompt_tokens(self) -> int:
        """More tokens than the prompt can have: a token stands for one byte at least."""
        sizes = [len(message["content"].encode()) + _PER_MESSAGE for message in self.messages]
        return sum(sizes) + len(json.dumps(dict(self.schema)))


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
    """A request that got no usable reply; `error` is the class name of the typed error. The others went on.

    `uncertain`: it may have been billed all the same.
    """

    call_id: str
    error: str
    message: str
    retryable: bool
    attempts: int
    latency: float
    uncertain: bool = False


Outcome = ChatReply | CallFailure


class ChatModel(Protocol):
    """Something that answers chat requests; used inside one event loop."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request, without trying again.

        Raises:
            ModelUnavailableError: the model may answer later.
            ModelRefusedError: this one request was refused; others may be answered.
            ModelAuthError, ConfigError: no request can be answered as things are set up.
        """

    async def close(self) -> None:
        """Give back connections. The model answers nothing afterwards."""


def attempted(error: ErrorT, attempts: int) -> ErrorT:
    """Return `error` with the number of HTTP requests that were sent before it, for `CallFailure.attempts`."""
    vars(error)["attempts"] = attempts
    return error
