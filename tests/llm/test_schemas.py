from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from synalign.llm.schemas import AttributeSet, Record, RecordBatch, json_schema, list_field


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)


@pytest.mark.parametrize("model", [AttributeSet, RecordBatch])
def test_strict_schemas_keep_to_what_strict_servers_take(model: type[BaseModel]) -> None:
    schema = json_schema(model)
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
