"""select: the clusters where the Gaussian process is still uncertain, and the records of them to show."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from synalign import ids
from synalign.config import Select, override
from synalign.errors import NotReadyError, UsageError
from synalign.numerics.demonstrations import choose_demonstrations, nearest_rows
from synalign.numerics.kernels import make_kernel, median_distance
from synalign.numerics.labels import assign_labels
from synalign.numerics.selection import Picks, select_by_variance
from synalign.steps.cluster import centroids, embedder_of, members
from synalign.steps.context import Context, Outcome, finish, reuse
from synalign.steps.reading import record_runs, records, vectors
from synalign.store.journal import Clock, Plan, Run
from synalign.store.schemas import REAL, TABLES

DEFAULT_BUDGET = 32


def select(
    context: Context,
    *,
    budget: int | None = None,
    demonstrations: int | None = None,
    kernel: str | None = None,
    length_scale: float | str | None = None,
    noise: float | None = None,
    embedder: str | None = None,
) -> Outcome:
    """Pick clusters by greatest posterior variance, and demonstrations from each, all of one label.

    A cluster that has too few records of its label is shown the nearest ones of that label beyond it as well.

    Raises:
        NotReadyError: if there are no clusters.
        UsageError: if the budget is above the number of clusters, or `embedder` is not that of the clusters.
    """
    given = {
        "budget": budget,
        "demonstrations": demonstrations,
        "kernel": kernel,
        "length_scale": length_scale,
        "noise": noise,
    }
    settings = override(context.config.select, given)
    run = context.journal.current("cluster")
    if run is None:
        raise NotReadyError("There are no clusters to select from. Run ws.cluster() ('synalign cluster DIR') first.")
    if embedder not in (None, run.parameters["embedder"]):
        raise UsageError(
            f"The current clusters lie in the space of the embedder {run.parameters['embedder']!r}, not of "
            f"{embedder!r}: two are never mixed. Cluster with that one first: ws.cluster(embedder={embedder!r})."
        )
    units = centroids(context, run)
    count = settings.budget or min(DEFAULT_BUDGET, len(units))
    if count > len(units):
        raise UsageError(
            f"A budget of {count} is more than the {len(units)} clusters there are. Lower it, or cluster into more: "
            f"ws.cluster(k={count}) ('synalign cluster DIR -k {count}')."
        )
    clock = Clock()
    plan = Plan("select", settings.model_dump() | {"budget": count}, [run.run_id], context.config.seed)
    done = context.journal.get(plan.run_id)
    if done is not None:
        return reuse(context, done)
    context.journal.sweep(("selections",))
    context.progress("selecting", 0, 1)
    scale = settings.length_scale
    scale = median_distance(units, context.config.seed) if isinstance(scale, str) else scale
    picks = select_by_variance(units, count, make_kernel(settings.kernel, scale), settings.noise)
    rows = _rows(context, run, plan.run_id, settings, scale, units, picks)
    context.lake.insert("selections", pa.Table.from_pylist(rows, schema=TABLES["selections"].schema))
    context.progress("selecting", 1, 1)
    notes = () if picks.informative else (_uninformative(scale, units, context.config.seed),)
    counts = {"selections": len(rows), "clusters": len(units), "max_variance_left": float(picks.max_remaining[-1])}
    return finish(context, plan, clock, counts, notes, ("clusters", "cluster_members", "selections"))


def _rows(
    context: Context, run: Run, run_id: str, settings: Select, scale: float, units: np.ndarray, picks: Picks
) -> list[dict[str, Any]]:
    # The records that were clustered, not those assigned since: they are what the run's name says.
    clustered = [source for source in record_runs(context, REAL) if source.run_id in run.inputs]
    real = records(context, REAL, split="train", runs=clustered)
    frame = members(context, run, REAL).join(real, on="id").sort("id")
    matrix = vectors(context, embedder_of(context, run).name, REAL, frame["id"])
    numbers, labels = frame["cluster_id"].to_numpy(), frame["label"].to_numpy()
    targets = _target_labels(frame, picks.indices, settings.demonstrations)
    rows = []
    for step, (number, target) in enumerate(zip(picks.indices.tolist(), targets, strict=True)):
        able = (labels == target) if target is not None else np.ones(len(labels), dtype=bool)
        inside = np.flatnonzero((numbers == number) & able)
        if len(inside) < settings.demonstrations:
            inside = nearest_rows(matrix, able, units[number], 2 * settings.demonstrations)
        shown = inside[choose_demonstrations(matrix[inside], units[number], settings.demonstrations)]
        last = step == len(picks.indices) - 1
        rows.append(
            {
                "run_id": run_id,
                "step": step,
                "selection_id": ids.digest(["selection/1", run_id, step]),
                "round": 0,
                "cluster_run_id": run.run_id,
                "cluster_id": number,
                "label": target,
                "variance_before": float(picks.variance_before[step]),
                "variance_after": float(picks.variance_after[step]),
                "max_remaining": float(picks.max_remaining[step]),
                "score": float(picks.variance_before[step]),
                "demonstrations": [frame["id"][int(row)] for row in shown],
                "kernel": settings.kernel,
                "length_scale": scale,
                "noise": settings.noise,
                "informative": picks.informative,
                "stop_reason": "budget" if last else None,
            }
        )
    return rows


def _target_labels(frame: pl.DataFrame, indices: np.ndarray, enough: int) -> list[str | None]:
    """Choose the label that each selection is written for; None where the records have no labels."""
    labelled = frame.filter(pl.col("label").is_not_null())
    if not labelled.height:
        return [None] * len(indices)
    names = labelled["label"].unique().sort()
    shares = names.to_frame().join(labelled.group_by("label").agg(pl.col("multiplicity").sum()), on="label", how="left")
    counted = labelled.group_by("cluster_id", "label").len()
    place = {name: column for column, name in enumerate(names)}
    counts = np.zeros((int(frame["cluster_id"].max()) + 1, len(names)))  # type: ignore[arg-type]
    for number, label, count in counted.iter_rows():
        counts[number, place[label]] = count
    picked = counts[indices]
    chosen = assign_labels(picked, shares.sort("label")["multiplicity"].to_numpy(), enough)
    # A cluster of unlabelled records only is written for without a label.
    return [names[int(column)] if row.any() else None for row, column in zip(picked, chosen, strict=True)]


def _uninformative(scale: float, units: np.ndarray, seed: int) -> str:
    return (
        f"the length scale {scale:.4g} is so short that all clusters are equally uncertain: the picks are in the order "
        f"of their numbers. The median distance is {median_distance(units, seed):.4g}; try that."
    )
