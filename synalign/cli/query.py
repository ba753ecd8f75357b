"""Commands that ask something of a workspace."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synalign.cli.steps import AsJson, Csv, Where, opened, show_frame
from synalign.errors import UsageError

if TYPE_CHECKING:
    from synalign.reader import Reader
    from synalign.workspace import Workspace

At = Annotated[
    str | None, typer.Option(metavar="RUN|TAG|TIME", help="The workspace as it was then, instead of its newest state.")
]
_TABLES = "select name, schema, kind, summary, example_query from help"
#: NAME=PATH. An address such as postgres:dbname=shop has no name before its first =.
_NAMED = re.compile(r"([^\W\d]\w*)=(.+)", re.DOTALL)


def status(path: Where, as_json: AsJson = False) -> None:
    """Say what is in a workspace."""
    from synalign.cli.terminal import brief, print_json, show_pairs

    with opened(path) as workspace:
        found = workspace.status()
    if as_json:
        print_json(found)
        return
    pairs: dict[str, Any] = {"workspace": found["workspace"]}
    for side, splits in found["records"].items():
        pairs[side] = ", ".join(f"{count:,} {split}" for split, count in splits.items()) or "none"
    for step, current in found["steps"].items():
        counts = {} if current is None else current["counts"]
        pairs[step] = " · ".join(f"{name} {brief(value)}" for name, value in counts.items() if value is not None)
        pairs[step] = pairs[step] or "not yet"
    pairs |= {f"stale {number}": text for number, text in enumerate(found["stale"], start=1)}
    show_pairs(pairs)


def sql(
    path: Where,
    query: Annotated[str | None, typer.Argument(help="SQL over the relations of the workspace; - reads stdin.")] = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="List the relations and macros, and what each is for.")
    ] = False,
    attach: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]PATH",
            help="Put a DuckDB, SQLite, Parquet, CSV or JSON Lines file, a folder of Parquet files, another workspace, "
            "or postgresql://... or mysql://... beside the relations. Can be given more than once.",
        ),
    ] = None,
    at: At = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all rows to a .parquet, .csv or .jsonl file.")
    ] = None,
    as_json: AsJson = False,
    as_csv: Csv = False,
) -> None:
    """Run SQL over the tables and views of a workspace, and what is attached to it."""
    from synalign.cli.terminal import print_csv, print_json, say, show_rows

    if (query is not None) == tables:
        raise UsageError("Give a query, or --tables to list what can be asked.")
    with opened(path) as workspace:
        for given in attach or ():
            name, source = _named(given)
            workspace.attach(source, name)
        reader = reader_of(workspace, at)
        relation = reader.sql(sys.stdin.read() if query == "-" else query or _TABLES)
        if out is not None:
            reader.save(relation, out)
        else:
            columns, rows = reader.fetch(relation)
    if out is not None:
        if as_json:
            print_json({"file": str(out)})
        else:
            say(f"Wrote {out}.")
    elif as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif as_csv:
        print_csv(columns, rows)
    else:
        show_rows(columns, rows)


def search(
    path: Where,
    text: Annotated[str | None, typer.Argument(help="The text to search for.")] = None,
    id: Annotated[str | None, typer.Option(help="Search for what is near to this record.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Records to find.")] = 10,
    origin: Annotated[str | None, typer.Option(help="real or synthetic.")] = None,
    embedder: Annotated[
        str | None, typer.Option(help="Name of an embedder, as the relation embedders lists them.")
    ] = None,
    as_json: AsJson = False,
    as_csv: Csv = False,
) -> None:
    """Find the records nearest to a text or to a record."""
    with opened(path) as workspace:
        frame = workspace.search(text, id=id, k=k, origin=origin, embedder=embedder)
    show_frame(frame, ["distance", "origin", "label", "split", "text", "id"], as_json, as_csv)


def reader_of(workspace: Workspace, at: str | None) -> Reader:
    """Return what is asked: the workspace, or an earlier state of it."""
    return workspace if at is None else workspace.at(at)


def _named(given: str) -> tuple[str | None, str]:
    """Return the name and the source of NAME=SOURCE or SOURCE; a file that exists is one, whatever it is called."""
    found = _NAMED.fullmatch(given)
    if found is None or Path(given).expanduser().exists():
        return None, given
    return found[1], found[2]
