"""What keeps a workspace in order: vetoes, deletion, names for states, space given back, and a check of everything."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synalign.config import CATALOG_NAME, CONFIG_NAME
from synalign.errors import UsageError, WorkspaceNotFoundError
from synalign.reader import Reader

if TYPE_CHECKING:
    from synalign.steps.core.context import Context, Outcome
    from synalign.steps.fsck.report import Report
    from synalign.store.ledger.locks import Locks


class Upkeep(Reader):
    """One method for each. All but `fsck` and a dry run write, and so take the workspace's lock."""

    path: Path
    _locks: Locks

    def _writing(self) -> AbstractContextManager[None]:
        """Hold the workspace's lock."""
        raise NotImplementedError

    def _context(self) -> Context:
        """Return the workspace as steps see it."""
        raise NotImplementedError

    def exclude(self, where: str, *, reason: str = "") -> Outcome:
        """Take synthetic records out of every weighting, by a SQL condition over `synthetic`, such as
        "text like '%as an AI%'". Returns at once; `align` learns the weights of the others anew."""
        return self._verdict(where, reason, excluded=True)

    def include(self, where: str) -> Outcome:
        """Take back exclusions, by a SQL condition over `synthetic`."""
        return self._verdict(where, "", excluded=False)

    def forget(
        self, ids: Sequence[str] | str | None = None, *, where: str | None = None, dry_run: bool = False
    ) -> Outcome:
        """Take real records out for good, with all that was derived from them and quotes them, and prove that they are
        gone. See `synalign.steps.forget.plan` and docs/how-to/forget.md.

        Args:
            ids: of the records. where: instead, a SQL condition over `real`, such as "customer = 'c-17'".
            dry_run: say what would go, by table, and write nothing.

        Raises:
            UsageError: for both or none of ids and where, an id that is not there, or no record that matches.
            WorkspaceBusyError: if another process writes, or asks a language model. Nothing is done then.
            StoreError: if something is left, saying where.
        """
        from synalign.steps.forget.plan import forget, preview

        if (ids is None) == (where is None):
            raise UsageError("Say which records to forget: ids or where, one of them. Nothing was forgotten.")
        if dry_run:
            return preview(self._context(), self._real_ids(ids, where))
        if not (self.path / CONFIG_NAME).is_file():
            raise WorkspaceNotFoundError(f"There is no workspace in {self.path}.")
        with self._writing(), self._locks.nobody_calling():
            return forget(self._context(), self._real_ids(ids, where), self.path / CATALOG_NAME)

    def tag(self, name: str, at: str | datetime | None = None, *, note: str = "") -> dict[str, Any]:
        """Name the state that there is now, or another one. `gc` keeps what all tagged states need. A name that is
        taken moves.

        Raises:
            UsageError: if the name is not allowed, or `at` names no state.
            NotReadyError: if nothing was done yet.
        """
        from synalign.steps.lifecycle.history import tag

        with self._writing():
            return tag(self._context(), name, at, note)

    def untag(self, name: str) -> dict[str, Any]:
        """Take a tag away. The state stays, until `gc(superseded=True)` finds that nothing needs it.

        Raises:
            UsageError: if there is none of that name.
        """
        from synalign.steps.lifecycle.history import untag

        with self._writing():
            return untag(self._context(), name)

    def publish(self) -> Path:
        """Write `catalog.duckdb` anew, and return its path. Steps do this by themselves."""
        with self._writing():
            return self.path / CATALOG_NAME

    def gc(self, *, superseded: bool = False) -> dict[str, int]:
        """Drop rows of runs that never finished, old table versions, orphan files, and replies in the ledger that
        are safe in `calls`; and, if asked for, `superseded` runs. See `synalign.steps.lifecycle.gc`."""
        from synalign.steps.lifecycle.gc import gc

        with self._writing():
            return gc(self._context(), self._locks.only_caller(), superseded)

    def fsck(self) -> Report:
        """Check every promise that the tables and files keep, and say of each that is broken what to do; changes
        nothing. See `synalign.steps.fsck.check`."""
        from synalign.steps.fsck.check import fsck

        return fsck(self.path)

    def _verdict(self, where: str, reason: str, *, excluded: bool) -> Outcome:
        from synalign.steps.corpus.exclude import exclude
        from synalign.store.sql.query import matching

        with self._writing():
            with closing(self.connect()) as connection:  # A condition may name what is attached.
                found = matching(connection, where, excluded=not excluded)
            outcome = exclude(self._context(), found, reason or where, excluded=excluded)
        return outcome if excluded else replace(outcome, step="include")

    def _real_ids(self, ids: Sequence[str] | str | None, where: str | None) -> list[str]:
        from synalign.store.sql.query import matching_real

        if where is None:
            return sorted({ids} if isinstance(ids, str) else set(ids or ()))
        with closing(self.connect()) as connection:
            return matching_real(connection, where)
