"""Retrieval: documents, and retrievers that are trained on queries for them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synalign.steps.context import Context


class Retrieval:
    """One method for each."""

    def _writing(self) -> AbstractContextManager[None]:
        """Hold the workspace's lock."""
        raise NotImplementedError

    def _context(self) -> Context:
        """Return the workspace as steps see it."""
        raise NotImplementedError
