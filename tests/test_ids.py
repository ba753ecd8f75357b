"""Names are functions of content: pinned, so that a change of them, which would repeat paid work, is seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign import ids

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    assert ids.canonical_json(value) == ids.canonical_json(dict(reversed(value.items())))


def test_names_are_pinned() -> None:
    assert ids.record_id("hello", "1") == "d146c98f10b83489218d0033d3b644cd"
    assert ids.run_id("s", 1, {"a": 1}, 0, 0, ["x", "y"]) == "24939b65caf51e4acad2083d7e2b085d"
    assert ids.run_id("s", 1, {"a": 1}, 0, 0, ["y", "x"]) == "24939b65caf51e4acad2083d7e2b085d"
    assert ids.child_seed(0, "align") == 5041245557474126139


def test_every_part_of_a_run_decides_its_name() -> None:
    base = ("s", 1, {"a": 1}, 0, 0, ["x"])
    others = [
        ("t", 1, {"a": 1}, 0, 0, ["x"]),
        ("s", 2, {"a": 1}, 0, 0, ["x"]),
        ("s", 1, {"a": 2}, 0, 0, ["x"]),
        ("s", 1, {"a": 1}, 1, 0, ["x"]),
        ("s", 1, {"a": 1}, 0, 1, ["x"]),
        ("s", 1, {"a": 1}, 0, 0, ["x", "y"]),
    ]
    assert len({ids.run_id(*parts) for parts in [base, *others]}) == 7


def test_nan_has_no_name() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        ids.digest(float("nan"))


@given(st.integers(0, 2**62), st.text(), st.integers(0, 10**6))
def test_child_seeds_are_in_range_and_differ_by_path(seed: int, name: str, number: int) -> None:
    first, second = ids.child_seed(seed, name, number), ids.child_seed(seed, name, number + 1)
    assert 0 <= first < 2**63
    assert first != second
    assert first == ids.child_seed(seed, name, number)


def test_a_lone_surrogate_can_be_named() -> None:
    assert len(ids.record_id("\ud800", None)) == 32
