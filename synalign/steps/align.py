"""align: one sampling weight for each synthetic record, learned label by label, so that the weighted synthetic records
match the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from synalign.config import override
from synalign.ids import child_seed
from synalign.numerics.alignment import (
    Distances,
    Fit,
    Pull,
    Samples,
    align_stratum,
    align_whole,
    distances,
)
from synalign.numerics.blocks import require_device
from synalign.numerics.dual import effective_size
from synalign.numerics.quality import Quality, label_quality
from synalign.numerics.strength import Candidate
from synalign.steps import embed as embedding
from synalign.steps.cluster import assign_new
from synalign.steps.context import Context, Outcome, finish, reuse
from synalign.steps.kernel import Kernel, choose_kernel
from synalign.steps.measure import measure
from synalign.steps.notes import embedded_model_note, warnings
from synalign.steps.reading import record_runs
from synalign.steps.sides import (
    ALL,
    Side,
    Strata,
    base_measure,
    find_strata,
    given_shares,
    label_names,
    read_frames,
    read_sides,
    rows_of_strata,
)
from synalign.steps.strength import curve_summary, describe, settle
from synalign.store.journal import Clock, Plan
from synalign.store.schemas import ORIGINS, TABLES

#: The version of the algorithm, part of every run's name.
ALIGN_VERSION = 2


def align(
    context: Context,
    *,
    strength: float | str | None = None,
    features: int | str | None = None,
    kernel: str | None = None,
    bandwidths: Sequence[float] | float | None = None,
    by_label: bool | None = None,
    match: Sequence[str] | str | None = None,
    quality: bool | None = None,
    label_shares: str | dict[str, float] | None = None,
    max_weight_ratio: float | None = None,
    min_effective_share: float | None = None,
    duplicates: float | None = None,
    prior: str | None = None,
    weight_set: str | None = None,
    embedder: str | None = None,
    device: str | None = None,
) -> Outcome:
    """Learn the weights of all synthetic records that are not excluded. They become the current ones, under the name
    `weight_set`, beside other sets. Then they are measured (`synalign.steps.measure`).

    What is left out is taken from the configuration, section `align`, where each setting is described.

    Raises:
        NotReadyError: without real or synthetic records.
        UsageError: if no label occurs on both sides, or a column or a label that is named is not there.
        InputError: if the prior column holds what is no weight.
        NumericsError: if a vector is not finite, the device is not there, or a cap leaves no room.
    """
    given = {
        "strength": strength,
        "features": features,
        "kernel": kernel,
        "bandwidths": (bandwidths,) if isinstance(bandwidths, int | float) else bandwidths,
        "by_label": by_label,
        "match": (match,) if isinstance(match, str) else match,
        "quality": quality,
        "label_shares": {str(name): share for name, share in label_shares.items()}
        if isinstance(label_shares, dict)
        else label_shares,
        "max_weight_ratio": max_weight_ratio,
        "min_effective_share": min_effective_share,
        "duplicates": duplicates,
        "prior": prior,
        "weight_set": weight_set,
        "device": device,
    }
    settings = override(context.config.align, given)
    require_device(settings.device)
    real, synthetic = read_frames(context, settings)
    strata = find_strata(real, synthetic, settings)
    clusters = context.journal.current("cluster")
    if clusters is not None:
        assign_new(context, clusters)
    chosen = embedding.resolve(context, embedder, synthetic_fit=True)
    clock = Clock()
    # The device is no part of a run's name: it decides where the same numbers are computed.
    parameters = settings.model_dump(mode="json", exclude={"device"})
    parameters |= {"by_label": "label" in strata.columns, "embedder": chosen.name}
    plan = Plan("align", parameters, align_inputs(context, chosen.run_id), context.config.seed, version=ALIGN_VERSION)
    done = context.journal.get(plan.run_id)
    if done is not None:
        outcome = reuse(context, done)
        measure(context, done)
        return outcome
    context.journal.sweep(("weights", "alignments", "label_quality", "strength_curve"))
    sides = read_sides(context, chosen.name, real, synthetic, strata)
    seed = child_seed(context.config.seed, "align")
    shares = given_shares(settings, strata, sides["real"])
    base, notes = base_measure(sides["synthetic"], settings, seed)
    notes = [*strata.notes, *notes]
    drawn = choose_kernel(settings, sides, seed)
    candidate, curve, said = settle(context, settings, drawn.features, strata, sides, base, shares, seed)
    notes += said
    pull = Pull(candidate.eps, settings.max_weight_ratio, settings.min_effective_share, settings.device)
    belief = _Belief.of(sides, base, candidate.quality, seed)
    work = _Work(context, drawn, sides, strata, pull, candidate, belief, shares)
    weighted, rows = work.fit()
    common = {
        "run_id": plan.run_id,
        "weight_set": settings.weight_set,
        "embedder": chosen.name,
        **drawn.columns,
        "quality": candidate.quality,
        "label_shares": candidate.shares,
        "scored_from": None,
        "drift": None,
    }
    write_weights(context, plan.run_id, settings.weight_set, weighted, [common | row for row in rows])
    if belief.quality is not None:
        write_quality(context, plan.run_id, sides, belief.quality)
    context.lake.insert(
        "strength_curve",
        pa.Table.from_pylist([{"run_id": plan.run_id} | row for row in curve], TABLES["strength_curve"].schema),
    )
    counts = {"records": weighted.height, "strata": len(strata.names), "weight_set": settings.weight_set}
    counts |= describe(candidate) | curve_summary(curve) | headline(rows[-1])
    notes += warnings(rows, sides, strata, settings.min_effective_share) + embedded_model_note(context, weighted)
    tables = ("real", "synthetic", "weights", "alignments", "label_quality", "strength_curve")
    outcome = finish(context, plan, clock, counts, notes, tables)
    run = context.journal.get(plan.run_id)
    assert run is not None
    measure(context, run)
    return outcome


def align_inputs(context: Context, embedder_run: str) -> list[str]:
    """Return the runs whose records and exclusions weights depend on."""
    sources = [run.run_id for origin in ORIGINS for run in record_runs(context, origin)]
    return [embedder_run, *sources, *(run.run_id for run in context.journal.runs("exclude"))]


def write_weights(
    context: Context, run_id: str, weight_set: str, weighted: pl.DataFrame, rows: Sequence[dict[str, Any]]
) -> None:
    """Write the weights of a run and the rows that say how they came about."""
    named = weighted.with_columns(pl.lit(run_id).alias("run_id"), pl.lit(weight_set).alias("weight_set"))
    context.lake.insert("weights", named.select(TABLES["weights"].schema.names).to_arrow())
    context.lake.insert("alignments", pa.Table.from_pylist(list(rows), schema=TABLES["alignments"].schema))


def headline(whole: dict[str, Any]) -> dict[str, Any]:
    """Return what an outcome says of all records together."""
    names = ("mmd2_heldout_before", "mmd2_heldout_after", "mmd2_floor", "effective_share")
    return {name: whole[name] for name in ("mmd2_before", "mmd2_after", *names)}


@dataclass(frozen=True)
class _Belief:
    """The base measure of all synthetic records, fitted to all real records and to their first half, and the label
    quality in it, None where it is left out."""

    full: np.ndarray
    half: np.ndarray
    quality: Quality | None

    @classmethod
    def of(cls, sides: dict[str, Side], base: np.ndarray, wanted: bool, seed: int) -> _Belief:
        """Multiply the label quality into the base measure, if it is wanted."""
        if not wanted:
            return cls(base, base, None)
        real, synthetic = sides["real"], sides["synthetic"]

        def believed(rows: np.ndarray) -> Quality:
            weights = real.multiplicity[rows]
            return label_quality(
                real.matrix[rows], real.labels[rows], weights, synthetic.matrix, synthetic.labels, seed
            )

        halves = real.first_half
        full = believed(np.arange(len(real)))
        half = believed(np.flatnonzero(halves)) if halves.any() else full
        return cls(base * full.probability, base * half.probability, full)


@dataclass(frozen=True)
class _Work:
    """What the weights of all strata are fitted with."""

    context: Context
    drawn: Kernel
    sides: dict[str, Side]
    strata: Strata
    pull: Pull
    candidate: Candidate
    belief: _Belief
    given: np.ndarray | None

    def fit(self) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
        """Return id, label and weight of each record, and rows of `alignments`: each stratum, then all together."""
        names, features = self.strata.names, self.drawn.features
        shares = self._shares()
        members = {name: rows_of_strata(side.strata, len(names)) for name, side in self.sides.items()}
        weights = np.zeros(len(self.sides["synthetic"]))
        fits: list[Fit] = []
        rows: list[dict[str, Any]] = []
        for number, (name, share) in enumerate(zip(names, shares.tolist(), strict=True)):
            self.context.progress("aligning", number, len(names))
            inside = {side: found[number] for side, found in members.items()}
            fit = align_stratum(features, self._samples(inside), self.pull)
            weights[inside["synthetic"]] = share * fit.solution.weights
            fits.append(fit)
            rows.append(_fit_columns(fit, len(inside["real"]), share) | {"stratum": name})
        self.context.progress("aligning", len(names), len(names))
        everywhere = np.flatnonzero(self.sides["synthetic"].strata >= 0)
        if names != [ALL]:
            everything = {side: np.arange(len(found)) for side, found in self.sides.items()}
            whole = align_whole(features, self._samples(everything), fits, shares, self.pull.device)
            rows.append(_whole_columns(rows, distances(whole), weights, self.sides))
        frame = self.sides["synthetic"].frame[everywhere].select("id", "label")
        return frame.with_columns(pl.Series("weight", weights[everywhere])), rows

    def _shares(self) -> np.ndarray:
        """Return the share of each stratum in the weights, float64 [L]."""
        count, kind = len(self.strata.names), self.candidate.shares
        if self.given is not None:
            return self.given
        side = self.sides["real" if kind == "real" else "synthetic"]
        amounts = side.multiplicity if kind == "real" else self.belief.full
        inside = side.strata >= 0
        totals = np.bincount(side.strata[inside], amounts[inside], minlength=count)
        return totals / totals.sum()

    def _samples(self, rows: dict[str, np.ndarray]) -> Samples:
        real, synthetic, test = (self.sides[name] for name in ("real", "synthetic", "test"))
        inside = rows["synthetic"]
        return Samples(
            real.matrix[rows["real"]],
            real.multiplicity[rows["real"]],
            real.first_half[rows["real"]],
            synthetic.matrix[inside],
            synthetic.multiplicity[inside],
            self.belief.full[inside],
            self.belief.half[inside],
            test.matrix[rows["test"]],
            test.multiplicity[rows["test"]],
        )


def _fit_columns(fit: Fit, real_records: int, share: float) -> dict[str, Any]:
    solution = fit.solution
    return distance_columns(distances(fit.means)) | {
        "strength": solution.eps,
        "real_records": real_records,
        "synthetic_records": len(solution.weights),
        "share": share,
        "effective_size": solution.effective_size,
        "effective_share": solution.effective_size / len(solution.weights),
        "gap": solution.relative_gap,
        "iterations": solution.iterations,
        "converged": solution.converged,
        "log_normaliser": solution.log_normaliser,
        "dual": solution.dual.tolist(),
    }


def _whole_columns(
    rows: Sequence[dict[str, Any]], found: Distances, weights: np.ndarray, sides: dict[str, Side]
) -> dict[str, Any]:
    size = effective_size(weights)
    return distance_columns(found) | {
        "stratum": ALL,
        "strength": min(row["strength"] for row in rows),
        "real_records": len(sides["real"]),
        "synthetic_records": len(sides["synthetic"]),
        "share": 1.0,
        "effective_size": size,
        "effective_share": size / len(sides["synthetic"]),
        "gap": max(row["gap"] for row in rows),
        "iterations": sum(row["iterations"] for row in rows),
        "converged": all(row["converged"] for row in rows),
        "log_normaliser": None,
        "dual": None,
    }


def distance_columns(found: Distances) -> dict[str, float | None]:
    """Return distances under the names of their columns in `alignments`."""
    return {
        "mmd2_before": found.before,
        "mmd2_after": found.after,
        "mmd2_heldout_before": found.heldout_before,
        "mmd2_heldout_after": found.heldout_after,
        "mmd2_floor": found.floor,
        "mmd2_test_before": found.test_before,
        "mmd2_test_after": found.test_after,
    }


def write_quality(context: Context, run_id: str, sides: dict[str, Side], found: Quality) -> None:
    """Write what the real records say of the label of each synthetic one."""
    names = pl.Series(label_names(sides), dtype=pl.String)
    frame = (
        sides["synthetic"]
        .frame.select("id", "label")
        .with_columns(
            pl.lit(run_id).alias("run_id"),
            pl.Series("quality", found.probability),
            names.gather(pl.Series(found.predicted)).alias("predicted"),
            pl.Series("predicted_probability", found.predicted_probability),
        )
    )
    context.lake.insert("label_quality", frame.select(TABLES["label_quality"].schema.names).to_arrow())
