"""Commands that compare two retrievers offline, and analyse an online experiment."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from synalign.cli.steps import step
from synalign.errors import UsageError
from synalign.workspace import Workspace

_A = Annotated[str, typer.Argument(metavar="A", help="A retriever, as the relation rankings names it.")]
_B = Annotated[str, typer.Argument(metavar="B", help="The retriever to compare it with.")]
_LOG = Annotated[
    str, typer.Argument(metavar="LOG", help="Parquet, CSV, JSON Lines, a DuckDB file, or a database's address.")
]


def _show_ab(_workspace: Workspace, outcome: Any, as_json: bool) -> None:
    from synalign.cli.terminal import outcome_data, print_json, say, show_text
    from synalign.steps.retrieval.ab import summary

    if as_json:
        print_json(outcome_data(outcome) | {"summary": summary(outcome.counts)})
        return
    show_text(summary(outcome.counts))
    for note in outcome.notes:
        say(f"note: {note}.")


def _show_experiment(_workspace: Workspace, found: Any, as_json: bool) -> None:
    from synalign.cli.terminal import print_json, say, show_text

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


ab = step("ab", arguments={"a": _A, "b": _B}, show=_show_ab)
experiment = step(
    "experiment",
    "analyse_experiment",
    arguments={"source": _LOG},
    flags={"metrics": ("--metric",), "shares": ("--share",)},
    read={"metrics": _metrics, "shares": _shares},
    show=_show_experiment,
)
