"""Makes the reference of the Python API from the package: signatures, docstrings, and the fields of request models."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import synalign as sa
from synalign import errors
from synalign.reader import Snapshot

_INTRODUCTION = """\
# Python API

```python
import synalign as sa
```

All that is listed here is stable: other names of the package may change without notice. A keyword that is not given is
as [configured](configuration.md). All methods also work inside a running event loop (a notebook).
"""

#: The methods of a workspace by what they are for. A test says when one has no place.
GROUPS = {
    "Data": ["ingest", "ingest_documents", "embed", "exclude", "include", "forget"],
    "Selection": ["cluster", "select"],
    "Generation": ["estimate", "reason", "generate", "annotate", "record", "restore"],
    "Weights": ["align", "score", "use_weights", "check"],
    "Questions": ["sql", "fetch", "save", "connect", "attach", "detach", "search", "status", "explain"],
    "Results": ["sample", "sample_training_mix", "training_data", "export"],
    "Evaluation": ["evaluate", "learning_curve", "text_quality", "analyse_experiment"],
    "Retrieval": ["train_retriever", "retrieve", "evaluate_retrievers", "ab"],
    "States and upkeep": ["runs", "tag", "untag", "at", "diff", "configure", "run", "publish", "fsck", "gc"],
}

_ABOUT_ERRORS = """\
All are in `synalign.errors`. Each says what was wrong, what is allowed, what was given and what to do; `retryable` says
whether the same call may succeed later.
"""

_SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Example):\s*$")


def public_methods(kind: type) -> list[str]:
    """Return the names of the public methods of a class, in alphabetical order."""
    return [name for name, member in inspect.getmembers(kind, callable) if not name.startswith("_")]


def reference() -> str:
    """Return the page."""
    parts = [_INTRODUCTION, "## Functions\n", _callable("open", sa.open, "sa"), _callable("run", sa.run, "sa")]
    parts += ["## Workspace\n", "What `sa.open()` returns; `ws` below.\n", f"{_text(sa.Workspace.__doc__)}\n"]
    for title, names in GROUPS.items():
        parts.append(f"## Workspace: {title.lower()}\n")
        parts += [_callable(name, inspect.getattr_static(sa.Workspace, name), "ws") for name in names]
    parts += ["## Earlier states\n", f"{_text(Snapshot.__doc__)}\n"]
    shared = [name for name in public_methods(Snapshot) if name in public_methods(sa.Workspace)]
    parts.append(f"Of the methods of a workspace it has {', '.join(f'`{name}`' for name in shared)}.\n")
    parts.append("## Other classes\n")
    parts += [_class(name, kind) for name, kind in _classes()]
    parts.append("## Errors\n")
    parts.append(_ABOUT_ERRORS)
    parts += ["| error | raised when |", "| --- | --- |", *_errors(), ""]
    return "\n".join(parts)


def _classes() -> Iterator[tuple[str, type]]:
    for name in sa.__all__:
        member = getattr(sa, name)
        if inspect.isclass(member) and member is not sa.Workspace and not issubclass(member, errors.SynAlignError):
            yield name, member


def _errors() -> Iterator[str]:
    for name, member in vars(errors).items():
        if inspect.isclass(member) and issubclass(member, errors.SynAlignError):
            base = f" (a `{member.__base__.__name__}`)" if member is not errors.SynAlignError else ""
            yield f"| `{name}`{base} | {_cell(_text(member.__doc__))} |"


def _class(name: str, kind: type) -> str:
    lines = [f"### `sa.{name}`\n", f"{_text(kind.__doc__)}\n"]
    for method in vars(kind):
        member = inspect.getattr_static(kind, method)
        documented = inspect.getdoc(member)
        if not method.startswith("_") and documented and (inspect.isfunction(member) or isinstance(member, property)):
            shown = f"{method}{_signature(member)}" if inspect.isfunction(member) else method
            lines.append(f"- `{shown}`: {_cell(_text(documented))}")
    return "\n".join([*lines, ""])


def _callable(name: str, member: Any, owner: str) -> str:
    """One function, method or verb: its heading, signature, text, and what it takes."""
    request = getattr(member, "request", None)
    function: Any = getattr(sa.Workspace, name) if request is not None else member
    head = f"### `{owner}.{name}`\n\n```python\n{owner}.{name}{_signature(function)}\n```\n"
    text = inspect.getdoc(request if request is not None else function) or ""
    lines = [head, _described(text, {} if request is None else _fields(request))]
    return "\n".join(lines)


def _fields(request: Any) -> dict[str, str]:
    return {name: field.description or "" for name, field in request.model_fields.items()}


def _described(text: str, fields: dict[str, str]) -> str:
    """A docstring as Markdown: its sections become lists, and the fields of a request stand among the arguments."""
    parts: dict[str, list[str]] = {"": []}
    section = ""
    for line in text.splitlines():
        found = _SECTION.match(line)
        if found:
            section = found[1]
            parts[section] = []
        elif section and line and not line.startswith(" "):
            section = ""
            parts[""].append(line)
        else:
            parts[section].append(line)
    lines = ["\n".join(parts.pop("")).strip(), ""]
    arguments = _entries(parts.pop("Args", [])) | fields
    if arguments:
        lines += [*(f"- `{name}`: {_cell(meaning)}" for name, meaning in arguments.items()), ""]
    for title, body in parts.items():
        entries = _entries(body)
        lines += [f"{title}:\n", *(f"- `{name}`: {_cell(told)}" for name, told in entries.items()), ""]
        if not entries:
            lines += [" ".join(" ".join(body).split()), ""]
    return "\n".join(lines)


def _entries(lines: list[str]) -> dict[str, str]:
    """Read `name: meaning` with indented lines that go on."""
    found: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc("\n".join(["", *lines])).splitlines():
        match = re.match(r"^([\w`*., ]+): (.*)$", line)
        if match:
            name = match[1].strip("`")
            found[name] = match[2]
        elif name:
            found[name] += f" {line.strip()}"
    return found


def _signature(function: Callable[..., Any]) -> str:
    """The parameters with their defaults, one a line where they are many; types stand in the descriptions."""
    parameters = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
    shown, starred = [], False
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        shown.append(str(one.replace(annotation=one.empty)))
        starred = starred or one.kind is one.VAR_POSITIONAL
    line = f"({', '.join(shown)})"
    return line if len(line) <= 88 else "(\n    " + ",\n    ".join(shown) + ",\n)"


def _text(doc: str | None) -> str:
    return inspect.cleandoc(doc or "").partition("\n\nArgs:")[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
