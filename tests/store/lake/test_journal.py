"""Runs are seen once finished; the current one is that finished or activated last; names never change."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

import synalign as sa
from synalign.errors import WorkspaceBusyError
from synalign.store.lake.journal import Clock, Journal, Plan
from synalign.store.lake.lake import Lake
from synalign.store.lake.schemas import OWNED_BY_RUN, TABLES

PLAN = Plan("cluster", {"k": 12, "embedder": "lsa"}, ["b", "a"], 7)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(Lake(tmp_path / "lance"))


def lake_of(journal: Journal) -> Lake:
    return journal._lake


def refusals(run_id: str, names: list[str]) -> pa.Table:
    rows = [
        {"run_id": run_id, "call_id": name, "index": 0, "reason": "copy", "detail": "", "text": ""} for name in names
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["rejections"].schema)


def test_a_run_id_is_pinned_and_depends_on_all_that_decides_the_result():
    # The same name must come out in ten years: paid replies hang on it.
    assert PLAN.run_id == "f197058c09ea0802134dd0900632c67b"
    assert replace(PLAN, inputs=["a", "b"]).run_id == PLAN.run_id
    assert replace(PLAN, parameters={"embedder": "lsa", "k": 12}).run_id == PLAN.run_id
    others = [
        replace(PLAN, step="select"),
        replace(PLAN, parameters={"k": 13, "embedder": "lsa"}),
        replace(PLAN, inputs=["a"]),
        replace(PLAN, seed=8),
        replace(PLAN, round=1),
        replace(PLAN, version=2),
    ]
    assert len({plan.run_id for plan in [PLAN, *others]}) == 7


def test_a_run_is_there_once_it_is_finished(journal: Journal):
    lake_of(journal).insert("rejections", refusals(PLAN.run_id, ["x"]))
    assert (journal.runs(), journal.get(PLAN.run_id), journal.current("cluster")) == ([], None, None)
    done = journal.finish(PLAN, Clock(), {"clusters": 3}, ["a note"], ("rejections",))
    assert journal.get(PLAN.run_id) == done
    assert done.inputs == ["a", "b"]
    assert journal.runs("cluster") == [done]
    assert journal.runs("select") == []
    row = lake_of(journal).read("runs").to_pylist()[0]
    assert row["table_versions"] == f'{{"rejections":{lake_of(journal).version("rejections")}}}'
    assert (row["package_version"], row["notes"]) == (sa.__version__, ["a note"])
    assert row["seconds"] >= 0
    assert row["started_at"] <= row["finished_at"]


def test_finishing_twice_adds_nothing(journal: Journal):
    journal.finish(PLAN, Clock(), {})
    journal.finish(PLAN, Clock(), {})
    assert lake_of(journal).read("runs").num_rows == 1


def test_sweep_drops_the_rows_of_unfinished_runs_only(journal: Journal):
    lake = lake_of(journal)
    assert journal.sweep(OWNED_BY_RUN) == 0
    lake.insert("rejections", refusals(PLAN.run_id, ["kept"]))
    journal.finish(PLAN, Clock(), {})
    lake.insert("rejections", refusals("killed", ["one", "two"]))
    assert journal.sweep(["rejections", "weights"]) == 2
    assert lake.read("rejections")["call_id"].to_pylist() == ["kept"]
    version = lake.version("rejections")
    assert journal.sweep(["rejections"]) == 0
    assert lake.version("rejections") == version


def test_sweep_without_any_finished_run(journal: Journal):
    lake_of(journal).insert("rejections", refusals("killed", ["one"]))
    assert journal.sweep(["rejections"]) == 1


def test_calls_and_the_journal_itself_are_never_swept():
    # Nor what placeholders stand for, since the prompts that hold them were sent; nor names of states.
    kept = {"calls", "runs", "activations", "tags", "redactions", "forgotten", "recordings"}
    assert set(TABLES) - set(OWNED_BY_RUN) == kept


def test_the_current_run_is_finished_or_activated_last(journal: Journal):
    first, second = (journal.finish(replace(PLAN, seed=seed), Clock(), {}) for seed in (1, 2))
    journal.finish(replace(PLAN, step="select"), Clock(), {})
    assert journal.current("cluster") == second
    assert journal.activate(second) is False
    assert journal.activate(first) is True
    assert journal.current("cluster") == first
    assert journal.activate(first) is False
    third = journal.finish(replace(PLAN, seed=3), Clock(), {})
    assert journal.current("cluster") == third
    assert journal.activate(second) is True
    assert journal.current("cluster") == second
    sequences = [run.sequence for run in journal.runs()]
    assert sequences == sorted(set(sequences))
    assert [run.seed for run in journal.runs("cluster")] == [1, 2, 3]


_SECOND = """
import sys
import synalign as sa
from synalign.errors import WorkspaceBusyError
workspace = sa.open(sys.argv[1])
try:
    workspace.ingest(sys.argv[2])
except WorkspaceBusyError as error:
    print("busy", error.retryable)
print(workspace.sql("select count(*) from real").fetchall()[0][0])
print(sum(workspace.status()["records"]["real"].values()))
"""


def test_a_second_writer_is_turned_away_and_readers_are_not(blank: Path, tmp_path: Path):
    texts = tmp_path / "texts.csv"
    texts.write_text("text\none\ntwo\n")
    more = tmp_path / "more.csv"
    more.write_text("text\nthree\n")
    workspace = sa.open(blank)
    workspace.ingest(texts)
    second = [sys.executable, "-c", _SECOND, str(blank), str(more)]
    with workspace._writing():
        held = subprocess.run(second, capture_output=True, text=True, timeout=120, check=True)
        assert held.stdout.split() == ["busy", "True", "2", "2"]
        workspace.ingest(more)  # the holder itself goes on
    free = subprocess.run(second, capture_output=True, text=True, timeout=120, check=True)
    assert free.stdout.split() == ["3", "3"]
    assert WorkspaceBusyError.retryable


def test_a_run_is_found_beside_one_that_cannot_be_parsed(journal: Journal):
    done = journal.finish(PLAN, Clock(), {"clusters": 3})
    row = lake_of(journal).read("runs").to_pylist()[0] | {"run_id": "it's other", "parameters": "{"}
    lake_of(journal).insert_rows("runs", [row])
    assert journal.get(PLAN.run_id) == done
    assert journal.get("it's none") is None
