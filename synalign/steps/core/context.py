"""What every step is handed, and what it hands back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synalign.config import Config
from synalign.store.lake.journal import Clock, Journal, Plan, Run
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
    """

    step: str
    run_id: str
    reused: bool
    counts: Mapping[str, Any]
    notes: Sequence[str] = field(default=())
    seconds: float = 0.0


def reuse(context: Context, run: Run) -> Outcome:
    """Make a finished run current again, if it is not, and say so."""
    notes = ("gone back to an earlier run",) if context.journal.activate(run) else ()
    return Outcome(run.step, run.run_id, True, run.counts, notes)


def finish(
    context: Context,
    plan: Plan,
    clock: Clock,
    counts: Mapping[str, Any],
    notes: Sequence[str] = (),
    tables: Sequence[str] = (),
) -> Outcome:
    """Write the row that makes a run visible, last of all, and return its outcome."""
    context.journal.finish(plan, clock, counts, notes, tables)
    return Outcome(plan.step, plan.run_id, False, dict(counts), tuple(notes), clock.seconds)
