"""Atomic writes: a file is replaced as a whole or left as it was, and is durable on return."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from synalign.errors import StoreError
from synalign.store.disk.disk_errors import advice

#: What is put after a file's name while it is being written. A killed process leaves it behind.
PARTIAL = ".partial"


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write a text file atomically, replacing what was there. `private`: only this user may read it.

    Lone surrogates, which UTF-8 cannot hold, are written as Python's error handler `surrogatepass` does.

    Raises:
        StoreError: if it cannot be written. A file that was there is unchanged then.
    """
    temporary = path.with_name(path.name + PARTIAL)
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with open(descriptor, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # What stands in the way is said below.
            temporary.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error}. What was there is unchanged.{advice(error)}") from error


def sync_folder(folder: Path) -> None:
    """Make what was added to or removed from a folder durable (fsync), on systems where a folder can be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
