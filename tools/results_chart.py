"""Draws docs/results.svg, the picture of the README, from benchmarks/RESULTS.md. Run by `make docs`; a test says when
it is out of date. The SVG is written as text, so that the same results give the same bytes on every machine."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "docs" / "results.svg"

#: What RESULTS.md calls the pairs and the embedders, and how the picture does.
PAIRS = {
    "tweet_sentiment/synthetic_gpt4": "tweets, GPT-4",
    "tweet_sentiment/synthetic": "tweets, GPT-3.5",
    "sst2/synthetic_fewgen": "film reviews, FewGen",
    "sst2/synthetic_supergen": "film reviews, SuperGen",
}
EMBEDDERS = {"all-MiniLM-L6-v2": "sentence encoder (all-MiniLM-L6-v2)", "builtin/lsa": "default embedder (builtin/lsa)"}
#: The rows that are drawn, with their colours (distinct also to the colour-blind, after Okabe and Ito).
METHODS = {
    "synthetic": ("synthetic alone, as written", "#D55E00"),
    "weighted": ("synthetic alone, weighted", "#E69F00"),
    "real+synthetic": ("real + synthetic, as written", "#56B4E9"),
    "real+weighted": ("real + synthetic, weighted", "#0072B2"),
}

_LOWEST, _HIGHEST = -6, 10
_LEFT, _PANEL, _GAP, _TOP, _ROW, _STEP = 150, 274, 36, 96, 78, 15


@dataclass(frozen=True)
class Gain:
    """Accuracy over real records alone, in points, with half of its 95% interval."""

    mean: float
    half: float


def sections(text: str) -> dict[tuple[str, str], dict[str, list[str]]]:
    """Return the cells of each table of RESULTS.md by (pair, embedder) and what was trained on."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        pair, embedder = (*title.split(", "), "")[:2]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"]
        if pair in PAIRS and embedder in EMBEDDERS:
            found[pair, embedder] = {row[0]: row[1:] for row in rows[2:]}
    return found


def picture(text: str) -> str:
    """Return the SVG for the text of RESULTS.md."""
    tables = sections(text)
    height = _TOP + _ROW * len(PAIRS) + 48
    width = _LEFT + len(EMBEDDERS) * (_PANEL + _GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="12" y="24" font-size="15" font-weight="bold">Points of accuracy over 300 real records alone</text>',
    ]
    for place, (label, colour) in enumerate(METHODS.values()):
        x = 16 + place % 4 * 185
        lines.append(f'<circle cx="{x}" cy="47" r="4.5" fill="{colour}"/><text x="{x + 10}" y="51">{label}</text>')
    for row, name in enumerate(PAIRS.values()):
        middle = _TOP + _ROW * row + _ROW / 2
        lines.append(f'<text x="{_LEFT - 12}" y="{middle + 4:g}" text-anchor="end">{name}</text>')
    for column, (embedder, label) in enumerate(EMBEDDERS.items()):
        lines += _panel(_LEFT + column * (_PANEL + _GAP), label, [tables[pair, embedder] for pair in PAIRS])
    note = (
        "Mean of ten draws with 95% intervals; 5,000 synthetic records; logistic regression. See benchmarks/RESULTS.md."
    )
    lines += [f'<text x="12" y="{height - 10}" fill="#666" font-size="11">{note}</text>', "</svg>", ""]
    return "\n".join(lines)


def _panel(left: float, label: str, tables: list[dict[str, list[str]]]) -> list[str]:
    bottom = _TOP + _ROW * len(tables)
    lines = [f'<text x="{left + _PANEL / 2:g}" y="{_TOP - 14}" text-anchor="middle" font-weight="bold">{label}</text>']
    for tick in range(_LOWEST, _HIGHEST + 1, 2):
        x = _across(left, tick)
        stroke = "#444" if tick == 0 else "#ddd"
        lines.append(f'<line x1="{x:g}" x2="{x:g}" y1="{_TOP}" y2="{bottom}" stroke="{stroke}"/>')
        number = f"{tick:+d}" if tick else "0"
        lines.append(f'<text x="{x:g}" y="{bottom + 16}" text-anchor="middle" fill="#666">{number}</text>')
    for row, table in enumerate(tables):
        for place, (method, (_, colour)) in enumerate(METHODS.items()):
            shown = gain(table[method][1])
            y = _TOP + _ROW * row + _ROW / 2 + (place - (len(METHODS) - 1) / 2) * _STEP
            low, high = _across(left, shown.mean - shown.half), _across(left, shown.mean + shown.half)
            lines.append(
                f'<line x1="{low:g}" x2="{high:g}" y1="{y:g}" y2="{y:g}" stroke="{colour}" stroke-width="2"/>'
                f'<circle cx="{_across(left, shown.mean):g}" cy="{y:g}" r="4.5" fill="{colour}"/>'
            )
    return lines


def gain(cell: str) -> Gain:
    """Read a cell such as "+2.4 ± 0.5"."""
    mean, _, half = cell.partition(" ± ")
    return Gain(float(mean), float(half))


def _across(left: float, points: float) -> float:
    return round(left + (points - _LOWEST) / (_HIGHEST - _LOWEST) * _PANEL, 2)


def table(text: str) -> str:
    """Return the README's table of results: accuracy in percent, with half of its 95% interval."""
    tables = sections(text)
    heads = ["data, embedder", "real alone", "synthetic alone", "weighted alone", "real + synthetic", "real + weighted"]
    lines = ["| " + " | ".join([*heads, "over real alone"]) + " |", "| --- " * 7 + "|"]
    for embedder, short in (("all-MiniLM-L6-v2", "encoder"), ("builtin/lsa", "default")):
        for pair, name in PAIRS.items():
            rows = tables[pair, embedder]
            cells = [rows[method][0].strip("*") for method in ("real", *METHODS)]
            lines.append("| " + " | ".join([f"{name}, {short}", *cells, rows["real+weighted"][1]]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PLACE.write_text(picture((ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PLACE.name} is written.\n")
