"""align: one sampling weight for each synthetic record, learned label by label, so that the weighted synthetic records
match the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from synalign.config import AlignRequest, override
from synalign.ids import child_seed
from synalign.numerics.core.blocks import require_device
from synalign.numerics.core.label_quality import Quality
from synalign.steps.alignment.inputs import (
    Side,
    base_measure,
    find_strata,
    given_shares,
    label_names,
    read_frames,
    read_sides,
)
from synalign.steps.alignment.kernel import choose_kernel
from synalign.steps.alignment.measure import measure
from synalign.steps.alignment.notes import embedded_model_note, warnings
from synalign.steps.alignment.strength import curve_summary, describe, settle
from synalign.steps.alignment.weighting import Weighting
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import record_runs
from synalign.steps.core.run_step import finish, reuse
from synalign.steps.embedding import embed as embedding
from synalign.steps.forget.tombstones import forget_runs
from synalign.steps.selection.cluster import assign_new
from synalign.store.lake.journal import Clock, Plan
from synalign.store.lake.schemas import ORIGINS, TABLES

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
    settings = override(context.config.align, request)
    require_device(settings.device)
    real, synthetic = read_frames(context, settings)
    strata = find_strata(real, synthetic, settings)
    clusters = context.journal.current("cluster")
    if clusters is not None:
        assign_new(context, clusters)
    chosen = embedding.resolve(context, request.embedder, synthetic_fit=True)
    clock = Clock()
    # The device is no part of a run's name: it decides where the same numbers are computed.
    parameters = settings.model_dump(mode="json", exclude={"device"})
    parameters |= {"by_label": "label" in strata.columns, "embedder": chosen.name}
    plan = Plan("align", parameters, align_inputs(context, chosen.run_id), context.config.seed, version=ALIGN_VERSION)
    done = context.journal.get(plan.run_id)
    if done is not None:
        outcome = reuse(context, done, clock)
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
    work = Weighting.of(context, settings, drawn, sides, strata, candidate, base, shares, seed)
    fitted = work.fit()
    weighted, rows = fitted.weighted, fitted.rows
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
    if work.belief.quality is not None:
        write_quality(context, plan.run_id, sides, work.belief.quality)
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
    """Return the runs whose records and exclusions weights depend on, and those that forgot records."""
    sources = [run.run_id for origin in ORIGINS for run in record_runs(context, origin)]
    verdicts = [run.run_id for run in context.journal.runs("exclude")]
    return [embedder_run, *sources, *verdicts, *forget_runs(context)]


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
