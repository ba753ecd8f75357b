"""What a chart is drawn of: rows of numbers, checked before anything is drawn, and the files that it goes to."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synalign.errors import UsageError

#: What a file may end with. A path without an ending gets both.
SUFFIXES = (".png", ".svg")

#: Methods that a reader can still tell apart, seven colours with two kinds of line.
MOST_METHODS = 14

#: Rows of the ablation chart.
MOST_ROWS = 60


@dataclass(frozen=True)
class Estimate:
    """A value and its interval, of which both ends are None where there is none."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Point:
    """The score of one method at one number of real records."""

    real_records: int
    score: Estimate


@dataclass(frozen=True)
class Line:
    """One method of the ablation chart. group: the heading above it; empty without groups. difference: None for the
    method that the others are compared with."""

    group: str
    method: str
    score: Estimate
    difference: Estimate | None


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Point]]:
    """Return the points of each method, by number of records, the methods in the order in which they come.

    Raises:
        UsageError: if there is no row, or one that cannot be drawn.
    """
    found: dict[str, dict[int, Point]] = {}
    for number, row in enumerate(_some(rows, 10_000)):
        method, size = _text(row, number, "method"), _number(row, number, "real_records")
        if size < 1 or size != int(size):
            raise UsageError(f"Row {number}: real_records is a whole number of at least 1; given: {size!r}.")
        points = found.setdefault(method, {})
        if int(size) in points:
            raise UsageError(f"Row {number}: {method!r} has a second row of {int(size)} real records. One is drawn.")
        points[int(size)] = Point(int(size), _estimate(row, number, "mean", "low", "high"))
    if len(found) > MOST_METHODS:
        raise UsageError(f"A chart holds at most {MOST_METHODS} methods that can be told apart; given: {len(found)}.")
    return {method: [points[size] for size in sorted(points)] for method, points in found.items()}


def lines(rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Return the rows of the ablation chart.

    Raises:
        UsageError: if there is no row, or one that cannot be drawn.
    """
    found, seen = [], set()
    for number, row in enumerate(_some(rows, MOST_ROWS)):
        group = _text(row, number, "group") if row.get("group") else ""
        method, score = _text(row, number, "method"), _estimate(row, number, "mean", "low", "high")
        if (group, method) in seen:
            raise UsageError(f"Row {number}: {method!r} has a second row. One is drawn.")
        seen.add((group, method))
        names = ("difference", "difference_low", "difference_high")
        reference = all(name in row and row[name] is None for name in names)
        difference = None if reference else _estimate(row, number, *names)
        if difference is not None and difference.low is None:
            raise UsageError(f"Row {number}: a difference has an interval: difference_low and difference_high.")
        found.append(Line(group, method, score, difference))
    return found


def _some(rows: Sequence[Mapping[str, Any]], most: int) -> Sequence[Mapping[str, Any]]:
    rows = list(rows)
    if not 1 <= len(rows) <= most:
        raise UsageError(f"A chart is drawn of 1 to {most} rows; given: {len(rows)}.")
    return rows


def _text(row: Mapping[str, Any], number: int, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise UsageError(f"Row {number}: {name} is a text of letters that can be printed; given: {value!r}.")
    return value.strip()


def _number(row: Mapping[str, Any], number: int, name: str) -> float:
    value = row.get(name)
    try:
        found = math.nan if isinstance(value, bool | str) or value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise UsageError(f"Row {number}: {name} is a finite number; given: {value!r}.")
    return found


def _estimate(row: Mapping[str, Any], number: int, middle: str, lower: str, upper: str) -> Estimate:
    """Return the value and the interval in three columns of a row."""
    mean = _number(row, number, middle)
    if all(name in row and row[name] is None for name in (lower, upper)):
        return Estimate(mean, None, None)
    low, high = _number(row, number, lower), _number(row, number, upper)
    if not low <= mean <= high:
        raise UsageError(f"Row {number}: {middle} lies from {lower} to {upper}; given: {mean:g}, {low:g} and {high:g}.")
    return Estimate(mean, low, high)


def targets(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files that a chart is written to.

    Raises:
        UsageError: if the path has an ending that is not known, or its folder does not exist.
    """
    target = Path(path)
    if target.suffix.lower() not in ("", *SUFFIXES) or not target.name:
        raise UsageError(
            f"{target}: charts end in {' or '.join(SUFFIXES)}, or have no ending to have both written; given: "
            f"{target.suffix!r}."
        )
    if not target.parent.is_dir():
        raise UsageError(f"There is no folder {target.parent} to write {target.name} to. Make it first.")
    return [target] if target.suffix else [target.with_name(target.name + suffix) for suffix in SUFFIXES]
