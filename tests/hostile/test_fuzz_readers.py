"""2,000 damaged files, and frames of anything: stored whole, or refused with nothing changed. A sample by default."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

import synalign as sa
from synalign.errors import SynAlignError
from synalign.store.files import files
from tests.hostile.mutations import KINDS, damaged, originals, rows
from tests.steps.workspaces import unpublished

SYNALIGN = str(Path(sys.executable).with_name("synalign"))
ALL = 2_000
SAMPLE = 60
COLUMNS = {"text": "text", "label": "label"}


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with the hash of its bytes."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def watched(seconds: int) -> Iterator[None]:
    """Fail, rather than hang."""

    def ring(*_: object) -> None:
        raise TimeoutError("the file is still being read")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def seeded(folder: Path) -> sa.Workspace:
    workspace = sa.open(folder)
    workspace.ingest(pl.DataFrame({"text": ["there before"], "label": ["a"], "number": [1]}), label="label")
    return workspace


def take(workspace: sa.Workspace, kind: str, seed: int, folder: Path, before: dict[str, str]) -> str:
    """Ingest one damaged file; return what became of it."""
    done, data = damaged(kind, seed)
    path = folder / f"damaged.{kind}"
    path.write_bytes(data)
    try:
        with watched(60):
            outcome = workspace.ingest(path, **COLUMNS)
    except SynAlignError as error:
        assert contents(workspace.path) == before, f"{kind} {seed} ({done}) was refused, and something was written"
        said = str(error)
        assert "Nothing was written" in said, f"{kind} {seed} ({done}): {said}"
        assert "Traceback" not in said
        return "refused"
    if outcome.reused:
        assert contents(workspace.path) == before, f"{kind} {seed} ({done})"
    else:
        stored = workspace._lake.read("real", ["id"], f"run_id = '{outcome.run_id}'")
        assert stored.num_rows == outcome.counts["added"] <= outcome.counts["records"], f"{kind} {seed} ({done})"
    known = set(workspace._lake.read("real", ["text"])["text"].to_pylist())
    assert set(files.read(path, ["text", "label"])[0]["text"].to_list()) <= known, f"{kind} {seed} ({done})"
    return "reused" if outcome.reused else "accepted"


def take_all(count: int, folder: Path) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    with unpublished():
        for number in range(count):
            if number % 40 == 0:  # not one that holds the columns of all of them
                workspace = seeded(folder / f"workspace{number}")
            kind = KINDS[number % len(KINDS)]
            before = contents(workspace.path)
            found[kind, take(workspace, kind, number, folder, before)] += 1
    return found


def test_whole_files_are_taken(tmp_path: Path) -> None:
    expected = rows()["text"].to_list()
    for kind in KINDS:
        for number, data in enumerate(originals(kind)):
            path = tmp_path / f"whole{number}.{kind}"
            path.write_bytes(data)
            assert files.read(path, ["text", "label"])[0]["text"].to_list() == expected


def test_a_sample_of_damaged_files_is_stored_whole_or_refused_whole(tmp_path: Path) -> None:
    found = take_all(SAMPLE, tmp_path)
    assert found.total() == SAMPLE
    outcomes = {outcome for _, outcome in found}
    assert {"refused", "accepted"} <= outcomes, found


@pytest.mark.long
def test_two_thousand_damaged_files_are_stored_whole_or_refused_whole(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = take_all(ALL, tmp_path)
    assert found.total() == ALL
    assert min(found[kind, "refused"] for kind in KINDS) > ALL / len(KINDS) / 4, found
    assert all(found[kind, "accepted"] for kind in KINDS), found
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # KiB, on Linux
    assert grown < 1_000, f"{grown:.0f} MB more memory than before"


def through_the_command_line(kind: str, seed: int, folder: Path) -> int:
    done, data = damaged(kind, seed)
    path = folder / f"damaged.{kind}"
    path.write_bytes(data)
    command = [SYNALIGN, "ingest", str(folder / "workspace"), str(path), "--label", "label"]
    ended = subprocess.run(command, capture_output=True, timeout=120, check=False)
    said = ended.stderr.decode()
    assert ended.returncode in (0, 1, 2), f"{kind} {seed} ({done}): {said}"
    assert not any(word in said for word in ("Traceback", "panicked", "RUST_BACKTRACE")), f"{kind} {seed}: {said}"
    if ended.returncode:
        assert said.startswith("error: "), f"{kind} {seed}: {said}"
        assert not (folder / "workspace").exists()
    return ended.returncode


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_line_ends_with_a_message(kind: str, tmp_path: Path) -> None:
    through_the_command_line(kind, 4_000, tmp_path)


@pytest.mark.long
def test_the_command_line_ends_with_a_message_whatever_the_file(tmp_path: Path) -> None:
    ended = Counter()
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        ended[through_the_command_line(KINDS[number % len(KINDS)], 5_000 + number, folder)] += 1
    assert ended[0], ended
    assert ended[1], ended
