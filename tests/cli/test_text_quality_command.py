"""The verb text-quality: its table, JSON and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.inside import cli
from tests.steps.workspaces import FIXED, corpus, make, unpublished


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = corpus()
    with unpublished():
        workspace = make(tmp_path_factory.mktemp("texts") / "w", frame.head(80), frame.tail(80))
        workspace.align(**FIXED)
    return workspace.path


def test_the_table_has_three_sides_in_four_parts(ws: Path) -> None:
    done = cli("text-quality", ws)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("text_quality ")
    assert lines[1].split() == ["real", "raw", "weighted", "nearer", "to", "real"]
    assert [line.strip() for line in lines if line and not line.startswith(" ")][1:] == [
        "diversity", "form", "nearness", "leakage",
    ]  # fmt: skip
    (mauve,) = [line for line in lines if line.startswith("  MAUVE")]
    assert mauve.count("±") == 3
    assert mauve.split()[-1].strip("()") in ("raw", "weighted", "same")
    (copied,) = [line for line in lines if line.startswith("  copies of real text")]
    assert copied.count("%") == 3
    assert "± is half of a 95% interval" in done.stderr
    assert "nothing to do" in cli("text-quality", ws).stdout


def test_json_has_the_outcome_and_every_figure(ws: Path) -> None:
    done = cli("text-quality", ws, "--sample", "40", "--seed", "3", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["step"] == "text_quality"
    assert found["counts"]["texts"] <= 40
    by_name = {row["metric"]: row for row in found["figures"]}
    assert by_name["mauve"]["real_low"] <= by_name["mauve"]["real"] <= by_name["mauve"]["real_high"]
    assert {row["run_id"] for row in found["figures"]} == {found["run_id"]}


def test_weights_that_move_away_are_named(ws: Path) -> None:
    from synalign.cli.evaluation import _sentences

    row = {"figure": "self-BLEU", "better": "raw", "is_clear": True}
    assert _sentences([row])[0] == "The weights move the text away from real text in: self-BLEU."
    assert len(_sentences([row | {"is_clear": False}])) == 1
    assert len(_sentences([row | {"better": "weighted"}])) == 1


def test_wrong_options_end_with_2(ws: Path) -> None:
    for options, said in ((("--weight-set", "none"), "no weight set 'none'"), (("--sample", "3"), "sample must be")):
        done = cli("text-quality", ws, *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in " ".join(done.stderr.split())
