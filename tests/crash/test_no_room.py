"""A disk that is full at some moment of each step: what was not written is said, and nothing is lost."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.session import STAGES
from tests.crash.test_kill_session import FLAWS, Session, flawed, results, undisturbed

#: Bytes that are left on the disk, or that a file may have, when a stage begins: room for nothing, for some files, for
#: the tables alone. What is drawn comes on top.
LEFT = (0, 20_000, 200_000, 3_000_000)
MOST = (0, 3_000, 1_000_000)

#: Stages that may need no more room than there was.
SMALL = ("configure", "gc", "gc again")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no disk of a fixed size can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def check(session: Session, mode: str, sizes: tuple[int, ...], work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(mode)
    kills = [
        {"stage": stage, "mode": mode, "free": size + rng.randrange(size + 1)}
        for stage in session.stages
        for size in sizes
    ]
    done = results(session, kills, work, workers=1)
    errors = {(one["stage"], one["free"]): one["found"].get("error") for one in done}
    with capsys.disabled():
        for (stage, free), error in errors.items():
            print(f"{stage:<18} {free:>9}  {error and error[1][:150]}")  # noqa: T201
    assert {name: flawed(done, name) for name in FLAWS} == {name: {} for name in FLAWS}
    assert [one for one in done if one["found"]["left"]] == []
    assert [error for error in errors.values() if error and "make room" not in error[1]] == []
    assert {stage for stage, _ in errors if stage not in SMALL} <= {
        stage for (stage, _), error in errors.items() if error
    }
    assert {error[0] for error in errors.values() if error} == {"StoreError"}


@pytest.mark.long
def test_a_full_disk_loses_nothing(small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = undisturbed(tmp_path / "undisturbed", tuple(STAGES))
    check(session, "full", LEFT, small_disk, capsys)


@pytest.mark.long
def test_files_that_may_not_grow_lose_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = undisturbed(tmp_path / "undisturbed", tuple(STAGES))
    check(session, "limit", MOST, tmp_path, capsys)
