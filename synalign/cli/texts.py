"""The command that compares texts."""

from __future__ import annotations

from typing import Any

from synalign.cli.steps import step
from synalign.workspace import Workspace

_SIDES = ("real", "raw", "weighted")

#: Figures that are a share are shown in per cent.
_SHARES = (
    "distinct_1", "distinct_2", "distinct_3", "punctuation_rate", "uppercase_rate", "digit_rate", "emoji_rate",
    "url_rate", "vocabulary_jaccard", "vocabulary_known", "vocabulary_covered", "copied", "near_duplicate", "test_copy",
    "personal", "personal_real",
)  # fmt: skip


def _show(workspace: Workspace, outcome: Any, as_json: bool) -> None:
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


text_quality = step("text-quality", show=_show)
