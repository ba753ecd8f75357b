"""The macro assign_arm: always the same arm, evenly, independently of other experiments, and the same in the catalog
and in another version of DuckDB, whose arms stand here."""

from __future__ import annotations

import hashlib
from collections import Counter

import duckdb
import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

import synalign as sa
from synalign.config import CATALOG_NAME
from synalign.store.sql import statements

#: The arms of users 0 to 39 in the experiment x.
GOLDEN = "BAAABBABAABBBAAABBBABAAABBAABAAAAAABBABA"


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as found:
        found.execute(statements.read("macros", "assign_arm").sql)
        yield found


def assigned(connection, users: int, experiment: str = "x", arms: str = "['A', 'B']", shares: str = "null") -> list:
    query = f"select assign_arm(i, '{experiment}', {arms}, {shares}) from range({users}) t(i) order by i"
    return [row[0] for row in connection.sql(query).fetchall()]


def place(user: object, experiment: str) -> float:
    """Where md5 puts a user on a line from 0 to 1, worked out apart."""
    return int(hashlib.md5(f"{len(experiment)}:{experiment}:{user}".encode()).hexdigest()[:10], 16) / 2**40


def test_the_arm_is_where_md5_puts_the_user_on_the_line(connection) -> None:
    found = assigned(connection, 500, "new search", "['a', 'b', 'c']", "[0.2, 0.3, 0.25]")
    expected = []
    for user in range(500):
        at = place(user, "new search")
        expected.append("a" if at < 0.2 else "b" if at < 0.5 else "c" if at < 0.75 else None)
    assert found == expected
    assert set(found) == {"a", "b", "c", None}


def test_arms_are_the_same_for_ever(connection) -> None:
    """Written down once, with duckdb 2.0.0 and 1.5.5: a change would put users of running experiments elsewhere."""
    assert "".join(assigned(connection, 40)) == GOLDEN
    assert assigned(connection, 40) == assigned(connection, 40)
    one = connection.sql("select assign_arm('u-17', 'checkout'), assign_arm(17, 'x') = assign_arm('17', 'x')")
    assert one.fetchall() == [("A", True)]


def test_users_are_spread_evenly(connection) -> None:
    for experiment in ("x", "y", "a longer name"):
        counts = Counter(assigned(connection, 20_000, experiment, "['A', 'B', 'C', 'D']"))
        assert set(counts) == set("ABCD")
        assert chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize(("one", "other"), [("x", "y"), ("search-1", "search-2"), ("a", "a ")])
def test_experiments_are_independent(connection, one: str, other: str) -> None:
    first, second = assigned(connection, 20_000, one), assigned(connection, 20_000, other)
    table = [[Counter(zip(first, second, strict=True))[a, b] for b in "AB"] for a in "AB"]
    assert chi2_contingency(table).pvalue > 1e-3


def test_a_name_and_a_user_do_not_run_together(connection) -> None:
    query = "select count(distinct assign_arm('{}' || i, '{}')) from range(99) t(i)"
    assert connection.sql(query.format("b:", "a")).fetchall() == [(2,)]
    mixed = "select avg((assign_arm('b:' || i, 'a') = assign_arm(i, 'a:b'))::int) from range(4000) t(i)"
    assert 0.45 < connection.sql(mixed).fetchall()[0][0] < 0.55


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ("[0.9, 0.1]", (0.9, 0.1, 0.0)),
        ("[90, 10]", (0.9, 0.1, 0.0)),
        ("[2, 1]", (2 / 3, 1 / 3, 0.0)),
        ("[0.05, 0.05]", (0.05, 0.05, 0.9)),
        ("[0, 0.4]", (0.0, 0.4, 0.6)),
        ("[0.25::double, 0.5::double]", (0.25, 0.5, 0.25)),
    ],
)
def test_shares_are_kept(connection, shares: str, expected: tuple[float, ...]) -> None:
    counts = Counter(assigned(connection, 20_000, "x", "['A', 'B']", shares))
    found = np.array([counts["A"], counts["B"], counts[None]])
    wanted = np.array(expected) * 20_000
    assert (found[wanted == 0] == 0).all()
    assert chisquare(found[wanted > 0], wanted[wanted > 0]).pvalue > 1e-3


def test_shares_as_decimals_and_as_weights_are_the_same_arms(connection) -> None:
    assert assigned(connection, 3_000, "x", "['A', 'B']", "[0.9, 0.1]") == assigned(
        connection, 3_000, "x", "['A', 'B']", "[90, 10]"
    )
    assert assigned(connection, 3_000) == assigned(connection, 3_000, "x", "['A', 'B']", "[0.5, 0.5]")
    tenths = assigned(connection, 3_000, "x", str([f"v{n}" for n in range(10)]), str([0.1] * 10))
    assert None not in tenths, "ten tenths are all users"


def test_who_has_an_arm_keeps_it_while_the_end_grows(connection) -> None:
    """What the head of the macro promises."""
    small = assigned(connection, 5_000, "x", "['A', 'B']", "[0.2, 0.1]")
    grown = assigned(connection, 5_000, "x", "['A', 'B']", "[0.2, 0.4]")
    added = assigned(connection, 5_000, "x", "['A', 'B', 'C']", "[0.2, 0.1, 0.3]")
    for later, joined in ((grown, "B"), (added, "C")):
        moves = Counter((was, now) for was, now in zip(small, later, strict=True) if was != now)
        assert set(moves) == {(None, joined)}
    before = assigned(connection, 5_000, "x", "['A', 'B']", "[0.8, 0.2]")
    after = assigned(connection, 5_000, "x", "['A', 'B']", "[0.6, 0.4]")
    assert set(Counter((was, now) for was, now in zip(before, after, strict=True) if was != now)) == {("A", "B")}


def test_arms_may_be_anything_and_come_from_a_table(connection) -> None:
    query = "select assign_arm(u, e, arms, shares) from (values ('u', 'x', [1, 2], [0, 1])) t(u, e, arms, shares)"
    assert connection.sql(query).fetchall() == [(2,)]
    assert connection.sql("select assign_arm(null, 'x')").fetchall() == [(None,)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("1, null", "experiment needs a name, not null"),
        ("1, 'x', []", r"arms must be a list of different names, such as \['A', 'B'\]"),
        ("1, 'x', null", "arms must be a list"),
        ("1, 'x', ['A', 'A']", "different names"),
        ("1, 'x', ['A', null]", "different names"),
        ("1, 'x', ['A', 'B'], [1]", "2 arms need as many shares, not 1"),
        ("1, 'x', ['A', 'B'], [1, -1]", "numbers of 0 or above"),
        ("1, 'x', ['A', 'B'], [1, null]", "numbers of 0 or above"),
        ("1, 'x', ['A', 'B'], [0, 0]", "at least one of them above 0"),
        ("1, 'x', ['A', 'B'], ['nan'::double, 1]", "numbers of 0 or above"),
        ("1, 'x', ['A', 'B'], [0.6, 0.6]", r"add up to 1 at most, not 1\.2\. Whole numbers are weights"),
    ],
)
def test_what_cannot_be_is_said(connection, given: str, said: str) -> None:
    with pytest.raises(duckdb.Error, match=said):
        connection.sql(f"select assign_arm({given})").fetchall()


def test_it_works_in_a_workspace_and_in_its_catalog(tmp_path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.configure(sa.Config())
    query = "select string_agg({}assign_arm(i, 'x'), '' order by i) from range(40) t(i)"
    assert workspace.sql(query.format("")).fetchall() == [(GOLDEN,)]
    with duckdb.connect() as other:
        other.execute(f"attach '{workspace.path / CATALOG_NAME}' as shop (read_only)")
        assert other.sql(query.format("shop.")).fetchall() == [(GOLDEN,)]
        other.execute("use shop")
        assert other.sql(query.format("")).fetchall() == [(GOLDEN,)]
