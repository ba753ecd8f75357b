"""The verbs ab and experiment, by the command line's own main function in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.inside import cli
from tests.steps import ranked
from tests.steps.evaluation.test_experiment import log
from tests.steps.workspaces import unpublished


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory):
    with unpublished():
        folder = tmp_path_factory.mktemp("experiments")
        workspace = ranked.workspace(folder / "w", queries=300)
        ranked.rank(workspace, {"good": 2.5, "bad": 1.0})
        log().write_parquet(folder / "log.parquet")
        yield workspace.path


def test_ab_says_who_wins_in_a_paragraph(ws: Path) -> None:
    done = cli("ab", ws, "good", "bad", "--min-lift", "0.1", "--passes", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("good wins ")
    assert "good is better, which was clear after " in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr.startswith("note: every query was asked about 2 times")
    again = cli("ab", ws, "good", "bad", "--min-lift", "0.1", "--passes", "2", "--json")
    found = json.loads(again.stdout)
    assert (found["reused"], found["counts"]["decision"], found["counts"]["passes"]) == (True, "A is better", 2)
    assert found["summary"] + "\n" == done.stdout


def test_ab_takes_its_settings_as_options(ws: Path) -> None:
    options = (
        *("--queries", "test", "--click-model", "perfect", "--depth", "5", "--shared", "--alpha", "0.01"),
        *("--power", "0.9", "--min-lift", "0.05", "--seed", "9"),
    )
    counts = json.loads(cli("ab", ws, "bad", "good", *options, "--json").stdout)["counts"]
    expected = {"click_model": "perfect", "depth": 5, "shared": True, "alpha": 0.01, "power": 0.9, "lift": 0.05}
    assert {name: counts[name] for name in expected} == expected
    wrong = cli("ab", ws, "good", "best")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "No rankings are called 'best'; there are: bad, good." in " ".join(wrong.stderr.split())


def test_experiment_says_what_a_log_holds(ws: Path) -> None:
    source = ws.parent / "log.parquet"
    done = cli("experiment", ws, source, "--metric", "ctr=clicks/impressions", "--metric", "orders")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition(" against")[0] for line in done.stdout.splitlines()] == ["ctr, B", "orders, B"]
    as_json = cli("experiment", ws, source, "--metric", "ctr=clicks/impressions", "--metric", "orders", "--json")
    found = json.loads(as_json.stdout)
    assert found["reused"]
    assert found["summary"] + "\n" == done.stdout
    assert [row["metric"] for row in found["metrics"]] == ["ctr", "orders"]
    assert (found["metrics"][0]["counted"], found["metrics"][0]["divided_by"]) == ("clicks", "impressions")


def test_experiment_takes_its_settings_as_options(ws: Path) -> None:
    options = (
        *("--metric", "c", "--query", "select user_id as u, arm as v, clicks as c, happened from log"),
        *("--user", "u", "--arm", "v", "--control", "B", "--alpha", "0.1", "--correction", "bh", "--time", "happened"),
        *("--share", "A=0.8", "--share", "B=0.2", "--crossed", "drop"),
    )
    done = cli("experiment", ws, ws.parent / "log.parquet", *options)
    assert done.returncode == 0
    assert done.stderr.startswith("note: sample ratio mismatch")
    (row,) = json.loads(cli("experiment", ws, ws.parent / "log.parquet", *options, "--json").stdout)["metrics"]
    assert (row["arm"], row["control"], row["alpha"], row["correction"]) == ("A", "B", 0.1, "bh")
    assert row["first_event"].startswith("2026-01-01")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "at least one metric"),
        (("--metric", "ctr="), "COLUMN/COLUMN"),
        (("--metric", "clicks", "--metric", "clicks=orders"), "'clicks' twice"),
        (("--metric", "clicks", "--share", "A"), "ARM=SHARE"),
        (("--metric", "clicks", "--experiment", "x"), "no column 'experiment'"),
        (("--metric", "views"), "no column 'views'"),
    ],
)
def test_wrong_options_end_with_2(ws: Path, options: tuple[str, ...], said: str) -> None:
    done = cli("experiment", ws, ws.parent / "log.parquet", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())
