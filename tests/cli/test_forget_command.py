"""synalign forget: what it asks for before it does what cannot be taken back."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import synalign as sa
from tests.cli.inside import cli


@pytest.fixture
def workspace(blank: Path) -> sa.Workspace:
    workspace = sa.open(blank)
    workspace.ingest(pl.DataFrame({"id": list("abc"), "text": ["one lamp", "two lamps", "three"]}), id="id")
    return workspace


def left(workspace: sa.Workspace) -> list[str]:
    return [row[0] for row in workspace.sql("select id from real order by id").fetchall()]


def test_it_wants_a_yes(workspace: sa.Workspace) -> None:
    refused = cli("forget", workspace.path, "--id", "a")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    looked = cli("forget", workspace.path, "--where", "text like '%lamp%'", "--dry-run", "--json")
    assert json.loads(looked.stdout)["counts"] == {"real": 2}
    assert left(workspace) == list("abc")
    done = cli("forget", workspace.path, "--id", "a", "--id", "b", "--yes", "--json")
    assert json.loads(done.stdout)["counts"]["real"] == 2
    assert left(workspace) == ["c"]


def test_what_is_not_there_is_wrong_usage(workspace: sa.Workspace) -> None:
    for given in (["--id", "nobody", "--yes"], ["--yes"], ["--id", "a", "--where", "true", "--yes"]):
        assert cli("forget", workspace.path, *given).returncode == 2
    assert cli("forget", workspace.path, "--where", "nowhere = 1", "--yes").returncode == 1
    assert left(workspace) == list("abc")
