"""The views of rounds, over rows written by hand: the current rounds alone, and the newest judgement of each."""

from __future__ import annotations

from typing import Any

import synalign as sa
from tests.store import rows

CHAIN = {"select": 1, "select_2": 2}


def read(workspace: sa.Workspace, query: str) -> list[dict[str, Any]]:
    return workspace.sql(query).pl().to_dicts()


def test_the_current_rounds_are_the_current_selection_and_those_it_came_from(measured: sa.Workspace) -> None:
    assert read(measured, "from selection_rounds order by round") == [
        {"run_id": run, "round": number} for run, number in CHAIN.items()
    ]


def test_base_relations_hold_every_finished_run_and_no_other(measured: sa.Workspace) -> None:
    for name, known in (("selections", [pick[0] for pick in rows.PICKS]), ("rounds", rows.JUDGED)):
        found = {row["run_id"] for row in read(measured, f"select run_id from {name}")}
        assert found == set(known) - set(rows.UNFINISHED)
    assert {row["run_id"] for row in read(measured, "from uncertainty")} == {"select", "select_other", "select_2"}


def test_the_log_is_that_of_the_current_rounds_in_order(measured: sa.Workspace) -> None:
    expected = [(CHAIN[run], step, name, cluster) for run, step, name, cluster, _ in rows.PICKS if run in CHAIN]
    found = measured.sql("select round, step, selection_id, cluster_id from selection_log").fetchall()
    assert found == expected
    assert read(measured, "select distinct demonstrations as d from selection_log") == [{"d": ["real 2", "real 0"]}]


def test_a_round_is_summed_up_with_its_newest_judgement(measured: sa.Workspace) -> None:
    first, second = read(measured, "from round_summary")
    assert (first["round"], first["selections"], first["generated"]) == (1, 1, 15)
    assert (first["improvement"], first["decision"]) == (rows.JUDGED["round_again"], "stop")
    assert (second["round"], second["selections"], second["generated"]) == (2, 2, 0)
    assert second["decision"] is None
    assert (second["first_variance"], second["last_variance"], second["stop_reason"]) == (0.75, 0.5, "budget")
    assert [row["max_variance_before"] for row in (first, second)] == [1.0, 0.75]
    assert [row["max_variance_left"] for row in (first, second)] == [0.75, 0.5]


def test_clusters_show_what_all_current_rounds_took_and_what_the_last_left(measured: sa.Workspace) -> None:
    cover = read(measured, "from cluster_coverage")
    assert [row["selections"] for row in cover] == [1, 2, 0, 0]
    assert [row["generated"] for row in cover] == [0, 15, 0, 0]
    assert [row["variance_left"] for row in cover] == [0.5, 0.375, 0.25, 0.125]
