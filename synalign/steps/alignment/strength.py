"""Chooses how hard the weights are pulled, whose shares the labels get, and keeps the whole curve as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from synalign.config import Align
from synalign.numerics.alignment.strength import (
    FOLDS,
    MAX_REAL,
    MAX_SYNTHETIC,
    STRENGTHS,
    UNWEIGHTED,
    Candidate,
    Labelled,
    Trial,
    candidates,
    choose,
    cross_validate,
    paired,
)
from synalign.numerics.core.features import FeatureMap
from synalign.numerics.core.label_quality import MAX_LABELS
from synalign.steps.alignment.inputs import AlignmentInputs, RecordArrays, Strata
from synalign.steps.core.context import Context

#: What "auto" means where there are too many labels, or too few records, to cross-validate: the middle of the range.
FALLBACK = 1e-2

#: Labels above which nothing is cross-validated: there would be too few records of each in a fold.
MAX_AUTO_LABELS = 200

#: Real records of which cross-validation can be made.
MIN_AUTO_RECORDS = 20


def choose_strength(
    context: Context,
    settings: Align,
    features: FeatureMap,
    inputs: AlignmentInputs,
    base: np.ndarray,
    shares: np.ndarray | None,
    seed: int,
) -> tuple[Candidate, list[dict[str, Any]], list[str]]:
    """Return how to weight, the rows of `strength_curve` without their run_id, and what to say of it.

    What the settings fix is taken; what they leave to "auto" is cross-validated. Without a need for that there is no
    curve.
    """
    notes: list[str] = []
    strata = inputs.strata
    quality = _use_quality(settings, inputs, notes)
    kinds = _share_kinds(settings, strata)
    fixed = {"auto": None, "none": math.inf}.get(str(settings.strength), settings.strength)
    if fixed is not None and len(kinds) == 1:
        return Candidate(float(fixed), quality, kinds[0]), [], notes
    reason = _cannot_choose(inputs)
    if reason:
        strength = FALLBACK if fixed is None else float(fixed)
        notes.append(f"{reason}: strength {strength:g} and {kinds[-1]} label shares are taken without a comparison")
        return Candidate(strength, quality, kinds[-1]), [], notes
    if "label" in strata.columns and fixed is None and _constant(inputs):
        notes.append(
            "only one label is on both sides, so that no comparison can choose a strength, and nothing is pulled: the "
            "weights are uniform but for what they start from. Give a number (--strength 0.01), or leave labels out of "
            "it: by_label=False"
        )
        return Candidate(math.inf, quality, kinds[0]), [], notes
    strengths = STRENGTHS if fixed is None else (float(fixed),)
    tried = candidates(quality, kinds, strengths)
    real = _labelled(inputs.real, inputs.real.multiplicity)
    synthetic = _labelled(inputs.synthetic, base)
    trials = cross_validate(
        features,
        real,
        synthetic,
        tried,
        seed,
        given_shares=shares,
        classify=strata.has_labels and not _constant(inputs),
        progress=lambda done, total: context.progress("choosing the strength", done, total),
    )
    # "No weighting" is the reference in every curve, and a choice only where nothing was asked for.
    free = fixed is None and settings.quality is None and settings.label_shares in ("auto", "kept")
    asked = {Candidate(eps, quality, kind) for eps in strengths for kind in kinds}
    open_to = [place for place, candidate in enumerate(tried) if free or candidate in asked]
    picked = open_to[choose([trials[place] for place in open_to], settings.min_effective_share or 0.0)]
    sizes = {"real_records": min(len(real), MAX_REAL), "synthetic_records": min(len(synthetic), MAX_SYNTHETIC)}
    common = sizes | {"folds": FOLDS, "seed": seed}
    rows = [common | _row(place, trial, trials[0], place == picked) for place, trial in enumerate(trials)]
    return tried[picked], rows, notes


def describe(candidate: Candidate) -> dict[str, Any]:
    """Return a choice as what an outcome counts."""
    strength: float | str = "none" if candidate.eps == math.inf else candidate.eps
    return {"strength": strength, "quality": candidate.quality, "label_shares": candidate.shares}


def _use_quality(settings: Align, inputs: AlignmentInputs, notes: list[str]) -> bool:
    strata, labels = inputs.strata, len(np.unique(inputs.real.labels))
    if (
        settings.quality is False
        or not strata.has_labels
        or (settings.quality is None and "label" not in strata.columns)
    ):
        if settings.quality:
            notes.append("label quality needs labels on both sides, and is left out")
        return False
    if labels > MAX_LABELS:
        notes.append(f"label quality is left out: it tells up to {MAX_LABELS} labels apart, and there are {labels:,}")
        return False
    return labels > 1


def _share_kinds(settings: Align, strata: Strata) -> list[str]:
    """Return the label shares to try; the last is what is taken where nothing can be compared."""
    if isinstance(settings.label_shares, dict):
        return ["given"]
    if len(strata.names) == 1:
        return ["kept"]
    return ["kept", "real"] if settings.label_shares == "auto" else [settings.label_shares]


def _cannot_choose(inputs: AlignmentInputs) -> str | None:
    records, labels = int((inputs.real.strata >= 0).sum()), len(inputs.strata.names)
    if records < MIN_AUTO_RECORDS:
        return f"{records} real records that can be matched are too few to cross-validate (at least {MIN_AUTO_RECORDS})"
    if labels > MAX_AUTO_LABELS:
        return f"{labels:,} labels are too many to cross-validate (up to {MAX_AUTO_LABELS})"
    return None


def _constant(inputs: AlignmentInputs) -> bool:
    """Whether the records that can be matched have a single label."""
    matched = [found.labels[found.strata >= 0] for found in (inputs.real, inputs.synthetic)]
    return any(len(np.unique(labels)) < 2 for labels in matched)


def _labelled(found: RecordArrays, weights: np.ndarray) -> Labelled:
    rows = np.flatnonzero((found.strata >= 0) & (weights > 0))
    kept = found.take(rows)
    return Labelled(kept.matrix, weights[rows], kept.strata, kept.labels)


def _row(place: int, trial: Trial, reference: Trial, chosen: bool) -> dict[str, Any]:
    row = {
        "candidate": place,
        "strength": trial.candidate.eps,
        "quality": trial.candidate.quality,
        "label_shares": trial.candidate.shares,
        "effective_size": trial.effective_size,
        "effective_share": trial.effective_share,
        "mmd2_fitted": trial.mmd2_fitted,
        "mmd2_heldout": trial.mmd2_heldout,
        "accuracy": None,
        "accuracy_error": None,
        "gain": None,
        "gain_error": None,
        "chosen": chosen,
        "unweighted": trial.candidate == UNWEIGHTED,
    }
    if trial.correct is not None and reference.correct is not None:
        row["accuracy"], row["accuracy_error"] = paired(trial.correct, np.zeros_like(trial.correct))
        row["gain"], row["gain_error"] = paired(trial.correct, reference.correct)
    return row


def curve_summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the choice promises, for the counts of an outcome; nothing without labels."""
    chosen = next((row for row in rows if row["chosen"]), None)
    if chosen is None or chosen["gain"] is None:
        return {}
    return {"accuracy_gain": chosen["gain"], "accuracy_gain_error": chosen["gain_error"]}
