"""What the views say, against figures worked out another way."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.errors import SqlError
from synalign.workspace import CATALOG_NAME
from tests.store.rows import CURRENT, EXCLUDED, SYNTHETIC, WEIGHTS, WRITTEN


@pytest.fixture(scope="module")
def weighted(filled: sa.Workspace) -> pl.DataFrame:
    return filled.sql("from synthetic_weighted order by id").pl()


@pytest.fixture(scope="module")
def train(filled: sa.Workspace) -> pl.DataFrame:
    return filled.sql("from real where split = 'train' order by id").pl()


def test_weights_sum_to_one_with_the_real_label_shares(filled: sa.Workspace, train: pl.DataFrame):
    found = filled.sql("select label, count(*), sum(weight) from synthetic_weighted group by label").fetchall()
    np.testing.assert_allclose(sum(share for *_, share in found), 1, rtol=1e-9)
    real = Counter()
    for label, count in train.select("label", "multiplicity").iter_rows():
        real[label] += count
    both = sum(real[label] for label, *_ in found)
    assert {label for label, *_ in found} <= set(real)
    for label, _, share in found:
        np.testing.assert_allclose(share, real[label] / both, rtol=1e-6)


def test_label_names_are_those_of_the_task(filled: sa.Workspace, weighted: pl.DataFrame):
    names = dict(weighted.select("label", "label_name").iter_rows())
    assert names["praise"] == "is pleased"
    assert names["defect"] is None


def test_attribute_marginals(filled: sa.Workspace, weighted: pl.DataFrame, train: pl.DataFrame):
    members = dict(filled.sql("select origin || id, cluster_id from cluster_members").fetchall())
    sides: dict[str, dict[tuple[str, str], float]] = {name: defaultdict(float) for name in ("real", "raw", "weighted")}

    def words(text: str) -> str:
        count = len(re.findall(r"[^ \t\n\r\f\v]+", text))
        bands = [(5, "01-05"), (10, "06-10"), (20, "11-20"), (40, "21-40")]
        return next((name for top, name in bands if count <= top), "41+")

    def add(side: str, origin: str, row: dict, amount: float) -> None:
        sides[side]["label", row["label"]] += amount
        sides[side]["words", words(row["text"])] += amount
        sides[side]["cluster", f"{members[origin + row['id']]:04d}"] += amount

    for row in train.iter_rows(named=True):
        add("real", "real", row, row["multiplicity"])
    stated = defaultdict(list)
    for name, *value in filled.sql(
        "select attributes_id, name, value from attribute_values where kind = 'category'"
    ).fetchall():
        stated[name].append(tuple(value))
    assert stated
    for row in weighted.iter_rows(named=True):
        add("raw", "synthetic", row, row["multiplicity"])
        add("weighted", "synthetic", row, row["weight"])
        for key in stated[row["attributes_id"]]:
            sides["raw"][key] += row["multiplicity"]
            sides["weighted"][key] += row["weight"]
    found = filled.sql("from attribute_marginals").pl()
    keys = set(sides["real"]) | set(sides["raw"])
    assert set(found.select("attribute", "value").iter_rows()) == keys
    for side in sides:
        totals = defaultdict(float)
        for (attribute, _), amount in sides[side].items():
            totals[attribute] += amount
        share = found.select("attribute", "value", share=f"{side}_share")
        there = share.filter(pl.col("attribute").is_in(list(totals)))
        # Nothing was annotated: of the attributes that the model stated, real records have none.
        assert share.filter(pl.col("share").is_null()).height == share.height - there.height
        assert (side == "real") == (there.height < share.height)
        expected = [sides[side][key] / totals[key[0]] for key in there.select("attribute", "value").iter_rows()]
        np.testing.assert_allclose(there["share"].to_numpy(), expected, rtol=1e-9, atol=1e-12)
        sums = there.group_by("attribute").agg(pl.col("share").sum())["share"]
        np.testing.assert_allclose(sums.to_numpy(), 1, rtol=1e-9)


def test_annotations_count_more_than_what_a_record_was_written_from(measured: sa.Workspace):
    """By hand from `rows`: real r00 (3 times) is calm by the later run, r02 warm; s01 is annotated as warm, whatever it
    was written from; the others are calm, or cool where recombined."""
    wrote = {row["id"]: WRITTEN[number % 3].get("attributes_id") for number, row in enumerate(SYNTHETIC) if number % 2}
    expected: dict[str, dict[str, float]] = {"raw": defaultdict(float), "weighted": defaultdict(float)}
    counts = {row["id"]: row["multiplicity"] for row in SYNTHETIC}
    for name, weight in WEIGHTS[CURRENT].items():
        value = {"said": "calm", "mixed": "cool"}.get(wrote.get(name) or "")
        value = "warm" if name == "s01" else value
        if value is not None and name != EXCLUDED:
            expected["raw"][value] += counts[name]
            expected["weighted"][value] += weight
    found = measured.sql("from attribute_marginals where attribute = 'tone' order by value").pl()
    assert found["value"].to_list() == ["calm", "cool", "warm"]
    np.testing.assert_allclose(found["real_share"].to_numpy(), [0.75, 0, 0.25], rtol=1e-12)
    for side, values in expected.items():
        total = sum(values.values())
        np.testing.assert_allclose(
            found[f"{side}_share"].to_numpy(), [values[name] / total for name in ("calm", "cool", "warm")], rtol=1e-12
        )


def test_refusals_are_counted_by_rule(measured: sa.Workspace):
    """Four records came and one was kept; two are refused for their label, one of which is a copy too."""
    found = measured.sql("from refusal_summary").fetchall()
    assert found == [
        ("generate", "m1", "label", 4, 1, 2, 2, 0.5),
        ("generate", "m1", "copied", 4, 1, 1, 2, 0.25),
    ]


def test_descent_says_what_a_record_was_written_from(measured: sa.Workspace):
    found = measured.sql("select id, written_from, attributes_id, call_id, reason_run_id from lineage").fetchall()
    runs = {"said": "reason", "mixed": "generate", None: None}
    assert sorted(found) == [
        (row["id"], came["written_from"], name, came["call_id"], runs[name])
        for number, row in enumerate(SYNTHETIC)
        if number % 2
        for came in [WRITTEN[number % 3]]
        for name in [came.get("attributes_id")]
    ]


def test_what_personal_data_stood_for_is_in_no_relation(measured: sa.Workspace):
    assert measured._lake.read("redactions").num_rows == 1
    with pytest.raises(SqlError, match="redactions"):
        measured.sql("from redactions")
    with duckdb.connect(str(measured.path / CATALOG_NAME), read_only=True) as catalog:
        catalog.execute("set search_path = 'main,detail'")
        names = [row[0] for row in catalog.sql("select table_name from duckdb_tables()").fetchall()]
        names += [row[0] for row in catalog.sql("select view_name from duckdb_views() where not internal").fetchall()]
        assert not [name for name in names if "redact" in name]
        held = [name for name in names if "kim@example" in str(catalog.sql(f'from "{name}"').fetchall())]
    assert held == []


def test_cluster_coverage(filled: sa.Workspace, weighted: pl.DataFrame, train: pl.DataFrame):
    found = filled.sql("from cluster_coverage").pl()
    assert found["cluster_id"].to_list() == list(range(12))
    assert found["real_size"].sum() == train["multiplicity"].sum()
    for share in ("real_share", "synthetic_share", "weighted_share"):
        np.testing.assert_allclose(found[share].sum(), 1, rtol=1e-9)
    assert found["selections"].sum() == filled.sql("select count(*) from selections").fetchall()[0][0]
    assert found["generated"].sum() == filled.sql("select count(*) from synthetic").fetchall()[0][0]
    assert found["synthetic"].sum() == weighted["multiplicity"].sum()
    for mix in found["label_mix"].to_list():
        np.testing.assert_allclose(sum(part["share"] for part in mix), 1, rtol=1e-9)


def test_training_mix_gives_both_sides_the_same_total(
    filled: sa.Workspace, weighted: pl.DataFrame, train: pl.DataFrame
):
    mix = filled.sql("from training_mix").pl()
    totals = dict(mix.group_by("origin").agg(pl.col("sample_weight").sum()).iter_rows())
    assert set(totals) == {"real", "synthetic"}
    np.testing.assert_allclose(totals["synthetic"], totals["real"], rtol=1e-9)
    assert totals["real"] == train["multiplicity"].sum()
    assert mix.height == train.height + weighted.height


def test_call_costs(filled: sa.Workspace):
    calls = filled.sql("from calls").pl()
    costs = {row["step"]: row for row in filled.sql("from call_costs").pl().to_dicts()}
    assert set(costs) == {"reason", "generate"}
    for step, row in costs.items():
        mine = calls.filter(pl.col("step") == step)
        assert (row["calls"], row["complete"], row["failed"], row["refused"]) == (mine.height, mine.height, 0, 0)
        assert row["attempts"] == mine["attempts"].sum()
        assert row["completion_tokens"] == (
            mine["completion_tokens"].sum() if mine["completion_tokens"].count() else None
        )
        assert row["cost_usd"] == 0  # the embedded model is free
    made = filled.sql("select count(*) from synthetic where call_id is not null").fetchall()[0][0]
    assert (costs["reason"]["accepted"], costs["generate"]["accepted"]) == (0, made)


def test_every_generated_record_has_one_line_of_descent(filled: sa.Workspace):
    lineage = filled.sql("from lineage").pl()
    made = filled.sql("select id from synthetic where call_id is not null").pl()["id"].to_list()
    assert sorted(lineage["id"]) == sorted(made)
    assert lineage.select(pl.exclude("template_hash").null_count()).row(0) == (0,) * (lineage.width - 1)
    real = set(filled.sql("select id from real where split = 'train'").pl()["id"])
    assert {name for shown in lineage["demonstration_ids"] for name in shown} <= real


def test_selection_log(filled: sa.Workspace):
    log = filled.sql("from selection_log").pl()
    assert log["step"].to_list() == list(range(log.height))
    texts = dict(filled.sql("select id, text from real").fetchall())
    for row in log.to_dicts():
        assert row["demonstrations"] == [texts[name] for name in row["demonstration_ids"]]
    assert log["stop_reason"].to_list() == [None] * (log.height - 1) + ["budget"]
    assert (log["variance_after"] < log["variance_before"]).all()


def test_alignment_summary(filled: sa.Workspace, weighted: pl.DataFrame):
    summary = filled.sql("from alignment_summary").pl()
    assert summary["stratum"][0] == "*"
    whole = summary.row(0, named=True)
    weights = weighted["weight"].to_numpy()
    np.testing.assert_allclose(whole["effective_size"], 1 / (weights**2).sum(), rtol=1e-6)
    np.testing.assert_allclose(whole["effective_share"], whole["effective_size"] / weighted.height, rtol=1e-6)
    np.testing.assert_allclose(summary.filter(pl.col("stratum") != "*")["share"].sum(), 1, rtol=1e-9)


def excluded_workspace(blank: Path) -> sa.Workspace:
    workspace = sa.open(blank)
    texts = [f"lamp {n} is {'broken' if n % 2 else 'lovely'} and number {n * 7}" for n in range(40)]
    workspace.ingest(pl.DataFrame({"text": texts}))
    workspace.ingest(pl.DataFrame({"text": [f"{text} again" for text in texts]}), synthetic=True)
    workspace.align(features=64)
    return workspace


def test_excluded_records_have_no_weight_and_come_back(blank: Path):
    workspace = excluded_workspace(blank)
    one = workspace.sql("select id from synthetic_weighted order by weight desc limit 1").fetchall()[0][0]
    before = workspace.sql("select count(*) from synthetic_weighted").fetchall()[0][0]
    workspace.exclude(f"id = '{one}'", reason="a test")
    gone = workspace.sql("select id from synthetic_weighted").pl()["id"].to_list()
    assert one not in gone
    assert len(gone) == before - 1
    assert workspace.sql("from exclusions").fetchall() == [(one, "a test")]
    assert one not in workspace.sample(500)["id"].to_list()
    totals = workspace.sql("select origin, sum(sample_weight) from training_mix group by 1 order by 1").fetchall()
    np.testing.assert_allclose(totals[1][1], totals[0][1], rtol=1e-9)
    shares = workspace.sql("select sum(weight) from synthetic_weighted").fetchall()[0][0]
    assert shares < 1
    workspace.align(features=64)
    assert workspace.sql("select count(*), sum(weight) from synthetic_weighted").fetchall() == [
        (before - 1, pytest.approx(1))
    ]
    workspace.include(f"id = '{one}'")
    assert workspace.sql("from exclusions").fetchall() == []
