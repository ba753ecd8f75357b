"""Is the win rate one half? A test that may be looked at after every query, and how many queries it takes.

The evidence is a mixture likelihood ratio (Robbins, "Statistical Methods Related to the Law of the Iterated Logarithm",
Ann. Math. Stat. 41, 1970): after w wins of n, with a Beta(s, s) mixture over the win rate,

    E_n(p) = B(s + w, s + n - w) / (B(s, s) p^w (1 - p)^(n - w)).

If p is the win rate, E_n(p) is a martingale that begins at 1, so that it ever reaches 1/alpha with a probability of at
most alpha (Ville). Hence 1 / max E_n(1/2) is a p-value at any time (Johari, Pekelis and Walsh, "Always Valid
Inference", arXiv 1512.04922), and the p with E_n(p) < 1/alpha so far are a confidence sequence (Howard, Ramdas,
McAuliffe and Sekhon, "Time-Uniform, Nonparametric, Nonasymptotic Confidence Sequences", Ann. Stat. 49, 2021). Ties say
nothing of who wins, and are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betaln, xlog1py, xlogy
from scipy.stats import norm

from synalign.errors import NumericsError
from synalign.numerics.core.checks import check_count

#: Looks of a simulated test, at most: of more decided queries only every second, third, ... is looked at.
_LOOKS = 4_000

#: Steps of a bisection: 2^-60 is below the rounding of a win rate.
_BISECTIONS = 60

#: The test that may be looked at is given so many times the decided queries of the one that may not, and, if that is
#: not enough for the power asked for, twice as many.
_HORIZON = 4


@dataclass(frozen=True)
class Watched:
    """A test after n decided queries. All arrays are [n], entry t being what was known after t + 1 of them.

    log_e: log of the evidence against a win rate of one half. p_value: valid at every t. low, high: the confidence
    sequence of the win rate. stopped: decided queries after which the p-value was alpha or below; None if it never was.
    decision: 1 if A was better then, -1 if B was, 0 if no difference was seen yet.
    """

    log_e: np.ndarray
    p_value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    stopped: int | None
    decision: int
    wins: int
    decided: int


def mixture(lift: float) -> float:
    """Return the s of the mixture Beta(s, s) whose standard deviation is a lift: the test is quickest at about that.

    It has to be chosen before the data are seen. Whatever it is, the test is valid.

    Raises:
        NumericsError: if the lift is not above 0 and below one half.
    """
    _require_lift(lift)
    return (1.0 / (4.0 * lift * lift) - 1.0) / 2.0


def log_evidence(wins: Any, decided: Any, s: float, rate: Any = 0.5) -> np.ndarray:
    """Return log E_n(rate), see the head of this file; all arguments are broadcast."""
    wins, decided = np.asarray(wins, dtype=np.float64), np.asarray(decided, dtype=np.float64)
    losses = decided - wins
    found: np.ndarray = (
        betaln(s + wins, s + losses) - betaln(s, s) - xlogy(wins, rate) - xlog1py(losses, -np.asarray(rate))
    )
    return found


def watch(outcomes: Any, alpha: float, lift: float) -> Watched:
    """Test a stream of outcomes, looking after each one.

    Args:
        outcomes: integer [m], in the order in which they came: above 0 a win of A, below 0 one of B, 0 a tie.
        alpha: the probability of a false alarm, at most, however often one looks.
        lift: what the mixture is made for, see `mixture`.

    Raises:
        NumericsError: if the outcomes are no vector, or alpha or the lift is out of range.
    """
    found = np.asarray(outcomes)
    if found.ndim != 1:
        raise NumericsError(f"outcomes must be a vector; given: shape {found.shape}.")
    _require_alpha(alpha)
    s = mixture(lift)
    won = found[found != 0] > 0
    decided, wins = np.arange(1, len(won) + 1), np.cumsum(won)
    log_e = log_evidence(wins, decided, s)
    best = np.maximum.accumulate(log_e)
    p_value = np.exp(-np.maximum(best, 0.0))
    hit = np.flatnonzero(best >= -math.log(alpha))
    low, high = confidence_sequence(wins, decided, alpha, s)
    stopped = int(hit[0]) + 1 if len(hit) else None
    decision = 0 if stopped is None else 1 if 2 * wins[stopped - 1] > stopped else -1
    return Watched(log_e, p_value, low, high, stopped, decision, int(won.sum()), len(won))


def confidence_sequence(wins: np.ndarray, decided: np.ndarray, alpha: float, s: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval of the win rate after each decided query, float64 [n] each, none wider than one
    before it. With a probability of 1 - alpha all of them hold the win rate.

    log E_n(p) is convex in p with its least value at wins / decided, so that each end is found by bisection. Where no p
    is left in all intervals so far, which happens with a probability of at most alpha if one win rate held throughout,
    the last interval stays.
    """
    losses = decided - wins
    rate = wins / decided
    # What of log E does not depend on the rate, less the limit.
    level = betaln(s + wins, s + losses) - betaln(s, s) + math.log(alpha)

    def end(outside: float) -> np.ndarray:
        inner, outer = rate.copy(), np.full(len(rate), outside)
        for _ in range(_BISECTIONS):
            middle = (inner + outer) / 2
            kept = level < xlogy(wins, middle) + xlog1py(losses, -middle)
            inner, outer = np.where(kept, middle, inner), np.where(kept, outer, middle)
        return inner

    low, high = np.maximum.accumulate(end(0.0)), np.minimum.accumulate(end(1.0))
    crossed = np.flatnonzero(low > high)
    if len(crossed):
        last = max(int(crossed[0]) - 1, 0)
        low[last:], high[last:] = low[last], high[last]
    return low, high


def sample_size(lift: float, power: float, alpha: float, tie_rate: float = 0.0) -> int:
    """Return how many impressions a two-sided sign test needs that is looked at once, at the end.

    The normal approximation with a continuity correction (Fleiss, Levin and Paik, "Statistical Methods for Rates and
    Proportions", 2003, equation 2.16), over the share of impressions that are decided.

    Args:
        lift: the win rate above one half that is to be seen.
        power: the probability with which it is seen.
        tie_rate: the share of the impressions that end in a tie.

    Raises:
        NumericsError: if an argument is out of range.
    """
    _require_lift(lift)
    _require_alpha(alpha)
    _require_power(power, tie_rate)
    rate = 0.5 + lift
    spread = norm.isf(alpha / 2) * 0.5 + norm.isf(1 - power) * math.sqrt(rate * (1 - rate))
    plain = max(float(spread), 0.0) ** 2 / lift**2
    decided = plain / 4 * (1 + math.sqrt(1 + 2 / (plain * lift))) ** 2 if plain else 1.0
    return math.ceil(math.ceil(decided) / (1 - tie_rate))


@dataclass(frozen=True)
class Stopping:
    """Impressions until the test that may be looked at after each one stops, over simulated streams: the number by
    which a share of `power` of them has stopped, the median, and the mean of those that stopped by `horizon`; and the
    share that did."""

    needed: int
    median: int
    mean: float
    horizon: int
    stopped: float


def stopping_time(
    lift: float,
    power: float,
    alpha: float,
    tie_rate: float = 0.0,
    *,
    seed: int = 0,
    repetitions: int = 1_000,
    made_for: float | None = None,
) -> Stopping:
    """Return how many impressions the test of `watch` takes to see a lift, by simulation.

    Args:
        lift, power, alpha, tie_rate: as in `sample_size`.
        repetitions: simulated streams.
        made_for: the lift of the mixture; default: this lift.

    Where that takes more than 4,000 decided queries, it is only looked at 4,000 times, evenly, so that the numbers are
    too large by up to a four-thousandth.

    Raises:
        NumericsError: if an argument is out of range.
    """
    check_count("repetitions", repetitions, 100, 10_000_000, "streams")
    _require_power(power, tie_rate)
    s = mixture(lift if made_for is None else made_for)
    horizon = _HORIZON * sample_size(lift, power, alpha)
    while True:
        times, reached = _stopped(0.5 + lift, s, alpha, horizon, repetitions, seed)
        share = float(np.mean(reached))
        if share >= power:
            break
        horizon *= 2
    over = np.where(reached, times, np.inf)
    share_decided = 1 - tie_rate

    def impressions(decided: float) -> int:
        return math.ceil(decided / share_decided)

    needed = float(np.quantile(over, power, method="higher"))
    median = float(np.quantile(over, 0.5, method="higher"))
    median = needed if math.isinf(median) else median
    return Stopping(
        impressions(needed),
        impressions(median),
        float(times[reached].mean()) / share_decided,
        impressions(horizon),
        share,
    )


def _stopped(
    rate: float, s: float, alpha: float, horizon: int, repetitions: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return after how many decided queries each simulated stream stopped, and which did by the horizon."""
    step = -(-horizon // _LOOKS)
    looks = np.arange(1, -(-horizon // step) + 1) * step
    # The fewest wins that are enough at each look; losing needs as many losses, the mixture being even.
    enough = _enough(looks, s, -math.log(alpha))
    random = np.random.default_rng(seed)
    times = np.zeros(repetitions, dtype=np.int64)
    reached = np.zeros(repetitions, dtype=bool)
    rows = max(1, 4_000_000 // len(looks))
    for start in range(0, repetitions, rows):
        here = slice(start, min(start + rows, repetitions))
        count = here.stop - here.start
        wins = random.binomial(step, rate, (count, len(looks))).cumsum(axis=1)
        hit = (wins >= enough) | (looks - wins >= enough)
        reached[here] = hit.any(axis=1)
        times[here] = looks[hit.argmax(axis=1)]
    return times, reached


def _enough(looks: np.ndarray, s: float, limit: float) -> np.ndarray:
    """Return the fewest wins, float64 [looks], for which the evidence reaches the limit; infinity if all are not
    enough. Above half the wins it only rises."""
    inner, outer = looks // 2, looks.copy()
    possible = log_evidence(looks, looks, s) >= limit
    while (outer - inner > 1).any():
        middle = (inner + outer) // 2
        there = log_evidence(middle, looks, s) >= limit
        inner, outer = np.where(there, inner, middle), np.where(there, middle, outer)
    return np.where(possible, outer, np.inf)


def _require_lift(lift: float) -> None:
    if not (math.isfinite(lift) and 0 < lift < 0.5):
        raise NumericsError(
            f"lift must be above 0 and below 0.5, the win rate above one half: 0.02 is 52%; given: {lift!r}."
        )


def _require_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise NumericsError(f"alpha must be above 0 and below 1; given: {alpha!r}.")


def _require_power(power: float, tie_rate: float) -> None:
    if not 0 < power < 1:
        raise NumericsError(f"power must be above 0 and below 1; given: {power!r}.")
    if not 0 <= tie_rate < 1:
        raise NumericsError(f"tie_rate must be at least 0 and below 1; given: {tie_rate!r}.")
