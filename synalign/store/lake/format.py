"""The schema version of a workspace: `format.json`, which says how its tables are laid out and who can read them.

It is read whenever a workspace is opened, before anything else is, and costs no import of a database. A workspace
without it was made before there was one: schema 1 or 2. `migrations` brings older ones up to date.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synalign.errors import StoreError, WorkspaceVersionError
from synalign.store.disk import atomic_write
from synalign.version import __version__

FORMAT_NAME = "format.json"

#: The schema that this package writes, and the first version of the package that reads it.
SCHEMA, NEEDS = 4, "0.1.0"

#: The schema of a workspace of before the file existed, unless it has one of the tables that came with schema 2.
_FIRST, _SECOND = 1, 2
_OF_SECOND = ("attribute_values", "annotations", "checks", "redactions")


@dataclass(frozen=True)
class Format:
    """How a workspace is laid out.

    schema: the number. needs: the version of this package that can read it. migrations: what brought it there, oldest
    first, each with number, name, applied_at and package_version. written: False where it was told from the tables.
    """

    schema: int
    needs: str = NEEDS
    migrations: tuple[Mapping[str, Any], ...] = field(default=())
    written: bool = True


def read(root: Path) -> Format:
    """Return the format of the workspace in a folder.

    Raises:
        StoreError: if the file cannot be read, or is not what this package writes.
    """
    path = root / FORMAT_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        later = any((root / "lance" / f"{name}.lance").is_dir() for name in _OF_SECOND)
        return Format(_SECOND if later else _FIRST, written=False)
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    try:
        data = json.loads(text)
    except ValueError as error:
        raise _damaged(path, f"it is no JSON ({error})") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if type(schema) is not int or schema < 1:
        raise _damaged(path, f"its 'schema' is not a number from 1 on: {text.strip()[:80]!r}")
    done = data.get("migrations", [])
    if not isinstance(done, list) or not all(isinstance(item, dict) for item in done):
        raise _damaged(path, f"its 'migrations' are not a list of objects: {str(done)[:80]!r}")
    return Format(schema, str(data.get("needs") or ""), tuple(done))


def require_readable(root: Path) -> Format:
    """Return the format of a workspace that this version of the package can read. Changes nothing.

    Raises:
        WorkspaceVersionError: if the workspace is of a newer schema.
        StoreError: if the file is damaged.
    """
    found = read(root)
    if found.schema > SCHEMA:
        cure = (
            f"Install SynAlign {found.needs} or newer"
            if found.needs
            else "Install the version of SynAlign that wrote it, or a newer one"
        )
        raise WorkspaceVersionError(
            f"The workspace {root} has schema {found.schema}; SynAlign {__version__} reads schemas up to {SCHEMA}. "
            f"{cure}. Nothing was changed."
        )
    return found


def write(root: Path, found: Format) -> None:
    """Put the format in place in one step; it is durable on return.

    Raises:
        StoreError: if it cannot be written. The one that was there then stays.
    """
    data = {"schema": found.schema, "needs": found.needs, "migrations": [dict(item) for item in found.migrations]}
    atomic_write.write_text(root / FORMAT_NAME, json.dumps(data, indent=2) + "\n")


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"{path} cannot be read: {why}. It says which version of SynAlign can read the workspace. If a newer version "
        "than this one may have written to it, use that one. Otherwise move the file away: the next step writes it "
        "anew from the tables that are there. Nothing was changed."
    )
