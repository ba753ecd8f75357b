from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign.llm.prompting.parsing import Parsed, ParseFailure, parse
from synalign.llm.prompting.schemas import AnnotationList, AttributeSet, MergeList, RecordBatch, VerdictList

ANSWERS = [AttributeSet, RecordBatch, MergeList, AnnotationList, VerdictList]


def texts(raw: str) -> tuple[list[str], list[str]]:
    """The texts found in a reply, and the reasons of its problems."""
    found = parse(raw, RecordBatch)
    assert isinstance(found, Parsed), found
    return [record.text for record in found.value.records], [problem.reason for problem in found.problems]


WHOLE = '{"records": [{"text": "a"}, {"text": "b"}]}'


@pytest.mark.parametrize(
    "raw",
    [
        WHOLE,
        f"```json\n{WHOLE}\n```",
        f"Sure [1], here {{you}} are:\n{WHOLE}\nHope it helps :-}}",
        f'<think>maybe {{"records": [{{"text": "draft"}}]}} or not</think>\n{WHOLE}',
        f'maybe {{"records": [{{"text": "draft"}}]}}</think>\n{WHOLE}',
        '[{"text": "a"}, {"text": "b"}]',
        '["a", "b"]',
        '[{"text": "a"}, "b"]',
        '{"reviews": ["a", "b"]}',
        '{"text": "a", "tags": ["x"]}\n{"text": "b"}',
        '{"records": [{"text": "a", "label": "1"}, {"text": "b"}], "note": "extra"}',
        '["a topic", "another"] ' + WHOLE,
    ],
)
def test_the_records_are_found_wherever_they_stand(raw: str) -> None:
    assert texts(raw) == (["a", "b"], [])


@pytest.mark.parametrize(
    ("raw", "kept", "problems"),
    [
        ('{"records": [{"text": "a"}, {"text": "b"}, {"text": "c', ["a", "b"], ["truncated"]),
        ('```json\n{"records": [{"text": "a"}', ["a"], ["truncated"]),
        ('["a", "b", "c', ["a", "b"], ["truncated"]),
        ('{"records": [{"text": "a", "tags": ["x"]}, {"text": "b', ["a"], ["truncated"]),
        ('{"records": [{"text": "say "hi""}, {"text": "ok"}]}', ["ok"], ["truncated"]),
        ('{"records": [{"text": "a"}, {"txt": "b"}, {"text": 3}]}', ["a"], ["broken_item", "broken_item"]),
    ],
)
def test_the_complete_records_of_a_damaged_reply_are_kept(raw: str, kept: list[str], problems: list[str]) -> None:
    assert texts(raw) == (kept, problems)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("I cannot help with that.", "not_json"),
        ("Use [brackets] and {braces}.", "not_json"),
        ('{"records": [{"te', "truncated"),
        ('<think> first {"records": [{"text": "draft"}]} but', "truncated"),
        ('{"records": "many"}', "wrong_shape"),
        ('{"error": {"message": "no"}}', "wrong_shape"),
        ('{"records": [{"body": "a"}]}', "wrong_shape"),
        ("[]", "wrong_shape"),
        ("[1, 2]", "wrong_shape"),
    ],
)
def test_what_cannot_be_used_is_a_typed_failure(raw: str, reason: str) -> None:
    found = parse(raw, RecordBatch)
    assert isinstance(found, ParseFailure)
    assert found.reason == reason
    assert found.detail


def test_line_breaks_in_strings_and_half_emoji_are_taken() -> None:
    assert texts('{"records": [{"text": "one\ntwo"}, {"text": "x \\ud83d"}]}') == (["one\ntwo", "x \ufffd"], [])


def test_no_records_is_an_answer() -> None:
    assert texts('{"records": []}') == ([], [])


def attributes(raw: str) -> Any:
    found = parse(raw, AttributeSet)
    assert isinstance(found, Parsed), found
    return {item.name: item.value for item in found.value.attributes}, [problem.reason for problem in found.problems]


def test_attributes_in_the_forms_that_models_give() -> None:
    expected = ({"tone": "warm", "length": "12"}, [])
    assert (
        attributes('{"attributes": [{"name": "tone", "value": "warm"}, {"name": "length", "value": 12}]}') == expected
    )
    assert attributes('{"attributes": {"tone": "warm", "length": 12}}') == expected
    assert attributes('[{"name": "tone", "value": "warm"}, {"name": "length", "value": "12"}]') == expected
    assert attributes('{"attributes": {"words": ["a", "b"]}}') == ({"words": "a, b"}, [])
    cut = '{"attributes": [{"name": "tone", "value": "warm"}, {"name": "len'
    assert attributes(cut) == ({"tone": "warm"}, ["truncated"])


@pytest.mark.parametrize("raw", ['{"attributes": []}', '{"topic": "x"}', '["topic"]'])
def test_no_attributes_is_no_answer(raw: str) -> None:
    assert isinstance(parse(raw, AttributeSet), ParseFailure)


@pytest.mark.parametrize("raw", ["[" * 100_000, '{"a":' * 100_000, '{"' * 50_000, "{x" * 50_000, '["a",' * 50_000])
def test_hostile_replies_are_given_up_soon(raw: str) -> None:
    started = time.monotonic()
    parse(raw, RecordBatch)
    assert time.monotonic() - started < 5


@given(st.lists(st.text(), min_size=1), st.booleans())
def test_any_text_survives_the_way_through_json(values: list[str], ascii_only: bool) -> None:
    raw = json.dumps({"records": [{"text": value} for value in values]}, ensure_ascii=ascii_only)
    assert texts(raw) == (values, [])


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4), st.data())
def test_a_cut_reply_gives_a_prefix_or_a_failure(values: list[str], data: st.DataObject) -> None:
    raw = json.dumps({"records": [{"text": value} for value in values]})
    found = parse(raw[: data.draw(st.integers(0, len(raw) - 1))], RecordBatch)
    if isinstance(found, Parsed):
        kept = [record.text for record in found.value.records]
        assert kept == values[: len(kept)]
        assert found.problems


@given(st.text())
def test_nothing_makes_it_raise(raw: str) -> None:
    assert isinstance(parse(raw, RecordBatch), (Parsed, ParseFailure))


def problems(raw: str, model: type[Any] = RecordBatch) -> list[tuple[str, str]]:
    found = parse(raw, model)
    assert isinstance(found, Parsed), found
    return [(problem.reason, problem.raw) for problem in found.problems]


@pytest.mark.parametrize(
    "raw",
    [
        " \n",
        "I cannot help with that.",
        '{"records": [{"te',
        "<think> first",
        '{"records": "many"}',
        'draft </think> {"records": [{"body": "ä"}]} ',
        "[1, 2]",
        '{"error": "half \ud83d"}',
    ],
)
def test_a_failure_keeps_the_whole_reply(raw: str) -> None:
    found = parse(raw, RecordBatch)
    assert isinstance(found, ParseFailure)
    assert found.raw == raw.replace("\ud83d", "\ufffd")


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ('{"records": [{"text": "a"}, {"txt":"b"}, {"text": 3}]}', ['{"txt": "b"}', '{"text": 3}']),
        ('{"records": [{"text": "a"}, {"text": "b"}, {"text": "c', ['{"text": "c']),
        ('["a", "b", "c', ['"c']),
        ('{"records": [{"text": "a"}, {"txt": "b"}, {"te', ['{"txt": "b"}', '{"te']),
        ('{"records": [{"text": "say "hi""}, {"text": "ok"}]}', ['{"records": [{"text": "say "hi""}\n]}']),
        ('{"text": "a"}\n{"txt": "b"}\n{"text": "c"}', ['{"txt": "b"}']),
        ('{"records": [{"text": "a"}, null, "ä\\ud83d", 3]}', ["null", "3"]),
        ('{"records": [{"text": "a"}', [""]),
    ],
)
def test_a_problem_keeps_what_it_is_about(raw: str, kept: list[str]) -> None:
    assert [text for _, text in problems(raw)] == kept


def test_the_tags_of_a_record_are_not_taken_for_records() -> None:
    assert texts('{"text": "a", "tags": ["x", "y", "z"]}\n{"text": "b"}') == (["a", "b"], [])


def test_labels_are_read_where_they_are_stated() -> None:
    found = parse('{"records": [{"text": "a", "label": "good"}, {"text": "b", "label": {"x": 1}}, "c"]}', RecordBatch)
    assert isinstance(found, Parsed)
    assert [(record.text, record.label) for record in found.value.records] == [("a", "good"), ("b", None), ("c", None)]
    assert found.problems == ()


MERGE = '{"name": "topic", "value": "Phones", "becomes": "phone"}'
NOTE = '{"number": "2", "name": "length", "value": 12}'
VERDICT = '{"number": 1, "label": "good", "real": "true", "why": "plain"}'


@pytest.mark.parametrize(
    ("model", "name", "item"),
    [(MergeList, "merges", MERGE), (AnnotationList, "annotations", NOTE), (VerdictList, "verdicts", VERDICT)],
)
def test_the_other_answers_are_found_in_all_forms(model: type[Any], name: str, item: str) -> None:
    whole = f'{{"{name}": [{item}, {item}]}}'
    for raw in (whole, f"```json\n{whole}\n```", f"[{item}, {item}]", f"{item}\n{item}"):
        found = parse(raw, model)
        assert isinstance(found, Parsed), raw
        assert len(getattr(found.value, name)) == 2
        assert found.problems == ()
    empty = parse(f'{{"{name}": []}}', model)
    assert isinstance(empty, Parsed)
    assert getattr(empty.value, name) == []
    assert problems(whole[:-3], model) == [("truncated", item[:-1])]
    assert problems(f'{{"{name}": [{item}, {{"number": 1}}, "x"]}}', model) == [
        ("broken_item", '{"number": 1}'),
        ("broken_item", "x"),
    ]


def test_values_are_taken_for_what_they_mean() -> None:
    notes = parse(f'{{"annotations": [{NOTE}]}}', AnnotationList)
    assert isinstance(notes, Parsed)
    assert notes.value.annotations[0].model_dump() == {"number": 2, "name": "length", "value": "12"}
    verdicts = parse('{"verdicts": [{"number": "1", "real": "no"}]}', VerdictList)
    assert isinstance(verdicts, Parsed)
    assert verdicts.value.verdicts[0].model_dump() == {"number": 1, "label": "", "real": False, "why": ""}


@pytest.mark.parametrize("depth", [10, 900, 960, 970, 975, 980, 985, 990, 995, 1000, 5000])
def test_deep_nesting_is_a_broken_item_or_a_failure_and_kept(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    raw = f'{{"records": [{{"text": "a"}}, {{"text": {deep}}}]}}'
    found = parse(raw, RecordBatch)
    assert isinstance(found, Parsed)
    assert [record.text for record in found.value.records] == ["a"]
    (problem,) = found.problems
    assert deep in problem.raw


def kept_texts(found: Any) -> list[str]:
    """Everything that would be stored of an answer."""
    if isinstance(found, ParseFailure):
        return [found.raw, found.detail]
    assert isinstance(found, Parsed)
    return [found.value.model_dump_json(), *(part for p in found.problems for part in (p.raw, p.detail))]


NAMES = "text label name value kind becomes number real why records attributes merges annotations verdicts"
WORDS = st.sampled_from([*NAMES.split(), "</think>", "\x00", "\ud83d", "true", "3"]) | st.text(
    st.characters(exclude_categories=()), max_size=3
)
LEAVES = WORDS | st.booleans() | st.none() | st.floats() | st.integers() | st.just(10**400)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12
)
TOKENS = '{ } [ ] " , : <think> </think> ```json NaN -Infinity 1e999 \\ud83d \x00 \n'
PARTS = [
    '{"records": [',
    '{"text": "a"}',
    '"text": ',
    '{"number": 1, "real": 1}',
    '{"text": "a", "text": 2}',
    "9" * 5000,
]
SCRAPS = st.sampled_from([*TOKENS.split(" "), *PARTS])


@given(VALUES, st.sampled_from(ANSWERS), st.booleans())
def test_any_json_is_parsed_or_refused_and_can_be_stored(value: Any, model: type[Any], ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only)
    for text in kept_texts(parse(raw, model)) + kept_texts(parse(raw[: len(raw) // 2], model)):
        assert text.encode() is not None


@given(st.lists(SCRAPS | WORDS | VALUES.map(json.dumps), max_size=12).map("".join), st.sampled_from(ANSWERS))
def test_any_scraps_are_parsed_or_refused_and_can_be_stored(raw: str, model: type[Any]) -> None:
    for text in kept_texts(parse(raw, model)):
        assert text.encode() is not None
