"""Rows of small tables are kept in memory, and read again as soon as anyone wrote to the table."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from synalign.errors import StoreError
from synalign.store.lake.lake import Lake

COLUMNS = ["sequence", "run_id"]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lance")


def write(lake: Lake, *numbers: int, run_id: str = "r") -> None:
    at = datetime.now(UTC)
    rows = [{"sequence": number, "step": "select", "run_id": run_id, "at": at} for number in numbers]
    lake.insert_rows("activations", rows)


def numbers(lake: Lake) -> list[int]:
    return sorted(row["sequence"] for row in lake.rows("activations", COLUMNS))


def test_what_is_written_is_seen_at_once(lake: Lake) -> None:
    assert lake.rows("activations", COLUMNS) == []
    for number in range(1, 20):  # as fast as commits can follow each other
        write(lake, number)
        assert numbers(lake) == list(range(1, number + 1))
    lake.delete("activations", "sequence > 3")
    assert numbers(lake) == [1, 2, 3]
    lake.compact("activations")
    assert numbers(lake) == [1, 2, 3]
    assert lake.rows("activations", ["step"]) == [{"step": "select"}] * 3


_OTHER = """
import sys
from pathlib import Path
from synalign.store.lake.lake import Lake
from tests.store.lake.test_lake_rows import numbers, write
lake = Lake(Path(sys.argv[1]))
for line in sys.stdin:
    write(lake, int(line))
    print(*numbers(lake), flush=True)
"""


def test_what_another_process_writes_is_seen(lake: Lake) -> None:
    """Two processes that both keep rows write in turn."""
    write(lake, 0)
    command = [sys.executable, "-c", _OTHER, str(lake.path)]
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        for number in range(1, 12, 2):
            assert numbers(lake) == list(range(number))
            other.stdin.write(f"{number}\n")
            other.stdin.flush()
            assert other.stdout.readline().split() == [str(place) for place in range(number + 1)]
            assert numbers(lake) == list(range(number + 1))
            write(lake, number + 1)


def test_a_table_that_was_made_anew_is_another(lake: Lake, tmp_path: Path) -> None:
    """Also where it has as many versions as the one before it had, and so manifests of the same names."""
    write(lake, 1)
    assert numbers(lake) == [1]
    lake.drop("activations")
    assert numbers(lake) == []
    write(lake, 2)
    assert numbers(lake) == [2]
    another = Lake(tmp_path / "another")
    write(another, 3)
    shutil.rmtree(lake.path)
    shutil.copytree(another.path, lake.path)
    assert numbers(lake) == [3]


def test_nothing_is_read_where_nothing_was_written(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    write(lake, 1)
    first = lake.rows("activations", COLUMNS)
    monkeypatch.delattr(Lake, "read")
    assert lake.rows("activations", COLUMNS) is first


def test_a_damaged_table_is_a_typed_error(lake: Lake) -> None:
    write(lake, 1)
    assert numbers(lake) == [1]
    for manifest in (lake.path / "activations.lance" / "_versions").glob("*.manifest"):
        manifest.write_bytes(b"no manifest")
    with pytest.raises(StoreError, match="activations"):
        lake.rows("activations", COLUMNS)
    with pytest.raises(StoreError, match="no table 'nothing'"):
        lake.rows("nothing", COLUMNS)
