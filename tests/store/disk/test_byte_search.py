"""What is looked for in the bytes of files: a text is found wherever it stands, but not where two values only meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from synalign.store.disk.byte_search import ByteSearch

STAY = ["customer-13", "customer-50", "4f9e3bdc", "é-long-name"]


@pytest.mark.parametrize(
    ("data", "across"),
    [
        ("customer-50customer-134f9e3bdccustomer-50", True),  # customer-13 and 4f9e3bdc
        ("customer-134f9e3bdc customer-134f9e3bdc", True),
        ("customer-50customer-134customer-50", False),  # a value of its own, or the end of one
        ("customer-134f9e3bdc and customer-134", False),  # once across two, once not
        ("new-customer-134f9e3bdc", True),  # the end of a longer one would end so too
        ("customer-134f9e3bd", False),  # no whole value comes after it
        ("acustomer-1", True),  # it does not stand there
    ],
)
def test_a_text_that_only_two_values_side_by_side_make_is_told_from_one_that_stands_there(
    data: str, across: bool, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x00\xff" + data.encode() + b"\x00")
    needles = ByteSearch(["customer-134"])
    assert needles.in_file(path) == ("customer-134" in data)
    assert needles.only_across(path, STAY) == across


def test_texts_beyond_ascii_are_cut_between_values_too(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("customer-13é-long-name", encoding="utf-8")
    assert ByteSearch(["customer-13é"]).only_across(path, STAY)
    assert not ByteSearch(["13é-long-name"]).only_across(path, ["13é-long-name", "customer-"])
