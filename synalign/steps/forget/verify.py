"""Proves that what was forgotten is gone: every file of the workspace is decoded and searched, and its bytes too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from synalign.config import CONFIG_NAME
from synalign.errors import StoreError
from synalign.steps.calling.prompt_runner import PROMPTS
from synalign.steps.core.context import Context
from synalign.steps.forget.plan_file import PLAN_FILE, ForgetPlan
from synalign.store.disk.byte_search import ByteSearch
from synalign.store.lake.format import FORMAT_NAME
from synalign.store.lake.schemas import ORIGINS
from synalign.store.ledger.locks import CALLING, WRITING
from synalign.store.sql import catalog as published


@dataclass(frozen=True)
class Verification:
    """What was looked at: `files`, and their `bytes`. unknown: files whose kind is not known, so that they could not be
    decoded. users: files of the user's own that hold what was forgotten."""

    files: int
    bytes: int
    unknown: tuple[Path, ...]
    users: tuple[Path, ...]


def verify(context: Context, work: ForgetPlan, catalog: Path) -> Verification:
    """Decode every file of the workspace and look for the ids and texts of the forgotten records.

    Raises:
        StoreError: if a table, the ledger or the catalog still holds one, or rows that were to go; saying which.
    """
    needles = ByteSearch(work.needles, work.exact, work.whole, ("text",))
    context.ledger.close()
    found = [*_in_tables(context, work, needles), *_in_ledger(context, needles)]
    if catalog.is_file():
        found += [f"the relation {name} of {catalog.name}" for name in _in_catalog(catalog, needles)]
    context.ledger.close()
    ours, others = _files(context, catalog)
    for number, path in enumerate(ours):
        context.progress("proving", number, len(ours))
        if needles.in_file(path) and not needles.only_across(path, _ids(context)):
            found.append(f"the file {path.relative_to(context.root)}")
    context.progress("proving", len(ours), len(ours))
    if found:
        listed = "; ".join(dict.fromkeys(found))
        raise StoreError(
            f"What was to be forgotten is still in {listed}. The next command that writes tries again; close all other "
            "programs that have the workspace open first. If it stays, report it as a bug of SynAlign."
        )
    recordings = {context.root / name for name in work.recordings}
    users = tuple(path for path in [*others, *recordings - set(others)] if path.is_file() and needles.in_file(path))
    unknown = tuple(path for path in others if not _is_known(context, path) and path not in recordings)
    everything = [*ours, *others]
    return Verification(len(everything), sum(path.stat().st_size for path in everything), unknown, users)


def _in_tables(context: Context, work: ForgetPlan, needles: ByteSearch) -> Iterable[str]:
    lake = context.lake
    for removal in work.removals:
        if any(lake.count(removal.table, where) for where in removal.conditions()):
            yield f"rows of the table {removal.table}"
    for name in lake.names():
        if name in work.dropped:
            yield f"the table {name}"
        # Refused records are anybody's: one that is no longer than a word says nothing of whom it quotes.
        looked_for = ByteSearch(needles.texts, needles.exact) if name == "rejections" else needles
        for batch in lake.everything(name):
            for column in looked_for.in_rows(batch):
                yield f"the column {column} of the table {name}"
        for path in lake.hidden(name):
            yield f"the file {path.relative_to(context.root)}, which may hold deleted rows"


def _in_ledger(context: Context, needles: ByteSearch) -> Iterable[str]:
    for name, rows in context.ledger.everything():
        values = [value for row in rows for value in row if isinstance(value, str)]
        if needles.held_by(pl.Series(values, dtype=pl.String)).any():
            yield f"the table {name} of {context.ledger.path.name}"


def _in_catalog(path: Path, needles: ByteSearch) -> Iterable[str]:
    bare = ByteSearch(needles.texts, needles.exact)
    for name, batch in published.everything(path):
        if (bare if name == "rejections" else needles).in_rows(batch):
            yield name


def _ids(context: Context) -> list[str]:
    """Return the ids of the records that are there: two of them side by side may read as one that is not."""
    return [name for side in ORIGINS for name in context.lake.read(side, ["id"])["id"].to_pylist()]


def _files(context: Context, catalog: Path) -> tuple[list[Path], list[Path]]:
    """Return the files of the workspace: those that SynAlign alone writes, and all others."""
    ours: list[Path] = []
    others: list[Path] = []
    for path in sorted(context.root.rglob("*")):
        if not path.is_file() or path.name in (WRITING, CALLING) or path == context.root / PLAN_FILE:
            continue
        beside = path.parent == context.root
        own = path.is_relative_to(context.lake.path)
        own |= beside and path.name.startswith((context.ledger.path.name, catalog.name, FORMAT_NAME, WRITING, CALLING))
        (ours if own else others).append(path)
    return ours, others


def _is_known(context: Context, path: Path) -> bool:
    return path == context.root / CONFIG_NAME or (path.parent / "x").is_relative_to(context.root / PROMPTS)
