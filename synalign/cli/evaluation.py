"""Commands that tell whether the synthetic records help."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synalign.cli.steps import step
from synalign.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from synalign.steps.core.context import Outcome

#: The method that all others are compared with.
REFERENCE = "real+synthetic"

Markdown = Annotated[Path | None, typer.Option(help="Write the table to this file, as Markdown.")]
Chart = Annotated[
    Path | None,
    typer.Option(help="Draw the table as a chart: FILE.png, FILE.svg, or both for a name without an ending."),
]
_OWN = {"markdown": (Markdown, None), "chart": (Chart, None)}


def _show_ablation(
    workspace: Workspace, outcome: Outcome, as_json: bool, markdown: Path | None, chart: Path | None
) -> None:
    frame = workspace.sql("from ablation").pl()
    columns, rows = _ablation(frame)
    _give(outcome, frame, columns, rows, markdown, as_json)
    if chart is not None:
        from synalign.report import charts

        names = {"accuracy": "mean", "accuracy_low": "low", "accuracy_high": "high"}
        names |= {"gain": "difference", "gain_low": "difference_low", "gain_high": "difference_high"}
        charts.ablation(
            frame.rename(names).to_dicts(),
            chart,
            difference=f"Difference from {REFERENCE}, paired",
            note=f"95% intervals over {frame['seeds'].max()} draws of training records",
        )


def _show_curve(
    workspace: Workspace, outcome: Outcome, as_json: bool, markdown: Path | None, chart: Path | None
) -> None:
    frame = workspace.sql("from learning_curve").pl()
    columns, rows = _curve(frame)
    _give(outcome, frame, columns, rows, markdown, as_json)
    if chart is not None:
        from synalign.report import charts

        names = {"accuracy": "mean", "accuracy_low": "low", "accuracy_high": "high"}
        charts.learning_curve(
            frame.rename(names).to_dicts(),
            chart,
            note=f"95% intervals over {frame['seeds'].max()} draws of training records",
        )


def _check_chart(chart: Path | None, **_others: Any) -> None:
    """Refuse a chart that cannot be drawn before minutes of work, not after."""
    if chart is not None:
        from synalign.report.charts import require_drawable

        require_drawable(chart)


def _give(
    outcome: Outcome,
    frame: pl.DataFrame,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    markdown: Path | None,
    as_json: bool,
) -> None:
    """Print what was done and the table, and write it as Markdown where that is asked for."""
    from synalign.cli.terminal import outcome_data, print_json, show_outcome, show_rows

    if markdown is not None:
        from synalign.steps.core.markdown import write_table

        write_table(markdown, columns, rows)
    if as_json:
        print_json(outcome_data(outcome) | {"table": frame.to_dicts()})
        return
    show_outcome(outcome)
    show_rows(columns, rows)


def _ablation(frame: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the table as a person reads it: percents and points, intervals beside means."""
    columns = [
        "trained on", "accuracy %", "over the plain mix", "over real alone", "macro F1 %", "log loss", "calibration %",
        "share", "effective",
    ]  # fmt: skip
    rows = [
        [
            row["method"],
            _percent(row, "accuracy"),
            _points(row, "gain"),
            _points(row, "over_real"),
            _percent(row, "macro_f1"),
            f"{row['log_loss']:.3f}",
            f"{100 * row['calibration_error']:.1f}",
            f"{row['share']:.2f}",
            f"{row['effective_size']:,.0f}",
        ]
        for row in frame.to_dicts()
    ]
    return columns, rows


def _curve(frame: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    columns = ["trained on", "real records", "accuracy %", "over real alone", "worth, in real records", "share"]
    rows = [
        [
            row["method"],
            f"{row['real_records']:,}",
            _percent(row, "accuracy"),
            _points(row, "over_real"),
            _worth(row),
            f"{row['share']:.2f}",
        ]
        for row in frame.to_dicts()
    ]
    return columns, rows


def _percent(row: dict[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{100 * row[name]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _points(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return ""
    return f"{100 * row[name]:+.1f} [{100 * row[f'{name}_low']:+.1f}, {100 * row[f'{name}_high']:+.1f}]"


def _worth(row: dict[str, Any]) -> str:
    if row["method"] == "real" or row["worth"] is None:
        return "" if row["method"] == "real" else "more than were tried"
    low = "fewer" if row["worth_low"] is None else f"{row['worth_low']:,.0f}"
    high = "more" if row["worth_high"] is None else f"{row['worth_high']:,.0f}"
    return f"{row['worth']:,.0f} [{low}, {high}]"


evaluate = step("evaluate", flags={"methods": ("--method",)}, own=_OWN, before=_check_chart, show=_show_ablation)
learning_curve = step(
    "learning-curve",
    flags={"methods": ("--method",), "sizes": ("--size",)},
    own=_OWN,
    before=_check_chart,
    show=_show_curve,
)
