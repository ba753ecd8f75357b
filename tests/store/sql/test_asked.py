"""SQL over a workspace is asked over the relations that it names: the answer is that over all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from duckdb import DuckDBPyConnection

import synalign as sa
from synalign.errors import SqlError
from synalign.store.sql import query, statements
from tests.store.comparing import rows


@pytest.fixture(scope="module")
def whole(measured: sa.Workspace) -> Iterator[DuckDBPyConnection]:
    with measured.connect() as connection:
        yield connection


def made(workspace: sa.Workspace, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that grows by what each connection is limited to, None if it is not."""
    found: list[object] = []
    connected = type(workspace)._connected
    monkeypatch.setattr(
        type(workspace), "_connected", lambda of, wanted: (found.append(wanted), connected(of, wanted))[1]
    )
    return found


@pytest.mark.parametrize("name", query.relation_names())
def test_a_relation_is_made_with_what_it_needs(measured: sa.Workspace, whole: DuckDBPyConnection, name: str) -> None:
    with measured._connected([name]) as connection:
        assert rows(connection, name) == rows(whole, name)


@pytest.mark.parametrize("macro", [statement.name for statement in statements.load("macros")])
def test_a_macro_is_made_with_what_it_needs(measured: sa.Workspace, macro: str) -> None:
    example = next(statement.example for statement in statements.load("macros") if statement.name == macro)
    assert example is not None
    with measured._connected([macro]) as connection:
        count = "select count(*) from duckdb_functions() where function_name = $name"
        assert connection.execute(count, {"name": macro}).fetchall() == [(1,)]


def test_names_are_found_however_they_are_written(measured: sa.Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(measured, monkeypatch)
    for name in ("real", "REAL", '"Real"', "main.real", "memory.main.real", "raw_real", "(from real)"):
        assert measured.sql(f"select 1 from {name} limit 1").fetchall() == [(1,)]
    assert None not in found
    assert measured.sql("select 1 from query_table($1) limit 1", ["real"]).fetchall() == [(1,)]
    assert found[-1] is None


@pytest.mark.parametrize(
    "asked",
    ["show all tables", "describe", "desc", "from information_schema.tables", "from duckdb_views()",
     "from (show all tables)", "pragma show_tables", "from sqlite_master", "from pg_catalog.pg_views"],
)  # fmt: skip
def test_what_there_is_is_told_whole(measured: sa.Workspace, whole: DuckDBPyConnection, asked: str) -> None:
    assert len(measured.sql(asked).fetchall()) == len(whole.sql(asked).fetchall()) > 20


def test_an_error_knows_all_relations(measured: sa.Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(measured, monkeypatch)
    with pytest.raises(SqlError, match=r"(?s)Did you mean.*synthetic_weighted.*Relations of a workspace: "):
        measured.sql("from synthetic_wieghted")
    assert [wanted is None for wanted in found] == [False, True]
    with pytest.raises(SqlError):
        measured.sql("select 1 from real where")
    assert len(found) == 3  # What is no SQL is none over all relations either.
