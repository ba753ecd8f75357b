"""Earlier states of a workspace: what a run, a tag or a time stands for, the tags themselves, and what differs.

Rows are only ever added, each under its run, so that a state is the runs that there were: no table is kept twice.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from synalign import ids
from synalign.errors import NotReadyError, UsageError
from synalign.steps.core.context import Context
from synalign.store.lake.journal import Moment, now
from synalign.store.sql import query

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

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
    context.lake.insert_rows("tags", [written])
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


def run_list(connection: DuckDBPyConnection, step: str | None = None) -> pl.DataFrame:
    """Return the finished runs in order, of one step or of all: sequence, step, run_id, round, finished_at (UTC),
    seconds, is_current, gone_back_to, tags, counts, parameters (both JSON), notes, package_version.

    Raises:
        UsageError: if no run is of that step.
    """
    frame = pl.DataFrame(query.named(connection, "run_list"))
    there = frame["step"].unique(maintain_order=True).to_list()
    if step is not None and step not in there:
        raise UsageError(f"There is no run of a step {step!r}. There are runs of: {', '.join(there) or 'none yet'}.")
    return frame if step is None else frame.filter(pl.col("step") == step)


def difference(before: DuckDBPyConnection, after: DuckDBPyConnection) -> pl.DataFrame:
    """Return what differs between two states, one thing a row: topic, name, before, after (text, null where it is not
    there), change (float64, null for what is no number).

    Topics: records, clusters, selections, calls, shares of labels, the alignment, the parameters of the current run of
    each step as `step parameters`, and how far the weights moved.
    """
    sides = [_state(connection) for connection in (before, after)]
    topics = list(dict.fromkeys(topic for topic, _ in [*sides[0], *sides[1]]))
    keys = sorted({*sides[0], *sides[1]}, key=lambda key: (topics.index(key[0]), key[1]))
    rows: list[tuple[str, str, Any, Any]] = [
        (*key, sides[0].get(key), sides[1].get(key)) for key in keys if sides[0].get(key) != sides[1].get(key)
    ]
    rows += _moved(before, after)
    schema = {"topic": pl.String, "name": pl.String, "before": pl.String, "after": pl.String, "change": pl.Float64}
    return pl.DataFrame(
        [(*row[:2], _shown(row[2]), _shown(row[3]), _change(*row[2:])) for row in rows], schema, orient="row"
    )


def _state(connection: DuckDBPyConnection) -> dict[tuple[str, str], Any]:
    """Return the figures of a state and the parameters of its current runs, by topic and name."""
    figures = query.named(connection, "state").to_pylist()
    found: dict[tuple[str, str], Any] = {(row["topic"], row["name"]): row["value"] for row in figures}
    for run in query.named(connection, "run_list").to_pylist():
        if run["is_current"]:
            for name, value in json.loads(run["parameters"]).items():
                found[f"{run['step']} parameters", name] = ids.canonical_json(value) if value is not None else None
    return found


def _moved(before: DuckDBPyConnection, after: DuckDBPyConnection) -> list[tuple[str, str, Any, Any]]:
    """Return how far the current weights of each label moved, where both states have weights, of different runs."""
    runs = [
        [row["run_id"] for row in query.named(connection, "weight_sets").to_pylist() if row["is_current"]]
        for connection in (before, after)
    ]
    if not all(runs) or runs[0] == runs[1]:
        return []
    rows = query.named(after, "drift", {"run_a": runs[0][0], "run_b": runs[1][0]}).to_pylist()
    moved = [(row["stratum"], row["total_variation"]) for row in rows if row["total_variation"]]
    return [("weights moved (total variation)", stratum, None, amount) for stratum, amount in moved]


def _shown(value: Any) -> str | None:
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.6g}"
    return None if value is None else str(value)


def _change(before: Any, after: Any) -> float | None:
    if isinstance(before, float) or isinstance(after, float):
        return (after or 0.0) - (before or 0.0)
    return None
