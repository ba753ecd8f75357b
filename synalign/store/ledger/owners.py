"""Records which process holds a lock of a workspace, in a file beside it. It serves messages only; the lock itself
decides.

A killed process leaves its file behind, which the next holder of the lock overwrites.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

_SUFFIX = ".owner"


@dataclass(frozen=True)
class Owner:
    """A process that holds a lock, and since when (UTC, ISO format)."""

    pid: int
    host: str
    command: str
    since: str

    def description(self) -> str:
        """Return a phrase for messages: the process, its command, and since when it holds the lock."""
        started = datetime.fromisoformat(self.since)
        age = _age((datetime.now(UTC) - started).total_seconds())
        if self.host != socket.gethostname():
            who = f"process {self.pid} on the machine {self.host!r}"
        elif self.pid == os.getpid():
            who = f"this process ({self.pid}), in another thread or another object"
        else:
            who = f"process {self.pid}"
        return f"{who}, {self.command!r}, since {started:%Y-%m-%d %H:%M:%S} UTC ({age})"


def claim(lock: Path) -> None:
    """Record that this process holds a lock."""
    owner = Owner(os.getpid(), socket.gethostname(), _command(), datetime.now(UTC).isoformat(timespec="seconds"))
    with suppress(OSError):  # On a full disk: whoever gives space back needs the lock, and no message.
        _file(lock).write_text(json.dumps(asdict(owner)), encoding="utf-8")


def disclaim(lock: Path) -> None:
    """Remove the record of `claim`, while the lock is still held."""
    with suppress(OSError):  # The next owner overwrites it, and nobody reads it while the lock is free.
        _file(lock).unlink(missing_ok=True)


def is_recorded(lock: Path) -> bool:
    """Return whether an owner is recorded for a lock. A killed process stays recorded."""
    return _file(lock).exists()


def owner(lock: Path) -> Owner | None:
    """Return the holder of a lock that is held; None if unknown, as in the moment before it is recorded."""
    try:
        found = Owner(**json.loads(_file(lock).read_text(encoding="utf-8")))
        datetime.fromisoformat(found.since)
    except (OSError, ValueError, TypeError):
        return None
    return found if found.host != socket.gethostname() or _lives(found.pid) else None


def _command() -> str:
    """Return the program and its verb only: other arguments, such as what to forget, must not be stored."""
    program = sys.argv[0] if sys.argv else ""
    name = "python" if program in ("", "-c") else Path(program).name
    verb = next((word for word in sys.argv[1:] if word.replace("-", "").isalpha() and word[0] != "-"), "")
    return f"{name} {verb}".strip()


def _file(lock: Path) -> Path:
    return lock.with_name(lock.name + _SUFFIX)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # It is another user's.
        return True
    return True


def _age(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0, seconds):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
