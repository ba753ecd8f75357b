"""Commands that learn, check and use weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from synalign.cli.query import At, reader_of
from synalign.cli.steps import AsJson, Csv, Where, opened, show_frame, show_step, step
from synalign.errors import UsageError
from synalign.workspace import Workspace

align = step("align", flags={"bandwidths": ("--bandwidth",)})
score = step("score")


def weights(
    path: Where,
    use: Annotated[str | None, typer.Option(help="Make this set the current one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the weight sets, or make one the current one."""
    from synalign.cli.terminal import print_json, show_rows

    if use is not None:
        with opened(path) as workspace:
            show_step(workspace, workspace.use_weights(use), as_json)
        return
    with opened(path) as workspace:
        columns, rows = workspace.fetch(workspace.sql("from weight_sets order by is_current desc, weight_set"))
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        show_rows(columns, rows)


def _show_check(_workspace: Workspace, found: Any, as_json: bool) -> None:
    from synalign.cli.terminal import print_json, say, show_pairs

    if as_json:
        print_json({"weight_set": found.weight_set, "passed": found.passed, "reasons": found.reasons} | found.figures)
    else:
        show_pairs(
            {"weight set": found.weight_set}
            | {name: "not measured" if value is None else value for name, value in found.figures.items()}
        )
        for reason in found.reasons:
            say(f"failed: {reason}.")
        if found.passed:
            say("passed.")
    if not found.passed:
        raise typer.Exit(1)


check = step("check", show=_show_check)


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
    as_csv: Csv = False,
) -> None:
    """Draw synthetic records by weight, or a mix of real and synthetic ones to train on."""
    if distinct and synthetic_share is not None:
        raise UsageError("--distinct is for synthetic records alone: leave it, or --synthetic-share, out.")
    with opened(path) as workspace:
        reader = reader_of(workspace, at)
        if synthetic_share is None:
            frame, brief = reader.sample(n, seed=seed, distinct=distinct), ["label", "weight", "copies", "text"]
        else:
            frame = reader.sample_training_mix(n, synthetic_share=synthetic_share, seed=seed)
            brief = ["origin", "label", "copies", "text"]
    show_frame(frame, brief, as_json, as_csv)


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
        reader = reader_of(workspace, at)
        written = reader.export(file, n=n, seed=seed, columns=_listed(columns), partition_by=_listed(partition_by))
    if as_json:
        print_json({"file": str(written), "card": f"{written}.md"})
    else:
        say(f"Wrote {written} and {written.name}.md.")


def exclude(
    path: Where,
    where: Annotated[str, typer.Argument(help="A SQL condition over synthetic, such as: text like '%AI model%'")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: AsJson = False,
) -> None:
    """Take synthetic records out of every weighting."""
    with opened(path) as workspace:
        show_step(workspace, workspace.exclude(where, reason=reason), as_json)


def include(
    path: Where,
    where: Annotated[str, typer.Argument(help="A SQL condition over synthetic.")],
    as_json: AsJson = False,
) -> None:
    """Take exclusions back."""
    with opened(path) as workspace:
        show_step(workspace, workspace.include(where), as_json)


def _listed(given: str | None) -> list[str] | None:
    return None if given is None else [name.strip() for name in given.split(",")]
