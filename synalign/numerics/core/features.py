"""Feature maps phi, for which an inner product is a kernel: k(x, y) = phi(x) . phi(y).

`RandomFeatures` estimates a Gaussian kernel, or a mean of several (Rahimi and Recht, "Random Features for Large-Scale
Kernel Machines", NIPS 2007, Algorithm 1, in its paired form; Yu et al., "Orthogonal Random Features", NIPS 2016, for
frequencies that are orthogonal within each block of d, which lowers the variance). `KernelFeatures` is the exact kernel
on the records it was made of, for small problems. `RandomProjections` is the linear map of the SynAlign paper
(arXiv 2502.08661, section 3.4), under which MMD sees means alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import local
from typing import TYPE_CHECKING, Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_matrix, as_weights, check_columns, check_count, check_positive
from synalign.numerics.core.threads import each

if TYPE_CHECKING:
    import torch

    Mapper = Callable[[torch.Tensor], torch.Tensor]

#: The largest number of features, as in `align.features` of the configuration.
MAX_FEATURES = 65_536

#: The most landmarks of `KernelFeatures`: their Gram matrix takes 8 bytes a pair.
MAX_LANDMARKS = 10_000

#: Added to the diagonal of a Gram matrix of ones, so that equal landmarks leave it positive definite.
_JITTER = 1e-9

#: Rows that `map` and `mean` take at a time.
_ROWS = 1024


class FeatureMap(ABC):
    """A map of vectors [n, d] to features [n, D]. `bounded`: whether no feature exceeds 1, so that float16 holds it."""

    bounded = True

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """d, of the vectors to map."""

    @property
    @abstractmethod
    def size(self) -> int:
        """D, the number of features."""

    @abstractmethod
    def mapper(self, device: str = "cpu") -> Mapper:
        """Return phi as a function of tensors on one device: float32 [n, d] -> float32 [n, D].

        What it returns is valid until the same thread calls it again: fresh memory for every block took longer than
        all else.
        """

    def map(self, block: Any) -> np.ndarray:
        """Return phi of each row, float32 [n, D]. All n rows at once: hand in blocks.

        Raises:
            NumericsError: if `block` is no finite matrix or has not d columns.
        """
        import torch

        matrix = as_matrix("block", block)
        check_columns("block", matrix, self.dimensions, "the feature map")
        return self.mapper()(torch.from_numpy(matrix.astype(np.float32, copy=False))).numpy().copy()

    def mean(
        self, vectors: Any, weights: Any = None, device: str = "cpu", keep: torch.Tensor | None = None
    ) -> np.ndarray:
        """Return the weighted mean of phi over all rows, float64 [D], block by block.

        Args:
            vectors: [n, d] float.
            weights: [n], not negative, any scale; None is equal weights.
            device: where the features are computed, a name that torch knows.
            keep: [n, D] on that device, where the features are to be stored as well, in its precision.

        Raises:
            NumericsError: if an array does not fit or is not finite.
        """
        import torch

        matrix = as_matrix("vectors", vectors)
        check_columns("vectors", matrix, self.dimensions, "the feature map")
        share = as_weights("weights", weights, len(matrix))
        mapper = self.mapper(device)

        def summed(start: int) -> np.ndarray:
            part = share[start : start + _ROWS]
            largest = part.max()
            rows = torch.from_numpy(matrix[start : start + _ROWS].astype(np.float32, copy=False)).to(device)
            # The block's sum is taken in float32 over weights of about 1, then added up in float64.
            scaled = torch.from_numpy((part / (largest or 1.0)).astype(np.float32)).to(device)
            mapped = mapper(rows)
            if keep is not None:
                keep[start : start + _ROWS].copy_(mapped)
            return np.asarray(largest * (scaled @ mapped).cpu().numpy().astype(np.float64))

        starts = range(0, len(matrix), _ROWS)
        parts = each(summed, starts) if device == "cpu" else map(summed, starts)
        return np.asarray(sum(parts, np.zeros(self.size)))


@dataclass(frozen=True)
class RandomFeatures(FeatureMap):
    """Random Fourier features of k(x, y) = mean over bandwidths b of exp(-|x - y|^2 / (2 b^2)):

        phi(x) = sqrt(2/D) [cos(omega'x), sin(omega'x)],    |phi(x)| = 1 exactly.

    Seed, bandwidths and the shape of `frequencies` determine it: `draw` makes it again.

    frequencies: float32 [d, D/2]. bandwidths: in units of distance. seed: that of the draw.
    """

    frequencies: np.ndarray
    bandwidths: tuple[float, ...]
    seed: int

    @classmethod
    def draw(
        cls,
        dimensions: int,
        features: int,
        bandwidths: float | Sequence[float],
        seed: int,
        orthogonal: bool = True,
    ) -> RandomFeatures:
        """Draw the frequencies.

        Args:
            dimensions: d, of the vectors to map.
            features: D, even: D/2 cosines, then D/2 sines. Each bandwidth gets the same number of frequencies, but
                for a remainder.
            bandwidths: of the kernel, e.g. `kernels.median_distance`; several make a mixture.
            seed: a non-negative integer.
            orthogonal: frequencies that are orthogonal in each block of d, with the lengths of Gaussian ones; else
                independent ones.

        Raises:
            NumericsError: if D is odd or an argument is out of range.
        """
        widths = (bandwidths,) if isinstance(bandwidths, int | float) else tuple(bandwidths)
        check_count("dimensions", dimensions, 1, 2**31, "columns")
        check_count("features", features, 2, MAX_FEATURES, "features")
        check_count("bandwidths", len(widths), 1, max(features // 2, 1), "bandwidths")
        for width in widths:
            check_positive("bandwidth", width)
        if features % 2:
            raise NumericsError(f"features must be even, a cosine and a sine for each frequency; given: {features}.")
        random = np.random.default_rng(seed)
        count = features // 2
        draws = _orthogonal if orthogonal else _independent
        # Each bandwidth has blocks of its own, so that the mean over a mixture's kernels is over complete blocks.
        counts = [count // len(widths) + (place < count % len(widths)) for place in range(len(widths))]
        parts = [draws(random, dimensions, part) / width for part, width in zip(counts, widths, strict=True)]
        return cls(np.concatenate(parts, axis=1).astype(np.float32), tuple(map(float, widths)), seed)

    @property
    def dimensions(self) -> int:
        """d, of the vectors to map."""
        return self.frequencies.shape[0]

    @property
    def size(self) -> int:
        """D, the number of features."""
        return 2 * self.frequencies.shape[1]

    def mapper(self, device: str = "cpu") -> Mapper:
        """Return phi as a function of tensors on one device."""
        import torch

        frequencies = torch.from_numpy(self.frequencies).to(device)
        half, scale = self.frequencies.shape[1], (1.0 / self.frequencies.shape[1]) ** 0.5
        memory = local()

        def phi(rows: torch.Tensor) -> torch.Tensor:
            if len(getattr(memory, "angles", ())) < len(rows):
                memory.angles = frequencies.new_empty((len(rows), half))
                memory.result = frequencies.new_empty((len(rows), 2 * half))
            angles, result = memory.angles[: len(rows)], memory.result[: len(rows)]
            torch.mm(rows, frequencies, out=angles)
            torch.cos(angles, out=result[:, :half])
            torch.sin(angles, out=result[:, half:])
            return result.mul_(scale)

        return phi


@dataclass(frozen=True)
class KernelFeatures(FeatureMap):
    """The exact kernel between any point and the landmarks, and so between landmarks: phi(x) = L^-1 k(Z, x), with
    L L' = k(Z, Z) the Cholesky factor. Between two points that are no landmarks it is the Nystroem estimate.

    landmarks: float64 [D, d]. factor: float64 [D, D], L. bandwidths: in units of distance, their kernels' mean.
    """

    landmarks: np.ndarray
    factor: np.ndarray
    bandwidths: tuple[float, ...]

    @classmethod
    def fit(cls, landmarks: Any, bandwidths: float | Sequence[float]) -> KernelFeatures:
        """Factorise the Gram matrix of the landmarks: those records between which the kernel is to be exact.

        Raises:
            NumericsError: for more than MAX_LANDMARKS rows, or if they are no finite matrix, or a bandwidth is not
                above 0.
        """
        from scipy.linalg import cholesky

        matrix = as_matrix("landmarks", landmarks).astype(np.float64)
        if len(matrix) > MAX_LANDMARKS:
            raise NumericsError(
                f"The exact kernel takes at most {MAX_LANDMARKS:,} records, real and synthetic together; given: "
                f"{len(matrix):,}. Give a number of random features instead."
            )
        widths = (bandwidths,) if isinstance(bandwidths, int | float) else tuple(bandwidths)
        for width in widths:
            check_positive("bandwidth", width)
        gram = _gaussian(matrix, matrix, widths)
        gram[np.diag_indices(len(gram))] = 1.0 + _JITTER
        return cls(matrix, cholesky(gram, lower=True, overwrite_a=True, check_finite=False), tuple(map(float, widths)))

    @property
    def dimensions(self) -> int:
        """d, of the vectors to map."""
        return self.landmarks.shape[1]

    @property
    def size(self) -> int:
        """D, the number of landmarks."""
        return len(self.landmarks)

    def mapper(self, device: str = "cpu") -> Mapper:
        """Return phi as a function of tensors; it is computed in float64 on the CPU."""
        import torch
        from scipy.linalg import solve_triangular

        def phi(rows: torch.Tensor) -> torch.Tensor:
            kernel = _gaussian(self.landmarks, rows.cpu().numpy().astype(np.float64), self.bandwidths)
            solved = solve_triangular(self.factor, kernel, lower=True, overwrite_b=True, check_finite=False)
            return torch.from_numpy(np.ascontiguousarray(solved.T, dtype=np.float32)).to(device)

        return phi


@dataclass(frozen=True)
class RandomProjections(FeatureMap):
    """Linear features phi(x) = Theta'x with Theta ~ N(0, 1/D): the inner product of vectors, estimated.

    projections: float32 [d, D]. seed: that of the draw.
    """

    projections: np.ndarray
    seed: int
    bounded = False

    @classmethod
    def draw(cls, dimensions: int, features: int, seed: int) -> RandomProjections:
        """Draw D projections of vectors of length d.

        Raises:
            NumericsError: if an argument is out of range.
        """
        check_count("dimensions", dimensions, 1, 2**31, "columns")
        check_count("features", features, 1, MAX_FEATURES, "features")
        normal = np.random.default_rng(seed).standard_normal((dimensions, features))
        return cls((normal / np.sqrt(features)).astype(np.float32), seed)

    @property
    def dimensions(self) -> int:
        """d, of the vectors to map."""
        return self.projections.shape[0]

    @property
    def size(self) -> int:
        """D, the number of features."""
        return self.projections.shape[1]

    def mapper(self, device: str = "cpu") -> Mapper:
        """Return phi as a function of tensors on one device."""
        import torch

        projections = torch.from_numpy(self.projections).to(device)
        return lambda rows: rows @ projections


def _independent(random: np.random.Generator, dimensions: int, count: int) -> np.ndarray:
    return random.standard_normal((dimensions, count))


def _orthogonal(random: np.random.Generator, dimensions: int, count: int) -> np.ndarray:
    """Return columns [d, count], orthogonal in each block of d, each as long as a Gaussian vector of length d is."""
    blocks = []
    for start in range(0, count, dimensions):
        basis, triangle = np.linalg.qr(random.standard_normal((dimensions, dimensions)))
        # The signs make the basis uniform over rotations (Mezzadri 2007).
        basis *= np.sign(np.diag(triangle))
        blocks.append(basis[:, : min(dimensions, count - start)])
    lengths = np.sqrt(random.chisquare(dimensions, size=count))
    return np.concatenate(blocks, axis=1) * lengths


def _gaussian(x: np.ndarray, y: np.ndarray, bandwidths: Sequence[float]) -> np.ndarray:
    """Return the mean of Gaussian kernels between all rows, float64 [n, m]."""
    from scipy.spatial.distance import cdist

    squared = cdist(x, y, "sqeuclidean")
    total = np.zeros_like(squared)
    for width in bandwidths:
        total += np.exp(squared * (-0.5 / width**2))
    return total / len(bandwidths)
