"""The README is short, its figures are those of benchmarks/RESULTS.md, and it names the commands that CI relies on. Its
code is run with that of the other pages, in tests/docs/test_pages.py."""

from __future__ import annotations

from pathlib import Path

from tools import results_chart

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 1200


def test_its_commands_are_named() -> None:
    for command in ("pip install synalign", "make demo ", "make test "):
        assert f"\n{command}" in README


def test_the_table_holds_the_results() -> None:
    assert results_chart.table(RESULTS) in README


def test_the_picture_is_drawn_from_the_results() -> None:
    drawn = results_chart.picture(RESULTS)
    assert results_chart.PLACE.read_text(encoding="utf-8") == drawn, "docs/results.svg is out of date: run `make docs`"
    assert len(drawn) < 150_000
    # Four ways to train on each of four pairs with two embedders, and a dot for each in the legend.
    assert drawn.count("<circle") == 4 * 4 * 2 + 4


def test_what_the_readme_says_of_the_results_follows_from_them() -> None:
    tables = results_chart.sections(RESULTS).values()
    assert len(tables) == 8
    over_real = [results_chart.gain(rows["real+weighted"][1]) for rows in tables]
    assert all(gain.mean - gain.half > 0 for gain in over_real)
    assert (min(gain.mean for gain in over_real), max(gain.mean for gain in over_real)) == (1.8, 7.5)
    over_mix = [results_chart.gain(rows["real+weighted"][2]) for rows in tables]
    assert all(abs(gain.mean) <= 0.1 and abs(gain.mean) <= gain.half + 0.05 for gain in over_mix)
    rise = [float(rows["weighted"][0].strip("*")[:4]) - float(rows["synthetic"][0][:4]) for rows in tables]
    assert (round(min(rise), 1), round(max(rise), 1)) == (0.4, 4.5)
