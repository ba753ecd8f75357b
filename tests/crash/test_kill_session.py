"""A session of all verbs that write, killed by SIGKILL at all its writes: what a reader sees then, what it ends in when
it is taken up again, and what gc leaves."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.crash.killing import ROOT, prepare
from tests.crash.session import STAGES
from tests.crash.sweep import occurrences

MODES = ("inside", "after", "inside", "before")
ANY = "at any moment"

#: Kills of the short test, as (stage, kind of write, mode); and the stages that it takes.
SHORT = (
    ("ingest", "create synthetic", "inside"),
    ("cluster", "insert clusters", "after"),  # the rows are there, the row in `runs` is not
    ("generate", "ledger", "inside"),
    ("generate", "insert runs", "before"),
    ("align", "publish", "inside"),
    ("align", ANY, ANY),
    ("gc", "compact runs", "inside"),
    ("gc", "ledger trim", "inside"),
)
SHORT_STAGES = ("ingest", "cluster", "reason", "generate", "align", "gc")
LONG = 240


@dataclass(frozen=True)
class Session:
    """A session that nothing disturbed, and what it was made of."""

    folder: Path
    stages: tuple[str, ...]


def sweep(plan: dict[str, Any], file: Path) -> subprocess.Popen[bytes]:
    file.write_text(json.dumps(plan))
    # One thread a process: several would share the cores with the other sweeps.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-m", "tests.crash.sweep", str(file)]
    return subprocess.Popen(command, cwd=ROOT, env=environment)


def undisturbed(folder: Path, stages: tuple[str, ...]) -> Session:
    prepare(folder, synthetic=True)
    corpus = pl.read_csv(ROOT / "fixtures" / "support.csv", infer_schema=False)
    pl.concat([corpus[200:230], corpus[205:210]]).write_csv(folder / "more.csv")  # some come twice
    assert sweep({"folder": str(folder), "stages": stages}, folder / "plan.json").wait() == 0
    return Session(folder, stages)


def kind(write: str) -> str:
    """Return the name of a write without the run or the call that it is of."""
    what, _, rest = write.partition(":")
    return what if what == "ledger" else f"{what} {rest.partition(':')[0]}".strip()


def windows(session: Session) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the moments to kill at, by stage and kind of write."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for number, stage in enumerate(session.stages):
        recorded = json.loads((session.folder / f"writes {number}.json").read_text())
        for name, occurrence, seconds in occurrences(recorded["writes"]):
            moment = {"stage": stage, "write": name, "occurrence": occurrence, "seconds": seconds}
            found[stage, kind(name)].append(moment)
        found[stage, ANY].append({"stage": stage, "seconds": recorded["seconds"]})
    return found


def drawn(found: dict[tuple[str, str], list[dict[str, Any]]], count: int) -> list[dict[str, Any]]:
    """Return at least `count` kills: at every window, in every mode in turn, until there are enough."""
    rng = random.Random("kills")
    kills: list[dict[str, Any]] = []
    turn = 0
    while len(kills) < count:
        for number, ((_, what), moments) in enumerate(found.items()):
            mode = ANY if what == ANY else MODES[(turn + number) % len(MODES)]
            if turn == 0 or len(kills) < count:
                kills.append({**rng.choice(moments), "mode": mode, "part": rng.random()})
        turn += 1
    return kills


def results(
    session: Session, kills: list[dict[str, Any]], tmp_path: Path, workers: int = min(os.cpu_count() or 1, 8)
) -> list[dict[str, Any]]:
    """Do the kills, in as many processes as there are cores."""
    plans = [
        {
            "folder": str(session.folder),
            "stages": session.stages,
            "kills": kills[number::workers],
            "work": str(tmp_path / f"work {number}"),
            "results": str(session.folder / f"results {number}.jsonl"),
        }
        for number in range(workers)
    ]
    running = [sweep(plan, session.folder / f"plan {number}.json") for number, plan in enumerate(plans)]
    assert [process.wait() for process in running] == [0] * workers
    return [json.loads(line) for plan in plans for line in Path(plan["results"]).read_text().splitlines()]


def report(done: list[dict[str, Any]], all_windows: int) -> str:
    """Return the histogram of the kills, and what was found."""
    counts: Counter[tuple[str, str]] = Counter()
    modes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for result in done:
        window = result["stage"], kind(result["write"]) if "write" in result else ANY
        counts[window] += 1
        modes[window][result["mode"]] += 1
    order = list(STAGES)
    lines = [
        f"{stage:<18} {what:<30} {counts[stage, what]:>3}  "
        + ", ".join(f"{n} {m}" for m, n in modes[stage, what].items())
        for stage, what in sorted(counts, key=lambda window: (order.index(window[0]), window[1]))
    ]
    total = {name: sum(len(found) for found in flawed(done, name).values()) for name in FLAWS}
    lines.append(
        f"{len(done)} kills in {len(counts)} of {all_windows} windows: "
        + ", ".join(f"{count} {name}" for name, count in total.items())
    )
    return "\n".join(lines)


FLAWS = ("half-written", "duplicates", "unanswered", "differences", "orphans", "failed")


def flawed(done: list[dict[str, Any]], what: str) -> dict[str, list[str]]:
    """Return what of one kind is wrong, by kill."""
    found: dict[str, list[str]] = {}
    for result in done:
        said = result["found"]
        lines = [said["failed"]] if what == "failed" and "failed" in said else said.get(what, [])
        for moment in ("killed", "cleaned"):
            lines = [*lines, *said.get(moment, {}).get(what, [])]
        if lines:
            name = " ".join(str(result.get(part, "")) for part in ("stage", "mode", "write", "occurrence", "part"))
            found[name] = lines
    return found


def check(done: list[dict[str, Any]], found: dict[Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{report(done, len(found))}")  # noqa: T201
    assert {name: flawed(done, name) for name in FLAWS} == {name: {} for name in FLAWS}


def test_eight_kills_of_a_session_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session, rng = undisturbed(tmp_path / "undisturbed", SHORT_STAGES), random.Random("short")
    found = windows(session)
    kills = [{**rng.choice(found[stage, what]), "mode": mode, "part": rng.random()} for stage, what, mode in SHORT]
    done = results(session, kills, tmp_path)
    assert len(done) == len(SHORT)
    check(done, found, capsys)


@pytest.mark.long
def test_two_hundred_kills_of_a_session_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = undisturbed(tmp_path / "undisturbed", tuple(STAGES))
    found = windows(session)
    kills = drawn(found, LONG)
    done = results(session, kills, tmp_path)
    assert len(done) == len(kills) >= LONG
    check(done, found, capsys)
