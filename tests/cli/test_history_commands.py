"""The verbs runs, diff, explain, tag and gc --superseded, by the command line's own main function in this process."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

import synalign as sa
from tests.cli.inside import cli
from tests.cli.test_weights_commands import bad, data, good


@pytest.fixture(scope="module")
def ws(filled: sa.Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished workspace, with a second set of weights and two tags."""
    path = tmp_path_factory.mktemp("history") / "workspace"
    shutil.copytree(filled.path, path)
    data("tag", path, "first", "--note", "as delivered")
    good("align", path, "--strength", "0.1", "--features", "64", "--label-shares", "real", "--weight-set", "second")
    data("tag", path, "second")
    return path


def test_runs_are_listed_for_people_and_for_scripts(ws: Path) -> None:
    shown = good("runs", ws)
    lines = shown.splitlines()
    assert "finished (UTC)" in lines[0]
    assert [line for line in lines if "│ ingest " in line]
    assert [line for line in lines if "│ measure " in line and "first" in line]
    listed = data("runs", ws, "--step", "align")
    assert [run["is_current"] for run in listed] == [False, True]
    rows = list(csv.DictReader(io.StringIO(good("runs", ws, "--csv"))))
    assert [row["step"] for row in rows][:2] == ["ingest", "embedder"]


def test_states_are_compared(ws: Path) -> None:
    rows = {(row["topic"], row["name"]): row for row in data("diff", ws, "first", "second")}
    assert rows["align parameters", "weight_set"]["after"] == '"second"'
    assert float(rows["weights moved (total variation)", "*"]["after"]) > 0
    assert "align parameters" in good("diff", ws, "first")
    nothing = cli("diff", ws, "second", "second")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "Nothing differs.\n")
    assert "There is no run, tag or time 'third'" in bad(2, "diff", ws, "third")


def test_a_record_is_explained(ws: Path) -> None:
    record = sa.open(ws).sql("select id, text from synthetic_weighted order by id limit 1").fetchall()[0]
    shown = good("explain", ws, record[0])
    assert record[1] in shown
    headings = [line.split(" (")[0] for line in shown.splitlines() if line and not line.startswith(" ")]
    assert {"record", "weights", "checks", "attributes", "selections", "demonstrations", "call"} <= set(headings)
    found = data("explain", ws, record[0][:14], "--origin", "synthetic")
    assert {row["weight_set"] for row in found["weights"]} == {"default", "second"}
    assert found["call"][0]["reply"]
    assert "There is no real or synthetic record 'nope'" in bad(2, "explain", ws, "nope")


def test_tags_are_listed_and_taken_away(ws: Path) -> None:
    assert [row["name"] for row in data("tag", ws)] == ["first", "second"]
    assert "as delivered" in good("tag", ws)
    assert "is the state after run" in cli("tag", ws, "third", "--at", "first").stderr
    assert data("diff", ws, "first", "third") == []
    assert "The tag third is taken away." in cli("tag", ws, "third", "--delete").stderr
    assert "There is no tag 'third'. There are: first, second." in bad(2, "tag", ws, "third", "--delete")
    assert "Name the tag that is meant" in bad(2, "tag", ws, "--delete")
    assert "cannot be a tag" in bad(2, "tag", ws, "two words")


def test_gc_drops_what_nothing_needs_and_says_how_much(ws: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy"
    shutil.copytree(ws, path)
    assert data("gc", path, "--superseded")["runs"] == 0  # two sets, both current under their names
    data("tag", path, "first", "--delete")
    good("align", path, "--strength", "0.2", "--features", "64", "--label-shares", "real", "--weight-set", "second")
    assert data("gc", path, "--superseded")["runs"] == 0  # tagged
    data("tag", path, "second", "--delete")
    dropped = json.loads(good("gc", path, "--superseded", "--json"))
    assert dropped["runs"] == 2  # an alignment and what measured it
    assert [run["is_current"] for run in data("runs", path, "--step", "align")] == [False, True]
