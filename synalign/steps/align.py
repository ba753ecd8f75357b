"""align: one sampling weight for each synthetic record, learned label by label, so that the weighted synthetic records
match the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from synalign.config import override
from synalign.errors import NotReadyError, UsageError
from synalign.ids import child_seed
from synalign.numerics.alignment import (
    Distances,
    Fit,
    Samples,
    align_stratum,
    align_whole,
    distances,
    effective_size,
)
from synalign.numerics.features import RandomFeatures
from synalign.numerics.kernels import median_distance
from synalign.steps import embed as embedding
from synalign.steps.cluster import assign_new
from synalign.steps.context import Context, Outcome, finish, reuse
from synalign.steps.reading import record_runs, records, require_real, vectors
from synalign.store.journal import Clock, Plan
from synalign.store.lake import is_in
from synalign.store.schemas import ORIGINS, REAL, SYNTHETIC, TABLES

#: The stratum that stands for all records together.
ALL = "*"
#: Below this share of effective records the two sets hardly overlap.
LOW_OVERLAP = 0.1


@dataclass(frozen=True)
class _Side:
    """Records of one side, with one vector each. rows are ordered by id."""

    frame: pl.DataFrame
    matrix: np.ndarray

    def stratum(self, label: str | None) -> _Side:
        """Return the records of one label; all of them for ALL."""
        if label == ALL:
            return self
        mask = self.frame.select(pl.col("label").eq_missing(pl.lit(label, pl.String))).to_series()
        return _Side(self.frame.filter(mask), self.matrix[mask.to_numpy()])

    @property
    def multiplicity(self) -> np.ndarray:
        """How often each record counts, float64 [n]."""
        return self.frame["multiplicity"].to_numpy().astype(np.float64)


def align(
    context: Context,
    *,
    strength: float | None = None,
    features: int | None = None,
    by_label: bool | None = None,
    weight_set: str | None = None,
    embedder: str | None = None,
) -> Outcome:
    """Learn the weights of all synthetic records that are not excluded. They become the current ones.

    Raises:
        NotReadyError: without real or synthetic records.
        UsageError: if no label occurs on both sides.
    """
    given = {"strength": strength, "features": features, "by_label": by_label, "weight_set": weight_set}
    settings = override(context.config.align, given)
    real = require_real(context)
    synthetic = records(context, SYNTHETIC, split="train")
    if not synthetic.height:
        if records(context, SYNTHETIC, with_excluded=True).height:
            raise NotReadyError(
                "All synthetic records are excluded, or none is in the train split. Take some back: ws.include('true') "
                "('synalign include DIR true')."
            )
        raise NotReadyError(
            "There are no synthetic records to weight. Generate some (ws.select(), ws.reason(), ws.generate()), or "
            "ingest text that another generator wrote: ws.ingest('file.jsonl', synthetic=True)."
        )
    has_labels = [frame["label"].null_count() < frame.height for frame in (real, synthetic)]
    match_labels = all(has_labels) if settings.by_label is None else settings.by_label
    strata, notes = _strata(real, synthetic) if match_labels else ([ALL], [])
    if settings.by_label is None and any(has_labels) and not all(has_labels):
        bare = SYNTHETIC if has_labels[0] else REAL
        notes.append(
            f"the {bare} records have no labels, so labels are not matched; ingest them with label=... (--label)"
        )
    clusters = context.journal.current("cluster")
    if clusters is not None:
        assign_new(context, clusters)
    chosen = embedding.resolve(context, embedder, synthetic_fit=True)
    clock = Clock()
    sources = [run.run_id for origin in ORIGINS for run in record_runs(context, origin)]
    verdicts = [run.run_id for run in context.journal.runs("exclude")]
    parameters = settings.model_dump() | {"by_label": match_labels, "embedder": chosen.name}
    plan = Plan("align", parameters, [chosen.run_id, *sources, *verdicts], context.config.seed)
    done = context.journal.get(plan.run_id)
    if done is not None:
        return reuse(context, done)
    context.journal.sweep(("weights", "alignments"))
    sides = {
        "real": _Side(real, vectors(context, chosen.name, REAL, real["id"])),
        "synthetic": _Side(synthetic, vectors(context, chosen.name, SYNTHETIC, synthetic["id"])),
        "test": _test_side(context, chosen.name),
    }
    seed = child_seed(context.config.seed, "align")
    bandwidth = median_distance(sides["real"].matrix, seed)
    drawn = RandomFeatures.draw(sides["real"].matrix.shape[1], settings.features, bandwidth, seed)
    common = {
        "run_id": plan.run_id,
        "weight_set": settings.weight_set,
        "embedder": chosen.name,
        "kernel": "rbf",
        "bandwidth": drawn.bandwidth,
        "features": drawn.size,
        "seed": drawn.seed,
        "strength": settings.strength,
    }
    weighted, rows = _fit_all(context, drawn, sides, strata, settings.strength)
    context.lake.insert("weights", _weight_rows(plan.run_id, settings.weight_set, weighted))
    context.lake.insert(
        "alignments", pa.Table.from_pylist([common | row for row in rows], schema=TABLES["alignments"].schema)
    )
    whole = rows[-1]
    counts = {
        "records": synthetic.height,
        "strata": len(strata),
        "weight_set": settings.weight_set,
        "mmd2_before": whole["mmd2_before"],
        "mmd2_after": whole["mmd2_after"],
        "mmd2_heldout_before": whole["mmd2_heldout_before"],
        "mmd2_heldout_after": whole["mmd2_heldout_after"],
        "mmd2_floor": whole["mmd2_floor"],
        "effective_share": whole["effective_share"],
    }
    notes += _warnings(rows) + _embedded_model_note(context, weighted)
    return finish(context, plan, clock, counts, notes, ("real", "synthetic", "weights", "alignments"))


def _strata(real: pl.DataFrame, synthetic: pl.DataFrame) -> tuple[list[str | None], list[str]]:
    """Return the labels that both sides have, and what to say of the others."""
    here, there = set(real["label"].to_list()), set(synthetic["label"].to_list())
    both: list[str | None] = sorted(here & there, key=lambda name: (name is None, name or ""))
    if not both:
        raise UsageError(
            f"No label occurs on both sides: real has {_names(here)}, synthetic has {_names(there)}. Give the "
            "synthetic records the real labels, or align without them: by_label=False (--no-by-label)."
        )
    notes = []
    if here - there:
        notes.append(
            f"no synthetic record has the label {_names(here - there)}: the other labels keep the real proportions "
            "among themselves. Generate some for it"
        )
    if there - here:
        count = synthetic.filter(pl.col("label").is_in(list(there - here), nulls_equal=True)).height
        notes.append(
            f"{count} synthetic records have the label {_names(there - here)}, which no real one has: no weight"
        )
    return both, notes


def _names(labels: set[str | None]) -> str:
    shown = sorted("(none)" if name is None else repr(name) for name in labels)
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def _test_side(context: Context, embedder: str) -> _Side:
    test = records(context, REAL, split="test")
    return _Side(test, vectors(context, embedder, REAL, test["id"]))


def _fit_all(
    context: Context,
    drawn: RandomFeatures,
    sides: dict[str, _Side],
    strata: Sequence[str | None],
    strength: float,
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Return id, label and weight of each record, and the rows of `alignments`: each stratum, then all together."""
    real, synthetic = sides["real"], sides["synthetic"]
    shares = _shares(real.frame, strata)
    fits: list[Fit] = []
    parts: list[pl.DataFrame] = []
    rows: list[dict[str, Any]] = []
    for number, (label, share) in enumerate(zip(strata, shares.tolist(), strict=True)):
        context.progress("aligning", number, len(strata))
        inside = {name: side.stratum(label) for name, side in sides.items()}
        fit = align_stratum(drawn, _samples(**inside), strength)
        frame = inside["synthetic"].frame
        parts.append(frame.select("id", "label").with_columns(pl.Series("weight", fit.solution.weights) * share))
        fits.append(fit)
        rows.append(
            _distance_columns(distances(fit.means))
            | {
                "stratum": "(none)" if label is None else label,
                "real_records": inside["real"].frame.height,
                "synthetic_records": frame.height,
                "share": share,
                "effective_size": fit.solution.effective_size,
                "effective_share": fit.solution.effective_size / frame.height,
                "gap": fit.solution.relative_gap,
                "iterations": fit.solution.iterations,
                "converged": fit.solution.converged,
                "dual": fit.solution.dual.tolist(),
            }
        )
    context.progress("aligning", len(strata), len(strata))
    weighted = pl.concat(parts).sort("id")
    if list(strata) != [ALL]:
        whole = align_whole(drawn, _samples(**sides), fits, shares)
        size = effective_size(weighted["weight"].to_numpy())
        rows.append(
            _distance_columns(distances(whole))
            | {
                "stratum": ALL,
                "real_records": real.frame.height,
                "synthetic_records": synthetic.frame.height,
                "share": 1.0,
                "effective_size": size,
                "effective_share": size / synthetic.frame.height,
                "gap": max(row["gap"] for row in rows),
                "iterations": sum(row["iterations"] for row in rows),
                "converged": all(row["converged"] for row in rows),
                "dual": None,
            }
        )
    return weighted, rows


def _shares(real: pl.DataFrame, strata: Sequence[str | None]) -> np.ndarray:
    """Return the share of each stratum among the real records of all of them, by multiplicity, float64 [L]."""
    if list(strata) == [ALL]:
        return np.ones(1)
    order = pl.DataFrame({"label": strata}, schema={"label": pl.String})
    counts = real.group_by("label").agg(pl.col("multiplicity").sum())
    found = order.join(counts, on="label", how="left", nulls_equal=True, maintain_order="left")
    return found.select(pl.col("multiplicity") / pl.col("multiplicity").sum()).to_series().to_numpy()


def _samples(real: _Side, synthetic: _Side, test: _Side) -> Samples:
    """Return the arrays of three sides. A real record is in the first half by the hash of its id, in every run."""
    halves = np.array([sha256(f"half/1:{name}".encode()).digest()[0] < 128 for name in real.frame["id"]], dtype=bool)
    return Samples(
        real.matrix,
        real.multiplicity,
        halves,
        synthetic.matrix,
        synthetic.multiplicity,
        test.matrix,
        test.multiplicity,
    )


def _weight_rows(run_id: str, weight_set: str, weighted: pl.DataFrame) -> pa.Table:
    named = weighted.with_columns(pl.lit(run_id).alias("run_id"), pl.lit(weight_set).alias("weight_set"))
    return named.select(TABLES["weights"].schema.names).to_arrow()


def _distance_columns(found: Distances) -> dict[str, float | None]:
    return {
        "mmd2_before": found.before,
        "mmd2_after": found.after,
        "mmd2_heldout_before": found.heldout_before,
        "mmd2_heldout_after": found.heldout_after,
        "mmd2_floor": found.floor,
        "mmd2_test_before": found.test_before,
        "mmd2_test_after": found.test_after,
    }


def _warnings(rows: Sequence[dict[str, Any]]) -> list[str]:
    notes = []
    low = [row["stratum"] for row in rows if row["effective_share"] < LOW_OVERLAP]
    if low:
        notes.append(
            f"the effective sample size is below {LOW_OVERLAP:.0%} of the records for {', '.join(low)}: the two sets "
            "hardly overlap. Generate more where cluster_coverage (which needs clusters) shows real records and "
            "little weight, or give a larger strength, which pulls less"
        )
    slow = [row["stratum"] for row in rows if not row["converged"]]
    if slow:
        notes.append(
            f"the weights for {', '.join(slow)} are not fully converged (their relative gap is in alignments): give a "
            "larger strength"
        )
    whole = rows[-1]
    before, after = whole["mmd2_heldout_before"], whole["mmd2_heldout_after"]
    if before is not None and after is not None and after > before:
        notes.append(
            f"weighting moved away from held-out real records (MMD^2 {before:.3g} before, {after:.3g} after): give "
            "a larger strength, which pulls less, or bring more real records"
        )
    return notes


def _embedded_model_note(context: Context, weighted: pl.DataFrame) -> list[str]:
    """Say how much of the weight text of the embedded model has, which recombines real text and so matches it well."""
    calls = context.lake.read("calls", ["call_id"], "model = 'builtin/ngram'")["call_id"].to_pylist()
    written = context.lake.read(SYNTHETIC, ["id"], is_in("call_id", calls))["id"].to_pylist()
    ours = weighted.filter(pl.col("id").is_in(written))
    if ours.height in (0, weighted.height):  # where it is all there is, `generate` has said so
        return []
    return [
        f"{ours.height} of {weighted.height} records, with {ours['weight'].sum():.0%} of the weight, are text of "
        'builtin/ngram, which is not for training. To take them out: synalign exclude DIR "call_id in (select call_id '
        "from calls where model = 'builtin/ngram')\""
    ]
