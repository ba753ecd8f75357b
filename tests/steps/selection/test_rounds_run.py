"""`rounds` in a run file: select, reason, generate and align again and again, until it no longer helps."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import synalign as sa
from synalign.errors import ConfigError
from synalign.steps.core.context import Outcome
from tests.steps.workspaces import corpus, one, rows

BEFORE, ROUND = ["ingest", "embed", "cluster"], ["select", "reason", "generate", "align", "round"]

#: With this seed the embedded model's fourth round does not improve by more than its error.
LAST = 4


class Killed(BaseException):
    """What a person who stops a run raises."""


def plan(folder: Path, rounds: int, **changes: object) -> Path:
    """Write a run file over sixty messages, and return its path."""
    folder.mkdir(exist_ok=True)
    if not (folder / "real.csv").exists():
        corpus().head(60).select("text", "label").write_csv(folder / "real.csv")
    given = {"budget": 3, "beta": 0.0} | changes
    select = "\n".join(f"{name} = {value}" for name, value in given.items() if name != "steps")
    steps = f"steps = {given['steps']}" if "steps" in given else ""
    file = folder / "run.toml"
    file.write_text(
        f"""
        workspace = "w"
        seed = 3
        rounds = {rounds}
        {steps}
        embed.dimensions = 16
        cluster.k = 8
        generate.per_selection = 3
        align = {{ features = 64, strength = 1e-2, quality = false, label_shares = "real" }}
        [[sources]]
        path = "real.csv"
        label = "label"
        [select]
        {select}
        """
    )
    return file


def again(done: Path, folder: Path) -> Path:
    """Return the folder of a run that is finished, copied."""
    shutil.copytree(done, folder)
    return folder


def steps(outcomes: list[Outcome]) -> list[tuple[str, bool]]:
    return [(outcome.step, outcome.reused) for outcome in outcomes]


def runs(folder: Path, step: str) -> list[str]:
    query = f"select run_id from runs where step = '{step}' order by sequence"
    return [row["run_id"] for row in rows(sa.open(folder / "w"), query)]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Outcome]]:
    """A folder in which all steps were run once, without rounds, and what came of each; to be copied."""
    folder = tmp_path_factory.mktemp("run") / "one"
    return folder, sa.run(plan(folder, 1))


@pytest.fixture(scope="module")
def two(single: tuple[Path, list[Outcome]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Outcome]]:
    """The same, taken up again with two rounds."""
    folder = again(single[0], tmp_path_factory.mktemp("run") / "two")
    return folder, sa.run(plan(folder, 2))


@pytest.fixture(scope="module")
def stopped(two: tuple[Path, list[Outcome]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Outcome]]:
    """The same, taken up again with nine rounds."""
    folder = again(two[0], tmp_path_factory.mktemp("run") / "nine")
    return folder, sa.run(plan(folder, 9))


def test_the_first_of_two_rounds_is_what_a_run_without_rounds_did(
    single: tuple[Path, list[Outcome]], two: tuple[Path, list[Outcome]]
) -> None:
    assert steps(single[1]) == [(step, False) for step in [*BEFORE, *ROUND[:-1]]]
    done = [(step, step != "round") for step in ROUND]
    assert steps(two[1])[3:] == [*done, *((step, False) for step in ROUND)]
    for step in ("select", "reason", "generate", "align"):
        assert runs(two[0], step)[:1] == runs(single[0], step)
    assert [outcome.counts["round"] for outcome in two[1] if outcome.step == "round"] == [1, 2]


def test_what_each_round_brought_stands_in_sql(two: tuple[Path, list[Outcome]]) -> None:
    workspace = sa.open(two[0] / "w").connect()
    first, second = rows(workspace, "from rounds order by round")
    assert [first["select_run_id"], second["select_run_id"]] == runs(two[0], "select")
    assert [first["generate_run_id"], second["generate_run_id"]] == runs(two[0], "generate")
    assert [first["align_run_id"], second["align_run_id"]] == runs(two[0], "align")
    made = dict(workspace.sql("select run_id, count(*) from synthetic group by 1").fetchall())
    assert [row["records"] for row in (first, second)] == [made[run] for run in runs(two[0], "generate")]
    assert second["synthetic_records"] == sum(made.values())
    # The weights of the first round are those of the second without its records.
    heldout = "select run_id, mmd2_heldout_after from alignments where stratum = '*'"
    measured = dict(workspace.sql(heldout).fetchall())
    for row in (first, second):
        assert row["mmd2_with"] == pytest.approx(measured[row["align_run_id"]], rel=1e-5)
    assert first["improvement"] is None
    assert first["reason"] == "there were no synthetic records before this round"
    assert second["mmd2_without"] == pytest.approx(first["mmd2_with"], rel=1e-5)
    assert second["improvement"] == pytest.approx(second["mmd2_without"] - second["mmd2_with"])
    assert second["improvement"] > second["improvement_error"] > 0
    assert (first["decision"], second["decision"]) == ("continue", "continue")
    summary = rows(workspace, "from round_summary")
    for line, row in zip(summary, (first, second), strict=True):
        shared = set(line) & set(row)
        assert len(shared) >= 9
        assert {name: line[name] for name in shared} == {name: row[name] for name in shared}
        assert line["generated"] == row["records"]
    assert len(rows(workspace, "from selection_log where round = 2")) == 3


def test_the_second_round_is_elsewhere_than_the_first(two: tuple[Path, list[Outcome]]) -> None:
    workspace = sa.open(two[0] / "w")
    picked = dict(workspace.sql("select round, list(cluster_id) from selection_log group by round").fetchall())
    assert not set(picked[1]) & set(picked[2])


def test_running_again_does_nothing_at_all(two: tuple[Path, list[Outcome]], tmp_path: Path) -> None:
    folder = again(two[0], tmp_path / "again")
    workspace = sa.open(folder / "w")
    names = ("runs", "activations", "selections", "uncertainty", "rounds", "calls", "weights", "synthetic")
    before = {name: (workspace._lake.version(name), workspace._lake.read(name).num_rows) for name in names}
    outcomes = sa.run(folder / "run.toml")
    assert {name: (workspace._lake.version(name), workspace._lake.read(name).num_rows) for name in names} == before
    assert all(outcome.reused for outcome in outcomes if outcome.step != "ingest")
    assert [outcome.step for outcome in outcomes] == [*BEFORE, "round", "round", "select", "align"]


def test_more_rounds_go_on_and_stop_when_the_improvement_is_within_its_error(
    two: tuple[Path, list[Outcome]], stopped: tuple[Path, list[Outcome]], tmp_path: Path
) -> None:
    folder, outcomes = stopped
    fresh = [outcome.step for outcome in outcomes if not outcome.reused and outcome.step != "ingest"]
    assert fresh == ROUND * (LAST - 2)
    assert runs(folder, "select")[:2] == runs(two[0], "select")
    judged = rows(sa.open(folder / "w"), "from rounds order by round")
    assert [row["decision"] for row in judged] == ["continue"] * (LAST - 1) + ["stop"]
    assert judged[-1]["improvement"] <= judged[-1]["improvement_error"]
    assert "not more than its standard error" in judged[-1]["reason"]
    more = sa.run(plan(again(folder, tmp_path / "more"), 12))
    assert all(outcome.reused for outcome in more if outcome.step != "ingest")
    assert runs(tmp_path / "more", "select") == runs(folder, "select")


def test_other_settings_of_select_begin_anew_and_the_old_ones_come_back(
    two: tuple[Path, list[Outcome]], tmp_path: Path
) -> None:
    folder = again(two[0], tmp_path / "anew")
    old = runs(folder, "select")
    sa.run(plan(folder, 2, budget=2))
    new = [run for run in runs(folder, "select") if run not in old]
    assert len(new) == 2
    workspace = sa.open(folder / "w")
    assert [row["run_id"] for row in rows(workspace, "from selection_rounds order by round")] == new
    sa.run(plan(folder, 2))
    assert runs(folder, "select") == [*old, *new]
    assert [row["run_id"] for row in rows(workspace, "from selection_rounds order by round")] == old
    # Whatever wrote it, all text that there is has weights.
    weighted = one(workspace, "select count(*) from synthetic_weighted")
    assert weighted == one(workspace, "select count(*) from synthetic")


def test_other_selections_in_between_do_not_lead_rounds_astray(two: tuple[Path, list[Outcome]], tmp_path: Path) -> None:
    folder = again(two[0], tmp_path / "astray")
    sa.open(folder / "w").select(budget=2, round=1)
    sa.run(plan(folder, LAST))
    workspace = sa.open(folder / "w")
    chain = [row["run_id"] for row in rows(workspace, "from selection_rounds order by round")]
    assert chain[:2] == runs(two[0], "select")
    assert len(chain) == LAST


def test_rounds_end_where_nothing_is_left_to_select(tmp_path: Path) -> None:
    file = plan(tmp_path / "none", 5, min_variance=0.7)
    outcomes = sa.run(file)
    assert [step for step, _ in steps(outcomes)] == [*BEFORE, *ROUND, "select", "select", "align"]
    assert outcomes[-3].counts["selections"] == 0
    workspace = sa.open(file.parent / "w")
    assert rows(workspace, "select round, decision from round_summary") == [{"round": 1, "decision": "continue"}]
    weighted = one(workspace, "select count(*) from synthetic_weighted")
    assert weighted == one(workspace, "select count(*) from synthetic") > 0
    before = [workspace._lake.read(name).num_rows for name in ("runs", "activations")]
    assert all(outcome.reused for outcome in sa.run(file) if outcome.step != "ingest")
    assert [workspace._lake.read(name).num_rows for name in ("runs", "activations")] == before


@pytest.mark.long
def test_a_run_that_is_stopped_after_any_step_ends_as_one_that_was_not(
    two: tuple[Path, list[Outcome]], stopped: tuple[Path, list[Outcome]], tmp_path: Path
) -> None:
    file = plan(again(two[0], tmp_path / "killed"), LAST)
    done: list[str] = []

    def stop(outcome: Outcome) -> None:
        if not outcome.reused and outcome.step != "ingest":
            done.append(outcome.step)
            raise Killed

    while len(done) < 30:
        try:
            sa.run(file, report=stop)
            break
        except Killed:
            continue
    # New text is embedded and put into clusters by steps of their own, before those that go on.
    assert [step for step in done if step not in BEFORE] == ROUND * (LAST - 2)
    for step in ("cluster", *ROUND):
        assert runs(file.parent, step) == runs(stopped[0], step), step


def test_steps_done_by_hand_are_taken_as_they_are(
    single: tuple[Path, list[Outcome]], two: tuple[Path, list[Outcome]], tmp_path: Path
) -> None:
    """A second round that was begun by hand, before the first was judged."""
    folder = again(single[0], tmp_path / "hand")
    workspace = sa.open(folder / "w")
    workspace.select(round="next")
    workspace.reason()
    fresh = [outcome.step for outcome in sa.run(plan(folder, 2)) if not outcome.reused]
    assert [step for step in fresh if step not in BEFORE] == ["round", "generate", "align", "round"]
    for step in ROUND:
        assert runs(folder, step) == runs(two[0], step), step


def test_several_rounds_need_all_steps_of_a_round(tmp_path: Path) -> None:
    file = plan(tmp_path / "part", 2, steps='["ingest", "cluster", "select", "align"]')
    with pytest.raises(ConfigError, match=r"rounds = 2 needs .*leaves out reason, generate\. Name them all, or set"):
        sa.run(file)
    assert not (tmp_path / "part" / "w" / "lance").exists()


@pytest.mark.parametrize("given", [0, 1001])
def test_the_number_of_rounds_has_limits(tmp_path: Path, given: int) -> None:
    with pytest.raises(ConfigError, match="rounds"):
        sa.run(plan(tmp_path / "limits", given))
