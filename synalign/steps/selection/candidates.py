"""The candidates for selection (clusters or single records), and the clustered real records that selections show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from synalign.config import Select
from synalign.errors import UsageError
from synalign.numerics.selection.quotas import assign_labels, quotas
from synalign.steps.core.context import Context
from synalign.steps.core.reading import record_runs, records, vectors
from synalign.steps.selection.cluster import centroids, embedder_of, members
from synalign.store.lake.journal import Run
from synalign.store.lake.lake import quote
from synalign.store.lake.schemas import REAL

RECORD = "record"

# A mass must be above 0.
_NEXT_TO_NOTHING = 1e-9


@dataclass(frozen=True)
class ClusteredRecords:
    """The n real training records that were clustered, ordered by id. frame: id, label, multiplicity, cluster_id.
    matrix: float32 [n, d]. clusters: int64 [n]. names: the labels there are, sorted. codes: int64 [n], place in
    `names`; len(names) for none."""

    frame: pl.DataFrame
    matrix: np.ndarray
    clusters: np.ndarray
    names: list[str]
    codes: np.ndarray

    def label_counts(self, candidates: int) -> np.ndarray:
        """Return how many records of each label each of `candidates` clusters has, float64 [candidates, L]."""
        counts = np.zeros((candidates, len(self.names)))
        labelled = self.codes < len(self.names)
        np.add.at(counts, (self.clusters[labelled], self.codes[labelled]), 1.0)
        return counts

    def label_shares(self) -> np.ndarray:
        """Return how often each label occurs, by multiplicity, float64 [L]."""
        amounts = self.frame["multiplicity"].to_numpy().astype(np.float64)
        return np.bincount(self.codes, amounts, minlength=len(self.names) + 1)[: len(self.names)]


@dataclass(frozen=True)
class Candidates:
    """u candidates for selection: clusters, or single records.

    points: float [u, d], where they are. clusters: int64 [u], the cluster of each. mass: float64 [u], real records by
    multiplicity. groups: int64 [u], the code of the one label that each has; None where clusters mix labels,
    or there are none. rows: int64 [u], the record that each is, None for clusters."""

    points: np.ndarray
    clusters: np.ndarray
    mass: np.ndarray
    groups: np.ndarray | None
    rows: np.ndarray | None


def read_clustered(context: Context, run: Run) -> ClusteredRecords:
    """Return the records that were clustered, not those assigned since: they are what the run's name says."""
    clustered = [source for source in record_runs(context, REAL) if source.run_id in run.inputs]
    real = records(context, REAL, split="train", runs=clustered).select("id", "label", "multiplicity")
    frame = members(context, run, REAL).join(real, on="id").sort("id")
    matrix = vectors(context, embedder_of(context, run).name, REAL, frame["id"])
    names = frame["label"].drop_nulls().unique().sort().to_list()
    codes = frame["label"].replace_strict(names, range(len(names)), default=len(names), return_dtype=pl.Int64)
    return ClusteredRecords(frame, matrix, frame["cluster_id"].to_numpy(), names, codes.to_numpy())


def read_candidates(context: Context, run: Run, kind: str, clustered: ClusteredRecords) -> Candidates:
    """Return the candidates of one kind."""
    if kind == RECORD:
        mass = clustered.frame["multiplicity"].to_numpy().astype(np.float64)
        groups = clustered.codes if clustered.names else None
        return Candidates(clustered.matrix, clustered.clusters, mass, groups, np.arange(len(clustered.matrix)))
    table = context.lake.read("clusters", ["cluster_id", "size", "label"], f"run_id = {quote(run.run_id)}")
    rows = sorted(table.to_pylist(), key=lambda row: row["cluster_id"])
    groups = None
    if run.parameters.get("by_label"):
        place = {name: code for code, name in enumerate(clustered.names)}
        groups = np.array([place.get(row["label"], len(place)) for row in rows], dtype=np.int64)
    # A cluster of which all records were forgotten keeps its number; it comes last of all.
    mass = np.maximum([row["size"] for row in rows], _NEXT_TO_NOTHING)
    return Candidates(centroids(context, run), np.arange(len(rows)), mass, groups, None)


def label_quotas(
    settings: Select, count: int, clustered: ClusteredRecords, candidates: Candidates
) -> np.ndarray | None:
    """Return how many of `count` selections each label gets, int64 [L]; None without labels.

    With real proportions, a label that has fewer candidates than its share leaves the rest to other labels. Shares and
    a minimum that a person gave are kept, or refused.

    Raises:
        UsageError: if the shares name other labels than there are, or a label has fewer candidates than it is to get.
    """
    if not clustered.names:
        if isinstance(settings.label_shares, dict):
            raise UsageError("label_shares gives shares of labels, and the records have none. Leave it out.")
        return None
    if candidates.groups is None:
        has = (clustered.label_counts(len(candidates.points)) > 0).sum(axis=0)
    else:
        has = np.bincount(candidates.groups, minlength=len(clustered.names) + 1)[: len(clustered.names)]
    if settings.label_shares == "proportional" and settings.min_per_label <= 1:
        # A cluster that mixes labels can be written for with any of them, so that there it is no limit.
        capacity = has if candidates.groups is not None else None
        return quotas(count, clustered.label_shares(), settings.min_per_label, capacity)
    shares = _shares(settings, clustered)
    least = settings.min_per_label * int((shares > 0).sum())
    if least > count:
        raise UsageError(
            f"min_per_label={settings.min_per_label} for {int((shares > 0).sum())} labels needs a budget of {least}; "
            f"it is {count}. Raise the budget, or lower min_per_label."
        )
    wanted = quotas(count, shares, settings.min_per_label)
    short = np.flatnonzero(wanted > has)
    if len(short):
        label = int(short[np.argmax((wanted - has)[short])])
        what = "clusters" if candidates.rows is None else "records"
        cure = "choose records (unit='record'), cluster into more, " if candidates.rows is None else ""
        raise UsageError(
            f"The label {clustered.names[label]!r} is to get {wanted[label]} of {count} selections and has "
            f"{has[label]} {what}. Lower the budget or min_per_label, {cure}give it a smaller share "
            "(label_shares={...}, or 'proportional'), or bring more real records of it."
        )
    return wanted


def assigned_labels(
    clustered: ClusteredRecords, picks: np.ndarray, candidates: int, wanted: np.ndarray, enough: int
) -> list[str | None]:
    """Return the label that each picked cluster is written for, where clusters mix labels."""
    counts = clustered.label_counts(candidates)[picks]
    chosen = assign_labels(counts, wanted, enough)
    # A cluster of unlabelled records only is written for without a label.
    return [clustered.names[int(code)] if row.any() else None for row, code in zip(counts, chosen, strict=True)]


def missed_shares(names: Sequence[str], wanted: np.ndarray, labels: Sequence[str | None]) -> list[str]:
    """Say which labels got fewer selections than they were to get."""
    found = {name: sum(label == name for label in labels) for name in names}
    pairs = zip(names, wanted.tolist(), strict=True)
    short = [f"{name!r} {found[name]} of {count}" for name, count in pairs if found[name] < count]
    if not short:
        return []
    return [
        f"too few of the picked clusters have records of some labels, which got fewer selections than planned: "
        f"{', '.join(short[:8])}. Cluster within labels (by_label), or select records (unit='record')"
    ]


def _shares(settings: Select, clustered: ClusteredRecords) -> np.ndarray:
    if settings.label_shares == "average":
        return np.ones(len(clustered.names))
    if settings.label_shares == "proportional":
        return clustered.label_shares()
    given = settings.label_shares
    if set(given) != set(clustered.names) or sum(given.values()) <= 0:
        raise UsageError(
            f"label_shares must give a share for each label of the real records, and no other: "
            f"{', '.join(clustered.names[:20])}. Given: {', '.join(list(given)[:20])}, with a sum of "
            f"{sum(given.values()):g}."
        )
    return np.array([given[name] for name in clustered.names])
