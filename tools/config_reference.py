"""Makes the reference of the configuration from its pydantic models: every section, key, default and limit."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from synalign.config import Config, RunConfig

_INTRODUCTION = """\
# Configuration

`synalign.toml` in the folder of a workspace, or a run file for `synalign run FILE`, which has
[a few keys more](#keys-of-a-run-file-alone). Both are TOML. A key that is not known is an error that names the nearest
one. What is not there has its default. A keyword of a method, or an option of a command, overrides the configuration
for that call.

```toml
seed = 7

[task]
description = "a message from a customer to a shop"

[llm]
model = "gpt-4.1-mini"
budget = "5usd"

[align]
max_weight_ratio = 10
```
"""

_KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "not empty",
    "minItems": "at least {} of them",
}


def sections() -> dict[str, dict[str, Any]]:
    """Return the schema of each table of the configuration by its heading in TOML; "" is the top level."""
    schema = RunConfig.model_json_schema()
    found: dict[str, dict[str, Any]] = {"": schema}
    for key, field in schema["properties"].items():
        for heading, name in _tables(key, field):
            found[heading] = schema["$defs"][name]
    return found


def reference() -> str:
    """Return the page."""
    tables = sections()
    top = tables.pop("")
    # The tables of the configuration have sections of their own.
    own = {heading.strip("[]").split(".")[0] for heading in tables} - {"sources"}
    keys = {name: field for name, field in top["properties"].items() if name not in own}
    both = {name: field for name, field in keys.items() if name in Config.model_fields}
    alone = {name: field for name, field in keys.items() if name not in both}
    defs = top["$defs"]
    parts = [_INTRODUCTION, "## At the top\n", _table(both, top, defs)]
    parts += ["## Keys of a run file alone\n", _table(alone, top, defs)]
    for heading, table in tables.items():
        text = inspect.cleandoc(table.get("description", ""))
        parts += [f"## `{heading}`\n", f"{text}\n", _table(table["properties"], table, defs)]
    return "\n".join(parts)


def _tables(key: str, field: dict[str, Any]) -> Iterator[tuple[str, str]]:
    inner = field.get("additionalProperties")
    if "$ref" in field:
        yield f"[{key}]", _name(field)
    elif "$ref" in field.get("items", {}):
        yield f"[[{key}]]", _name(field["items"])
    elif isinstance(inner, dict) and "$ref" in inner:
        yield f'[{key}."NAME"]', _name(inner)


def _name(field: dict[str, Any]) -> str:
    return str(field["$ref"]).rsplit("/", 1)[1]


def _table(fields: dict[str, Any], owner: dict[str, Any], defs: dict[str, Any]) -> str:
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in fields.items():
        default = "required" if name in owner.get("required", []) else _default(field)
        cells = [f"`{name}`", _cell(_kind(field, defs)), default, _cell(field.get("description", ""))]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _default(field: dict[str, Any]) -> str:
    if "default" not in field or field["default"] is None:
        return ""
    text = json.dumps(field["default"], ensure_ascii=False)
    if isinstance(field["default"], dict):
        text = "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in field["default"].items()) + "}"
    return f"`{_cell(text)}`"


def _kind(field: dict[str, Any], defs: dict[str, Any]) -> str:
    """Say what a value may be, in words."""
    if "anyOf" in field:
        return " or ".join(part for part in (_kind(one, defs) for one in field["anyOf"]) if part)
    if "$ref" in field:
        return "table"
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    kind = field.get("type", "")
    if kind == "null":
        return ""
    limits = [text.format(_number(field[key])) for key, text in _LIMITS.items() if key in field]
    if kind == "array":
        base = f"list of {_kind(field.get('items', {}), defs) or 'values'}"
    elif kind == "object":
        inner = field.get("additionalProperties")
        base = f"table of {_kind(inner, defs) or 'values'}" if isinstance(inner, dict) else "table"
    else:
        base = _KINDS.get(kind, "")
    return ", ".join([base, *limits]) if base else ", ".join(limits)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
