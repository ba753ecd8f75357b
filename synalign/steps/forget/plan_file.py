"""The plan of a forget as a file: written first and removed last, so that a forget that is killed can be finished.

The file holds the ids and texts that are to be removed; only its owner may read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from synalign.errors import StoreError
from synalign.store.disk import atomic_write
from synalign.store.lake.lake import is_in, quote

#: The name of the file inside a workspace.
PLAN_FILE = ".forgetting.json"

#: Values that one condition lists.
_LISTED = 2_000


@dataclass(frozen=True)
class Removal:
    """Rows of a table that go: those whose `column` holds one of `values`, of one side if `origin` names it."""

    table: str
    column: str
    values: Sequence[str]
    origin: str | None = None

    def conditions(self) -> Iterator[str]:
        """Yield the filters that together match the rows."""
        side = "" if self.origin is None else f"origin = {quote(self.origin)} and "
        for start in range(0, len(self.values), _LISTED):
            yield side + is_in(self.column, self.values[start : start + _LISTED])


@dataclass(frozen=True)
class Replacement:
    """A row that is written anew without what it quoted. `where`: the filter that names it."""

    table: str
    where: str
    row: Mapping[str, Any]


@dataclass(frozen=True)
class ForgetPlan:
    """All that one forget does.

    number: of this forget, from 1. parameters: of its run. salt, digests: what keeps the records out. removals: in the
    order in which they are done. dropped: tables of vectors that go as a whole. calls, held: for `Ledger.erase`.
    subjects: of those calls. recordings: files to rewrite. needles: what the verification looks for anywhere; exact:
    ids that are a part of other ids, and whole: texts that are too short for that. counts, notes: for the outcome.
    """

    number: int
    parameters: Mapping[str, Any]
    salt: str
    digests: Sequence[str]
    removals: Sequence[Removal]
    replacements: Sequence[Replacement]
    dropped: Sequence[str]
    calls: Sequence[str]
    held: Sequence[tuple[str, float | None, float | None]]
    subjects: Sequence[str]
    recordings: Sequence[str]
    needles: Sequence[str]
    exact: Sequence[str]
    whole: Sequence[str]
    counts: Mapping[str, int]
    notes: Sequence[str] = field(default=())


def write(root: Path, work: ForgetPlan) -> None:
    """Write the file, durable on return.

    Raises:
        StoreError: if it cannot be written. Nothing was changed then.
    """
    text = json.dumps(asdict(work), ensure_ascii=False, default=str)
    atomic_write.write_text(root / PLAN_FILE, text, private=True)


def read(root: Path) -> ForgetPlan | None:
    """Return what a forget that was killed was going to do, or None. What was killed before it began is removed.

    Raises:
        StoreError: if the file cannot be read.
    """
    path = root / PLAN_FILE
    path.with_name(path.name + atomic_write.PARTIAL).unlink(missing_ok=True)
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
        removals = [Removal(**item) for item in found.pop("removals")]
        replacements = [Replacement(**item) for item in found.pop("replacements")]
        held = [tuple(item) for item in found.pop("held")]
        return ForgetPlan(**found, removals=removals, replacements=replacements, held=held)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{path}, which says how a forget that was stopped goes on, cannot be read: {error}. Remove it and forget "
            "the records again."
        ) from error


def remove(root: Path) -> None:
    """Take the file away: all is done.

    Raises:
        StoreError: if it cannot be removed.
    """
    try:
        (root / PLAN_FILE).unlink(missing_ok=True)
        atomic_write.sync_folder(root)
    except OSError as error:
        raise StoreError(f"{root / PLAN_FILE} cannot be removed: {error}. It holds what was forgotten.") from error
