"""The arguments that every step gets, and the outcome that it returns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from synalign.config import Config
from synalign.store.lake.journal import Clock, Journal
from synalign.store.lake.lake import Lake
from synalign.store.ledger.ledger import Ledger

#: Told of progress as (what is done, how much of it is done, how much there is).
Progress = Callable[[str, int, int], None]


def quiet(_what: str, _done: int, _total: int) -> None:
    """Report nothing."""


def logged(text: str) -> None:
    """Tell the log of this package, which shows warnings on stderr unless it is set up otherwise."""
    logging.getLogger("synalign").warning(text)


@dataclass(frozen=True)
class Context:
    """A workspace, as a step sees it. The caller holds the workspace's lock.

    `calling` lets the lock go, so that others can write while a language model is asked, and takes it again at the end;
    it lets in one caller at a time. `notice` is told what a user should know while a step is under way.
    """

    root: Path
    config: Config
    lake: Lake
    journal: Journal
    ledger: Ledger
    progress: Progress = quiet
    notice: Callable[[str], None] = logged
    calling: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True)
class Outcome:
    """What a step did.

    reused: the run was there already and nothing was computed.
    counts: what was written or found, by name.
    notes: what a person should know, in plain sentences.
    seconds: how long the caller waited. parts: of them, by what was done: `write`, `compute` and others.
    """

    step: str
    run_id: str
    reused: bool
    counts: Mapping[str, Any]
    notes: Sequence[str] = field(default=())
    seconds: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)

    def timed(self, clock: Clock) -> Outcome:
        """Return the same outcome with the time that has passed by a clock."""
        return replace(self, seconds=clock.seconds, parts=clock.split())
