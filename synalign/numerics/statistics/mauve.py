"""MAUVE: how far two sets of vectors lie apart, as the area under a curve of two kinds of error.

Pillutla et al., "MAUVE: Measuring the Gap Between Neural Text and Human Text", NeurIPS 2021: both sets are quantised by
one k-means; the curve is (exp(-c KL(Q|R)), exp(-c KL(P|R))) over the mixtures R = t P + (1 - t) Q. Histograms are
smoothed as in Pillutla et al., "MAUVE Scores for Generative Models", JMLR 24 (2023), section 4 (Krichevsky-Trofimov,
1/2 added to each count), which the package mauve-text calls mauve_star. Two departures from that package: no PCA before
k-means, and the area is taken at 1,000 points rather than 25.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_matrix, as_vector, as_weights, check_columns, check_positive
from synalign.numerics.core.clustering import fit_clusters
from synalign.numerics.core.neighbours import unit_rows

#: c of the curve, and what is added to each count: the papers' values.
SCALE, SMOOTHING = 5.0, 0.5

_POINTS = 1000
_MOST_CLUSTERS = 500


def cluster_count(real: int, other: int) -> int:
    """Return how many clusters sets of these sizes are quantised into: a tenth of the smaller, from 2 to 500."""
    return min(_MOST_CLUSTERS, max(2, round(min(real, other) / 10)))


def quantise(real: Any, other: Any, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster of each row of both sets, int64 [n] and [m], from 0: one k-means of all, at length 1.

    Args:
        real, other: [n, d] and [m, d] float.
        k: clusters wanted, from 1 to n + m.
        seed: of k-means.

    Raises:
        NumericsError: if an array does not fit or is not finite, or k is out of range.
    """
    x, y = as_matrix("real", real), as_matrix("other", other)
    check_columns("other", y, x.shape[1], "real")
    labels = fit_clusters(np.concatenate([unit_rows(x), unit_rows(y)]), k, seed).labels
    return labels[: len(x)], labels[len(x) :]


def curve_area(p: Any, q: Any, smoothing: float = SMOOTHING, scale: float = SCALE) -> float:
    """Return MAUVE of two histograms, in (0, 1]: 1 if their shares are equal; 1 / C(2 scale, scale), .004, if they have
    nothing in common and are not smoothed.

    Args:
        p, q: [k] counts, not negative.
        smoothing: added to each count, at least 0.
        scale: c, above 0.

    Raises:
        NumericsError: if they are no finite vectors of one length, hold a negative or no positive value, or an argument
            is out of range.
    """
    size = np.size(p)
    counts = [as_vector(name, array, size) for name, array in (("p", p), ("q", q))]
    for name, array in zip("pq", counts, strict=True):
        as_weights(name, array, size)
    check_positive("scale", scale)
    if not 0 <= smoothing < np.inf:
        raise NumericsError(f"smoothing must be a finite number of at least 0; given: {smoothing!r}.")
    one, other = (array + smoothing for array in counts)
    one, other = one / one.sum(), other / other.sum()
    share = np.linspace(0, 1, _POINTS + 2)[1:-1, None]
    mixed = share * one + (1 - share) * other
    x = np.concatenate([[1.0], np.exp(-scale * _kl(other, mixed)), [0.0]])
    y = np.concatenate([[0.0], np.exp(-scale * _kl(one, mixed)), [1.0]])
    # From t = 0, where the mixture is Q, to t = 1: x falls and y rises.
    return float(min(1.0, abs(np.trapezoid(y, x)) / 2 + abs(np.trapezoid(x, y)) / 2))


def mauve(
    real: Any, other: Any, seed: int, real_weights: Any = None, weights: Any = None, k: int | None = None
) -> float:
    """Return MAUVE of two weighted sets of vectors, in (0, 1]: 1 if they cannot be told apart.

    A weighted set counts as 1 / sum(w^2) records, which decides how much the smoothing weighs. The value depends on the
    sizes and on k: compare it with that of two real sets of the same sizes.

    Args:
        real, other: [n, d] and [m, d] float.
        seed: of k-means.
        real_weights, weights: [n] and [m], not negative, any scale; None is equal weights.
        k: clusters; None is `cluster_count` of what both sets are worth.

    Raises:
        NumericsError: if an array does not fit or is not finite, or k is out of range.
    """
    shares = [
        as_weights("real_weights", real_weights, len(as_matrix("real", real))),
        as_weights("weights", weights, len(as_matrix("other", other))),
    ]
    worth = [1.0 / float(share @ share) for share in shares]
    wanted = cluster_count(int(worth[0]), int(worth[1])) if k is None else k
    here, there = quantise(real, other, wanted, seed)
    size = int(max(here.max(), there.max())) + 1
    p, q = (
        np.bincount(labels, share, size) * amount
        for labels, share, amount in zip((here, there), shares, worth, strict=True)
    )
    return curve_area(p, q)


def _kl(p: np.ndarray, mixed: np.ndarray) -> np.ndarray:
    """Return KL(p | r) of each row r of mixtures of p with something, [points]."""
    there = p > 0
    return np.asarray((p[there] * np.log(p[there] / mixed[:, there])).sum(axis=1))
