"""cluster: the real training records are grouped; all other records are assigned to the groups."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from synalign.config import Cluster, ClusterRequest, override
from synalign.errors import UsageError
from synalign.ids import child_seed
from synalign.numerics.core.clustering import (
    assign,
    assign_within,
    choose_k,
    fit_clusters,
    fit_clusters_within,
    purity,
    silhouette,
)
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import record_runs, records, require_real, vectors
from synalign.steps.core.run_step import Result, reuse, run_step
from synalign.steps.embedding import embed as embedding
from synalign.steps.embedding.embed import Embedder
from synalign.steps.forget.tombstones import forget_runs
from synalign.store.lake.journal import Clock, Plan, Run
from synalign.store.lake.lake import quote
from synalign.store.lake.schemas import ORIGINS, REAL

#: Codes of records that have no label, and of those whose label no cluster was made within.
_UNLABELLED, _UNKNOWN = -1, -2


def cluster(context: Context, request: ClusterRequest) -> Outcome:
    """Cluster the real training records, and assign to the clusters what is not assigned yet.

    Clusters that were made with the same settings are kept when records come in, so that the selections on them, and
    what was paid for, stay; `refit` makes new ones of all records. With `by_label` the records of each label are
    clustered by themselves, those without a label too, and records are only assigned to clusters of their label.

    Raises:
        NotReadyError: without real training records.
        UsageError: with `by_label`, if no real training record has a label.
        NumericsError: if k is larger than the number of records, or smaller than that of labels with `by_label`.
    """
    clock = Clock()
    settings = override(context.config.cluster, request)
    real = require_real(context)
    if settings.by_label and real["label"].null_count() == real.height:
        raise UsageError(
            f"by_label clusters each label by itself, and none of the {real.height} real training records has one. "
            "Ingest them with labels, ws.ingest(..., label='COLUMN') ('synalign ingest DIR FILE --label COLUMN'), or "
            "cluster without: by_label=False (--no-by-label). Nothing was clustered."
        )
    embedder = request.embedder
    wanted = embedding.current(context) if embedder is None else embedding.named(context, embedder)
    kind = embedding.kind_wanted(context) if wanted is None else wanted.kind
    run = None if request.refit else _find_clusters(context, settings, kind, embedder)
    if run is not None:
        assigned = assign_new(context, run)
        outcome = reuse(context, run, clock)
        if not assigned:
            return outcome
        note = f"{assigned} new records assigned to the clusters there are; refit to cluster anew"
        return replace(outcome, reused=False, notes=(*outcome.notes, note))
    chosen = embedding.resolve(context, embedder)
    parameters = {"k": settings.k, "embedder": chosen.name, "kind": chosen.kind}
    if settings.by_label:
        # Only then, so that runs that were made before there was a choice keep their names.
        parameters["by_label"] = True
    sources = [source.run_id for source in record_runs(context, REAL)]
    plan = Plan("cluster", parameters, [chosen.run_id, *sources, *forget_runs(context)], context.config.seed)

    def work() -> Result:
        context.progress("clustering", 0, 1)
        rows, figures = _clustered(context, real, chosen, settings)
        context.progress("clustering", 1, 1)
        counts = {"clusters": len(rows), "records": real.height, "embedder": chosen.name} | figures
        few = settings.k not in (None, len(rows))
        notes = (f"{settings.k} clusters asked for, {len(rows)} are not empty",) if few else ()
        return Result({"clusters": rows}, counts, notes)

    outcome = run_step(context, clock, plan, work, reads=("real",))
    with clock.part("assign"):
        assign_new(context, context.journal.require(plan.run_id))
    return outcome.timed(clock)


def _clustered(
    context: Context, real: pl.DataFrame, chosen: Embedder, settings: Cluster
) -> tuple[list[dict[str, Any]], dict[str, float | None]]:
    """Return the rows of `clusters` but for their run, and what is known of all of them."""
    matrix = vectors(context, chosen.name, REAL, real["id"])
    weights = real["multiplicity"].to_numpy()
    names = real["label"].drop_nulls().unique().sort().to_list()
    codes = _codes(real["label"], names)
    seed = context.config.seed
    owners: list[str | None]
    if settings.by_label:
        k = settings.k or max(choose_k(real.height), real["label"].n_unique())
        found, groups = fit_clusters_within(matrix, codes, k, seed, weights)
        owners = [None if code == _UNLABELLED else names[code] for code in groups.tolist()]
    else:
        found = fit_clusters(matrix, settings.k or choose_k(real.height), seed, weights)
        owners = [None] * len(found.centroids)
    mixes = _label_mixes(real, found.labels)
    pure, purity_of_all = purity(found.labels, codes, weights)
    silhouette_of_all, apart = silhouette(matrix, found.labels, child_seed(seed, "silhouette"))
    rows = [
        {
            "cluster_id": number,
            "size": float(found.sizes[number]),
            "label_mix": mixes.get(number, []),
            "radius": float(found.radius[number]),
            "centroid": found.centroids[number].tolist(),
            "label": owners[number],
            "purity": _known(pure[number]),
            "silhouette": _known(apart[number]),
        }
        for number in range(len(found.centroids))
    ]
    return rows, {"purity": _known(purity_of_all), "silhouette": _known(silhouette_of_all)}


def embedder_of(context: Context, run: Run) -> Embedder:
    """Return the embedder in whose space the clusters of a run lie.

    Where it was fitted to records that were forgotten since, that is the newest one of its kind, with all records
    embedded.
    """
    there = {embedder.name: embedder for embedder in embedding.embedders(context)}
    found = there.get(run.parameters["embedder"])
    if found is None:
        found = embedding.of_kind(context, run.parameters["kind"])
        embedding.apply(context, found)
    return found


def centroids(context: Context, run: Run) -> np.ndarray:
    """Return the centroids of a run, float32 [k, d], in the order of cluster ids.

    Where the embedder was forgotten they are the means of the records that are left, in the space of the one that
    takes its place. A cluster of which no record is left has the place of another one, and no mass.
    """
    rows = _cluster_rows(context, run)
    centres = [row["centroid"] for row in rows]
    chosen = embedder_of(context, run)
    if chosen.name != run.parameters["embedder"]:
        centres = _means(context, run, chosen, len(rows))
    there = [number for number, centre in enumerate(centres) if centre is not None]
    filled = [
        centre if centre is not None else centres[_stand_in(rows, there, number)]
        for number, centre in enumerate(centres)
    ]
    return np.asarray(filled, dtype=np.float32)


def _cluster_rows(context: Context, run: Run) -> list[dict[str, Any]]:
    columns = ["cluster_id", "centroid", "label", "size"]
    table = context.lake.read("clusters", columns, f"run_id = {quote(run.run_id)}")
    return sorted(table.to_pylist(), key=lambda row: row["cluster_id"])


def _means(context: Context, run: Run, chosen: Embedder, count: int) -> list[np.ndarray | None]:
    """Return the mean vector of the clustered records of each cluster, None for one of which none is left."""
    clustered = [source for source in record_runs(context, REAL) if source.run_id in run.inputs]
    real = records(context, REAL, split="train", runs=clustered).select("id", "multiplicity")
    frame = members(context, run, REAL).join(real, on="id").sort("id")
    matrix = vectors(context, chosen.name, REAL, frame["id"]).astype(np.float64)
    weights, numbers = frame["multiplicity"].to_numpy().astype(np.float64), frame["cluster_id"].to_numpy()
    sums, totals = np.zeros((count, matrix.shape[1])), np.bincount(numbers, weights, minlength=count)
    np.add.at(sums, numbers, matrix * weights[:, None])
    return [sums[number] / totals[number] if totals[number] else None for number in range(count)]


def _stand_in(rows: list[dict[str, Any]], there: list[int], number: int) -> int:
    """Return the cluster whose place an empty one takes: of its label, if one is left."""
    alike = [other for other in there if rows[other]["label"] == rows[number]["label"]]
    return (alike or there)[0]


def _owners(context: Context, run: Run) -> list[str | None] | None:
    """Return the label of each cluster in the order of cluster ids; None if they were not made within labels."""
    if not run.parameters.get("by_label"):
        return None
    return [row["label"] for row in _cluster_rows(context, run)]


def members(context: Context, run: Run, origin: str) -> pl.DataFrame:
    """Return id, cluster_id and distance of the records of one side, ordered by id."""
    where = f"cluster_run_id = {quote(run.run_id)} and origin = {quote(origin)}"
    frame = context.lake.frame("cluster_members", ["run_id", "id", "cluster_id", "distance"], where)
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
    centres, owners = centroids(context, run), _owners(context, run)
    return sum(_assign_source(context, run, chosen, centres, owners, *item) for item in work)


def _assign_source(
    context: Context,
    run: Run,
    chosen: Embedder,
    centres: np.ndarray,
    owners: list[str | None] | None,
    origin: str,
    source: Run,
    plan: Plan,
) -> int:
    frame = records(context, origin, runs=[source], with_excluded=True)

    def work() -> Result:
        if not frame.height:
            return Result({}, {"records": 0})
        matrix = vectors(context, chosen.name, origin, frame["id"])
        left = np.array([row["cluster_id"] for row in _cluster_rows(context, run) if row["size"] > 0])
        if owners is None:
            numbers, distances = assign(matrix, centres[left])
        else:
            names = sorted({name for name in owners if name is not None})
            groups = [_codes(labels, names) for labels in (frame["label"], pl.Series(owners, dtype=pl.String))]
            numbers, distances = assign_within(matrix, groups[0], centres[left], groups[1][left])
        numbers = left[numbers]
        rows = frame.select(
            "id",
            pl.lit(origin).alias("origin"),
            pl.lit(run.run_id).alias("cluster_run_id"),
            pl.Series("cluster_id", numbers),
            pl.Series("distance", distances.astype(np.float64)),
        )
        return Result({"cluster_members": rows}, {"records": frame.height})

    run_step(context, Clock(), plan, work)
    return frame.height


def _find_clusters(context: Context, settings: Cluster, kind: dict[str, object], embedder: str | None) -> Run | None:
    """Return the newest clusters made with these settings, whatever records have come in since.

    Unless an embedder is named, any version of its kind will do: it is fitted anew when synthetic text comes in, or
    records are forgotten, and the clusters, and all that was paid for on top of them, stay.
    """
    runs = [
        run
        for run in context.journal.runs("cluster")
        if run.parameters["k"] == settings.k
        and run.parameters.get("by_label", False) == settings.by_label
        and run.seed == context.config.seed
        and (run.parameters["kind"] == kind if embedder is None else run.parameters["embedder"] == embedder)
    ]
    return runs[-1] if runs else None


def _codes(labels: pl.Series, names: list[str]) -> np.ndarray:
    """Return the place of each label among `names`, int64 [n]."""
    places = {name: place for place, name in enumerate(names)}
    return np.array(
        [_UNLABELLED if label is None else places.get(label, _UNKNOWN) for label in labels.to_list()], dtype=np.int64
    )


def _known(value: float) -> float | None:
    """Return a figure, or None where there was too little to tell it by."""
    return None if math.isnan(value) else float(value)


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
