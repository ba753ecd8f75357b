"""What `align` says of the weights that it learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from synalign.steps.alignment.inputs import ALL, AlignmentInputs, rows_of_strata
from synalign.steps.core.context import Context
from synalign.store.lake.lake import is_in
from synalign.store.lake.schemas import SYNTHETIC

#: Below this share of effective records the two sets hardly overlap.
LOW_OVERLAP = 0.1

#: Two distances that differ by no more, as a share, are equal.
ROUNDING = 1e-3


def warnings(rows: Sequence[dict[str, Any]], inputs: AlignmentInputs, min_effective_share: float | None) -> list[str]:
    """Return what a person should know of the rows of `alignments`, those of all records together last."""
    notes = []
    low = [row["stratum"] for row in rows if row["effective_share"] < LOW_OVERLAP]
    if low:
        notes.append(
            f"the effective sample size is below {LOW_OVERLAP:.0%} of the records for {listed(low)}: the two sets "
            "hardly overlap. coverage_gaps lists what to generate; a larger strength pulls less"
        )
    floor = min_effective_share or 0.0
    missed = [row["stratum"] for row in rows if row["stratum"] != ALL and row["effective_share"] < 0.99 * floor]
    if missed:
        notes.append(
            f"the effective share of {listed(missed)} is below the floor of {floor:g} whatever the strength: what the "
            "weights start from (label quality, prior) is too uneven. Leave one of them out, or lower the floor"
        )
    slow = [row["stratum"] for row in rows if not row["converged"]]
    if slow:
        notes.append(
            f"the weights for {listed(slow)} are not fully converged (their relative gap is in alignments): give a "
            "larger strength"
        )
    whole = rows[-1]
    before, after = whole["mmd2_heldout_before"], whole["mmd2_heldout_after"]
    if before is not None and after is not None and after > before * (1 + ROUNDING):
        notes.append(
            f"weighting moved away from held-out real records (MMD^2 {before:.3g} before, {after:.3g} after): give "
            "a larger strength, which pulls less, or bring more real records"
        )
    names, synthetic = inputs.strata.names, inputs.synthetic
    alone = [
        name
        for name, found in zip(names, rows_of_strata(synthetic.strata, len(names)), strict=True)
        if len(found) == 1 or _all_equal(synthetic.matrix, found)
    ]
    if alone:
        notes.append(
            f"one record, or equal vectors, for {listed(alone)}: there is nothing to weight, and it is uniform"
        )
    return notes


def _all_equal(matrix: np.ndarray, rows: np.ndarray) -> bool:
    """Whether all of these rows, of which there may be none, are equal. Most are told apart by the first few."""
    few, first = rows[:100], matrix[rows[:1]]
    return bool((matrix[few] == first).all() and (matrix[rows] == first).all())


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them, the first eight of many."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def embedded_model_note(context: Context, weighted: pl.DataFrame) -> list[str]:
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
