"""sql, sample and export on the command line: what is attached, earlier states, results in files."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import duckdb
import polars as pl
import pytest

import synalign as sa
from synalign.cli.query import _named
from tests.cli.inside import cli

JOIN = "select team, sum(weight) as weight from synthetic_weighted join {} using (label) group by team order by team"
TEAMS = {"label": ["refund", "delivery", "defect", "account", "praise"], "team": ["money", "parcels", "b", "c", "c"]}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a DuckDB file and a Parquet file in it."""
    monkeypatch.chdir(tmp_path)
    with closing(duckdb.connect("warehouse.duckdb")) as connection:
        connection.register("frame", pl.DataFrame(TEAMS).to_arrow())
        connection.execute("create table teams as from frame")
    pl.DataFrame(TEAMS).write_parquet("teams.parquet")
    return tmp_path


def good(*arguments: str | Path) -> str:
    done = cli(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("attach", "relation"),
    [
        (["--attach", "warehouse.duckdb"], "warehouse.teams"),
        (["--attach", "theirs=warehouse.duckdb"], "theirs.teams"),
        (["--attach", "warehouse.duckdb", "--attach", "t=teams.parquet"], "(from warehouse.teams intersect from t)"),
    ],
)
def test_what_is_attached_joins(attach: list[str], relation: str, filled: sa.Workspace, files: Path) -> None:
    found = json.loads(good("sql", filled.path, JOIN.format(relation), *attach, "--json"))
    assert [row["team"] for row in found] == ["b", "c", "money", "parcels"]
    assert sum(row["weight"] for row in found) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a.parquet", (None, "a.parquet")),
        ("t=a.parquet", ("t", "a.parquet")),
        ("t=label=x/a.parquet", ("t", "label=x/a.parquet")),
        ("postgres:dbname=shop user=bob", (None, "postgres:dbname=shop user=bob")),
        ("shop=postgresql://h/s?a=b", ("shop", "postgresql://h/s?a=b")),
        ("there=is.parquet", (None, "there=is.parquet")),
        ("my-file=x.parquet", (None, "my-file=x.parquet")),
    ],
)
def test_a_name_stands_before_the_first_equals_sign(given: str, expected: tuple[str | None, str], files: Path) -> None:
    (files / "there=is.parquet").touch()
    assert _named(given) == expected


def test_wrong_attachments_end_with_2_or_1(filled: sa.Workspace, files: Path) -> None:
    for status, given, said in (
        (2, "runs=teams.parquet", "is a relation of the workspace"),
        (1, "none.parquet", "There is no file or folder"),
        (1, "postgresql://bob:hunter2@127.0.0.1:1/shop", "bob:***@127.0.0.1"),
    ):
        done = cli("sql", filled.path, "select 1", "--attach", given)
        assert (done.returncode, done.stdout) == (status, "")
        assert said in " ".join(done.stderr.split())
        assert "hunter2" not in done.stderr
    done = cli("sql", filled.path, "insert into warehouse.teams values ('x', 'y')", "--attach", "warehouse.duckdb")
    assert done.returncode == 1
    assert "INSERT is not run here" in done.stderr


@pytest.mark.parametrize(
    ("ending", "read"), [("parquet", pl.read_parquet), ("csv", pl.read_csv), ("jsonl", pl.read_ndjson)]
)
def test_a_result_is_written_to_a_file(ending: str, read, filled: sa.Workspace, files: Path) -> None:
    query = "select id, label, weight, text from synthetic_weighted order by id"
    done = cli("sql", filled.path, query, "--out", f"out.{ending}")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"Wrote out.{ending}." in done.stderr
    expected = filled.sql(query).pl()
    found = read(f"out.{ending}")
    assert found.columns == expected.columns
    assert found["text"].to_list() == expected["text"].to_list()
    assert found["weight"].to_list() == pytest.approx(expected["weight"].to_list(), rel=1e-15)
    assert sorted(path.name for path in files.iterdir()) == sorted(
        [f"out.{ending}", "teams.parquet", "warehouse.duckdb"]
    )


def test_times_and_lists_are_written_as_they_are(filled: sa.Workspace, files: Path) -> None:
    query = "select demonstrations, timestamptz '2026-01-31 12:00:00+00' as at from selections"
    assert json.loads(good("sql", filled.path, query, "--out", "out.parquet", "--json")) == {"file": "out.parquet"}
    found = pl.read_parquet("out.parquet")
    assert isinstance(found["demonstrations"].to_list()[0], list)
    done = cli("sql", filled.path, query, "--out", "out.csv")
    assert done.returncode == 2
    assert "CSV has no lists or structs, which demonstrations hold" in done.stderr
    assert not (files / "out.csv").exists()


def test_a_query_that_fails_on_the_way_leaves_the_old_file(filled: sa.Workspace, files: Path) -> None:
    (files / "out.csv").write_text("old", encoding="utf-8")
    query = "select case when weight > 0 then error('half way') end as x from synthetic_weighted"
    done = cli("sql", filled.path, query, "--out", "out.csv")
    assert done.returncode == 1
    assert "out.csv was not written" in done.stderr
    assert "half way" in done.stderr
    assert (files / "out.csv").read_text(encoding="utf-8") == "old"
    assert not list(files.glob(".*"))


@pytest.mark.parametrize(
    ("out", "status", "said"),
    [("out.xlsx", 2, r"'.xlsx' are not written"), ("none/out.csv", 2, "no folder none"), ("taken.csv", 1, "could not")],
)
def test_what_cannot_be_written_to(out: str, status: int, said: str, filled: sa.Workspace, files: Path) -> None:
    (files / "taken.csv").mkdir()
    done = cli("sql", filled.path, "select 1 as a", "--out", out)
    assert done.returncode == status
    assert said in done.stderr
    assert not list(files.glob(".*"))


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[sa.Workspace, str]:
    """A workspace that was aligned, then got one more record and was aligned again; and the first align run."""
    workspace = sa.open(tmp_path_factory.mktemp("grown") / "workspace")
    real = pl.DataFrame({"text": [f"the parcel {i} is late" for i in range(12)], "label": ["a", "b"] * 6})
    workspace.ingest(real, label="label")
    written = pl.DataFrame({"text": [f"my order {i} has not come" for i in range(6)], "label": ["a", "b"] * 3})
    workspace.ingest(written, label="label", synthetic=True)
    first = workspace.align(features=32, strength=0.1)
    workspace.ingest(pl.DataFrame({"text": ["late again"], "label": ["a"]}), label="label", synthetic=True)
    workspace.align(features=32, strength=0.1)
    return workspace, first.run_id


def test_earlier_states_by_run_tag_and_time(grown: tuple[sa.Workspace, str], tmp_path: Path) -> None:
    workspace, first = grown
    count = "select count(*) as n from synthetic_weighted"
    assert json.loads(good("sql", workspace.path, count, "--json")) == [{"n": 7}]
    assert json.loads(good("sql", workspace.path, count, "--at", first[:12], "--json")) == [{"n": 6}]
    assert json.loads(good("sql", workspace.path, count, "--at", "2999-01-01", "--json")) == [{"n": 7}]
    drawn = json.loads(good("sample", workspace.path, "600", "--at", first, "--json"))
    assert len(drawn) == 6
    assert "late again" not in [row["text"] for row in drawn]
    for at, expected in ((["--at", first], 6), ([], 7)):
        good("export", workspace.path, tmp_path / "out.parquet", *at)
        assert pl.read_parquet(tmp_path / "out.parquet").height == expected
    for command in (
        ["sql", workspace.path, count],
        ["sample", workspace.path, "3"],
        ["export", workspace.path, "x.csv"],
    ):
        done = cli(*command, "--at", "nowhere")
        assert done.returncode == 2
        assert "There is no run, tag or time 'nowhere'" in done.stderr


def test_tables_lists_what_can_be_asked(grown: tuple[sa.Workspace, str]) -> None:
    workspace, _ = grown
    listed = json.loads(good("sql", workspace.path, "--tables", "--json"))
    assert [row["name"] for row in listed] == [row[0] for row in workspace.sql("select name from help").fetchall()]
    assert listed[0].keys() == {"name", "schema", "kind", "summary", "example_query"}
    assert "synthetic_weighted" in good("sql", workspace.path, "--tables")
    for given in ((), ("--tables", "select 1")):
        done = cli("sql", workspace.path, *given)
        assert done.returncode == 2
        assert "Give a query, or --tables" in done.stderr


def test_export_into_a_folder_and_of_some_columns(grown: tuple[sa.Workspace, str], tmp_path: Path) -> None:
    workspace, _ = grown
    out = tmp_path / "weights"
    good("export", workspace.path, out, "--partition-by", "label", "--columns", "id, weight")
    assert sorted(path.name for path in out.iterdir()) == ["label=a", "label=b"]
    assert pl.read_parquet(out).columns == ["id", "weight", "label"]
    assert (tmp_path / "weights.md").is_file()
    done = cli("export", workspace.path, out, "--partition-by", "lable")
    assert done.returncode == 2
    assert "There is no column lable" in done.stderr
