"""Commands that look at a workspace, take records out of it, and keep it tidy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from synalign.cli.app import AsJson, Embedder, Where, app, do_step, opened, print_csv, show_frame
from synalign.version import __version__


@app.command()
def status(path: Where, as_json: AsJson = False) -> None:
    """Say what is in a workspace."""
    from synalign.terminal import brief, print_json, show_pairs

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
    query: Annotated[str, typer.Argument(help="SQL over the relations of the workspace; - reads stdin.")],
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Run SQL over the tables and views of a workspace."""
    from synalign.terminal import print_json, show_rows

    with opened(path) as workspace:
        relation = workspace.sql(sys.stdin.read() if query == "-" else query)
        columns, rows = workspace.fetch(relation)
    if as_json:
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
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Draw synthetic records by weight."""
    with opened(path) as workspace:
        frame = workspace.sample(n, seed=seed, distinct=distinct)
    show_frame(frame, ["label", "weight", "copies", "text"], as_json, as_csv)


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
    file: Annotated[Path, typer.Argument(help=".parquet, .csv or .jsonl; a dataset card is put beside it.")],
    n: Annotated[
        int | None, typer.Option("-n", "--n", help="Draw this many by weight; default: all, weighted.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write weighted or drawn synthetic records to a file."""
    from synalign.terminal import print_json, say

    with opened(path) as workspace:
        written = workspace.export(file, n=n, seed=seed)
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
    from synalign.terminal import print_json, show_pairs

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
