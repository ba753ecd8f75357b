"""What an experiment with users did to a metric: differences of arms with intervals, for several metrics at once.

The unit is the user, who was assigned to an arm, not the event. A mean over users is compared by Welch's test. A ratio
of two sums, such as clicks over impressions, has the variance of the delta method (Deng, Knoblich and Lu, "Applying the
Delta Method in Metric Analytics", KDD 2018, section 3.2). The interval of a relative lift is Fieller's ("Some Problems
in Interval Estimation", J. R. Stat. Soc. B 16, 1954). Several p-values are corrected as Holm (1979) or Benjamini and
Hochberg (1995) say, with intervals of Bonferroni, or of Benjamini and Yekutieli ("False Discovery Rate-Adjusted
Multiple Confidence Intervals", JASA 100, 2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chisquare, false_discovery_control
from scipy.stats import t as student

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_vector, as_weights

#: How p-values of several metrics are corrected.
CORRECTIONS = ("holm", "bh", "none")


@dataclass(frozen=True)
class Moments:
    """One metric in one arm, over its users. mean, variance: of what is counted for each user. base_mean,
    base_variance, covariance: of what it is divided by, and of both; a mean over users divides by 1."""

    users: int
    mean: float
    variance: float
    base_mean: float = 1.0
    base_variance: float = 0.0
    covariance: float = 0.0

    @property
    def value(self) -> float:
        """The metric: a mean, or a ratio of two means; NaN where it is divided by 0."""
        return self.mean / self.base_mean if self.base_mean else math.nan

    @property
    def error2(self) -> float:
        """The variance of `value`."""
        if not self.base_mean:
            return math.nan
        ratio = self.value
        spread = self.variance - 2 * ratio * self.covariance + ratio**2 * self.base_variance
        return max(spread, 0.0) / (self.users * self.base_mean**2)


@dataclass(frozen=True)
class Effect:
    """An arm against the control. difference: of the two values, with its interval. relative: the difference over the
    control's value, with Fieller's interval; NaN where the control's value cannot be told from 0. p_value: NaN where
    nothing varies."""

    value: float
    control: float
    difference: float
    low: float
    high: float
    relative: float
    relative_low: float
    relative_high: float
    p_value: float


def moments(counts: Any, bases: Any = None) -> Moments:
    """Return the moments of a metric in one arm.

    Args:
        counts: float [n], what is counted for each user, n >= 2.
        bases: float [n], what it is divided by; None for a mean over users.

    Raises:
        NumericsError: if there are fewer than two users, or a value is not finite.
    """
    values = as_vector("counts", counts, np.size(counts))
    if len(values) < 2:
        raise NumericsError(f"counts must be of at least 2 users, or nothing is known of how they vary; given: "
                            f"{len(values)}.")  # fmt: skip
    if bases is None:
        return Moments(len(values), float(values.mean()), float(values.var(ddof=1)))
    base = as_vector("bases", bases, len(values))
    (variance, covariance), (_, base_variance) = np.cov(values, base)
    return Moments(
        len(values), float(values.mean()), float(variance), float(base.mean()), float(base_variance), float(covariance)
    )


def effect(arm: Moments, control: Moments, alpha: float) -> Effect:
    """Return how an arm differs from the control, with intervals that miss with a probability of `alpha`.

    Raises:
        NumericsError: if an arm has fewer than two users, or alpha is not between 0 and 1.
    """
    if min(arm.users, control.users) < 2:
        raise NumericsError(f"Both arms need at least 2 users; given: {arm.users} and {control.users}.")
    if not 0 < alpha < 1:
        raise NumericsError(f"alpha must be above 0 and below 1; given: {alpha!r}.")
    difference = arm.value - control.value
    total = arm.error2 + control.error2
    if not total > 0:
        relative = difference / control.value if control.value else math.nan
        return Effect(arm.value, control.value, difference, difference, difference, relative, *[math.nan] * 3)
    error = math.sqrt(total)
    # Of Welch and Satterthwaite.
    freedom = total**2 / (arm.error2**2 / (arm.users - 1) + control.error2**2 / (control.users - 1))
    reach = float(student.isf(alpha / 2, freedom))
    p_value = float(2 * student.sf(abs(difference) / error, freedom))
    return Effect(
        arm.value,
        control.value,
        difference,
        difference - reach * error,
        difference + reach * error,
        *_relative(arm, control, reach),
        p_value,
    )


def _relative(arm: Moments, control: Moments, reach: float) -> tuple[float, float, float]:
    """Return the relative lift and Fieller's interval: the lifts r with |arm - (1 + r) control| within its reach."""
    if not control.value:
        return math.nan, math.nan, math.nan
    relative = arm.value / control.value - 1
    squared = control.value**2 - reach**2 * control.error2
    if squared <= 0:  # the control's value may be 0: any ratio may be
        return relative, math.nan, math.nan
    product = arm.value * control.value
    inside = product**2 - squared * (arm.value**2 - reach**2 * arm.error2)
    half = math.sqrt(max(inside, 0.0))
    return relative, (product - half) / squared - 1, (product + half) / squared - 1


def adjusted(p_values: Any, correction: str) -> np.ndarray:
    """Return p-values corrected for their number, float64 [m]; NaN, of a metric that does not vary, stays, and does not
    count.

    correction: "holm" keeps the probability of any false alarm at alpha, "bh" the share of false alarms among all.

    Raises:
        NumericsError: for a correction that is not known, or a value outside [0, 1].
    """
    found = np.array(p_values, dtype=np.float64)
    if correction not in CORRECTIONS:
        raise NumericsError(f"The correction must be one of {', '.join(CORRECTIONS)}; given: {correction!r}.")
    there = ~np.isnan(found)
    if ((found[there] < 0) | (found[there] > 1)).any():
        raise NumericsError("p_values must be from 0 to 1.")
    if correction == "none" or not there.any():
        return found
    if correction == "bh":
        found[there] = false_discovery_control(found[there], method="bh")
        return found
    values = found[there]
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    values[order] = np.minimum(stepped, 1.0)
    found[there] = values
    return found


def simultaneous_alpha(corrected: Any, correction: str, alpha: float) -> float:
    """Return the alpha of each single interval for which all together hold `alpha`.

    With "holm", alpha over the number of comparisons: all intervals cover with a probability of 1 - alpha. (Intervals
    that agree with Holm's steps are wider or of no use; these may hold 0 where Holm's p-value is below alpha.) With
    "bh", alpha times the share of comparisons that are significant: of the intervals of those, a share of at most alpha
    misses. With "none", alpha.

    Args:
        corrected: what `adjusted` returned.
    """
    found = np.asarray(corrected, dtype=np.float64)
    count = int((~np.isnan(found)).sum())
    if correction == "none" or not count:
        return alpha
    seen = max(int((found <= alpha).sum()), 1) if correction == "bh" else 1
    return alpha * seen / count


def sample_ratio(users: Sequence[int], shares: Sequence[float] | None = None) -> float:
    """Return the p-value of the hypothesis that users came into the arms in these shares, by a chi-square test; equal
    shares if None is given.

    Raises:
        NumericsError: if there are fewer than two arms, no user, or the shares are no weights above 0.
    """
    counts = as_vector("users", users, np.size(users))
    if len(counts) < 2 or counts.min() < 0 or not counts.sum():
        raise NumericsError(f"users must be counted in at least two arms, at least one of all; given: {list(users)}.")
    expected = as_weights("shares", None if shares is None else list(shares), len(counts))
    if expected.min() == 0:
        raise NumericsError("shares must be above 0: an arm that nobody is due in has no users to compare.")
    return float(chisquare(counts, expected * counts.sum()).pvalue)
