"""cluster: the real training records are grouped; all other records are assigned to the groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from synalign.config import override
from synalign.numerics.clustering import assign, choose_k, fit_clusters
from synalign.steps import embed as embedding
from synalign.steps.context import Context, Outcome, finish, reuse
from synalign.steps.embed import Embedder
from synalign.steps.reading import record_runs, records, require_real, vectors
from synalign.store.journal import Clock, Plan, Run
from synalign.store.lake import quote
from synalign.store.schemas import ORIGINS, REAL, TABLES


def cluster(context: Context, *, k: int | None = None, embedder: str | None = None, refit: bool = False) -> Outcome:
    """Cluster the real training records, and assign to the clusters what is not assigned yet.

    Clusters that were made with the same settings are kept when records come in, so that the selections on them, and
    what was paid for, stay; `refit` makes new ones of all records.

    Raises:
        NotReadyError: without real training records.
        NumericsError: if k is larger than the number of records.
    """
    settings = override(context.config.cluster, {"k": k})
    real = require_real(context)
    wanted = embedding.current(context) if embedder is None else embedding.named(context, embedder)
    run = None if refit else _find(context, settings.k, wanted, exact=embedder is not None)
    if run is not None:
        assigned = assign_new(context, run)
        outcome = reuse(context, run)
        if not assigned:
            return outcome
        note = f"{assigned} new records assigned to the clusters there are; refit to cluster anew"
        return Outcome("cluster", run.run_id, False, run.counts, (*outcome.notes, note))
    chosen = embedding.resolve(context, embedder)
    clock = Clock()
    parameters = {"k": settings.k, "embedder": chosen.name, "kind": chosen.kind}
    sources = [source.run_id for source in record_runs(context, REAL)]
    plan = Plan("cluster", parameters, [chosen.run_id, *sources], context.config.seed)
    done = context.journal.get(plan.run_id)
    if done is not None:
        assign_new(context, done)
        return reuse(context, done)
    context.journal.sweep(("clusters",))
    context.progress("clustering", 0, 1)
    matrix = vectors(context, chosen.name, REAL, real["id"])
    weights = real["multiplicity"].to_numpy()
    found = fit_clusters(matrix, settings.k or choose_k(real.height), context.config.seed, weights)
    mixes = _label_mixes(real, found.labels)
    rows = [
        {
            "run_id": plan.run_id,
            "cluster_id": number,
            "size": float(found.sizes[number]),
            "label_mix": mixes.get(number, []),
            "radius": float(found.radius[number]),
            "centroid": found.centroids[number].tolist(),
        }
        for number in range(len(found.centroids))
    ]
    context.lake.insert("clusters", pa.Table.from_pylist(rows, schema=TABLES["clusters"].schema))
    context.progress("clustering", 1, 1)
    counts = {"clusters": len(rows), "records": real.height, "embedder": chosen.name}
    notes = (
        (f"{settings.k} clusters asked for, {len(rows)} are not empty",) if settings.k not in (None, len(rows)) else ()
    )
    outcome = finish(context, plan, clock, counts, notes, ("real", "clusters"))
    done = context.journal.get(plan.run_id)
    assert done is not None
    assign_new(context, done)
    return outcome


def embedder_of(context: Context, run: Run) -> Embedder:
    """Return the embedder in whose space the clusters of a run lie."""
    return embedding.named(context, run.parameters["embedder"])


def centroids(context: Context, run: Run) -> np.ndarray:
    """Return the centroids of a run, float32 [k, d], in the order of cluster ids."""
    table = context.lake.read("clusters", ["cluster_id", "centroid"], f"run_id = {quote(run.run_id)}")
    rows = sorted(table.to_pylist(), key=lambda row: row["cluster_id"])
    return np.asarray([row["centroid"] for row in rows], dtype=np.float32)


def members(context: Context, run: Run, origin: str) -> pl.DataFrame:
    """Return id, cluster_id and distance of the records of one side, ordered by id."""
    where = f"cluster_run_id = {quote(run.run_id)} and origin = {quote(origin)}"
    frame = pl.from_arrow(context.lake.read("cluster_members", ["run_id", "id", "cluster_id", "distance"], where))
    assert isinstance(frame, pl.DataFrame)
    finished = [done.run_id for done in context.journal.runs("assign")]
    return frame.filter(pl.col("run_id").is_in(finished)).drop("run_id").sort("id")


def assign_new(context: Context, run: Run) -> int:
    """Assign the records of every ingest or generation that these clusters have not seen; return how many."""
    finished = {done.run_id for done in context.journal.runs("assign")}
    work = [
        (origin, source, Plan("assign", {"origin": origin}, [run.run_id, source.run_id]))
        for origin in ORIGINS
        for source in record_runs(context, origin)
    ]
    work = [item for item in work if item[2].run_id not in finished]
    if not work:
        return 0
    chosen = embedder_of(context, run)
    embedding.apply(context, chosen)
    context.journal.sweep(("cluster_members",))
    centres = centroids(context, run)
    return sum(_assign_source(context, run, chosen, centres, *item) for item in work)


def _assign_source(
    context: Context, run: Run, chosen: Embedder, centres: np.ndarray, origin: str, source: Run, plan: Plan
) -> int:
    clock = Clock()
    frame = records(context, origin, runs=[source], with_excluded=True)
    if frame.height:
        numbers, distances = assign(vectors(context, chosen.name, origin, frame["id"]), centres)
        rows: dict[str, Any] = {
            "run_id": [plan.run_id] * frame.height,
            "origin": [origin] * frame.height,
            "id": frame["id"].to_list(),
            "cluster_run_id": [run.run_id] * frame.height,
            "cluster_id": numbers,
            "distance": distances.astype(np.float64),
        }
        context.lake.insert("cluster_members", pa.table(rows, schema=TABLES["cluster_members"].schema))
    context.journal.finish(plan, clock, {"records": frame.height})
    return frame.height


def _find(context: Context, k: int | None, embedder: Embedder | None, exact: bool) -> Run | None:
    """Return the newest clusters made with these settings, whatever records have come in since.

    Without `exact`, any version of the encoder will do: it is fitted anew when synthetic text comes in, and the
    clusters, and all that was paid for on top of them, stay.
    """
    runs = [
        run
        for run in context.journal.runs("cluster")
        if run.parameters["k"] == k
        and run.seed == context.config.seed
        and embedder is not None
        and (run.parameters["embedder"] == embedder.name if exact else run.parameters["kind"] == embedder.kind)
    ]
    return runs[-1] if runs else None


def _label_mixes(real: pl.DataFrame, numbers: np.ndarray) -> dict[int, list[dict[str, Any]]]:
    """Return for each cluster the share of each label in it, largest first."""
    counted = (
        real.with_columns(pl.Series("cluster", numbers))
        .group_by("cluster", "label")
        .agg(pl.col("multiplicity").sum().alias("count"))
        .with_columns((pl.col("count") / pl.col("count").sum().over("cluster")).alias("share"))
        .sort("cluster", "count", "label", descending=[False, True, False])
    )
    mixes: dict[int, list[dict[str, Any]]] = {}
    for number, label, share in counted.select("cluster", "label", "share").iter_rows():
        mixes.setdefault(number, []).append({"label": label, "share": share})
    return mixes
