"""measure: how near the weighted synthetic records are to the real ones, by several statistics, where they are
missing, and what the nearest real record of each is. It measures a finished weighting, so that it can be repeated when
records come in, and learns nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from synalign.errors import NumericsError
from synalign.ids import child_seed
from synalign.numerics.alignment.dual import effective_size
from synalign.numerics.alignment.witness import witness
from synalign.numerics.core.blocks import FeatureBlocks
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
from synalign.steps.alignment.inputs import Side, Strata, find_strata, read_sides, rows_of_strata
from synalign.steps.alignment.kernel import EXACT, RANDOM, stored_kernel
from synalign.steps.alignment.weight_sets import fitted_run, settings_of, weighted_records
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import record_runs, require_real
from synalign.steps.core.run_step import finish, reuse
from synalign.steps.embedding import embed as embedding
from synalign.steps.forget.tombstones import forget_runs
from synalign.store.lake.journal import Clock, Plan, Run
from synalign.store.lake.lake import is_in, quote
from synalign.store.lake.schemas import ORIGINS, REAL, TABLES

#: Records of each side that statistics are computed on, at most; the permutation test holds a square of twice as many.
MAX_RECORDS, MAX_PERMUTED = 2_000, 1_000

#: Raised when other rows are written of the same weights.
_VERSION = 2

_TABLES = ("metrics", "witness", "neighbours")

#: Records of the test split from which it, and not the training split, is what is compared with.
MIN_TEST = 50

_NEIGHBOURS = 5

#: Random features that stand for an exact kernel.
_FEATURES = 4096


@dataclass(frozen=True)
class _Sample:
    """Rows of both sides that are compared: vectors and weights, the synthetic ones as they came and weighted."""

    real: np.ndarray
    real_weights: np.ndarray
    raw: np.ndarray
    raw_weights: np.ndarray
    weighted: np.ndarray
    weights: np.ndarray
    split: str


def measure(context: Context, run: Run) -> Outcome:
    """Measure the weights of one run against the real records there are now, and write `metrics`, `witness` and
    `neighbours`.

    Statistics use the test split where it has MIN_TEST records: the weights were fitted to the others. The permutation
    test needs it, since a fit to the very records that it is tested on would make its p-value mean nothing.
    """
    clock = Clock()
    sources = [source.run_id for origin in ORIGINS for source in record_runs(context, origin)]
    verdicts = [source.run_id for source in context.journal.runs("exclude")]
    clusters = [found.run_id for found in [context.journal.current("cluster")] if found]
    inputs = [run.run_id, *sources, *verdicts, *clusters, *forget_runs(context)]
    plan = Plan("measure", {}, inputs, context.config.seed, version=_VERSION)
    done = context.journal.get(plan.run_id)
    if done is not None:
        return reuse(context, done, clock)
    context.journal.sweep(_TABLES)
    context.progress("measuring", 0, 1)
    fitted = fitted_run(context, run)
    settings, embedder = settings_of(fitted)
    embedding.apply(context, embedding.named(context, embedder))
    real = require_real(context, columns=settings.match)
    synthetic = weighted_records(context, run, list(settings.match))
    seed = child_seed(context.config.seed, "measure")
    common = {"run_id": plan.run_id, "weights_run_id": run.run_id}
    metrics: list[dict[str, Any]] = []
    notes: list[str] = []
    if synthetic.height:
        strata = find_strata(real, synthetic, settings)
        sides = read_sides(context, embedder, real, synthetic, strata)
        sample = _sample(sides, synthetic["weight"].to_numpy(), seed)
        set_name = run.parameters["weight_set"]
        for row in [*_statistics(sample, seed, notes), *_shares(context, sides, synthetic["weight"])]:
            metrics.append(common | {"scope": "*", "weight_set": set_name, "seed": seed} | row)
        context.lake.insert("witness", _witness_rows(context, sides, strata, synthetic, fitted, common))
        context.lake.insert("neighbours", _neighbour_rows(sides, seed, common))
    context.lake.insert("metrics", pa.Table.from_pylist(metrics, schema=TABLES["metrics"].schema))
    context.progress("measuring", 1, 1)
    values = {row["metric"]: row["value"] for row in metrics}
    counts = {name: values.get(name) for name in ("auc_weighted", "mmd2_unbiased", "coverage", "label_distance")}
    return finish(context, plan, clock, counts, notes, _TABLES)


def _sample(sides: dict[str, Side], weights: np.ndarray, seed: int) -> _Sample:
    """Draw at most MAX_RECORDS rows of each side: weighted ones by their weights, and so that a record that is drawn
    twice counts twice; all others by their multiplicity."""
    split = "test" if len(sides["test"]) >= MIN_TEST else "train"
    real, synthetic = sides["test" if split == "test" else "real"], sides["synthetic"]

    def drawn(amounts: np.ndarray, place: int) -> tuple[np.ndarray, np.ndarray]:
        used = np.flatnonzero(amounts > 0)
        if len(used) <= MAX_RECORDS:
            return used, amounts[used]
        rows, counts = np.unique(resample(amounts, MAX_RECORDS, child_seed(seed, place)), return_counts=True)
        return rows, counts.astype(np.float64)

    real_rows, real_weights = drawn(real.multiplicity, 0)
    raw_rows, raw_weights = drawn(synthetic.multiplicity, 1)
    rows, kept = drawn(weights, 2)
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
    sides = {"_raw": (sample.raw, sample.raw_weights), "": (sample.weighted, sample.weights)}
    for suffix, (vectors, weights) in sides.items():
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


def _shares(context: Context, sides: dict[str, Side], weight: pl.Series) -> Iterator[dict[str, Any]]:
    """Yield how far label and cluster shares are from the real training records', as total variation distance."""
    real, synthetic = sides["real"], sides["synthetic"]
    sizes = {"split": "train", "real_records": len(real), "synthetic_records": len(synthetic)}
    places: dict[str, tuple[np.ndarray, np.ndarray]] = {"label": (real.labels, synthetic.labels)}
    clusters = context.journal.current("cluster")
    if clusters is not None:
        where = f"cluster_run_id = {quote(clusters.run_id)} and {is_in('run_id', _finished(context))}"
        table = context.lake.read("cluster_members", ["origin", "id", "cluster_id"], where)
        members = pl.from_arrow(table)
        assert isinstance(members, pl.DataFrame)
        both = [
            side.frame.select("id").join(
                members.filter(pl.col("origin") == origin), on="id", how="left", maintain_order="left"
            )["cluster_id"]
            for origin, side in zip(ORIGINS, (real, synthetic), strict=True)
        ]
        if not any(found.null_count() for found in both):
            places["cluster"] = (both[0].to_numpy(), both[1].to_numpy())
    for name, (here, there) in places.items():
        count = int(max(here.max(), there.max())) + 1
        known = np.bincount(here, real.multiplicity, minlength=count)
        for suffix, amounts in {"_raw": synthetic.multiplicity, "": weight.to_numpy()}.items():
            found = share_distance(known, np.bincount(there, amounts, minlength=count))
            yield sizes | {"metric": f"{name}_distance{suffix}", "value": found}


def _neighbour_rows(sides: dict[str, Side], seed: int, common: dict[str, str]) -> pa.Table:
    """Return the rows of `neighbours`: of at most MAX_RECORDS of each side the nearest real training record."""
    real = sides[REAL]
    units = unit_rows(real.matrix)
    rows = []
    for origin in ORIGINS:
        side = sides[origin]
        random = np.random.default_rng(child_seed(seed, "neighbours", origin))
        chosen = np.sort(random.choice(len(side), min(MAX_RECORDS, len(side)), replace=False))
        own = chosen if origin == REAL else None
        places, similar = nearest_rows(unit_rows(side.matrix[chosen]), units, own)
        there = places >= 0  # the only real record has no other
        columns: Sequence[pl.Series] = [
            side.frame["id"].gather(chosen[there]),
            side.frame["label"].gather(chosen[there]),
            real.frame["id"].gather(places[there]).alias("neighbour_id"),
            real.frame["label"].gather(places[there]).alias("neighbour_label"),
            pl.Series("similarity", similar[there].astype(np.float64)),
        ]
        rows.append(pl.DataFrame(columns).with_columns(pl.lit(origin).alias("origin")))
    frame = pl.concat(rows).with_columns(pl.lit(value).alias(name) for name, value in common.items())
    return frame.select(TABLES["neighbours"].schema.names).to_arrow()


def _finished(context: Context) -> list[str]:
    return [run.run_id for run in context.journal.runs("cluster") + context.journal.runs("assign")]


def _witness_rows(
    context: Context,
    sides: dict[str, Side],
    strata: Strata,
    synthetic: pl.DataFrame,
    fitted: Run,
    common: dict[str, str],
) -> pa.Table:
    """Return the rows of `witness`: the joint witness of vector and stratum at each real training record."""
    stored = context.lake.read("alignments", None, f"run_id = {quote(fitted.run_id)}").to_pylist()[0]
    real, written = sides["real"], sides["synthetic"]
    weight = synthetic["weight"].to_numpy()
    if stored["kernel"] == EXACT:
        # The landmarks of the fit may be gone; the same kernel is estimated.
        stored = stored | {"kernel": RANDOM, "features": _FEATURES}
    features = stored_kernel(stored, real.matrix.shape[1]).features
    rows: list[pl.DataFrame] = []
    total = real.multiplicity.sum()
    count = len(strata.names)
    pairs = zip(rows_of_strata(real.strata, count), rows_of_strata(written.strata, count), strict=True)
    for name, (here, there) in zip(strata.names, pairs, strict=True):
        amounts, share = real.multiplicity[here], float(weight[there].sum())
        mean = features.mean(written.matrix[there], weight[there]) if share > 0 else np.zeros(features.size)
        blocks = FeatureBlocks(features, real.matrix[here])
        to_real, to_synthetic = witness(blocks, amounts, mean, float(amounts.sum() / total), share)
        rows.append(_witness_frame(real.frame["id"].gather(here), name, to_real, to_synthetic))
    left = np.flatnonzero(real.strata < 0)
    if len(left):
        # Real records of strata without any synthetic record: nothing covers them.
        blocks = FeatureBlocks(features, real.matrix[left])
        to_real, _ = witness(blocks, real.multiplicity[left], np.zeros(features.size))
        share = float(real.multiplicity[left].sum() / total)
        rows.append(_witness_frame(real.frame["id"].gather(left), "(no synthetic)", share * to_real, 0 * to_real))
    frame = pl.concat(rows).with_columns(pl.lit(value).alias(name) for name, value in common.items())
    return frame.select(TABLES["witness"].schema.names).to_arrow()


def _witness_frame(ids: pl.Series, stratum: str, to_real: np.ndarray, to_synthetic: np.ndarray) -> pl.DataFrame:
    columns: Sequence[pl.Series] = [
        ids,
        pl.Series("stratum", [stratum] * len(ids), dtype=pl.String),
        pl.Series("witness", to_real - to_synthetic),
        pl.Series("real_mean", to_real),
        pl.Series("synthetic_mean", to_synthetic),
    ]
    return pl.DataFrame(columns)
