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
    Distances,
    Fit,
    Means,
    Pull,
    Samples,
    align_stratum,
    align_whole,
    distances,
)
from synalign.numerics.alignment.strength import Candidate
from synalign.numerics.core.label_quality import Quality, label_quality
from synalign.steps.alignment.inputs import ALL, Side, Strata, rows_of_strata
from synalign.steps.alignment.kernel import Kernel
from synalign.steps.core.context import Context


@dataclass(frozen=True)
class Belief:
    """The base measure of all synthetic records, fitted to all real records and to their first half, and the label
    quality in it, None where it is left out."""

    full: np.ndarray
    half: np.ndarray
    quality: Quality | None

    @classmethod
    def of(cls, sides: dict[str, Side], base: np.ndarray, wanted: bool, seed: int) -> Belief:
        """Multiply the label quality into the base measure, if it is wanted."""
        if not wanted:
            return cls(base, base, None)
        real, synthetic = sides["real"], sides["synthetic"]

        def believed(rows: np.ndarray) -> Quality:
            weights = real.multiplicity[rows]
            return label_quality(
                real.matrix[rows], real.labels[rows], weights, synthetic.matrix, synthetic.labels, seed
            )

        halves = real.first_half
        full = believed(np.arange(len(real)))
        half = believed(np.flatnonzero(halves)) if halves.any() else full
        return cls(base * full.probability, base * half.probability, full)


@dataclass(frozen=True)
class Fitted:
    """What was fitted. weighted: id, label and weight of each record. rows: of `alignments`, each stratum, then all
    together. whole: the mean features of all together."""

    weighted: pl.DataFrame
    rows: list[dict[str, Any]]
    whole: Means


@dataclass(frozen=True)
class Weighting:
    """What the weights of all strata are fitted with."""

    context: Context
    drawn: Kernel
    sides: dict[str, Side]
    strata: Strata
    pull: Pull
    candidate: Candidate
    belief: Belief
    given: np.ndarray | None

    @classmethod
    def of(
        cls,
        context: Context,
        settings: Align,
        drawn: Kernel,
        sides: dict[str, Side],
        strata: Strata,
        candidate: Candidate,
        base: np.ndarray,
        given: np.ndarray | None,
        seed: int,
    ) -> Weighting:
        """Return it for the candidate that was settled on; `given` are the shares of the strata that settings give."""
        pull = Pull(candidate.eps, settings.max_weight_ratio, settings.min_effective_share, settings.device)
        belief = Belief.of(sides, base, candidate.quality, seed)
        return cls(context, drawn, sides, strata, pull, candidate, belief, given)

    def fit(self) -> Fitted:
        """Fit the weights of each stratum that has synthetic records, and put them together in their shares."""
        names, features = self.strata.names, self.drawn.features
        members = {name: rows_of_strata(side.strata, len(names)) for name, side in self.sides.items()}
        shares = self._shares()
        weights = np.zeros(len(self.sides["synthetic"]))
        fits: list[Fit] = []
        rows: list[dict[str, Any]] = []
        for number, (name, share) in enumerate(zip(names, shares.tolist(), strict=True)):
            self.context.progress("aligning", number, len(names))
            inside = {side: found[number] for side, found in members.items()}
            if not len(inside["synthetic"]):
                continue
            fit = align_stratum(features, self._samples(inside), self.pull)
            weights[inside["synthetic"]] = share * fit.solution.weights
            fits.append(fit)
            rows.append(_fit_columns(fit, len(inside["real"]), share) | {"stratum": name})
        self.context.progress("aligning", len(names), len(names))
        everywhere = np.flatnonzero(self.sides["synthetic"].strata >= 0)
        if names == [ALL]:
            whole = fits[0].means
        else:
            everything = {side: np.arange(len(found)) for side, found in self.sides.items()}
            fitted = np.array([row["share"] for row in rows])
            whole = align_whole(features, self._samples(everything), fits, fitted, self.pull.device)
            rows.append(_whole_columns(rows, distances(whole), weights, self.sides))
        frame = self.sides["synthetic"].frame[everywhere].select("id", "label")
        return Fitted(frame.with_columns(pl.Series("weight", weights[everywhere])), rows, whole)

    def without(self, left_out: np.ndarray) -> Weighting:
        """Return the same with some synthetic records left out, bool [m]."""
        kept = np.flatnonzero(~left_out)
        side = self.sides["synthetic"]
        some = Side(side.frame[kept], side.matrix[kept], side.strata[kept], side.labels[kept])
        belief = Belief(self.belief.full[kept], self.belief.half[kept], self.belief.quality)
        return replace(self, sides=self.sides | {"synthetic": some}, belief=belief)

    def _shares(self) -> np.ndarray:
        """Return the share of each stratum in the weights, float64 [L]; 0 for one without synthetic records."""
        count, kind = len(self.strata.names), self.candidate.shares
        synthetic = self.sides["synthetic"]
        if self.given is not None:
            totals = self.given
        else:
            side = self.sides["real" if kind == "real" else "synthetic"]
            amounts = side.multiplicity if kind == "real" else self.belief.full
            inside = side.strata >= 0
            totals = np.bincount(side.strata[inside], amounts[inside], minlength=count)
        there = np.bincount(synthetic.strata[synthetic.strata >= 0], minlength=count) > 0
        found: np.ndarray = totals * there / (totals * there).sum()
        return found

    def _samples(self, rows: dict[str, np.ndarray]) -> Samples:
        real, synthetic, test = (self.sides[name] for name in ("real", "synthetic", "test"))
        inside = rows["synthetic"]
        return Samples(
            real.matrix[rows["real"]],
            real.multiplicity[rows["real"]],
            real.first_half[rows["real"]],
            synthetic.matrix[inside],
            synthetic.multiplicity[inside],
            self.belief.full[inside],
            self.belief.half[inside],
            test.matrix[rows["test"]],
            test.multiplicity[rows["test"]],
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
    rows: Sequence[dict[str, Any]], found: Distances, weights: np.ndarray, sides: dict[str, Side]
) -> dict[str, Any]:
    size = effective_size(weights)
    return distance_columns(found) | {
        "stratum": ALL,
        "strength": min(row["strength"] for row in rows),
        "real_records": len(sides["real"]),
        "synthetic_records": len(sides["synthetic"]),
        "share": 1.0,
        "effective_size": size,
        "effective_share": size / len(sides["synthetic"]),
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
