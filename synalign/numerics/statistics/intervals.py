"""How sure a figure of a sample is: intervals of shares, of ratios and quantiles, and of what depends on a size.

That of a mean over seeds is Student's t. The interval of a share is Wilson's ("Probable Inference", JASA 22, 1927): it
says something where nothing was found. Ratios and quantiles are bootstrapped over records (Efron and Tibshirani 1993).
How many different words there are is neither: it depends on the size of the sample, and a bootstrap, which repeats
records, would count too few. Such figures are computed on parts of the sample, drawn without replacement (Politis,
Romano and Wolf, "Subsampling", 1999).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_vector, as_weights, block_rows, check_count

#: Bootstrap resamples.
RESAMPLES = 300

#: Standard errors to each side of a figure that make its 95% interval.
_SIGMAS = 1.96


class Interval(NamedTuple):
    """A figure and its 95% interval."""

    value: float
    low: float
    high: float


def t_interval(values: Any, level: float = 0.95) -> Interval:
    """Return the mean of values and its interval by Student's t: of one value for each seed, that over the seeds.

    Raises:
        NumericsError: if there are fewer than two, or one is not finite.
    """
    from scipy import stats

    found = as_vector("values", values, _length(values))
    if len(found) < 2:
        raise NumericsError(f"An interval is of two values or more; given: {len(found)}.")
    mean = float(found.mean())
    half = float(stats.t.ppf((1 + level) / 2, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found)))
    return Interval(mean, mean - half, mean + half)


def share_interval(present: Any, weights: Any = None) -> Interval:
    """Return the weighted share of the records with a trait. Weights make a sample worth 1 / sum(w^2) records.

    Args:
        present: [n] bool or 0 and 1.
        weights: [n], not negative, any scale; None is equal weights.

    Raises:
        NumericsError: if the arguments are no finite vectors of one length, or no weight is above 0.
    """
    there = as_vector("present", np.asarray(present, dtype=np.float64), _length(present))
    share = as_weights("weights", weights, len(there))
    value, size = min(1.0, float(share @ there)), 1.0 / float(share @ share)
    z2 = _SIGMAS**2
    centre = (value + z2 / (2 * size)) / (1 + z2 / size)
    reach = _SIGMAS / (1 + z2 / size) * math.sqrt(value * (1 - value) / size + z2 / (4 * size**2))
    # At shares of 0 and 1 an end is the share itself, but for rounding.
    return Interval(value, max(0.0, min(value, centre - reach)), min(1.0, max(value, centre + reach)))


def ratio_interval(above: Any, below: Any, seed: int, weights: Any = None) -> Interval | None:
    """Return the weighted sum of one number of each record over that of another; None if the latter is 0.

    Args:
        above, below: [n], not negative, such as a text's capitals and its letters.
        seed: of the bootstrap.
        weights: [n], not negative, any scale; None is equal weights.

    Raises:
        NumericsError: as `share_interval`.
    """
    over, under = (as_vector(name, array, _length(above)) for name, array in (("above", above), ("below", below)))
    share = as_weights("weights", weights, len(over))
    if not share @ under > 0:
        return None
    value = float(share @ over / (share @ under))
    sums = np.concatenate([counts @ np.stack([over, under], axis=1) for counts in _resampled(share, seed)])
    return _ends(value, sums[sums[:, 1] > 0, 0] / sums[sums[:, 1] > 0, 1])


def quantile_interval(values: Any, quantile: float, seed: int, weights: Any = None) -> Interval:
    """Return the smallest value up to which the share `quantile` of the weight lies.

    Args:
        values: [n].
        quantile: above 0, at most 1.
        seed: of the bootstrap.
        weights: [n], not negative, any scale; None is equal weights.

    Raises:
        NumericsError: as `share_interval`, and if the quantile is out of range.
    """
    if not 0 < quantile <= 1:
        raise NumericsError(f"quantile must be above 0 and at most 1; given: {quantile!r}.")
    given = as_vector("values", values, _length(values))
    order = np.argsort(given, kind="stable")
    share, given = as_weights("weights", weights, len(given))[order], given[order]
    found = [given[_reached(counts, quantile)] for counts in _resampled(share, seed)]
    return _ends(float(given[_reached(share[None], quantile)][0]), np.concatenate(found))


def subsample_interval(values: Any, fraction: float, most: float = math.inf) -> Interval:
    """Return the mean of a figure over random parts of a sample, and how far it would vary over samples.

    Parts of a share f of the sample vary less among each other than samples of that size would, since they have
    records in common: of a figure that behaves like a mean, the variance of its expectation over parts, as the whole
    sample tells it, is that among the parts times f / (1 - f).

    Args:
        values: [rounds] the figure of each part; [repeats, rounds] of one that is itself random, such as by the seed of
            a clustering: how far its mean over the repeats would vary is then added.
        fraction: f, above 0 and below 1.
        most: the largest value that the figure can have; the smallest is 0.

    Raises:
        NumericsError: if there are no values, one is not finite, or the fraction is out of range.
    """
    given = np.atleast_2d(np.asarray(values, dtype=np.float64))
    as_vector("values", given.ravel(), _length(given))
    if not 0 < fraction < 1:
        raise NumericsError(f"fraction must be above 0 and below 1; given: {fraction!r}.")
    repeats, rounds = given.shape
    value = float(given.mean())
    variance = float(given.var(axis=1, ddof=1).mean()) * fraction / (1 - fraction) if rounds > 1 else 0.0
    variance += float(given.mean(axis=1).var(ddof=1)) / repeats if repeats > 1 else 0.0
    reach = _SIGMAS * math.sqrt(variance)
    return Interval(value, min(value, max(0.0, value - reach)), max(value, min(most, value + reach)))


def _length(array: Any) -> int:
    return check_count("the number of records", np.size(array), 1, 2**31, "records")


def _resampled(share: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return weights of resampled records, [RESAMPLES, n] in blocks: how often each was drawn times its share."""
    random = np.random.default_rng(seed)
    there = share > 0
    odds = there / there.sum()
    step = block_rows(len(share))
    return [
        random.multinomial(int(there.sum()), odds, size=min(step, RESAMPLES - start)) * share
        for start in range(0, RESAMPLES, step)
    ]


def _reached(shares: np.ndarray, quantile: float) -> np.ndarray:
    """Return for each row of shares, of ascending values, the place where their sum reaches the quantile."""
    sums = np.cumsum(shares, axis=1)
    # A hair less: sums of equal shares miss a half by rounding.
    return np.argmax(sums >= (quantile - 1e-9) * sums[:, -1:], axis=1)


def _ends(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(value, min(value, float(low)), max(value, float(high)))
