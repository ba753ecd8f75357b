"""ws.ab: two retrievers against each other, by simulated users, from rankings in the workspace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import synalign as sa
from synalign.errors import NotReadyError, UsageError
from synalign.numerics.statistics.sequential import watch
from synalign.steps.retrieval.ab import _comparison_row, summary
from tests.steps import ranked
from tests.steps.workspaces import copy, one, rows, unpublished


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """540 test queries, ranked by retrievers that are good, as good, and bad. Do not write to it."""
    with unpublished():
        found = ranked.workspace(tmp_path_factory.mktemp("ab") / "w")
        ranked.rank(found, {"good": 2.5, "alike": 2.5, "bad": 1.0})
    return found


@pytest.fixture
def mine(ws: sa.Workspace, tmp_path: Path):
    with unpublished():
        yield copy(ws, tmp_path / "w")


def test_the_better_retriever_is_found_and_written_down(mine: sa.Workspace) -> None:
    outcome = mine.ab("good", "bad", min_lift=0.1)
    assert (outcome.step, outcome.reused) == ("ab", False)
    (row,) = rows(mine, "from comparisons")
    assert {name: row[name] for name in outcome.counts} == dict(outcome.counts)
    assert row["run_id"] == outcome.run_id
    assert row["decision"] == "A is better"
    assert (row["queries"], row["impressions"], row["split"]) == (540, 540, "test")
    assert row["wins_a"] + row["wins_b"] + row["ties"] == 540
    assert row["win_rate"] == row["wins_a"] / (row["wins_a"] + row["wins_b"])
    assert 0.5 < row["low"] < row["win_rate"] < row["high"] < 1
    assert row["p_value"] < 0.05
    assert 0 < row["stopped_after"] < 540
    assert 0 < row["needed_at_once"] < row["needed_for_lift"]
    ranking = one(mine, "select distinct run_id from rankings")
    assert (row["rankings_run_id"], row["rankings_run_id_b"]) == (ranking, ranking)
    assert ranking in one(mine, "select inputs from runs where step = 'ab'")


def test_impressions_that_tie_count_until_it_was_clear() -> None:
    outcomes = np.tile([0, 0, 1], 200)
    seen = watch(outcomes, 0.05, 0.1)
    assert _comparison_row(outcomes, seen, None)["stopped_after"] == 3 * seen.stopped


def test_the_other_way_round_b_is_better(mine: sa.Workspace) -> None:
    assert mine.ab("bad", "good", min_lift=0.1).counts["decision"] == "B is better"


def test_retrievers_that_are_alike_are_left_undecided(mine: sa.Workspace) -> None:
    counts = mine.ab("good", "alike").counts
    assert counts["decision"] == "no difference seen yet"
    assert counts["stopped_after"] is None
    assert counts["low"] < 0.5 < counts["high"]
    assert "no difference seen yet" in summary(counts)


def test_what_is_done_is_not_done_again(mine: sa.Workspace) -> None:
    one_way = mine.ab("good", "bad")
    again = mine.ab("good", "bad")
    assert (again.reused, again.run_id, dict(again.counts)) == (True, one_way.run_id, dict(one_way.counts))
    other = mine.ab("good", "bad", seed=11)
    assert not other.reused
    assert other.counts["wins_a"] != one_way.counts["wins_a"]
    assert mine.ab("good", "bad", seed=11, min_lift=0.05).counts["wins_a"] == other.counts["wins_a"]
    ranked.rank(mine, {"good": 2.5, "bad": 1.0}, seed=9)
    newer = mine.ab("good", "bad")
    assert not newer.reused
    assert newer.counts["rankings_run_id"] != one_way.counts["rankings_run_id"]


def test_each_retriever_is_taken_from_its_newest_rankings(mine: sa.Workspace) -> None:
    """Also where they were made by two runs, and where a run of them never finished."""
    first = mine.ab("good", "bad").counts["rankings_run_id"]
    newer = ranked.rank(mine, {"new": 3.0}, seed=4)
    counts = mine.ab("new", "bad").counts
    assert (counts["rankings_run_id"], counts["rankings_run_id_b"]) == (newer, first)
    lost = ranked.rank(mine, {"bad": 5.0, "ghost": 1.0}, seed=5)
    mine._context().journal.drop([lost])
    assert mine.ab("good", "bad").reused
    with pytest.raises(UsageError, match=r"No rankings are called 'ghost'; there are: alike, bad, good, new\."):
        mine.ab("good", "ghost")


def test_queries_that_only_one_ranked_are_left_out_and_said(mine: sa.Workspace) -> None:
    ranked.rank(mine, {"short": 1.0}, leave=100)
    outcome = mine.ab("good", "short")
    assert outcome.counts["queries"] == 450
    assert outcome.notes == ("90 of 540 test queries were not ranked by both",)


def test_only_so_many_documents_are_shown(mine: sa.Workspace) -> None:
    """Of one document each the better one is seen at once; ties are where both show the same."""
    counts = mine.ab("good", "bad", depth=1, click_model="perfect").counts
    best = "select query_id, document_id from rankings where rank = 1 and retriever = '{}'"
    test = (
        f"select count(*) filter (a.document_id <> b.document_id) as apart from ({best.format('good')}) a "
        f"join ({best.format('bad')}) b using (query_id) join real r on r.id = query_id and r.split = 'test'"
    )
    assert 0 < counts["wins_a"] + counts["wins_b"] < one(mine, test)
    assert counts["depth"] == 1


def test_clicks_on_what_both_rank_alike_count_only_when_asked(mine: sa.Workspace) -> None:
    plain, shared = mine.ab("good", "bad").counts, mine.ab("good", "bad", shared=True).counts
    assert plain["ties"] > shared["ties"]
    assert plain["win_rate"] > shared["win_rate"], "the noise pulls towards one half"


def test_more_passes_ask_the_same_queries_more_often_and_say_so(mine: sa.Workspace) -> None:
    outcome = mine.ab("good", "bad", passes=3)
    assert (outcome.counts["queries"], outcome.counts["impressions"]) == (540, 1620)
    assert "these 540 queries" in outcome.notes[0]


def test_retrievers_that_rank_alike_end_in_ties(mine: sa.Workspace) -> None:
    ranked.rank(mine, {"one": 2.0}, seed=7)
    ranked.rank(mine, {"same": 2.0}, seed=7)
    counts = mine.ab("one", "same").counts
    assert (counts["ties"], counts["win_rate"], counts["needed_for_lift"], counts["p_value"]) == (540, None, None, None)
    assert summary(counts).startswith("one against same: all of 540 impressions ended in a tie.")


def test_a_manager_can_read_it(mine: sa.Workspace) -> None:
    counts = mine.ab("good", "bad", min_lift=0.1).counts
    text = summary(counts)
    decided = counts["wins_a"] + counts["wins_b"]
    assert text.startswith(
        f"good wins {100 * counts['win_rate']:.1f}% of {decided} decided queries against bad (95% anytime interval "
    )
    assert f"good is better, which was clear after {counts['stopped_after']} of 540 impressions." in text
    assert "To see a lift of 10 points (60.0% wins) at 80% power you would need about " in text
    assert f" {counts['needed_for_lift']:,} impressions if you look as they come" in text


def test_wins_are_as_frequent_as_an_own_simulation_says(mine: sa.Workspace) -> None:
    """Second opinion: perfect users and one document each. Who holds the answer wins if it is shown first: half of the
    time when one has it, and if both have it, nobody does."""
    counts = mine.ab("good", "bad", depth=1, click_model="perfect", passes=40).counts
    best = rows(
        mine,
        "select a.document_id = r.label as a, b.document_id = r.label as b from real r "
        "join rankings a on a.query_id = r.id and a.rank = 1 and a.retriever = 'good' "
        "join rankings b on b.query_id = r.id and b.rank = 1 and b.retriever = 'bad' where r.split = 'test'",
    )
    expected = np.mean([row["a"] and not row["b"] for row in best]) / 2
    found = counts["wins_a"] / counts["impressions"]
    assert found == pytest.approx(expected, abs=5 * np.sqrt(expected / counts["impressions"]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"queries": "all"}, "queries must be one of train, validation, test; given: 'all'"),
        ({"click_model": "eager"}, "click_model must be one of perfect, navigational, informational, random"),
        ({"depth": 0}, "depth must be a whole number from 1 to 1,000; given: 0"),
        ({"passes": 1.5}, "passes must be a whole number"),
        ({"alpha": 0}, "alpha must be above 0 and below 0.5"),
        ({"power": 1.0}, "power must be above 0 and below 1"),
        ({"min_lift": 0.5}, "min_lift must be above 0 and below 0.5"),
        ({"min_lift": 1e-5}, "millions of impressions"),
    ],
)
def test_wrong_values_are_said(ws: sa.Workspace, given: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ws.ab("good", "bad", **given)


def test_what_is_missing_is_said(mine: sa.Workspace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be compared with itself"):
        mine.ab("good", "good")
    with pytest.raises(NotReadyError, match=r"No record of the split 'validation' .* there are 0 such records"):
        mine.ab("good", "bad", queries="validation")
    fresh = ranked.workspace(tmp_path / "fresh", queries=20)
    with pytest.raises(NotReadyError, match="no rankings to compare yet"):
        fresh.ab("a", "b")


def test_gc_keeps_the_last_comparison_of_two_and_the_rankings_that_it_came_of(mine: sa.Workspace) -> None:
    mine.ab("good", "bad")
    last = mine.ab("good", "bad", seed=3)
    mine.ab("good", "alike")
    mine.gc(superseded=True)
    kept = {row["run_id"] for row in rows(mine, "from comparisons")}
    assert len(kept) == 2
    assert last.run_id in kept
    assert one(mine, "select count(*) from rankings") > 0
    assert not mine.fsck().errors
