from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign.llm.parsing import Parsed, ParseFailure, parse
from synalign.llm.schemas import AttributeSet, RecordBatch


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
