"""Squared Maximum Mean Discrepancy of two weighted samples under an exact Gaussian kernel.

Gretton et al., "A Kernel Two-Sample Test", JMLR 13 (2012): equation 3 (unbiased) and equation 5 (biased), here with
weights. The kernel is k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)). No n x m matrix is ever held: sums
run over blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import (
    as_matrix,
    as_vector,
    as_weights,
    block_rows,
    check_columns,
    check_positive,
)

#: Columns of one kernel block; its rows follow from `checks.BLOCK_BYTES`.
_BLOCK_COLUMNS = 4096


def mmd2(
    x: Any, y: Any, bandwidth: float, x_weights: Any = None, y_weights: Any = None, unbiased: bool = True
) -> float:
    """Return the squared MMD between two weighted samples.

    With weights u, v scaled to sum 1, the biased form (V-statistic, never below 0 but for rounding) is

        u'K(x,x)u + v'K(y,y)v - 2 u'K(x,y)v.

    The unbiased form leaves each record's kernel with itself out and rescales what is left of the weights:

        sum_{i != j} u_i u_j k(x_i, x_j) / (1 - sum_i u_i^2)  +  the same of y  -  2 u'K(x,y)v;

    without weights these are Gretton's equations. It can be below 0, and is unbiased for weights that were not fitted
    to the samples. Compare a value only with values of the same form and of similar sizes.

    Args:
        x, y: [n, d] and [m, d] float. Computed in float64.
        bandwidth: of the Gaussian kernel, in units of distance.
        x_weights, y_weights: [n] and [m], not negative, any scale; None is equal weights.
        unbiased: which form.

    Raises:
        NumericsError: if an array does not fit or is not finite, the bandwidth is not above 0, or the unbiased form
            is asked for a sample of fewer than two records of positive weight.
    """
    left, right = as_matrix("x", x), as_matrix("y", y)
    check_columns("y", right, left.shape[1], "x")
    check_positive("bandwidth", bandwidth)
    u, v = as_weights("x_weights", x_weights, len(left)), as_weights("y_weights", y_weights, len(right))
    if unbiased:
        _check_two("x", u)
        _check_two("y", v)
    left, u = _used(left, u)
    right, v = _used(right, v)
    # Distances are unchanged by a shift; centred vectors lose fewer digits to cancellation.
    centre = (u @ left).astype(np.float64)
    return (
        _within(left, u, centre, bandwidth, unbiased)
        + _within(right, v, centre, bandwidth, unbiased)
        - 2.0 * _kernel_sum(left, right, u, v, centre, bandwidth)
    )


def mmd2_features(mean_x: Any, mean_y: Any) -> float:
    """Return the squared distance of two mean feature vectors, float [D] each: the biased MMD^2 of that feature map.

    With `RandomFeatures` it estimates `mmd2(..., unbiased=False)` in time linear in the number of records.

    Raises:
        NumericsError: if they are not finite vectors of one length.
    """
    first = np.asarray(mean_x)
    x = as_vector("mean_x", mean_x, first.shape[0] if first.ndim == 1 else -1)
    difference = x - as_vector("mean_y", mean_y, len(x))
    return float(difference @ difference)


def _check_two(name: str, weights: np.ndarray) -> None:
    if np.count_nonzero(weights) < 2:
        raise NumericsError(
            f"The unbiased MMD needs at least 2 records of positive weight in {name}; given: "
            f"{np.count_nonzero(weights)} of {len(weights)}. Use unbiased=False."
        )


def _used(matrix: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    positive = weights > 0
    return (matrix, weights) if positive.all() else (matrix[positive], weights[positive])


def _within(matrix: np.ndarray, weights: np.ndarray, centre: np.ndarray, bandwidth: float, unbiased: bool) -> float:
    total = _kernel_sum(matrix, matrix, weights, weights, centre, bandwidth)
    if not unbiased:
        return total
    diagonal = float(weights @ weights)
    return (total - diagonal) / (1.0 - diagonal)


def _kernel_sum(
    x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray, centre: np.ndarray, bandwidth: float
) -> float:
    """Return u'K(x,y)v in float64, in blocks. When x is y, each pair of different blocks is computed once."""
    same = x is y
    rows = min(_BLOCK_COLUMNS, block_rows(_BLOCK_COLUMNS)) if not same else block_rows(_BLOCK_COLUMNS)
    columns = rows if same else _BLOCK_COLUMNS
    factor = -0.5 / bandwidth**2
    total = 0.0
    for start in range(0, len(x), rows):
        a = x[start : start + rows] - centre
        a_norm = np.einsum("id,id->i", a, a)
        for other in range(start if same else 0, len(y), columns):
            b = y[other : other + columns] - centre
            kernel = a @ b.T
            kernel *= -2.0
            kernel += a_norm[:, None]
            kernel += np.einsum("jd,jd->j", b, b)
            np.maximum(kernel, 0.0, out=kernel)
            if same and other == start:
                np.fill_diagonal(kernel, 0.0)
            kernel *= factor
            np.exp(kernel, out=kernel)
            part = float(u[start : start + rows] @ kernel @ v[other : other + columns])
            total += part if not same or other == start else 2.0 * part
    return total
