"""What the model is asked to answer with, as pydantic models and as the JSON schema that goes into a request.

The schemas keep to what OpenAI's strict mode and other servers share: no references, no length or range keywords, all
fields required. How many records are wanted is said in the prompt and in `ChatRequest.count`, not in the schema; the
label is given to the model and never asked back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from synalign.llm.plaintext import repaired

#: Text that can be stored: a reply may hold lone surrogates.
Text = Annotated[str, AfterValidator(repaired)]

# The keywords of JSON schema that servers with strict structured output have in common.
_KEPT = ("type", "description", "enum", "const", "anyOf")


class Answer(BaseModel):
    """Base of what a model answers: unknown keys are ignored, for models add some."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Attribute(Answer):
    """One linguistic attribute of the demonstrations."""

    name: Text = Field(description="What is described, such as topic, tone or length.")
    value: Text = Field(description="How the texts are in that respect.")

    @field_validator("value", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """Take a number or a list of texts for what it plainly means."""
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return ", ".join(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        return value


class AttributeSet(Answer):
    """The answer of stage 1."""

    attributes: list[Attribute] = Field(min_length=1)

    @field_validator("attributes", mode="before")
    @classmethod
    def _from_mapping(cls, value: Any) -> Any:
        """Take {"topic": "..."} for [{"name": "topic", "value": "..."}]: servers without schemas answer so."""
        if isinstance(value, Mapping):
            return [{"name": name, "value": item} for name, item in value.items()]
        return value


class Record(Answer):
    """One new text."""

    text: Text


class RecordBatch(Answer):
    """The answer of stage 2."""

    records: list[Record]


def list_field(model: type[BaseModel]) -> tuple[str, type[BaseModel]] | None:
    """Return the name and the item model of the only field of `model`, if that is a list of models."""
    if len(model.model_fields) != 1:
        return None
    ((name, field),) = model.model_fields.items()
    if get_origin(field.annotation) is not list:
        return None
    (item,) = get_args(field.annotation)
    return (name, item) if isinstance(item, type) and issubclass(item, BaseModel) else None


def json_schema(model: type[BaseModel], strict: bool = True) -> dict[str, Any]:
    """Return the JSON schema of `model`; `strict`: in the form that strict structured output takes.

    Strict means: references resolved in place, `additionalProperties` false and all properties required in each
    object, and only keywords that such servers share. A model that contains itself has no strict form.
    """
    schema = model.model_json_schema()
    return _strict(schema, schema.get("$defs", {})) if strict else schema


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
