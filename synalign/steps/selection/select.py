"""select: picks the candidates where the Gaussian process is most uncertain, and the records of each to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from synalign import ids
from synalign.config import Select, SelectRequest, override
from synalign.errors import NotReadyError, UsageError
from synalign.ids import child_seed
from synalign.numerics.selection.demonstrations import choose_demonstrations, nearest_rows
from synalign.numerics.selection.greedy import Picks
from synalign.numerics.selection.kernels import check_kernel_expression, describe_kernel, make_kernel, median_distance
from synalign.numerics.selection.length_scale import learn_length_scale
from synalign.numerics.selection.quotas import quotas
from synalign.numerics.selection.scores import score_weights
from synalign.numerics.selection.uncertainty import UncertaintyTracker
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import record_runs
from synalign.steps.core.run_step import Result, reuse, run_step
from synalign.steps.forget.tombstones import forget_runs
from synalign.steps.selection.candidates import (
    RECORD,
    Candidates,
    ClusteredRecords,
    assigned_labels,
    label_quotas,
    missed_shares,
    read_candidates,
    read_clustered,
)
from synalign.steps.selection.cluster import centroids
from synalign.steps.selection.conditioning import condition, earlier_picks, gaps, place_in_rounds, witness_run
from synalign.store.lake.journal import Clock, Plan, Run
from synalign.store.lake.schemas import SYNTHETIC

if TYPE_CHECKING:
    import gpytorch

DEFAULT_BUDGET = 32

#: The version of the algorithm, part of every run's name.
SELECT_VERSION = 2

#: Records next to a picked one, for each demonstration, among which demonstrations are chosen.
_NEIGHBOURHOOD = 4

#: Clusters that a length scale is learned from where there are no labels, the largest. The leading components of the
#: vectors do not settle one: they are linear in the vectors, so that the longer the length scale, the better.
_CLUSTERS = 16


def select(context: Context, request: SelectRequest) -> Outcome:
    """Pick candidates by greatest score, and demonstrations from each, all of one label.

    A cluster that has too few records of its label shows the nearest ones of that label beyond it as well. A round
    after the first is conditioned on the picks of those before, and on all synthetic records there are.

    Raises:
        NotReadyError: if there are no clusters, or nothing was generated for the round before.
        UsageError: if the budget is above the number of candidates, a label can't have the selections that it is to
            get, or `embedder` is not that of the clusters.
        NumericsError: if all candidates are equal, or the kernel is not positive definite.
    """
    clock = Clock()
    own = None if isinstance(request.kernel, str) else request.kernel
    settings = override(context.config.select, request if own is None else request.without_kernel())
    settings = settings.model_copy(
        update={"kernel": _kernel_name(settings, own, "length_scale" in request.model_fields_set)}
    )
    run = _clusters(context, request.embedder)
    count = _budget(settings, run)
    number, previous = place_in_rounds(context, run, request.round)
    measured = witness_run(context) if settings.guide == "witness" else None
    parameters = settings.model_dump(mode="json") | {"budget": count}
    done = None if request.refit else _find_selection(context, parameters, number, run, previous)
    if done is not None:
        return reuse(context, done, clock)
    before = [previous, measured, *_seen(context, previous)]
    inputs = [run.run_id, *(found.run_id for found in before if found is not None), *forget_runs(context)]
    plan = Plan("select", parameters, inputs, context.config.seed, round=number, version=SELECT_VERSION)

    def work() -> Result:
        context.progress("selecting", 0, count)
        clustered = read_clustered(context, run)
        candidates = read_candidates(context, run, settings.unit, clustered)
        wanted = label_quotas(settings, count, clustered, candidates)
        scale = _Scale.of(settings, own, candidates, clustered, context.config.seed)
        tracker = UncertaintyTracker(own if own is not None else scale.kernel(settings.kernel), settings.noise)
        notes = list(scale.notes)
        earlier = earlier_picks(context, previous)
        if previous is not None:
            notes += condition(context, tracker, run, earlier, clustered)
        gap = None if measured is None else gaps(context, measured, candidates, clustered)
        if settings.guide == "witness" and gap is None:
            notes.append("there are no weights yet, so that this round is not guided by where text is missing")
        weights = score_weights(candidates.mass, settings.beta, gap)
        centres = centroids(context, run)
        uncertain = tracker.variance(centres)
        picks = tracker.select(
            candidates.points,
            count,
            batch=settings.batch,
            weights=weights,
            groups=None if wanted is None else candidates.groups,
            quotas=None if wanted is None or candidates.groups is None else np.append(wanted, 0),
            min_variance=settings.min_variance or 0.0,
            min_gain=settings.min_gain or 0.0,
            progress=lambda made, of: context.progress("selecting", made, of),
        )
        left = tracker.variance(centres)
        if not len(picks.indices):
            notes.append(
                f"nothing is selected: the largest variance left is {uncertain.max():.3g}, and min_variance is "
                f"{settings.min_variance}. Lower it, or end the rounds here"
            )
        if not picks.informative:
            notes.append(_uninformative(scale, candidates.points, settings, context.config.seed))
        labels, said = _labels(settings, clustered, candidates, picks, wanted)
        before_now = clustered.frame["id"].is_in([name for row in earlier for name in row["demonstrations"]]).to_numpy()
        log = _Log(context, plan.run_id, run, number, settings, scale, clustered, candidates, picks, gap, before_now)
        clusters = np.arange(len(centres))
        uncertainty = pl.DataFrame({"cluster_id": clusters, "variance_before": uncertain, "variance_after": left})
        context.progress("selecting", count, count)
        counts: dict[str, Any] = {
            "selections": len(labels),
            f"{settings.unit}s": len(candidates.points),
            "round": number,
        }
        counts |= {"max_variance_left": float(left.max()), "stopped_by": picks.stop_reason}
        return Result({"selections": log.rows(labels), "uncertainty": uncertainty}, counts, [*notes, *said])

    return run_step(context, clock, plan, work, reads=("clusters", "cluster_members"))


def planned(context: Context, round: int, previous: Run | None) -> Run | None:
    """Return the selection there is for a round with the configured settings, after that of the round before."""
    settings = context.config.select
    run = context.journal.current("cluster")
    if run is None:
        return None
    name = _kernel_name(settings, None)
    parameters = settings.model_copy(update={"kernel": name}).model_dump(mode="json")
    return _find_selection(context, parameters | {"budget": _budget(settings, run)}, round, run, previous)


def _clusters(context: Context, embedder: str | None) -> Run:
    run = context.journal.current("cluster")
    if run is None:
        raise NotReadyError("There are no clusters to select from. Run ws.cluster() ('synalign cluster DIR') first.")
    if embedder not in (None, run.parameters["embedder"]):
        raise UsageError(
            f"The current clusters lie in the space of the embedder {run.parameters['embedder']!r}, not of "
            f"{embedder!r}: two are never mixed. Cluster with that one first: ws.cluster(embedder={embedder!r})."
        )
    return run


def _kernel_name(settings: Select, own: Any, with_length_scale: bool = False) -> str:
    if own is None:
        if settings.ard and settings.length_scale != "learned":
            raise UsageError("ard learns a length scale for each dimension: it goes with length_scale='learned'.")
        return check_kernel_expression(settings.kernel)
    if with_length_scale:
        raise UsageError("A gpytorch kernel has a length scale of its own: leave length_scale out, or set it there.")
    return describe_kernel(own)


def _budget(settings: Select, run: Run) -> int:
    there = int(run.counts["records" if settings.unit == RECORD else "clusters"])
    count = settings.budget or min(DEFAULT_BUDGET, there)
    if count <= there:
        return count
    if settings.unit == RECORD:
        raise UsageError(f"A budget of {count} is more than the {there} records there are. Lower it.")
    raise UsageError(
        f"A budget of {count} is more than the {there} clusters there are. Lower it, select records (unit='record'), "
        f"or cluster into more: ws.cluster(k={count}) ('synalign cluster DIR -k {count}')."
    )


def _find_selection(
    context: Context, parameters: dict[str, Any], number: int, clusters: Run, previous: Run | None
) -> Run | None:
    """Return the newest selection made with these settings for this round, whatever records have come in since."""
    for run in context.journal.latest("select"):
        same = run.parameters == parameters and run.seed == context.config.seed and run.counts.get("round") == number
        if same and clusters.run_id in run.inputs and (previous is None or previous.run_id in run.inputs):
            return run
    return None


def _seen(context: Context, previous: Run | None) -> list[Run]:
    """Return the runs of the synthetic records that a later round is conditioned on, and of what was excluded."""
    return [] if previous is None else [*record_runs(context, SYNTHETIC), *context.journal.runs("exclude")]


@dataclass(frozen=True)
class _Scale:
    """The length scale: its value (None for a kernel that has its own), one for each dimension with ARD, and source."""

    value: float | None
    values: np.ndarray | None
    source: str
    notes: Sequence[str] = ()

    @classmethod
    def of(cls, settings: Select, own: Any, candidates: Candidates, clustered: ClusteredRecords, seed: int) -> _Scale:
        if own is not None:
            return cls(None, None, "kernel")
        if settings.length_scale == "median":
            return cls(median_distance(candidates.points, seed), None, "median")
        if settings.length_scale != "learned":
            return cls(float(settings.length_scale), None, "given")
        child = child_seed(seed, "length_scale")
        labelled = len(clustered.names) > 1
        codes = clustered.codes if labelled else np.minimum(clustered.clusters, _CLUSTERS)
        found = learn_length_scale(
            clustered.matrix, np.eye(codes.max() + 1)[codes], settings.kernel, child, settings.ard
        )
        what = "labels" if labelled else "clusters"
        notes = [f"the length scale {found.length_scale:.4g} is learned from the {what}"]
        if not found.converged:
            notes = [
                f"the {what} do not settle a length scale: the search ended at {found.length_scale:.4g}. The median "
                f"distance is {median_distance(candidates.points, seed):.4g}; length_scale='median' takes that"
            ]
        return cls(found.length_scale, found.length_scales, "learned", notes)

    def kernel(self, name: str) -> gpytorch.kernels.Kernel:
        value = self.value if self.values is None else self.values
        assert value is not None
        return make_kernel(name, value)


def _labels(
    settings: Select, clustered: ClusteredRecords, candidates: Candidates, picks: Picks, wanted: np.ndarray | None
) -> tuple[list[str | None], list[str]]:
    """Return the label that each selection is written for, and what to say of it; None where there are no labels."""
    if wanted is None:
        return [None] * len(picks.indices), []
    if candidates.groups is not None:
        return [clustered.names[code] for code in candidates.groups[picks.indices].tolist()], []
    if not len(picks.indices):
        return [], []
    if len(picks.indices) < wanted.sum():  # it stopped before the budget
        wanted = quotas(len(picks.indices), wanted, 0)
    labels = assigned_labels(clustered, picks.indices, len(candidates.points), wanted, settings.demonstrations)
    plain = settings.label_shares == "proportional" and settings.min_per_label <= 1
    return labels, [] if plain else missed_shares(clustered.names, wanted, labels)


@dataclass(frozen=True)
class _Log:
    """Makes the rows of `selections`."""

    context: Context
    run_id: str
    clusters: Run
    number: int
    settings: Select
    scale: _Scale
    clustered: ClusteredRecords
    candidates: Candidates
    picks: Picks
    gap: np.ndarray | None
    shown_before: np.ndarray

    def rows(self, labels: Sequence[str | None]) -> list[dict[str, Any]]:
        """Return the rows, with the demonstrations of each."""
        picks, candidates, settings = self.picks, self.candidates, self.settings
        last = len(labels) - 1
        return [
            {
                "run_id": self.run_id,
                "step": step,
                "selection_id": ids.digest(["selection/1", self.run_id, step]),
                "round": self.number,
                "cluster_run_id": self.clusters.run_id,
                "cluster_id": int(candidates.clusters[unit]),
                "label": labels[step],
                "variance_before": float(picks.variance_before[step]),
                "variance_after": float(picks.variance_after[step]),
                "score": float(picks.score[step]),
                "demonstrations": self._demonstrations(step, unit, labels[step]),
                "kernel": settings.kernel,
                "length_scale": self.scale.value,
                "noise": settings.noise,
                "stop_reason": picks.stop_reason if step == last else None,
                "unit": settings.unit,
                "record_id": None
                if candidates.rows is None
                else self.clustered.frame["id"][int(candidates.rows[unit])],
                "mass": float(candidates.mass[unit]),
                "gap": None if self.gap is None else float(self.gap[unit]),
                "length_scale_from": self.scale.source,
                "length_scales": None if self.scale.values is None else self.scale.values.tolist(),
                "shown_by": settings.show,
                "uninformative": not picks.informative,
                "seconds": float(picks.seconds[step]),
            }
            for step, unit in enumerate(picks.indices.tolist())
        ]

    def _demonstrations(self, step: int, unit: int, label: str | None) -> list[str]:
        """Return the ids of the records to show: around the pick, in its cluster, of one label."""
        clustered, count, point = self.clustered, self.settings.demonstrations, self.candidates.points[unit]
        able = (
            np.ones(len(clustered.codes), dtype=bool)
            if label is None
            else clustered.codes == clustered.names.index(label)
        )
        # The same prompt again would bring the same text again.
        fresh = able & ~self.shown_before
        able = fresh if fresh.sum() >= count else able
        inside = np.flatnonzero((clustered.clusters == self.candidates.clusters[unit]) & able)
        if not len(inside):
            inside = nearest_rows(clustered.matrix, able, point, count)
        if self.candidates.rows is not None and self.settings.show != "random" and len(inside) > _NEIGHBOURHOOD * count:
            # A record is shown with its neighbours, not with what is far from it in its cluster.
            near = clustered.matrix[inside] - point
            order = np.argsort(np.einsum("nd,nd->n", near, near), kind="stable")
            inside = np.sort(inside[order[: _NEIGHBOURHOOD * count]])
        seed = child_seed(self.context.config.seed, "demonstrations", self.number, step)
        reach, every = 2 * count, int(able.sum())
        while True:
            chosen = choose_demonstrations(clustered.matrix[inside], point, count, self.settings.show, seed)
            if len(chosen) == count or len(inside) >= every:
                return [clustered.frame["id"][int(row)] for row in inside[chosen]]
            # Too few there that are not near-duplicates: the nearest ones beyond.
            inside = nearest_rows(clustered.matrix, able, point, reach)
            reach *= 4


def _uninformative(scale: _Scale, points: np.ndarray, settings: Select, seed: int) -> str:
    said = "the kernel" if scale.value is None else f"the length scale {scale.value:.4g}"
    unit = "clusters" if settings.unit != RECORD else "records"
    return (
        f"{said} is so short that all {unit} are equally uncertain: the picks are in the order of their numbers. The "
        f"median distance is {median_distance(points, seed):.4g}; a length scale of that tells them apart."
    )
