"""The locks of a workspace: one writer at a time, and one process at a time that asks the language model.

Both are file locks, which the system releases when a process dies. Readers take none. `owners` records who holds one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synalign.errors import StoreError, WorkspaceBusyError
from synalign.store.disk.disk_errors import advice
from synalign.store.ledger import owners

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: File names inside a workspace.
WRITING, CALLING = ".lock", ".calls.lock"

#: Seconds to wait for another writer before the replies of a language model are written.
PATIENCE = 600.0


class Locks:
    """The locks of one workspace folder, as one process sees them. The folder is made when the first lock is taken.

    If a lock is taken, `notice` is called, and WorkspaceBusyError is raised after `wait` seconds.
    """

    def __init__(self, root: Path, wait: float = 0.0, notice: Callable[[str], None] = lambda _: None) -> None:
        self._root = root
        self._wait = wait
        self._notice = notice
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
            WorkspaceBusyError: if another process or thread still holds it after `wait` seconds.
            StoreError: if the folder cannot be written.
        """
        if self.held:
            yield False
            return
        from filelock import FileLock

        try:
            self._root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._root / WRITING)
            self._take(lock, self._wait, "writing to")
        except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
            raise StoreError(
                f"The workspace {self._root} cannot be written: {error}. Nothing was changed.{advice(error)}"
            ) from error
        try:
            self._enter(lock)
            yield True
        finally:
            if self._lock is lock:
                if owners.is_recorded(self._root / CALLING):
                    self.only_caller()  # this removes the record of a killed caller
                self._leave(lock)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Release the writer's lock while a language model is called, and take it again at the end.

        Raises:
            WorkspaceBusyError: if another process is calling the model and does not end in time; or, at the end, if
                another one keeps writing.
        """
        from filelock import FileLock

        lock = self._lock
        assert lock is not None
        caller = FileLock(self._root / CALLING)
        if not _acquired(caller, 0.0):
            if self._wait:
                self._leave(lock)  # The process that is calling needs this lock to finish.
            self._take(caller, self._wait, "asking the language model for")
        try:
            owners.claim(Path(caller.lock_file))
            if self._lock is lock:
                self._leave(lock)
            try:
                yield
            finally:
                if not _acquired(lock, PATIENCE):
                    raise WorkspaceBusyError(
                        f"Another process has been writing to the workspace {self._root} for {PATIENCE:.0f} s"
                        f"{_holder(lock)}. All replies are kept; wait for it to end and run the step again."
                    )
                self._enter(lock)
        finally:
            owners.disclaim(Path(caller.lock_file))
            caller.release()

    def at_work(self) -> list[str]:
        """Return what other processes are doing now: "writing", "asking the language model", both or nothing.
        Creates no file and keeps no lock."""
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
                continue  # the folder cannot be written, so no writer uses this lock
        return found

    @contextmanager
    def nobody_calling(self) -> Iterator[None]:
        """Block calls to the language model by all processes. This thread must hold the writer's lock.

        Raises:
            WorkspaceBusyError: if one is asking.
        """
        from filelock import FileLock

        caller = FileLock(self._root / CALLING)
        self._take(caller, 0.0, "asking the language model, perhaps about these records, for")
        try:
            owners.claim(Path(caller.lock_file))
            yield
        finally:
            owners.disclaim(Path(caller.lock_file))
            caller.release()

    def only_caller(self) -> bool:
        """Return whether no process is calling the language model now."""
        from filelock import FileLock

        lock = FileLock(self._root / CALLING)
        if not _acquired(lock, 0.0):
            return False
        owners.disclaim(self._root / CALLING)
        lock.release()
        return True

    def _enter(self, lock: BaseFileLock) -> None:
        self._writer, self._lock = threading.get_ident(), lock
        owners.claim(Path(lock.lock_file))

    def _leave(self, lock: BaseFileLock) -> None:
        self._writer = self._lock = None
        owners.disclaim(Path(lock.lock_file))
        lock.release()

    def _take(self, lock: BaseFileLock, wait: float, doing: str) -> None:
        """Take a lock within `wait` seconds, or raise WorkspaceBusyError."""
        if _acquired(lock, 0.0):
            return
        if wait:
            self._notice(
                f"Waiting up to {wait:g} s: another process is {doing} the workspace {self._root}{_holder(lock)}."
            )
            if _acquired(lock, wait):
                return
        waited = f" Waited for {wait:g} s." if wait else ""
        raise WorkspaceBusyError(
            f"Another process is {doing} the workspace {self._root}{_holder(lock)}.{waited} Try again when it has "
            f"ended, or wait for it: 'synalign --wait {max(60, 10 * wait):.0f} ...', or sa.open(path, wait=...). If it "
            "hangs, end it: what it finished is kept, and its lock is free then. Reading ('synalign sql', 'synalign "
            "status') works meanwhile."
        )


def _acquired(lock: BaseFileLock, wait: float) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=wait)
    except Timeout:
        return False
    return True


def _holder(lock: BaseFileLock) -> str:
    """Return the holder of a lock in parentheses, with a leading space; an empty string if unknown."""
    found = owners.owner(Path(lock.lock_file))
    return f" ({found.description()})" if found else ""
