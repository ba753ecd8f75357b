"""The shipped SQL: one query a file, with a head that says what it is for. No database is imported here.

A file begins with comment lines. `-- needs: a, b` names the relations it reads, which decides the order in which views
are made; the rest is prose, of which `-- column: meaning` lines describe the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter

from synalign import resources
from synalign.errors import StoreError


@dataclass(frozen=True)
class Statement:
    """One file of `sql/`: its name, what it reads, the prose of its head, and the SQL itself."""

    name: str
    needs: tuple[str, ...]
    about: str
    sql: str


def load(area: str) -> list[Statement]:
    """Return the statements of one area (a folder below `sql/`), each after those it needs."""
    found = {name: read(area, name) for name in resources.names(f"sql/{area}", ".sql")}
    order = TopologicalSorter({name: set(statement.needs) & found.keys() for name, statement in found.items()})
    return [found[name] for name in order.static_order()]


def read(area: str, name: str) -> Statement:
    """Return one statement.

    Raises:
        StoreError: if the file's head lacks its purpose or its `needs` line.
    """
    lines = resources.text(f"sql/{area}/{name}.sql").splitlines()
    head = [line[2:].strip() for line in _leading_comments(lines)]
    needs = [line.removeprefix("needs:").strip() for line in head if line.startswith("needs:")]
    about = "\n".join(line for line in head if not line.startswith("needs:")).strip()
    if not about or len(needs) != 1:
        raise StoreError(f"sql/{area}/{name}.sql needs a comment that says what it is for, and one '-- needs:' line.")
    body = "\n".join(lines[len(head) :]).strip().rstrip(";")
    return Statement(name, tuple(part.strip() for part in needs[0].split(",") if part.strip()), about, body)


def _leading_comments(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if not line.startswith("--"):
            return
        yield line
