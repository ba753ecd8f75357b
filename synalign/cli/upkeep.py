"""Commands that keep a workspace in order."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from synalign.cli.steps import AsJson, Where, opened
from synalign.errors import UsageError
from synalign.version import __version__


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


def publish(path: Where, as_json: AsJson = False) -> None:
    """Bring catalog.duckdb up to date, if it is not. Every command that writes does so by itself."""
    from synalign.cli.terminal import print_json, say

    with opened(path) as workspace:
        file = workspace.publish()
    if as_json:
        print_json({"file": str(file)})
    else:
        say(f"{file} is up to date.")


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


def fsck(path: Where, as_json: AsJson = False) -> None:
    """Check everything that a workspace promises, and say what to do; exit with 1 if something is broken."""
    from synalign.cli.terminal import print_json, show_report
    from synalign.steps.fsck.check import fsck

    report = fsck(path.expanduser().absolute())
    if as_json:
        print_json(report.as_dict())
    else:
        show_report(report)
    if not report.clean:
        raise typer.Exit(1)


def version() -> None:
    """Print the version."""
    typer.echo(__version__)
