"""score: weights for all synthetic records there are now, new ones too, from the dual vectors of an earlier fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from synalign.config import Align, ScoreRequest
from synalign.errors import NotReadyError, UsageError
from synalign.numerics.alignment.dual import effective_size
from synalign.numerics.alignment.dual import score as score_blocks
from synalign.numerics.alignment.stratum import Means, distances
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.features import FeatureMap
from synalign.numerics.core.label_quality import Quality, label_quality
from synalign.numerics.statistics.mmd import mmd2_features
from synalign.steps.alignment.align import (
    ALIGN_VERSION,
    align_inputs,
    headline,
    write_quality,
    write_weights,
)
from synalign.steps.alignment.inputs import (
    ALL,
    Side,
    Strata,
    base_measure,
    read_frames,
    read_side,
    read_sides,
    rows_of_strata,
    strata_columns,
)
from synalign.steps.alignment.kernel import stored_kernel
from synalign.steps.alignment.measure import measure
from synalign.steps.alignment.notes import listed
from synalign.steps.alignment.weight_sets import find_set, fitted_run, settings_of
from synalign.steps.alignment.weighting import distance_columns
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import records
from synalign.steps.core.run_step import finish, reuse
from synalign.steps.embedding import embed as embedding
from synalign.store.lake.journal import Clock, Plan, Run
from synalign.store.lake.lake import quote
from synalign.store.lake.schemas import REAL, SYNTHETIC, TABLES


def score(context: Context, request: ScoreRequest) -> Outcome:
    """Weight all synthetic records by the dual vectors of a weight set, without refitting, as a new set, which becomes
    the current one. The shares of the strata stay those of the fit, and within a stratum records that were there
    keep the ratios of their weights, unless a cap or a budget of duplicates, kept among all records, says otherwise.

    The notes say when a refit is due: when the weighted mean feature moved, or the real one, by more than the floor,
    the distance that real records have from each other.

    Raises:
        NotReadyError: without weights, or without a synthetic record that the fit would give weight.
        UsageError: if there is no such set, `into` is the name of a set that was fitted, or the set was learned with
            the exact kernel or by an earlier version.
    """
    source = find_set(context, request.weight_set)
    fitted = fitted_run(context, source)
    name = request.into or f"{fitted.parameters['weight_set']}-scored"
    taken = [run for run in context.journal.latest("align") if run.parameters["weight_set"] == name]
    if taken and "scored_from" not in taken[0].parameters:
        raise UsageError(
            f"{name!r} is the name of a set that was fitted, which stays as it is. Give another: into='...' (--into)."
        )
    clock = Clock()
    settings, embedder = settings_of(fitted)
    parameters = {"scored_from": fitted.run_id, "weight_set": name, "embedder": embedder}
    chosen = embedding.named(context, embedder)
    embedding.apply(context, chosen)
    plan = Plan("align", parameters, align_inputs(context, chosen.run_id), context.config.seed, version=ALIGN_VERSION)
    done = context.journal.get(plan.run_id)
    if done is not None:
        outcome = reuse(context, done, clock)
        measure(context, done)
        return replace(outcome, step="score")
    context.journal.sweep(("weights", "alignments", "label_quality", "strength_curve"))
    work = _Scoring.read(context, settings, embedder, fitted)
    weighted, rows, notes = work.weights()
    common = {"run_id": plan.run_id, "weight_set": name, "scored_from": fitted.run_id}
    write_weights(context, plan.run_id, name, weighted, [row | common for row in rows])
    if work.quality is not None:
        write_quality(context, plan.run_id, work.sides, work.quality)
    fresh = int((~work.known).sum())
    counts = {"records": weighted.height, "new": fresh, "weight_set": name} | headline(rows[-1])
    outcome = finish(
        context, plan, clock, counts, notes, ("real", "synthetic", "weights", "alignments", "label_quality")
    )
    run = context.journal.get(plan.run_id)
    assert run is not None
    measure(context, run)
    return replace(outcome, step="score")


@dataclass(frozen=True)
class _Scoring:
    """What records are scored with. stored: rows of `alignments` of the fit, by stratum. sides: real records that the
    fit saw, synthetic records there are now. known: bool [m], which of those had weights in the fit. fitted: the
    synthetic records of the fit, also those excluded since, with fitted_weights, float64. now: all real records there
    are now. quality: of the labels, None where the fit left it out."""

    settings: Align
    stored: dict[str, dict[str, Any]]
    strata: Strata
    sides: dict[str, Side]
    known: np.ndarray
    fitted: Side
    fitted_weights: np.ndarray
    now: Side
    features: FeatureMap
    prior: np.ndarray
    quality: Quality | None

    @classmethod
    def read(cls, context: Context, settings: Align, embedder: str, fitted: Run) -> _Scoring:
        """Read the records and the stored fit."""
        rows = context.lake.read("alignments", None, f"run_id = {quote(fitted.run_id)}").to_pylist()
        stored = {row["stratum"]: row for row in rows}
        columns = strata_columns(bool(settings.by_label), settings)
        names = [name for name in stored if name != ALL or not columns]
        strata = Strata(names, [None] * len(names), columns, [], bool(settings.by_label))
        _, synthetic = read_frames(context, settings)
        seen = [run for run in context.journal.runs("ingest") if run.run_id in set(fitted.inputs)]
        real = records(context, REAL, split="train", runs=seen, columns=settings.match)
        everything = records(context, REAL, split="train", columns=settings.match)
        sides = read_sides(context, embedder, real, synthetic, strata)
        now = read_side(context, embedder, everything, REAL, strata)
        features = stored_kernel(rows[0], sides["real"].matrix.shape[1]).features
        weights = pl.from_arrow(context.lake.read("weights", ["id", "weight"], f"run_id = {quote(fitted.run_id)}"))
        assert isinstance(weights, pl.DataFrame)
        old = records(context, SYNTHETIC, with_excluded=True, columns=settings.match).join(weights, on="id").sort("id")
        before = read_side(context, embedder, old, SYNTHETIC, strata)
        seed = rows[0]["seed"]
        prior, _ = base_measure(sides["synthetic"], settings, seed)
        found = None
        if rows[0]["quality"]:
            side, written = sides["real"], sides["synthetic"]
            found = label_quality(side.matrix, side.labels, side.multiplicity, written.matrix, written.labels, seed)
            prior = prior * found.probability
        known = synthetic["id"].is_in(old["id"].to_list()).to_numpy()
        held = old["weight"].to_numpy()
        return cls(settings, stored, strata, sides, known, before, held, now, features, prior, found)

    def weights(self) -> tuple[pl.DataFrame, list[dict[str, Any]], list[str]]:
        """Return id, label and weight of each record, rows of `alignments`, and what to say."""
        synthetic, names = self.sides["synthetic"], self.strata.names
        weights, rows = np.zeros(len(synthetic)), []
        new_mean = np.zeros(self.features.size)
        members = rows_of_strata(synthetic.strata, len(names))
        old_members = rows_of_strata(self.fitted.strata, len(names))
        there = sum(self.stored[name]["share"] for name, inside in zip(names, members, strict=True) if len(inside))
        if there <= 0:
            raise NotReadyError(
                "No synthetic record that is left has weight in this fit, so that there is nothing to score. Take some "
                "back (ws.include), or run ws.align() ('synalign align DIR') anew."
            )
        for number, (name, inside) in enumerate(zip(names, members, strict=True)):
            if not len(inside):
                continue
            row = self.stored[name]
            share = row["share"] / there
            blocks = FeatureBlocks(self.features, synthetic.matrix[inside], self.settings.device)
            part = self._tilted(blocks, row, inside)
            weights[inside] = share * part
            mean = blocks.mean(part)
            old = old_members[number]
            before = self.features.mean(self.fitted.matrix[old], self.fitted_weights[old])
            new_mean = new_mean + share * mean
            means = self._means(number, blocks.mean(synthetic.multiplicity[inside]), mean)
            rows.append(self._row(row, means, part, share, mmd2_features(mean, before)))
        if names != [ALL]:
            raw = self.features.mean(synthetic.matrix, synthetic.multiplicity)
            whole = self._means(None, raw, new_mean)
            old_mean = self.features.mean(self.fitted.matrix, self.fitted_weights)
            rows.append(self._row(self.stored[ALL], whole, weights, 1.0, mmd2_features(new_mean, old_mean)))
        everywhere = np.flatnonzero(synthetic.strata >= 0)
        frame = synthetic.frame[everywhere].select("id", "label")
        lost = [name for name, inside in zip(names, members, strict=True) if not len(inside)]
        return frame.with_columns(pl.Series("weight", weights[everywhere])), rows, self._notes(rows, lost)

    def _tilted(self, blocks: FeatureBlocks, row: dict[str, Any], inside: np.ndarray) -> np.ndarray:
        counts = self.sides["synthetic"].multiplicity[inside]
        ratio = self.settings.max_weight_ratio
        cap = None if ratio is None else ratio * counts / counts.sum()
        weights = np.exp(score_blocks(blocks, row["dual"], self.prior[inside], None, cap))
        return weights / weights.sum()

    def _means(self, stratum: int | None, raw: np.ndarray, weighted: np.ndarray) -> Means:
        def mean(side: Side) -> np.ndarray | None:
            rows = np.arange(len(side)) if stratum is None else np.flatnonzero(side.strata == stratum)
            return self.features.mean(side.matrix[rows], side.multiplicity[rows]) if len(rows) else None

        real = mean(self.sides["real"])
        assert real is not None
        return Means(real=real, raw=raw, weighted=weighted, test=mean(self.sides["test"]))

    def _row(
        self, stored: dict[str, Any], means: Means, weights: np.ndarray, share: float, drift: float
    ) -> dict[str, Any]:
        size = effective_size(weights)
        known = {name: stored[name] for name in TABLES["alignments"].schema.names}
        # Held-out figures are of a fit, and there was none; the floor is that of the real records.
        found = distance_columns(distances(means)) | {"mmd2_floor": stored["mmd2_floor"]}
        return (
            known
            | found
            | {
                "share": share,
                "synthetic_records": len(weights),
                "effective_size": size,
                "effective_share": size / len(weights),
                "drift": drift,
            }
        )

    def _notes(self, rows: list[dict[str, Any]], lost: list[str]) -> list[str]:
        notes = []
        if lost:
            notes.append(
                f"no synthetic record is left of {listed(lost)}: the others share its weight. Generate some, or take "
                "exclusions back"
            )
        unknown = int((self.now.strata < 0).sum() - (self.sides["real"].strata < 0).sum())
        if unknown > 0:
            notes.append(f"{unknown} real records are of strata that the fit did not know: run align again")
        whole = rows[-1]
        floor = whole["mmd2_floor"]
        side, now = self.sides["real"], self.now
        moved = mmd2_features(
            self.features.mean(side.matrix, side.multiplicity), self.features.mean(now.matrix, now.multiplicity)
        )
        new_real = len(now) - len(side)
        for what, drift in (("weighted synthetic", whole["drift"]), ("real", moved if new_real else 0.0)):
            if floor is not None and drift > floor:
                notes.append(
                    f"a refit is due: the mean of the {what} records moved by {drift:.3g} since the fit, and real "
                    f"records differ by {floor:.3g} among themselves (squared MMD): run align again"
                )
        idle = int((self.sides["synthetic"].strata < 0).sum())
        if idle:
            notes.append(f"{idle} synthetic records are of strata that the fit did not know: no weight until align")
        return notes
