"""Commands that ask a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synalign.cli.app import AsJson, BaseUrl, Batch, Budget, Model, Where, app, do_step, opened


@app.command()
def estimate(path: Where, model: Model = None, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Say what reason and generate would cost."""
    from synalign.cli.terminal import print_json, say, show_rows

    with opened(path) as workspace:
        found = workspace.estimate(model=model, base_url=base_url)
    if as_json:
        print_json(found.data())
        return
    columns = ["step", "kind", "calls", "known", "tokens", "tokens from", "to", "usd", "usd from", "usd to", "at most"]
    rows = []
    for row in (*found.rows, found.total):
        tokens = [row.prompt_tokens + row.reply_tokens, row.tokens_low, row.tokens_high]
        usd = [row.usd, row.usd_low, row.usd_high, row.usd_at_most]
        shown = ["unknown" if value is None else value for value in usd]
        rows.append([row.step, row.kind, row.calls, row.known, *tokens, *shown])
    show_rows(columns, rows)
    for note in found.notes:
        say(note)


@app.command()
def reason(
    path: Where,
    model: Model = None,
    base_url: BaseUrl = None,
    budget: Budget = None,
    batch: Batch = None,
    as_json: AsJson = False,
) -> None:
    """Stage 1: the LLM states attributes of demonstrations."""
    do_step(path, as_json, lambda ws: ws.reason(model=model, base_url=base_url, budget=budget, batch=batch))


@app.command()
def generate(
    path: Where,
    per_selection: Annotated[int | None, typer.Option(help="Records from each selection's attributes.")] = None,
    recombined: Annotated[
        int | None, typer.Option(help="Records from attributes drawn across the selections of a label.")
    ] = None,
    from_demonstrations: Annotated[
        int | None, typer.Option(help="Records from demonstrations alone, without attributes.")
    ] = None,
    from_documents: Annotated[
        int | None, typer.Option(help="Queries for each of some documents, from its text alone.")
    ] = None,
    model: Model = None,
    base_url: BaseUrl = None,
    budget: Budget = None,
    batch: Batch = None,
    as_json: AsJson = False,
) -> None:
    """Stage 2: the LLM writes new records, and they are checked."""
    do_step(
        path,
        as_json,
        lambda ws: ws.generate(
            per_selection=per_selection,
            recombined=recombined,
            from_demonstrations=from_demonstrations,
            from_documents=from_documents,
            model=model,
            base_url=base_url,
            budget=budget,
            batch=batch,
        ),
    )


@app.command()
def annotate(
    path: Where,
    sample: Annotated[int | None, typer.Option(help="Records to annotate.")] = None,
    origin: Annotated[str, typer.Option(help="real or synthetic.")] = "real",
    model: Model = None,
    base_url: BaseUrl = None,
    budget: Budget = None,
    batch: Batch = None,
    as_json: AsJson = False,
) -> None:
    """The LLM states attributes of single records, to compare shares."""
    do_step(
        path,
        as_json,
        lambda ws: ws.annotate(
            sample=sample, origin=origin, model=model, base_url=base_url, budget=budget, batch=batch
        ),
    )


@app.command()
def record(
    path: Where,
    file: Annotated[Path, typer.Argument(help="The recording to write, a .jsonl file.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write all replies to a file that model = "replay/FILE" answers from."""
    from synalign.cli.terminal import print_json, show_pairs

    with opened(path) as workspace:
        written = workspace.record(file, overwrite=force)
    if as_json:
        print_json(written)
    else:
        show_pairs(written)
