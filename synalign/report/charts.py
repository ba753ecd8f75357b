"""Charts of what an evaluation found, as PNG and SVG: of the extra `synalign[charts]`.

Drawn without pyplot, whose figures and settings are the whole process's: the same rows give the same bytes, and a
figure that a user has open is left alone. Colours are those of Okabe and Ito, which people who see few colours can tell
apart; markers differ as well.
"""

from __future__ import annotations

import io
import math
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synalign.errors import StoreError, UsageError
from synalign.report.chart_rows import Estimate, Line, Point, curves, lines, targets

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DOTS_PER_INCH, _WIDTH, _HEIGHT = 150, 1200, 800
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", (0, (4, 1.5)))
_INK, _FAINT, _GRID = "#222222", "#6b6b6b", "#dddddd"

#: Letters of a method's name in one line.
_LETTERS = 22

_SETTINGS = {
    "svg.hashsalt": "synalign",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "text.parse_math": False,
    "text.usetex": False,
    "path.simplify": False,
    "axes.axisbelow": True,
}


def require_drawable(path: str | os.PathLike[str]) -> None:
    """Raise what drawing to this path would raise, before there is anything to draw.

    Raises:
        UsageError: as `learning_curve`.
    """
    targets(path)
    _require_matplotlib()


def learning_curve(
    rows: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    title: str = "What the synthetic records are worth",
    score: str = "Test accuracy",
    note: str = "",
) -> list[Path]:
    """Draw the score of each method over the number of real records, with intervals, and return the files written.

    Args:
        rows: of each method and number of real records one, with `method`, `real_records`, `mean`, `low` and `high`;
            the last two are None, both, where there is no interval. Other keys are left aside.
        path: that ends with .png or .svg, or without an ending: both are written then.
        title: above it. score: along the y axis. note: below it, such as what the intervals are.

    Raises:
        UsageError: if a row lacks something or a value cannot be drawn, the path has another ending, or matplotlib is
            not installed.
        StoreError: if a file cannot be written. What was there is unchanged then.
    """
    files, methods = targets(path), curves(rows)
    return _write(files, lambda: _draw_curves(methods, title, score, note))


def ablation(
    rows: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    title: str = "Does it help?",
    score: str = "Test accuracy",
    difference: str = "Difference, paired",
    note: str = "",
) -> list[Path]:
    """Draw each method's score, and its paired difference from a method to compare with, and return the files written.

    Args:
        rows: one of each line of the chart, from the top, with `method`, `mean`, `low`, `high`, and `difference`,
            `difference_low`, `difference_high`: None, all three, for the method that the others are compared with.
            `low` and `high` may be None, both. `group`, if there is one, heads the rows of one model or data set.
        path, title, score, note: as for `learning_curve`. difference: along the axis of the differences.

    Raises:
        UsageError, StoreError: as `learning_curve`.
    """
    files, found = targets(path), lines(rows)
    return _write(files, lambda: _draw_lines(found, title, score, difference, note))


# What is drawn.


def _draw_curves(methods: dict[str, list[Point]], title: str, score: str, note: str) -> Figure:
    figure, (axes,) = _figure(_HEIGHT, 1)
    sizes = sorted({point.real_records for points in methods.values() for point in points})
    # Side by side, so that intervals at one size do not hide each other.
    spread = min(0.007 * math.log(max(sizes[-1] / sizes[0], 2)), 0.05)
    ends = []
    for number, (method, points) in enumerate(methods.items()):
        colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
        x = [point.real_records * math.exp(spread * (number - (len(methods) - 1) / 2)) for point in points]
        y = [point.score.value for point in points]
        for at, point in zip(x, points, strict=True):
            if point.score.low is not None and point.score.high is not None:
                axes.plot(
                    [at, at], [point.score.low, point.score.high], color=colour, alpha=0.55, linewidth=1.6, zorder=2
                )
        style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": _DASHES[number // len(_COLOURS)]}
        axes.plot(x, y, linewidth=1.8, markersize=6, markeredgecolor="white", markeredgewidth=0.8, zorder=3, **style)
        ends.append((x[-1], y[-1], "\n".join(textwrap.wrap(method, _LETTERS)), style))
    axes.set_xscale("log")
    shown = _apart(sizes)
    axes.set_xticks(shown, [f"{size:,}" for size in shown])
    axes.set_xticks([], minor=True)
    edge = max((sizes[-1] / sizes[0]) ** 0.03, 1.1) * math.exp(spread * (len(methods) - 1) / 2)
    axes.set_xlim(sizes[0] / edge, sizes[-1] * edge)
    axes.set_xlabel("Real records with a label (log scale)")
    axes.set_ylabel(score)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    _head(figure, title, note)
    # Long numbers beside the axis push its name out to the left.
    box = axes.get_tightbbox()
    cut_off = 14 - box.x0 if box is not None else 0
    if cut_off > 0:
        figure.subplots_adjust(left=(110 + cut_off) / _WIDTH)
    _label_ends(figure, axes, ends)
    return figure


def _draw_lines(rows: list[Line], title: str, score: str, difference: str, note: str) -> Figure:
    groups = list(dict.fromkeys(row.group for row in rows))
    headed = groups != [""]
    called = {row.method: textwrap.wrap(row.method, _LETTERS + 10) for row in rows}
    step = 24 + 22 * max(len(parts) for parts in called.values())
    height = max(_HEIGHT, 230 + step * (len(rows) + headed * len(groups)))
    figure, (left, right) = _figure(height, 2)
    places, names, heads, y = [], [], [], 0.0
    for group in groups:
        if headed:
            heads.append((y, group))
            y += 1
        for row in (row for row in rows if row.group == group):
            places.append((y, row))
            names.append("\n".join(called[row.method]))
            y += 1
    for at, row in places:
        _dot(left, at, row.score, _INK, "o", True)
        if row.difference is not None:
            _dot(right, at, row.difference, *_difference_style(row.difference))
    for axes, label in ((left, score), (right, difference)):
        axes.set_ylim(y - 0.4, -0.6)
        axes.set_xlabel("\n".join(textwrap.wrap(label, 26)))
        axes.grid(axis="x", color=_GRID, linewidth=0.8)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
        axes.locator_params(axis="x", nbins=3)
    right.axvline(0.0, color=_FAINT, linewidth=1.4, zorder=1.5)
    left.set_yticks([at for at, _ in places], names, color=_INK)
    right.set_yticks([at for at, _ in places], [_difference_text(row.difference) for _, row in places], color=_INK)
    right.yaxis.tick_right()
    right.tick_params(axis="y", length=0)
    _head(figure, title, note)
    _fit(figure, left, right)
    for at, group in heads:
        if at > 0:
            left.axhline(at - 0.55, color=_GRID, linewidth=0.8)
            right.axhline(at - 0.55, color=_GRID, linewidth=0.8)
        figure.text(0.02, 0.0, group, fontweight="bold", va="center", transform=_across(figure, left, at))
    return figure


def _dot(axes: Axes, y: float, shown: Estimate, colour: str, marker: str, filled: bool) -> None:
    if shown.low is not None and shown.high is not None:
        axes.plot([shown.low, shown.high], [y, y], color=colour, linewidth=2.0, solid_capstyle="butt", zorder=2)
    style: dict[str, Any] = {"color": colour, "markerfacecolor": colour if filled else "white"}
    axes.plot([shown.value], [y], marker, markersize=7, markeredgewidth=1.6, zorder=3, **style)


def _difference_style(difference: Estimate) -> tuple[str, str, bool]:
    """Return the colour, the marker, and whether it is filled: where the interval excludes 0."""
    above, below = (difference.low or 0) > 0, (difference.high or 0) < 0
    colour = _COLOURS[0] if above else _COLOURS[1] if below else _FAINT
    return colour, "^" if above else "v" if below else "o", above or below


def _difference_text(difference: Estimate | None) -> str:
    if difference is None:
        return "reference"
    numbers = (difference.value, difference.low, difference.high)
    value, low, high = (f"{number:+.3f}".replace("-", "\u2212") for number in numbers)
    return f"{value}  [{low}, {high}]"


# Where it stands.


def _figure(height: int, panels: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH / _DOTS_PER_INCH, height / _DOTS_PER_INCH), dpi=_DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, panels, number + 1) for number in range(panels)]
    figure.subplots_adjust(left=110 / _WIDTH, right=0.97, top=1 - 100 / height, bottom=125 / height)
    return figure, axes


def _head(figure: Figure, title: str, note: str) -> None:
    height = figure.get_size_inches()[1] * _DOTS_PER_INCH
    figure.text(0.02, 1 - 26 / height, "\n".join(textwrap.wrap(title, 64)), fontsize=13, fontweight="bold", va="top")
    figure.text(0.02, 14 / height, "\n".join(textwrap.wrap(note, 120)), fontsize=8, color=_FAINT, va="bottom")


def _width(figure: Figure, texts: Sequence[str], size: float | None = None) -> tuple[float, list[float]]:
    """Return the width of the widest text and the height of each, in pixels."""
    boxes = []
    for text in texts:
        drawn = figure.text(0, 0, text, fontsize=size)
        boxes.append(drawn.get_window_extent())
        drawn.remove()
    return max(box.width for box in boxes), [box.height for box in boxes]


def _label_ends(figure: Figure, axes: Axes, ends: list[tuple[float, float, str, dict[str, Any]]]) -> None:
    """Name each curve at the right, at the height of its end or as near as the other names allow."""
    from matplotlib.lines import Line2D

    size, gap = 9.5, 7.0
    texts = [text for _, _, text, _ in ends]
    room = axes.get_window_extent().height
    wide, heights = _width(figure, texts, size)
    while sum(heights) + gap * len(heights) > room and size > 5:
        size -= 0.5
        wide, heights = _width(figure, texts, size)
    figure.subplots_adjust(right=max(0.5, 1 - (wide + 100) / _WIDTH))
    box = axes.get_window_extent()
    points = [axes.transData.transform((x, y)) for x, y, _, _ in ends]
    centres = _spread([float(y) for _, y in points], [height + gap for height in heights], box.y0, box.y1)
    for (x, y), centre, (_, _, text, style) in zip(points, centres, ends, strict=True):
        leader = [(x + 7, y), (box.x1 + 14, centre), (box.x1 + 24, centre)]
        key = [(box.x1 + 26, centre), (box.x1 + 44, centre), (box.x1 + 62, centre)]
        thin = {"color": style["color"], "linewidth": 0.8, "alpha": 0.5}
        bold = {**style, "linewidth": 1.8, "markersize": 6, "markevery": [1], "markeredgecolor": "white"}
        for path, drawn in ((leader, thin), (key, bold)):
            figure.add_artist(Line2D(*zip(*path, strict=True), transform=None, **drawn))
        figure.text(box.x1 + 70, centre, text, fontsize=size, va="center", transform=None, linespacing=1.1)


def _spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Return centres of labels near those wanted, so that none overlap and all stay between the edges."""
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    stacks: list[tuple[list[int], float]] = []
    for number in order:
        stacks.append(([number], _start([number], wanted, heights, low, high)))
        while len(stacks) > 1:
            (below, start), (above, bottom) = stacks[-2:]
            if start + sum(heights[item] for item in below) <= bottom:
                break
            stacks[-2:] = [(below + above, _start(below + above, wanted, heights, low, high))]
    centres = [0.0] * len(wanted)
    for members, start in stacks:
        for item in members:
            centres[item] = start + heights[item] / 2
            start += heights[item]
    return centres


def _start(members: list[int], wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> float:
    """Return where a stack of labels begins: each as near as can be to where it is wanted, on average."""
    total, offset = 0.0, 0.0
    for item in members:
        offset += wanted[item] - total - heights[item] / 2
        total += heights[item]
    return max(low, min(offset / len(members), high - total))


def _fit(figure: Figure, left: Axes, right: Axes) -> None:
    """Give the names at both sides the room that they take, and the panels the rest."""
    before, _ = _width(figure, [label.get_text() for label in left.get_yticklabels()])
    after, _ = _width(figure, [label.get_text() for label in right.get_yticklabels()])
    start, end = (before + 60) / _WIDTH, 1 - (after + 45) / _WIDTH
    figure.subplots_adjust(left=min(start, 0.45), right=max(end, 0.6), wspace=0.12)


def _across(figure: Figure, axes: Axes, y: float) -> Any:
    """Return a transformation: x of the figure, and the height of y of the axes."""
    from matplotlib.transforms import Affine2D, blended_transform_factory

    return blended_transform_factory(figure.transFigure, Affine2D().translate(0, y) + axes.transData)


def _apart(sizes: list[int]) -> list[int]:
    """Return the sizes that are labelled: those far enough from the next one, in the logarithm."""
    least = 0.055 * math.log(max(sizes[-1] / sizes[0], 2))
    shown = [sizes[-1]]
    for size in reversed(sizes[:-1]):
        if math.log(shown[-1] / size) >= least:
            shown.append(size)
    return shown[::-1]


# Where it goes.


def _write(files: list[Path], draw: Callable[[], Figure]) -> list[Path]:
    """Draw a chart once for each file, then put all of them in place."""
    _require_matplotlib()
    from matplotlib import rc_context, rcdefaults, rcParams

    drawn = []
    with rc_context():
        # What a user has set for other figures is not for these.
        rcdefaults()
        rcParams.update(_SETTINGS)
        for file in files:
            kind, buffer = file.suffix[1:].lower(), io.BytesIO()
            # No date and no version: the same rows are the same bytes.
            left_out = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
            draw().savefig(buffer, format=kind, dpi=_DOTS_PER_INCH, metadata=left_out, facecolor="white")
            drawn.append(buffer.getvalue())
    for file, content in zip(files, drawn, strict=True):
        _put(file, content)
    return files


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401 whether it is there
    except ImportError as error:
        raise UsageError(
            "Charts need a package that is not installed: pip install 'synalign[charts]'. Nothing was written."
        ) from error


def _put(file: Path, content: bytes) -> None:
    """Put a file in the place of another in one step."""
    partial = file.with_name(file.name + ".partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, file)
    except OSError as error:
        with suppress(OSError):  # What stands in the way is said below.
            partial.unlink(missing_ok=True)
        raise StoreError(f"{file} cannot be written: {error}. What was there is unchanged.") from error
