"""What docs/explanation/experiments.md shows runs: its Python in an empty folder, its SQL on the catalog there."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import duckdb
import pytest

from tests.cli.inside import cli

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "explanation" / "experiments.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("docs")
    (code,) = blocks("python")
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(path)
        exec(compile(code, "docs/explanation/experiments.md", "exec"), {})
    first, second = printed.getvalue().splitlines()[:2]
    assert first.startswith("ctr, B against A: ")
    assert first.endswith("higher.")
    assert second.endswith("no difference seen.")
    return path


def test_the_sql_runs_without_synalign(folder: Path) -> None:
    statements = [part for block in blocks("sql") for part in block.split(";\n") if part.strip()]
    with duckdb.connect(str(folder / "reviews" / "catalog.duckdb"), read_only=True) as connection:
        five, shares, ramp = (connection.sql(statement).fetchall() for statement in statements)
    assert {arm for _, arm in five} == {"A", "B"}
    assert {arm: round(count, -2) for arm, count in shares} == {"A": 500, "B": 500, None: 9_000}
    assert 70 < len(ramp) < 130


def test_the_command_says_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = re.findall(r"^    \$ synalign (experiment .*)$", TEXT, re.MULTILINE)
    monkeypatch.chdir(folder)
    done = cli(*line.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ctr, B against A: ")
