"""Embeddings that are checked, and projected."""

from __future__ import annotations

from typing import Any

import numpy as np

from synalign.errors import NumericsError

#: Rows projected or checked at a time.
BLOCK = 4096


def as_matrix(name: str, array: Any) -> np.ndarray:
    """Return a finite float32 matrix [n, d] of at least one row and column, none of whose rows is zero.

    Raises:
        NumericsError: if it is none.
    """
    try:
        matrix = np.ascontiguousarray(array, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise NumericsError(f"{name} must hold numbers only: {error}.") from error
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise NumericsError(f"{name} must be a matrix [n, d] with n >= 1 and d >= 1; given: shape {matrix.shape}.")
    for begin in range(0, len(matrix), BLOCK):
        block = matrix[begin : begin + BLOCK]
        good = np.isfinite(block).all(axis=1) & block.any(axis=1)
        if not good.all():
            row = begin + int(np.argmin(good))
            raise NumericsError(f"{name} must be finite and have a direction; row {row} of {len(matrix)} has not.")
    return matrix


def project(name: str, vectors: Any, matrix: np.ndarray) -> np.ndarray:
    """Return the projections by `matrix`, float32 [k, d], at length 1, float32 [n, k].

    Raises:
        NumericsError: as `as_matrix`, but for no rows; if a row is not d long, or is projected to nothing.
    """
    rows = as_matrix(name, vectors) if len(vectors) else np.empty((0, matrix.shape[1]), dtype=np.float32)
    if rows.shape[1] != matrix.shape[1]:
        raise NumericsError(f"{name} must be embeddings of length {matrix.shape[1]}; given: {rows.shape[1]}.")
    result = np.empty((len(rows), len(matrix)), dtype=np.float32)
    for begin in range(0, len(rows), BLOCK):
        block = rows[begin : begin + BLOCK] @ matrix.T
        lengths = np.linalg.norm(block, axis=1, keepdims=True)
        if not lengths.all():
            row = begin + int(np.argmin(lengths[:, 0]))
            raise NumericsError(f"{name} must have a direction; row {row} has none once it is projected.")
        result[begin : begin + BLOCK] = block / lengths
    return result
