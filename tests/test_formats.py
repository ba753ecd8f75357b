"""Formats over time: kept workspaces of every schema open, answer as they did, are brought up to date and go on; those
of a newer schema are refused, and stay as they are."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import synalign as sa
from synalign.cli import app
from synalign.errors import StoreError, UsageError, WorkspaceVersionError
from synalign.store.lake import format
from synalign.store.lake.migrations import MIGRATIONS
from synalign.store.lake.schemas import TABLES
from tests.cli import inside
from tests.conftest import CORPUS, ROOT
from tests.steps.workspaces import unpublished

KEPT = ROOT / "fixtures" / "workspaces"
SCHEMAS = sorted(int(path.name.removeprefix("schema-").removesuffix(".tar.gz")) for path in KEPT.glob("*.tar.gz"))
#: Steps whose runs had other parameters in a schema, so that they are done again: requests were made otherwise then.
ANEW: dict[int, set[str]] = {1: {"reason", "generate", "align"}}
MORE = pl.read_csv(CORPUS).select("text", "label", "channel").tail(6)


def unpack(schema: int, folder: Path) -> Path:
    with tarfile.open(KEPT / f"schema-{schema}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "workspace"


def said(schema: int) -> dict[str, Any]:
    return json.loads((KEPT / f"schema-{schema}.json").read_text(encoding="utf-8"))


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rows(workspace: sa.Workspace, question: str) -> Any:
    return json.loads(json.dumps(workspace.sql(question).fetchall()))


def noted(root: Path) -> dict[str, Any]:
    return json.loads((root / format.FORMAT_NAME).read_text(encoding="utf-8"))


@pytest.fixture
def read_only(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A kept workspace that nobody may write to."""
    root = unpack(request.param, tmp_path)
    everything = [root, *root.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield root
    for path in everything:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_there_is_a_kept_workspace_of_every_schema() -> None:
    assert [*range(1, format.SCHEMA + 1)] == SCHEMAS
    assert all((KEPT / f"schema-{schema}.tar.gz").stat().st_size < 300_000 for schema in SCHEMAS)
    assert [migration.number for migration in MIGRATIONS] == SCHEMAS[1:]
    assert MIGRATIONS[-1].needs == format.NEEDS


@pytest.mark.parametrize(("read_only", "schema"), [(number, number) for number in SCHEMAS], indirect=["read_only"])
def test_a_kept_workspace_answers_as_it_did_and_reading_it_changes_nothing(read_only: Path, schema: int) -> None:
    before = files(read_only)
    workspace = sa.open(read_only, create=False)
    for name, question in said(schema)["questions"].items():
        assert rows(workspace, question) == said(schema)["answers"][name], name
    assert workspace.sample(20, seed=3)["copies"].sum() == 20
    assert workspace.status()["steps"]["align"] is not None
    assert len(workspace.search("where is my parcel", k=3)) == 3
    report = workspace.fsck()
    assert report.clean, report.as_dict()
    assert report.schema == schema
    assert files(read_only) == before


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_kept_workspace_is_brought_up_to_date_and_goes_on(schema: int, tmp_path: Path) -> None:
    root = unpack(schema, tmp_path)
    workspace = sa.open(root)
    workspace.publish()
    assert noted(root)["schema"] == format.SCHEMA
    # Where no number was written, all are done: a table that nobody wrote to since may be of an earlier schema still.
    migrations = SCHEMAS[1:] if schema < 3 else SCHEMAS[schema:]
    assert [item["number"] for item in noted(root)["migrations"]] == migrations
    for name in (name for name in workspace._lake.names() if name in TABLES):
        assert set(TABLES[name].schema.names) <= set(workspace._lake.schema(name).names), name
    for name, question in said(schema)["questions"].items():
        assert rows(workspace, question) == said(schema)["answers"][name], name
    asked = rows(workspace, "select count(*) from calls")
    outcomes = sa.run(root)
    assert {outcome.step for outcome in outcomes if not outcome.reused} == ANEW.get(schema, set())
    if schema not in ANEW:
        assert rows(workspace, "select count(*) from calls") == asked
    assert all(outcome.reused for outcome in sa.run(root))
    with unpublished():
        assert workspace.ingest(MORE, label="label").counts["added"] == MORE.height
        workspace.embed()
        workspace.cluster()
        assert not workspace.align().reused
    workspace.exclude("label = 'praise'")
    report = workspace.fsck()
    assert report.problems == [], report.as_dict()
    assert report.clean
    assert len(noted(root)["migrations"]) == len(migrations)


_KILLED = """
import os, signal, sys
import synalign as sa
from synalign.store.lake import format
from synalign.store.lake.lake import Lake
from synalign.store.ledger.ledger import Ledger
where, times = sys.argv[2], int(sys.argv[3])
owner = {"add_columns": Lake, "write": format, "ledger": Ledger}[where]
name = "add_columns" if where == "ledger" else where
act, done = getattr(owner, name), []
def killed(*given):
    done.append(given)
    if len(done) > times:
        os.kill(os.getpid(), signal.SIGKILL)
    return act(*given)
setattr(owner, name, killed)
sa.open(sys.argv[1]).publish()
"""


@pytest.mark.parametrize(("where", "times", "schema"), [("add_columns", 1, None), ("ledger", 0, None), ("write", 1, 2)])
def test_a_migration_that_is_killed_is_finished_by_the_next_writer(
    where: str, times: int, schema: int | None, tmp_path: Path
) -> None:
    root = unpack(1, tmp_path)
    done = subprocess.run([sys.executable, "-c", _KILLED, str(root), where, str(times)], cwd=ROOT)
    assert done.returncode == -9
    assert (noted(root)["schema"] if (root / format.FORMAT_NAME).exists() else None) == schema
    workspace = sa.open(root)
    for name, question in said(1)["questions"].items():
        assert rows(workspace, question) == said(1)["answers"][name], name
    workspace.publish()
    assert [item["number"] for item in noted(root)["migrations"]] == SCHEMAS[1:]
    assert "batch_id" in workspace._lake.schema("calls").names
    report = workspace.fsck()
    assert report.problems == [], report.as_dict()


def test_a_new_workspace_is_of_the_newest_schema(blank: Path) -> None:
    sa.open(blank).ingest(MORE, label="label")
    assert noted(blank) == {"schema": format.SCHEMA, "needs": format.NEEDS, "migrations": []}


#: What commands are given beside the folder.
GIVEN: dict[str, list[str]] = {
    "ingest": [str(CORPUS)], "record": ["out.jsonl"], "sql": ["select 1"], "sample": ["1"], "search": ["x"],
    "export": ["out.csv"], "exclude": ["true"], "include": ["true"], "diff": ["v1"], "explain": ["x"],
    "documents": [str(CORPUS)], "retrieve": ["x"], "ab": ["x", "y"],
    "experiment": [str(CORPUS), "--metric", "x"],
}  # fmt: skip
COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of a schema to come, which put into the configuration what is not known yet."""
    root = unpack(SCHEMAS[-1], tmp_path_factory.mktemp("newer"))
    (root / format.FORMAT_NAME).write_text(json.dumps({"schema": 99, "needs": "7.1.0", "later": True}))
    with (root / "synalign.toml").open("a", encoding="utf-8") as file:
        file.write("\n[later]\nkey = 1\n")
    return root


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "version"])
def test_a_newer_workspace_is_refused_by_every_command(command: str, newer: Path) -> None:
    before = files(newer)
    found = inside.cli(command.replace("_", "-"), newer, *GIVEN.get(command, []))
    assert found.returncode == 2, found.stderr
    # Lines are not folded where the output is no terminal.
    assert "has schema 99" in found.stderr
    assert f"reads schemas up to {format.SCHEMA}" in found.stderr
    assert "Install SynAlign 7.1.0 or newer" in found.stderr
    assert files(newer) == before


def test_a_newer_workspace_is_refused_by_the_api_also_when_it_was_open_before(newer: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceVersionError, match="schema 99"):
        sa.open(newer)
    with pytest.raises(UsageError, match=r"7\.1\.0"):
        sa.run(newer)
    root = unpack(SCHEMAS[-1], tmp_path)
    workspace = sa.open(root)
    (root / format.FORMAT_NAME).write_text('{"schema": 99}')
    before = files(root)
    for verb in (workspace.publish, workspace.gc, workspace.align, lambda: workspace.ingest(MORE)):
        with pytest.raises(WorkspaceVersionError, match="Install the version of SynAlign that wrote it"):
            verb()
    assert {name: data for name, data in files(root).items() if name != ".lock"} == before


#: What is no format.json: three that each fail in another place, and others.
DAMAGED, MORE_DAMAGED = ["{", '{"schema": "3"}', "\udcff"], ["", "[]", "3", '{"schema": 0}', '{"schema": true}']


@pytest.mark.parametrize("text", [*DAMAGED, *MORE_DAMAGED])
def test_a_damaged_file_is_said_with_its_cure(text: str, blank: Path) -> None:
    sa.open(blank).configure(sa.Config())
    (blank / format.FORMAT_NAME).write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(StoreError, match=r"format\.json cannot be read.*move the file away"):
        sa.open(blank)


@pytest.mark.parametrize("text", [*DAMAGED, *(pytest.param(text, marks=pytest.mark.long) for text in MORE_DAMAGED)])
def test_fsck_finds_a_damaged_file_and_its_cure_works(text: str, tmp_path: Path) -> None:
    root = unpack(SCHEMAS[-1], tmp_path)
    (root / format.FORMAT_NAME).write_text(text, encoding="utf-8", errors="surrogateescape")
    report = inside.cli("fsck", root, "--json")
    assert report.returncode == 1
    found = json.loads(report.stdout)
    assert [problem["check"] for problem in found["problems"] if problem["kind"] == "error"] == ["format"]
    (root / format.FORMAT_NAME).unlink()
    workspace = sa.open(root)
    workspace.publish()
    assert noted(root)["schema"] == format.SCHEMA
    assert workspace.fsck().problems == []
