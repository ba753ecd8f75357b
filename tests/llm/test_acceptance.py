from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from synalign.llm.acceptance import accept, normalise

DEMO = "The battery of this phone lasts for two days, and it charges in less than an hour. I like it a lot."


def reasons(records: list[str], **values: object) -> list[str | None]:
    """For each record the reason of its refusal, or None."""
    defaults: dict[str, object] = {"demonstrations": [DEMO, "Bad."], "seen": set(), "limit": 99}
    accepted, refusals = accept(records, **(defaults | values))  # type: ignore[arg-type]
    why: dict[int, str | None] = {refusal.index: refusal.reason for refusal in refusals}
    assert sorted([*why, *(index for index, _ in accepted)]) == list(range(len(records)))
    return [why.get(index) for index in range(len(records))]


def test_a_new_text_is_kept_stripped() -> None:
    assert accept(["  Fine. \n"], demonstrations=[DEMO], seen=set(), limit=1) == ([(0, "Fine.")], [])


def test_each_reason() -> None:
    near = DEMO.replace("two", "ten")
    records = ["Fine.", " ", "BAD. ", near, "fine.", "Known.", "More", "Most"]
    expected = [None, "empty", "copy", "near_copy", "duplicate", "duplicate", None, "surplus"]
    assert reasons(records, seen={"known."}, limit=2) == expected


def test_the_refusal_keeps_the_text_and_says_why() -> None:
    _, (refusal,) = accept([" BAD. "], demonstrations=[DEMO, "Bad."], seen=set(), limit=1)
    assert (refusal.index, refusal.text, refusal.detail) == (0, " BAD. ", "the same text as demonstration 2")


def test_another_text_with_the_same_words_is_no_near_copy() -> None:
    assert reasons(["This phone lasts two days. I like the battery, and how it charges in an hour."]) == [None]


def test_seen_is_not_changed() -> None:
    seen: set[str] = set()
    accept(["a", "b"], demonstrations=[], seen=seen, limit=9)
    assert seen == set()


def test_normal_forms_are_equal() -> None:
    assert normalise("  Cafe\u0301\n STRASSE ") == normalise("caf\u00e9 straße") == "caf\u00e9 strasse"


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.lists(st.text(max_size=5)), st.lists(st.text(max_size=5)), st.integers(0, 4))
def test_invariants(records: list[str], shown: list[str], limit: int) -> None:
    accepted, refusals = accept(records, demonstrations=shown, seen=set(), limit=limit)
    assert len(accepted) + len(refusals) == len(records)
    assert len(accepted) <= limit
    keys = [normalise(text) for _, text in accepted]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & {normalise(text) for text in shown}
    assert all(keys)
