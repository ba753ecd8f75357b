"""What programs and scripts of users name: public names, keywords with their defaults, settings, commands, options."""

from __future__ import annotations

import functools
import inspect
import io
import re
import sys
from contextlib import redirect_stdout, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import synalign as sa


def surface(folder: Path) -> dict[str, Any]:
    """Return all of it; `folder` is for a workspace that stays empty."""
    workspace = sa.open(folder / "workspace")
    return {
        "names": list(sa.__all__),
        "functions": {name: keywords(getattr(sa, name)) for name in ("open", "run")},
        "verbs": {name: keywords(getattr(workspace, name)) for name in verbs(workspace)},
        "settings": {
            "Config": sa.Config().model_dump(mode="json"),
            "RunConfig": sorted(sa.RunConfig.model_fields),
        },
        "commands": commands(),
    }


def verbs(workspace: sa.Workspace) -> list[str]:
    """Return the names of the public methods, however they come about."""
    return [name for name in dir(workspace) if not name.startswith("_") and callable(getattr(workspace, name))]


def keywords(function: Any) -> dict[str, str]:
    """Return what a function takes, with the default of each as Python writes it. "(given)": it has to be given."""
    empty = inspect.Parameter.empty
    found = inspect.signature(function).parameters
    return {name: "(given)" if one.default is empty else repr(one.default) for name, one in found.items()}


def positional(function: Any) -> list[str]:
    """Return what may be given without its name, in order."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, one in inspect.signature(function).parameters.items() if one.kind in kinds]


@functools.cache
def commands() -> dict[str, list[str]]:
    """Return the options of each command, by what `--help` prints. The first, "", is the command line as a whole."""
    listed = _help()
    found = {"": _options(listed)}
    for name in re.findall(r"^  ([a-z][a-z-]*)  ", listed.partition("Commands:")[2], flags=re.MULTILINE):
        found[name] = _options(_help(name))
    return found


def _options(text: str) -> list[str]:
    # Those at the start of a line, alone or after a comma or a slash: a description may name others.
    lines = [line.partition("  ")[0] for line in (row.strip() for row in text.splitlines()) if line.startswith("-")]
    return sorted({option for line in lines for option in re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", line)})


def _help(*command: str) -> str:
    """Return the help of a command. The process is this one: starting Python takes longer than all else."""
    (main,) = entry_points(group="console_scripts", name="synalign")
    run, output, before = main.load(), io.StringIO(), sys.argv
    sys.argv = ["synalign", *command, "--help"]
    try:
        with redirect_stdout(output), suppress(SystemExit):
            run()
    finally:
        sys.argv = before
    return output.getvalue()
