"""Folders that several processes of a test run need: the first that asks makes it, each gets a copy of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the path of a folder that `make(path)` fills, once in a test run, whichever process comes first.

    With pytest-xdist the others wait for the first and take a copy; a `make` that failed is tried again by the next.
    """
    own = factory.mktemp(name) / "workspace"
    if "PYTEST_XDIST_WORKER" not in os.environ:
        make(own)
        return own
    # The base of one worker is a folder in the base of the run.
    kept = factory.getbasetemp().parent / f"once_{name}"
    with FileLock(kept.with_suffix(".lock")):
        if not kept.exists():
            make(own)
            partial = kept.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(own, partial)
            partial.rename(kept)
            return own
    shutil.copytree(kept, own)
    return own
