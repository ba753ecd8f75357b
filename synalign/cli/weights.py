"""Commands that learn and check weights, and the one that does everything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synalign.cli.app import AsJson, Budget, Embedder, Where, app, do_step, number, opened, patience, shares, stopped


@app.command()
def align(
    path: Where,
    strength: Annotated[
        str | None, typer.Option(help="eps of the dual, smaller pulls harder; auto (chosen), or none.")
    ] = None,
    features: Annotated[str | None, typer.Option(help="Random features, an even number; auto, or exact.")] = None,
    kernel: Annotated[str | None, typer.Option(help="gaussian, or linear: the paper's own objective.")] = None,
    bandwidth: Annotated[
        list[float] | None, typer.Option(help="A multiple of the median distance; several make a mixture.")
    ] = None,
    by_label: Annotated[bool | None, typer.Option("--by-label/--no-by-label", help="Match label by label.")] = None,
    match: Annotated[
        list[str] | None, typer.Option(help="Another categorical column to match; can be repeated.")
    ] = None,
    quality: Annotated[
        bool | None, typer.Option("--quality/--no-quality", help="Weight by how far real data believe each label.")
    ] = None,
    label_shares: Annotated[str | None, typer.Option(help="auto, real, kept, or label=share,label=share.")] = None,
    max_weight_ratio: Annotated[float | None, typer.Option(help="Largest weight, in multiples of the average.")] = None,
    min_effective_share: Annotated[float | None, typer.Option(help="Floor on the effective sample size.")] = None,
    duplicates: Annotated[
        float | None, typer.Option(help="Cosine similarity from which records share one budget.")
    ] = None,
    prior: Annotated[str | None, typer.Option(help="A numeric column of the synthetic records to start from.")] = None,
    weight_set: Annotated[str | None, typer.Option(help="The name to keep the weights under.")] = None,
    embedder: Embedder = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    as_json: AsJson = False,
) -> None:
    """Learn one sampling weight for each synthetic record."""
    do_step(
        path,
        as_json,
        lambda ws: ws.align(
            strength=number(strength),
            features=number(features),
            kernel=kernel,
            bandwidths=bandwidth or None,
            by_label=by_label,
            match=match or None,
            quality=quality,
            label_shares=shares(label_shares, "auto, real, kept"),
            max_weight_ratio=max_weight_ratio,
            min_effective_share=min_effective_share,
            duplicates=duplicates,
            prior=prior,
            weight_set=weight_set,
            embedder=embedder,
            device=device,
        ),
    )


@app.command()
def score(
    path: Where,
    weight_set: Annotated[str | None, typer.Option(help="Whose dual vectors; default: the current set's.")] = None,
    into: Annotated[str | None, typer.Option(help="Name of the new set; default: the old one with -scored.")] = None,
    as_json: AsJson = False,
) -> None:
    """Weight new synthetic records without refitting."""
    do_step(path, as_json, lambda ws: ws.score(weight_set=weight_set, into=into))


@app.command()
def weights(
    path: Where,
    use: Annotated[str | None, typer.Option(help="Make this set the current one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the weight sets, or make one the current one."""
    from synalign.cli.terminal import print_json, show_rows

    if use is not None:
        do_step(path, as_json, lambda ws: ws.use_weights(use))
        return
    with opened(path) as workspace:
        columns, rows = workspace.fetch(workspace.sql("from weight_sets order by is_current desc, weight_set"))
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        show_rows(columns, rows)


@app.command()
def check(
    path: Where,
    max_mmd_ratio: Annotated[
        float | None, typer.Option(help="Held-out squared MMD over the floor, real against real.")
    ] = None,
    min_ess: Annotated[float | None, typer.Option(help="Effective sample size, as a share of the records.")] = None,
    max_auc: Annotated[float | None, typer.Option(help="AUC of a classifier against real records.")] = None,
    weight_set: Annotated[str | None, typer.Option(help="The set; default: the current one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Exit with 1 and the reasons if weights break a limit: a gate for CI."""
    from synalign.cli.terminal import print_json, say, show_pairs

    with opened(path) as workspace:
        found = workspace.check(weight_set=weight_set, max_mmd_ratio=max_mmd_ratio, min_ess=min_ess, max_auc=max_auc)
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


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A run file (TOML), or a workspace.")],
    budget: Budget = None,
    as_json: AsJson = False,
) -> None:
    """Do all steps; what is done already is not done again."""
    from synalign.cli.terminal import outcome_data, print_json, progress_bars, show_outcome
    from synalign.workspace import run as run_all

    with progress_bars() as (progress, notice), stopped():
        report = None if as_json else show_outcome
        outcomes = run_all(config, progress=progress, notice=notice, report=report, budget=budget, wait=patience.get())
    if as_json:
        print_json([outcome_data(outcome) for outcome in outcomes])
