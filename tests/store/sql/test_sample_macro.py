"""The macro sample_synthetic: systematic sampling, exact in expectation, in plain SQL."""

from __future__ import annotations

import hashlib

import duckdb
import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

import synalign as sa
from synalign.errors import UsageError
from synalign.store.sql import statements

VALUES = "('a'), ('b'), ('c'), ('e')"


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    generator = np.random.default_rng(5)
    found = generator.exponential(size=300) ** 3
    found[:20] = 0
    return found / found.sum()


@pytest.fixture(scope="module")
def connection(weights: np.ndarray):
    connection = duckdb.connect()
    connection.execute("create table synthetic_weighted (id varchar, text varchar, weight double)")
    rows = [(f"id{number}", f"text {number}", float(weight)) for number, weight in enumerate(weights)]
    connection.executemany("insert into synthetic_weighted values (?, ?, ?)", rows)
    connection.execute(statements.read("macros", "sample_synthetic").sql)
    yield connection
    connection.close()


def draw(connection, n: int, seed: int, size: int) -> np.ndarray:
    found = connection.sql(f"select id, copies from sample_synthetic({n}, seed := {seed})").fetchall()
    copies = np.zeros(size, dtype=int)
    for name, count in found:
        assert count > 0
        copies[int(name[2:])] = count
    return copies


def hashed(text: str) -> int:
    """What DuckDB's md5_number gives: the digest as a number, its first byte the lowest."""
    return int.from_bytes(hashlib.md5(text.encode()).digest(), "little")


def systematic(weights: np.ndarray, n: int, seed: int) -> np.ndarray:
    """The same sample, worked out by placing n equally spaced points on the line of weights."""
    order = sorted(
        (number for number in range(len(weights)) if weights[number] > 0),
        key=lambda number: hashed(f"id{number}:{seed}"),
    )
    reach = np.cumsum(weights[order])
    reach /= reach[-1]
    start = hashed(f"start:{seed}") % 2**40 / 2**40
    points = (np.arange(1, n + 1) - start) / n
    hit = np.searchsorted(reach, points, side="left")
    copies = np.zeros(len(weights), dtype=int)
    for place in hit:
        copies[order[min(place, len(order) - 1)]] += 1
    return copies


@pytest.mark.parametrize("n", [1, 2, 7, 100, 299, 300, 1000, 12345, 10**6])
def test_copies_add_up_to_n_and_stay_next_to_their_expectation(connection, weights, n):
    for seed in [*range(12), -3, 2**40]:
        copies = draw(connection, n, seed, len(weights))
        assert copies.sum() == n
        expected = n * weights
        assert (copies >= np.floor(expected - 1e-6)).all()
        assert (copies <= np.ceil(expected + 1e-6)).all()


@pytest.mark.parametrize("n", [1, 10, 257, 2000])
def test_it_is_the_systematic_sample(connection, weights, n):
    for seed in range(8):
        np.testing.assert_array_equal(draw(connection, n, seed, len(weights)), systematic(weights, n, seed))


def test_expected_copies_are_n_times_the_weight(connection, weights):
    """Over seeds, the copies above the whole part of n * weight are a binomial count: none is out of its reach."""
    n, seeds = 60, 800
    total = np.sum([draw(connection, n, seed, len(weights)) for seed in range(seeds)], axis=0)
    whole, part = np.divmod(n * weights, 1)
    count = np.round(total - seeds * whole).astype(int)
    tails = np.minimum(binom.cdf(count, seeds, part), binom.sf(count - 1, seeds, part))
    # By chance one of the 300 would be below in fewer than one of a thousand choices of seeds.
    assert tails.min() > 1e-3 / (2 * len(weights))


@pytest.mark.parametrize("n", [7, 60, 299])
def test_expected_copies_are_exact_over_all_starts(connection, weights, n):
    """Of a grid of equally spaced starts, a record is drawn n * weight times on average, up to one step of the grid."""
    sql = statements.read("macros", "sample_synthetic").sql
    start = "(md5_number(concat('start:', seed)) % 1099511627776)::double / 1099511627776 as start"
    assert start in sql
    moved = sql.replace(start, "seed::double / 128 as start").replace("concat(id, ':', seed)", "concat(id, ':0')")
    connection.execute(moved.replace("create macro sample_synthetic", "create or replace macro moved"))
    total = np.zeros(len(weights))
    for number in range(128):
        for name, copies in connection.sql(f"select id, copies from moved({n}, seed := {number})").fetchall():
            total[int(name[2:])] += copies
    np.testing.assert_allclose(total / 128, n * weights, atol=1 / 128 + 1e-9)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(threads):
    """On enough rows for several threads: floating sums would differ with the order of addition."""
    with duckdb.connect() as connection:
        connection.execute(
            "create table synthetic_weighted as select i::varchar as id, "
            "pow(md5_number_lower(i::varchar) / 18446744073709551616, 3) / 75000 as weight from range(300000) t(i)"
        )
        connection.execute(statements.read("macros", "sample_synthetic").sql)
        connection.execute("set threads = 1")
        one = connection.sql("select id, copies from sample_synthetic(5000, seed := 1) order by id").fetchall()
        connection.execute(f"set threads = {threads}")
        assert connection.sql("select id, copies from sample_synthetic(5000, seed := 1) order by id").fetchall() == one
        assert sum(copies for _, copies in one) == 5000


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("sample_synthetic(0)", "n must be an integer of at least 1, not 0"),
        ("sample_synthetic(2.5)", "not 2.5"),
        ("sample_synthetic(null)", "not null"),
        ("sample_synthetic(5, seed := null)", "the seed must be an integer, not null"),
    ],
)
def test_what_cannot_be_drawn_is_said(connection, call, said):
    for head in ("from", "select count(*) from"):
        with pytest.raises(duckdb.Error, match=said):
            connection.sql(f"{head} {call}").fetchall()


def test_a_seed_names_a_sample(connection, weights):
    one, again, other = (draw(connection, 50, seed, len(weights)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    default = connection.sql("select id, copies from sample_synthetic(50) order by id").fetchall()
    zero = connection.sql("select id, copies from sample_synthetic(50, seed := 0) order by id").fetchall()
    assert default == zero


def test_only_distinct_refuses_what_could_repeat(connection, weights):
    largest = int(1 / weights.max())
    fine = f"select max(copies), sum(copies) from sample_synthetic({largest}, seed := 4, only_distinct := true)"
    assert connection.sql(fine).fetchall() == [(1, largest)]
    with pytest.raises(duckdb.Error, match=f"the largest n for distinct records is {largest}"):
        connection.sql(f"from sample_synthetic({largest + 1}, only_distinct := true)").fetchall()
    with pytest.raises(duckdb.Error, match="only_distinct out"):
        connection.sql("select sum(copies) from sample_synthetic(10000, only_distinct := true)").fetchall()


def test_weights_that_do_not_sum_to_one_are_scaled(weights):
    with duckdb.connect() as connection:
        connection.execute(
            "create table synthetic_weighted as select 'id0' as id, 0.25 as weight union all select 'id1', 0.05"
        )
        connection.execute(statements.read("macros", "sample_synthetic").sql)
        assert connection.sql("select id, copies from sample_synthetic(600) order by id").fetchall() == [
            ("id0", 500),
            ("id1", 100),
        ]


OWN = ["reach", "place", "total", "start", "heaviest", "largest", "reach_before", "n", "seed", "d", "s", "drawn_copies"]


def test_columns_of_a_user_are_kept_whatever_they_are_called(weights):
    with duckdb.connect() as connection:
        own = ", ".join(f"id || '{name}' as {name}" for name in OWN)
        connection.execute(
            f"create table synthetic_weighted as select id, 0.25 as weight, {own} from (values {VALUES}) t(id)"
        )
        connection.execute(statements.read("macros", "sample_synthetic").sql)
        found = connection.sql("from sample_synthetic(8) order by id")
        assert found.columns == ["id", "weight", *OWN, "copies"]
        for name, weight, *values, copies in found.fetchall():
            assert (weight, copies, values) == (0.25, 2, [name + column for column in OWN])


def test_a_workspace_with_such_columns_can_be_sampled(blank):
    workspace = sa.open(blank)
    workspace.ingest(pl.DataFrame({"text": [f"the lamp number {n} is broken" for n in range(12)]}))
    made = pl.DataFrame({"text": [f"my lamp {n} broke" for n in range(12)]})
    own = [pl.Series(name, range(12)) for name in (*OWN, "copies")]
    workspace.ingest(made.with_columns(own), synthetic=True)
    workspace.align(features=64)
    sample = workspace.sample(40)
    assert sample["copies"].sum() == 40
    assert {*OWN, "file_copies"} <= set(sample.columns)
    assert sample["reach"].to_list() == sample["file_copies"].to_list()


@pytest.mark.parametrize("n", [2.5, "3", None, 3.0])
def test_a_number_of_draws_that_is_no_integer(filled, n):
    with pytest.raises(UsageError, match="must be an integer"):
        filled.sample(n)
    assert filled.sample(np.int64(3))["copies"].sum() == 3
