"""What fsck says: problems, each with what is wrong, where, how bad it is, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: How bad a problem is. An error is a broken promise; a leftover does no harm and takes space; unknown is not ours.
ERROR, LEFTOVER, UNKNOWN = "error", "leftover", "unknown"

#: Rows, files and ids that a problem names; how many there are is told beside them.
SHOWN = 5

#: What is checked without SQL, by name.
CHECKS = {
    "format": "`format.json` can be read, and every migration up to its schema was done",
    "configuration": "`synalign.toml` is valid",
    "tables": "every table can be opened, and all that is in it decoded",
    "schema": "every table has the columns and types of its schema",
    "keys": "the key of a row is there, and names no other row",
    "vectors": "vectors are finite, and as long as their embedder makes them",
    "ledger": "`ledger.sqlite` passes SQLite's own check, and its calls can be read",
    "catalog": "`catalog.duckdb` can be read to the last block, shows what the tables hold, and is write-protected",
    "files": "every file is one that a table names or that is known, and none is a link out of the workspace",
}

RESTORE = "restore the workspace from a copy; no step repairs this"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    check: which promise is broken. kind: error, leftover or unknown. what: in a sentence. where: the table or file.
    count: of rows or files. examples: the first of them. cure: what to do.
    """

    check: str
    kind: str
    what: str
    where: str
    cure: str
    count: int = 1
    examples: Sequence[str] = ()


@dataclass
class Report:
    """What fsck found.

    schema: of the workspace. checked: the checks that were made. skipped: {check: why not}. at_work: what other
    processes were doing meanwhile, which looks like damage.
    """

    workspace: str
    schema: int | None = None
    problems: list[Problem] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    at_work: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        """The problems that are broken promises."""
        return [problem for problem in self.problems if problem.kind == ERROR]

    @property
    def clean(self) -> bool:
        """Whether every check could be made and no promise is broken; leftovers and unknown files may be there."""
        return not self.errors and not self.skipped

    def add(self, check: str, kind: str, what: str, where: str, cure: str, found: Sequence[str] = ()) -> None:
        """Note a problem; `found` are all things that have it, if it is one of several things."""
        self.problems.append(Problem(check, kind, what, where, cure, max(len(found), 1), tuple(found[:SHOWN])))

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "workspace": self.workspace,
            "schema": self.schema,
            "clean": self.clean,
            "at_work": self.at_work,
            "problems": [asdict(problem) for problem in self.problems],
            "checked": self.checked,
            "skipped": self.skipped,
        }
