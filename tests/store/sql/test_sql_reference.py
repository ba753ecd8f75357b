"""docs/reference/sql.md is what the files in `sql/` say, and they say what each column of each relation means."""

from __future__ import annotations

import re

import pytest

import synalign as sa
from synalign import resources
from synalign.errors import StoreError
from synalign.store.sql import query, statements
from tools import sql_reference

STATEMENTS = {statement.name: statement for area in statements.AREAS for statement in statements.load(area)}
MACROS = {
    "assign_arm": "(select assign_arm('u', 'x'))",
    "changed_since": "changed_since('2026-01-01')",
    "sample_synthetic": "sample_synthetic(1)",
    "sample_training_mix": "sample_training_mix(1)",
    "synthetic_weighted_in": "synthetic_weighted_in('strong')",
    "weight_drift": "weight_drift('align_old', 'align_new')",
    "weight_extremes": "weight_extremes('*')",
}
#: Columns of the fixture that are the user's own.
OWN = {"channel"}


@pytest.fixture(scope="module")
def live(measured: sa.Workspace):
    return measured.connect()


def test_the_reference_is_what_the_files_say():
    text = sql_reference.PLACE.read_text(encoding="utf-8")
    assert text == sql_reference.reference(), "docs/reference/sql.md is out of date: run `make docs`"
    headings = re.findall(r"^### `(\w+)", text, flags=re.MULTILINE)
    assert sorted(headings) == sorted([*query.relation_names(), *MACROS])
    anchors = {sql_reference._anchor(statement) for statement in STATEMENTS.values()}
    assert set(re.findall(r"\]\(#(.+?)\)", text)) == anchors


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_column_is_described_and_no_other(name: str, live):
    assert set(MACROS) == {statement.name for statement in statements.load("macros")}
    if STATEMENTS[name].is_scalar:
        assert not statements.meanings(STATEMENTS[name])
        return
    there = [column for column in live.sql(f"from {MACROS.get(name, name)} limit 0").columns if column not in OWN]
    assert list(statements.meanings(STATEMENTS[name])) == there, "as they come, each once"
    assert all(statements.meanings(STATEMENTS[name]).values())


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_key_names_one_row(name: str, live):
    assert bool(STATEMENTS[name].key) != STATEMENTS[name].is_scalar
    if STATEMENTS[name].is_scalar:
        return
    quoted = ", ".join(f'"{column}"' for column in STATEMENTS[name].key)
    doubles = live.sql(f"select {quoted} from {MACROS.get(name, name)} group by all having count(*) > 1").pl()
    assert doubles.height == 0


@pytest.mark.parametrize("name", MACROS)
def test_every_argument_of_a_macro_is_described(name: str):
    statement = STATEMENTS[name]
    given = re.search(r"create macro \w+\((.*?)\) as\s", statement.sql)[1]
    given = re.sub(r"\[.*?\]", "", given)
    assert list(statement.arguments) == [part.split(":=")[0].strip() for part in given.split(",")]
    assert name in statement.example


def test_the_examples_run(live):
    for statement in STATEMENTS.values():
        if statement.example:
            example = statement.example.replace("'default'", "'main'").replace("'capped'", "'strong'")
            live.sql(example.replace("'defect'", "'good'")).fetchall()


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("-- needs: real", "needs a comment that says what it is for"),
        ("-- For a test.", "one '-- needs:' line"),
        ("-- For a test.\n-- id: the id\n-- and more\n-- needs:", "'-- and more' is no '-- column: meaning'"),
        ("-- For a test.\n-- id: the id\n-- id: again\n-- needs:", "says twice what 'id' is"),
    ],
)
def test_a_head_that_says_too_little_is_an_error(head: str, said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resources, "text", lambda _: f"{head}\nselect 1 as id")
    with pytest.raises(StoreError, match=said):
        statements.read("views", "made_up")


def test_a_head_is_read_in_its_parts(monkeypatch: pytest.MonkeyPatch):
    parts = "-- key: id, n\n-- as: real\n-- id: the id\n--     of it\n-- needs: real, runs"
    head = f"-- For a test.\n--\n-- And more.\n{parts}"
    monkeypatch.setattr(resources, "text", lambda _: f"{head}\nselect 1 as id;")
    found = statements.read("views", "made_up")
    assert (found.purpose, found.key, found.like) == ("For a test.\n\nAnd more.", ("id", "n"), "real")
    assert (dict(found.columns), found.needs) == ({"id": "the id of it"}, ("real", "runs"))
    assert "needs" not in found.about
    with pytest.raises(StoreError, match="no relation"):
        statements.meanings(statements.Statement("x", (), "", "", like="nothing"))
