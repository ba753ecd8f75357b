"""Answers from a recording: the replies that were given before, found by what is asked about.

A recording is a text file in UTF-8, one JSON object a line. The first is its header: {"entries": 12,
"synalign_recording": 1}, the number of entries (which may be left out) and the version of the format. Each other line
is an entry: `subject` (what was asked about, see `ChatRequest.subject`) and `reply`; and, each optional, `seed`,
`step`, `model` (which gave the reply), `finish_reason`, `prompt_tokens` and `completion_tokens`. An entry whose seed is
missing or null answers any seed. Neither the wording of a prompt nor the model's name decides which entry answers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from synalign import ids
from synalign.errors import ConfigError
from synalign.llm.transport.chat import ChatReply, ChatRequest

#: The version of the format, as the header has it.
VERSION = 1

_HEADER = "synalign_recording"


@dataclass(frozen=True)
class RecordedReply:
    """One recorded reply. `model`: the one that gave it."""

    subject: str
    reply: str
    seed: int | None = None
    step: str = ""
    model: str = ""
    finish_reason: str = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def order(self) -> tuple[str, str, int]:
        """What the entries of a file are sorted by; seeds are never negative."""
        return self.step, self.subject, -1 if self.seed is None else self.seed


class Recording:
    """The entries of one file, read as a whole.

    Raises:
        ConfigError: if the file is missing or is no recording, a line is not valid, entries are missing at its end, or
            two lines give one question different replies.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[tuple[str, int | None], RecordedReply] = {}
        lines = [(number, line) for number, line in enumerate(_text(path).split("\n"), start=1) if line.strip()]
        declared = _declared(path, lines[0][1] if lines else "")
        for number, line in lines[1:]:
            entry = _entry(line, f"{path}, line {number}")
            known = self._entries.setdefault((entry.subject, entry.seed), entry)
            if known.reply != entry.reply:
                raise ConfigError(
                    f"{path}, line {number}: another reply to the same subject and seed stands above. Keep one."
                )
        if declared is not None and declared != len(lines) - 1:
            raise ConfigError(
                f"The recording {path} has {len(lines) - 1} entries where its header says {declared}: it was cut off, "
                "or edited. Record it again, or correct 'entries' in its first line."
            )

    def __len__(self) -> int:
        """The number of questions that are answered."""
        return len(self._entries)

    @property
    def entries(self) -> list[RecordedReply]:
        """The entries, in the order of the file."""
        return list(self._entries.values())

    def find(self, subject: str, seed: int | None) -> RecordedReply | None:
        """Return the reply to a question: one with this seed, else one without a seed."""
        return self._entries.get((subject, seed)) or self._entries.get((subject, None))

    def why_not(self, step: str, subject: str, seed: int | None) -> str:
        """Return in words why there is no reply to a question, and what to do."""
        steps = Counter(entry.step for entry in self._entries.values())
        held = f"{len(self)} replies, {steps[step]} of them of {step}"
        what = "the data, the selections, the settings (seed, attributes, per_selection ...) or the task"
        if any(entry.subject == subject for entry in self._entries.values()):
            what = "the seed of the configuration or the order of the selections"
        return (
            f"{step}: the recording {self.path} has no reply to one of the requests (subject {subject or 'unknown'}, "
            f"seed {seed}); it holds {held}. A recording answers only what was asked when it was made: {what} differ "
            "from then. Set them as they were, or make a new one: run the steps with a language model, then "
            "ws.record(FILE) ('synalign record DIR FILE'). What was answered until here is kept."
        )


class ReplayModel:
    """A chat model that answers from a recording, and from nothing else.

    Raises:
        ConfigError: see `Recording`.
    """

    def __init__(self, path: Path) -> None:
        self._recording = Recording(path)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request.

        Raises:
            ConfigError: if it was not recorded. That ends the step: with some of its records missing it would seem to
                have done what the recording did.
        """
        entry = self._recording.find(request.subject, request.seed)
        if entry is None:
            raise ConfigError(self._recording.why_not(request.schema_name, request.subject, request.seed))
        return ChatReply(
            call_id=request.call_id,
            text=entry.reply,
            finish_reason=entry.finish_reason,
            prompt_tokens=entry.prompt_tokens,
            completion_tokens=entry.completion_tokens,
            attempts=1,
            latency=0.0,
            mode="text",
        )

    async def close(self) -> None:
        """Do nothing: the file was read as a whole."""


def recording_text(entries: Iterable[RecordedReply]) -> str:
    """Return the text of a recording, sorted by step, subject and seed: the same entries always give the same text."""
    ordered = sorted(entries, key=lambda entry: entry.order)
    header = {_HEADER: VERSION, "entries": len(ordered)}
    return "".join(ids.canonical_json(line) + "\n" for line in [header, *map(asdict, ordered)])


def is_recording(path: Path) -> bool:
    """Return whether a file begins as recordings do."""
    try:
        with path.open(encoding="utf-8") as file:
            return _header(file.readline(1000)) is not None
    except (OSError, UnicodeDecodeError):
        return False


def recording_digest(path: Path) -> str:
    """Return the hash of a recording's text: it decides the replies, as a model's name does elsewhere.

    Raises:
        ConfigError: if the file cannot be read.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    # Every request names its recording, and a large one takes longer to hash than the request to answer.
    return _digest(path, (state.st_ino, state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=8)
def _digest(path: Path, _state: tuple[int, ...]) -> str:
    return ids.digest(["recording/1", _text(path)])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"The recording {path} cannot be read: {error}. Check llm.model = 'replay/FILE'.")


def _header(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and _HEADER in found else None


def _declared(path: Path, line: str) -> int | None:
    """Return how many entries the header says there are, if it says so."""
    header = _header(line)
    if header is None:
        raise ConfigError(
            f'{path} is no recording: its first line must be {{"{_HEADER}": {VERSION}}}. ws.record(FILE) (\'synalign '
            "record DIR FILE') makes one."
        )
    if header[_HEADER] != VERSION:
        raise ConfigError(
            f"The recording {path} has the format {header[_HEADER]!r}, and this version of SynAlign reads {VERSION}. "
            "Record it again, or use the version that made it."
        )
    entries = header.get("entries")
    if entries is not None and type(entries) is not int:
        raise ConfigError(f"{path}, line 1: 'entries' must be a number, not {entries!r}.")
    return entries


def _entry(line: str, where: str) -> RecordedReply:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not an entry of a recording ({error}).") from error
    if not isinstance(found, dict) or not found.get("subject") or "reply" not in found:
        raise ConfigError(f"{where}: not an entry of a recording: it needs 'subject' and 'reply'.")
    # null stands for what is not known, whatever the kind.
    given = {field.name: found[field.name] for field in fields(RecordedReply) if found.get(field.name) is not None}
    for name, value in given.items():
        number = name in ("seed", "prompt_tokens", "completion_tokens")
        if number and not (type(value) is int and value >= 0):
            raise ConfigError(f"{where}: {name!r} must be a number from 0, not {value!r}.")
        if not number and not isinstance(value, str):
            raise ConfigError(f"{where}: {name!r} must be a text, not {value!r}.")
    if "reply" not in given:
        raise ConfigError(f"{where}: 'reply' must be the reply's text, not null.")
    return RecordedReply(**given)
