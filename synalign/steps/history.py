"""Earlier states of a workspace: what a run, a tag or a time stands for, and the tags themselves.

Rows are only ever added, each under its run, so that a state is the runs that there were: no table is kept twice.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from synalign.errors import NotReadyError, UsageError
from synalign.steps.context import Context
from synalign.store.journal import Moment, now
from synalign.store.schemas import TABLES

_SHOWN = 10
#: A tag is no run id, no time, and nothing that a shell or a file name stumbles over.
_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_RUN_ID = re.compile(r"[0-9a-f]{4,}")


def moment(context: Context, reference: str | datetime) -> Moment:
    """Return the state that a tag, a run id (or an unambiguous beginning of one), or a time stands for.

    Raises:
        UsageError: if it is none of them, begins several run ids, or is a time before the first run.
    """
    if isinstance(reference, datetime):
        return _moment_at(context, reference)
    for tag in tags(context):
        if tag["name"] == reference:
            return Moment(tag["sequence"], tag["state_at"])
    found = _moments(context)
    if _RUN_ID.fullmatch(reference):
        runs = {run_id: state for run_id, state in reversed(found) if run_id.startswith(reference)}
        if len(runs) == 1:
            return next(iter(runs.values()))
        if runs:
            raise UsageError(f"{reference!r} begins the ids of {len(runs)} runs: {', '.join(runs)}. Give more of one.")
    try:
        time = datetime.fromisoformat(reference)
    except ValueError as error:
        known = ", ".join(tag["name"] for tag in tags(context)[:_SHOWN]) or "none yet"
        raise UsageError(
            f"There is no run, tag or time {reference!r}. Give a run id, or the beginning of one ('synalign runs DIR' "
            f"lists them), a tag (there are: {known}), or a time such as 2026-01-31 or 2026-01-31T17:30 (UTC)."
        ) from error
    return _moment_at(context, time)


def tags(context: Context) -> list[dict[str, Any]]:
    """Return the tags there are, by name: name, sequence, state_at, note, tagged_at. Of a name the last row counts."""
    rows = sorted(context.lake.read("tags").to_pylist(), key=lambda row: row["number"])
    last = {row["name"]: row for row in rows}
    return [last[name] for name in sorted(last) if not last[name]["dropped"]]


def tag(context: Context, name: str, reference: str | datetime | None, note: str) -> dict[str, Any]:
    """Name a state, the newest one by default; return the tag. A name that is taken moves, and `gc` keeps what all
    tagged states need.

    Raises:
        UsageError: if the name is not one, or the reference stands for nothing.
        NotReadyError: if nothing was done yet.
    """
    if not _TAG.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a tag: it begins with a letter or _, and goes on with at most 63 letters, digits, "
            "'_', '-' and '.'. Nothing was written."
        )
    found = _moments(context)
    if not found:
        raise NotReadyError("There is no run to tag yet. Ingest some records first.")
    state = found[-1][1] if reference is None else moment(context, reference)
    return _write_tag(context, name, state, note, dropped=False)


def untag(context: Context, name: str) -> dict[str, Any]:
    """Take a tag away; return it.

    Raises:
        UsageError: if there is none of that name.
    """
    there = tags(context)
    for row in there:
        if row["name"] == name:
            return _write_tag(context, name, Moment(row["sequence"], row["state_at"]), row["note"], dropped=True)
    raise UsageError(f"There is no tag {name!r}. There are: {', '.join(row['name'] for row in there) or 'none yet'}.")


def _write_tag(context: Context, name: str, state: Moment, note: str, *, dropped: bool) -> dict[str, Any]:
    number = 1 + max(context.lake.read("tags", ["number"])["number"].to_pylist(), default=0)
    row = {"name": name, "sequence": state.sequence, "state_at": state.at, "note": note, "tagged_at": now()}
    written = row | {"number": number, "dropped": dropped}
    context.lake.insert("tags", pa.Table.from_pylist([written], schema=TABLES["tags"].schema))
    return row


def _moments(context: Context) -> list[tuple[str, Moment]]:
    """Return each run and activation, in order, as the run's id and the state after it."""
    runs = context.lake.read("runs", ["run_id", "sequence", "finished_at"]).to_pylist()
    found = [(row["run_id"], Moment(row["sequence"], row["finished_at"])) for row in runs]
    again = context.lake.read("activations", ["run_id", "sequence", "at"]).to_pylist()
    found += [(row["run_id"], Moment(row["sequence"], row["at"])) for row in again]
    return sorted(found, key=lambda item: item[1].sequence)


def _moment_at(context: Context, time: datetime) -> Moment:
    wanted = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    found = _moments(context)
    then = [state for _, state in found if state.at <= wanted]
    if not then:
        first = f"the first run finished at {found[0][1].at:%Y-%m-%d %H:%M:%S}" if found else "nothing was done yet"
        raise UsageError(f"There was nothing in the workspace at {wanted:%Y-%m-%d %H:%M:%S} UTC: {first}.")
    return Moment(then[-1].sequence, wanted)
