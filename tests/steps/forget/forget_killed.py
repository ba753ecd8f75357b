"""Forgets records and kills itself by SIGKILL: a child process of the tests of forget.

    python forget_killed.py WORKSPACE CONDITION WHAT NTH

Dies before the NTH call of WHAT that comes after the intention is written; or before that is put in place.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import synalign as sa
from synalign.steps.forget import execute, plan_file
from synalign.store.lake.lake import Lake
from synalign.store.ledger.ledger import Ledger

PLACES: dict[str, tuple[Any, str]] = {
    "plan": (plan_file.atomic_write, "write"),
    "insert": (Lake, "insert"),
    "erase": (Ledger, "erase"),
    "delete": (Lake, "delete"),
    "drop": (Lake, "drop"),
    "write_whole": (execute, "write_whole"),
    "expunge": (Lake, "expunge"),
    "publish": (execute.publish, "publish_if_stale"),
    "verify": (execute, "verify"),
    "remove": (plan_file, "remove"),
}


def main() -> None:
    folder, condition, what, nth = sys.argv[1:]
    owner, name = PLACES[what]
    wrapped: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def killing(*given: Any, **more: Any) -> Any:
        nonlocal calls
        # Before the plan is written nothing has begun.
        calls += what == "plan" or (Path(folder) / plan_file.PLAN_FILE).exists()
        if calls == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)
        return wrapped(*given, **more)

    setattr(owner, name, killing)
    sa.open(folder).forget(where=condition)


if __name__ == "__main__":
    main()
