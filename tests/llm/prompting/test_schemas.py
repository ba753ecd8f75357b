from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from synalign.llm.prompting.schemas import (
    Annotation,
    AnnotationList,
    Attribute,
    AttributeSet,
    Merge,
    MergeList,
    Record,
    RecordBatch,
    RecordVerdict,
    VerdictList,
    json_schema,
    list_field,
    outline,
    records_schema,
    required_fields,
)

ANSWERS = [AttributeSet, MergeList, RecordBatch, AnnotationList, VerdictList]


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)


@pytest.mark.parametrize(
    "schema",
    [*map(json_schema, ANSWERS), records_schema(["good", "bad"]), records_schema([])],
    ids=lambda schema: " ".join(schema["properties"]),
)
def test_strict_schemas_keep_to_what_strict_servers_take(schema: dict[str, Any]) -> None:
    found = list(objects(schema))
    assert len(found) == 2
    for part in found:
        assert part["additionalProperties"] is False
        assert part["required"] == list(part["properties"])
    text = repr(schema)
    assert not any(word in text for word in ("$ref", "$defs", "minItems", "title", "default"))


def test_the_schema_of_records_is_pinned() -> None:
    """It is part of each request's name: a change of it sends all requests again."""
    record = {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    }
    assert json_schema(RecordBatch) == {
        "type": "object",
        "properties": {"records": {"type": "array", "items": record}},
        "required": ["records"],
        "additionalProperties": False,
    }


def test_the_loose_schema_is_pydantics_own() -> None:
    assert json_schema(RecordBatch, strict=False) == RecordBatch.model_json_schema()


def test_the_list_of_an_answer_is_found() -> None:
    assert list_field(RecordBatch) == ("records", Record)
    assert list_field(Record) is None


def test_records_state_a_label_only_where_it_is_asked() -> None:
    assert records_schema(None) == json_schema(RecordBatch)
    item = records_schema(["good", "bad", "good", "half \ud83d"])["properties"]["records"]["items"]
    assert item["properties"]["label"] == {"type": "string", "enum": ["good", "bad", "half \ufffd"]}
    assert item["required"] == ["text", "label"]
    for labels in ([], [str(number) for number in range(251)]):
        item = records_schema(labels)["properties"]["records"]["items"]
        assert item["properties"]["label"] == {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "shape"),
    [
        (
            json_schema(AttributeSet),
            {"attributes": [{"name": "...", "kind": "one of: category, number, text", "value": "..."}]},
        ),
        (json_schema(MergeList), {"merges": [{"name": "...", "value": "...", "becomes": "..."}]}),
        (json_schema(AnnotationList), {"annotations": [{"number": 1, "name": "...", "value": "..."}]}),
        (json_schema(VerdictList), {"verdicts": [{"number": 1, "label": "...", "real": True, "why": "..."}]}),
        (records_schema(["a", "b"]), {"records": [{"text": "...", "label": "one of: a, b"}]}),
    ],
    ids=lambda value: " ".join(value),
)
def test_the_outline_of_a_schema_is_an_answer_in_its_shape(schema: dict[str, Any], shape: dict[str, Any]) -> None:
    assert outline(schema) == shape


def test_what_an_item_must_have() -> None:
    items = [shape[1] for shape in map(list_field, ANSWERS) if shape]
    assert items == [Attribute, Merge, Record, Annotation, RecordVerdict]
    assert [required_fields(item) for item in items] == [
        ["name", "value"],
        ["name", "value", "becomes"],
        ["text"],
        ["number", "name", "value"],
        ["number", "real"],
    ]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("category", "category"),
        (" Number", "number"),
        ("TEXT", "text"),
        ("list", "text"),
        (None, "text"),
        ([1], "text"),
    ],
)
def test_a_kind_that_is_not_known_is_text(given: Any, kind: str) -> None:
    assert Attribute.model_validate({"name": "a", "kind": given, "value": "b"}).kind == kind
    assert Attribute.model_validate({"name": "a", "value": "b"}).kind == "text"


def test_attributes_by_name_may_have_kinds() -> None:
    answer = AttributeSet.model_validate({"attributes": {"length": {"kind": "number", "value": 12}, "tone": "warm"}})
    assert [item.model_dump() for item in answer.attributes] == [
        {"name": "length", "kind": "number", "value": "12"},
        {"name": "tone", "kind": "text", "value": "warm"},
    ]


@pytest.mark.parametrize(("given", "number"), [(3, 3), ("3", 3), (" 3 ", 3), (3.0, 3), ("0", 0)])
def test_numbers_are_taken_for_what_they_mean(given: Any, number: int) -> None:
    assert Annotation.model_validate({"number": given, "name": "a", "value": 2}).number == number


@pytest.mark.parametrize(
    "given", [True, 3.5, -1, 2**31, 10**4000, float("nan"), "three", "3\ud800", "1" * 5000, None, [1]]
)
def test_what_is_no_number_of_a_record_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError, match="number"):
        Annotation.model_validate({"number": given, "name": "a", "value": "b"})


@pytest.mark.parametrize(
    ("given", "real"), [(True, True), ("true", True), ("No ", False), ("FALSE", False), (0, False)]
)
def test_truth_is_taken_for_what_it_means(given: Any, real: bool) -> None:
    assert RecordVerdict.model_validate({"number": 1, "real": given}).real is real


@pytest.mark.parametrize("given", ["perhaps", None, 2, float("nan"), "\ud800", [True]])
def test_what_is_neither_true_nor_false_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError, match="real"):
        RecordVerdict.model_validate({"number": 1, "real": given})


@pytest.mark.parametrize(
    ("given", "label"),
    [("good", "good"), (3, "3"), (None, None), ({"a": 1}, None), (True, None), ("x\ud83d", "x\ufffd")],
)
def test_a_label_never_costs_a_record(given: Any, label: str | None) -> None:
    assert Record.model_validate({"text": "a", "label": given}) == Record(text="a", label=label)
    assert RecordVerdict.model_validate({"number": 1, "real": True, "label": given}).label == (label or "")
    assert Record(text="a").label is None
