"""A table as Markdown, in a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synalign.store.disk import atomic_write


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table in place of a file, or not at all.

    Raises:
        StoreError: if it cannot be written.
    """
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    atomic_write.write_text(path, "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n")
