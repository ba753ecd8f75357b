"""Writes docs/reference/sql.md, the reference of every relation and macro in SQL: from the heads of the files in
`sql/`, and the types that DuckDB gives their columns in an empty workspace. Run by `make docs`;
a test says when it is due."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import synalign as sa
from synalign.store.sql import statements
from synalign.store.sql.statements import MATERIALISED, Statement

PLACE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "sql.md"

_INTRODUCTION = """\
# SQL reference

What SQL shows of a workspace, with `ws.sql(...)`, `synalign sql DIR`, or the file `catalog.duckdb` without SynAlign:

    $ duckdb -readonly reviews/catalog.duckdb "from alignment_summary"
    D attach 'reviews/catalog.duckdb' as reviews (read_only);
    D select label, sum(weight) from reviews.synthetic_weighted group by label;
    D select count(*) from reviews.detail.clusters;
    D select sum(copies) from reviews.sample_synthetic(100, seed := 7, attached_as := 'reviews');

`from help` lists what there is, with a query to begin with for each; so does `synalign sql DIR --tables`.

There are two schemas. `main` has what people ask, and is what `show tables` lists. `detail` has the relations that it
is made of: read them as `detail.clusters`. In `ws.sql`, `synalign sql` and `ws.connect()` the plain name `clusters` is
enough, and in a catalog that you opened or that is in use it is after `set search_path = 'main,detail'`, which DuckDB
forgets when the connection ends. In `ws.connect()`, `show tables from memory.main` lists the schema `main` alone.

DuckDB looks up the tables of a macro where the macro is called. In a catalog that is attached, either `use` it first,
or give the macro the name that the catalog is attached under, as above. A name that has to be quoted is quoted there,
too: `attached_as := '"my reviews"'`. Do not attach anything as `detail`: DuckDB could not tell that database from the
schema of this name.

All relations show rows of finished runs only, except `calls`. Times are UTC, without a zone. The catalog is rebuilt
by every step that changes something; a file that is open keeps showing what it showed when it was opened. It also
holds `detail.catalog_state`, one row that names what it was made of, and a comment on every relation, column and macro:
`select * from duckdb_columns()` has what stands here.

`ws.sql` and `synalign sql` read: a statement that would change something is refused. `ws.connect()` gives a DuckDB
connection of your own with all of this in it, for temporary tables, attached files and `copy ... to`.

Columns of a user's file that have no meaning here are kept in `real`, `synthetic` and what shows their rows, after
those that are listed here. One whose name has a meaning is kept as `file_<name>`, and the characters `.`, `*`, `^`
and the backquote become `_`.

This file is written by `make docs` from the comments in `sql/`.
"""

#: What a stage is about, in the order of a run.
_STAGES = {
    "corpus": "records and documents",
    "selection": "clusters and selections",
    "generation": "calls to the language model and what came of them",
    "alignment": "weights and how well they match",
    "evaluation": "models and texts, measured",
    "retrieval": "retrievers",
    "lifecycle": "runs and states",
}
_SIGNATURE = re.compile(r"create macro (\w+)\((.*?)\) as\s", re.DOTALL)


def reference() -> str:
    """Return the text of docs/reference/sql.md."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = sa.open(Path(folder) / "workspace")
        workspace.configure(sa.Config())
        connection = workspace.connect()
        parts = [_INTRODUCTION, *_contents()]
        for title, found in _groups():
            parts.append(f"## {title}\n")
            parts += [_section(connection, statement) for statement in found]
        connection.close()
    return "\n".join(parts)


def call(statement: Statement) -> str:
    """Return how a relation is read, or a macro with nothing for the arguments that have no default."""
    match = _SIGNATURE.search(statement.sql)
    if match is None:
        return statement.name
    needed = [part for part in match[2].split(",") if ":=" not in part]
    return f"{statement.name}({', '.join('null' for _ in needed)})"


def _groups() -> Iterator[tuple[str, list[Statement]]]:
    """Yield titles with what stands under them: the relations by schema and stage, then the macros."""
    relations = sorted(
        (one for area in statements.RELATIONS for one in statements.load(area)), key=lambda one: one.name
    )
    for schema in (statements.MAIN, statements.DETAIL):
        for stage, about in _STAGES.items():
            found = [one for one in relations if (one.schema, one.stage) == (schema, stage)]
            if found:
                yield f"`{schema}`, {stage}: {about}", found
    yield "Macros", sorted(statements.load("macros"), key=lambda one: one.name)


def _contents() -> Iterator[str]:
    for title, found in _groups():
        yield f"- {title}: {', '.join(f'[{one.name}](#{_anchor(one)})' for one in found)}"
    yield ""


def _heading(statement: Statement) -> str:
    match = _SIGNATURE.search(statement.sql)
    return statement.name if match is None else f"{match[1]}({match[2]})"


def _anchor(statement: Statement) -> str:
    """The anchor of a heading, as GitHub makes it: lower case, no punctuation, dashes for spaces."""
    return re.sub(r"[^\w\- ]", "", _heading(statement).lower()).replace(" ", "-")


def _section(connection: Any, statement: Statement) -> str:
    lines = [f"### `{_heading(statement)}`", "", statement.purpose]
    if statement.schema == statements.DETAIL:
        lines += ["", f"Read it as `{statement.place}`."]
    if statement.name in MATERIALISED:
        lines += ["", "Stored as a table in the catalog."]
    if statement.key:
        lines += ["", f"Key: {', '.join(statement.key)}."]
    if statement.arguments:
        lines += ["", *(f"- `{name}`: {text}" for name, text in statement.arguments.items())]
    if statement.example:
        lines += ["", "```sql", f"{statement.example};", "```"]
    if statement.is_scalar:
        return "\n".join([*lines, ""])
    shown = connection.sql(f"from {call(statement)}")
    meaning = statements.meanings(statement)
    lines += ["", "| column | type | meaning |", "| --- | --- | --- |"]
    for column, kind in zip(shown.columns, shown.types, strict=True):
        lines.append(f"| `{column}` | {_type(kind)} | {meaning[column].replace('|', chr(92) + '|')} |")
    return "\n".join([*lines, ""])


def _type(kind: Any) -> str:
    """The type in lower case and without quotes, as one would write it."""
    return str(kind).lower().replace('"', "")


if __name__ == "__main__":
    PLACE.write_text(reference(), encoding="utf-8")
    sys.stdout.write(f"{PLACE.name} is written.\n")
