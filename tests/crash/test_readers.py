"""Readers in other processes while one writes: no error, and whole runs only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.crash.killing import ROOT, prepare

KINDS = ("published", "published, held", "live", "live, held")


def start(module: str, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-m", f"tests.crash.{module}", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def read_while_writing(folder: Path, seconds: float, kinds: tuple[str, ...]) -> tuple[int, dict[str, Any]]:
    """Have each kind of reader read from the first file on, and for some seconds after the first run has ended; return
    how often the writer went round then, and what the readers found."""
    config, stop, stopped = prepare(folder, synthetic=True), folder / "stop", folder / "readers stop"
    readers = {kind: start("reading", kind, config.parent / "ws", stopped) for kind in kinds}
    writer = start("writing", config.parent, stop)
    try:
        while not (folder / "ws" / "catalog.duckdb").exists():
            assert writer.poll() is None
            time.sleep(0.05)
        time.sleep(seconds)
        stop.touch()
        turns = int(writer.communicate(timeout=300)[0])
        stopped.touch()
        found = {kind: json.loads(reader.communicate(timeout=300)[0]) for kind, reader in readers.items()}
    finally:
        for process in (writer, *readers.values()):
            process.kill()
    return turns, found


def check(turns: int, found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        said = [f"{kind}: {one['loops']} reads of {one['states']} states" for kind, one in found.items()]
        print(f"\nthe writer went round {turns} times; {'; '.join(said)}")  # noqa: T201
    assert [error for one in found.values() for error in one["errors"]] == []
    assert [torn for one in found.values() for torn in one["torn"]] == []
    assert turns
    assert all(one["states"] > 1 for one in found.values())


def test_two_readers_beside_a_writer_see_whole_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(*read_while_writing(tmp_path / "run", 5, ("published", "live")), capsys)


@pytest.mark.long
def test_four_readers_beside_a_writer_for_a_minute_see_whole_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(*read_while_writing(tmp_path / "run", 60, KINDS), capsys)
