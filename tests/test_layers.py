"""The rooms: who may import whom. Read from the source, so that an import inside a function counts too."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "synalign"
ROOMS = ("numerics", "store", "llm", "models")

#: For each place, the places of this package that it may import. A place is a folder or a top-level module.
ALLOWED = {
    "errors": set(),
    "version": set(),
    "ids": {"errors"},
    "resources": {"errors"},
    "config": {"config", "errors", "ids"},
    "numerics": {"errors", "ids", "numerics"},
    "store": {"errors", "ids", "config", "resources", "store", "version"},
    "llm": {"errors", "ids", "config", "resources", "llm"},
    "models": {"config", "errors", "ids", "models"},
    "experiments": {"errors", "experiments", "ids", "numerics"},
    "steps": {"errors", "experiments", "ids", "config", "resources", "steps", "version", *ROOMS},
    "pipeline": {"errors", "config", "steps"},
    "report": {"errors", "report"},
    "reader": {"errors", "steps", "store"},
    "verb": {"config", "steps"},
    "session": {"config", "errors", "reader", "steps", "store"},
    "workspace": {"config", "errors", "experiments", "pipeline", "reader", "session", "steps", "store", "verb"},
    "cli": {"cli", "config", "errors", "reader", "report", "steps", "verb", "version", "workspace"},
    "synalign": {"config", "errors", "numerics", "steps", "version", "workspace"},
}  # fmt: skip

#: Libraries that one module alone may import.
OWNERS = {
    "lancedb": {"store/lake/lake.py"},
    "lance": {"store/lake/lake.py"},
    "duckdb": {
        "experiments/log.py",
        *(f"store/sql/{name}.py" for name in ("attachments", "catalog", "checks", "delimited", "query")),
    },
    "openai": {"llm/transport/client.py"},
    "jinja2": {"llm/prompting/prompts.py"},
    "typer": {
        f"cli/{name}.py"
        for name in (
            "app", "evaluation", "history", "pipeline", "query", "retrieval", "steps",
            "upkeep", "weights",
        )
    },
    "rich": {"cli/terminal.py"},
    "matplotlib": {"report/charts.py"},
    "transformers": {"models/transformer.py"},
}  # fmt: skip
NUMERICS_LIBRARIES = {"numpy", "scipy", "torch", "gpytorch", "sklearn", "threadpoolctl"}


@cache
def imports(path: Path, typing_too: bool) -> set[str]:
    """Return the full names of all modules that a file imports, wherever in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    if not typing_too:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped |= {inner for statement in node.body for inner in ast.walk(statement)}
    found = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = str(node.module)
            of_package = module == "synalign" or module.startswith("synalign.steps")
            found |= {f"{module}.{alias.name}" if of_package else module for alias in node.names}
    return found


def place(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else {"__init__": "synalign"}.get(path.stem, path.stem)


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    here = place(path)
    for name in imports(path, typing_too=True):
        top, _, rest = name.partition(".")
        if top == "synalign":
            first = rest.partition(".")[0]
            target = first if first in ALLOWED else "synalign"
            assert target in ALLOWED[here], f"{path} imports {name}: {here} may not import {target}"
        elif here == "numerics":
            known = top in NUMERICS_LIBRARIES or top in __import__("sys").stdlib_module_names
            assert known, f"{path} imports {name}: numerics sees arrays only"


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_imported_by_its_owner_alone(library: str) -> None:
    users = {
        str(path.relative_to(PACKAGE)).replace("\\", "/")
        for path in FILES
        if any(name.partition(".")[0] == library for name in imports(path, typing_too=False))
    }
    assert users == OWNERS[library]


def test_steps_hold_no_select_and_files_stay_short() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, f"{path} is too long"
        assert len(text.splitlines()) <= 600
        if place(path) == "steps":
            strings = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
            bad = [text for text in strings if isinstance(text, str) and text.lstrip().lower().startswith("select ")]
            assert not bad, f"{path} holds SQL: {bad}"


def test_only_the_command_line_prints() -> None:
    for path in FILES:
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        printing = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not printing, f"{path} prints"


def test_experiments_stand_alone() -> None:
    """Of the other rooms they take the checks of arrays, and nothing else."""
    used = {name for path in FILES if place(path) == "experiments" for name in imports(path, typing_too=True)}
    assert {name for name in used if name.startswith("synalign.numerics")} == {"synalign.numerics.core.checks"}
