"""The README's code runs: Python, shell and SQL blocks, in order, in an empty folder with the fixtures beside it."""

from __future__ import annotations

import io
import re
import shlex
import shutil
from contextlib import chdir, redirect_stdout
from pathlib import Path

import duckdb
import pytest

from tests.cli.inside import cli

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- not run:[^>]*-->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: A command whose last line is an argument of another.
INNER = re.compile(r"\$\((.*?) \| tail -n 1\)")


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [code for skipped, kind, code in BLOCK.findall(text) if kind == language and not skipped]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's Python has run."""
    path = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "fixtures", path / "fixtures")
    # In this process: a new one would first import for seconds what is here already.
    with chdir(path), redirect_stdout(io.StringIO()):
        exec(compile("\n".join(blocks("python")), "README.md", "exec"), {"__name__": "__main__"})
    return path


def test_python_blocks_run_and_the_join_gives_all_weight(folder: Path) -> None:
    assert len(blocks("python")) == 7
    assert (folder / "drawn.parquet").is_file()
    assert (folder / "drawn.parquet.md").is_file()
    with duckdb.connect() as connection:
        connection.execute(
            "attach 'support/catalog.duckdb' as synalign (read_only)".replace("support", f"{folder}/support")
        )
        connection.execute(f"attach '{folder}/warehouse.duckdb' as warehouse (read_only)")
        joined = connection.sql(
            "select sum(w.weight), count(distinct t.team), bool_and(c.cost > 0) from synalign.synthetic_weighted w "
            f"join warehouse.teams t on t.label = w.label join '{folder}/costs.parquet' c on c.label = w.label"
        ).fetchall()[0]
    assert joined[0] == pytest.approx(1.0, abs=1e-9)
    assert joined[1:] == (4, True)


def test_sql_blocks_run_on_the_published_catalog(folder: Path) -> None:
    with duckdb.connect(str(folder / "support" / "catalog.duckdb"), read_only=True) as connection:
        statements = [part for block in blocks("sql") for part in block.split(";\n") if part.strip()]
        results = [connection.execute(statement).fetchall() for statement in statements]
    assert len(results) == 17
    assert all(results), "a query of the README finds nothing"
    assert sum(row[1] for row in results[10]) == 200
    assert sum(row[2] for row in results[11]) == 200


def command(line: str) -> str:
    """Run a line of the command line in this process, and return what it prints."""
    program, *arguments = shlex.split(line)
    assert program == "synalign"
    done = cli(*arguments)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_shell_blocks_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for block in blocks("sh"):
        for line in filter(None, block.splitlines()):
            command(INNER.sub(lambda found: command(found[1]).splitlines()[-1], line))
    assert (folder / "weighted.csv").is_file()


def test_the_two_commands_are_named() -> None:
    (commands,) = [block for block in blocks("") if block.startswith("make demo")]
    assert "make test" in commands
