"""exclude and include: a verdict stands until the next; one that changes nothing writes nothing."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import synalign as sa
from synalign.errors import SqlError


@pytest.fixture
def workspace(blank: Path) -> sa.Workspace:
    workspace = sa.open(blank)
    workspace.ingest(
        pl.DataFrame({"id": list("abcd"), "text": ["one", "two", "three", "four"]}), id="id", synthetic=True
    )
    return workspace


def excluded(workspace: sa.Workspace) -> list[str]:
    return [row[0] for row in workspace.sql("select id from exclusions order by id").fetchall()]


def test_the_last_verdict_counts(workspace: sa.Workspace):
    outcome = workspace.exclude("text like 't%'", reason="too tidy")
    assert outcome.counts == {"excluded": 2}
    assert excluded(workspace) == ["b", "c"]
    workspace.include("id = 'b'")
    assert excluded(workspace) == ["c"]
    workspace.exclude("id = 'b'")
    assert excluded(workspace) == ["b", "c"]
    assert dict(workspace.sql("from exclusions").fetchall()) == {"b": "id = 'b'", "c": "too tidy"}


def test_only_records_whose_verdict_changes_are_written(workspace: sa.Workspace):
    workspace.exclude("id = 'a'", reason="first")
    outcome = workspace.exclude("true", reason="second")
    assert outcome.counts == {"excluded": 3}
    assert dict(workspace.sql("from exclusions").fetchall())["a"] == "first"


def test_a_verdict_that_changes_nothing_writes_nothing(workspace: sa.Workspace):
    workspace.exclude("id = 'a'")
    before = workspace.sql("select count(*) from runs").fetchall()
    for verdict in (lambda: workspace.exclude("id = 'a'"), lambda: workspace.include("id = 'nobody'")):
        outcome = verdict()
        assert outcome.reused
    assert workspace.sql("select count(*) from runs").fetchall() == before


def test_taking_back_twice_is_three_runs(workspace: sa.Workspace):
    names = [verdict("id = 'a'").run_id for verdict in (workspace.exclude, workspace.include, workspace.exclude)]
    assert len(set(names)) == 3
    assert excluded(workspace) == ["a"]


@pytest.mark.parametrize("condition", ["no such column", "nowhere = 1", "id = ", "", "sum(id) > 1"])
def test_a_condition_that_is_none_is_refused(workspace: sa.Workspace, condition: str):
    with pytest.raises(SqlError, match=r"Its columns: id, text, label"):
        workspace.exclude(condition)
    assert excluded(workspace) == []


def test_a_quote_in_an_id_is_no_danger(blank: Path):
    workspace = sa.open(blank)
    workspace.ingest(pl.DataFrame({"id": ["o'hara", "x"], "text": ["one", "two"]}), id="id", synthetic=True)
    workspace.exclude("id = 'o''hara'")
    assert excluded(workspace) == ["o'hara"]
