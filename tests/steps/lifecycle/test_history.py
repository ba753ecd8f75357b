"""Earlier states of a workspace: each is shown again as it was seen then, by run, by time and by tag."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import synalign as sa
from synalign.errors import NotReadyError, UsageError
from synalign.reader import Reader
from synalign.store.sql import statements
from tests.steps.workspaces import copy, corpus

Shown = dict[str, list[str]]
#: What is looked at: all that is stored, and views that join much of it. The others are made of these.
RELATIONS = [*(found.name for found in statements.load("base")), "synthetic_weighted", "selection_log", "lineage"]


def shown(reader: Reader) -> Shown:
    """All rows of these relations, one text each and sorted; sums of views to 12 digits, since threads add them."""

    def text(value: Any) -> Any:
        return f"{value:.12g}" if isinstance(value, float) else value

    with closing(reader.connect()) as connection:
        return {
            name: sorted(repr([text(value) for value in row]) for row in connection.sql(f"from {name}").fetchall())
            for name in RELATIONS
        }


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[sa.Workspace, list[tuple[str | None, datetime, Shown]]]:
    """A workspace with a past: after each verb its last run, where one finished last, the time, and all that was seen.
    Do not write to it."""
    workspace = sa.open(tmp_path_factory.mktemp("past") / "workspace")
    workspace.configure(sa.Config.model_validate({"seed": 3, "embed": {"dimensions": 16}}))
    frame = corpus()
    verbs: list[Callable[[], Any]] = [
        lambda: workspace.ingest(frame.head(60), label="label", test_share=0.2),
        lambda: workspace.cluster(k=5),
        lambda: workspace.select(budget=5),
        workspace.reason,
        lambda: workspace.generate(per_selection=4),
        lambda: workspace.align(features=64, strength=0.01),
        lambda: workspace.exclude("length(text) < 60", reason="short"),
        lambda: workspace.align(features=64, strength=0.1, weight_set="soft"),
        lambda: workspace.include("length(text) < 60"),
        lambda: workspace.use_weights("default"),
        lambda: (workspace.cluster(k=4), workspace.cluster(k=5)),
        lambda: (workspace.ingest(frame.slice(60, 20), label="label"), workspace.cluster(k=5)),
        lambda: workspace.annotate(sample=3),
    ]
    found = []
    for verb in verbs:
        verb()
        last = workspace._lake.read("runs", ["sequence", "run_id"]).sort_by("sequence")["run_id"][-1].as_py()
        newest = workspace.sql("select max(sequence) from run_order").fetchall()[0][0]
        finished = newest == max(workspace._lake.read("runs", ["sequence"])["sequence"].to_pylist())
        found.append((last if finished else None, datetime.now(UTC), shown(workspace)))
    return workspace, found


def test_every_state_is_shown_again_by_its_time_and_by_its_last_run(past):
    workspace, states = past
    assert len({str(state) for *_, state in states}) == len(states)
    for number, (run_id, time, state) in enumerate(states):
        again = shown(workspace.at(run_id or time))
        assert {name for name in state if state[name] != again[name]} == set(), (number, run_id)
    assert [run_id for run_id, *_ in states].count(None) == 2  # gone back to: no run finished last


def test_times_with_a_zone_and_texts_are_understood(past):
    workspace, states = past
    run_id, time, state = states[5]
    east = time.astimezone(timezone(timedelta(hours=5)))
    for reference in (east, east.isoformat(), time.replace(tzinfo=None).isoformat(), run_id[:12]):
        rows = workspace.at(reference).sql("select count(*) from weights").fetchall()
        assert rows == [(len(state["weights"]),)], reference


def test_a_snapshot_stays_as_it_is_and_can_be_sampled_and_exported(past, tmp_path: Path):
    workspace, states = past
    then = workspace.at(states[5][0])
    assert then.sample(30, seed=2)["copies"].sum() == 30
    assert then.sql("select distinct weight_set from synthetic_weighted").fetchall() == [("default",)]
    frame = pl.read_parquet(then.export(tmp_path / "then.parquet"))
    assert frame.height == then.sql("select count(*) from synthetic_weighted").fetchall()[0][0]
    mine = copy(workspace, tmp_path / "copy")
    snapshot = mine.at(states[5][0])
    before = shown(snapshot)
    mine.exclude("true")
    assert shown(snapshot) == before
    assert not mine.sql("from synthetic_weighted").fetchall()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nonsense", r"no run, tag or time 'nonsense'.*'synalign runs DIR'"),
        ("1999-01-01", r"nothing in the workspace at 1999-01-01 00:00:00 UTC: the first run finished at 20"),
        (datetime(1999, 1, 1), r"nothing in the workspace at 1999"),
        ("", r"no run, tag or time ''"),
    ],
)
def test_what_stands_for_no_state_is_refused(past, reference: str | datetime, message: str):
    with pytest.raises(UsageError, match=message):
        past[0].at(reference)


def test_an_ambiguous_beginning_of_a_run_id_is_refused(past, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("synalign.steps.lifecycle.history._RUN_ID", re.compile(r"[0-9a-f]{1,}"))
    ids = [row[0] for row in past[0].sql("select run_id from runs").fetchall()]
    twice = next(name[0] for name in ids if sum(other[0] == name[0] for other in ids) > 1)
    with pytest.raises(UsageError, match=rf"'{twice}' begins the ids of \d+ runs"):
        past[0].at(twice)


def test_tags_name_states_move_and_go(past, tmp_path: Path):
    workspace, states = past
    mine = copy(workspace, tmp_path / "copy")
    mine.tag("before", at=states[4][0], note="no weights yet")
    assert len(mine.at("before").sql("from synthetic").fetchall()) == len(states[4][2]["synthetic"])
    assert not mine.at("before").sql("from weights").fetchall()
    mine.tag("before", at=states[5][0])
    assert mine.at("before").sql("from weights").fetchall()
    mine.tag("now")
    assert sorted(mine.at("now").sql("from real").fetchall()) == sorted(mine.sql("from real").fetchall())
    assert [row[0] for row in mine.sql("select name from tags order by name").fetchall()] == ["before", "now"]
    mine.untag("before")
    with pytest.raises(UsageError, match=r"no run, tag or time 'before'.*a tag \(there are: now\)"):
        mine.at("before")
    with pytest.raises(UsageError, match=r"There is no tag 'before'\. There are: now\."):
        mine.untag("before")


@pytest.mark.parametrize("name", ["", "two words", "2026-01-01", "-x", "a/b", "x" * 65])
def test_a_tag_is_a_name(past, name: str):
    with pytest.raises(UsageError, match="cannot be a tag"):
        past[0].tag(name)


def test_nothing_can_be_tagged_in_an_empty_workspace(blank: Path):
    with pytest.raises(NotReadyError, match="no run to tag yet"):
        sa.open(blank).tag("v1")


def test_runs_are_listed_with_what_is_current_and_tagged(past, tmp_path: Path):
    workspace, states = past
    mine = copy(workspace, tmp_path / "copy")
    mine.tag("weighted", at=states[5][0])
    frame = mine.runs()
    assert frame["sequence"].to_list() == sorted(frame["sequence"])
    assert frame.filter(pl.col("tags").list.contains("weighted"))["run_id"].to_list() == [states[5][0]]
    aligned = mine.runs("align")
    assert aligned["is_current"].to_list() == [True, False]
    assert aligned["gone_back_to"].is_null().to_list() == [False, True]
    assert mine.runs("ingest")["is_current"].to_list() == [None, None]
    with pytest.raises(UsageError, match=r"no run of a step 'alin'\. There are runs of: ingest, embedder"):
        mine.runs("alin")
    assert sa.open(tmp_path / "empty").runs().height == 0


def differing(frame: pl.DataFrame) -> dict[tuple[str, str], tuple[str | None, str | None]]:
    return {(topic, name): (before, after) for topic, name, before, after, _ in frame.iter_rows()}


def test_a_difference_names_records_parameters_and_weights(past):
    workspace, states = past
    found = differing(workspace.diff(states[5][0], states[7][0]))
    short = int(dict(workspace.at(states[6][0]).sql("select 'n', count(*) from exclusions").fetchall())["n"])
    assert found["records", "excluded"] == (None, str(short))
    assert found["align parameters", "weight_set"] == ('"default"', '"soft"')
    assert found["align parameters", "strength"] == ("0.01", "0.1")
    query = "select id, weight from weights join current_runs using (run_id)"
    weights = [dict(workspace.at(states[place][0]).sql(query).fetchall()) for place in (5, 7)]
    moved = sum(abs(weights[0].get(name, 0) - weights[1].get(name, 0)) for name in set().union(*weights)) / 2
    assert float(found["weights moved (total variation)", "*"][1]) == pytest.approx(moved, rel=1e-5)
    assert not workspace.diff(states[5][0], states[5][1]).height
    ingested = differing(workspace.diff(states[10][1], states[11][1]))
    assert ingested["records", "real train"][1] == str(int(ingested["records", "real train"][0]) + 20)


def test_superseded_runs_go_and_what_is_current_or_tagged_stays(past, tmp_path: Path):
    workspace, states = past
    mine = copy(workspace, tmp_path / "copy")
    mine.tag("excluded", at=states[7][0])
    now, then = shown(mine), shown(mine.at("excluded"))
    mine.align(features=64, strength=0.01)  # of more records: the third run, under the name of the first
    mine.align(features=64, strength=1.0, weight_set="default")
    latest = shown(mine)
    dropped = mine.gc(superseded=True)
    left = {row[0] for row in mine.sql("select run_id from runs").fetchall()}
    third = mine.sql("select count(*) from runs where step = 'align'").fetchall()[0][0]
    assert (dropped["runs"] > 0, third) == (True, 3)  # default as tagged, soft, default now
    assert shown(mine.at("excluded")) | {"tags": []} == then | {"tags": []}
    changed = {name for name, rows in shown(mine).items() if rows != latest[name]}
    whole = {
        "runs", "run_order", "weights", "alignments", "label_quality", "metrics", "witness", "neighbours", "embedders",
        "strength_curve", "activations",
    }  # fmt: skip
    assert changed <= whole
    assert now["synthetic"] == shown(mine)["synthetic"]
    mine.untag("excluded")
    more = mine.gc(superseded=True)
    assert more["runs"] > 0
    assert more["rows"] > 0
    assert mine.sql("select count(*) from runs where step = 'align'").fetchall()[0][0] == 2
    assert left > {row[0] for row in mine.sql("select run_id from runs").fetchall()}
    # What went can be had again, from what stays.
    again = mine.align(features=64, strength=0.01)
    assert not again.reused
