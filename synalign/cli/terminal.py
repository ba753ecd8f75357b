"""How the command line shows things: outcomes, tables, progress, errors. Results go to stdout, all else to stderr."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from synalign.errors import SynAlignError

if TYPE_CHECKING:
    from synalign.steps.core.context import Outcome
    from synalign.steps.fsck.report import Report

#: Rows of a result that a terminal is shown; --csv and --json give all.
MAX_ROWS = 100
_MAX_CELL = 80


@contextmanager
def progress_bars() -> Iterator[tuple[Callable[[str, int, int], None], Callable[[str], None]]]:
    """Yield a callback that draws one bar for each kind of work, and one that prints a notice above them.

    No bar is drawn when not on a terminal.
    """
    console = Console(stderr=True, highlight=False)

    def notice(text: str) -> None:
        console.print(Text(text, "yellow"), soft_wrap=True)

    if not console.is_terminal:
        yield (lambda _what, _done, _total: None), notice
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    bars = Progress(*columns, console=console, transient=True)
    tasks: dict[str, Any] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            bars.start()
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)
        if done >= total:
            # Stopped, and so wiped, when nothing is under way: what is printed between two bars stands by itself.
            if len(tasks) == 1:
                bars.stop()
            bars.remove_task(tasks.pop(what))

    try:
        yield report, notice
    finally:
        bars.stop()


def show_outcome(outcome: Outcome) -> None:
    """Print what a step did: one line, and a line for each of its notes."""
    console = Console(highlight=False)
    state = Text("nothing to do", "dim") if outcome.reused else Text(f"{outcome.seconds:.1f} s", "green")
    counts = " · ".join(f"{name} {brief(value)}" for name, value in outcome.counts.items() if value is not None)
    console.print(Text.assemble((f"{outcome.step:<8} ", "bold"), state, "  ", counts), soft_wrap=True)
    for note in outcome.notes:
        console.print(Text(f"          {note}", "yellow" if not outcome.reused else "dim"), soft_wrap=True)


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as plain data."""
    return {
        "step": outcome.step,
        "run_id": outcome.run_id,
        "reused": outcome.reused,
        "counts": dict(outcome.counts),
        "notes": list(outcome.notes),
        "seconds": round(outcome.seconds, 3),
    }


def show_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table for a person: long cells are cut, and so are many rows, saying so."""
    # Into a file or a pipe there is no width to fit, so nothing is folded.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
    table = Table(show_edge=False, header_style="bold", pad_edge=False)
    numeric = [all(isinstance(row[i], int | float) or row[i] is None for row in rows) for i in range(len(columns))]
    for name, number in zip(columns, numeric, strict=True):
        table.add_column(Text(name), justify="right" if number else "left", overflow="fold", no_wrap=number)
    for row in rows[:MAX_ROWS]:
        table.add_row(*(Text(_cell(value)) for value in row))
    console.print(table)
    if len(rows) > MAX_ROWS:
        console.print(f"... and {len(rows) - MAX_ROWS:,} more rows; --csv or --json gives all.", style="dim")


def show_pairs(values: Mapping[str, Any]) -> None:
    """Print names and values, one pair a line."""
    width = max((len(name) for name in values), default=0)
    console = Console(highlight=False)
    for name, value in values.items():
        console.print(Text.assemble((f"{name:<{width}}", "bold"), "  ", brief(value)), soft_wrap=True)


def show_parts(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print named lists of rows: one row as its values, one a line; several as a table. What is not there is left out,
    and long values but `text` are cut."""
    console = Console(highlight=False)
    for name, rows in parts.items():
        there = [key for key in (rows[0] if rows else ()) if any(row[key] is not None for row in rows)]
        if len(rows) == 1:
            console.print(Text(name, "bold"))
            width = max(map(len, there), default=0)
            for key in there:
                value = str(rows[0][key]) if key == "text" else _cell(rows[0][key])
                console.print(Text.assemble((f"  {key:<{width}}", "dim"), "  ", value), soft_wrap=True)
        elif rows:
            console.print(Text(f"{name} ({len(rows)})", "bold"))
            show_rows(there, [[row[key] for key in there] for row in rows])


def show_sections(columns: Sequence[str], sections: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Print rows of text as one table, each section of it under its name; numbers stand to the right."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
    table = Table(show_edge=False, header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    for place, name in enumerate(columns):
        table.add_column(Text(name), justify="right" if 0 < place <= 3 else "left", no_wrap=True)
    for section, rows in sections.items():
        table.add_row(Text(section, "bold"))
        for first, *others in rows:
            table.add_row(Text(f"  {first}"), *map(Text, others))
    console.print(table)


def show_report(report: Report) -> None:
    """Print what fsck found: a paragraph for each problem, and a line that sums up."""
    console = Console(highlight=False)
    colours = {"error": "bold red", "leftover": "yellow"}
    if report.at_work:
        doing = " and ".join(report.at_work)
        said = f"Another process is {doing}: what it is about to finish looks like damage. Run fsck again after it."
        console.print(Text(said, "yellow"), soft_wrap=True)
    for problem in report.problems:
        head = Text.assemble((problem.kind, colours.get(problem.kind, "dim")), f"  {problem.check}: {problem.where}")
        console.print(head, soft_wrap=True)
        times = f" ({problem.count:,})" if problem.examples else ""
        lines = [f"{problem.what.rstrip('.')}{times}", *problem.examples]
        if problem.count > len(problem.examples) > 0:
            lines.append(f"... and {problem.count - len(problem.examples):,} more")
        for line in [*lines, f"to do: {problem.cure}"]:
            console.print(Text(f"    {line}"), soft_wrap=True)
    for check, why in report.skipped.items():
        console.print(Text(f"not checked  {check}: {why}", "yellow"), soft_wrap=True)
    kinds = Counter(problem.kind for problem in report.problems)
    found = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()) or "no problem"
    console.print(f"{len(report.checked)} checks, schema {report.schema}: {found}.", soft_wrap=True)


def print_csv(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Print rows as CSV."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def print_json(value: Any) -> None:
    """Print one JSON document to stdout; a number that JSON lacks, infinite or NaN, is null."""
    sys.stdout.write(json.dumps(_finite(value), ensure_ascii=False, indent=2, default=str) + "\n")


def show_error(error: SynAlignError, as_json: bool) -> None:
    """Print an error: to stderr for a person, as a JSON document on stdout for a script."""
    if as_json:
        kind = type(error).__name__
        print_json({"error": {"type": kind, "message": str(error), "retryable": error.retryable}})
        return
    said = "\n".join([str(error), *getattr(error, "__notes__", ())])
    Console(stderr=True, highlight=False).print(Text.assemble(("error: ", "bold red"), said), soft_wrap=True)


def show_text(text: str) -> None:
    """Print a result that is a text."""
    Console(highlight=False).print(Text(text), soft_wrap=True)


def say(message: str) -> None:
    """Print a sentence to stderr."""
    Console(stderr=True, highlight=False).print(Text(message), soft_wrap=True)


def brief(value: Any) -> str:
    """Return a value as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "" if value is None else str(value).replace("\n", " ")
    return text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 1] + "…"
