"""Commands that take things out of a workspace for good."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from synalign.cli.app import AsJson, Where, app, opened
from synalign.errors import UsageError


@app.command()
def forget(
    path: Where,
    id: Annotated[list[str] | None, typer.Option(help="The id of a real record; may be given many times.")] = None,
    where: Annotated[str | None, typer.Option(help="Instead, a SQL condition over real: customer = 'c-17'")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be taken back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take real records out for good, with all that quotes them, and prove it."""
    from synalign.cli.terminal import outcome_data, print_json, show_outcome

    names = id or None
    with opened(path) as workspace:
        outcome = None
        if dry_run or not yes:
            outcome = workspace.forget(names, where=where, dry_run=True)
        if outcome is not None and not dry_run:
            if as_json or not sys.stdin.isatty():
                raise UsageError("Forgetting cannot be taken back: add --yes, or look first with --dry-run.")
            show_outcome(outcome)
            if not typer.confirm("Forget them? It cannot be taken back.", err=True):
                raise UsageError("Nothing was forgotten.")
        if not dry_run:
            outcome = workspace.forget(names, where=where)
    assert outcome is not None
    if as_json:
        print_json(outcome_data(outcome))
    else:
        show_outcome(outcome)
