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

from synalign.config import Align, override
from synalign.errors import NotReadyError, UsageError
from synalign.ids import child_seed
from synalign.numerics.alignment import Distances, Fit, align_stratum, distances, mixture
from synalign.numerics.features import RandomFeatures
from synalign.numerics.kernels import median_distance
from synalign.steps import embed as embedding
from synalign.steps.cluster import assign_new
from synalign.steps.context import Context, Outcome, finish, reuse
from synalign.steps.reading import record_runs, records, require_real, vectors
from synalign.store.journal import Clock, Plan
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
        raise NotReadyError(
            "There are no synthetic records to weight. Generate some (ws.select(), ws.reason(), ws.generate()), or "
            "ingest text that another generator wrote: ws.ingest('file.jsonl', synthetic=True)."
        )
    labelled = real["label"].null_count() < real.height and synthetic["label"].null_count() < synthetic.height
    match_labels = labelled if settings.by_label is None else settings.by_label
    strata, notes = _strata(real, synthetic) if match_labels else ([ALL], [])
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
    fits = []
    for number, label in enumerate(strata):
        context.progress("aligning", number, len(strata))
        fits.append(_fit(drawn, sides, label, settings.strength))
    context.progress("aligning", len(strata), len(strata))
    shares = _Shares.of(sides, strata)
    weights, rows = _rows(plan.run_id, settings, chosen.name, drawn, sides, strata, fits, shares)
    context.lake.insert("weights", weights)
    context.lake.insert("alignments", pa.Table.from_pylist(rows, schema=TABLES["alignments"].schema))
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
    notes += _warnings(rows)
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


def _fit(drawn: RandomFeatures, sides: dict[str, _Side], label: str | None, strength: float) -> Fit:
    real, synthetic, test = (sides[name].stratum(label) for name in ("real", "synthetic", "test"))
    halves = np.array([sha256(f"half/1:{name}".encode()).digest()[0] < 128 for name in real.frame["id"]], dtype=bool)
    return align_stratum(
        drawn,
        real.matrix,
        real.multiplicity,
        halves,
        synthetic.matrix,
        synthetic.multiplicity,
        strength,
        test.matrix,
        test.multiplicity,
    )


@dataclass(frozen=True)
class _Shares:
    """The share of each stratum, float64 [L], by multiplicity."""

    real: np.ndarray
    synthetic: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, sides: dict[str, _Side], strata: Sequence[str | None]) -> _Shares:
        totals = {
            name: np.array([side.stratum(label).multiplicity.sum() for label in strata]) for name, side in sides.items()
        }
        return cls(*(total / max(total.sum(), 1.0) for total in totals.values()))


def _rows(
    run_id: str,
    settings: Align,
    embedder: str,
    drawn: RandomFeatures,
    sides: dict[str, _Side],
    strata: Sequence[str | None],
    fits: Sequence[Fit],
    shares: _Shares,
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Return the rows of `weights`, and those of `alignments`: one for each stratum, then one for all."""
    common = {
        "run_id": run_id,
        "weight_set": settings.weight_set,
        "embedder": embedder,
        "kernel": "rbf",
        "bandwidth": drawn.bandwidth,
        "features": drawn.size,
        "seed": drawn.seed,
        "strength": settings.strength,
    }
    parts: list[pl.DataFrame] = []
    rows: list[dict[str, Any]] = []
    for label, fit, share in zip(strata, fits, shares.real, strict=True):
        frame = sides["synthetic"].stratum(label).frame
        parts.append(frame.select("id", "label").with_columns(pl.Series("weight", float(share) * fit.solution.weights)))
        solution = fit.solution
        rows.append(
            common
            | _distance_columns(distances(fit.means))
            | {
                "stratum": "(none)" if label is None else label,
                "real_records": sides["real"].stratum(label).frame.height,
                "synthetic_records": frame.height,
                "share": float(share),
                "effective_size": solution.effective_size,
                "effective_share": solution.effective_size / frame.height,
                "gap": solution.gap / max(solution.objective, 1e-12),
                "iterations": solution.iterations,
                "converged": solution.converged,
                "dual": solution.dual.tolist(),
            }
        )
    weighted = pl.concat(parts).sort("id")
    if strata != [ALL]:
        whole = mixture([fit.means for fit in fits], shares.real, shares.synthetic, shares.test)
        effective = 1.0 / float((weighted["weight"] ** 2).sum())
        rows.append(
            common
            | _distance_columns(distances(whole))
            | {
                "stratum": ALL,
                "real_records": sides["real"].frame.height,
                "synthetic_records": weighted.height,
                "share": 1.0,
                "effective_size": effective,
                "effective_share": effective / weighted.height,
                "gap": max(row["gap"] for row in rows),
                "iterations": sum(row["iterations"] for row in rows),
                "converged": all(row["converged"] for row in rows),
                "dual": None,
            }
        )
    columns = {
        "run_id": pa.array([run_id] * weighted.height, pa.string()),
        "id": weighted["id"].to_arrow().cast(pa.string()),
        "weight_set": pa.array([settings.weight_set] * weighted.height, pa.string()),
        "label": weighted["label"].to_arrow().cast(pa.string()),
        "weight": weighted["weight"].to_arrow(),
    }
    return pa.table(columns, schema=TABLES["weights"].schema), rows


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
            "hardly overlap. Generate more where cluster_coverage shows real records and little weight, or raise "
            "strength"
        )
    slow = [row["stratum"] for row in rows if not row["converged"]]
    if slow:
        notes.append(f"the weights for {', '.join(slow)} are not fully converged; their relative gap is in alignments")
    whole = rows[-1]
    before, after = whole["mmd2_heldout_before"], whole["mmd2_heldout_after"]
    if before is not None and after is not None and after > before:
        notes.append(
            f"weighting moved away from held-out real records (MMD^2 {before:.3g} before, {after:.3g} after): raise "
            "strength, or bring more real records"
        )
    return notes
