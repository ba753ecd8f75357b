"""`synalign run`, killed by SIGKILL before, inside and after its writes and run again, ends as if left alone."""

from __future__ import annotations

import random
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest

from synalign.steps.fsck.check import fsck
from tests.crash.contents import AT_REST, contents, differences, state_on_disk
from tests.crash.killing import Undisturbed, finish, kill_at, prepare, run_cli

#: How often each write is killed inside, at a random moment in each half of its duration.
INSIDE = 2

#: Kills of the short test: one of the writes that match, killed so. Others are drawn.
ALWAYS = (
    ("inside", "create:*"),
    ("inside", "insert:synthetic:*"),
    ("after", "insert:clusters:*"),  # the rows are there, the row in `runs` is not
    ("inside", "ledger:*"),
    ("before", "insert:runs:generate:*"),
    ("inside", "publish"),
)
DRAWN = 2

#: Killed runs are finished so many in one process: what takes long is importing.
_TOGETHER = 20


def position(undisturbed: Undisturbed, name: str) -> int:
    return [write for write, _ in undisturbed.writes].index(name)


def say(capsys: pytest.CaptureFixture[str], what: str) -> None:
    with capsys.disabled():
        print(f"\n{what}")  # noqa: T201


@pytest.mark.long
def test_a_sample_of_kills_changes_nothing(
    undisturbed: Undisturbed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run is killed at eight writes, taken up again each time, and is then left alone."""
    rng = random.Random(f"sample {undisturbed.synthetic}")
    names = list(dict.fromkeys(name for name, _ in undisturbed.writes))
    kills = {rng.choice([name for name in names if fnmatch(name, pattern)]): mode for mode, pattern in ALWAYS}
    others = [name for name in names if name not in kills]
    kills |= {name: rng.choice(["before", "inside", "after"]) for name in rng.sample(others, DRAWN)}
    folder = prepare(tmp_path / "run", synthetic=undisturbed.synthetic).parent
    for name in sorted(kills, key=lambda name: position(undisturbed, name)):
        assert kill_at(folder, undisturbed, kills[name], name) == -9, f"the write {name} did not occur"
    run_cli(folder)
    assert differences(contents(folder / "ws"), undisturbed.contents) == []
    report = fsck(folder / "ws")
    assert report.clean, report.as_dict()
    say(capsys, f"killed at {len(kills)} of {len(names)} writes: {kills}")


def test_a_finished_run_does_nothing_again(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Not one file of the tables or the catalog changes, nor is one added, and every outcome says so."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed.folder, folder)
    before = state_on_disk(folder / "ws")
    outcomes = run_cli(folder)
    assert [outcome["step"] for outcome in outcomes if not outcome["reused"]] == []
    assert [note for outcome in outcomes for note in outcome["notes"]] == []
    assert state_on_disk(folder / "ws") == before
    assert set(contents(folder / "ws")["files"]) == AT_REST
    assert differences(contents(folder / "ws"), undisturbed.contents) == []


@pytest.mark.long
@pytest.mark.parametrize("mode", ["inside", "after", "before"])
def test_a_kill_at_any_write_changes_nothing(
    undisturbed: Undisturbed, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    """Kills at every write there is, the writes of the repair included; from each state a plain run must get right.

    One run is killed at its first write, its successor at the first write that is new, and so on. The state after each
    kill is copied, and a plain run finishes the copy.
    """
    folder = prepare(tmp_path / "run", synthetic=undisturbed.synthetic).parent
    waiting: list[Path] = []
    kills, wrong = 0, {}

    def finish_waiting() -> None:
        wrong.update({name: lines for name, lines in finish(waiting, undisturbed).items() if lines})
        for copy in waiting:
            shutil.rmtree(copy)
        waiting.clear()

    while kill_at(folder, undisturbed, mode, None, INSIDE if mode == "inside" else 1) == -9:
        kills += 1
        last = (folder / f"tried_{mode}").read_text().splitlines()[-1]
        waiting.append(tmp_path / f"{kills} {mode} {last}".replace("/", "_"))
        shutil.copytree(folder, waiting[-1])
        if len(waiting) == _TOGETHER:
            finish_waiting()
    finish_waiting()
    names = {name for name, _ in undisturbed.writes}
    tried = set((folder / f"tried_{mode}").read_text().splitlines())
    say(capsys, f"killed {kills} times {mode} one of {len(tried)} writes, {len(names)} of them of an undisturbed run")
    assert wrong == {}
    assert differences(contents(folder / "ws"), undisturbed.contents) == []
    # Killed after the catalog is in place, the rest of publishing is not done again.
    assert names - tried <= ({"publish"} if mode == "after" else set())
