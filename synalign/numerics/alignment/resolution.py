"""How many random features are enough: as many as the data can tell apart.

Random features add an error to a squared MMD that falls with their number; the records themselves leave one of about
(1/n + 1/m)(1 - mean kernel), the expected squared distance of two samples of one distribution (Gretton et al., JMLR 13
(2012), section 3). More features than bring the first below the second are wasted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from synalign.numerics.core.checks import as_matrix, check_columns
from synalign.numerics.core.features import RandomFeatures
from synalign.numerics.statistics.mmd import mmd2, mmd2_features

#: The numbers of features that are tried.
SMALLEST, LARGEST = 256, 8192

#: Rows of each side that the exact distance is taken on, and draws that the error is averaged over.
_SAMPLE, _DRAWS = 1000, 3

#: An error of this share of the distance is accepted, however many records there are.
_RELATIVE = 0.02

#: And an error of this much: sums of float32 resolve no less.
_ABSOLUTE = 1e-9


def choose_feature_count(real: Any, synthetic: Any, bandwidths: Sequence[float], seed: int) -> int:
    """Return the smallest power of two from SMALLEST to LARGEST at which random features estimate the squared MMD
    between the two sides within what their sizes leave open, or within 2% of it; LARGEST if none does.

    Args:
        real: [n, d] float. synthetic: [m, d] float.
        bandwidths: of the kernel.
        seed: draws the rows that are compared, and the features.

    Raises:
        NumericsError: if an array does not fit or is not finite, or a bandwidth is not above 0.
    """
    left, right = as_matrix("real", real), as_matrix("synthetic", synthetic)
    check_columns("synthetic", right, left.shape[1], "real")
    random = np.random.default_rng(seed)
    x, y = (side[np.sort(random.permutation(len(side))[:_SAMPLE])] for side in (left, right))
    exact = float(np.mean([mmd2(x, y, width, unbiased=False) for width in bandwidths]))
    # |phi(x)| is 1, so that the squared length of a mean feature is the mean kernel of that side.
    mean = RandomFeatures.draw(left.shape[1], SMALLEST, bandwidths, seed).mean(x)
    sampling = (1.0 / len(left) + 1.0 / len(right)) * (1.0 - float(mean @ mean))
    tolerance = max(_RELATIVE * exact, sampling, _ABSOLUTE)
    count = SMALLEST
    while count < LARGEST:
        errors = []
        for draw in range(_DRAWS):
            features = RandomFeatures.draw(left.shape[1], count, bandwidths, seed + draw)
            errors.append(mmd2_features(features.mean(x), features.mean(y)) - exact)
        if float(np.sqrt(np.mean(np.square(errors)))) <= tolerance:
            return count
        count *= 2
    return count
