"""Answers from a recording: a JSON object a line, found by the prompt and schema, whatever model gave the reply.

A line has `reply`, and `key` or what it follows from: `system`, `user` and `schema`. It may have `seed`,
`finish_reason`, `prompt_tokens` and `completion_tokens`.
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
        for number, line in enumerate(_text(path).split("\n"), start=1):
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
                f"{len(self._any)} prompts. Add a line with this key and the reply to it, or use the prompts and data "
                "of the recording."
            )
        finish = str(entry.get("finish_reason", "stop"))
        tokens = (entry.get("prompt_tokens"), entry.get("completion_tokens"))
        return ChatReply(request.call_id, entry["reply"], finish, *tokens, attempts=1, latency=0.0, mode="text")

    async def close(self) -> None:
        """Do nothing: the file was read as a whole."""


def recording_digest(path: Path) -> str:
    """Return the hash of a recording's text: it decides the replies, as a model's name does elsewhere.

    Raises:
        ConfigError: if the file cannot be read.
    """
    return ids.digest(["recording/1", _text(path)])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The recording {path} cannot be read: {error}. Check llm.model = 'replay/FILE'.") from error


def _key(system: str, user: str, schema: Mapping[str, Any]) -> str:
    return ids.digest(["replay/1", system, user, dict(schema)])
