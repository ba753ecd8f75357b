"""docs/tables.md names every relation and every column of it, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import synalign as sa
from synalign.store import query, statements

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
SECTIONS = {
    heading.partition("(")[0]: body
    for heading, body in re.findall(r"^### `(.+?)`\n(.*?)(?=^##|\Z)", TEXT, flags=re.MULTILINE | re.DOTALL)
}
MACROS = {"sample_synthetic": "sample_synthetic(1)", "synthetic_weighted_in": "synthetic_weighted_in('strong')"}
#: Columns of the fixture that are the user's own.
OWN = {"channel"}


def documented(name: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \| \S", SECTIONS[name], flags=re.MULTILINE)


def test_the_sections_are_the_relations():
    assert set(MACROS) == {statement.name for statement in statements.load("macros")}
    assert sorted(SECTIONS) == sorted([*query.relation_names(), *MACROS])
    assert all("Key: " in body for body in SECTIONS.values())


@pytest.mark.parametrize("name", query.relation_names())
def test_every_column_is_described(name: str, measured: sa.Workspace):
    there = [column for column in measured.sql(f"from {name} limit 0").columns if column not in OWN]
    assert documented(name) == there


@pytest.mark.parametrize("name", MACROS)
def test_every_column_of_a_macro_is_described(name: str, measured: sa.Workspace):
    there = [column for column in measured.sql(f"from {MACROS[name]}").columns if column not in OWN]
    assert documented(name) == there


def test_a_key_names_one_row(measured: sa.Workspace):
    for name in query.relation_names():
        key = re.search(r"Key: ([a-z_, ]+)\.", SECTIONS[name])[1]
        quoted = ", ".join(f'"{column.strip()}"' for column in key.split(","))
        doubles = measured.sql(f"select {quoted} from {name} group by all having count(*) > 1").pl()
        assert doubles.height == 0, name
