"""Commands that say how a workspace is, and change nothing."""

from __future__ import annotations

import typer

from synalign.cli.app import AsJson, Where, app


@app.command()
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
