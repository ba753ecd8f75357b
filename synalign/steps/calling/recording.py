"""record: writes what language models replied as a file that a workspace can be run from again, without any of them."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from synalign.errors import ConfigError, StoreError, UsageError
from synalign.llm.builtin.replay import RecordedReply, Recording, is_recording, recording_text
from synalign.steps.core.context import Context
from synalign.store.lake.journal import now
from synalign.store.ledger.ledger import COMPLETE

_REPLAY = "replay/"


def record(
    context: Context, path: Path, steps: Sequence[str] | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Write the replies of a workspace to `path`, for `llm.model = "replay/FILE"`.

    Every complete reply is in it once: those of the current runs, then those of others to questions that the current
    runs did not ask. The same replies always give the same bytes, whether models or recordings gave them: a workspace
    that asked for all that a recording holds is recorded as that file. What was refused, failed or could not be used is
    left out.
    No prompt, key or address is written. Replies may hold what prompts held: what is personal in the data may be
    personal here.

    Args:
        steps: whose replies; by default those of all steps.
        overwrite: whether a recording that is there is replaced.

    Returns:
        `path`; `model`, the setting of llm.model that answers from it in this workspace; `entries`, how many replies it
        holds; `steps`, how many of each step; `models`, how many of each; `other_replies`, how many were left out since
        the same was asked twice; `without_reply`, how many calls have none that can be used.

    Raises:
        UsageError: if there are no replies, a step has none, the folder does not exist, or `path` exists and
            `overwrite` is False or it is no recording. Nothing is written then.
        StoreError: if the file cannot be written. A recording that was there is unchanged then.
    """
    _check_place(path, overwrite)
    rows = _calls(context)
    usable = [row for row in rows if row["status"] == COMPLETE and row["reply"] is not None and row.get("subject")]
    there = sorted({row["step"] for row in usable})
    if not usable:
        cause = "Those there are were refused, failed, or are of an earlier version." if rows else ""
        raise UsageError(
            f"The workspace {context.root} has no replies to record.{' ' * bool(cause)}{cause} Run ws.reason() "
            "('synalign reason DIR') first. Nothing was written."
        )
    unknown = [step for step in steps or () if step not in there]
    if unknown:
        raise UsageError(f"There are no replies of the step {unknown[0]!r}; there are of: {', '.join(there)}.")
    asked = [row for row in usable if not steps or row["step"] in steps]
    entries = _entries(context, asked)
    _note_path(context, path)
    write_whole(path, recording_text(entries).encode("utf-8"))
    return {
        "path": str(path),
        "model": _REPLAY + _relative(context, path),
        "entries": len(entries),
        "steps": dict(sorted(Counter(entry.step for entry in entries).items())),
        "models": dict(sorted(Counter(entry.model for entry in entries).items())),
        "other_replies": len(asked) - len(entries),
        "without_reply": len(rows) - len(usable),
    }


def _check_place(path: Path, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} to write a recording to. Make it first.")
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise UsageError(f"{path} exists. Give another name, or overwrite=True (--force). Nothing was written.")
    if not is_recording(path):
        raise UsageError(f"{path} exists and is no recording, so it is not replaced. Give another name.")


def _calls(context: Context) -> list[dict[str, Any]]:
    """Return all calls of the workspace, each once."""
    folded = context.lake.read("calls").to_pylist()
    return folded + context.ledger.rows_except([row["call_id"] for row in folded]).to_pylist()


def _entries(context: Context, rows: Sequence[Mapping[str, Any]]) -> list[RecordedReply]:
    """Return one entry for each question that was asked, by subject and seed."""
    current = {step: context.journal.current(step) for step in {row["step"] for row in rows}}

    def preference(row: Mapping[str, Any]) -> tuple[Any, ...]:
        run = current[row["step"]]
        model = None if run is None else run.parameters.get("model")
        of_run = run is not None and row["run_id"] == run.run_id
        return of_run, row["model"] == model, row["finished_at"], row["call_id"]

    asked: defaultdict[tuple[str, int | None], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        asked[row["subject"], row["seed"]].append(row)
    given_by = _Origins(context)
    return [given_by.entry(max(same, key=preference)) for same in asked.values()]


class _Origins:
    """Finds the model that first gave a reply that was replayed from a recording."""

    def __init__(self, context: Context) -> None:
        self._root = context.root
        self._recording = cache(self._read_recording)

    def entry(self, row: Mapping[str, Any]) -> RecordedReply:
        """Return a call as an entry."""
        return RecordedReply(
            subject=row["subject"],
            reply=row["reply"],
            seed=row["seed"],
            step=row["step"],
            model=self._model(row),
            finish_reason=row["finish_reason"] or "stop",
            prompt_tokens=row["prompt_tokens"],
            completion_tokens=row["completion_tokens"],
        )

    def _model(self, row: Mapping[str, Any]) -> str:
        name = str(row["model"])
        recording = self._recording(name.removeprefix(_REPLAY)) if name.startswith(_REPLAY) else None
        found = recording.find(row["subject"], row["seed"]) if recording is not None else None
        return found.model or name if found is not None and found.reply == row["reply"] else name

    def _read_recording(self, file: str) -> Recording | None:
        try:
            return Recording(self._root / file)
        except ConfigError:
            return None  # moved or changed since: the replies count, and their origin is that file


def _note_path(context: Context, path: Path) -> None:
    """Remember where replies are written to, so that they can be forgotten there, too."""
    row = {"path": _relative(context, path), "at": now()}
    context.lake.insert_rows("recordings", [row])


def _relative(context: Context, path: Path) -> str:
    """Return a path as `llm.model` takes it: relative to the workspace where it is inside."""
    whole = Path(os.path.abspath(path))
    return whole.relative_to(context.root).as_posix() if whole.is_relative_to(context.root) else str(whole)


def write_whole(path: Path, data: bytes) -> None:
    """Put a file of these bytes in the place of what is there, in one step.

    Raises:
        StoreError: if it cannot be written. What was there is unchanged then.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(f"{path} could not be written: {error}. What was there is unchanged.") from error
    finally:
        temporary.unlink(missing_ok=True)
