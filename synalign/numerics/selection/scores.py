"""What a variance is multiplied with to make a score: how much real text is there, and how far it is missing."""

from __future__ import annotations

from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_vector

#: What a place counts at least where no synthetic text is missing, so that variance still decides among such.
LEAST_GAP = 0.01


def gap(witness: Any, amounts: Any, units: Any, count: int) -> np.ndarray:
    """Return how far synthetic text is missing in each of `count` units, float64 [count] in [LEAST_GAP, 1].

    It is the mean of the MMD witness over the real records of the unit, in units of the largest; where that mean is not
    above 0, LEAST_GAP, also everywhere. Ratios of the two means in the witness would not do: with a kernel as wide as
    the MMD's they are near 1 everywhere.

    Args:
        witness: float [n], at each real record; above 0 synthetic text is missing.
        amounts: float [n], multiplicities, not negative.
        units: int64 [n], the unit of each record.
        count: units.

    Raises:
        NumericsError: if an array does not fit or is not finite.
    """
    value = as_vector("witness", witness, len(units))
    amount = as_vector("amounts", amounts, len(units))
    total = np.bincount(units, amount, minlength=count)
    mean = np.divide(np.bincount(units, amount * value, minlength=count), total, out=np.zeros(count), where=total > 0)
    largest = float(mean.max())
    return np.clip(mean / largest if largest > 0 else np.zeros(count), LEAST_GAP, 1.0)


def score_weights(mass: Any, beta: float, gaps: np.ndarray | None = None) -> np.ndarray:
    """Return (mass / mean mass)^beta * gap, float64 [u], above 0.

    Args:
        mass: float [u], real records of each unit, above 0.
        beta: 0 or above.
        gaps: float [u], of `gap`; None is 1.

    Raises:
        NumericsError: if a mass is not above 0.
    """
    found = as_vector("mass", mass, len(mass))
    if found.min() <= 0:
        raise NumericsError(f"mass must be above 0; entry {int(np.argmin(found))} is {found.min()}.")
    weights: np.ndarray = np.power(found / found.mean(), beta) * (1.0 if gaps is None else gaps)
    return weights
