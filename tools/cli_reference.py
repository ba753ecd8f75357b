"""Makes the reference of the command line from the app itself: each command with its usage, arguments and options."""

from __future__ import annotations

import inspect
from typing import Any

import typer.main

from synalign.cli import app
from synalign.cli.app import GROUPS

_INTRODUCTION = """\
# Commands

`synalign COMMAND DIR ...`: each command does what a method of the [Python API](api.md) does. `DIR` is the folder of a
workspace. `synalign COMMAND --help` shows what stands here.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C. `--json` prints one JSON document, errors included.
[From the command line](../how-to/command-line.md) goes through a whole run.
"""

#: How the kinds of values are written.
_KINDS = {
    "int": "N",
    "float": "X",
    "str": "TEXT",
    "path": "PATH",
    "list[str]": "TEXT",
    "float range": "X",
    "int range": "N",
}


def commands() -> dict[str, Any]:
    """Return the commands by name, in the order of `synalign --help`."""
    group: Any = typer.main.get_command(app)
    found = {name: group.get_command(_context(group), name) for name in group.list_commands(_context(group))}
    return {name: command for name, command in found.items() if not command.hidden}


def reference() -> str:
    """Return the page."""
    parts = [_INTRODUCTION, "## For every command\n", _options(typer.main.get_command(app))]
    for name, command in commands().items():
        heading = f"## {next(group for group, names in GROUPS.items() if name in names)}\n"
        parts += [heading] if heading not in parts else []
        parts.append(_section(name, command))
    return "\n".join(parts)


def _section(name: str, command: Any) -> str:
    arguments = [_record(one, command)[0].split()[0].upper() for one in _parameters(command) if _is_argument(one)]
    usage = " ".join(["synalign", name, *arguments, "[OPTIONS]"])
    text = inspect.cleandoc(command.help or "").replace("\f", "")
    return f"### `{name}`\n\n```text\n{usage}\n```\n\n{text}\n\n{_options(command)}"


def _options(command: Any) -> str:
    rows = [f"| {_name(one, command)} | {_cell(_record(one, command)[1])} |" for one in _parameters(command)]
    return "\n".join(["| argument or option | meaning |", "| --- | --- |", *rows, ""]) if rows else ""


def _name(parameter: Any, command: Any) -> str:
    names, bracket, kind = _record(parameter, command)[0].partition("<")
    value = _KINDS.get(kind.rstrip(">"), kind.rstrip(">")) if bracket and not _is_argument(parameter) else ""
    names = names.strip().upper() if _is_argument(parameter) else names.strip()
    return f"`{_cell(f'{names} {value}')}`"


def _record(parameter: Any, command: Any) -> tuple[str, str]:
    """The two columns of `--help`."""
    names, meaning = parameter.get_help_record(_context(command))
    return names, meaning.replace("[required]", "" if _is_argument(parameter) else "Required.")


def _parameters(command: Any) -> list[Any]:
    return [one for one in command.params if "--help" not in one.opts and not one.hidden]


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _context(command: Any) -> Any:
    return command.make_context(command.name, [], resilient_parsing=True)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
