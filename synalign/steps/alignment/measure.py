"""measure: how near the weighted synthetic records are to the real ones, by several statistics, where they are
missing, and what the nearest real record of each is. It measures a finished weighting, so that it can be repeated when
records come in, and learns nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from synalign.errors import NumericsError
from synalign.ids import child_seed
from synalign.numerics.alignment.dual import effective_size
from synalign.numerics.alignment.witness import witness
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.features import FeatureMap
from synalign.numerics.core.neighbours import nearest_rows, unit_rows
from synalign.numerics.selection.kernels import median_distance
from synalign.numerics.statistics.mmd import mmd2
from synalign.numerics.statistics.two_sample import (
    classifier_two_sample_auc,
    permutation_test,
    prdc,
    resample,
    share_distance,
)
from synalign.steps.alignment.inputs import AlignmentInputs, find_strata, hash_sample, read_inputs, rows_of_strata
from synalign.steps.alignment.kernel import EXACT, RANDOM, stored_kernel
from synalign.steps.alignment.weight_sets import fitted_run, settings_of, weighted_records
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import record_runs, require_real
from synalign.steps.core.run_step import Result, Rows, run_step
from synalign.steps.embedding import embed as embedding
from synalign.steps.forget.tombstones import forget_runs
from synalign.store.lake.journal import Clock, Plan, Run
from synalign.store.lake.lake import is_in, quote
from synalign.store.lake.schemas import ORIGINS, REAL, SYNTHETIC

#: Records of each side that statistics are computed on, at most; the permutation test holds a square of twice as many.
MAX_RECORDS, MAX_PERMUTED = 2_000, 1_000

#: Raised when other rows are written of the same weights.
_VERSION = 2

#: Records of the test split from which it, and not the training split, is what is compared with.
MIN_TEST = 50

_NEIGHBOURS = 5

#: Pairs of records that are compared for `neighbours` of one origin, and records that are looked at however many pairs
#: they make: 250 records show a share to within 6 points.
MAX_PAIRS, MIN_NEIGHBOURS = 125_000_000, 250

#: The stratum of real records whose label, or combination of columns, no synthetic record has.
NO_SYNTHETIC = "(no synthetic)"

#: Random features that stand for an exact kernel.
_FEATURES = 4096


@dataclass(frozen=True)
class MeasuredArrays:
    """What a measurement compares. inputs: the synthetic records among them are the weighted ones alone. weights:
    float64 [m], of those, sum 1. witness: float64 [2, n], the mean kernel of each real record to the other real ones of
    its stratum, and to the weighted synthetic ones of it; NaN for one that is not known and is still to be computed."""

    inputs: AlignmentInputs
    weights: np.ndarray
    witness: np.ndarray


@dataclass(frozen=True)
class _Sample:
    """Records that are compared: vectors and weights, the synthetic ones as they came and weighted."""

    real: np.ndarray
    real_weights: np.ndarray
    raw: np.ndarray
    raw_weights: np.ndarray
    weighted: np.ndarray
    weights: np.ndarray
    split: str


def measure(context: Context, run: Run, arrays: MeasuredArrays | None = None) -> Outcome:
    """Measure the weights of one run against the real records there are now, and write `metrics`, `witness` and
    `neighbours`.

    Statistics use the test split where it has MIN_TEST records: the weights were fitted to the others. The permutation
    test needs it, since a fit to the very records that it is tested on would make its p-value mean nothing.

    Args:
        run: the weights.
        arrays: what is measured, from a step that has just read it; None reads it.
    """
    clock = Clock()
    sources = [source.run_id for origin in ORIGINS for source in record_runs(context, origin)]
    verdicts = [source.run_id for source in context.journal.runs("exclude")]
    clusters = [found.run_id for found in [context.journal.current("cluster")] if found]
    inputs = [run.run_id, *sources, *verdicts, *clusters, *forget_runs(context)]
    plan = Plan("measure", {}, inputs, context.config.seed, version=_VERSION)

    def work() -> Result:
        context.progress("measuring", 0, 1)
        seed = child_seed(context.config.seed, "measure")
        found = arrays or _read(context, run)
        metrics: list[dict[str, Any]] = []
        notes: list[str] = []
        tables: dict[str, Rows] = {"witness": [], "neighbours": []}
        if found is not None:
            for row in [*_statistics(_sample(found, seed), seed, notes), *_shares(context, found)]:
                metrics.append({"scope": "*", "weight_set": run.parameters["weight_set"], "seed": seed} | row)
            weighted_by = pl.lit(run.run_id).alias("weights_run_id")
            tables = {
                "witness": _witness_rows(context, found, fitted_run(context, run)).with_columns(weighted_by),
                "neighbours": _neighbour_rows(found.inputs, notes).with_columns(weighted_by),
            }
        tables["metrics"] = [row | {"weights_run_id": run.run_id} for row in metrics]
        context.progress("measuring", 1, 1)
        values = {row["metric"]: row["value"] for row in metrics}
        counts = {name: values.get(name) for name in ("auc_weighted", "mmd2_unbiased", "coverage", "label_distance")}
        return Result(tables, counts, notes)

    return run_step(context, clock, plan, work)


def _read(context: Context, run: Run) -> MeasuredArrays | None:
    """Read what is measured of a run; None if none of the records that it weighted is left."""
    settings, embedder = settings_of(fitted_run(context, run))
    embedding.apply(context, embedding.named(context, embedder))
    real = require_real(context, columns=settings.match)
    synthetic = weighted_records(context, run, list(settings.match))
    if not synthetic.height:
        return None
    inputs = read_inputs(context, embedder, real, synthetic, find_strata(real, synthetic, settings))
    return MeasuredArrays(inputs, synthetic["weight"].to_numpy(), np.full((2, real.height), np.nan))


def _sample(arrays: MeasuredArrays, seed: int) -> _Sample:
    """Draw at most MAX_RECORDS rows of each kind: weighted ones by their weights, and so that a record that is drawn
    twice counts twice; all others by their multiplicity."""
    inputs = arrays.inputs
    split = "test" if len(inputs.test) >= MIN_TEST else "train"
    real, synthetic = inputs.test if split == "test" else inputs.real, inputs.synthetic

    def drawn(amounts: np.ndarray, place: int) -> tuple[np.ndarray, np.ndarray]:
        used = np.flatnonzero(amounts > 0)
        if len(used) <= MAX_RECORDS:
            return used, amounts[used]
        rows, counts = np.unique(resample(amounts, MAX_RECORDS, child_seed(seed, place)), return_counts=True)
        return rows, counts.astype(np.float64)

    real_rows, real_weights = drawn(real.multiplicity, 0)
    raw_rows, raw_weights = drawn(synthetic.multiplicity, 1)
    rows, kept = drawn(arrays.weights, 2)
    return _Sample(
        real.matrix[real_rows],
        real_weights,
        synthetic.matrix[raw_rows],
        raw_weights,
        synthetic.matrix[rows],
        kept,
        split,
    )


def _statistics(sample: _Sample, seed: int, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of `metrics` that compare vectors; a statistic that has too few records, or too few that differ,
    is left out, and `notes` say why."""
    bandwidth = median_distance(sample.real, seed)
    versions = {"_raw": (sample.raw, sample.raw_weights), "": (sample.weighted, sample.weights)}
    for suffix, (vectors, weights) in versions.items():
        sizes = {"split": sample.split, "real_records": len(sample.real), "synthetic_records": len(vectors)}
        if min(len(sample.real), len(vectors)) >= 2:
            value = mmd2(sample.real, vectors, bandwidth, sample.real_weights, weights)
            yield sizes | {"metric": f"mmd2_unbiased{suffix}", "value": value}
        worth = [effective_size(part / part.sum()) for part in (sample.real_weights, weights)]
        name = "auc_raw" if suffix else "auc_weighted"
        if min(worth) <= 2 * _NEIGHBOURS:
            notes.append(
                f"{name}, precision{suffix}, recall{suffix}, density{suffix} and coverage{suffix} are left out: they "
                f"need an effective sample size above {2 * _NEIGHBOURS} on both sides; real records have "
                f"{worth[0]:.1f}, synthetic ones {worth[1]:.1f}"
            )
            continue
        try:
            auc = classifier_two_sample_auc(sample.real, vectors, sample.real_weights, weights, seed)
            yield sizes | {"metric": name, "value": auc.auc, "low": auc.low, "high": auc.high}
        except NumericsError as error:  # few distinct vectors
            notes.append(f"{name} is left out: {error}")
        found = prdc(sample.real, vectors, _NEIGHBOURS, sample.real_weights, weights)
        for name in ("precision", "recall", "density", "coverage"):
            yield sizes | {"metric": f"{name}{suffix}", "value": getattr(found, name)}
    # Half as many draws as the weights are worth: with more, records that come twice make the test reject too often.
    share = sample.weights / sample.weights.sum()
    size = min(int(effective_size(share) / 2), len(sample.real), MAX_PERMUTED)
    if sample.split == "test" and size >= 2:
        rows = resample(share, size, seed)
        real = sample.real[resample(sample.real_weights, min(len(sample.real), MAX_PERMUTED), seed)]
        test = permutation_test(real, sample.weighted[rows], bandwidth, seed)
        sizes = {"split": sample.split, "real_records": len(real), "synthetic_records": size}
        yield sizes | {"metric": "mmd2_permutation", "value": test.mmd2, "p_value": test.p_value}


def _shares(context: Context, arrays: MeasuredArrays) -> Iterator[dict[str, Any]]:
    """Yield how far label and cluster shares are from the real training records', as total variation distance."""
    real, synthetic = arrays.inputs.real, arrays.inputs.synthetic
    sizes = {"split": "train", "real_records": len(real), "synthetic_records": len(synthetic)}
    places: dict[str, tuple[np.ndarray, np.ndarray]] = {"label": (real.labels, synthetic.labels)}
    clusters = context.journal.current("cluster")
    if clusters is not None:
        where = f"cluster_run_id = {quote(clusters.run_id)} and {is_in('run_id', _finished(context))}"
        table = context.lake.read("cluster_members", ["origin", "id", "cluster_id"], where)
        members = pl.from_arrow(table)
        assert isinstance(members, pl.DataFrame)
        both = [
            found.frame.select("id").join(
                members.filter(pl.col("origin") == origin), on="id", how="left", maintain_order="left"
            )["cluster_id"]
            for origin, found in zip(ORIGINS, (real, synthetic), strict=True)
        ]
        if not any(found.null_count() for found in both):
            places["cluster"] = (both[0].to_numpy(), both[1].to_numpy())
    for name, (here, there) in places.items():
        count = int(max(here.max(), there.max())) + 1
        known = np.bincount(here, real.multiplicity, minlength=count)
        for suffix, amounts in {"_raw": synthetic.multiplicity, "": arrays.weights}.items():
            found = share_distance(known, np.bincount(there, amounts, minlength=count))
            yield sizes | {"metric": f"{name}_distance{suffix}", "value": found}


def _neighbour_rows(inputs: AlignmentInputs, notes: list[str]) -> pl.DataFrame:
    """Return the rows of `neighbours`: of a sample of each origin the nearest real training record, among all of them.

    The sample is that of the smallest hashes, MAX_RECORDS at most: fewer where the comparisons would be more than
    MAX_PAIRS, but MIN_NEIGHBOURS. `notes` say so.
    """
    real = inputs.real
    size = min(MAX_RECORDS, max(MIN_NEIGHBOURS, MAX_PAIRS // len(real)))
    units = unit_rows(real.matrix)
    rows = []
    for origin, found in ((REAL, real), (SYNTHETIC, inputs.synthetic)):
        chosen = hash_sample(found.frame["id"], size)
        if size < min(MAX_RECORDS, len(found)):
            notes.append(
                f"neighbours are of {len(chosen):,} {origin} records, each compared with {len(real):,} real ones"
            )
        own = chosen if origin == REAL else None
        places, similar = nearest_rows(unit_rows(found.matrix[chosen]), units, own)
        there = places >= 0  # the only real record has no other
        columns: Sequence[pl.Series] = [
            found.frame["id"].gather(chosen[there]),
            found.frame["label"].gather(chosen[there]),
            real.frame["id"].gather(places[there]).alias("neighbour_id"),
            real.frame["label"].gather(places[there]).alias("neighbour_label"),
            pl.Series("similarity", similar[there].astype(np.float64)),
        ]
        rows.append(pl.DataFrame(columns).with_columns(pl.lit(origin).alias("origin")))
    return pl.concat(rows)


def _finished(context: Context) -> list[str]:
    return [run.run_id for run in context.journal.runs("cluster") + context.journal.runs("assign")]


def _witness_rows(context: Context, arrays: MeasuredArrays, fitted: Run) -> pl.DataFrame:
    """Return the rows of `witness`: the joint witness of vector and stratum at each real training record."""
    real, synthetic, strata = arrays.inputs.real, arrays.inputs.synthetic, arrays.inputs.strata
    names, total = [*strata.names, NO_SYNTHETIC], real.multiplicity.sum()
    to_real, to_synthetic = np.zeros(len(real)), np.zeros(len(real))
    count = len(strata.names)
    # Real records of strata without any synthetic record come last: nothing covers them.
    places = np.where(real.strata < 0, count, real.strata)
    members = rows_of_strata(places, count + 1), [*rows_of_strata(synthetic.strata, count), np.empty(0, dtype=np.int64)]
    features = None
    for here, there in zip(*members, strict=True):
        if not len(here):
            continue
        shares = np.array([real.multiplicity[here].sum() / total, arrays.weights[there].sum()])
        found = arrays.witness[:, here]
        if np.isnan(found).any():
            features = features or _witness_features(context, fitted, real.matrix.shape[1])
            mean = np.zeros(features.size)
            if shares[1] > 0:
                mean = features.mean(synthetic.matrix[there], arrays.weights[there])
            found = np.array(witness(FeatureBlocks(features, real.matrix[here]), real.multiplicity[here], mean))
        to_real[here], to_synthetic[here] = shares[:, None] * found
    return pl.DataFrame(
        {
            "id": real.frame["id"],
            "stratum": pl.Series(names, dtype=pl.String).gather(places),
            "witness": to_real - to_synthetic,
            "real_mean": to_real,
            "synthetic_mean": to_synthetic,
        }
    )


def _witness_features(context: Context, fitted: Run, dimensions: int) -> FeatureMap:
    stored = context.lake.read("alignments", None, f"run_id = {quote(fitted.run_id)}").to_pylist()[0]
    if stored["kernel"] == EXACT:
        # The landmarks of the fit may be gone; the same kernel is estimated.
        stored = stored | {"kernel": RANDOM, "features": _FEATURES}
    return stored_kernel(stored, dimensions).features
