"""Runs the code of a page: its Python, shell and SQL blocks, in the order of the page, in a folder of its own.

- A `text` block after a block of code is what that code prints; `...` stands for anything, as in doctest.
- `<!-- not run: why -->` before a block leaves it out.
- SQL runs on the published catalog of the workspace `support`, or of the one that `<!-- catalog: NAME -->` names.
"""

from __future__ import annotations

import doctest
import io
import re
import shlex
from collections.abc import Iterator
from contextlib import chdir, closing, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tests.cli.inside import cli

ROOT = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(r"^(?:<!-- ([\w ]+): ?([^>]*) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: A command whose last line is an argument of another.
_INNER = re.compile(r"\$\((.*?) \| tail -n 1\)")
_LIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """Code of a page in one language; what it prints, if the page says so; and where it stands."""

    language: str
    code: str
    line: int
    printed: str | None = None
    catalog: str = "support"


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page that are run, in order."""
    found: list[Block] = []
    text = (ROOT / page).read_text(encoding="utf-8")
    skipped = False
    for match in _BLOCK.finditer(text):
        word, value, language, code = match.groups()
        if language == "text":
            assert found, f"{page}: output without code"
            if not skipped:
                found[-1] = Block(found[-1].language, found[-1].code, found[-1].line, code, found[-1].catalog)
            continue
        skipped = word == "not run"
        if not skipped and language in ("python", "sh", "sql"):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(language, code, line, catalog=value if word == "catalog" else "support"))
    return found


def run(page: str, folder: Path) -> None:
    """Run a page in a folder. Raises AssertionError for a block that fails or prints something else."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with chdir(folder):
        for block in blocks(page):
            printed = _output(page, block, names)
            if block.printed is not None:
                alike = doctest.OutputChecker().check_output(block.printed, printed, _LIKE)
                assert alike, f"{page}:{block.line} prints\n{printed}\nand not\n{block.printed}"


def _output(page: str, block: Block, names: dict[str, Any]) -> str:
    if block.language == "python":
        output = io.StringIO()
        # Blank lines before the code, so that a trace-back names the line of the page.
        with redirect_stdout(output):
            exec(compile("\n" * block.line + block.code, page, "exec"), names)
        return output.getvalue()
    if block.language == "sh":
        return "".join(_command(page, line) for line in block.code.splitlines() if line)
    for statement, rows in _answers(block):
        assert rows, f"{page}:{block.line} finds nothing: {statement}"
    return ""


def _command(page: str, line: str) -> str:
    line = _INNER.sub(lambda found: _command(page, found[1]).splitlines()[-1], line)
    program, *arguments = shlex.split(line)
    assert program == "synalign"
    done = cli(*arguments)
    assert done.returncode == 0, f"{page}: {line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _answers(block: Block) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    with closing(duckdb.connect(f"{block.catalog}/catalog.duckdb", read_only=True)) as connection:
        for statement in filter(str.strip, block.code.split(";\n")):
            yield statement, connection.execute(statement).fetchall()
