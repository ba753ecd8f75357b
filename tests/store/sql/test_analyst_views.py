"""What an analyst asks next: each view and macro against figures worked out in Python from the rows by hand, live and
in the published catalog."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pytest

import synalign as sa
from synalign.workspace import CATALOG_NAME
from tests.store.rows import (
    ACTIVATIONS,
    BEGUN,
    CALLS,
    CHECKED,
    CURRENT,
    EXCLUDED,
    MEASURED_BY,
    NEAREST,
    QUALITY,
    REAL,
    REJECTED,
    RUNS,
    SETS,
    STRATA,
    SYNTHETIC,
    WEIGHTS,
    minute,
    step_of,
)

LABEL = {row["id"]: row["label"] for row in SYNTHETIC}
REAL_LABEL = {row["id"]: row["label"] for row in REAL}


@pytest.fixture(scope="module", params=["live", "published", "attached"])
def connection(request: pytest.FixtureRequest, measured: sa.Workspace) -> Iterator[Any]:
    path = measured.path / CATALOG_NAME
    if request.param == "live":
        yield measured.connect()
        return
    with duckdb.connect(str(path), read_only=True) if request.param == "published" else duckdb.connect() as found:
        if request.param == "attached":
            found.execute(f"attach '{path}' as synalign (read_only)")
            found.execute("use synalign")
        found.execute("set search_path = 'main,detail'")
        yield found


def dicts(connection: Any, sql: str) -> list[dict[str, Any]]:
    return connection.sql(sql).pl().to_dicts()


def near(value: float | None) -> Any:
    return value if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)


# weight_drift


def drift(first: dict[str, float], second: dict[str, float], stratum: str) -> dict[str, Any]:
    """One line of `weight_drift`, by numpy."""
    names = [name for name in LABEL if stratum in ("*", LABEL[name] or "(none)")]
    names = [name for name in names if name in first or name in second]
    a, b = (np.array([side.get(name, np.nan) for name in names]) for side in (first, second))
    shares = [float(np.nansum(side) / math.fsum(whole.values())) for side, whole in ((a, first), (b, second))]
    a, b = a / np.nansum(a), b / np.nansum(b)
    both = ~np.isnan(a) & ~np.isnan(b)
    positive = both & (np.nan_to_num(a) > 0) & (np.nan_to_num(b) > 0)
    return {
        "stratum": stratum,
        "records_both": int(both.sum()),
        "records_only_a": int(np.isnan(b).sum()),
        "records_only_b": int(np.isnan(a).sum()),
        "total_variation": near(float(np.abs(np.nan_to_num(a) - np.nan_to_num(b)).sum() / 2)),
        "mean_abs_log_ratio": near(float(np.abs(np.log(b[positive]) - np.log(a[positive])).mean())),
        "correlation": near(float(np.corrcoef(a[both], b[both])[0, 1])),
        "share_a": near(shares[0]),
        "share_b": near(shares[1]),
        "effective_share_a": near(float(1 / np.nansum(a**2) / (~np.isnan(a)).sum())),
        "effective_share_b": near(float(1 / np.nansum(b**2) / (~np.isnan(b)).sum())),
        "heldout_after_a": 0.25 * (STRATA.index(stratum) + 1),
        "heldout_after_b": 0.25 * (STRATA.index(stratum) + 1),
    }


@pytest.mark.parametrize(("a", "b"), [("align_old", "align_new"), ("align_strong", "align_other_2")])
def test_weight_drift(connection, a: str, b: str):
    found = dicts(connection, f"from weight_drift('{a}', '{b}')")
    assert found == [drift(WEIGHTS[a], WEIGHTS[b], stratum) for stratum in STRATA]
    assert found[0]["records_both"] > 0
    assert found[0]["records_only_a"] or found[0]["records_only_b"]


def test_weight_drift_takes_names_of_sets_and_ids_of_runs(connection):
    for a, b in (("strong", "another"), ("main", "strong")):
        wanted = dicts(connection, f"from weight_drift('{SETS[a][0]}', '{SETS[b][0]}')")
        assert [row["total_variation"] for row in wanted] != [0] * len(STRATA)
        for given in (f"'{a}', '{b}'", f"'{a}', '{SETS[b][0]}'", f"run_b := '{b}', run_a := '{SETS[a][0]}'"):
            assert dicts(connection, f"from weight_drift({given})") == wanted


def test_a_run_has_not_drifted_from_itself(connection):
    for row in dicts(connection, "from weight_drift('align_new', (select run_id from weight_sets where is_current))"):
        assert (row["total_variation"], row["mean_abs_log_ratio"]) == (0, 0)
        assert row["correlation"] == near(1)
        assert row["records_only_a"] == row["records_only_b"] == 0


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("'align_old', 'nowhere'", "nowhere"), ("'nowhere', 'align_old'", "nowhere"), ("'align_old', null", "null"),
        ("'align_old', 'align_killed'", "align_killed"), ("'cluster', 'align_old'", "cluster"),
    ],
)  # fmt: skip
def test_what_is_no_weight_set_and_no_align_run_is_an_error_that_lists_the_sets(connection, given: str, name: str):
    for head in ("from", "select count(*) from"):
        with pytest.raises(
            duckdb.Error,
            match=f"no weight set and no align run '{name}'. Weight sets: {', '.join(sorted(SETS))}. The ids",
        ):
            connection.sql(f"{head} weight_drift({given})").fetchall()


# changed_since


def test_changed_since(connection):
    assert len(dicts(connection, "from changed_since('2020-01-01')")) == len(RUNS) + len(ACTIVATIONS)
    wrote: dict[str, Counter] = defaultdict(Counter)
    wrote["ingest"]["real_records"] = len(REAL)
    wrote["ingest_2"]["synthetic_records"] = len(SYNTHETIC)
    wrote["generate"]["refused_records"] = sum(
        run == "generate" and False in passed.values() for (run, *_), passed in CHECKED.items()
    )
    wrote["exclude"].update(excluded_records=1, included_records=1)
    for run, weights in WEIGHTS.items():
        wrote[run]["weights"] = len(weights)
    counted = [
        "real_records",
        "synthetic_records",
        "refused_records",
        "excluded_records",
        "included_records",
        "weights",
    ]
    for since in (2, 8, len(RUNS) + 2):
        expected = [
            {
                "sequence": number,
                "happened_at": minute(number),
                "what": "finished" if number <= len(RUNS) else "gone back to",
                "step": step_of(run),
                "run_id": run,
                **{name: wrote[run][name] if number <= len(RUNS) else None for name in counted},
                "notes": [] if number <= len(RUNS) else None,
            }
            for number, run in enumerate(RUNS + ACTIVATIONS, start=1)
            if number >= since
        ]
        assert dicts(connection, f"from changed_since('{minute(since)}')") == expected
        assert dicts(connection, f"from changed_since(timestamp '{minute(since)}')") == expected


def test_nothing_changed_since_the_future_and_a_time_must_be_given(connection):
    assert dicts(connection, "from changed_since(date '2100-01-01')") == []
    with pytest.raises(duckdb.Error, match="changed_since: give a time"):
        connection.sql("select count(*) from changed_since(null)").fetchall()


# weight_extremes


def extremes(label: str | None, n: int) -> list[tuple[Any, ...]]:
    weights = {
        name: weight
        for name, weight in WEIGHTS[CURRENT].items()
        if name != EXCLUDED and (label == "*" or LABEL[name] == label)
    }
    mean = math.fsum(weights.values()) / len(weights)
    quality = {name: value for name, (value, *_) in QUALITY[CURRENT].items()}
    found = []
    for side, sign in (("most", -1), ("least", 1)):
        order = sorted(weights, key=lambda name: (sign * weights[name], name))[:n]
        found += [
            (side, place, name, LABEL[name], weights[name], near(weights[name] / mean), quality.get(name))
            for place, name in enumerate(order, start=1)
        ]
    return found


@pytest.mark.parametrize(("given", "label"), [("'good'", "good"), ("'*'", "*"), ("null", None), ("'(none)'", None)])
@pytest.mark.parametrize("n", [3, 100])
def test_weight_extremes(connection, given: str, label: str | None, n: int):
    columns = "side, place, id, label, weight, weight_ratio, label_quality"
    assert connection.sql(f"select {columns} from weight_extremes({given}, n := {n})").fetchall() == extremes(label, n)


def test_weight_extremes_shows_ten_and_refuses_what_is_not_there(connection):
    assert len(connection.sql("from weight_extremes('*')").fetchall()) == 20
    with pytest.raises(
        duckdb.Error, match=r"no weighted record has the label 'unknown'; there are: \(none\), bad, good"
    ):
        connection.sql("select count(*) from weight_extremes('unknown')").fetchall()
    with pytest.raises(duckdb.Error, match="n must be an integer of at least 1, not 0"):
        connection.sql("from weight_extremes('good', n := 0)").fetchall()


# label_confusion


def test_label_confusion(connection):
    multiplicity = {("real", row["id"]): row["multiplicity"] for row in REAL}
    multiplicity |= {("synthetic", row["id"]): row["multiplicity"] for row in SYNTHETIC}
    groups: dict[tuple[Any, ...], list[tuple[int, float, float]]] = defaultdict(list)
    whole: dict[tuple[Any, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for (origin, name), (other, similarity) in NEAREST[MEASURED_BY[CURRENT]].items():
        if name != EXCLUDED:
            label = REAL_LABEL[name] if origin == "real" else LABEL[name]
            count, weight = multiplicity[origin, name], WEIGHTS[CURRENT].get(name, 0.0)
            groups[origin, label, REAL_LABEL[other]].append((count, weight, similarity))
            whole[origin, label][0] += count
            whole[origin, label][1] += weight
    expected = {
        key: (
            len(rows),
            near(sum(row[0] for row in rows) / whole[key[:2]][0]),
            near(math.fsum(row[1] for row in rows) / whole[key[:2]][1]) if key[0] == "synthetic" else None,
            near(math.fsum(row[2] for row in rows) / len(rows)),
        )
        for key, rows in groups.items()
    }
    found = connection.sql("from label_confusion").fetchall()
    assert {row[:3]: row[3:] for row in found} == expected
    assert len(found) == len(expected)
    assert {None, "good", "bad"} == {row[1] for row in found}


# accepted_costs


def test_accepted_costs(connection):
    """Two calls of one generate run brought four records, of which one was kept; one call of reason stated what for."""
    own, reason = [CALLS[name] for name in ("call", "repair")], CALLS["stated"]
    prompt, completion, cost = (sum(call[place] for call in own) for place in (2, 3, 4))
    records = [passed for (run, *_), passed in CHECKED.items() if run == "generate"]
    accepted = sum(False not in passed.values() for passed in records)
    assert dicts(connection, "from accepted_costs") == [
        {
            "run_id": "generate",
            "model": "m1",
            "calls": 2,
            "records": len(records),
            "accepted": accepted,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "cost_usd": cost,
            "tokens_per_accepted": (prompt + completion) / accepted,
            "usd_per_accepted": cost / accepted,
            "reason_run_id": "reason",
            "reason_calls": 1,
            "reason_tokens": reason[2] + reason[3],
            "reason_cost_usd": reason[4],
            "tokens_per_accepted_with_reason": (prompt + completion + reason[2] + reason[3]) / accepted,
            "usd_per_accepted_with_reason": (cost + reason[4]) / accepted,
        }
    ]


def test_costs_without_prices_or_accepted_records_are_unknown(measured: sa.Workspace):
    connection = measured.connect()
    connection.execute("create temp table kept as from checks; create or replace view detail.checks as from kept")
    connection.execute("update kept set accepted = false")
    (row,) = dicts(connection, "from accepted_costs")
    assert (row["accepted"], row["tokens_per_accepted"], row["usd_per_accepted"]) == (0, None, None)
    connection.execute("update kept set accepted = true")
    connection.execute("create temp table paid as from calls; create or replace view detail.calls as from paid")
    connection.execute("update paid set cost_usd = null where step = 'reason'")
    (row,) = dicts(connection, "from accepted_costs")
    assert row["usd_per_accepted"] == near(0.625 / 4)
    assert row["usd_per_accepted_with_reason"] is None, "part of it is not known"
    connection.execute("create temp table ran as from runs; create or replace view main.runs as from ran")
    connection.execute("update ran set inputs = ['select'] where run_id = 'generate'")
    (row,) = dicts(connection, "from accepted_costs")
    assert row["reason_run_id"] is None
    assert row["usd_per_accepted_with_reason"] == near(0.625 / 4)


# refusals_over_time


def test_refusals_over_time(connection):
    def day(call: str) -> datetime:
        return (BEGUN + timedelta(days=CALLS[call][1])).date()

    came: Counter = Counter()
    refused: dict[tuple[Any, ...], set] = defaultdict(set)
    for (run, call, index), passed in CHECKED.items():
        if run == "generate":
            came[day(call), "record"] += 1
            for rule in [rule for rule, good in passed.items() if good is False][:1]:
                refused[day(call), "record", rule].add((call, index))
    for call in CALLS:
        came[day(call), "reply"] += 1
    for call, index, reason in REJECTED:
        if index < 0:
            refused[day(call), "reply", reason].add(call)
    expected = {
        (date, "m1", unit, reason): (len(items), came[date, unit], near(len(items) / came[date, unit]))
        for (date, unit, reason), items in refused.items()
    }
    found = connection.sql("from refusals_over_time").fetchall()
    assert {row[:4]: row[4:] for row in found} == expected
    assert len(found) == len(expected)
    assert {row[2] for row in found} == {"record", "reply"}
    assert len({row[0] for row in found}) == 2


def test_base_relations_of_what_was_said_and_gone_back_to(connection):
    expected = [(number, run, minute(number)) for number, run in enumerate(ACTIVATIONS, start=len(RUNS) + 1)]
    assert (
        connection.sql("select sequence, run_id, activated_at from activations order by sequence").fetchall()
        == expected
    )
    assert connection.sql("select run_id, id, excluded from verdicts order by id").fetchall() == [
        ("exclude", "s05", False),
        ("exclude", EXCLUDED, True),
    ]
