from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign.config import Accept
from synalign.errors import ModelRefusedError
from synalign.llm.builtin.ngram import NgramModel, write_texts
from synalign.llm.builtin.prompt_features import describe, merges, sections, state
from synalign.llm.prompting import prompts
from synalign.llm.prompting.parsing import Parsed, parse
from synalign.llm.prompting.schemas import (
    AnnotationList,
    AttributeSet,
    MergeList,
    RecordBatch,
    VerdictList,
    json_schema,
    records_schema,
)
from synalign.llm.transport.chat import ChatRequest
from synalign.llm.validation.acceptance import Acceptance, Draft
from tests.llm.prompt_cases import CASES, bare, rendered

ENGLISH = ["great film", "bad acting here", "the plot was thin", "loved it"]
CHINESE = ["这部电影非常好看我很喜欢", "剧情很无聊浪费时间", "演员表演非常出色", "我很失望"]


def request(texts: list[str], count: int = 10, seed: int = 0, labels: list[str] | None = None) -> ChatRequest:
    shown = [{"text": text, "label": label} for text, label in zip(texts, labels or ["good"] * len(texts), strict=True)]
    variables: dict[str, Any] = {
        "task": {"description": "", "language": ""},
        "demonstrations": shown,
        "attributes": [{"name": "tone", "kind": "text", "value": "warm"}],
        "label": {"name": "1", "meaning": "good"},
        "labels": [],
        "ask_label": False,
        "written": [],
        "count": count,
        "redacted": False,
    }
    prompt = prompts.render("generate/records", variables)
    schema = json_schema(RecordBatch)
    return ChatRequest("builtin/ngram", None, prompt.system, prompt.user, "records", schema, seed=seed, count=count)


def generate(texts: list[str], **values: Any) -> list[str]:
    """The records that the model writes through the shipped prompt."""
    reply = asyncio.run(NgramModel().complete(request(texts, **values)))
    found = parse(reply.text, RecordBatch)
    assert isinstance(found, Parsed)
    assert not found.problems
    return [record.text for record in found.value.records]


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE, ["नमस्ते दुनिया यह", "यह फ़ोन अच्छा है", "दुनिया अच्छा है"]])
def test_four_short_texts_give_ten_that_are_all_accepted(texts: list[str]) -> None:
    made = generate(texts)
    assert len(made) == 10
    rules = Acceptance(Accept(length=False, near_duplicate=False), real={None: texts}, copied_from=texts)
    verdicts = rules.judge([Draft(*pair) for pair in enumerate(made)], demonstrations=texts, limit=10)
    assert [(verdict.text, verdict.detail) for verdict in verdicts if not verdict.accepted] == []


def test_only_words_of_the_demonstrations_are_used() -> None:
    assert {word for text in generate(ENGLISH) for word in text.split()} <= {w for t in ENGLISH for w in t.split()}


def test_the_same_request_has_the_same_answer_and_another_seed_another() -> None:
    assert generate(ENGLISH) == generate(ENGLISH)
    assert generate(ENGLISH) != generate(ENGLISH, seed=1)


def test_a_model_of_order_2_keeps_pairs_that_only_occur_together() -> None:
    texts = [
        f"the {adjective} phone is {verdict}" for adjective in ("old", "new", "big") for verdict in ("ok", "bad", "fun")
    ]
    texts.remove("the big phone is fun")
    assert write_texts([*texts, "my big phone is fun"], 1, seed=3)[0].split()[1:4] in (
        ["old", "phone", "is"],
        ["new", "phone", "is"],
        ["big", "phone", "is"],
    )


def test_fewer_are_returned_where_no_more_can_be_made() -> None:
    assert generate(["one"]) == ["one one"]
    assert len(set(generate(["one two"]))) < 10


def test_only_demonstrations_of_the_label_are_used_if_there_are_two() -> None:
    texts = ["good day here", "bad night there", "fine day here"]
    words = {word for text in generate(texts, labels=["good", "bad", "good"]) for word in text.split()}
    assert words <= {"good", "fine", "day", "here"}


def test_combining_marks_and_joined_emoji_stay_whole() -> None:
    texts = ["好👨\u200d👩\u200d👧看", "很e\u0301好看的电影", "不好看的故事"]
    for text in generate(texts):
        assert "\u200d" not in text or "👨\u200d👩\u200d👧" in text
        assert "\u0301" not in text or "e\u0301" in text


def answer(name: str, model: type[Any], schema: dict[str, Any] | None = None, **changes: Any) -> Any:
    """What the model answers to a shipped prompt, validated: all of it can be read."""
    prompt = rendered(name, **changes)
    asked = ChatRequest(
        "builtin/ngram", None, prompt.system, prompt.user, name, schema or json_schema(model), seed=0, count=3
    )
    found = parse(asyncio.run(NgramModel().complete(asked)).text, model)
    assert isinstance(found, Parsed)
    assert not found.problems
    return found.value


PHONES = [{"text": "Great phone! 😀", "label": None}, {"text": "This phone has died", "label": None}]


def test_the_attributes_that_are_asked_for_are_stated_and_no_others() -> None:
    kinds = {"topic": "category", "tone": "category", "length": "number", "vocabulary": "text", "quirks": "text"}
    wanted = [{"name": name, "kind": kind, "values": []} for name, kind in kinds.items()]
    stated = answer("reason/attributes", AttributeSet, demonstrations=PHONES, attributes=wanted).attributes
    assert {item.name: item.kind for item in stated} == kinds
    values = {item.name: item.value for item in stated}
    assert (values["topic"], values["tone"], values["length"]) == ("phone", "plain", "3.5")
    assert values["vocabulary"].startswith("phone")
    assert "emoji in 1 of 2 texts" in values["quirks"]


def test_attributes_are_described_where_a_prompt_of_ones_own_names_none() -> None:
    stated = answer("reason/attributes", AttributeSet, demonstrations=PHONES, attributes=[]).attributes
    values = {item.name: item.value for item in stated}
    assert values["length"] == "3.5 words (3 to 4)"
    assert values["vocabulary"].startswith("phone")
    assert values["emoji"] == values["exclamation marks"] == "in 1 of 2 texts"
    assert values["digits"] == "in 0 of 2 texts"


@pytest.mark.parametrize(
    ("name", "values", "texts", "value"),
    [
        ("topic", ["screen", "phone case"], ["the phone broke", "my phone!"], "phone case"),
        ("topic", ["Screen", "tv"], ["the TV broke", "my phone!"], "tv"),
        ("topic", ["screen", "tv"], ["the phone broke"], "other"),
        ("topic", [], ["the phone broke", "a phone"], "phone"),
        ("tone", ["plain", "excited"], ["wow!", "great!", "ok"], "excited"),
        ("intent", [], ["why?"], "question"),
        ("register", [], ["Dear Sir"], "mixed case"),
        ("structure", [], ["a\nb"], "several lines"),
        ("topic", [], ["...", "!"], "other"),
        ("anything", ["x", "电"], ["电话坏了非常失望"], "电"),
    ],
)
def test_a_category_is_one_of_its_values_if_any_fits(
    name: str, values: list[str], texts: list[str], value: str
) -> None:
    assert state(name, "category", values, texts, "other") == value


def test_a_category_of_a_selection_is_always_one_of_the_allowed_values() -> None:
    assert state("topic", "category", ["screen", "tv"], ["the phone broke"]) == "screen"


def test_values_merge_that_differ_by_case_or_a_plural_only() -> None:
    found = answer("reason/merge", MergeList).merges
    assert [item.model_dump() for item in found] == []
    values = [("Phones", False), ("glass", False), ("phone", True), ("PHONE", False), ("gla", False), ("bus", False)]
    listed = [{"value": value, "known": known} for value, known in values]
    found = answer("reason/merge", MergeList, attributes=[{"name": "topic", "values": listed}]).merges
    assert [item.model_dump() for item in found] == [
        {"name": "topic", "value": "Phones", "becomes": "phone"},
        {"name": "topic", "value": "PHONE", "becomes": "phone"},
    ]
    assert merges([{"name": "x"}, {"values": [3]}, {"values": [{}]}]) == []


def test_every_record_is_annotated_in_every_attribute() -> None:
    found = answer("annotate/records", AnnotationList).annotations
    assert [(item.number, item.name) for item in found] == [
        (number, item["name"]) for number in (1, 2) for item in CASES["annotate/records"]["attributes"]
    ]
    values = {(item.number, item.name): item.value for item in found}
    assert (values[1, "topic"], values[1, "tone"], values[1, "length"]) == ("other", "plain", "3")
    assert values[2, "length"] == "5"


def test_the_judge_repeats_the_label_that_it_is_shown_and_says_that_it_judges_nothing() -> None:
    for changes, label in (({"labels": []}, "positive"), ({}, ""), ({"labels": [], "label": None}, "")):
        found = answer("judge/records", VerdictList, **changes).verdicts
        assert [item.model_dump() for item in found] == [
            {"number": number, "label": label, "real": True, "why": "not judged"} for number in (1, 2)
        ]


@pytest.mark.parametrize("name", ["generate/records", "generate/single_stage"])
def test_records_state_the_label_that_was_asked_for_if_the_schema_has_one(name: str) -> None:
    schema = records_schema(["negative", "positive"])
    made = answer(name, RecordBatch, schema).records
    assert [record.label for record in made] == ["positive"] * 3
    assert [record.label for record in answer(name, RecordBatch, schema, label=None).records] == ["negative"] * 3
    assert [record.label for record in answer(name, RecordBatch, records_schema([]), label=None).records] == [""] * 3
    assert [record.label for record in answer(name, RecordBatch).records] == [None] * 3


def test_what_was_written_before_is_not_written_again() -> None:
    first = write_texts(ENGLISH, 5, seed=1)
    assert not set(first) & set(write_texts(ENGLISH, 5, seed=1, written=first))
    shown = bare("generate/records")["demonstrations"] * 2
    before = [record.text for record in answer("generate/records", RecordBatch, demonstrations=shown).records]
    after = answer("generate/records", RecordBatch, demonstrations=shown, written=before).records
    assert before
    assert not {record.text for record in after} & set(before)


ANSWERS = {
    "reason/attributes": AttributeSet,
    "generate/records": RecordBatch,
    "annotate/records": AnnotationList,
    "judge/records": VerdictList,
}


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.sampled_from(sorted(ANSWERS)))
def test_whatever_the_texts_are_there_is_an_answer_or_a_refusal(texts: list[str], name: str) -> None:
    data = {
        "demonstrations": [{"text": text, "label": None} for text in texts],
        "records": [{"number": number, "text": text} for number, text in enumerate(texts)],
    }
    try:
        found = answer(name, ANSWERS[name], **{key: value for key, value in data.items() if key in CASES[name]})
    except ModelRefusedError:
        assert not any(map(str.strip, texts))
    else:
        assert found.model_dump_json().encode()


def test_a_prompt_is_read_by_its_sections() -> None:
    user = '{"a": 1}\nwords\n<one>\n{"b": "</one>"}\n{broken}\n</one>\n {"c": 3} \n<two>\n</two>'
    assert sections(user) == {"": [{"a": 1}, {"c": 3}], "one": [{"b": "</one>"}]}


def test_texts_without_spaces_are_counted_in_characters() -> None:
    values = {item["name"]: item["value"] for item in describe(CHINESE)}
    assert "characters (4 to 12)" in values["length"]


def test_a_prompt_without_demonstrations_is_refused() -> None:
    asked = ChatRequest("m", None, "s", "write something", "records", json_schema(RecordBatch), count=3)
    with pytest.raises(ModelRefusedError, match="demonstrations"):
        asyncio.run(NgramModel().complete(asked))


def test_another_schema_is_refused() -> None:
    asked = ChatRequest("m", None, "s", '{"text": "a b"}', "other", {"type": "object", "properties": {}})
    with pytest.raises(ModelRefusedError, match="other"):
        asyncio.run(NgramModel().complete(asked))
