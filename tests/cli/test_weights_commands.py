"""The verbs align, score, weights and check: options, JSON and exit codes, by the command line's own main function in
this process. That commands work in processes of their own is shown in test_command_line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import synalign as sa
from tests.cli.inside import cli
from tests.steps.workspaces import corpus, make, one

ALIGN = ("--strength", "0.01", "--features", "64", "--no-quality", "--label-shares", "real")


def good(*arguments: str | Path) -> str:
    done = cli(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def data(*arguments: str | Path) -> Any:
    return json.loads(good(*arguments, "--json"))


def bad(status: int, *arguments: str | Path) -> str:
    done = cli(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets: default, pulled, and flat, not pulled and current."""
    texts = corpus()
    workspace = make(tmp_path_factory.mktemp("weights") / "w", texts.head(80), texts.tail(80))
    workspace.align(strength=1e-2, features=64, quality=False, label_shares="real")
    workspace.align(strength="none", features=64, quality=False, label_shares="kept", weight_set="flat")
    return workspace.path


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def test_align_takes_its_settings_as_options(ws: Path) -> None:
    options = (
        *("--strength", "0.02", "--features", "32", "--bandwidth", "0.5", "--bandwidth", "2", "--match", "channel"),
        *("--no-by-label", "--label-shares", "real", "--max-weight-ratio", "5", "--min-effective-share", "0.3"),
        *("--duplicates", "0.99", "--weight-set", "many", "--device", "cpu"),
    )
    counts = data("align", ws, *options)["counts"]
    assert (counts["weight_set"], counts["strength"], counts["strata"]) == ("many", 0.02, 4)
    found = json.loads(one(sa.open(ws), "select parameters from runs join current_runs using (run_id, step) "
        "where step = 'align'"))  # fmt: skip
    assert found["bandwidths"] == [0.5, 2.0]
    assert (found["max_weight_ratio"], found["min_effective_share"], found["duplicates"]) == (5.0, 0.3, 0.99)
    good("weights", ws, "--use", "flat")


def test_label_shares_are_read_from_one_option(ws: Path) -> None:
    given = "account=1,defect=1,delivery=0,praise=1,refund=1"
    found = data("align", ws, *ALIGN[:5], "--label-shares", given, "--weight-set", "given")
    assert found["counts"]["label_shares"] == "given"
    query = "select label, sum(weight) as w from synthetic_weighted group by label order by label"
    assert [round(row["w"], 6) for row in data("sql", ws, query)] == [0.25, 0.25, 0, 0.25, 0.25]
    good("weights", ws, "--use", "flat")
    assert "label=share,label=share" in bad(2, "align", ws, "--label-shares", "account=much")


def test_wrong_options_end_with_2(ws: Path) -> None:
    assert "strength" in bad(2, "align", ws, "--strength", "nan")
    assert "no column 'colour'" in bad(2, "align", ws, "--match", "colour")
    assert "There are: " in bad(2, "weights", ws, "--use", "none")
    assert "no weight set 'none'" in bad(2, "score", ws, "--weight-set", "none")
    assert "--into" in bad(2, "score", ws, "--weight-set", "default", "--into", "default")
    assert "max_auc must be at least 0.5 and at most 1" in bad(2, "check", ws, "--max-auc", "0.2")


def test_weights_lists_the_sets_and_goes_to_one(ws: Path) -> None:
    listed = {row["weight_set"]: row["is_current"] for row in data("weights", ws)}
    assert listed["flat"]
    assert not listed["default"]
    assert "default" in good("weights", ws)
    assert data("weights", ws, "--use", "default")["counts"]["weight_set"] == "default"
    assert "already" in good("weights", ws, "--use", "default")
    good("weights", ws, "--use", "flat")


def test_numbers_that_json_lacks_are_null(ws: Path) -> None:
    query = "select distinct strength, 'nan'::float as n from alignment_summary where weight_set = 'flat'"
    text = good("sql", ws, query, "--json")
    assert json.loads(text, parse_constant=refuse) == [{"strength": None, "n": None}]
    assert one(sa.open(ws), "select max(strength) from alignments") == math.inf


def test_score_makes_a_set_of_its_own(ws: Path) -> None:
    found = data("score", ws, "--weight-set", "default", "--into", "more")
    assert (found["counts"]["weight_set"], found["counts"]["new"]) == ("more", 0)
    good("weights", ws, "--use", "flat")


def test_check_ends_with_0_if_limits_are_kept_and_with_1_and_the_reasons_if_not(ws: Path) -> None:
    passed = cli("check", ws, "--min-ess", "0.9")
    assert (passed.returncode, passed.stderr) == (0, "passed.\n")
    assert "effective_share" in passed.stdout
    failed = cli("check", ws, "--min-ess", "0.99", "--max-mmd-ratio", "0", "--weight-set", "default")
    assert failed.returncode == 1
    assert [line.partition(" is ")[0] for line in failed.stderr.splitlines()] == [
        "failed: held-out MMD^2 over the floor",
        "failed: the effective share",
    ]
    assert "Traceback" not in failed.stderr
    as_json = cli("check", ws, "--min-ess", "0.99", "--weight-set", "default", "--json")
    assert as_json.returncode == 1
    found = json.loads(as_json.stdout, parse_constant=refuse)
    assert (found["passed"], found["weight_set"], len(found["reasons"])) == (False, "default", 1)
    assert found["effective_share"] < 0.99
