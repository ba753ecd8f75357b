"""Validation at the door of this room: each public function checks its arrays here, the private ones assume it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from synalign.errors import NumericsError

#: Bytes that one temporary block may take. Peak memory of the blockwise functions is a small multiple of it.
BLOCK_BYTES = 32 * 2**20


def block_rows(columns: int, itemsize: int = 8) -> int:
    """Return how many rows of `columns` numbers fit into one block; at least 1."""
    return max(1, BLOCK_BYTES // max(1, columns * itemsize))


def as_matrix(name: str, array: Any) -> np.ndarray:
    """Return `array` as a finite, C-contiguous [n, d] matrix: float32 stays float32, all else becomes float64.

    Raises:
        NumericsError: if it is not numeric, not 2-d, has no rows or columns, or holds NaN or infinity.
    """
    matrix = _as_float(name, array)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise NumericsError(f"{name} must be a matrix [n, d] with n >= 1 and d >= 1; given: shape {matrix.shape}.")
    rows = block_rows(matrix.shape[1], 1)
    for start in range(0, len(matrix), rows):
        finite = np.isfinite(matrix[start : start + rows]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise NumericsError(
                f"{name} must be finite; row {row} of its {len(matrix)} rows (shape {matrix.shape}) holds NaN or "
                "infinity. Remove or re-embed that row."
            )
    return matrix


def as_vector(name: str, array: Any, size: int) -> np.ndarray:
    """Return `array` as a finite float64 vector of length `size`.

    Raises:
        NumericsError: if it is not numeric, not 1-d, not `size` long, or holds NaN or infinity.
    """
    vector = _as_float(name, array).astype(np.float64, copy=False)
    if vector.shape != (size,):
        raise NumericsError(f"{name} must be a vector of length {size}; given: shape {vector.shape}.")
    finite = np.isfinite(vector)
    if not finite.all():
        raise NumericsError(f"{name} must be finite; entry {int(np.argmin(finite))} is {vector[np.argmin(finite)]}.")
    return vector


def as_weights(name: str, array: Any, size: int) -> np.ndarray:
    """Return `array` as float64 weights of length `size` that sum to 1; None gives equal weights.

    Raises:
        NumericsError: as `as_vector`, and if a weight is negative or all are zero.
    """
    if array is None:
        return np.full(size, 1.0 / size)
    weights = as_vector(name, array, size)
    if weights.min() < 0:
        row = int(np.argmax(weights < 0))
        raise NumericsError(f"{name} must not be negative; entry {row} is {weights[row]}.")
    largest = weights.max()
    if largest == 0:
        raise NumericsError(f"{name} must hold a value above 0; all {size} entries are 0.")
    # Scaled first, so that neither tiny nor huge weights leave the range of float64 when they are summed.
    scaled = weights / largest
    return scaled / scaled.sum()


def check_positive(name: str, value: float) -> float:
    """Return `value` as a float.

    Raises:
        NumericsError: if it is not a finite number above 0.
    """
    if not (math.isfinite(value) and value > 0):
        raise NumericsError(f"{name} must be a finite number above 0; given: {value!r}.")
    return float(value)


def check_count(name: str, value: int, low: int, high: int, unit: str) -> int:
    """Return `value` as an int.

    Raises:
        NumericsError: if it is not a whole number in [low, high]; `unit` says what is counted.
    """
    if value != int(value) or not low <= value <= high:
        raise NumericsError(f"{name} must be a whole number of {unit} from {low} to {high}; given: {value!r}.")
    return int(value)


def check_columns(name: str, matrix: np.ndarray, columns: int, like: str) -> None:
    """Check that `matrix` has the number of columns that `like` has.

    Raises:
        NumericsError: if it has not.
    """
    if matrix.shape[1] != columns:
        raise NumericsError(f"{name} must have {columns} columns, as {like} has; given: shape {matrix.shape}.")


def _as_float(name: str, array: Any) -> np.ndarray:
    if isinstance(array, np.ndarray) and array.dtype == np.float32:
        return np.ascontiguousarray(array)
    try:
        return np.ascontiguousarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise NumericsError(f"{name} must hold numbers only: {error}.") from error
