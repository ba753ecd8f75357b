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
from synalign.steps.alignment.align import ALIGN_VERSION, align_inputs, headline, quality_rows
from synalign.steps.alignment.inputs import (
    ALL,
    AlignmentInputs,
    RecordArrays,
    Strata,
    base_measure,
    read_arrays,
    read_frames,
    read_inputs,
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
from synalign.steps.core.run_step import Result, Rows, run_step
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

    def work() -> Result:
        with clock.part("read"):
            scoring = _Scoring.read(context, settings, embedder, fitted)
        weighted, rows, notes = scoring.weights()
        common = {"weight_set": name, "scored_from": fitted.run_id}
        tables: dict[str, Rows] = {
            "weights": weighted.with_columns(weight_set=pl.lit(name)),
            "alignments": [row | common for row in rows],
            "label_quality": [] if scoring.quality is None else quality_rows(scoring.inputs, scoring.quality),
        }
        fresh = int((~scoring.known).sum())
        counts = {"records": weighted.height, "new": fresh, "weight_set": name} | headline(rows[-1])
        return Result(tables, counts, notes)

    outcome = run_step(context, clock, plan, work, reads=("real", "synthetic"))
    with clock.part("measure"):
        measure(context, context.journal.require(plan.run_id))
    return replace(outcome, step="score").timed(clock)


@dataclass(frozen=True)
class _Scoring:
    """What records are scored with. stored: rows of `alignments` of the fit, by stratum. inputs: real records that the
    fit saw, synthetic records there are now. known: bool [m], which of those had weights in the fit. fitted: the
    synthetic records of the fit, also those excluded since, with fitted_weights, float64. now: all real records there
    are now. quality: of the labels, None where the fit left it out."""

    settings: Align
    stored: dict[str, dict[str, Any]]
    inputs: AlignmentInputs
    known: np.ndarray
    fitted: RecordArrays
    fitted_weights: np.ndarray
    now: RecordArrays
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
        inputs = read_inputs(context, embedder, real, synthetic, strata)
        now = read_arrays(context, embedder, everything, REAL, strata)
        features = stored_kernel(rows[0], inputs.real.matrix.shape[1]).features
        weights = pl.from_arrow(context.lake.read("weights", ["id", "weight"], f"run_id = {quote(fitted.run_id)}"))
        assert isinstance(weights, pl.DataFrame)
        old = records(context, SYNTHETIC, with_excluded=True, columns=settings.match).join(weights, on="id").sort("id")
        before = read_arrays(context, embedder, old, SYNTHETIC, strata)
        seed = rows[0]["seed"]
        prior, _ = base_measure(inputs.synthetic, settings, seed)
        found = None
        if rows[0]["quality"]:
            known_real, written = inputs.real, inputs.synthetic
            found = label_quality(
                known_real.matrix, known_real.labels, known_real.multiplicity, written.matrix, written.labels, seed
            )
            prior = prior * found.probability
        known = synthetic["id"].is_in(old["id"].to_list()).to_numpy()
        held = old["weight"].to_numpy()
        return cls(settings, stored, inputs, known, before, held, now, features, prior, found)

    def weights(self) -> tuple[pl.DataFrame, list[dict[str, Any]], list[str]]:
        """Return id, label and weight of each record, rows of `alignments`, and what to say."""
        synthetic, names = self.inputs.synthetic, self.inputs.strata.names
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
        counts = self.inputs.synthetic.multiplicity[inside]
        ratio = self.settings.max_weight_ratio
        cap = None if ratio is None else ratio * counts / counts.sum()
        weights = np.exp(score_blocks(blocks, row["dual"], self.prior[inside], None, cap))
        return weights / weights.sum()

    def _means(self, stratum: int | None, raw: np.ndarray, weighted: np.ndarray) -> Means:
        def mean(found: RecordArrays) -> np.ndarray | None:
            some = found if stratum is None else found.take(np.flatnonzero(found.strata == stratum))
            return self.features.mean(some.matrix, some.multiplicity) if len(some) else None

        real = mean(self.inputs.real)
        assert real is not None
        return Means(real=real, raw=raw, weighted=weighted, test=mean(self.inputs.test))

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
        unknown = int((self.now.strata < 0).sum() - (self.inputs.real.strata < 0).sum())
        if unknown > 0:
            notes.append(f"{unknown} real records are of strata that the fit did not know: run align again")
        whole = rows[-1]
        floor = whole["mmd2_floor"]
        seen, now = self.inputs.real, self.now
        moved = mmd2_features(
            self.features.mean(seen.matrix, seen.multiplicity), self.features.mean(now.matrix, now.multiplicity)
        )
        new_real = len(now) - len(seen)
        for what, drift in (("weighted synthetic", whole["drift"]), ("real", moved if new_real else 0.0)):
            if floor is not None and drift > floor:
                notes.append(
                    f"a refit is due: the mean of the {what} records moved by {drift:.3g} since the fit, and real "
                    f"records differ by {floor:.3g} among themselves (squared MMD): run align again"
                )
        idle = int((self.inputs.synthetic.strata < 0).sum())
        if idle:
            notes.append(f"{idle} synthetic records are of strata that the fit did not know: no weight until align")
        return notes
