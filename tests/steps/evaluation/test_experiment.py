"""ws.analyse_experiment: the log of an online test, added up by user in SQL, against plain numpy and scipy."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import chisquare, ttest_ind

import synalign as sa
from synalign.errors import AttachmentError, InputError, UsageError
from synalign.experiments.effects import effect, moments
from tests.steps.workspaces import rows, unpublished

METRICS = {"ctr": ("clicks", "impressions"), "orders": "orders"}


def log(users: int = 900, seed: int = 0, arms: str = "AB", lift: float = 0.1) -> pl.DataFrame:
    """Events of users who each stay in one arm; the last arm clicks more."""
    random = np.random.default_rng(seed)
    arm = random.integers(0, len(arms), users)
    who = random.integers(0, users, users * 8)
    seen = random.integers(1, 5, len(who))
    rate = np.clip(0.1 + random.normal(0, 0.03, users) + lift * (arm == len(arms) - 1), 0.01, 0.9)
    return pl.DataFrame(
        {
            "user_id": who,
            "arm": [arms[arm[one]] for one in who],
            "impressions": seen,
            "clicks": random.binomial(seen, rate[who]),
            "orders": random.poisson(0.1, len(who)),
            "revenue": random.gamma(2, 5, len(who)),
            "seconds": np.sort(random.integers(0, 10 * 86_400, len(who))),
        }
    ).with_columns((pl.lit(datetime(2026, 1, 1)) + pl.duration(seconds="seconds")).alias("happened"))


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    return log()


@pytest.fixture
def ws(tmp_path: Path):
    with unpublished():
        workspace = sa.open(tmp_path / "w")
        workspace.configure(sa.Config())
        yield workspace


def by_user(events: pl.DataFrame, arm: str) -> pl.DataFrame:
    return events.filter(pl.col("arm") == arm).group_by("user_id").agg(pl.col(pl.Int64, pl.Float64).sum())


def row(found: Any, metric: str, arm: str = "B") -> dict[str, Any]:
    return found.frame.filter((pl.col("metric") == metric) & (pl.col("arm") == arm)).row(0, named=True)


def test_means_and_ratios_are_those_of_the_users(ws: sa.Workspace, events: pl.DataFrame) -> None:
    found = ws.analyse_experiment(events, metrics=METRICS)
    a, b = by_user(events, "A"), by_user(events, "B")
    orders, ctr = row(found, "orders"), row(found, "ctr")
    welch = ttest_ind(b["orders"], a["orders"], equal_var=False)
    assert (orders["users"], orders["control_users"]) == (b.height, a.height)
    assert orders["p_value"] == pytest.approx(welch.pvalue, rel=1e-9)
    interval = welch.confidence_interval(0.95)
    assert (orders["low"], orders["high"]) == pytest.approx((interval.low, interval.high))
    known = effect(moments(b["clicks"], b["impressions"]), moments(a["clicks"], a["impressions"]), 0.05)
    assert ctr["value"] == pytest.approx(b["clicks"].sum() / b["impressions"].sum())
    for name in ("p_value", "low", "high", "relative_low", "relative_high"):
        assert ctr[name] == pytest.approx(getattr(known, name), rel=1e-7), name
    assert (ctr["significant"], orders["significant"]) == (True, welch.pvalue * 1 <= 0.05)
    assert ctr["corrected_p"] == pytest.approx(2 * ctr["p_value"])
    joint = effect(moments(b["clicks"], b["impressions"]), moments(a["clicks"], a["impressions"]), 0.025)
    assert (ctr["joint_low"], ctr["joint_high"]) == pytest.approx((joint.low, joint.high))
    assert found.users == {"A": a.height, "B": b.height}
    assert found.sample_ratio_p == pytest.approx(chisquare([a.height, b.height]).pvalue)
    assert found.notes == ()


def test_what_is_found_is_written_once(ws: sa.Workspace, events: pl.DataFrame) -> None:
    found = ws.analyse_experiment(events, metrics=METRICS, time="happened")
    stored = ws.sql("from experiments order by metric").pl()
    assert_frame_equal(stored.drop("run_id"), found.frame.sort("metric"), check_dtypes=False)
    assert stored["run_id"].unique().to_list() == [found.run_id]
    again = ws.analyse_experiment(events.sample(fraction=1, shuffle=True, seed=1), metrics=METRICS, time="happened")
    assert (again.reused, again.run_id) == (True, found.run_id)
    more = ws.analyse_experiment(pl.concat([events, events.head(1)]), metrics=METRICS, time="happened")
    assert not more.reused
    assert ws.sql("select count(*) from experiments").fetchall() == [(4,)]
    assert not ws.fsck().errors


def test_every_source_says_the_same(ws: sa.Workspace, events: pl.DataFrame, tmp_path: Path) -> None:
    events.write_parquet(tmp_path / "log.parquet")
    events.write_csv(tmp_path / "log.csv")
    with duckdb.connect(str(tmp_path / "log.duckdb")) as connection:
        connection.execute("create table events as from events")
    first = ws.analyse_experiment(events, metrics=METRICS)
    for source, query in (
        (tmp_path / "log.parquet", None),
        (str(tmp_path / "log.csv"), None),
        (events.to_arrow(), None),
        (events.lazy(), None),
        (tmp_path / "log.duckdb", None),
        (tmp_path / "log.duckdb", "select * from events;"),
        (tmp_path / "log.parquet", "from log where true"),
    ):
        found = ws.analyse_experiment(source, metrics=METRICS, query=query)
        assert found.run_id == first.run_id, source


def test_a_query_shapes_the_log(ws: sa.Workspace, events: pl.DataFrame) -> None:
    query = (
        "select user_id as who, if(arm = 'A', 'old', 'new') as variant, clicks * 2 as c from log where impressions > 1"
    )
    found = ws.analyse_experiment(events, metrics=["c"], query=query, user="who", arm="variant", control="old")
    kept = by_user(events.filter(pl.col("impressions") > 1), "B")
    assert row(found, "c", "new")["value"] == pytest.approx(2 * kept["clicks"].mean())


def test_several_arms_are_each_compared_with_the_control(ws: sa.Workspace) -> None:
    events = log(seed=3, arms="ABC")
    found = ws.analyse_experiment(events, metrics=["clicks", "orders"], correction="bh")
    assert found.frame.select("metric", "arm").rows() == [
        ("clicks", "B"), ("clicks", "C"), ("orders", "B"), ("orders", "C"),
    ]  # fmt: skip
    assert row(found, "clicks", "C")["significant"]
    assert not row(found, "clicks", "B")["significant"]
    assert found.frame["correction"].unique().to_list() == ["bh"]
    plain = ws.analyse_experiment(events, metrics=["clicks", "orders"], correction="none")
    assert plain.frame["corrected_p"].to_list() == plain.frame["p_value"].to_list()


def test_one_experiment_of_several_is_chosen(ws: sa.Workspace, events: pl.DataFrame) -> None:
    both = pl.concat([events.with_columns(experiment=pl.lit(name)) for name in ("one", "it's")])
    with pytest.raises(UsageError, match=r"of 2 experiments: it's, one\. Say which"):
        ws.analyse_experiment(both, metrics=METRICS)
    found = ws.analyse_experiment(both, metrics=METRICS, experiment="it's")
    assert found.frame["experiment"].unique().to_list() == ["it's"]
    assert row(found, "orders")["value"] == row(ws.analyse_experiment(events, metrics=METRICS), "orders")["value"]
    with pytest.raises(InputError, match="no row of the experiment 'other'"):
        ws.analyse_experiment(both, metrics=METRICS, experiment="other")
    with pytest.raises(UsageError, match="no column 'experiment'"):
        ws.analyse_experiment(events, metrics=METRICS, experiment="one")


def test_users_in_two_arms_are_refused_or_left_out(ws: sa.Workspace, events: pl.DataFrame) -> None:
    moved = events.with_columns(
        arm=pl.when((pl.col("user_id") < 20) & (pl.col("seconds") % 2 == 0))
        .then(pl.lit("A"))
        .when(pl.col("user_id") < 20)
        .then(pl.lit("B"))
        .otherwise("arm")
    )
    both = moved.group_by("user_id").agg(pl.col("arm").n_unique()).filter(pl.col("arm") > 1)["user_id"].to_list()
    assert len(both) > 5
    with pytest.raises(InputError, match=rf"{len(both)} users were seen in more than one arm, such as '\d+'.*crossed"):
        ws.analyse_experiment(moved, metrics=METRICS)
    found = ws.analyse_experiment(moved, metrics=METRICS, crossed="drop")
    assert f"{len(both)} users who were seen in more than one arm are left out" in found.notes
    assert found.frame["users_in_two_arms"].unique().to_list() == [len(both)]
    alone = moved.filter(~pl.col("user_id").is_in(both))
    assert row(found, "ctr")["value"] == row(ws.analyse_experiment(alone, metrics=METRICS), "ctr")["value"]


def test_a_sample_ratio_mismatch_is_said_first(ws: sa.Workspace, events: pl.DataFrame) -> None:
    short = events.filter((pl.col("arm") == "A") | (pl.col("user_id") % 3 > 0))
    found = ws.analyse_experiment(short, metrics=METRICS)
    assert found.sample_ratio_p < 0.001
    assert found.notes[0].startswith("sample ratio mismatch: users did not come into the arms as they were to (A ")
    shares = {arm: float(count) for arm, count in found.users.items()}
    right = ws.analyse_experiment(short, metrics=METRICS, shares=shares)
    assert right.sample_ratio_p == pytest.approx(1.0)
    assert right.notes == ()
    with pytest.raises(UsageError, match=r"shares must name each arm once; given: A; there are: A \(\d+ users\), B"):
        ws.analyse_experiment(short, metrics=METRICS, shares={"A": 1.0})
    with pytest.raises(UsageError, match="numbers above 0"):
        ws.analyse_experiment(short, metrics=METRICS, shares={"A": 1.0, "B": 0.0})


def test_what_is_odd_in_a_log_is_said(ws: sa.Workspace, events: pl.DataFrame) -> None:
    place = pl.int_range(pl.len())
    odd = events.with_columns(
        user_id=pl.when(place < 3).then(None).otherwise("user_id"),
        arm=pl.when((place > 10) & (place < 16)).then(None).otherwise("arm"),
        orders=pl.when(place == 30).then(-1).when(place == 40).then(None).otherwise("orders"),
        happened=pl.lit(datetime(2026, 1, 1)) + pl.duration(hours=place % 60),
    )
    found = ws.analyse_experiment(odd, metrics=METRICS, time="happened")
    assert found.notes == (
        "3 rows without a user are left out",
        "5 rows without an arm are left out",
        "orders is null in 1 rows, which count as 0",
        "orders is below 0 for 1 users, and is taken as it is",
        "the log covers 2.5 days: weekdays and weekends may differ, so let it run full weeks",
    )
    assert found.frame["first_event"].unique().to_list() == [datetime(2026, 1, 1)]


def test_times_with_a_zone_are_kept_in_utc(ws: sa.Workspace, events: pl.DataFrame) -> None:
    zoned = events.with_columns(pl.col("happened").dt.replace_time_zone("Asia/Tokyo"))
    found = ws.analyse_experiment(zoned, metrics=METRICS, time="happened")
    expected = zoned["happened"].dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    assert row(found, "ctr")["first_event"] == expected.min()
    assert row(found, "ctr")["last_event"] == expected.max()


def test_what_does_not_vary_is_left_without_a_p_value(ws: sa.Workspace, events: pl.DataFrame) -> None:
    still = events.with_columns(none=pl.lit(0), few=(pl.col("arm") == "B") & (pl.col("user_id") < 50))
    found = ws.analyse_experiment(still, metrics={"none": "none", "share": "orders/none", "few": "few", "ok": "clicks"})
    none, share, few, ok = (row(found, name) for name in ("none", "share", "few", "ok"))
    assert (none["value"], none["p_value"], none["significant"]) == (0.0, None, False)
    assert (share["value"], share["control_value"], share["lift"]) == (None, None, None)
    assert (few["relative_lift"], few["relative_low"], few["significant"]) == (None, None, True)
    assert ok["corrected_p"] == pytest.approx(2 * ok["p_value"]), "metrics that say nothing do not count"
    assert found.notes == (
        "none does not vary in B and A: there is no p-value and no interval",
        "share is divided by 0 in B or A: nothing is said of it",
        "few in A cannot be told from 0: the relative lift has no interval",
    )
    assert "share, B against A: not known." in found.summary


@pytest.mark.parametrize(
    ("change", "given", "error", "said"),
    [
        ({}, {"control": "C"}, UsageError, r"no arm 'C' to be the control; there are: A \(\d+ users\), B"),
        ({}, {"metrics": ["nothing"]}, UsageError, "no column 'nothing'. It has: user_id, arm, impressions"),
        ({}, {"user": "visitor"}, UsageError, "no column 'visitor'"),
        ({}, {"metrics": ["arm"]}, InputError, "'arm' of .* holds VARCHAR, and no numbers"),
        ({}, {"metrics": []}, UsageError, "at least one metric"),
        ({}, {"metrics": {"x": 3}}, UsageError, "metric 'x' must be a column"),
        ({}, {"metrics": {"x": "a/b/c"}}, UsageError, "metric 'x' must be a column"),
        ({}, {"correction": "bonferroni"}, UsageError, "holm, bh, none"),
        ({}, {"crossed": "keep"}, UsageError, "refuse, drop"),
        ({}, {"alpha": 0.7}, UsageError, "alpha"),
        ({}, {"time": "orders"}, InputError, "'orders' of .* holds BIGINT, and no times"),
        ({}, {"query": "select nonsense from log"}, InputError, r"(?s)nonsense.*The query was"),
        ({}, {"query": "drop table log"}, InputError, "cannot be analysed"),
        ({"arm": pl.lit("A")}, {}, InputError, "one arm only, A"),
        ({"arm": pl.lit(None, dtype=pl.String)}, {}, InputError, "no row with a user and an arm"),
        (
            {"arm": pl.when(pl.col("user_id") == 5).then(pl.lit("B")).otherwise(pl.lit("A"))}, {},
            InputError, "arm 'B' has 1 user",
        ),
        ({"impressions": -pl.col("impressions")}, {}, InputError, "'impressions', which is divided by, is below 0"),
        ({"orders": pl.lit(float("nan"))}, {}, InputError, "not finite: orders"),
    ],
)  # fmt: skip
def test_what_cannot_be_analysed_is_said(
    ws: sa.Workspace, events: pl.DataFrame, change: dict, given: dict, error: type, said: str
) -> None:
    with pytest.raises(error, match=said):
        ws.analyse_experiment(events.with_columns(**change), **({"metrics": METRICS} | given))
    assert rows(ws, "from experiments") == []


def test_sources_that_are_none_are_said(ws: sa.Workspace, tmp_path: Path) -> None:
    with pytest.raises(AttachmentError, match="no file or folder"):
        ws.analyse_experiment(tmp_path / "nothing.parquet", metrics=METRICS)
    with duckdb.connect(str(tmp_path / "two.duckdb")) as connection:
        connection.execute("create table one as select 1 as user_id")
        connection.execute("create table two as select 1 as user_id")
    with pytest.raises(UsageError, match=r"has 2 tables: one, two\. Say with a query"):
        ws.analyse_experiment(tmp_path / "two.duckdb", metrics=METRICS)
    with pytest.raises(UsageError, match="A int cannot be attached"):
        ws.analyse_experiment(3, metrics=METRICS)


def test_columns_of_any_name_and_type_are_taken(ws: sa.Workspace, events: pl.DataFrame) -> None:
    """Names that SQL would not take without quotes, flags, and exact decimals."""
    named = events.select(
        pl.col("user_id").cast(pl.String).alias("the user"),
        pl.col("arm").alias("select"),
        (pl.col("clicks") > 0).alias('a "flag"'),
        pl.col("revenue").cast(pl.Decimal(12, 2)).alias("m1"),
    )
    found = ws.analyse_experiment(named, metrics={"it's": 'a "flag"', "revenue": "m1"}, user="the user", arm="select")
    b = by_user(events.with_columns(flag=(pl.col("clicks") > 0).cast(pl.Int64)), "B")
    assert row(found, "it's")["value"] == pytest.approx(b["flag"].mean())
    assert row(found, "revenue")["value"] == pytest.approx(b["revenue"].mean(), abs=0.1)


def test_it_is_said_in_words(ws: sa.Workspace, events: pl.DataFrame) -> None:
    found = ws.analyse_experiment(events, metrics=METRICS)
    ctr = row(found, "ctr")
    first, second = found.summary.splitlines()
    assert first == (
        f"ctr, B against A: {ctr['value']:.4g} and {ctr['control_value']:.4g}, a lift of {ctr['lift']:+.4g} (95% "
        f"interval {ctr['low']:+.4g} to {ctr['high']:+.4g}), relatively {ctr['relative_lift']:+.1%} "
        f"({ctr['relative_low']:+.1%} to {ctr['relative_high']:+.1%}); corrected p = {ctr['corrected_p']:.2g}: higher."
    )
    assert second.startswith("orders, B against A: ")
