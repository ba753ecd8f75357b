"""Prompts: one Jinja file for each, with a system and a user block. Only this module imports jinja2.

A template sees only the variables it is given, in a sandbox, with nothing loaded from anywhere; a variable that is not
there is an error. The filter `tojson` writes data on one line that no tag inside the data can close.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from synalign import ids, resources
from synalign.errors import ConfigError
from synalign.llm.plaintext import repaired

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment

#: The blocks that each template must define.
BLOCKS = ("system", "user")

# Characters that may stand raw in JSON and yet end a line or open a tag for a reader of the prompt.
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<\x7f\x85\u2028\u2029"}


@dataclass(frozen=True)
class Prompt:
    """One rendered prompt and the hash of the template that it came from."""

    system: str
    user: str
    template_hash: str


def render(template: str, variables: Mapping[str, Any]) -> Prompt:
    """Render a shipped prompt such as "reason/attributes", or the file at a path that ends in ".j2".

    Raises:
        ConfigError: if the file is missing or is no valid template, lacks a block, or uses a variable that is not
            given; it names the file, the line, the variable and what is available.
    """
    source, where = _source(template)
    system, user = (_block(_compile(source, where), where, name, variables) for name in BLOCKS)
    return Prompt(system, user, ids.digest(source))


def template_hash(template: str) -> str:
    """Return the hash of a template's source: a change of the prompt makes new calls.

    Raises:
        ConfigError: if there is no such template.
    """
    return ids.digest(_source(template)[0])


def data_json(value: Any) -> str:
    """Return `value` as JSON on one line, readable in any script, in which no "<" and no line separator stands raw.

    Lone surrogates, which no endpoint takes, become U+FFFD.
    """
    return repaired(json.dumps(value, ensure_ascii=False).translate(_ESCAPES))


def _source(template: str) -> tuple[str, str]:
    """Return a template's source and how messages call it."""
    if not template.endswith(".j2"):
        root = resources.folder("prompts")
        shipped = sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.j2"))
        if template not in shipped:
            raise ConfigError(
                f"There is no prompt {template!r}. Shipped: {', '.join(shipped)}. To use your own, give the path of a "
                f"file that ends in .j2."
            )
        name = f"prompts/{template}.j2"
        return resources.text(name), name
    try:
        return Path(template).read_text(encoding="utf-8"), template
    except OSError as error:
        raise ConfigError(f"The prompt file {template} cannot be read: {error.strerror}. Check its path.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The prompt file {template} is not UTF-8 text: {error}. Save it as UTF-8.") from error


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import DictLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=DictLoader({}),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    environment.filters["tojson"] = data_json
    return environment


@cache
def _compile(source: str, where: str) -> Template:
    from jinja2 import TemplateSyntaxError

    try:
        template = _environment().from_string(source)
    except TemplateSyntaxError as error:
        raise ConfigError(f"{where}, line {error.lineno}: not a valid Jinja template: {error.message}.") from error
    missing = [name for name in BLOCKS if name not in template.blocks]
    if missing:
        lines = " and ".join(f"{{% block {name} %}}...{{% endblock %}}" for name in missing)
        raise ConfigError(
            f"{where} has no {' and no '.join(missing)} block; a prompt needs {' and '.join(BLOCKS)}. Add {lines}."
        )
    return template


def _block(template: Template, where: str, name: str, variables: Mapping[str, Any]) -> str:
    from jinja2 import TemplateError

    try:
        return "".join(template.blocks[name](template.new_context(dict(variables)))).strip()
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        line = _line(template, error.__traceback__)
        raise ConfigError(
            f"{where}, line {line} (block {name}): {error}. Variables here: {', '.join(sorted(variables))}."
        ) from error


def _line(template: Template, trace: TracebackType | None) -> int | str:
    """Return the template's line that a trace-back passed through last."""
    found: int | str = "unknown"
    while trace is not None:
        if trace.tb_frame.f_globals.get("__jinja_template__") is template:
            found = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return found
