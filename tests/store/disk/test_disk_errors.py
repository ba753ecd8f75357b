"""No room on the disk, and no right to write: what cannot be written is said, nothing is lost, reading works."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import synalign as sa
from synalign.errors import StoreError
from tests.crash.contents import contents, differences
from tests.crash.wholeness import orphans

FRAME = pl.DataFrame({"text": [f"This is text number {number}" for number in range(40)]})


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a full disk. Python ignores the signal for that."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "format.json cannot be written"),
        (200, "synalign.toml cannot be written"),
        (2500, "The table 'real' cannot be"),
        (10**6, "could not be published"),
    ],
)
def test_what_finds_no_room_is_said_and_goes_on_later(size: int, said: str, blank: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught, files_up_to(size):
        sa.open(blank).ingest(FRAME)
    assert said in str(caught.value)
    assert "make room" in str(caught.value)
    assert not [file for pattern in ("*.partial", "*.publishing*", "*.owner") for file in blank.glob(pattern)]
    sa.open(blank).ingest(FRAME)
    undisturbed = sa.open(tmp_path / "undisturbed")
    undisturbed.ingest(FRAME)
    assert differences(contents(blank), contents(undisturbed.path)) == []


def test_a_ledger_without_room_keeps_what_it_has(blank: Path) -> None:
    ledger = sa.open(blank)._ledger
    ledger.put({"call_id": "first", "status": "complete", "reply": "paid for"})
    with pytest.raises(StoreError, match=r"1 replies were not kept\. The disk.* make room"), files_up_to(40_000):
        ledger.put({"call_id": "second", "status": "complete", "reply": "x" * 100_000})
    assert ledger.rows()["call_id"].to_pylist() == ["first"]
    ledger.put({"call_id": "second", "status": "complete", "reply": "x" * 100_000})
    assert ledger.rows()["call_id"].to_pylist() == ["first", "second"]
    ledger.close()


def test_the_files_that_lance_was_about_to_put_in_place_are_cleaned_up(blank: Path) -> None:
    workspace = sa.open(blank)
    workspace.ingest(FRAME)
    versions = blank / "lance" / "real.lance" / "_versions"
    (versions / "18446744073709551610.manifest#1").write_text("what a killed writer leaves")
    assert orphans(blank)
    workspace.gc()
    assert orphans(blank) == []


@contextmanager
def mounted(folder: Path, source: Path) -> Iterator[None]:
    """Make a folder a copy of another that nobody may write to."""
    folder.mkdir()

    def mount(*options: str) -> None:
        done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"root may write anywhere, and nothing can be mounted here: {done.stderr.strip()}")

    mount("-t", "tmpfs", "-o", "size=64m", "tmpfs")
    try:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        mount("-o", "remount,ro")
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def barred(folder: Path, source: Path) -> Iterator[None]:
    """Make a folder a copy of another that this user, who is not root, may not write to."""
    shutil.copytree(source, folder)
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path in everything:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture(scope="module")
def read_only(filled: sa.Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Workspace]:
    folder = tmp_path_factory.mktemp("read only") / "workspace"
    with (mounted if os.geteuid() == 0 else barred)(folder, filled.path):
        yield sa.open(folder, create=False)


QUESTIONS: dict[str, Callable[[sa.Workspace], Any]] = {
    "sql": lambda ws: ws.sql("from synthetic_weighted").fetchall(),
    "calls": lambda ws: ws.sql("select count(*) from calls").fetchall(),
    "status": lambda ws: ws.status()["records"],
    "sample": lambda ws: ws.sample(20, seed=3).rows(),
    "search": lambda ws: ws.search("where is my parcel").rows(),
    "at": lambda ws: ws.at(ws.sql("select max(run_id) from runs").fetchall()[0][0]).sql("from real").fetchall(),
    "estimate": lambda ws: ws.estimate().data(),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_workspace_that_is_read_only_can_be_read(
    question: str, read_only: sa.Workspace, filled: sa.Workspace
) -> None:
    found, wanted = QUESTIONS[question](read_only), QUESTIONS[question](filled)
    assert (sorted(found), len(found)) == (sorted(wanted), len(wanted))


WRITES: dict[str, Callable[[sa.Workspace], object]] = {
    "configure": lambda ws: ws.configure(ws.config),
    "ingest": lambda ws: ws.ingest(FRAME),
    "embed": lambda ws: ws.embed(refit=True),
    "cluster": lambda ws: ws.cluster(k=3),
    "select": lambda ws: ws.select(budget=2),
    "reason": lambda ws: ws.reason(),
    "generate": lambda ws: ws.generate(),
    "annotate": lambda ws: ws.annotate(sample=2),
    "align": lambda ws: ws.align(),
    "score": lambda ws: ws.score(),
    "use_weights": lambda ws: ws.use_weights("default"),
    "check": lambda ws: ws.check(),
    "exclude": lambda ws: ws.exclude("true"),
    "publish": lambda ws: ws.publish(),
    "gc": lambda ws: ws.gc(),
}


@pytest.mark.parametrize("verb", WRITES)
def test_what_is_read_only_is_not_written(verb: str, read_only: sa.Workspace) -> None:
    before = sorted(read_only.path.rglob("*"))
    with pytest.raises(StoreError) as caught:
        WRITES[verb](read_only)
    assert f"The workspace {read_only.path} cannot be written" in str(caught.value)
    assert "get write permission" in str(caught.value)
    assert sorted(read_only.path.rglob("*")) == before


def test_the_command_line_says_that_it_may_not_write(read_only: sa.Workspace) -> None:
    command = [sys.executable, "-m", "synalign.cli", "gc", str(read_only.path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: The workspace")
