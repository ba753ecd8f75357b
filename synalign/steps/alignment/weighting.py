"""The weights of all strata, fitted one by one: what `align` learns, and what `rounds` compares rounds by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from synalign.config import Align
from synalign.numerics.alignment.dual import effective_size
from synalign.numerics.alignment.stratum import (
    MIN_HALVES,
    Distances,
    Fit,
    Means,
    Rows,
    Samples,
    SolverSettings,
    align_stratum,
    align_whole,
    distances,
)
from synalign.numerics.alignment.strength import Candidate
from synalign.numerics.core.label_quality import Quality, label_quality
from synalign.steps.alignment.inputs import ALL, AlignmentInputs, RecordArrays, rows_of_strata
from synalign.steps.alignment.kernel import Kernel
from synalign.steps.core.context import Context


@dataclass(frozen=True)
class Priors:
    """What all m synthetic records weigh before anything is matched, float64 [m], not scaled: with the label quality
    that all real records give (full), and that their first half gives (half). quality: None where it is left out, and
    both are the base measure."""

    full: np.ndarray
    half: np.ndarray
    quality: Quality | None

    @classmethod
    def of(cls, inputs: AlignmentInputs, base: np.ndarray, wanted: bool, seed: int) -> Priors:
        """Multiply the label quality into the base measure, if it is wanted."""
        if not wanted:
            return cls(base, base, None)
        real, synthetic = inputs.real, inputs.synthetic

        def quality_by(known: RecordArrays) -> Quality:
            amounts = known.multiplicity
            return label_quality(known.matrix, known.labels, amounts, synthetic.matrix, synthetic.labels, seed)

        full = quality_by(real)
        half = quality_by(real.take(np.flatnonzero(real.first_half))) if real.first_half.any() else full
        return cls(base * full.probability, base * half.probability, full)


@dataclass(frozen=True)
class Fitted:
    """What was fitted. weighted: id, label and weight of each record. rows: of `alignments`, each stratum, then all
    together. whole: the mean features of all together. witness: float64 [2, n], as `Fit.witness`, of all real records;
    NaN for those of no stratum that was fitted, and for all if it was not asked for."""

    weighted: pl.DataFrame
    rows: list[dict[str, Any]]
    whole: Means
    witness: np.ndarray


@dataclass(frozen=True)
class Weighting:
    """What the weights of all strata are fitted with."""

    context: Context
    kernel: Kernel
    inputs: AlignmentInputs
    settings: SolverSettings
    candidate: Candidate
    priors: Priors
    given: np.ndarray | None

    @classmethod
    def of(
        cls,
        context: Context,
        settings: Align,
        kernel: Kernel,
        inputs: AlignmentInputs,
        candidate: Candidate,
        base: np.ndarray,
        given: np.ndarray | None,
        seed: int,
    ) -> Weighting:
        """Return it for the candidate that was chosen; `given` are the shares of the strata that settings give."""
        solver = SolverSettings(candidate.eps, settings.max_weight_ratio, settings.min_effective_share, settings.device)
        priors = Priors.of(inputs, base, candidate.quality, seed)
        return cls(context, kernel, inputs, solver, candidate, priors, given)

    def fit(self, *, with_witness: bool = False) -> Fitted:
        """Fit the weights of each stratum that has synthetic records, and put them together in their shares."""
        names, features, synthetic = self.inputs.strata.names, self.kernel.features, self.inputs.synthetic
        weights = np.zeros(len(synthetic))
        fits: list[Fit] = []
        fitted: list[Rows] = []
        rows: list[dict[str, Any]] = []
        similarity = np.full((2, len(self.inputs.real)), np.nan)
        for number, (name, share, inside) in enumerate(zip(names, self._shares(), self._members(), strict=True)):
            self.context.progress("aligning", number, len(names))
            if not len(inside.synthetic):
                continue
            fit = align_stratum(features, self._samples(inside), self.settings, with_witness=with_witness)
            weights[inside.synthetic] = share * fit.solution.weights
            fits.append(fit)
            fitted.append(inside)
            rows.append(_fit_columns(fit, len(inside.real), share) | {"stratum": name})
            if fit.witness is not None:
                similarity[:, inside.real] = fit.witness
        self.context.progress("aligning", len(names), len(names))
        if names == [ALL]:
            whole = fits[0].means
        else:
            shares = np.array([row["share"] for row in rows])
            whole = align_whole(features, self._samples(None), fits, shares, self.settings.device, fitted)
            rows.append(_whole_columns(rows, distances(whole), weights, self.inputs))
        used = np.flatnonzero(synthetic.strata >= 0)
        frame = synthetic.frame.select("id", "label")[used]
        return Fitted(frame.with_columns(pl.Series("weight", weights[used])), rows, whole, similarity)

    def without(self, left_out: np.ndarray) -> Weighting:
        """Return the same with some synthetic records left out, bool [m]."""
        kept = np.flatnonzero(~left_out)
        priors = Priors(self.priors.full[kept], self.priors.half[kept], self.priors.quality)
        return replace(self, inputs=self.inputs.with_synthetic(kept), priors=priors)

    def _members(self) -> list[Rows]:
        """Return the records of each stratum, real ones of the first half first."""
        inputs, count = self.inputs, len(self.inputs.strata.names)
        real, synthetic, test = (
            rows_of_strata(found.strata, count) for found in (inputs.real, inputs.synthetic, inputs.test)
        )
        first = inputs.real.first_half
        # Sums are rounded by their order: too few for halves are left in the order that they always had.
        halves = [rows if len(rows) < MIN_HALVES else rows[np.argsort(~first[rows], kind="stable")] for rows in real]
        return [Rows(*found) for found in zip(halves, synthetic, test, strict=True)]

    def _shares(self) -> list[float]:
        """Return the share of each stratum in the weights; 0 for one without synthetic records."""
        count, kind = len(self.inputs.strata.names), self.candidate.shares
        synthetic = self.inputs.synthetic
        if self.given is not None:
            totals = self.given
        else:
            found = self.inputs.real if kind == "real" else synthetic
            amounts = found.multiplicity if kind == "real" else self.priors.full
            inside = found.strata >= 0
            totals = np.bincount(found.strata[inside], amounts[inside], minlength=count)
        there = np.bincount(synthetic.strata[synthetic.strata >= 0], minlength=count) > 0
        shares: list[float] = (totals * there / (totals * there).sum()).tolist()
        return shares

    def _samples(self, rows: Rows | None) -> Samples:
        """Return the records of one stratum, or without `rows` all of them, which are then not copied."""
        inputs = self.inputs
        places = (slice(None), slice(None), slice(None)) if rows is None else (rows.real, rows.synthetic, rows.test)
        real, synthetic, test = places
        return Samples(
            inputs.real.matrix[real],
            inputs.real.multiplicity[real],
            inputs.real.first_half[real],
            inputs.synthetic.matrix[synthetic],
            inputs.synthetic.multiplicity[synthetic],
            self.priors.full[synthetic],
            self.priors.half[synthetic],
            inputs.test.matrix[test],
            inputs.test.multiplicity[test],
        )


def _fit_columns(fit: Fit, real_records: int, share: float) -> dict[str, Any]:
    solution = fit.solution
    return distance_columns(distances(fit.means)) | {
        "strength": solution.eps,
        "real_records": real_records,
        "synthetic_records": len(solution.weights),
        "share": share,
        "effective_size": solution.effective_size,
        "effective_share": solution.effective_size / len(solution.weights),
        "gap": solution.relative_gap,
        "iterations": solution.iterations,
        "converged": solution.converged,
        "log_normaliser": solution.log_normaliser,
        "dual": solution.dual.tolist(),
    }


def _whole_columns(
    rows: Sequence[dict[str, Any]], found: Distances, weights: np.ndarray, inputs: AlignmentInputs
) -> dict[str, Any]:
    size = effective_size(weights)
    return distance_columns(found) | {
        "stratum": ALL,
        "strength": min(row["strength"] for row in rows),
        "real_records": len(inputs.real),
        "synthetic_records": len(inputs.synthetic),
        "share": 1.0,
        "effective_size": size,
        "effective_share": size / len(inputs.synthetic),
        "gap": max(row["gap"] for row in rows),
        "iterations": sum(row["iterations"] for row in rows),
        "converged": all(row["converged"] for row in rows),
        "log_normaliser": None,
        "dual": None,
    }


def distance_columns(found: Distances) -> dict[str, float | None]:
    """Return distances under the names of their columns in `alignments`."""
    return {
        "mmd2_before": found.before,
        "mmd2_after": found.after,
        "mmd2_heldout_before": found.heldout_before,
        "mmd2_heldout_after": found.heldout_after,
        "mmd2_floor": found.floor,
        "mmd2_test_before": found.test_before,
        "mmd2_test_after": found.test_after,
    }
