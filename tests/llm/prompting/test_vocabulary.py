from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign.llm.prompting.schemas import Attribute, Merge
from synalign.llm.prompting.vocabulary import Value, merged, spelt, value_of, values


def stated(*pairs: tuple[str, str] | tuple[str, str, str]) -> list[Attribute]:
    return [Attribute.model_validate(dict(zip(("name", "value", "kind"), pair, strict=False))) for pair in pairs]


def merges(*triples: tuple[str, str, str]) -> list[Merge]:
    return [Merge(name=name, value=value, becomes=becomes) for name, value, becomes in triples]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Late   Delivery. ", "late delivery"),
        ("'calm'", "calm"),
        ("**Calm**", "calm"),
        ("LATE_DELIVERY", "late delivery"),
        ("cafe\u0301", "café"),
        ("STRASSE", "strasse"),
        ("straße", "strasse"),
        ("co-op", "co-op"),
        (" .;", ""),
    ],
)
def test_one_spelling_is_compared(text: str, expected: str) -> None:
    assert spelt(text) == expected


@given(st.text())
def test_spelling_again_changes_nothing(text: str) -> None:
    assert spelt(spelt(text)) == spelt(text)


def test_the_kinds_asked_for_count_more_than_what_the_model_says() -> None:
    asked = {"Tone": "category", "length": "number"}
    found = values(stated(("tone ", "Very CALM.", "text"), ("Length", "1,200", "category")), asked, 0)
    assert found == [
        Value("Tone", "category", "very calm", "Very CALM.", None, False),
        Value("length", "number", "1,200", "1,200", 1200.0, False),
    ]


def test_a_few_others_are_kept_and_each_name_counts_once() -> None:
    given = stated(
        ("tone", "calm"), ("Tone", "angry"), ("Emoji Use", "often", "category"), ("emoji_use", "never"), ("  ", "x"),
        ("slang", " "), ("age", "30", "number"), ("third", "one too many"),
    )  # fmt: skip
    found = values(given, {"tone": "category"}, 2)
    assert [(value.name, value.kind, value.value, value.added) for value in found] == [
        ("tone", "category", "calm", False),
        ("emoji use", "category", "often", True),
        ("age", "number", "30", True),
    ]
    assert [value.name for value in values(given, {"tone": "category"}, 0)] == ["tone"]


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12.0), (" 3.5 ", 3.5), ("1,000", 1000.0), ("about 12", None), ("nan", None), ("", None)]
)
def test_a_number_is_one_or_none(text: str, number: float | None) -> None:
    assert value_of("length", "number", text).number == number
    assert value_of("length", "text", text).number is None


@pytest.mark.parametrize(
    ("proposed", "known", "expected"),
    [
        pytest.param([("tone", "Angry.", "cross")], [], {"angry": "cross"}, id="spelling does not matter"),
        pytest.param([("TONE", "angry", "cross")], [], {"angry": "cross"}, id="nor in the name"),
        pytest.param(
            [("tone", "angry", "cross"), ("tone", "cross", "mad")], [], {"angry": "mad", "cross": "mad"}, id="chain"
        ),
        pytest.param([("tone", "angry", "cross"), ("tone", "cross", "angry")], [], {}, id="cycle of two"),
        pytest.param([("tone", "angry", "angry")], [], {}, id="cycle of one"),
        pytest.param(
            [("tone", "mad", "angry"), ("tone", "angry", "cross"), ("tone", "cross", "angry")], [], {},
            id="into a cycle",
        ),
        pytest.param([("tone", "angry", "furious")], [], {}, id="no such value to become"),
        pytest.param([("tone", "furious", "angry")], [], {}, id="no such value"),
        pytest.param([("colour", "angry", "cross")], [], {}, id="no such name"),
        pytest.param([("topic", "angry", "cross")], [], {}, id="values of another name"),
        pytest.param([("tone", "angry", "calm")], ["calm"], {"angry": "calm"}, id="into a known one"),
        pytest.param([("tone", "calm", "angry")], ["calm"], {}, id="a known one stays"),
        pytest.param(
            [("tone", "angry", "cross"), ("tone", "cross", "calm"), ("tone", "calm", "mad")], ["calm"],
            {"angry": "calm", "cross": "calm"}, id="a chain ends at a known one",
        ),
        pytest.param([("tone", "angry", "cross"), ("tone", "angry", "mad")], [], {"angry": "cross"}, id="first counts"),
    ],
)  # fmt: skip
def test_merges_that_make_sense_are_followed_to_their_end(
    proposed: list[tuple[str, str, str]], known: list[str], expected: dict[str, str]
) -> None:
    there = {"tone": ["angry", "cross", "mad"], "topic": ["lamp"]}
    found = merged(there, {"tone": known} if known else {}, merges(*proposed))
    assert found == {("tone", value): end for value, end in expected.items()}


NAMES = st.sampled_from(["tone", "topic"])
VALUES = st.sampled_from(["a", "b", "c", "d", "e", "f"])


@given(
    st.dictionaries(NAMES, st.lists(VALUES, unique=True)),
    st.dictionaries(NAMES, st.lists(VALUES, unique=True, max_size=2)),
    st.lists(st.tuples(NAMES, VALUES, VALUES), max_size=12),
)
def test_whatever_is_proposed_ends_at_values_that_stay(
    there: dict[str, list[str]], known: dict[str, list[str]], proposed: list[tuple[str, str, str]]
) -> None:
    found = merged(there, known, merges(*proposed))
    all_values = {(name, value) for part in (there, known) for name, values in part.items() for value in values}
    for (name, value), end in found.items():
        assert (name, value) in all_values
        assert (name, end) in all_values
        assert (name, end) not in found
        assert value not in known.get(name, [])
        assert value != end
