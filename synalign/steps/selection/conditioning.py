"""What a round of selection is conditioned on: earlier picks, text generated since, and where alignment finds that
synthetic text is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from synalign.errors import NotReadyError, UsageError
from synalign.numerics.selection.scores import gap
from synalign.numerics.selection.uncertainty import UncertaintyTracker
from synalign.steps.core.context import Context
from synalign.steps.core.reading import record_runs, records, vectors
from synalign.steps.selection.candidates import Candidates, ClusteredRecords
from synalign.steps.selection.cluster import assign_new, centroids, embedder_of
from synalign.store.lake.journal import Run
from synalign.store.lake.lake import is_in, quote
from synalign.store.lake.schemas import SYNTHETIC

#: Synthetic records that the process is conditioned on, at most: those that say most, chosen as selections are.
MAX_GENERATED = 1_000


def chain(context: Context, run: Run | None) -> list[Run]:
    """Return the select runs of the rounds that led to this one, the first round first, this one last."""
    runs = {found.run_id: found for found in context.journal.runs("select")}
    found: list[Run] = []
    while run is not None:
        found.append(run)
        run = next((runs[name] for name in run.inputs if name in runs), None)
    return found[::-1]


def place_in_rounds(context: Context, clusters: Run, wanted: int | str | None) -> tuple[int, Run | None]:
    """Return the number of the round to select for, from 1, and the select run of the round before it.

    Raises:
        UsageError: if `wanted` is no round that can come now.
        NotReadyError: if nothing was generated for the round before.
    """
    done = [run for run in chain(context, context.journal.current("select")) if clusters.run_id in run.inputs]
    if wanted is None:
        wanted = max(1, len(done))
    elif wanted == "next":
        wanted = len(done) + 1
    if not isinstance(wanted, int) or not 1 <= wanted <= len(done) + 1:
        raise UsageError(
            f"The round must be a number from 1 to {len(done) + 1}, the one after those that are selected, or 'next'; "
            f"given: {wanted!r}."
        )
    if wanted == 1:
        return 1, None
    previous = done[wanted - 2]
    if not any(run.sequence > previous.sequence for run in record_runs(context, SYNTHETIC)):
        raise NotReadyError(
            f"Round {wanted} goes where round {wanted - 1} has not been, and nothing has been generated since round "
            f"{wanted - 1} was selected. Run ws.reason() and ws.generate() first, or ingest what another generator "
            "wrote (synthetic=True)."
        )
    return wanted, previous


def earlier_picks(context: Context, previous: Run | None) -> list[dict[str, Any]]:
    """Return the rows of `selections` of a round and those before it, in order."""
    names = [run.run_id for run in chain(context, previous)]
    columns = ["run_id", "step", "cluster_id", "record_id", "demonstrations"]
    rows = context.lake.read("selections", columns, is_in("run_id", names)).to_pylist() if names else []
    return sorted(rows, key=lambda row: (names.index(row["run_id"]), row["step"]))


def condition(
    context: Context,
    tracker: UncertaintyTracker,
    clusters: Run,
    picks: Sequence[dict[str, Any]],
    clustered: ClusteredRecords,
) -> list[str]:
    """Observe the picks of earlier rounds, and the synthetic records there are; return what to say of it."""
    centres = centroids(context, clusters)
    place = dict(zip(clustered.frame["id"].to_list(), range(len(clustered.matrix)), strict=True))

    def point(row: dict[str, Any]) -> np.ndarray:
        found = centres[row["cluster_id"]] if row["record_id"] is None else clustered.matrix[place[row["record_id"]]]
        return np.asarray(found, dtype=np.float64)

    if picks:
        tracker.condition(np.array([point(row) for row in picks]))
    # Text that came after the clusters is embedded in their space.
    assign_new(context, clusters)
    written = records(context, SYNTHETIC, split="train")
    if not written.height:
        return []
    matrix = vectors(context, embedder_of(context, clusters).name, SYNTHETIC, written["id"])
    if (matrix == matrix[0]).all():
        tracker.condition(matrix[:1])
        return []
    # A record whose variance is down to the noise adds next to nothing: those near it have been observed.
    found = tracker.select(matrix, min(MAX_GENERATED, len(matrix)), min_variance=tracker.noise)
    if found.stop_reason != "budget" or len(found.indices) == len(matrix):
        return []
    return [
        f"the process is conditioned on the {len(found.indices)} of {len(matrix)} synthetic records that say most; "
        f"the next one would lower a variance of {found.variance_before[-1]:.3g}"
    ]


def witness_run(context: Context) -> Run | None:
    """Return the newest measurement of the current weights, None without one."""
    aligned = context.journal.current("align")
    if aligned is None:
        return None
    return next((run for run in context.journal.latest("measure") if aligned.run_id in run.inputs), None)


def gaps(context: Context, measured: Run, candidates: Candidates, clustered: ClusteredRecords) -> np.ndarray:
    """Return how far the weighted synthetic records miss each unit, float64 [u], as `numerics.scores.gap` has it."""
    found = context.lake.frame("witness", ["id", "witness"], f"run_id = {quote(measured.run_id)}")
    frame = clustered.frame.join(found, on="id", how="left", maintain_order="left")
    places = clustered.clusters if candidates.rows is None else candidates.rows
    return gap(frame["witness"].fill_null(0.0), frame["multiplicity"], places, len(candidates.points))
