"""Prompts: one Jinja file for each, with a system and a user block. Only this module imports jinja2.

A shipped prompt is replaced by a file of the same name in the user's folder of prompts.

A template sees only the variables it is given, in a sandbox, with nothing loaded from anywhere; a variable that is not
there is an error. The filter `tojson` writes data on one line that no tag inside the data can close.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from synalign import ids, resources
from synalign.errors import ConfigError
from synalign.llm.prompting.plaintext import repaired

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment

#: The blocks that a template has; it must define both, unless `render` is told otherwise.
BLOCKS = ("system", "user")

# What a name may be: it must not lead out of the folder.
_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*")

# Characters that may stand raw in JSON and yet end a line or open a tag for a reader of the prompt.
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<\x7f\x85\u2028\u2029"}


@dataclass(frozen=True)
class Prompt:
    """One rendered prompt and the hash of the template that it came from. A block that was not asked for is empty."""

    system: str
    user: str
    template_hash: str


def render(
    template: str, variables: Mapping[str, Any], folder: Path | None = None, blocks: tuple[str, ...] = BLOCKS
) -> Prompt:
    """Render a prompt such as "reason/attributes", or the file at a path that ends in ".j2".

    Args:
        template: a name is looked for as FOLDER/NAME.j2 first, then among the shipped prompts. A file in the folder may
            have a name that no shipped prompt has.
        variables: what the template sees. Values are never read as templates.
        folder: the user's own prompts; it need not exist.
        blocks: which of BLOCKS the template must have; only these are rendered.

    Raises:
        ConfigError: if the file is missing or is no valid template, lacks a block, or uses a variable that is not
            given; it names the file, the line, the variable and what is available.
    """
    source, where = _source(template, folder)
    compiled = _compile(source, where, blocks)
    parts = {name: _block(compiled, where, name, variables) for name in blocks}
    return Prompt(parts.get("system", ""), parts.get("user", ""), ids.digest(source))


def template_hash(template: str, folder: Path | None = None) -> str:
    """Return the hash of a template's source: a change of the prompt makes new calls.

    Raises:
        ConfigError: if there is no such template.
    """
    return ids.digest(_source(template, folder)[0])


def shipped() -> list[str]:
    """Return the names of the prompts that come with SynAlign, sorted."""
    return _names(resources.folder("prompts"))


def instructions(template: str, folder: Path | None = None) -> list[str]:
    """Return the literal text of a template's blocks, in order: the runs between variables and statements, stripped.

    A generated record that holds one of them has leaked the prompt. Short runs, such as a full stop, are among them.

    Raises:
        ConfigError: if there is no such template, or it is not valid.
    """
    from jinja2 import nodes

    source, where = _source(template, folder)
    with _syntax(where):
        tree = _environment().parse(source)
    blocks = tree.find_all(nodes.Block)
    runs = {id(run): run for block in blocks for run in block.find_all(nodes.TemplateData)}  # blocks may be nested
    return [text for run in runs.values() if (text := run.data.strip())]


def data_json(value: Any) -> str:
    """Return `value` as JSON on one line, readable in any script, in which no "<" and no line separator stands raw.

    Lone surrogates, which no endpoint takes, become U+FFFD.
    """
    return repaired(json.dumps(value, ensure_ascii=False).translate(_ESCAPES))


def _source(template: str, folder: Path | None) -> tuple[str, str]:
    """Return a template's source and how messages call it."""
    if template.endswith(".j2"):
        return _read_template(Path(template)), template
    if folder is not None and _NAME.fullmatch(template):
        own = folder / f"{template}.j2"
        if os.path.lexists(own):  # a link that leads nowhere is an error, and no reason to take the shipped prompt
            return _read_template(own), str(own)
    if template in shipped():
        name = f"prompts/{template}.j2"
        return resources.text(name), name
    there = _names(folder) if folder is not None else []
    inside = f" In {folder}: {', '.join(there)}." if there else ""
    place = f" as {folder / 'NAME.j2'}, or" if folder is not None else ""
    raise ConfigError(
        f"There is no prompt {template!r}. Shipped: {', '.join(shipped())}.{inside} To use your own, save it{place} "
        "anywhere and give the path of the file, which ends in .j2."
    )


def _names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.j2"))


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise ConfigError(f"The prompt file {path} is not UTF-8 text: {error}. Save it as UTF-8.") from error
        cause = getattr(error, "strerror", None) or error
        raise ConfigError(f"The prompt file {path} cannot be read: {cause}. Check its path.") from error


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


@contextmanager
def _syntax(where: str) -> Iterator[None]:
    from jinja2 import TemplateSyntaxError

    try:
        yield
    except TemplateSyntaxError as error:
        raise ConfigError(f"{where}, line {error.lineno}: not a valid Jinja template: {error.message}.") from error


@cache
def _compile(source: str, where: str, blocks: tuple[str, ...]) -> Template:
    with _syntax(where):
        template = _environment().from_string(source)
    missing = [name for name in blocks if name not in template.blocks]
    if missing:
        lines = " and ".join(f"{{% block {name} %}}...{{% endblock %}}" for name in missing)
        raise ConfigError(
            f"{where} has no {' and no '.join(missing)} block; a prompt needs {' and '.join(blocks)}. Add {lines}."
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
