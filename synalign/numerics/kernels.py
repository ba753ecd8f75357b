"""Kernels of the Gaussian process, and the median heuristic for their length scale.

The kernels are gpytorch's, in float64, so that any other gpytorch kernel can be passed in their place. The median
heuristic is that of Gretton et al., "A Kernel Two-Sample Test", JMLR 13 (2012), section 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.checks import as_matrix, check_count, check_positive

if TYPE_CHECKING:
    import gpytorch

#: The names that `make_kernel` knows.
KERNEL_NAMES = ("rbf", "matern12", "matern32", "matern52")

#: What `median_distance` returns when no two sampled rows differ: there is no scale in the data, any one will do.
FALLBACK_DISTANCE = 1.0


def median_distance(vectors: Any, seed: int, sample: int = 2000) -> float:
    """Return the median Euclidean distance over all pairs of `sample` rows drawn without replacement.

    Pairs at distance 0 count as all others do. If the median is 0 (more than half of the pairs are duplicates), it is
    the median of the distances above 0; if there are none, because all sampled rows are equal, it is
    FALLBACK_DISTANCE, so that the result can always be used as a length scale.

    Args:
        vectors: [n, d] float.
        seed: draws the rows; not used where n <= sample.
        sample: rows to draw, at least 2. Memory is 8 * sample**2 bytes and a small multiple.

    Raises:
        NumericsError: if `vectors` is no finite matrix or `sample` is below 2.
    """
    from scipy.spatial.distance import pdist

    matrix = as_matrix("vectors", vectors)
    check_count("sample", sample, 2, 20_000, "rows")
    if len(matrix) > sample:
        rows = np.random.default_rng(seed).choice(len(matrix), sample, replace=False)
        matrix = matrix[np.sort(rows)]
    distances = pdist(matrix.astype(np.float64))
    if distances.size == 0 or distances.max() == 0:
        return FALLBACK_DISTANCE
    median = float(np.median(distances))
    return median if median > 0 else float(np.median(distances[distances > 0]))


def make_kernel(name: str, length_scale: float) -> gpytorch.kernels.Kernel:
    """Return a stationary gpytorch kernel of prior variance 1, in float64, without gradients.

    Args:
        name: one of KERNEL_NAMES; "matern12" has smoothness nu = 1/2, and so on.
        length_scale: in units of Euclidean distance between vectors.

    Raises:
        NumericsError: if the name is not known or the length scale is not a finite number above 0.
    """
    if name not in KERNEL_NAMES:
        raise NumericsError(f"kernel must be one of {', '.join(KERNEL_NAMES)}; given: {name!r}.")
    check_positive("length_scale", length_scale)
    import gpytorch
    import torch

    if name == "rbf":
        kernel = gpytorch.kernels.RBFKernel()
    else:
        kernel = gpytorch.kernels.MaternKernel(nu={"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}[name])
    kernel = kernel.double()
    kernel.lengthscale = torch.tensor(length_scale, dtype=torch.float64)
    return kernel.requires_grad_(False).eval()
