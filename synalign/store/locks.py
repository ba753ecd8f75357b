"""The locks of a workspace: one writer at a time, and one process at a time that asks the language model.

Both are locks on files, which a killed process gives back. Readers take none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synalign.errors import StoreError, WorkspaceBusyError

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: File names inside a workspace.
WRITING, CALLING = ".lock", ".calls.lock"

#: Seconds to wait for another writer to end before what a language model answered is written.
PATIENCE = 600.0


class Locks:
    """The locks below one folder, as one process sees them. The folder is made when the first is taken."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._writer: int | None = None  # the thread that holds the lock
        self._lock: BaseFileLock | None = None

    @property
    def held(self) -> bool:
        """Whether this thread holds the writer's lock."""
        return self._writer == threading.get_ident()

    @contextmanager
    def writing(self) -> Iterator[bool]:
        """Hold the writer's lock; yield whether this is the outermost use of this thread.

        Raises:
            WorkspaceBusyError: if another process or thread holds it.
            StoreError: if the folder cannot be written.
        """
        if self.held:
            yield False
            return
        from filelock import FileLock, Timeout

        try:
            self._root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._root / WRITING)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise WorkspaceBusyError(
                f"Another process is writing to the workspace {self._root}. Wait for it to end, and try again. Reading "
                "('synalign sql', 'synalign status') works meanwhile."
            ) from error
        except OSError as error:
            raise StoreError(f"The workspace {self._root} cannot be written: {error}. Nothing was changed.") from error
        try:
            self._writer, self._lock = threading.get_ident(), lock
            yield True
        finally:
            if self._lock is lock:
                self._writer = self._lock = None
            lock.release()

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Let the writer's lock go while a language model is asked, and take it again at the end.

        Raises:
            WorkspaceBusyError: if another process is asking; or at the end, if another one goes on writing.
        """
        from filelock import Timeout

        lock = self._lock
        assert lock is not None
        with self._only_caller() as alone:
            if not alone:
                raise WorkspaceBusyError(
                    f"Another process is asking the language model for the workspace {self._root}. Wait for it to end, "
                    "and try again. Everything else works meanwhile."
                )
            self._writer = self._lock = None
            lock.release()
            try:
                yield
            finally:
                try:
                    lock.acquire(timeout=PATIENCE)
                except Timeout as error:
                    raise WorkspaceBusyError(
                        f"Another process has been writing to the workspace {self._root} for {PATIENCE:.0f} s. All "
                        "replies are kept; wait for it to end and run the step again."
                    ) from error
                self._writer, self._lock = threading.get_ident(), lock

    @contextmanager
    def _only_caller(self) -> Iterator[bool]:
        """Hold the caller's lock, if nobody else does; yield whether that is so."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._root / CALLING)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def at_work(self) -> list[str]:
        """Return what other processes are doing at this moment: "writing", "asking the language model", or nothing.
        Makes no file, and holds nothing afterwards."""
        from filelock import FileLock, Timeout

        found = []
        for name, doing in ((WRITING, "writing"), (CALLING, "asking the language model")):
            if not (self._root / name).exists():
                continue
            try:
                with FileLock(self._root / name, timeout=0):
                    pass
            except Timeout:
                found.append(doing)
            except OSError:
                continue  # a folder that cannot be written: nobody writes to it by this name
        return found

    @contextmanager
    def nobody_calling(self) -> Iterator[None]:
        """Keep all processes from asking the language model meanwhile. This thread holds the writer's lock.

        Raises:
            WorkspaceBusyError: if one is asking.
        """
        with self._only_caller() as alone:
            if not alone:
                raise WorkspaceBusyError(
                    f"Another process is asking the language model for the workspace {self._root}, about records that "
                    "may be among these. Wait for it to end, or stop it, and try again. Nothing was done."
                )
            yield

    def only_caller(self) -> bool:
        """Return whether no process is asking the language model at this moment."""
        with self._only_caller() as alone:
            return alone
