"""Commands that look at a workspace, take records out of it, and keep it tidy."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synalign.cli.app import AsJson, Embedder, Where, app, do_step, opened, print_csv, show_frame
from synalign.errors import UsageError
from synalign.version import __version__

if TYPE_CHECKING:
    from synalign.reader import Reader
    from synalign.workspace import Workspace

At = Annotated[
    str | None, typer.Option(metavar="RUN|TAG|TIME", help="The workspace as it was then, instead of its newest state.")
]
_TABLES = "select name, schema, kind, summary, example_query from help"
#: NAME=PATH. An address such as postgres:dbname=shop has no name before its first =.
_NAMED = re.compile(r"([^\W\d]\w*)=(.+)", re.DOTALL)


@app.command()
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


@app.command()
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
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Run SQL over the tables and views of a workspace, and what is attached to it."""
    from synalign.cli.terminal import print_json, say, show_rows

    if (query is not None) == tables:
        raise UsageError("Give a query, or --tables to list what can be asked.")
    with opened(path) as workspace:
        for given in attach or ():
            name, source = _named(given)
            workspace.attach(source, name)
        reader = _reader(workspace, at)
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


@app.command()
def sample(
    path: Where,
    n: Annotated[int, typer.Argument(help="Draws.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same sample.")] = 0,
    distinct: Annotated[bool, typer.Option("--distinct", help="Refuse to draw a record twice.")] = False,
    synthetic_share: Annotated[
        float | None, typer.Option(help="Draw real training records too, and this share of synthetic ones: 0 to 1.")
    ] = None,
    at: At = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Draw synthetic records by weight, or a mix of real and synthetic ones to train on."""
    if distinct and synthetic_share is not None:
        raise UsageError("--distinct is for synthetic records alone: leave it, or --synthetic-share, out.")
    with opened(path) as workspace:
        reader = _reader(workspace, at)
        if synthetic_share is None:
            frame, brief = reader.sample(n, seed=seed, distinct=distinct), ["label", "weight", "copies", "text"]
        else:
            frame = reader.sample_training_mix(n, synthetic_share=synthetic_share, seed=seed)
            brief = ["origin", "label", "copies", "text"]
    show_frame(frame, brief, as_json, as_csv)


@app.command()
def search(
    path: Where,
    text: Annotated[str | None, typer.Argument(help="The text to search for.")] = None,
    id: Annotated[str | None, typer.Option(help="Search for what is near to this record.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Records to find.")] = 10,
    origin: Annotated[str | None, typer.Option(help="real or synthetic.")] = None,
    embedder: Embedder = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Find the records nearest to a text or to a record."""
    with opened(path) as workspace:
        frame = workspace.search(text, id=id, k=k, origin=origin, embedder=embedder)
    show_frame(frame, ["distance", "origin", "label", "split", "text", "id"], as_json, as_csv)


@app.command()
def export(
    path: Where,
    file: Annotated[
        Path,
        typer.Argument(
            help=".parquet, .csv or .jsonl, or a folder with --partition-by; a dataset card is put beside it."
        ),
    ],
    n: Annotated[
        int | None, typer.Option("-n", "--n", help="Draw this many by weight; default: all, weighted.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    columns: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Write these columns alone; default: all.")
    ] = None,
    partition_by: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Make a folder of Parquet files, one for each value, as label=refund."),
    ] = None,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """Write weighted or drawn synthetic records to a file or a folder."""
    from synalign.cli.terminal import print_json, say

    with opened(path) as workspace:
        reader = _reader(workspace, at)
        written = reader.export(file, n=n, seed=seed, columns=_listed(columns), partition_by=_listed(partition_by))
    if as_json:
        print_json({"file": str(written), "card": f"{written}.md"})
    else:
        say(f"Wrote {written} and {written.name}.md.")


@app.command()
def exclude(
    path: Where,
    where: Annotated[str, typer.Argument(help="A SQL condition over synthetic, such as: text like '%AI model%'")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: AsJson = False,
) -> None:
    """Take synthetic records out of every weighting."""
    do_step(path, as_json, lambda ws: ws.exclude(where, reason=reason))


@app.command()
def include(
    path: Where,
    where: Annotated[str, typer.Argument(help="A SQL condition over synthetic.")],
    as_json: AsJson = False,
) -> None:
    """Take exclusions back."""
    do_step(path, as_json, lambda ws: ws.include(where))


@app.command()
def publish(path: Where, as_json: AsJson = False) -> None:
    """Bring catalog.duckdb up to date, if it is not. Every command that writes does so by itself."""
    from synalign.cli.terminal import print_json, say

    with opened(path) as workspace:
        file = workspace.publish()
    if as_json:
        print_json({"file": str(file)})
    else:
        say(f"{file} is up to date.")


@app.command()
def gc(
    path: Where,
    superseded: Annotated[
        bool,
        typer.Option(
            "--superseded", help="Also drop weights, clusters and vectors that no current or tagged state needs."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Give back space: unfinished rows, old versions, orphan files."""
    from synalign.cli.terminal import print_json, show_pairs

    with opened(path) as workspace:
        dropped = workspace.gc(superseded=superseded)
    if as_json:
        print_json(dropped)
    else:
        show_pairs(dropped)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _reader(workspace: Workspace, at: str | None) -> Reader:
    """Return what is asked: the workspace, or an earlier state of it."""
    return workspace if at is None else workspace.at(at)


def _named(given: str) -> tuple[str | None, str]:
    """Return the name and the source of NAME=SOURCE or SOURCE; a file that exists is one, whatever it is called."""
    found = _NAMED.fullmatch(given)
    if found is None or Path(given).expanduser().exists():
        return None, given
    return found[1], found[2]


def _listed(given: str | None) -> list[str] | None:
    return None if given is None else [name.strip() for name in given.split(",")]
