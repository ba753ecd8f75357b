"""align: each setting does what the configuration says of it, as seen in SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.errors import InputError, NumericsError, UsageError
from tests.steps.workspaces import FIXED, copy, corpus, make, one, rows, weights

LABELS = ("account", "defect", "delivery", "praise", "refund")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """100 real and 120 synthetic messages. Tests align it as they like."""
    texts = corpus()
    flat = pl.Series("price", [1.0, 3.0] * 60)
    return make(tmp_path_factory.mktemp("settings") / "w", texts.head(100), texts.tail(120).with_columns(flat))


def label_weights(workspace: sa.Workspace) -> dict[str, float]:
    return dict(workspace.sql("select label, sum(weight) from synthetic_weighted group by label").fetchall())


def test_matched_columns_are_crossed_with_labels_and_keep_the_real_shares(small: sa.Workspace) -> None:
    outcome = small.align(**FIXED, match=["channel"])
    (note,) = outcome.notes
    assert "no synthetic record has the combination of label, channel 'praise | channel=email'" in note
    shares = """
        with real_cells as (select label, channel, count(*) as n from real group by all),
        cells as (select label, channel, sum(weight) as weight from synthetic_weighted group by all)
        select c.weight, r.n / sum(r.n) over () as share from cells c join real_cells r using (label, channel)
    """
    found = small.sql(shares).pl()
    assert found.height == outcome.counts["strata"] == one(small, "select count(*) - 1 from alignments join "
        "current_runs using (run_id)")  # fmt: skip
    np.testing.assert_allclose(found["weight"].to_numpy(), found["share"].to_numpy(), rtol=1e-9)


def test_a_column_that_is_named_twice_counts_once(small: sa.Workspace) -> None:
    plain = small.align(**FIXED).counts
    assert small.align(**FIXED, match=["label", "split", "split"]).counts["mmd2_after"] == pytest.approx(
        plain["mmd2_after"], rel=1e-9
    )


def test_an_unknown_column_is_refused_with_those_there_are(small: sa.Workspace) -> None:
    with pytest.raises(UsageError, match=r"real records have no column 'chanel'\. They have: .*channel"):
        small.align(**FIXED, match=["chanel"])
    with pytest.raises(UsageError, match=r"synthetic records have no column 'cost'\. They have: .*price"):
        small.align(**FIXED, prior="cost")


def test_going_back_to_earlier_settings_computes_nothing(small: sa.Workspace) -> None:
    first = small.align(**FIXED)
    before = weights(small)
    other = small.align(**FIXED | {"strength": 1e-1})
    assert weights(small) != before
    again = small.align(**FIXED)
    assert again.reused
    assert again.run_id == first.run_id != other.run_id
    assert again.notes == ("gone back to an earlier run",)
    assert weights(small) == before


def test_strength_none_gives_the_base_weights(small: sa.Workspace) -> None:
    outcome = small.align(strength="none", features=64, quality=False, label_shares="kept")
    assert outcome.counts["strength"] == "none"
    np.testing.assert_allclose(list(weights(small).values()), 1 / 120, rtol=1e-9)
    small.align(strength="none", features=64, quality=False, label_shares="kept", prior="price")
    found = rows(small, "select price, min(weight) as low, max(weight) as high from synthetic_weighted group by price")
    for row in found:
        np.testing.assert_allclose([row["low"], row["high"]], row["price"] / 240, rtol=1e-9)


def test_a_prior_is_what_the_weights_start_from(small: sa.Workspace) -> None:
    ratio = "select avg(weight) filter (price = 3) / avg(weight) filter (price = 1) from synthetic_weighted"
    small.align(**FIXED)
    plain = one(small, ratio)
    small.align(**FIXED, prior="price")
    assert one(small, ratio) > 1.5 * plain


def test_a_prior_that_is_no_weight_is_refused(tmp_path: Path) -> None:
    texts, ones = corpus(), [1.0] * 59
    columns = {
        "negative": [-1.0, *ones],
        "hole": [None, *ones],
        "nan": [float("nan"), *ones],
        "zero": [0.0] * 60,
        "words": ["much"] * 60,
    }
    unpraised = (pl.col("label") != "praise").cast(pl.Int64).alias("unpraised")
    written = texts.tail(60).with_columns(unpraised, *(pl.Series(name, found) for name, found in columns.items()))
    workspace = make(tmp_path / "w", texts.head(60), written)
    messages = {
        "negative": r"1 records do not, the first is '\w+' with -1\.0\. No weights were learned",
        "hole": r"1 records do not, the first is '\w+' with None",
        "nan": "with nan",
        "zero": "holds no number above 0",
        "words": "must hold numbers; it holds String",
        "unpraised": "is 0 for all .*label 'praise'",
    }
    for prior, message in messages.items():
        with pytest.raises(InputError, match=message):
            workspace.align(**FIXED, prior=prior)
    assert one(workspace, "select count(*) from weights") == 0


def test_copies_share_the_budget_of_one(tmp_path: Path) -> None:
    """Taking the copies out by hand is the second opinion: the embedder stays the same."""
    texts = corpus()
    written = texts.tail(60)
    copies = pl.concat([written, *[written.head(1)] * 4]).with_columns(
        pl.Series("key", [f"{row:02}" for row in range(64)])
    )
    workspace = make(tmp_path / "w", texts.head(60), copies)
    total = "select sum(weight) from synthetic_weighted where text = ?"
    text = written["text"][0]
    workspace.align(**FIXED)
    alone_each = one(workspace, total, text)
    outcome = workspace.align(**FIXED, duplicates=0.99)
    assert "4 of 64 records are near-duplicates: 60 budgets" in outcome.notes
    together = one(workspace, total, text)
    assert one(workspace, "select count(distinct weight) from synthetic_weighted where text = ?", text) == 1
    assert workspace.exclude("id >= '60'").counts == {"excluded": 4}
    workspace.align(**FIXED)
    single = one(workspace, total, text)
    assert together == pytest.approx(single, rel=1e-3)
    assert alone_each > 1.4 * single


def test_a_cap_and_a_floor_hold_in_each_label(small: sa.Workspace) -> None:
    strong = FIXED | {"strength": 1e-4}
    largest = "select max(weight / mean) from (select weight, avg(weight) over (partition by label) as mean from synthetic_weighted)"  # noqa: E501
    effective = "select min(e) from (select sum(weight)**2 / sum(weight**2) / count(*) as e from synthetic_weighted group by label)"  # noqa: E501
    small.align(**strong)
    assert one(small, largest) > 2
    assert one(small, effective) < 0.6
    small.align(**strong, max_weight_ratio=2.0)
    assert one(small, largest) <= 2 * (1 + 1e-6)
    small.align(**strong, min_effective_share=0.6)
    assert one(small, effective) >= 0.6 * 0.98
    assert one(small, "select max(strength) from alignments join current_runs using (run_id)") > 1e-4


def test_given_label_shares_are_kept(small: sa.Workspace) -> None:
    wanted = dict(zip(LABELS, (4.0, 3.0, 2.0, 1.0, 0.0), strict=True))
    small.align(**FIXED | {"label_shares": wanted})
    found = label_weights(small)
    assert found == pytest.approx({name: value / 10 for name, value in wanted.items()}, abs=1e-12)


@pytest.mark.parametrize(
    ("shares", "more", "message"),
    [
        ({"praise": 1.0}, {}, "a share for each label .*account, defect, delivery, praise, refund. Given: praise"),
        (dict.fromkeys(LABELS, 0.0), {}, "with a sum of 0"),
        ({"praise": -1.0}, {}, "label_shares.praise: Input should be greater than or equal to 0"),
        ("rael", {}, "'auto', 'real' or 'kept'"),
        ({"praise": 1.0}, {"by_label": False}, "labels are not matched here"),
    ],
)
def test_label_shares_that_cannot_be_are_refused(small: sa.Workspace, shares: Any, more: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small.align(**FIXED | {"label_shares": shares} | more)


@pytest.mark.parametrize(
    ("given", "kernel", "features", "bandwidths"),
    [
        ({"kernel": "linear"}, "linear", 64, 0),
        ({"features": "exact"}, "gaussian, exact", 220, 1),
        ({"features": "auto"}, "gaussian", None, 1),
        ({"bandwidths": [0.5, 1.0, 2.0]}, "gaussian", 64, 3),
    ],
)
def test_every_kernel_brings_the_sides_nearer_and_is_on_record(
    small: sa.Workspace, given: dict[str, Any], kernel: str, features: int | None, bandwidths: int
) -> None:
    outcome = small.align(**FIXED | given)
    assert outcome.counts["mmd2_after"] < outcome.counts["mmd2_before"]
    (row,) = rows(
        small, "select distinct kernel, features, bandwidths from alignments join current_runs using (run_id)"
    )
    assert row["kernel"] == kernel
    assert features is None or row["features"] == features
    assert len(row["bandwidths"]) == bandwidths
    if bandwidths == 3:
        np.testing.assert_allclose(np.array(row["bandwidths"]) / row["bandwidths"][1], [0.5, 1.0, 2.0])
    assert one(small, "select sum(weight) from synthetic_weighted") == pytest.approx(1.0)
    assert one(small, "select count(*) from coverage_gaps") == 5


def test_an_exact_linear_kernel_and_a_device_that_is_not_there_are_refused(small: sa.Workspace) -> None:
    with pytest.raises(UsageError, match="'linear' takes a number of features; given: 'exact'"):
        small.align(kernel="linear", features="exact")
    with pytest.raises(NumericsError, match=r"device 'abacus'.*Use 'cpu'"):
        small.align(**FIXED | {"strength": 2e-2}, device="abacus")


def test_label_quality_finds_flipped_labels(tmp_path: Path) -> None:
    texts = corpus()
    wrong = pl.when(pl.col("label") == "refund").then(pl.lit("praise")).otherwise(pl.lit("refund"))
    last = texts.tail(120).with_row_index("row")
    flipped = last.with_columns(pl.when(pl.col("row") < 10).then(wrong).otherwise("label").alias("label")).drop("row")
    workspace = make(tmp_path / "w", texts.head(250), flipped)
    workspace.align(**FIXED | {"quality": True})
    both = "select count(*) from synthetic_weighted s join label_quality q using (id) where s.label_quality = q.quality"
    assert one(workspace, both) == 120
    flipped_texts = set(flipped["text"][:10])
    doubted = workspace.sql("select text, quality, label, predicted from doubted_labels").pl()
    assert (doubted["label"] != doubted["predicted"]).all()
    assert doubted["quality"].is_sorted()
    assert len(flipped_texts & set(doubted["text"])) >= 8
    mean = "select avg(weight / m) filter (text in (select unnest(?))) from (select *, avg(weight) over () as m from synthetic_weighted)"  # noqa: E501
    assert one(workspace, mean, sorted(flipped_texts)) < 0.7
    without = copy(workspace, tmp_path / "without")
    without.align(**FIXED)
    assert one(without, "select count(label_quality) from synthetic_weighted") == 0
