"""Labels of picks follow the shares that are wanted, within what each label has and each pick can show."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign.errors import NumericsError
from synalign.numerics.selection.quotas import assign_labels, quotas

SHARES = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any)


@given(st.integers(1, 80), SHARES)
def test_without_a_minimum_quotas_are_those_of_largest_remainders(count: int, shares: list[int]) -> None:
    """Second opinion: Hamilton's method of apportionment, in exact fractions."""
    exact = [Fraction(count * share, sum(shares)) for share in shares]
    expected = [int(value) for value in exact]
    rest = sorted(range(len(shares)), key=lambda label: (expected[label] - exact[label], label))
    for label in rest[: count - sum(expected)]:
        expected[label] += 1
    assert quotas(count, np.array(shares), minimum=0).tolist() == expected


@given(st.integers(1, 80), SHARES, st.integers(0, 5), st.data())
def test_quotas_keep_minimum_and_capacity_and_give_away_all_that_they_can(
    count: int, shares: list[int], minimum: int, data: st.DataObject
) -> None:
    capacity = np.array(data.draw(st.lists(st.integers(0, 30), min_size=len(shares), max_size=len(shares))))
    found = quotas(count, np.array(shares), minimum, capacity)
    most = np.where(np.array(shares) > 0, capacity, 0)
    assert found.sum() == min(count, most.sum())
    assert (found >= 0).all()
    assert (found <= most).all()
    if np.minimum(minimum, most).sum() <= count:
        assert (found >= np.minimum(minimum, most)).all()


@given(st.integers(6, 60), st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6))
def test_quotas_leave_no_label_out_and_stay_near_the_shares(picks: int, shares: list[float]) -> None:
    found = quotas(picks, np.array(shares))
    wanted = picks * np.array(shares) / sum(shares)
    assert found.sum() == picks
    assert found.min() >= 1
    # Never above the share by more than the one pick that every label gets, or the rounding.
    assert (found <= np.maximum(np.ceil(wanted), 1)).all()


def test_what_a_label_cannot_have_goes_to_those_that_are_furthest_behind() -> None:
    assert quotas(10, np.array([6.0, 3.0, 1.0]), 1, np.array([2, 9, 9])).tolist() == [2, 5, 3]
    assert quotas(10, np.array([6.0, 3.0, 1.0]), 3).tolist() == [4, 3, 3]


def test_a_label_of_share_zero_gets_nothing_whatever_the_minimum() -> None:
    assert quotas(6, np.array([1.0, 0.0, 1.0]), 2).tolist() == [3, 0, 3]


def test_with_fewer_picks_than_labels_the_commonest_are_written() -> None:
    assert quotas(2, np.array([0.1, 0.5, 0.4])).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("count", "shares", "message"),
    [(0, [1.0, 1.0], "count"), (2, [1.0, -1.0], "shares"), (2, [1.0, np.nan], "shares"), (2, [0.0, 0.0], "shares")],
)
def test_what_quotas_cannot_be_made_of_is_named(count: int, shares: list[float], message: str) -> None:
    with pytest.raises(NumericsError, match=message):
        quotas(count, np.array(shares))


def test_labels_fill_their_quotas_when_every_pick_can_show_every_label() -> None:
    labels = assign_labels(np.full((100, 3), 50.0), np.array([50, 30, 20]), enough=4)
    assert np.bincount(labels).tolist() == [50, 30, 20]


def test_a_rare_label_is_written_where_it_can_be_shown() -> None:
    counts = np.array([[10.0, 1.0], [12.0, 5.0], [9.0, 0.0]])
    assert assign_labels(counts, np.array([2, 1]), enough=4).tolist() == [0, 1, 0]


def test_between_picks_that_can_show_equally_many_the_label_goes_where_it_is_commoner() -> None:
    """Both picks have the four demonstrations of either label; the second is nearly all of the second label."""
    counts = np.array([[10.0, 5.0], [5.0, 40.0]])
    assert assign_labels(counts, np.array([1, 1]), enough=4).tolist() == [0, 1]
    assert assign_labels(counts[::-1], np.array([1, 1]), enough=4).tolist() == [1, 0]


def test_a_pick_is_never_given_a_label_that_it_has_no_record_of() -> None:
    counts = np.array([[10.0, 0.0, 2.0], [12.0, 0.0, 0.0]])
    assert assign_labels(counts, np.array([1, 1, 0]), enough=4).tolist() == [0, 0]


@given(st.lists(st.tuples(*[st.integers(1, 6)] * 2), min_size=2, max_size=6), st.data())
def test_no_other_way_to_fill_the_quotas_shows_more_demonstrations(
    rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    counts = np.array(rows, dtype=float)
    second = data.draw(st.integers(0, len(rows)))
    labels = assign_labels(counts, np.array([len(rows) - second, second]), enough=4)
    shown = np.minimum(counts, 4)
    every = [way for way in product((0, 1), repeat=len(rows)) if sum(way) == second]
    best = max(sum(shown[pick, label] for pick, label in enumerate(way)) for way in every)
    assert sum(shown[pick, label] for pick, label in enumerate(labels)) == best
    assert labels.sum() == second


@pytest.mark.parametrize("wanted", [[1, 1, 1], [1, 1], [2, 2]])
def test_quotas_that_do_not_fit_the_picks_are_refused_with_both_numbers(wanted: list[int]) -> None:
    with pytest.raises(NumericsError, match=rf"3 picks to 2 labels; given: {len(wanted)} quotas .* {sum(wanted)}\."):
        assign_labels(np.ones((3, 2)), np.array(wanted), enough=1)
