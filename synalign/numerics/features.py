"""Random Fourier features of a Gaussian kernel.

Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", NIPS 2007, Algorithm 1, in its paired form: for
D/2 frequencies omega ~ N(0, I / bandwidth^2),

    phi(x) = sqrt(2/D) [cos(omega'x), sin(omega'x)],    E[phi(x)'phi(y)] = exp(-|x - y|^2 / (2 bandwidth^2)),

so that |phi(x)| = 1 exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.checks import as_matrix, as_weights, check_columns, check_count, check_positive

#: The largest number of features, as in `align.features` of the configuration.
MAX_FEATURES = 65_536


@dataclass(frozen=True)
class RandomFeatures:
    """A drawn feature map. Seed, bandwidth and the shape of `frequencies` determine it: `draw` makes it again.

    frequencies: float32 [d, D/2]. bandwidth: in units of distance. seed: that of the draw.
    """

    frequencies: np.ndarray
    bandwidth: float
    seed: int

    @classmethod
    def draw(cls, dimensions: int, features: int, bandwidth: float, seed: int) -> RandomFeatures:
        """Draw the frequencies of a Gaussian kernel.

        Args:
            dimensions: d, of the vectors to map.
            features: D, even: D/2 cosines, then D/2 sines.
            bandwidth: of the kernel, e.g. `kernels.median_distance`.
            seed: a non-negative integer.

        Raises:
            NumericsError: if D is odd or an argument is out of range.
        """
        check_count("dimensions", dimensions, 1, 2**31, "columns")
        check_count("features", features, 2, MAX_FEATURES, "features")
        check_positive("bandwidth", bandwidth)
        if features % 2:
            raise NumericsError(f"features must be even, a cosine and a sine for each frequency; given: {features}.")
        normal = np.random.default_rng(seed).standard_normal((dimensions, features // 2))
        return cls((normal / bandwidth).astype(np.float32), float(bandwidth), seed)

    @property
    def size(self) -> int:
        """D, the number of features."""
        return 2 * self.frequencies.shape[1]

    def map(self, block: Any) -> np.ndarray:
        """Return phi of each row, float32 [n, D]. All n rows at once: hand in blocks.

        Raises:
            NumericsError: if `block` is no finite matrix or has not d columns.
        """
        matrix = as_matrix("block", block)
        check_columns("block", matrix, self.frequencies.shape[0], "the frequencies")
        return self._map(matrix)

    def mean(self, vectors: Any, weights: Any = None, block: int = 8192) -> np.ndarray:
        """Return the weighted mean of phi over all rows, float64 [D], in blocks of `block` rows.

        Args:
            vectors: [n, d] float.
            weights: [n], not negative, any scale; None is equal weights.
            block: rows mapped at a time.

        Raises:
            NumericsError: if an array does not fit, or as `map`.
        """
        matrix = as_matrix("vectors", vectors)
        check_columns("vectors", matrix, self.frequencies.shape[0], "the frequencies")
        check_count("block", block, 1, 2**31, "rows")
        share = as_weights("weights", weights, len(matrix))
        total = np.zeros(self.size)
        for start in range(0, len(matrix), block):
            part = share[start : start + block]
            largest = part.max()
            if largest > 0:
                # The block's sum is taken in float32 over weights of about 1, then added up in float64.
                scaled = (part / largest).astype(np.float32)
                total += largest * (scaled @ self._map(matrix[start : start + block])).astype(np.float64)
        return total

    def _map(self, matrix: np.ndarray) -> np.ndarray:
        half = self.frequencies.shape[1]
        result = np.empty((len(matrix), 2 * half), dtype=np.float32)
        angles = matrix.astype(np.float32, copy=False) @ self.frequencies
        np.cos(angles, out=result[:, :half])
        np.sin(angles, out=result[:, half:])
        result *= np.float32(np.sqrt(1.0 / half))
        return result
