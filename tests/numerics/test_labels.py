"""Labels of picks follow the real shares, within what each pick can show."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign.errors import NumericsError
from synalign.numerics.labels import assign_labels, quotas


def test_labels_follow_the_shares_when_every_pick_can_show_every_label() -> None:
    labels = assign_labels(np.full((100, 3), 50.0), np.array([0.5, 0.3, 0.2]), enough=4)
    assert np.bincount(labels).tolist() == [50, 30, 20]


@given(st.integers(6, 60), st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6))
def test_quotas_add_up_leave_no_label_out_and_are_near_the_shares(picks: int, shares: list[float]) -> None:
    found = quotas(picks, np.array(shares))
    wanted = picks * np.array(shares) / sum(shares)
    assert found.sum() == picks
    assert found.min() >= 1
    # Never above the share by more than the one pick that every label gets, or the rounding.
    assert (found <= np.maximum(np.ceil(wanted), 1)).all()


def test_with_fewer_picks_than_labels_the_commonest_are_written() -> None:
    assert quotas(2, np.array([0.1, 0.5, 0.4])).tolist() == [0, 1, 1]


def test_a_rare_label_is_written_where_it_can_be_shown() -> None:
    counts = np.array([[10.0, 1.0], [12.0, 5.0], [9.0, 0.0]])
    assert assign_labels(counts, np.array([0.95, 0.05]), enough=4).tolist() == [0, 1, 0]


def test_a_pick_is_never_given_a_label_that_it_has_no_record_of() -> None:
    counts = np.array([[10.0, 0.0], [12.0, 0.0]])
    assert assign_labels(counts, np.array([0.5, 0.5]), enough=4).tolist() == [0, 0]


@given(st.lists(st.tuples(*[st.integers(1, 6)] * 2), min_size=2, max_size=6))
def test_no_other_way_to_fill_the_quotas_shows_more_demonstrations(rows: list[tuple[int, int]]) -> None:
    counts, shares = np.array(rows, dtype=float), np.array([0.6, 0.4])
    labels = assign_labels(counts, shares, enough=4)
    shown = np.minimum(counts, 4)
    quota = quotas(len(rows), shares)
    every = [way for way in product((0, 1), repeat=len(rows)) if way.count(1) == quota[1]]
    best = max(sum(shown[pick, label] for pick, label in enumerate(way)) for way in every)
    assert sum(shown[pick, label] for pick, label in enumerate(labels)) == best
    assert np.bincount(labels, minlength=2).tolist() == quota.tolist()


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(NumericsError, match="shares must be a vector of length 2"):
        assign_labels(np.ones((3, 2)), np.ones(3), enough=1)
