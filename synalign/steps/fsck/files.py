"""Checks the files of a workspace: leftovers of a killed writer, links to outside of it, and unknown files."""

from __future__ import annotations

import os
from pathlib import Path

from synalign.config import CATALOG_NAME, CONFIG_NAME
from synalign.errors import StoreError
from synalign.steps.forget.plan_file import PLAN_FILE
from synalign.steps.fsck.report import ERROR, LEFTOVER, RESTORE, UNKNOWN, Report
from synalign.store.disk.links import leaving
from synalign.store.lake.format import FORMAT_NAME
from synalign.store.lake.lake import Lake
from synalign.store.lake.schemas import TABLES
from synalign.store.ledger.locks import CALLING, WRITING

#: Files and folders of a workspace. A user's own prompts are a folder of it.
_OURS = {
    CONFIG_NAME, FORMAT_NAME, WRITING, CALLING, "lance", "prompts", "ledger.sqlite", "ledger.sqlite-wal",
    "ledger.sqlite-shm", CATALOG_NAME, f"{WRITING}.owner", f"{CALLING}.owner",
}  # fmt: skip
#: What a writer that was killed leaves: half a file under a name of its own, or DuckDB's log of one.
_HALF = (".partial", ".publishing", ".publishing.wal", f"{CATALOG_NAME}.wal")
_GC = "'synalign gc DIR' removes them"

_STRANGE, _STRAY = "not tables of a workspace", "vectors of an embedder or retriever that never finished"
_UNMADE, _LOST = "tables whose making was killed", "tables that have rows, and whose versions are lost"
#: What a folder among the tables is -> how bad that is, and what to do.
_FOLDERS = {
    _STRANGE: (UNKNOWN, "nothing has to be done"),
    _STRAY: (LEFTOVER, _GC),
    _UNMADE: (LEFTOVER, _GC),
    _LOST: (ERROR, f"{RESTORE}; do not run gc, which would remove the rows"),
}


def check_files(root: Path, lake: Lake, known: set[str], report: Report) -> None:
    """Note files that no table names, leftovers, links that lead out of the workspace, and unknown files.

    `known`: the tables that are of this workspace.
    """
    report.checked.append("files")
    names = sorted(entry.name for entry in root.iterdir())
    half = [name for name in names if name.endswith(_HALF)]
    if half:
        what = "half a file of a writer that was killed"
        report.add("files", LEFTOVER, what, str(root), "delete them while no process writes to the workspace", half)
    if PLAN_FILE in names:
        cure = "any command that writes, such as 'synalign gc DIR', finishes it first"
        report.add("files", LEFTOVER, "a forget that was stopped", str(root), cure, [PLAN_FILE])
    other = [name for name in names if name not in (*_OURS, PLAN_FILE, *half)]
    if other:
        report.add("files", UNKNOWN, "not of a workspace", str(root), "nothing has to be done; move your own", other)
    _links(root, report)
    if not lake.path.is_dir():
        return
    found: dict[str, list[str]] = {}
    for entry in sorted(lake.path.iterdir()):
        table = entry.name.removesuffix(".lance")
        if table in known:
            _orphans(lake, table, report)
        else:
            found.setdefault(_kind_of_folder(lake, entry, table), []).append(entry.name)
    for what, names in found.items():
        report.add("files", _FOLDERS[what][0], what, lake.path.name, _FOLDERS[what][1], names)


def _kind_of_folder(lake: Lake, entry: Path, table: str) -> str:
    """Return what a file or folder among the tables is that is none of them, as `_FOLDERS` has it."""
    if entry.name == table or not entry.is_dir():
        return _STRANGE
    if not lake.exists(table):
        return _LOST if table in TABLES and any((entry / "data").glob("*")) else _UNMADE
    return _STRAY if table.startswith(("vectors_", "index_")) else _STRANGE


def _orphans(lake: Lake, table: str, report: Report) -> None:
    where = f"{lake.path.name}/{table}.lance"
    try:
        found = lake.orphans(table)
    except StoreError as error:
        if not any(problem.check == "tables" and problem.where == table for problem in report.problems):
            what = f"an earlier version of the table is damaged: {error}"
            report.add("files", ERROR, what, where, "'synalign gc DIR' drops earlier versions; the newest is sound")
        return
    if found:
        what = "files that no version of the table names, of a writer that was killed"
        report.add("files", LEFTOVER, what, where, _GC, found)


def _links(root: Path, report: Report) -> None:
    walk = ((Path(folder) / name) for folder, folders, files in os.walk(root) for name in (*folders, *files))
    found = leaving(root, walk)
    if found:
        cure = "put what they lead to in their place: a copy of the folder would lack it"
        report.add("files", ERROR, "links that lead out of the workspace", str(root), cure, found)
