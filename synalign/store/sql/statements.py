"""The shipped SQL: one query a file, with a head that says what it is for. No database is imported here.

A file begins with comment lines. First comes prose that says what it is for, then fields, one a line and continued on
lines that are indented by four more spaces:

    -- needs: a, b              the relations it reads, which decides the order of definition; every file has it
    -- in: main                  the schema that it is in; by default `detail` for what is in sql/base/, else `main`
    -- key: id                  the columns that name a row
    -- as: real                 columns that are not described here mean what they mean there
    -- argument n: meaning      of a macro
    -- example: select ...      a query
    -- column: meaning          of the result
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from graphlib import TopologicalSorter

from synalign import resources
from synalign.errors import StoreError

#: What can be read from: tables and views, and macros that give a table.
RELATIONS = ("base", "views")
AREAS = (*RELATIONS, "macros")

_FIELD = re.compile(r"(argument )?([a-z_][a-z0-9_]*):(?: (.+))?")
_SCALAR = re.compile(r"create macro \w+\([^)]*\) as\n(?!table)")
_SENTENCE = re.compile(r".*?\.(?= |$)")
_INDENT = "    "
_NAMED = ("needs", "in", "key", "as", "example")
#: The schemas of the catalog: what is asked most, and the relations that it is made of.
MAIN, DETAIL = "main", "detail"
#: Views that are stored as tables when the catalog is published: a view that joins took 27 times a table's time.
MATERIALISED = ("synthetic_weighted",)


@dataclass(frozen=True)
class Statement:
    """One file of `sql/`: its name, what it reads, its head as text, and the SQL itself; and the parts of the head:
    what it is for, the columns that name a row, what columns mean, the relation that describes the other columns, the
    arguments of a macro, a query that uses it, and the schema that it is in. `stage` is the folder that it lies in."""

    name: str
    needs: tuple[str, ...]
    about: str
    sql: str
    purpose: str = ""
    key: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    like: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    example: str | None = None
    schema: str = MAIN
    stage: str = ""

    @property
    def place(self) -> str:
        """Its name with its schema, as SQL reads it."""
        return f"{self.schema}.{self.name}"

    @property
    def is_scalar(self) -> bool:
        """Whether it is a macro that gives one value, and no table."""
        return _SCALAR.match(self.sql) is not None


@cache
def load(area: str) -> tuple[Statement, ...]:
    """Return the statements of one area (a folder below `sql/`, and the folders in it), each after those it needs.
    They are read once: every query needs them."""
    found = {name: read(area, name) for name in resources.files(f"sql/{area}", ".sql")}
    order = TopologicalSorter({name: set(statement.needs) & found.keys() for name, statement in found.items()})
    return tuple(found[name] for name in order.static_order())


def read(area: str, name: str) -> Statement:
    """Return one statement.

    Raises:
        StoreError: if there is no such file, its head lacks its purpose or its `needs` line, or has a line that is no
            field.
    """
    place = resources.files(f"sql/{area}", ".sql").get(name, f"sql/{area}/{name}.sql")
    lines = resources.text(place).splitlines()
    head = [line[2:].removeprefix(" ") for line in _leading_comments(lines)]
    start = next((number for number, line in enumerate(head) if _FIELD.fullmatch(line)), len(head))
    purpose = "\n".join(head[:start]).strip()
    fields = _fields(place, head[start:])
    if not purpose or "needs" not in fields:
        raise StoreError(f"{place} needs a comment that says what it is for, and one '-- needs:' line.")
    body = "\n".join(lines[len(head) :]).strip().rstrip(";")
    schema = fields.get("in", DETAIL if area == "base" else MAIN)
    if schema not in (MAIN, DETAIL):
        raise StoreError(f"{place} is said to be in the schema {schema!r}, which is neither {MAIN} nor {DETAIL}.")
    return Statement(
        name,
        needs=_listed(fields["needs"]),
        about="\n".join(line for line in head if not line.startswith(("needs:", "in:"))).strip(),
        sql=body,
        purpose=purpose,
        key=_listed(fields.get("key", "")),
        columns={key: text for key, text in fields.items() if key not in _NAMED and " " not in key},
        like=fields.get("as"),
        arguments={key.split()[1]: text for key, text in fields.items() if " " in key},
        example=fields.get("example"),
        schema=schema,
        stage=parts[2] if len(parts := place.split("/")) > 3 else "",
    )


def meanings(statement: Statement) -> dict[str, str]:
    """Return what the columns of a relation or macro mean, also those of the relation that it refers to.

    Raises:
        StoreError: if there is no such relation.
    """
    if statement.like is None:
        return dict(statement.columns)
    area = next((area for area in RELATIONS if statement.like in resources.files(f"sql/{area}", ".sql")), None)
    if area is None:
        raise StoreError(f"sql/: {statement.name} is described as {statement.like!r}, which is no relation.")
    return meanings(read(area, statement.like)) | dict(statement.columns)


def help_rows() -> list[dict[str, str | None]]:
    """Return the rows of the relation `help`: what each relation and macro is for, those of the schema main first."""
    found = sorted(((area, one) for area in AREAS for one in load(area)), key=lambda pair: (pair[1].place, pair[0]))
    return [_help_row(area, one) for schema in (MAIN, DETAIL) for area, one in found if one.schema == schema]


def _help_row(area: str, one: Statement) -> dict[str, str | None]:
    stored = area == "base" or one.name in MATERIALISED
    return {
        "name": one.name,
        "schema": one.schema,
        "kind": "macro" if area == "macros" else "table" if stored else "view",
        "summary": _SENTENCE.findall(one.purpose.replace("\n", " "))[0],
        "purpose": one.purpose,
        "key_columns": ", ".join(one.key) or None,
        "example_query": one.example or f"from {one.place} limit 10",
    }


def _fields(place: str, lines: Iterable[str]) -> dict[str, str]:
    """Return the fields of a head by name, those of arguments as "argument <name>"."""
    found: dict[str, str] = {}
    last = ""
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is not None:
            last = (match[1] or "") + match[2]
            if last in found:
                raise StoreError(f"{place} says twice what {last!r} is.")
            found[last] = match[3] or ""
        elif line.startswith(_INDENT):
            found[last] += " " + line.strip()
        else:
            raise StoreError(f"{place}: '-- {line}' is no '-- column: meaning', and no indented continuation of one.")
    return found


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _leading_comments(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if not line.startswith("--"):
            return
        yield line
