from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign.llm.validation.leakage import Leakage

TRAIN = [
    "my parcel was due on monday and still nobody has rung the bell",
    "write to anna.berg@mail.se or to help@example.com",
    "thanks",
    "你们的快递太慢了我已经等了三个星期还没有收到货",
]
TEST = ["where is my refund"]


@pytest.fixture(scope="module")
def leakage() -> Leakage:
    return Leakage(TRAIN, TEST, 0.6, 0.9)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("My parcel was due on Monday  and still nobody has rung the bell", {"copied", "near_duplicate"}),
        ("Hi: my parcel was due on monday and still nobody came", {"copied"}),
        ("my parcel was due on monday and still nobody has rung the bel", {"copied", "near_duplicate"}),
        ("my parcel is late", set()),
        ("THANKS", {"copied", "near_duplicate"}),
        ("Where is my refund", {"test_copy"}),
        ("where is my refund please", set()),
        ("ask ANNA.BERG@mail.se", {"personal", "personal_real"}),
        ("ask otto@mail.se", {"personal"}),
        ("ask help@example.com", set()),
        ("你们的快递太慢了我已经等了三个星期还没有收到", {"copied", "near_duplicate"}),
        ("👍", set()),
        ("", set()),
    ],
)
def test_what_stands_in_real_text(leakage: Leakage, text: str, kinds: set[str]) -> None:
    found = leakage.of([text, "something else altogether"])
    assert {kind for kind, texts in found.items() if texts[0]} == kinds
    assert not any(texts[1] for texts in found.values())


def test_without_a_test_split_nothing_is_said_of_it() -> None:
    assert set(Leakage(TRAIN, [], 0.6, 0.9).of(["a"])) == {"copied", "near_duplicate", "personal", "personal_real"}


def test_thresholds_are_heeded() -> None:
    text = "hi there, my parcel was due on monday and still nobody came to the door at all"
    assert [Leakage(TRAIN, [], share, 0.9).of([text])["copied"] for share in (0.5, 0.7)] == [[True], [False]]
    near = "my parcel was due on tuesday and still nobody has rung the bell"
    assert [Leakage(TRAIN, [], 1, share).of([near])["near_duplicate"] for share in (0.6, 0.95)] == [[True], [False]]


@given(st.lists(st.text(max_size=20), max_size=5), st.lists(st.text(max_size=20), max_size=5))
@settings(deadline=None, max_examples=60)
def test_any_text_has_an_answer_and_a_source_is_a_copy_of_itself(train: list[str], texts: list[str]) -> None:
    found = Leakage(train, train, 0.6, 0.9).of([*texts, *train])
    assert {len(answers) for answers in found.values()} == {len(texts) + len(train)}
    for kind in ("copied", "near_duplicate", *(["test_copy"] if train else [])):
        assert all(found[kind][len(texts) :])
