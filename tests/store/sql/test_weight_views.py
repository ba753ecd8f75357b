"""What SQL says of weight sets, their measurements and the labels, against figures worked out from the rows by hand."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import combinations
from typing import Any

import pytest

import synalign as sa
from synalign.errors import SqlError
from synalign.store.sql import query
from tests.store.rows import (
    ACTIVATIONS,
    CURRENT,
    EXCLUDED,
    FIGURES,
    MEASURED_BY,
    QUALITY,
    REAL,
    RUNS,
    SETS,
    STRATA,
    SYNTHETIC,
    TEXT_FIGURES,
    TRAIN,
    UNFINISHED,
    WEIGHTS,
    WITNESS,
)

#: The columns of `alignment_summary` that are measured, and where each comes from: (metric, part of the figure).
MEASURED_COLUMNS = {
    "mmd2_unbiased": ("mmd2_unbiased", 0),
    "p_value": ("mmd2_permutation", 3),
    "auc": ("auc_weighted", 0),
    "auc_low": ("auc_weighted", 1),
    "auc_high": ("auc_weighted", 2),
    "precision": ("precision", 0),
    "recall": ("recall", 0),
    "density": ("density", 0),
    "coverage": ("coverage", 0),
}


def dicts(workspace: sa.Workspace, sql: str) -> list[dict[str, Any]]:
    return workspace.sql(sql).pl().to_dicts()


def near(value: float | None) -> Any:
    return value if value is None else pytest.approx(value, rel=1e-12, abs=1e-15)


def test_the_order_of_runs_counts_going_back(measured: sa.Workspace):
    expected = {run: place for place, run in enumerate(RUNS + ACTIVATIONS, start=1)}  # the last place counts
    assert dict(measured.sql("select run_id, sequence from run_order").fetchall()) == expected
    current = dict(measured.sql("from current_runs").fetchall())
    assert current["align"] == CURRENT
    assert current["measure"] == "measure_1"
    assert current["ingest"] == "ingest_2"


def test_rows_of_runs_that_never_finished_are_in_no_relation(measured: sa.Workspace):
    for name in query.relation_names():
        columns = {"run_id", "weights_run_id"} & set(measured.sql(f"from {name} limit 0").columns)
        for column in columns:
            found = {row[0] for row in measured.sql(f"select distinct {column} from {name}").fetchall()}
            assert not found & set(UNFINISHED), name


def test_a_weight_set_is_its_latest_run(measured: sa.Workspace):
    found = {row["weight_set"]: row for row in dicts(measured, "from weight_sets")}
    assert set(found) == set(SETS)
    for name, (run, sequence) in SETS.items():
        row = found[name]
        assert (row["run_id"], row["sequence"], row["is_current"]) == (run, sequence, run == CURRENT)
        assert row["records"] == len(WEIGHTS[run])
        assert row["total"] == near(math.fsum(WEIGHTS[run].values()))
    current = measured.sql("select distinct weight_set from synthetic_weighted").fetchall()
    assert current == measured.sql("select weight_set from weight_sets where is_current").fetchall()
    connection = measured.connect()
    assert query.named(connection, "weight_sets")["weight_set"].to_pylist() == sorted(SETS)


def expected_weighted(run: str) -> dict[str, tuple[Any, ...]]:
    """id -> label, channel, multiplicity, weight, label quality of the records that a set shows."""
    return {
        row["id"]: (
            row["label"],
            row["channel"],
            row["multiplicity"],
            WEIGHTS[run][row["id"]],
            QUALITY.get(run, {}).get(row["id"], (None,))[0],
        )
        for row in SYNTHETIC
        if row["id"] in WEIGHTS[run] and row["id"] != EXCLUDED
    }


@pytest.mark.parametrize("name", SETS)
def test_records_with_the_weights_of_a_set(name: str, measured: sa.Workspace):
    shown = "id, label, channel, multiplicity, weight, label_quality, weight_set"
    found = measured.sql(f"select {shown} from synthetic_weighted_in('{name}')").fetchall()
    assert {row[0]: row[1:-1] for row in found} == expected_weighted(SETS[name][0])
    assert {row[-1] for row in found} == {name}
    assert len(found) == len({row[0] for row in found})


def test_the_current_set_is_that_of_synthetic_weighted(measured: sa.Workspace):
    by_name = measured.sql("from synthetic_weighted_in('main') order by id").pl()
    current = measured.sql("from synthetic_weighted order by id").pl()
    assert current.equals(by_name)
    assert current["label_quality"].null_count() not in (0, current.height)


@pytest.mark.parametrize("given", ["'killed'", "'MAIN'", "''", "null", "1"])
def test_an_unknown_set_is_an_error_that_lists_the_known(given: str, measured: sa.Workspace):
    said = rf"There is no weight set '{given.strip(chr(39)).replace('null', '')}'; there are: another, main, strong\."
    for head in ("from", "select count(*) from"):
        with pytest.raises(SqlError, match=said):
            measured.fetch(measured.sql(f"{head} synthetic_weighted_in({given})"))


def test_weights_are_compared_pair_by_pair(measured: sa.Workspace):
    labels = {row["id"]: row["label"] for row in SYNTHETIC}
    expected = {}
    for a, b in combinations(sorted(SETS), 2):
        first, second = WEIGHTS[SETS[a][0]], WEIGHTS[SETS[b][0]]
        for name in first.keys() | second.keys():
            pair = first.get(name, 0.0), second.get(name, 0.0)
            ratio = math.log(pair[1]) - math.log(pair[0]) if all(pair) else None
            expected[a, b, name] = (labels[name], *pair, near(ratio))
    found = measured.sql("from weights_compare").fetchall()
    assert len(found) == len(expected)
    assert {row[:3]: row[3:] for row in found} == expected
    assert any(row[-1] is None for row in found)
    assert any(abs(row[-1] or 0) > 700 for row in found), "a quotient of such weights would overflow"


def test_alignment_summary_has_every_set_the_current_one_first(measured: sa.Workspace):
    found = dicts(measured, "from alignment_summary")
    order = sorted(SETS, key=lambda name: (SETS[name][0] != CURRENT, name))
    assert [(row["weight_set"], row["stratum"]) for row in found] == [(name, part) for name in order for part in STRATA]
    for row in found:
        run = SETS[row["weight_set"]][0]
        assert row["run_id"] == run
        assert row["is_current"] == (run == CURRENT)
        assert row["quality"] == (run in QUALITY)
        assert row["strength"] == (math.inf if row["stratum"] == "bad" else 0.01)
        assert row["ratio_to_floor"] == (None if row["stratum"] == "good" else near(row["heldout_after"] / 0.5))
        scored = run == "align_other_1"
        assert (row["scored_from"], row["drift"]) == (("align_old", 0.125) if scored else (None, None))


def test_alignment_summary_has_the_newest_measurement_of_each_set(measured: sa.Workspace):
    missing = 0
    for row in dicts(measured, "from alignment_summary"):
        measure = MEASURED_BY.get(row["run_id"])
        for column, (metric, part) in MEASURED_COLUMNS.items():
            figure = FIGURES.get((measure, metric, row["stratum"]))
            assert row[column] == (figure and figure[part]), (row["weight_set"], row["stratum"], column)
            missing += figure is None
    assert missing > 0


def test_texts_are_compared_side_by_side_in_the_order_of_families(measured: sa.Workspace):
    found = dicts(measured, "from text_quality")
    assert [row["metric"] for row in found] == [
        "distinct_1", "self_bleu", "words_median", "mauve", "copied", "personal"
    ]  # fmt: skip
    assert {(row["weight_set"], row["is_current"]) for row in found} == {("main", True)}
    assert {row["run_id"] for row in found} == {"text_quality_2"}
    figures = TEXT_FIGURES["text_quality_2"]
    for row in found:
        for scope in ("real", "raw", "weighted"):
            expected = figures.get((row["metric"], scope), (None, None, None))
            assert (row[scope], row[f"{scope}_low"], row[f"{scope}_high"]) == expected
    assert [(row["better"], row["is_clear"]) for row in found] == [
        ("raw", True), (None, None), ("same", False), ("weighted", False), ("same", False), ("raw", False)
    ]  # fmt: skip


def test_readers_of_the_current_set_see_no_other(measured: sa.Workspace):
    connection = measured.connect()
    (fact,) = query.named(connection, "facts").to_pylist()
    assert (fact["weight set"], fact["alignment run"]) == ("main", CURRENT)
    summary = query.named(connection, "summary").to_pylist()
    assert [(row["weight_set"], row["stratum"]) for row in summary] == [("main", part) for part in STRATA]


def gaps(clustered: bool = True) -> list[dict[str, Any]]:
    """`coverage_gaps` worked out in Python."""
    found = WITNESS[MEASURED_BY[CURRENT]]
    groups: dict[tuple[int | None, str | None], list[dict[str, Any]]] = defaultdict(list)
    for row in TRAIN:
        if row["id"] in found:
            groups[row["cluster_id"] if clustered else None, row["label"]].append(row)
    weight: dict[tuple[int | None, str | None], float] = defaultdict(float)
    for row in SYNTHETIC:
        if row["id"] != EXCLUDED:
            weight[row["cluster_id"] if clustered else None, row["label"]] += WEIGHTS[CURRENT].get(row["id"], 0)
    all_real = sum(row["multiplicity"] for members in groups.values() for row in members)
    expected = []
    for (cluster, label), members in groups.items():
        repeated = [row["id"] for row in members for _ in range(row["multiplicity"])]
        here = math.fsum(found[name][0] for name in repeated)
        there = math.fsum(found[name][1] for name in repeated)
        worst = sorted(members, key=lambda row: found[row["id"]][1] - found[row["id"]][0])[:3]
        share, weighted = len(repeated) / all_real, weight[cluster, label] / math.fsum(weight.values())
        expected.append(
            {
                "cluster_id": cluster,
                "label": label,
                "real_records": len(repeated),
                "real_share": near(share),
                "weighted_share": near(weighted),
                "missing_share": near(max(share - weighted, 0)),
                "witness": near((here - there) / len(repeated)),
                "coverage": near(there / here),
                "example_ids": [row["id"] for row in worst],
                "examples": [row["text"] for row in worst],
                "order": share * (here - there) / len(repeated),
            }
        )
    expected.sort(key=lambda row: -row.pop("order"))
    return expected


def test_coverage_gaps(measured: sa.Workspace):
    found = dicts(measured, "from coverage_gaps")
    assert found == gaps()
    assert len({row["cluster_id"] for row in found}) == 5, "records without a cluster are a group"
    assert None in {row["label"] for row in found}
    assert any(row["missing_share"] == 0 for row in found)
    assert any(row["weighted_share"] == 0 for row in found)


def test_coverage_gaps_without_clusters_are_by_label(measured: sa.Workspace):
    connection = measured.connect()
    blank = "select 'real' as origin, '' as id, 0::bigint as cluster_id, 0.0 as distance where false"
    connection.execute(f"create or replace view detail.cluster_members as {blank}")
    found = connection.sql("from coverage_gaps").pl().to_dicts()
    assert found == gaps(clustered=False)
    assert len(found) == 3


def test_doubted_labels(measured: sa.Workspace):
    texts = {row["id"]: (row["text"], row["label"]) for row in SYNTHETIC}
    expected = [
        (name, *texts[name], quality, predicted, probability, WEIGHTS[CURRENT].get(name, 0.0))
        for name, (quality, predicted, probability) in QUALITY[CURRENT].items()
        if predicted != texts[name][1] and name != EXCLUDED
    ]
    expected.sort(key=lambda row: row[3])
    found = measured.sql("from doubted_labels").fetchall()
    assert found == expected
    assert 0 < len(found) < len(QUALITY[CURRENT])
    assert QUALITY[CURRENT][EXCLUDED][1] != texts[EXCLUDED][1], "the excluded one would be among them"
    assert any(row[-1] == 0 for row in found)


def test_doubted_labels_can_be_excluded(measured: sa.Workspace):
    connection = measured.connect()
    found = query.matching(connection, "id in (select id from doubted_labels where quality < 0.3)", excluded=False)
    expected = connection.sql("select id from doubted_labels where quality < 0.3 order by id").fetchall()
    assert found == [row[0] for row in expected]
    assert found


def test_a_sample_is_of_the_current_set(measured: sa.Workspace):
    found = measured.sql("from sample_synthetic(500)").pl()
    assert found["weight_set"].unique().to_list() == ["main"]
    assert found["copies"].sum() == 500
    assert EXCLUDED not in found["id"]


def test_real_records_keep_their_split_and_count(measured: sa.Workspace):
    found = dict(measured.sql("select id, multiplicity from real").fetchall())
    assert found == {row["id"]: row["multiplicity"] for row in REAL}
