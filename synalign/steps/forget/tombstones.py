"""What remains of records that were forgotten: digests that keep them from coming in again, and the forgetting runs.

The digests are keyed with a random salt of the workspace, its first row, so that nobody who has another workspace, or a
list of digests made before, can tell by them what was forgotten here.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime

import polars as pl

from synalign import ids
from synalign.steps.core.context import Context
from synalign.store.lake.journal import Run
from synalign.store.lake.schemas import REAL

_SALT = "salt:"


def forget_runs(context: Context) -> list[str]:
    """Return the names of the runs that forgot records, in order: what is made of all real records depends on them."""
    return [run.run_id for run in context.journal.runs("forget")]


def last_forgotten(context: Context) -> Run | None:
    """Return the newest run that forgot records, or None."""
    runs = context.journal.runs("forget")
    return runs[-1] if runs else None


def new_salt() -> str:
    """Return a random key for digests."""
    return secrets.token_hex(16)


def salt_of(context: Context) -> str | None:
    """Return the key of this workspace's digests, None if nothing was forgotten yet."""
    rows = context.lake.read("forgotten", ["digest"], f"starts_with(digest, '{_SALT}')")["digest"].to_pylist()
    return min(rows).removeprefix(_SALT) if rows else None


def digests(names: Iterable[str], salt: str) -> list[str]:
    """Return what real records of these ids are known by once they are forgotten."""
    key = salt.encode()
    return [
        hmac.digest(key, ids.canonical_json(["forgotten/1", REAL, name]).encode(), "sha256").hex() for name in names
    ]


def names_of(record_id: str, text: str, label: str | None, split: str) -> set[str]:
    """Return the ids under which a record might come in again: its own, and those that its content would be given."""
    given = None if split == "train" else split
    return {record_id, ids.record_id(text, label, None), ids.record_id(text, label, given)}


def keep_out(context: Context, found: Iterable[str], salt: str, at: datetime) -> None:
    """Write digests, and the salt that they were made with. To do it again is harmless."""
    rows = [{"digest": digest, "at": at} for digest in sorted({_SALT + salt, *found})]
    context.lake.insert_rows("forgotten", rows)


def known(context: Context, names: Iterable[str]) -> set[str]:
    """Return those of some ids of real records that were forgotten."""
    salt = salt_of(context)
    if salt is None:
        return set()
    there = set(context.lake.read("forgotten", ["digest"])["digest"].to_pylist())
    listed = list(names)
    return {name for name, digest in zip(listed, digests(listed, salt), strict=True) if digest in there}


def without_forgotten(context: Context, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return the real records of a frame (id, text, label, ...) that were not forgotten, and a note if some were."""
    if salt_of(context) is None:
        return frame, []
    by_content = pl.Series([ids.record_id(text, label, None) for text, label in frame.select("text", "label").rows()])
    gone = known(context, {*frame["id"], *by_content})
    kept = frame.filter(~(pl.col("id").is_in(list(gone)) | by_content.is_in(list(gone))))
    left_out = frame.height - kept.height
    return kept, [f"{left_out} records were forgotten before, and were left out"] if left_out else []
