"""Commands that tell whether the synthetic records help, and what an A/B test found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synalign.cli.steps import step
from synalign.errors import UsageError
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


_SIDES = ("real", "raw", "weighted")

#: Figures that are a share are shown in per cent.
_SHARES = (
    "distinct_1", "distinct_2", "distinct_3", "punctuation_rate", "uppercase_rate", "digit_rate", "emoji_rate",
    "url_rate", "vocabulary_jaccard", "vocabulary_known", "vocabulary_covered", "copied", "near_duplicate", "test_copy",
    "personal", "personal_real",
)  # fmt: skip


def _show_texts(workspace: Workspace, outcome: Any, as_json: bool) -> None:
    from synalign.cli.terminal import outcome_data, print_json, say, show_outcome, show_sections

    query = "from text_quality where run_id = ?"
    columns, found = workspace.fetch(workspace.sql(query, [outcome.run_id]))
    rows = [dict(zip(columns, row, strict=True)) for row in found]
    if as_json:
        print_json(outcome_data(outcome) | {"figures": rows})
        return
    show_outcome(outcome)
    sides = [side for side in _SIDES if any(row[side] is not None for row in rows)]
    sections: dict[str, list[list[str]]] = {}
    for row in rows:
        cells = [row["figure"], *(_cell(row, side) for side in sides), *([_better(row)] if "weighted" in sides else [])]
        sections.setdefault(row["family"], []).append(cells)
    show_sections(["", *sides, *(["nearer to real"] if "weighted" in sides else [])], sections)
    for sentence in _sentences(rows):
        say(sentence)


def _cell(row: dict[str, Any], side: str) -> str:
    """Return a figure, and half of its interval beside it."""
    value = row[side]
    if value is None:
        return ""
    reach = max(value - row[f"{side}_low"], row[f"{side}_high"] - value)
    if row["metric"] in _SHARES:
        return f"{100 * value:.1f}% ±{100 * reach:4.1f}"
    if row["metric"].startswith(("words", "characters")):
        return f"{value:.1f} ±{reach:4.1f}"
    return f"{value:.3f} ±{reach:.3f}"


def _better(row: dict[str, Any]) -> str:
    """Return the side that is nearer, in brackets where the intervals of both overlap."""
    better = row["better"]
    if better in (None, "same"):
        return better or ""
    return str(better) if row["is_clear"] else f"({better})"


def _sentences(rows: list[dict[str, Any]]) -> list[str]:
    """Return in words how the weighted texts compare with the raw ones."""
    clear = [row for row in rows if row["is_clear"]]
    found = []
    worse = [row for row in clear if row["better"] == "raw"]
    if worse:
        listed = ", ".join(row["figure"] for row in worse)
        found.append(f"The weights move the text away from real text in: {listed}.")
    found.append("± is half of a 95% interval. In brackets: nearer, but the intervals of raw and weighted overlap.")
    return found if any(row["better"] for row in rows) else ["± is half of a 95% interval."]


text_quality = step("text-quality", show=_show_texts)


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
