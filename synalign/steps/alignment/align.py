"""align: one sampling weight for each synthetic record, learned label by label, so that the weighted synthetic records
match the real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from synalign.config import AlignRequest, override
from synalign.ids import child_seed
from synalign.numerics.core.blocks import require_device
from synalign.numerics.core.label_quality import Quality
from synalign.steps.alignment.inputs import (
    AlignmentInputs,
    base_measure,
    find_strata,
    given_shares,
    read_frames,
    read_inputs,
)
from synalign.steps.alignment.kernel import EXACT, choose_kernel
from synalign.steps.alignment.measure import MeasuredArrays, measure
from synalign.steps.alignment.notes import embedded_model_note, warnings
from synalign.steps.alignment.strength import choose_strength, curve_summary, describe
from synalign.steps.alignment.weighting import Weighting
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import record_runs
from synalign.steps.core.run_step import Result, Rows, run_step
from synalign.steps.embedding import embed as embedding
from synalign.steps.forget.tombstones import forget_runs
from synalign.steps.selection.cluster import assign_new
from synalign.store.lake.journal import Clock, Plan
from synalign.store.lake.schemas import ORIGINS

#: The version of the algorithm, part of every run's name.
ALIGN_VERSION = 2


def align(context: Context, request: AlignRequest) -> Outcome:
    """Learn the weights of all synthetic records that are not excluded. They become the current ones, under the name
    `weight_set`, beside other sets. Then they are measured (`synalign.steps.alignment.measure`).

    Raises:
        NotReadyError: without real or synthetic records.
        UsageError: if no label occurs on both sides, or a column or a label that is named is not there.
        InputError: if the prior column holds what is no weight.
        NumericsError: if a vector is not finite, the device is not there, or a cap leaves no room.
    """
    clock = Clock()
    settings = override(context.config.align, request)
    require_device(settings.device)
    with clock.part("read"):
        real, synthetic = read_frames(context, settings)
    strata = find_strata(real, synthetic, settings)
    clusters = context.journal.current("cluster")
    with clock.part("embed and assign"):
        if clusters is not None:
            assign_new(context, clusters)
        chosen = embedding.resolve(context, request.embedder, synthetic_fit=True)
    # The device is no part of a run's name: it decides where the same numbers are computed.
    parameters = settings.model_dump(mode="json", exclude={"device"})
    parameters |= {"by_label": "label" in strata.columns, "embedder": chosen.name}
    plan = Plan("align", parameters, align_inputs(context, chosen.run_id), context.config.seed, version=ALIGN_VERSION)
    seed = child_seed(context.config.seed, "align")
    measured: list[MeasuredArrays] = []

    def work() -> Result:
        with clock.part("read"):
            inputs = read_inputs(context, chosen.name, real, synthetic, strata)
        shares = given_shares(settings, strata, inputs.real)
        base, notes = base_measure(inputs.synthetic, settings, seed)
        kernel = choose_kernel(settings, inputs, seed)
        with clock.part("choose the strength"):
            candidate, curve, said = choose_strength(context, settings, kernel.features, inputs, base, shares, seed)
        weighting = Weighting.of(context, settings, kernel, inputs, candidate, base, shares, seed)
        # The exact kernel has no features for other records: what is measured of it later is estimated, and so here.
        fitted = weighting.fit(with_witness=kernel.columns["kernel"] != EXACT)
        common = {
            "weight_set": settings.weight_set,
            "embedder": chosen.name,
            **kernel.columns,
            "quality": candidate.quality,
            "label_shares": candidate.shares,
            "scored_from": None,
            "drift": None,
        }
        weighted, rows, quality = fitted.weighted, fitted.rows, weighting.priors.quality
        counts = {"records": weighted.height, "strata": len(strata.names), "weight_set": settings.weight_set}
        counts |= describe(candidate) | curve_summary(curve) | headline(rows[-1])
        notes = [*strata.notes, *notes, *said, *warnings(rows, inputs, settings.min_effective_share)]
        some = inputs.with_synthetic(np.flatnonzero(inputs.synthetic.strata >= 0))
        total = weighted["weight"].sum()
        measured.append(MeasuredArrays(some, weighted["weight"].to_numpy() / total, fitted.witness))
        tables: dict[str, Rows] = {
            "weights": weighted.with_columns(weight_set=pl.lit(settings.weight_set)),
            "alignments": [common | row for row in rows],
            "label_quality": [] if quality is None else quality_rows(inputs, quality),
            "strength_curve": curve,
        }
        return Result(tables, counts, notes + embedded_model_note(context, weighted))

    outcome = run_step(context, clock, plan, work, reads=("real", "synthetic"))
    with clock.part("measure"):
        measure(context, context.journal.require(plan.run_id), measured.pop() if measured else None)
    return outcome.timed(clock)


def align_inputs(context: Context, embedder_run: str) -> list[str]:
    """Return the runs whose records and exclusions weights depend on, and those that forgot records."""
    sources = [run.run_id for origin in ORIGINS for run in record_runs(context, origin)]
    verdicts = [run.run_id for run in context.journal.runs("exclude")]
    return [embedder_run, *sources, *verdicts, *forget_runs(context)]


def headline(whole: dict[str, Any]) -> dict[str, Any]:
    """Return what an outcome says of all records together."""
    names = ("mmd2_heldout_before", "mmd2_heldout_after", "mmd2_floor", "effective_share")
    return {name: whole[name] for name in ("mmd2_before", "mmd2_after", *names)}


def quality_rows(inputs: AlignmentInputs, found: Quality) -> pl.DataFrame:
    """Return the rows of `label_quality`: what the real records say of the label of each synthetic one."""
    names = pl.Series(inputs.label_names, dtype=pl.String)
    return inputs.synthetic.frame.select("id", "label").with_columns(
        pl.Series("quality", found.probability),
        names.gather(pl.Series(found.predicted)).alias("predicted"),
        pl.Series("predicted_probability", found.predicted_probability),
    )
