"""The witness function of the MMD: where real text lies and weighted synthetic text does not.

Gretton et al., "A Kernel Two-Sample Test", JMLR 13 (2012), section 2.3: f(x) = mean kernel of x to the real records
less that to the synthetic ones. It is evaluated at the real records, each left out of its own mean, which would else
look covered by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.checks import as_vector, as_weights


def witness(
    blocks: FeatureBlocks, real_weights: Any, synthetic_mean: Any, real_share: float = 1.0, synthetic_share: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean kernel of each real record to the other real ones, and to the synthetic ones, float64 [n] each;
    their difference is the witness. A record that is alone is compared with itself.

    Args:
        blocks: the features of n real records.
        real_weights: [n], above 0 somewhere, any scale: multiplicities; None is equal.
        synthetic_mean: float [D], the weighted mean feature of the synthetic records.
        real_share, synthetic_share: of these records among all, for the joint witness of vector and stratum.

    Raises:
        NumericsError: if an array does not fit or is not finite, or a share is negative.
    """
    share = as_weights("real_weights", real_weights, blocks.count)
    mean = as_vector("synthetic_mean", synthetic_mean, blocks.size)
    if real_share < 0 or synthetic_share < 0:
        raise NumericsError(f"shares must not be negative; given: {real_share} and {synthetic_share}.")
    to_real, own = blocks.product(blocks.mean(share)), blocks.squared_norms()
    others = 1.0 - share
    alone = others < 1e-12
    kernel = np.where(alone, own, (to_real - share * own) / np.where(alone, 1.0, others))
    return real_share * kernel, synthetic_share * blocks.product(mean)
