"""Symbolic links that lead out of a workspace: deleting through one would delete somebody else's files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from synalign.errors import StoreError


def leaving(root: Path, paths: Iterable[Path]) -> list[str]:
    """Return the symbolic links among `paths` whose target is outside `root`, as "name -> target", sorted."""
    inside = root.resolve()
    return sorted(
        f"{path.relative_to(root).as_posix()} -> {os.readlink(path)}"
        for path in paths
        if path.is_symlink() and not path.resolve().is_relative_to(inside)
    )


def require_inside(root: Path, tables: Path) -> None:
    """Check that no file of a workspace, and none of its tables, is a link to somewhere else.

    Raises:
        StoreError: if one of them is a link that leads out of the workspace.
    """
    folders = (folder for folder in (root, tables) if folder.is_dir())
    found = leaving(root, (path for folder in folders for path in folder.iterdir()))
    if found:
        raise StoreError(
            f"The workspace {root} has links that lead out of it: {'; '.join(found)}. Deleting through "
            "them would delete files outside, so nothing is written. Replace each link by what it leads to; to use "
            "another disk, move the whole workspace there and link to it. Nothing was changed."
        )
