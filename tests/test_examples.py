"""The examples and docs/how-to/join.md: what they show runs, without SynAlign where they say so, and can fail."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import polars as pl
import pytest

import synalign as sa
from synalign.errors import AttachmentError
from synalign.store.sql import attachments
from tests.cli.inside import cli

ROOT = Path(__file__).resolve().parents[1]
ORDERS, DBT = ROOT / "examples" / "orders", ROOT / "examples" / "dbt"
JOINS = (ROOT / "docs" / "how-to" / "join.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:^<!-- needs: (\w+) -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str, needs: str = "") -> list[str]:
    return [code for needed, kind, code in BLOCK.findall(JOINS) if kind == language and needed == needs]


@pytest.fixture(scope="module")
def spoiled(filled: sa.Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog whose weights do not sum to 1, one of them negative, with a label that no order has."""
    path = tmp_path_factory.mktemp("spoiled") / "catalog.duckdb"
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute(f"attach '{filled.path / 'catalog.duckdb'}' as synalign (read_only)")
        for name in ("synthetic_weighted", "real"):
            connection.execute(f"create table {name} as from synalign.{name}")
        odd = "(select min(id) from synthetic_weighted)"
        connection.execute(f"update synthetic_weighted set weight = -1, label = 'nobody' where id = {odd}")
    return path


def orders(catalog: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    # -P leaves the checkout out of sys.path; the path hides SynAlign's own.
    script = f"import runpy, sys; sys.argv = {['orders.py', str(catalog), str(folder / 'w.duckdb')]!r}; "
    script += f"sys.modules['synalign'] = None; runpy.run_path({str(ORDERS / 'orders.py')!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, cwd=folder)


def test_orders_give_the_figures_of_the_real_messages_by_weight(filled: sa.Workspace, tmp_path: Path) -> None:
    catalog = filled.path / "catalog.duckdb"
    done = orders(catalog, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "synthetic, by weight" in done.stdout
    with closing(duckdb.connect()) as connection:
        connection.execute(f"attach '{catalog}' as synalign (read_only)")
        connection.execute(f"attach '{tmp_path / 'w.duckdb'}' as warehouse (read_only)")
        found = {row[0]: row[1:] for row in connection.sql((ORDERS / "join.sql").read_text()).fetchall()}
    assert all(row[0] == pytest.approx(1.0, abs=1e-9) for row in found.values()), "no message was lost in the join"
    # The same figures in polars, from the CSV file and the relations.
    answered = pl.read_csv(ORDERS / "data" / "orders.csv").drop_nulls("contact_reason").group_by("contact_reason")
    costs = answered.agg(pl.col("minutes").mean()).rename({"contact_reason": "label"})
    weighted = filled.sql("select label, weight from synthetic_weighted").pl().join(costs, on="label")
    assert found["synthetic, by weight"][1] == pytest.approx((weighted["weight"] * weighted["minutes"]).sum())
    # This workspace was aligned with the labels' real shares, and generated with others.
    assert found["synthetic, by weight"][1:] == pytest.approx(found["real"][1:], rel=1e-6)
    assert abs(found["synthetic, by count"][1] - found["real"][1]) > 0.05


def test_orders_refuse_weights_that_are_not_fit(spoiled: Path, tmp_path: Path) -> None:
    done = orders(spoiled, tmp_path)
    assert done.returncode == 1
    for broken in ("the weights do not sum to 1", "a weight is negative", "has no order: nobody"):
        assert broken in done.stdout


def test_the_orders_are_what_generate_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    duckdb.sql((ORDERS / "generate.sql").read_text(encoding="utf-8"))
    assert (tmp_path / "data" / "orders.csv").read_bytes() == (ORDERS / "data" / "orders.csv").read_bytes()


@pytest.fixture(scope="module")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command dbt, in an environment of its own, installed from the package registry."""
    environment = tmp_path_factory.mktemp("dbt") / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    install = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", DBT / "requirements.txt"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"dbt cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return environment / "bin" / "dbt"


def build(dbt: Path, catalog: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "SYNALIGN_CATALOG": str(catalog),
        "WAREHOUSE": str(folder / "warehouse.duckdb"),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
    }
    command = [dbt, "--no-use-colors", "build", "--profiles-dir", "."]
    return subprocess.run(command, cwd=DBT, env=os.environ | environment, capture_output=True, text=True, timeout=600)


@pytest.mark.long
def test_the_dbt_project_builds_and_its_tests_pass(dbt: Path, filled: sa.Workspace, tmp_path: Path) -> None:
    done = build(dbt, filled.path / "catalog.duckdb", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS=19 WARN=0 ERROR=0 SKIP=0" in done.stdout
    with closing(duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True)) as connection:
        found = connection.sql("select reason, share from message_costs order by reason").fetchall()
    expected = filled.sql("select label, sum(weight) from synthetic_weighted group by label order by label").fetchall()
    assert [row[0] for row in found] == [row[0] for row in expected]
    assert [row[1] for row in found] == pytest.approx([row[1] for row in expected])


@pytest.mark.long
def test_the_tests_of_the_dbt_project_can_fail(dbt: Path, spoiled: Path, tmp_path: Path) -> None:
    done = build(dbt, spoiled, tmp_path)
    assert done.returncode == 1
    failed = set(re.findall(r"FAIL \d+ (\w+)", done.stdout))
    assert {"no_weight_is_negative"} < failed
    assert any(name.startswith("accepted_values_stg_synthetic_messages_reason") for name in failed)
    assert any(name.startswith("relationships_stg_synthetic_messages_reason") for name in failed)


@pytest.fixture(scope="module")
def folder(filled: sa.Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the Python of docs/how-to/join.md ran, over a copy of the finished workspace."""
    path = tmp_path_factory.mktemp("joins")
    shutil.copytree(filled.path, path / "support")
    before = Path.cwd()
    os.chdir(path)
    try:
        exec("\n".join(blocks("python")), {})
    finally:
        os.chdir(before)
    return path


def test_the_python_of_the_page_ran(folder: Path) -> None:
    assert len(blocks("python")) == 2
    assert pl.read_parquet(folder / "weights").columns == ["id", "weight", "weight_set", "label_quality", "label"]
    assert (folder / "weights.md").is_file()


def test_the_commands_of_the_page_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) == 4
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "synalign"
        done = cli(*arguments)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert pl.read_csv(folder / "costs.csv").columns == ["id", "cost"]


def results(connection: duckdb.DuckDBPyConnection, code: list[str]) -> list[list[tuple]]:
    """Run statements; return the rows of those that select."""
    parts = [part.strip() for block in code for part in block.split(";\n") if part.strip()]
    rows = [(connection.execute(part).fetchall(), "select" in part) for part in parts]
    return [found for found, selects in rows if selects]


def test_the_sql_of_the_page_runs_in_a_duckdb_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with closing(duckdb.connect()) as connection:
        teams, summary, drawn, records, exported = results(connection, blocks("sql"))
    assert len(teams) == 5
    assert sum(row[2] for row in teams) == pytest.approx(1.0)
    assert len(summary) == 1
    assert sum(row[1] for row in drawn) == 200
    assert records == [(sum(row[1] for row in teams),)]
    assert sum(row[2] for row in exported) == pytest.approx(1.0)


def with_lance() -> closing[duckdb.DuckDBPyConnection]:
    """A connection that has the extension, or a skipped test. It keeps the version of a table that it first opens."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    try:
        attachments._load(connection, "lance", "a test")
    except AttachmentError as error:
        connection.close()
        pytest.skip(str(error).splitlines()[0])
    return closing(connection)


def test_live_sql_through_the_lance_extension(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the warning: the raw tables show rows of a run that is not finished, and the join to `runs` does not."""
    (code,) = blocks("sql", needs="lance")
    monkeypatch.chdir(folder)
    statements = [code.replace("load lance;\n", "")]
    workspace = sa.open("support")
    expected = workspace.sql("select label, count(*), sum(weight) from synthetic_weighted group by 1 order by 1")
    rows = expected.fetchall()
    with with_lance() as connection:
        records, shares = results(connection, statements)
    assert records == [row[:2] for row in rows]
    assert [row[1] for row in shares] == pytest.approx([row[2] for row in rows])
    template = workspace._lake.read("synthetic").slice(0, 1)
    odd = template.set_column(template.column_names.index("id"), "id", [["unfinished"]])
    odd = odd.set_column(odd.column_names.index("run_id"), "run_id", [["never finished"]])
    assert workspace._lake.insert("synthetic", odd) == 1
    with with_lance() as connection:
        raw = connection.execute("select count(*) from 'support/lance/synthetic.lance'").fetchall()
        assert raw == [(sum(row[1] for row in rows) + 1,)]
        assert results(connection, statements)[0] == records
