"""Commands that compare two retrievers offline, and analyse a real experiment."""

from __future__ import annotations

from typing import Annotated

import typer

from synalign.cli.app import AsJson, Where, app, opened
from synalign.errors import UsageError


@app.command()
def ab(
    path: Where,
    a: Annotated[str, typer.Argument(metavar="A", help="A retriever, as in the relation rankings.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    queries: Annotated[str, typer.Option(help="The split whose records are the queries.")] = "test",
    click_model: Annotated[
        str, typer.Option(help="How users click: perfect, navigational, informational or random.")
    ] = "navigational",
    depth: Annotated[int, typer.Option(help="Documents that a user is shown.")] = 10,
    passes: Annotated[int, typer.Option(help="How often each query is asked; above 1 it says less of others.")] = 1,
    shared: Annotated[bool, typer.Option("--shared", help="Count clicks on what both rank alike at the top.")] = False,
    alpha: Annotated[float, typer.Option(help="The probability of a false alarm, at most.")] = 0.05,
    power: Annotated[float, typer.Option(help="The probability of seeing the smallest lift.")] = 0.8,
    min_lift: Annotated[float, typer.Option(help="The win rate above one half that matters: 0.02 is 52%.")] = 0.02,
    seed: Annotated[int | None, typer.Option(help="Of the coins, the clicks and the order.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two retrievers offline, by simulated clicks on their interleaved rankings."""
    from synalign.cli.terminal import outcome_data, print_json, say, show_text
    from synalign.steps.retrieval.ab import summary

    with opened(path) as workspace:
        outcome = workspace.ab(
            a,
            b,
            queries=queries,
            click_model=click_model,
            depth=depth,
            passes=passes,
            shared=shared,
            alpha=alpha,
            power=power,
            min_lift=min_lift,
            seed=seed,
        )
    if as_json:
        print_json(outcome_data(outcome) | {"summary": summary(outcome.counts)})
        return
    show_text(summary(outcome.counts))
    for note in outcome.notes:
        say(f"note: {note}.")


@app.command()
def experiment(
    path: Where,
    log: Annotated[str, typer.Argument(metavar="LOG", help="Parquet, CSV, JSON Lines, a DuckDB file, an address.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN, COLUMN/COLUMN, or NAME=one of these; can be repeated."),
    ] = None,
    query: Annotated[str | None, typer.Option(help="SQL over LOG, which is called log in it, or its tables.")] = None,
    name: Annotated[
        str | None, typer.Option("--experiment", help="The one to analyse, by the column experiment.")
    ] = None,
    user: Annotated[str, typer.Option(help="The column of the user.")] = "user_id",
    arm: Annotated[str, typer.Option(help="The column of the arm.")] = "arm",
    control: Annotated[str, typer.Option(help="The arm that the others are compared with.")] = "A",
    alpha: Annotated[float, typer.Option(help="The probability of a false alarm, at most.")] = 0.05,
    correction: Annotated[str, typer.Option(help="For several metrics: holm, bh or none.")] = "holm",
    time: Annotated[str | None, typer.Option(help="The column of an event's time.")] = None,
    share: Annotated[
        list[str] | None, typer.Option(help="ARM=SHARE of the users that were to come; can be repeated.")
    ] = None,
    crossed: Annotated[str, typer.Option(help="Users seen in two arms: refuse or drop.")] = "refuse",
    as_json: AsJson = False,
) -> None:
    """Analyse the log of a real experiment: lift over the control, with intervals, for each metric and arm."""
    from synalign.cli.terminal import print_json, say, show_text

    with opened(path) as workspace:
        found = workspace.analyse_experiment(
            log,
            metrics=_metrics(metric or []),
            query=query,
            experiment=name,
            user=user,
            arm=arm,
            control=control,
            alpha=alpha,
            correction=correction,
            time=time,
            shares=_shares(share) if share else None,
            crossed=crossed,
        )
    if as_json:
        print_json(
            {
                "run_id": found.run_id,
                "reused": found.reused,
                "users": dict(found.users),
                "sample_ratio_p": found.sample_ratio_p,
                "metrics": found.frame.to_dicts(),
                "notes": list(found.notes),
                "summary": found.summary,
            }
        )
        return
    for note in found.notes:
        say(f"note: {note}.")
    show_text(found.summary)


def _metrics(given: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, sign, columns = text.partition("=")
        if not name.strip() or (sign and not columns.strip()):
            raise UsageError(f"--metric takes COLUMN, COLUMN/COLUMN, or NAME=one of these; given: {text!r}.")
        if name.strip() in found:
            raise UsageError(f"--metric names {name.strip()!r} twice.")
        found[name.strip()] = columns.strip() if sign else name.strip()
    return found


def _shares(given: list[str]) -> dict[str, float]:
    found = {}
    for text in given:
        arm, _, share = text.rpartition("=")
        try:
            found[arm] = float(share)
        except ValueError as error:
            raise UsageError(f"--share takes ARM=SHARE, such as A=0.9; given: {text!r}.") from error
    return found
