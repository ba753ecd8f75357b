"""The files in `sql/`, and both surfaces that offer them: live over Lance, and the published catalog."""

from __future__ import annotations

import json
import math
import re
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import synalign as sa
from synalign import resources
from synalign.errors import SqlError, StoreError
from synalign.store.lake.schemas import TABLES
from synalign.store.sql import catalog, query, statements
from synalign.workspace import CATALOG_NAME
from tests.store.comparing import comparable, rows

AREAS = ("base", "views", "macros", "queries")
FILES = [(area, name) for area in AREAS for name in resources.files(f"sql/{area}", ".sql")]
RELATIONS = query.relation_names()
PLACES = [statement.place for area in statements.RELATIONS for statement in statements.load(area)]
_READ = """
import json, sys
import duckdb
path, *names = sys.argv[1:]
connection = duckdb.connect(path, read_only=True)
connection.execute("set search_path = 'main,detail'")
found = {}
for name in names:
    relation = connection.sql(f"select to_json(x)::varchar as row from {name} as x")
    found[name] = [row[0] for row in relation.fetchall()]
assert "synalign" not in sys.modules and "pyarrow" not in sys.modules
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=["filled", "measured"])
def workspace(request: pytest.FixtureRequest) -> sa.Workspace:
    """One that the steps filled, and one with rows in every relation."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def live(workspace: sa.Workspace):
    return workspace.connect()


def macro_calls(connection) -> list[str]:
    last = connection.sql("select max(weight_set) from weight_sets").fetchall()[0][0]
    run = connection.sql("select max(run_id) from alignments").fetchall()[0][0]
    calls = [
        "(select assign_arm('u-17', 'x') as arm)",
        "changed_since('2020-01-01')", "sample_synthetic(50, seed := 3)", "sample_training_mix(50, seed := 3)",
        f"synthetic_weighted_in('{last}')", f"weight_drift('{run}', '{last}')",
        "weight_extremes('*')",
    ]  # fmt: skip
    assert [call.removeprefix("(select ").partition("(")[0] for call in calls] == sorted(
        statement.name for statement in statements.load("macros")
    )
    return calls


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    workspace = sa.open(tmp_path_factory.mktemp("empty") / "workspace")
    workspace.configure(sa.Config())
    return workspace


@pytest.mark.parametrize(("area", "name"), FILES)
def test_every_file_says_what_it_is_and_what_it_needs(area: str, name: str):
    statement = statements.read(area, name)
    assert len(statement.about) > 20
    assert set(statement.needs) <= set(RELATIONS), "needs names relations there are"
    made = re.findall(r"(\w+)(?:\([\w, ]*\))? as (?:not materialized )?\(", statement.sql)
    read = set(re.findall(r"\b(?:from|join)\s+([a-z_.]+)", statement.sql)) - set(made)
    read |= set(re.findall(r"query_table\(concat\(attached_as \|\| '\.', '(.+?)'\)\)", statement.sql))
    assert not read & set(RELATIONS), "every relation is read with its schema"
    placed = {place for place in read if place.startswith(("main.", "detail."))}
    assert placed <= set(PLACES)
    assert {place.partition(".")[2] for place in placed} <= set(statement.needs), "what it reads is among its needs"
    raw = set(re.findall(r"\b(?:from|join)\s+raw_([a-z_]+)", statement.sql))
    assert raw <= {*TABLES, "ledger", "label_names", "help"}


def test_names_are_unique_and_sorted():
    names = [name for area, name in FILES if area in ("base", "views", "macros")]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert sorted(RELATIONS) == RELATIONS


def test_folders_hold_a_dozen_files_at_most_and_a_stage_each():
    stages = {"corpus", "selection", "generation", "alignment", "evaluation", "retrieval", "lifecycle"}
    places = [Path(place) for area in (*AREAS, "checks") for place in
              resources.files(f"sql/{area}", ".sql").values()]  # fmt: skip
    assert max(Counter(place.parent for place in places).values()) <= 12
    assert {place.parts[2] for place in places if len(place.parts) > 3} <= stages


def test_two_files_of_one_name_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for stage in ("corpus", "selection"):
        (tmp_path / "views" / stage).mkdir(parents=True)
        (tmp_path / "views" / stage / "twice.sql").touch()
    monkeypatch.setattr(resources, "folder", lambda _: tmp_path)
    with pytest.raises(StoreError, match=r"called twice: sql/views/\w+/twice.sql and sql/views/\w+/twice.sql"):
        resources.files.__wrapped__("sql/views", ".sql")


def test_a_file_that_is_missing_is_said():
    with pytest.raises(StoreError, match="missing"):
        statements.read("views", "no_such_view")


@pytest.mark.parametrize("name", RELATIONS)
def test_every_relation_runs_on_an_empty_workspace(name: str, empty: sa.Workspace):
    live = empty.sql(f"from {name}")
    (place,) = (place for place in PLACES if place.endswith(f".{name}"))
    with duckdb.connect(str(empty.path / CATALOG_NAME), read_only=True) as connection:
        published = connection.sql(f"from {place}")
        assert published.columns == live.columns
        assert [str(kind) for kind in published.types] == [str(kind) for kind in live.types]
        assert published.pl().height == live.pl().height == (len(statements.help_rows()) if name == "help" else 0)


def test_the_macros_run_on_an_empty_workspace(empty: sa.Workspace):
    with duckdb.connect(str(empty.path / CATALOG_NAME), read_only=True) as published:
        for connection in (empty.connect(), published):
            assert connection.sql("from changed_since('2020-01-01')").fetchall() == []
            for call, said in (
                ("sample_synthetic(5)", "there are no weights to draw by"),
                ("sample_training_mix(5)", "there are no weights"),
                ("sample_training_mix(5, synthetic_share := 0)", "there are no real training records"),
                ("synthetic_weighted_in('default')", r"There is no weight set 'default'; there are: none yet\."),
                ("weight_drift('a', 'b')", r"no weight set and no align run 'a'\. Weight sets: none yet\."),
                ("weight_extremes('good')", "no weighted record has the label 'good'; there are: none yet"),
            ):
                with pytest.raises(duckdb.Error, match=said):
                    connection.sql(f"from {call}").fetchall()


def test_both_surfaces_say_the_same_without_the_package(workspace: sa.Workspace, live):
    path = str(workspace.path / CATALOG_NAME)
    names = [*RELATIONS, *macro_calls(live)]
    # -P leaves the checkout out of sys.path: only duckdb is used.
    done = subprocess.run(
        [sys.executable, "-P", "-c", _READ, path, *names], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    published = json.loads(done.stdout)
    for name in names:
        assert comparable(published[name]) == rows(live, name), name


def test_every_relation_has_rows_to_compare(measured: sa.Workspace):
    connection = measured.connect()
    for name in [*RELATIONS, *macro_calls(connection)]:
        assert connection.sql(f"from {name}").fetchall(), name


@pytest.mark.parametrize(
    ("fixture", "names"),
    [
        ("measured", RELATIONS),
        ("filled", [statement.name for statement in statements.load("base")]),
        pytest.param("filled", RELATIONS, marks=pytest.mark.long),
    ],
    ids=["all", "all that steps write", "all of what steps wrote"],
)
def test_every_value_can_be_filtered_by(fixture: str, names: list[str], request: pytest.FixtureRequest):
    """Filters are pushed down into Lance, which must understand the table's types."""
    live = request.getfixturevalue(fixture).connect()
    for name in names:
        frame = live.sql(f"from {name} limit 1").pl()
        for column, value in zip(frame.columns, frame.rows()[0] if frame.height else (), strict=False):
            if isinstance(value, str | int | float):
                # The last bit of a sum depends on the order in which threads add it up.
                near = isinstance(value, float) and math.isfinite(value)
                test = f'abs("{column}" - ?) < 1e-9' if near else f'"{column}" = ?'
                found = live.sql(f"select count(*) from {name} where {test}", params=[value]).fetchall()
                assert found[0][0] > 0, (name, column)


def test_every_relation_comes_as_python_values(workspace: sa.Workspace):
    for name in RELATIONS:
        columns, found = workspace.fetch(workspace.sql(f"from {name}"))
        assert all(len(row) == len(columns) for row in found)


def test_zoned_times_of_a_user_come_as_text(filled: sa.Workspace):
    columns, found = filled.fetch(filled.sql("select 1 as a, '2026-01-02 03:04:05+00'::timestamptz as b"))
    assert columns == ["a", "b"]
    assert found[0][0] == 1
    assert found[0][1].startswith("2026-01-02 03:04:05")


def test_the_catalog_is_read_only_and_describes_itself(measured: sa.Workspace):
    path = measured.path / CATALOG_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    with duckdb.connect(str(path), read_only=True) as connection:
        told = dict(
            connection.sql(
                "select table_name, comment from duckdb_tables() union all "
                "select view_name, comment from duckdb_views() where not internal union all "
                "select function_name, comment from duckdb_functions() "
                "where function_type in ('macro', 'table_macro') and not internal"
            ).fetchall()
        )
        columns = {
            row[:2]: row[2]
            for row in connection.sql("select table_name, column_name, comment from duckdb_columns()").fetchall()
        }
        stored = {row[0] for row in connection.sql("select table_name from duckdb_tables()").fetchall()}
    for area in ("base", "views", "macros"):
        for statement in statements.load(area):
            assert told[statement.name] == statement.about
    for area in statements.RELATIONS:
        for statement in statements.load(area):
            meanings = {column: text for (name, column), text in columns.items() if name == statement.name and text}
            assert meanings == statements.meanings(statement)
    assert {"synthetic_weighted", "real"} <= stored


def test_the_catalog_is_read_through_attach(workspace: sa.Workspace, live):
    with duckdb.connect() as connection:
        connection.execute("create table orders as select id, 5 as price from (values ('x')) t(id)")
        connection.execute(f"attach '{workspace.path / CATALOG_NAME}' as reviews (read_only)")
        for place in PLACES:
            assert rows(connection, f"reviews.{place}") == rows(live, place), place
        connection.execute("use reviews")
        for call in macro_calls(live):
            assert rows(connection, call) == rows(live, call), call
        with pytest.raises(duckdb.Error, match="read-only"):
            connection.execute("delete from reviews.real")


@pytest.mark.parametrize("name", ["reviews", "Reviews of 2026"])
def test_macros_find_their_tables_in_a_catalog_that_is_attached_under_any_name(measured: sa.Workspace, name: str):
    live = measured.connect()
    with duckdb.connect() as connection:
        connection.execute("create table real as select 1 as misleading")
        connection.execute("create schema detail; create table detail.weight_sets as select 1 as misleading")
        connection.execute(f"""attach '{measured.path / CATALOG_NAME}' as "{name}" (read_only)""")
        for call in macro_calls(live):
            if "assign_arm" in call:
                qualified = call.replace("assign_arm", f'"{name}".assign_arm')
            else:
                qualified = f'"{name}".{call[:-1]}, attached_as := \'"{name}"\')'
            assert rows(connection, qualified) == rows(live, call), call


def test_what_people_ask_is_in_the_schema_main(measured: sa.Workspace):
    with duckdb.connect(str(measured.path / CATALOG_NAME), read_only=True) as published:
        shown = [row[0] for row in published.sql("show tables").fetchall()]
        main = {one.name for area in statements.RELATIONS for one in statements.load(area) if one.schema == "main"}
        assert set(shown) == main
        assert len(shown) <= 25, "somebody who looks finds what to ask: say `in: detail` of what is asked least"
        assert {"real", "synthetic", "synthetic_weighted", "alignment_summary", "runs", "weights", "help"} <= main
        with pytest.raises(duckdb.Error, match=r"detail\.clusters"):
            published.sql("from clusters")
        published.execute("set search_path = 'main,detail'")
        assert rows(published, "clusters") == rows(published, "detail.clusters") != []
    assert [row[0] for row in measured.sql(" SHOW  tables;").fetchall()] == shown
    with measured.connect() as live:
        assert [row[0] for row in live.sql("show tables from memory.main").fetchall()] == shown
        assert set(RELATIONS) <= {row[0] for row in live.sql("show tables").fetchall()}


def test_help_says_what_everything_is_for_with_a_query_that_runs(measured: sa.Workspace):
    found = measured.sql("from help").pl()
    assert sorted(found["name"]) == sorted([*RELATIONS, *(one.name for one in statements.load("macros"))])
    assert found["schema"].to_list() == sorted(found["schema"], reverse=True), "what people ask comes first"
    assert found.filter(pl.col("key_columns").is_null())["name"].to_list() == ["assign_arm"]
    for name, summary, purpose in found.select("name", "summary", "purpose").iter_rows():
        assert purpose.replace("\n", " ").startswith(summary), name
        assert 20 < len(summary) < 240, (name, summary)
    with duckdb.connect(str(measured.path / CATALOG_NAME), read_only=True) as published, measured.connect() as live:
        kinds = published.sql(
            "select table_name, 'table' from duckdb_tables() union all "
            "select view_name, 'view' from duckdb_views() where not internal"
        )
        stored = dict(kinds.fetchall())
        assert stored.pop("catalog_state") == "table"
        assert dict(found.filter(pl.col("kind") != "macro").select("name", "kind").rows()) == stored
        for name, example in found.select("name", "example_query").iter_rows():
            for old, new in (("'defect'", "'good'"), ("'default'", "'main'"), ("'capped'", "'strong'")):
                example = example.replace(old, new)
            assert name in example
            found_there, found_here = (rows(connection, f"({example})") for connection in (published, live))
            assert found_there == found_here or ("limit" in example and len(found_there) == len(found_here)), name


def test_a_catalog_of_another_layout_is_replaced(blank: Path):
    workspace = small(blank)
    path = blank / CATALOG_NAME
    path.unlink()
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table catalog_state as select 'a state of schema 3' as state")
    assert catalog.published_state(path) is None
    workspace.publish()
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.sql("from detail.run_order").fetchall()


def small(path: Path) -> sa.Workspace:
    workspace = sa.open(path)
    workspace.ingest(pl.DataFrame({"text": ["one", "two"]}))
    return workspace


def test_a_reader_keeps_the_catalog_that_it_opened(blank: Path):
    workspace = small(blank)
    path = blank / CATALOG_NAME
    with duckdb.connect(str(path), read_only=True) as reader:
        assert reader.sql("select count(*) from real").fetchall() == [(2,)]
        before = path.stat().st_ino
        workspace.ingest(pl.DataFrame({"text": ["three"]}))
        assert path.stat().st_ino != before
        assert reader.sql("select count(*) from real").fetchall() == [(2,)]
    with duckdb.connect(str(path), read_only=True) as reader:
        assert reader.sql("select count(*) from real").fetchall() == [(3,)]
    assert sorted(entry.name for entry in blank.glob("catalog*")) == [CATALOG_NAME]


def test_a_log_that_a_dead_writer_left_is_not_replayed(blank: Path):
    workspace = small(blank)
    other = blank.parent / "other.duckdb"
    script = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); c.execute(\"set checkpoint_threshold = '1TB'\"); "
        "c.execute('create table ghost as select 1 as n'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(other)], check=True, timeout=60)
    log = other.with_name("other.duckdb.wal")
    assert log.is_file()
    log.rename(blank / f"{CATALOG_NAME}.wal")
    (blank / f"{CATALOG_NAME}.publishing").write_bytes(b"left by a killed process")
    workspace.ingest(pl.DataFrame({"text": ["three"]}))
    assert sorted(entry.name for entry in blank.glob("catalog*")) == [CATALOG_NAME]
    with duckdb.connect(str(blank / CATALOG_NAME), read_only=True) as reader:
        assert reader.sql("select count(*) from real").fetchall() == [(3,)]
        assert reader.sql("select count(*) from duckdb_tables() where table_name = 'ghost'").fetchall() == [(0,)]


def test_a_catalog_that_cannot_be_read_is_replaced(blank: Path):
    workspace = small(blank)
    path = blank / CATALOG_NAME
    path.unlink()
    path.write_bytes(b"junk" * 5000)
    assert catalog.published_state(path) is None
    workspace.publish()
    assert catalog.published_state(path) is not None
    before = path.stat().st_mtime_ns
    workspace.publish()
    assert path.stat().st_mtime_ns == before, "nothing changed, nothing is written"


def test_a_catalog_that_cannot_be_written_leaves_the_old_one(blank: Path):
    workspace = small(blank)
    path = blank / CATALOG_NAME
    (blank / f"{CATALOG_NAME}.wal").mkdir()
    (blank / f"{CATALOG_NAME}.wal" / "in the way").write_text("x")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="could not be published"):
        catalog.publish(workspace._lake, workspace._ledger, {}, path, "state")
    assert path.read_bytes() == before
    assert not path.with_name(f"{CATALOG_NAME}.publishing").exists()


def test_errors_list_the_relations(measured: sa.Workspace):
    with pytest.raises(SqlError, match="Relations of a workspace: ablation, accepted_costs, activations, ") as caught:
        measured.sql("from nowhere")
    assert all(name in str(caught.value) for name in RELATIONS)
    with pytest.raises(SqlError):
        measured.fetch(measured.sql("select error('late') from real"))


def test_parameters_are_bound(filled: sa.Workspace):
    bad = "x' or true --"
    assert filled.sql("select count(*) from real where label = ?", [bad]).fetchall() == [(0,)]
    assert filled.sql("select count(*) from real where label = $label", {"label": "praise"}).fetchall()[0][0] > 0


def test_a_connection_of_ones_own_can_write_and_join(filled: sa.Workspace):
    connection = filled.connect()
    connection.execute("create table scores as select id, 1.5 as score from synthetic limit 3")
    assert connection.sql("select count(*) from synthetic_weighted join scores using (id)").fetchall() == [(3,)]


@pytest.mark.parametrize(
    "statement",
    [
        "create table t (n int)",
        "drop view real",
        "delete from weights",
        "insert into real select * from real",
        "select 1; drop view real",
        "copy (select 1) to '{folder}/out.csv'",
        "explain analyze copy (select 1) to '{folder}/out.csv'",
        "attach '{folder}/out.duckdb' as other",
        "install sqlite",
        "vacuum",
    ],
)
def test_sql_reads_and_changes_nothing(filled: sa.Workspace, statement: str, tmp_path: Path):
    with pytest.raises(SqlError, match=r"is not run here: SQL over a workspace reads"):
        filled.sql(statement.format(folder=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "statement",
    [
        "from runs",
        "with r as (from runs) select count(*) from r",
        "pivot runs on step using count(*)",
        "describe runs",
        "show tables",
        "summarize runs",
        "explain analyze select 1",
        "pragma table_info('runs')",
        "set threads = 1; select 1",
    ],
)
def test_every_way_to_read_is_open(filled: sa.Workspace, statement: str):
    assert filled.sql(statement).fetchall()


def test_a_ledger_of_a_run_under_way_is_seen(blank: Path):
    workspace = small(blank)
    workspace._ledger.put({"call_id": "c1", "run_id": "r", "step": "reason", "status": "complete", "attempts": 2})
    found = workspace.sql("select call_id, status, attempts from calls").fetchall()
    assert found == [("c1", "complete", 2)]
    assert workspace.sql("select calls, accepted from call_costs").fetchall() == [(1, 0)]


def test_frames_of_views_keep_their_types(filled: sa.Workspace):
    view = filled.sql("from synthetic_weighted order by id").pl()
    with duckdb.connect(str(filled.path / CATALOG_NAME), read_only=True) as connection:
        assert_frame_equal(connection.sql("from synthetic_weighted order by id").pl(), view)
