"""Write the frozen names anew: tests/frozen/*.json, and tests/frozen/kept.tar.xz, the workspaces that hold them.

    python -m tools.freeze WHAT...

WHAT is `surface`, `sessions` (a minute or two: the workspaces are made anew), `schemas` or `demo`; nothing is written
without it.

A CHANGED NAME OF A RUN, A CALL OR AN EMBEDDER MEANS THAT WORK WHICH A USER PAID FOR IS ASKED AND PAID FOR AGAIN: the
workspace that he has knows it by the old name. Do not write these files to make a test pass. Write them when a verb, a
keyword or a session was added, and look at the difference: lines may be added, none may change. If one has to, say so
in the CHANGELOG, with what it costs.

Never make kept.tar.xz anew with code that changed a name or a table: it is what users of the version before have.
"""

from __future__ import annotations

import json
import lzma
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import synalign as sa
from tests.frozen import schemas, sessions, surface
from tests.steps.workspaces import unpublished

#: Published anew by the next step, or made by whoever opens the workspace.
_LEFT_OUT = ("catalog.duckdb", ".lock", ".calls.lock")


def write(name: str, value: dict[str, Any]) -> None:
    """Write a file of frozen names: a line for each name, so that a difference can be read."""
    (sessions.HERE / f"{name}.json").write_text(_lines(value, 2) + "\n", encoding="utf-8")


def write_surface(scratch: Path) -> None:
    """Write what programs and scripts name."""
    write("surface", surface.surface(scratch))


def write_sessions(scratch: Path) -> None:
    """Do all sessions, write the names that they gave, and keep the workspaces."""
    for name, (_, acts) in sessions.SESSIONS.items():
        workspace = sessions.start(name, scratch / name)
        with unpublished(), sessions.paid():
            done = sessions.said(sessions.outcomes(workspace, acts))
        found = {"outcomes": done, **sessions.names(workspace)}
        kept = [one for one in acts if not one.once]
        shutil.copytree(workspace.path, scratch / "again" / name)
        with unpublished(), sessions.offline():
            again = sessions.outcomes(sessions.reopened(scratch / "again" / name), kept)
        assert all(outcome.reused for outcomes in again for outcome in outcomes), name
        write(name, found | {"again": sessions.said(again)})
    pack(scratch, list(sessions.SESSIONS), sessions.KEPT)


def write_schemas(scratch: Path) -> None:
    """Make the verbs of the kept workspaces of older schemas again, and write what they gave."""
    found = {}
    for schema in schemas.SCHEMAS:
        workspace = sa.open(schemas.unpack(schema, scratch / schema))
        with unpublished():
            done = sessions.outcomes(workspace, schemas.acts(schema))
        reused = [" ".join(str(outcome.reused) for outcome in outcomes) for outcomes in done]
        found[schema] = {"outcomes": sessions.said(done), "reused": reused, **sessions.names(workspace)}
    write("schemas", found)


def write_demo(scratch: Path) -> None:
    """Run the demo from its recording, and write the names that it gave."""
    shutil.copytree(sessions.FIXTURES, scratch / "fixtures")
    sa.run(scratch / "fixtures" / "demo.toml")
    write("demo", sessions.names(sa.open(scratch / "demo-workspace")))


def pack(folder: Path, names: list[str], archive: Path) -> None:
    """Write the workspaces of that name in a folder to an archive."""
    with lzma.open(archive, "wb", preset=9 | lzma.PRESET_EXTREME) as out, tarfile.open(fileobj=out, mode="w") as tar:
        # Alike files beside each other, which packs to half of the size.
        files = (file for name in names for file in (folder / name).rglob("*") if file.name not in _LEFT_OUT)
        for file in sorted(files, key=lambda file: (file.suffix, file.parent.name, file.as_posix())):
            if file.is_file():
                entry = tarfile.TarInfo(file.relative_to(folder).as_posix())
                entry.size, entry.mode = file.stat().st_size, 0o644
                with file.open("rb") as data:
                    tar.addfile(entry, data)


def _lines(value: Any, depth: int) -> str:
    """Return JSON whose inner objects and lists, below a depth, stand on one line."""
    if depth == 0 or not isinstance(value, dict | list) or not value:
        return json.dumps(value, ensure_ascii=False)
    inside = [_lines(part, depth - 1) for part in (value.values() if isinstance(value, dict) else value)]
    if isinstance(value, dict):
        inside = [f"{json.dumps(name)}: {text}" for name, text in zip(value, inside, strict=True)]
    marks = "{}" if isinstance(value, dict) else "[]"
    lines = ",\n".join(inside).replace("\n", "\n ")
    return f"{marks[0]}\n {lines}\n{marks[1]}"


WRITERS: dict[str, Callable[[Path], None]] = {
    "surface": write_surface,
    "sessions": write_sessions,
    "schemas": write_schemas,
    "demo": write_demo,
}


def main(wanted: list[str]) -> None:
    """Write what is named."""
    if not wanted or not set(wanted) <= set(WRITERS):
        raise SystemExit(f"Name what to write: {', '.join(WRITERS)}. Nothing was written. What it means: {__doc__}")
    for name in wanted:
        with tempfile.TemporaryDirectory() as scratch:
            WRITERS[name](Path(scratch))


if __name__ == "__main__":
    main(sys.argv[1:])
