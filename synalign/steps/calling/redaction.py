"""Replaces personal data in real text by placeholders before it is sent, and puts it back into replies. Which
placeholder stands for what is never sent."""

from __future__ import annotations

from collections.abc import Sequence

from synalign.config import PersonalKind
from synalign.llm.validation.personal import Redactor
from synalign.steps.core.context import Context


class Redaction:
    """The placeholders of a workspace. One original has one placeholder, in all prompts."""

    def __init__(self, context: Context, kinds: Sequence[PersonalKind]) -> None:
        self._context = context
        rows = context.lake.read("redactions").to_pylist() if kinds else []
        self._redactor = Redactor(kinds, {row["placeholder"]: row["original"] for row in rows}) if kinds else None

    def redact(self, text: str) -> str:
        """Return a text with placeholders for personal data."""
        return text if self._redactor is None else self._redactor.redact(text)

    def keep(self) -> None:
        """Write the placeholders that are new, before any of them is sent."""
        new = self._redactor.new if self._redactor is not None else {}
        rows = [{"placeholder": placeholder, "original": original} for placeholder, original in new.items()]
        if rows:
            self._context.lake.insert_rows("redactions", rows)


def restore(context: Context, text: str) -> str:
    """Return a redacted text as it was."""
    rows = context.lake.read("redactions").to_pylist()
    return Redactor((), {row["placeholder"]: row["original"] for row in rows}).restore(text)
