"""evaluate and learning-curve on the command line: the table, its files, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import synalign as sa
from tests.cli import inside

ROWS = ("--method", "real", "--method", "real+synthetic")


@pytest.fixture(scope="module")
def root(filled: sa.Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished workspace, evaluated. Tests may evaluate it again."""
    path = tmp_path_factory.mktemp("evaluated") / "workspace"
    shutil.copytree(filled.path, path)
    done = inside.cli("evaluate", path, "--seeds", "2", *ROWS)
    assert done.returncode == 0, done.stderr
    return path


def test_the_table_is_printed_also_when_there_is_nothing_to_do(root: Path, tmp_path: Path) -> None:
    done = inside.cli("evaluate", root, "--seeds", "2", *ROWS, "--markdown", tmp_path / "table.md")
    assert done.stdout.startswith("evaluate nothing to do")
    first = (tmp_path / "table.md").read_text().splitlines()
    assert first[0].startswith("| trained on | accuracy % | over the plain mix | over real alone |")
    assert {line.split(" | ")[0] for line in first[2:]} == {"| real", "| real+synthetic"}
    for line in first[2:]:
        assert line.split(" | ")[1] in done.stdout


def test_json_has_the_outcome_and_the_table(root: Path) -> None:
    done = inside.cli("evaluate", root, "--seeds", "2", *ROWS, "--json")
    found = json.loads(done.stdout)
    assert found["step"] == "evaluate"
    assert {row["method"] for row in found["table"]} == {"real", "real+synthetic"}
    assert all(row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] for row in found["table"])


def test_charts_are_drawn(root: Path, tmp_path: Path) -> None:
    done = inside.cli("evaluate", root, "--seeds", "2", *ROWS, "--chart", tmp_path / "ablation.svg")
    assert done.returncode == 0, done.stderr
    assert "real+synthetic" in (tmp_path / "ablation.svg").read_text()
    done = inside.cli("learning-curve", root, "--size", "20", "--seeds", "2", "--chart", tmp_path / "curve")
    assert done.returncode == 0, done.stderr
    assert "worth, in real records" in done.stdout
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "Test accuracy" in (tmp_path / "curve.svg").read_text()


def test_a_chart_that_cannot_be_drawn_is_refused_before_anything_is_trained(root: Path, tmp_path: Path) -> None:
    done = inside.cli("evaluate", root, "--seeds", "3", *ROWS, "--chart", tmp_path / "chart.pdf")
    assert done.returncode == 2
    assert ".png" in done.stderr
    assert sa.open(root).sql("select count(distinct seed) from evaluations").fetchall() == [(2,)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "reel"], "There is no method 'reel'; methods are real, synthetic, "),
        (["--set", "penalty"], "--set takes NAME=VALUE"),
        (["--model", "logistics"], "'logistic'"),
        (["--seeds", "1"], "seeds"),
        (["--real", "100000"], "leave the number out"),
    ],
)
def test_wrong_arguments_are_named(root: Path, arguments: list[str], said: str) -> None:
    done = inside.cli("evaluate", root, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
