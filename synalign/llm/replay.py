"""Answers from a recording: a JSON object a line, found by the prompt and schema, whatever model gave the reply.

A line has `key` (or `system`, `user` and `schema`, from which it follows), `seed`, `reply`, and what `record` adds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synalign import ids
from synalign.errors import ConfigError, ModelRefusedError
from synalign.llm.chat import ChatReply, ChatRequest


class ReplayModel:
    """A chat model that answers from a recording.

    An entry with the request's seed comes first; without one, the first entry for the same prompt answers.

    Raises:
        ConfigError: if the file is missing, a line is not valid, or two lines give one request different replies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._exact: dict[tuple[str, int | None], Mapping[str, Any]] = {}
        self._any: dict[str, Mapping[str, Any]] = {}
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"The recording {path} cannot be read: {error}. Check llm.model = 'replay/FILE'."
            ) from error
        for number, line in enumerate(lines, start=1):
            if line.strip():
                self._add(line, number)

    def _add(self, line: str, number: int) -> None:
        try:
            entry = json.loads(line)
            key = entry.get("key") or _key(entry["system"], entry["user"], entry["schema"])
            reply, seed = entry["reply"], entry.get("seed")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{self._path}, line {number}: not an entry of a recording ({type(error).__name__}: {error}). It needs "
                f"'reply' and either 'key' or 'system', 'user' and 'schema'."
            ) from error
        if not isinstance(reply, str):
            raise ConfigError(f"{self._path}, line {number}: 'reply' must be the reply's text, not {reply!r}.")
        known = self._exact.setdefault((key, seed), entry)
        if known["reply"] != reply:
            raise ConfigError(
                f"{self._path}, line {number}: another reply to the same prompt and seed stands above. Keep one."
            )
        self._any.setdefault(key, entry)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request.

        Raises:
            ModelRefusedError: if the recording holds no reply to it.
        """
        key = _key(request.system, request.user, request.schema)
        entry = self._exact.get((key, request.seed)) or self._any.get(key)
        if entry is None:
            raise ModelRefusedError(
                f"The recording {self._path} has no reply to this {request.schema_name} request (key {key}); it holds "
                f"{len(self._any)} prompts. Record it again with the prompts and data of this run."
            )
        finish = str(entry.get("finish_reason", "stop"))
        tokens = (entry.get("prompt_tokens"), entry.get("completion_tokens"))
        return ChatReply(request.call_id, entry["reply"], finish, *tokens, attempts=1, latency=0.0, mode="text")

    async def close(self) -> None:
        """Do nothing: the file was read as a whole."""


def record(path: Path, request: ChatRequest, reply: ChatReply) -> None:
    """Append one reply to a recording."""
    entry = {
        "key": _key(request.system, request.user, request.schema),
        "seed": request.seed,
        "model": request.model,
        "schema_name": request.schema_name,
        "system": request.system,
        "user": request.user,
        "reply": reply.text,
        "finish_reason": reply.finish_reason,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _key(system: str, user: str, schema: Mapping[str, Any]) -> str:
    return ids.digest(["replay/1", system, user, dict(schema)])
