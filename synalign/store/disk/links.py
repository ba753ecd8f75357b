"""Symbolic links that lead out of a workspace: what is deleted or forgotten through one is somebody else's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from synalign.errors import StoreError


def leaving(root: Path, paths: Iterable[Path]) -> list[str]:
    """Return those of the paths below a folder that are links to outside of it, as "name -> where it leads", sorted."""
    inside = root.resolve()
    return sorted(
        f"{path.relative_to(root).as_posix()} -> {os.readlink(path)}"
        for path in paths
        if path.is_symlink() and not path.resolve().is_relative_to(inside)
    )


def require_inside(root: Path, tables: Path) -> None:
    """Check that the files of a workspace and its tables are where they seem to be.

    Raises:
        StoreError: if one of them is a link that leads out of the workspace.
    """
    folders = (folder for folder in (root, tables) if folder.is_dir())
    found = leaving(root, (path for folder in folders for path in folder.iterdir()))
    if found:
        raise StoreError(
            f"The workspace {root} has links that lead out of it: {'; '.join(found)}. What is cleaned up or forgotten "
            "through them is outside, so nothing is written. Put what they lead to in their place, or, for another "
            "disk, move the whole workspace there and link to it. Nothing was changed."
        )
