from __future__ import annotations

import asyncio
from typing import Any

import pytest

from synalign.errors import ModelRefusedError
from synalign.llm import prompts
from synalign.llm.acceptance import accept
from synalign.llm.chat import ChatRequest
from synalign.llm.ngram import NgramModel, describe, write
from synalign.llm.parsing import Parsed, parse
from synalign.llm.schemas import AttributeSet, RecordBatch, json_schema

ENGLISH = ["great film", "bad acting here", "the plot was thin", "loved it"]
CHINESE = ["这部电影非常好看我很喜欢", "剧情很无聊浪费时间", "演员表演非常出色", "我很失望"]


def request(texts: list[str], count: int = 10, seed: int = 0, labels: list[str] | None = None) -> ChatRequest:
    shown = [{"text": text, "label": label} for text, label in zip(texts, labels or ["good"] * len(texts), strict=True)]
    variables: dict[str, Any] = {
        "task": {"description": "", "language": ""},
        "demonstrations": shown,
        "attributes": [{"name": "tone", "value": "warm"}],
        "label": {"name": "1", "meaning": "good"},
        "labels": [],
        "count": count,
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
    accepted, refusals = accept(made, demonstrations=texts, seen=set(), limit=10)
    assert (len(accepted), refusals) == (10, [])


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
    assert write([*texts, "my big phone is fun"], 1, seed=3)[0].split()[1:4] in (
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


def test_attributes_are_computed_from_the_texts() -> None:
    variables = {
        "task": {"description": "", "language": ""},
        "demonstrations": [{"text": "Great phone! 😀", "label": None}, {"text": "This phone has died", "label": None}],
    }
    prompt = prompts.render("reason/attributes", variables)
    asked = ChatRequest("builtin/ngram", None, prompt.system, prompt.user, "attributes", json_schema(AttributeSet))
    found = parse(asyncio.run(NgramModel().complete(asked)).text, AttributeSet)
    assert isinstance(found, Parsed)
    values = {item.name: item.value for item in found.value.attributes}
    assert values["length"] == "3.5 words (3 to 4)"
    assert values["vocabulary"].startswith("phone")
    assert values["emoji"] == values["exclamation marks"] == "in 1 of 2 texts"
    assert values["digits"] == "in 0 of 2 texts"


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
