"""Commands that look back: what was done, what changed, where a record comes from; and names for states."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from synalign.cli.steps import AsJson, Csv, Where, opened, show_frame
from synalign.errors import UsageError

_STATE = "A tag, a run id or the beginning of one, or a time (UTC) such as 2026-01-31T17:30."


def runs(
    path: Where,
    step: Annotated[str | None, typer.Option(help="Only runs of this step.")] = None,
    as_json: AsJson = False,
    as_csv: Csv = False,
) -> None:
    """List what was done, the newest last."""
    from synalign.cli.terminal import brief, show_rows

    with opened(path) as workspace:
        frame = workspace.runs(step)
    if as_json or as_csv:
        show_frame(frame, [], as_json, as_csv)
        return
    shown = []
    for row in frame.to_dicts():
        counts = {name: value for name, value in json.loads(row["counts"]).items() if value is not None}
        shown.append(
            [
                f"{row['finished_at']:%Y-%m-%d %H:%M:%S}",
                row["step"],
                row["run_id"][:12],
                {True: "current", False: "", None: ""}[row["is_current"]],
                ", ".join(row["tags"] or []),
                f"{row['seconds']:.1f}",
                " · ".join(f"{name} {brief(value)}" for name, value in counts.items()),
            ]
        )
    show_rows(["finished (UTC)", "step", "run", "state", "tags", "seconds", "what"], shown)


def diff(
    path: Where,
    before: Annotated[str, typer.Argument(metavar="A", help=_STATE)],
    after: Annotated[str | None, typer.Argument(metavar="B", help="Another such; default: now.")] = None,
    as_json: AsJson = False,
    as_csv: Csv = False,
) -> None:
    """Say what differs between two states of a workspace."""
    from synalign.cli.terminal import say

    with opened(path) as workspace:
        frame = workspace.diff(before, after)
    if not frame.height and not (as_json or as_csv):
        say("Nothing differs.")
        return
    show_frame(frame, frame.columns, as_json, as_csv)


def explain(
    path: Where,
    record_id: Annotated[str, typer.Argument(metavar="ID", help="Of a record, or the beginning of one.")],
    origin: Annotated[str | None, typer.Option(help="real or synthetic, where one id is both.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell where a record comes from and what became of it."""
    from synalign.cli.terminal import print_json, show_parts

    with opened(path) as workspace:
        found = workspace.explain(record_id, origin=origin)
    if as_json:
        print_json(found)
    else:
        show_parts(found)


def tag(
    path: Where,
    name: Annotated[str | None, typer.Argument(help="Of the tag; without one, the tags there are.")] = None,
    at: Annotated[str | None, typer.Option(help=f"{_STATE} Default: now.")] = None,
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    delete: Annotated[bool, typer.Option("--delete", help="Take the tag away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Name a state, which gc then keeps; or list the names."""
    from synalign.cli.terminal import print_json, say, show_rows

    with opened(path) as workspace:
        if name is None:
            if delete or at is not None:
                raise UsageError("Name the tag that is meant: synalign tag DIR NAME.")
            frame = workspace.sql("from tags order by name").pl()
            rows: list[dict[str, Any]] = frame.to_dicts()
            if as_json:
                print_json(rows)
            else:
                show_rows(frame.columns, frame.rows())
            return
        row = workspace.untag(name) if delete else workspace.tag(name, at, note=note)
    if as_json:
        print_json(row)
    elif delete:
        say(f"The tag {name} is taken away.")
    else:
        say(f"{name} is the state after run {row['sequence']}, {row['state_at']:%Y-%m-%d %H:%M:%S} UTC.")
