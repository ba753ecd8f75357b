"""The record of what was done: `runs`, whose row is written last, and `activations`.

A run's rows are seen once its row is in `runs`. The current run of a step is the one finished or activated last;
going back to parameters that were used before activates the run there is, and computes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from synalign import ids
from synalign.errors import StoreError
from synalign.store.lake.lake import Lake, is_in
from synalign.version import __version__

_READ = ["run_id", "sequence", "step", "parameters", "seed", "inputs", "counts"]
_ACTIVATIONS = ["sequence", "step", "run_id"]


@dataclass(frozen=True)
class Plan:
    """One piece of work, before it is done. Its name depends on all that decides its result."""

    step: str
    parameters: Mapping[str, Any]
    inputs: Sequence[str] = ()
    seed: int = 0
    round: int = 0
    version: int = 1

    @property
    def run_id(self) -> str:
        """The name of the run: a hash of all fields."""
        return ids.run_id(self.step, self.version, self.parameters, self.seed, self.round, self.inputs)


@dataclass(frozen=True)
class Run:
    """A finished run, as `runs` holds it."""

    run_id: str
    sequence: int
    step: str
    parameters: dict[str, Any]
    seed: int
    inputs: list[str]
    counts: dict[str, Any]


@dataclass(frozen=True)
class Moment:
    """A state of a workspace: after the run or activation of that number, and what was called until then (UTC)."""

    sequence: int
    at: datetime


@dataclass
class Clock:
    """When a run began, and how long parts of it took; given back to `Journal.finish`."""

    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _start: float = field(default_factory=perf_counter)
    _parts: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self._start

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time that is spent inside to the part of that name. Parts lie side by side, not in each other."""
        start = perf_counter()
        try:
            yield
        finally:
            self._parts[name] = self._parts.get(name, 0.0) + perf_counter() - start

    def split(self) -> dict[str, float]:
        """Return the seconds of each part, and as `compute` those of none."""
        return self._parts | {"compute": self.seconds - sum(self._parts.values())}


def now() -> datetime:
    """Return the time in UTC, without a zone, as the tables hold it."""
    return datetime.now(UTC).replace(tzinfo=None)


class Journal:
    """Reads and writes `runs` and `activations` of one lake. The caller holds the workspace's lock when it writes."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def runs(self, step: str | None = None) -> list[Run]:
        """Return the finished runs, of one step or of all, in the order in which they finished."""
        return [_run(row) for row in self._rows() if step is None or row["step"] == step]

    def get(self, run_id: str) -> Run | None:
        """Return a finished run by its name."""
        return next((_run(row) for row in self._rows() if row["run_id"] == run_id), None)

    def require(self, run_id: str) -> Run:
        """Return a run that is known to be finished.

        Raises:
            StoreError: if it is not there, which no step brings about.
        """
        run = self.get(run_id)
        if run is None:
            raise StoreError(f"There is no finished run {run_id!r}. 'synalign fsck DIR' says what is damaged.")
        return run

    def _rows(self) -> list[dict[str, Any]]:
        return sorted(self._lake.rows("runs", _READ), key=lambda row: row["sequence"])

    def current(self, step: str) -> Run | None:
        """Return the run of `step` that later steps build on: finished or activated last."""
        return next(iter(self.latest(step)), None)

    def latest(self, step: str, until: int | None = None) -> list[Run]:
        """Return the finished runs of `step`, the one that was finished or activated last first; as it was after the
        run or activation of the number `until`, if that is given."""
        runs = {run.run_id: run for run in self.runs(step) if until is None or run.sequence <= until}
        order = {run_id: run.sequence for run_id, run in runs.items()}
        for row in self._lake.rows("activations", _ACTIVATIONS):
            if row["step"] == step and row["run_id"] in runs and (until is None or row["sequence"] <= until):
                order[row["run_id"]] = max(order[row["run_id"]], row["sequence"])
        return sorted(runs.values(), key=lambda run: order[run.run_id], reverse=True)

    def activate(self, run: Run) -> bool:
        """Make a finished run the current one of its step again; return whether that changed anything."""
        current = self.current(run.step)
        if current is not None and current.run_id == run.run_id:
            return False
        row = {
            "sequence": self._next_sequence(),
            "step": run.step,
            "run_id": run.run_id,
            "at": datetime.now(UTC),
        }
        self._lake.insert_rows("activations", [row])
        return True

    def sweep(self, tables: Sequence[str]) -> int:
        """Drop the rows of runs that never finished from `tables`; return how many there were.

        Records are insert-only by id, so rows of a killed run would otherwise hide the same ids of another.
        """
        finished = [run.run_id for run in self.runs()]
        return sum(self._lake.delete(name, is_in("run_id", finished, negate=True)) for name in tables)

    def drop(self, run_ids: Sequence[str]) -> None:
        """Take runs out, all at once: what they wrote is not seen from then on, and `sweep` drops it."""
        self._lake.delete("runs", is_in("run_id", run_ids))
        self._lake.delete("activations", is_in("run_id", run_ids))

    def finish(
        self, plan: Plan, clock: Clock, counts: Mapping[str, Any], notes: Sequence[str] = (), tables: Sequence[str] = ()
    ) -> Run:
        """Write the row that makes a run visible. All rows of the run must have been written before."""
        sequence = self._next_sequence()
        row = {
            "run_id": plan.run_id,
            "sequence": sequence,
            "step": plan.step,
            "parameters": ids.canonical_json(dict(plan.parameters)),
            "seed": plan.seed,
            "round": plan.round,
            "inputs": sorted(plan.inputs),
            "table_versions": ids.canonical_json({name: self._lake.version(name) for name in tables}),
            "counts": ids.canonical_json(dict(counts)),
            "notes": list(notes),
            "seconds": clock.seconds,
            "started_at": clock.started_at,
            "finished_at": datetime.now(UTC),
            "package_version": __version__,
        }
        self._lake.insert_rows("runs", [row])
        return Run(
            plan.run_id, sequence, plan.step, dict(plan.parameters), plan.seed, sorted(plan.inputs), dict(counts)
        )

    def _next_sequence(self) -> int:
        rows = [*self._lake.rows("runs", _READ), *self._lake.rows("activations", _ACTIVATIONS)]
        return max((row["sequence"] for row in rows), default=0) + 1


def _run(row: Mapping[str, Any]) -> Run:
    """Return a row of `runs` with values of its own, which callers may change."""
    return Run(
        row["run_id"],
        row["sequence"],
        row["step"],
        json.loads(row["parameters"]),
        row["seed"],
        list(row["inputs"] or ()),
        json.loads(row["counts"]),
    )
