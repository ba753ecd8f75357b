"""The macro sample_training_mix: one systematic sample of both sides, exact in expectation and stratified by label."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import duckdb
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import synalign as sa
from synalign.errors import NotReadyError, UsageError
from synalign.steps.corpus import sample as sampling
from synalign.store.sql import statements
from synalign.workspace import CATALOG_NAME
from tests.store.rows import CURRENT, EXCLUDED, SYNTHETIC, TRAIN, WEIGHTS
from tests.store.sql.test_sample_macro import hashed

SHARES = [0.0, 0.125, 0.3, 0.5, 1.0]


def sizes(share: float) -> dict[tuple[str, str], float]:
    """The probability of each record of the fixture, by hand: (origin, id) -> probability."""
    real = {("real", row["id"]): (1 - share) * row["multiplicity"] for row in TRAIN}
    weight = {("synthetic", name): share * value for name, value in WEIGHTS[CURRENT].items() if name != EXCLUDED}
    all_real, all_weight = sum(row["multiplicity"] for row in TRAIN), sum(weight.values()) / share if share else 1.0
    found = {key: value / all_real for key, value in real.items()} | {
        key: value / all_weight for key, value in weight.items()
    }
    return {key: value for key, value in found.items() if value > 0}


LABELS = {("real", row["id"]): row["label"] for row in TRAIN} | {
    ("synthetic", row["id"]): row["label"] for row in SYNTHETIC
}


@pytest.fixture(scope="module")
def live(measured: sa.Workspace):
    return measured.connect()


@pytest.fixture(scope="module")
def held(measured: sa.Workspace):
    """The macro over the same rows, kept in memory: drawing hundreds of times reads Lance once."""
    connection = measured.connect()
    keep(connection)
    return connection


def keep(connection) -> None:
    for name in ("real", "synthetic_weighted", "training_mix"):
        connection.execute(f"create temp table {name}_kept as from {name}")
        connection.execute(f"create or replace view {name} as from {name}_kept")


def draw(connection, n: int, share: float, seed: int) -> dict[tuple[str, str], int]:
    call = f"sample_training_mix({n}, synthetic_share := {share}, seed := {seed})"
    found = connection.sql(f"select origin, id, copies from {call}").fetchall()
    assert len(found) == len({row[:2] for row in found})
    return {(origin, name): copies for origin, name, copies in found}


def systematic(share: float, n: int, seed: int) -> dict[tuple[str, str], int]:
    """The same sample, by placing n equally spaced points on the line of probabilities, in fractions."""
    probability = sizes(share)
    order = sorted(
        probability, key=lambda key: (key[0], LABELS[key] is None, LABELS[key] or "", hashed(f"{key[1]}:{seed}"))
    )
    total = sum(Fraction(value) for value in probability.values())
    start = Fraction(hashed(f"start:{seed}") % 2**40, 2**40)
    copies: dict[tuple[str, str], int] = defaultdict(int)
    reach, point = Fraction(0), 1
    for key in order:
        reach += Fraction(probability[key]) / total
        while point <= n and Fraction(point) - start <= n * reach:
            copies[key] += 1
            point += 1
    return dict(copies)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("n", [1, 7, 100, 2000])
def test_it_is_the_systematic_sample_in_the_order_of_the_strata(held, n: int, share: float):
    for seed in range(3):
        assert draw(held, n, share, seed) == systematic(share, n, seed)


@pytest.mark.parametrize("share", SHARES)
def test_strata_and_sides_come_within_one_draw_of_what_they_are_due(held, share: float):
    probability = sizes(share)
    for n, seed in ((10, 1), (97, 2), (1000, 3)):
        copies = draw(held, n, share, seed)
        assert sum(copies.values()) == n
        for key, count in copies.items():
            expected = n * probability[key]
            assert np.floor(expected - 1e-9) <= count <= np.ceil(expected + 1e-9)
        for group in (lambda key: key[0], lambda key: (key[0], LABELS[key])):
            due, drawn = defaultdict(float), defaultdict(int)
            for key, value in probability.items():
                due[group(key)] += n * value
                drawn[group(key)] += copies.get(key, 0)
            for name in due:
                assert abs(drawn[name] - due[name]) <= 1 + 1e-9


def test_expected_copies_are_exact_over_all_starts(measured: sa.Workspace):
    """Over a grid of equally spaced starts a record is drawn n times its probability on average, up to one step."""
    connection, grid, n, share = measured.connect(), 128, 41, 0.3
    sql = statements.read("macros", "sample_training_mix").sql
    start = "(md5_number(concat('start:', seed)) % 1099511627776)::double / 1099511627776 as start"
    assert start in sql
    moved = sql.replace(start, f"seed::double / {grid} as start").replace("concat(id, ':', seed)", "concat(id, ':0')")
    connection.execute(moved.replace("create macro sample_training_mix", "create macro moved"))
    keep(connection)
    total: dict[tuple[str, str], int] = defaultdict(int)
    for seed in range(grid):
        found = connection.sql(f"from moved({n}, synthetic_share := {share}, seed := {seed})")
        for origin, name, copies in found.select("origin, id, copies").fetchall():
            total[origin, name] += copies
    for key, value in sizes(share).items():
        assert total[key] / grid == pytest.approx(n * value, abs=1 / grid + 1e-9)


def test_the_same_rows_live_published_and_in_python(measured: sa.Workspace, live):
    call = "sample_training_mix(50, synthetic_share := 0.4, seed := 9)"
    with duckdb.connect(str(measured.path / CATALOG_NAME), read_only=True) as published:
        frames = [at.sql(f"from {call} order by origin, id").pl() for at in (live, published)]
    frames.append(sampling.sample_mix(live, 50, 0.4, 9))
    assert frames[0].columns == ["origin", "id", "text", "label", "sample_weight", "copies"]
    for other in frames[1:]:
        assert_frame_equal(frames[0], other, check_exact=True)
    default = live.sql("select origin, sum(copies) from sample_training_mix(50) group by origin order by 1").fetchall()
    assert default == [("real", 25), ("synthetic", 25)]


def test_the_weighted_mean_is_kept(held):
    """Of a figure that the weights shift (the number in the id), the sample's mean is the weighted mean."""
    share, n = 0.5, 20_000
    copies = draw(held, n, share, 5)
    value = {key: float(key[1][1:]) for key in LABELS}
    expected = sum(value[key] * part for key, part in sizes(share).items())
    assert sum(value[key] * count for key, count in copies.items()) / n == pytest.approx(expected, abs=0.02)
    raw = np.mean([value[key] for key in sizes(share)])
    assert abs(raw - expected) > 0.2, "the plain mean would not do"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("0", "n must be an integer of at least 1, not 0"),
        ("1.5", "not 1.5"),
        ("null", "not null"),
        ("5, synthetic_share := 1.01", "synthetic_share must be a number from 0 to 1, not 1.01"),
        ("5, synthetic_share := -0.1", "not -0.1"),
        ("5, synthetic_share := null", "not null"),
        ("5, seed := null", "the seed must be an integer, not null"),
    ],
)
def test_what_cannot_be_drawn_is_said(live, given: str, said: str):
    for head in ("from", "select count(*) from"):
        with pytest.raises(duckdb.Error, match=said):
            live.sql(f"{head} sample_training_mix({given})").fetchall()


@pytest.mark.parametrize(("n", "share"), [(0, 0.5), ("3", 0.5), (3, 2), (3, "a"), (3, True), (3, float("nan"))])
def test_what_python_refuses(live, n, share):
    with pytest.raises(UsageError, match="must be"):
        sampling.sample_mix(live, n, share, 0)


def test_a_side_without_records_is_said_unless_it_is_not_asked_for(blank):
    workspace = sa.open(blank)
    workspace.ingest(pl.DataFrame({"text": ["one", "two", "two"]}))
    with workspace.connect() as connection:
        found = "select text, copies from sample_training_mix(6, synthetic_share := 0) order by text"
        assert connection.sql(found).fetchall() == [("one", 2), ("two", 4)]
        with pytest.raises(duckdb.Error, match=r"no weights to draw synthetic records by\. Run align first"):
            connection.sql("from sample_training_mix(6)").fetchall()
        with pytest.raises(NotReadyError, match="no weights"):
            sampling.sample_mix(connection, 6, 0.5, 0)
        connection.execute("create temp table nobody as from real limit 0")
        connection.execute("create or replace view real as from nobody")
        with pytest.raises(duckdb.Error, match=r"no real training records"):
            connection.sql("from sample_training_mix(6, synthetic_share := 0)").fetchall()
        with pytest.raises(NotReadyError, match="no real training records"):
            sampling.sample_mix(connection, 6, 0, 0)
