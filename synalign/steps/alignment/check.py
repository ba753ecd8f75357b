"""check: whether weights are good enough to be used, as a gate for CI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from synalign.config import CheckRequest
from synalign.errors import UsageError
from synalign.steps.alignment.measure import measure
from synalign.steps.alignment.weight_sets import find_set
from synalign.steps.core.context import Context
from synalign.steps.lifecycle.status import stale_weights
from synalign.store.lake.lake import quote

#: A squared MMD up to it is rounding: the real records are all equal.
NO_FLOOR = 1e-10


@dataclass(frozen=True)
class Check:
    """The outcome of a check. passed: whether every limit is kept. reasons: a sentence for each that is not.
    figures: what was compared, by name; None where it could not be measured."""

    weight_set: str
    passed: bool
    reasons: tuple[str, ...]
    figures: dict[str, Any]


def check(context: Context, request: CheckRequest) -> Check:
    """Compare the figures of a weight set with limits; measure it first if it was not since records came in.

    Weights that do not cover all records fail, as do weights that are not converged, and a limit on what could not be
    measured.

    Raises:
        NotReadyError: without weights.
        UsageError: if there is no such set, or a limit is out of range.
    """
    _within("max_mmd_ratio", request.max_mmd_ratio, 0, None)
    _within("min_ess", request.min_ess, 0, 1)
    _within("max_auc", request.max_auc, 0.5, 1)
    run = find_set(context, request.weight_set)
    measured = measure(context, run)
    row = context.lake.read("alignments", None, f"run_id = {quote(run.run_id)} and stratum = '*'").to_pylist()[0]
    after, floor = row["mmd2_heldout_after"], row["mmd2_floor"]
    auc = measured.counts.get("auc_weighted")
    figures = {
        "mmd_ratio": None if after is None or floor is None or floor <= NO_FLOOR else after / floor,
        "heldout_mmd2": after,
        "floor": floor,
        "effective_share": row["effective_share"],
        "effective_size": row["effective_size"],
        "auc": auc,
        "converged": row["converged"],
    }
    reasons = [] if row["converged"] else ["the weights are not converged: give a larger strength"]
    reasons += stale_weights(context, run)
    if row["drift"] is not None and floor and row["drift"] > floor:
        reasons.append(
            f"the weighted mean moved by {row['drift']:.3g} since the fit, floor {floor:.3g}: run align again"
        )
    limits = (
        ("mmd_ratio", "held-out MMD^2 over the floor", request.max_mmd_ratio, "at most"),
        ("effective_share", "the effective share", request.min_ess, "at least"),
        ("auc", "the AUC of a classifier against real records", request.max_auc, "at most"),
    )
    for name, words, limit, side in limits:
        value = figures[name]
        if limit is None:
            continue
        if value is None:
            why = "too few records, or too few that differ"
            if name == "mmd_ratio" and row["scored_from"] is not None:
                why = "it is a figure of a fit, and these weights were scored; run align"
            reasons.append(f"{words} could not be measured: {why}")
        elif not (value <= limit if side == "at most" else value >= limit):
            reasons.append(f"{words} is {value:.4g}; allowed is {side} {limit:g}")
    return Check(run.parameters["weight_set"], not reasons, tuple(reasons), figures)


def _within(name: str, limit: float | None, low: float, high: float | None) -> None:
    # Written so that NaN is refused, too.
    if limit is not None and not (limit >= low and (high is None or limit <= high)):
        raise UsageError(f"{name} must be at least {low}{'' if high is None else f' and at most {high}'}, not {limit}.")
