"""What the model is asked to answer with, as pydantic models and as the JSON schema that goes into a request.

The schemas keep to what OpenAI's strict mode and other servers share: no references, no length or range keywords, all
fields required. How many records are wanted is said in the prompt and in `ChatRequest.count`, not in the schema. The
models take what plainly means the same: a number where a text is wanted, "3" where a number is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic.json_schema import SkipJsonSchema

from synalign.llm.prompting.plaintext import repaired

#: The kinds that an attribute may have; any other that a model makes up counts as "text".
Kind = Literal["category", "number", "text"]

# The keywords of JSON schema that servers with strict structured output have in common.
_KEPT = ("type", "description", "enum", "const", "anyOf")

# Values of an enum that OpenAI takes without a limit on their length.
_MOST_VALUES = 250

# Numbers of records have to fit into a column.
_LARGEST = 2**31


def _as_text(value: Any) -> Any:
    """Take a number or a list of texts for what it plainly means."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(value)
    return value


def _as_word(value: Any) -> Any:
    """Return a number or truth value that is given as text in a form that pydantic reads."""
    return repaired(value).strip().lower() if isinstance(value, str) else value


def _counted(value: Any) -> Any:
    return str(value) if isinstance(value, bool) else _as_word(value)  # pydantic would take true for 1


def _in_range(value: int) -> int:
    if not 0 <= value < _LARGEST:
        raise ValueError(f"a number from 0 to {_LARGEST - 1} is wanted")
    return value


#: Text that can be stored: a reply may hold lone surrogates.
Text = Annotated[str, AfterValidator(repaired)]

#: Text that may come as a number or a list of texts.
Loose = Annotated[Text, BeforeValidator(_as_text)]

#: The number of a record in the prompt.
Number = Annotated[int, BeforeValidator(_counted), AfterValidator(_in_range)]

#: A truth value, which may come as "true" or "no".
Truth = Annotated[bool, BeforeValidator(_as_word)]


class Answer(BaseModel):
    """Base of what a model answers: unknown keys are ignored, for models add some."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Attribute(Answer):
    """One linguistic attribute of the demonstrations."""

    name: Text = Field(description="What is described, such as topic, tone or length.")
    kind: Kind = Field("text", description="What the value is.")
    value: Loose = Field(description="How the texts are in that respect.")

    @field_validator("kind", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        word = _as_word(value)
        return word if word in get_args(Kind) else "text"


class AttributeSet(Answer):
    """The answer of stage 1."""

    attributes: list[Attribute] = Field(min_length=1)

    @field_validator("attributes", mode="before")
    @classmethod
    def _from_mapping(cls, value: Any) -> Any:
        """Take {"topic": "..."} for [{"name": "topic", "value": "..."}]: servers without schemas answer so."""
        if isinstance(value, Mapping):
            return [
                {"name": name, **(item if isinstance(item, Mapping) else {"value": item})}
                for name, item in value.items()
            ]
        return value


class Merge(Answer):
    """A value of an attribute, and the one that means the same and takes its place."""

    name: Text
    value: Loose
    becomes: Loose


class MergeList(Answer):
    """Which values of the attributes mean the same; empty if none do."""

    merges: list[Merge]


class Annotation(Answer):
    """One attribute of one record, by the record's number in the prompt."""

    number: Number
    name: Text
    value: Loose


class AnnotationList(Answer):
    """The attributes of several records."""

    annotations: list[Annotation]


class RecordVerdict(Answer):
    """What the judge says of one record, by its number in the prompt; `label` is empty where none was asked for."""

    number: Number
    label: Text = ""
    real: Truth
    why: Text = ""

    @field_validator("label", "why", mode="before")
    @classmethod
    def _text_or_none(cls, value: Any) -> Any:
        return _text_of(value) or ""


class VerdictList(Answer):
    """What the judge says of several records."""

    verdicts: list[RecordVerdict]


class Record(Answer):
    """One new text, and the label that the model says it has, where it was asked: see `records_schema`."""

    text: Text
    label: SkipJsonSchema[Text | None] = None

    @field_validator("label", mode="before")
    @classmethod
    def _text_or_none(cls, value: Any) -> Any:
        return _text_of(value)


class RecordBatch(Answer):
    """The answer of stage 2."""

    records: list[Record]


def _text_of(value: Any) -> str | None:
    """Return a side remark as text, or None for what is none: it is no reason to refuse what it stands beside."""
    text = _as_text(value)
    return repaired(text) if isinstance(text, str) else None


def records_schema(labels: Sequence[str] | None) -> dict[str, Any]:
    """Return the strict schema of a `RecordBatch`; with `labels`, each record must state one of these as its label.

    With no labels in the list, or more than servers take, the label may be any text.
    """
    schema = json_schema(RecordBatch)
    if labels is not None:
        known = list(dict.fromkeys(repaired(label) for label in labels))
        item = schema["properties"]["records"]["items"]
        listed = {"enum": known} if 0 < len(known) <= _MOST_VALUES else {}
        item["properties"]["label"] = {"type": "string"} | listed
        item["required"] = list(item["properties"])
    return schema


def outline(schema: Mapping[str, Any]) -> Any:
    """Return what an answer to a strict schema looks like, as data for a prompt: {"records": [{"text": "..."}]}."""
    if schema.get("type") == "object":
        return {name: outline(part) for name, part in schema["properties"].items()}
    if schema.get("type") == "array":
        return [outline(schema["items"])]
    if "enum" in schema:
        return "one of: " + ", ".join(map(str, schema["enum"]))
    return {"integer": 1, "number": 1.5, "boolean": True}.get(str(schema.get("type")), "...")


def list_field(model: type[BaseModel]) -> tuple[str, type[BaseModel]] | None:
    """Return the name and the item model of the only field of `model`, if that is a list of models."""
    if len(model.model_fields) != 1:
        return None
    ((name, field),) = model.model_fields.items()
    if get_origin(field.annotation) is not list:
        return None
    (item,) = get_args(field.annotation)
    return (name, item) if isinstance(item, type) and issubclass(item, BaseModel) else None


def required_fields(model: type[BaseModel]) -> list[str]:
    """Return the names of the fields that an object must have to be taken for a `model`."""
    return [name for name, field in model.model_fields.items() if field.is_required()]


def json_schema(model: type[BaseModel], strict: bool = True) -> dict[str, Any]:
    """Return the JSON schema of `model`; `strict`: in the form that strict structured output takes.

    Strict means: references resolved in place, `additionalProperties` false and all properties required in each
    object, and only keywords that such servers share. A model that contains itself has no strict form.
    """
    schema = _declared(model)
    return _strict(schema, schema.get("$defs", {})) if strict else deepcopy(schema)


@lru_cache(maxsize=64)
def _declared(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema that pydantic makes, which takes it longer than rendering a prompt. Do not change it."""
    return model.model_json_schema()


def _strict(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _strict(definitions[str(schema["$ref"]).rpartition("/")[2]], definitions)
    kept: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    if "anyOf" in kept:
        kept["anyOf"] = [_strict(part, definitions) for part in kept["anyOf"]]
    if "items" in schema:
        kept["items"] = _strict(schema["items"], definitions)
    if schema.get("type") == "object":
        kept.pop("description", None)  # a model's docstring: editing one must not change what requests are called
        properties = schema.get("properties", {})
        kept["properties"] = {name: _strict(part, definitions) for name, part in properties.items()}
        kept["required"] = list(properties)
        kept["additionalProperties"] = False
    return kept
