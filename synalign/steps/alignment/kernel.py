"""Which feature map an alignment uses, from its settings; and the same one again, from what was stored of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synalign.config import Align
from synalign.errors import UsageError
from synalign.numerics.alignment.resolution import choose_feature_count
from synalign.numerics.core.features import FeatureMap, KernelFeatures, RandomFeatures, RandomProjections
from synalign.numerics.selection.kernels import median_distance
from synalign.steps.alignment.inputs import AlignmentInputs

#: Names of kernels as `alignments` stores them.
RANDOM, EXACT, LINEAR = "gaussian", "gaussian, exact", "linear"


@dataclass(frozen=True)
class Kernel:
    """A feature map, and the columns of `alignments` that describe it."""

    features: FeatureMap
    columns: dict[str, Any]


def choose_kernel(settings: Align, inputs: AlignmentInputs, seed: int) -> Kernel:
    """Return the feature map that the settings ask for.

    Raises:
        UsageError: for an exact linear kernel, which would need no projections.
        NumericsError: for an exact kernel of too many records.
    """
    real, synthetic = inputs.real.matrix, inputs.synthetic.matrix
    dimensions = real.shape[1]
    if settings.kernel == "linear":
        if isinstance(settings.features, str):
            raise UsageError(f"kernel 'linear' takes a number of features; given: {settings.features!r}.")
        projections = RandomProjections.draw(dimensions, settings.features, seed)
        return _kernel(LINEAR, projections, (), seed)
    median = median_distance(real, seed)
    bandwidths = settings.bandwidths_at(median)
    if settings.features == "exact":
        exact = KernelFeatures.fit(np.concatenate([real, synthetic]), bandwidths)
        return _kernel(EXACT, exact, bandwidths, seed)
    if settings.features == "auto":
        count = choose_feature_count(real, synthetic, bandwidths, seed)
    else:
        count = settings.features
    return _kernel(RANDOM, RandomFeatures.draw(dimensions, count, bandwidths, seed), bandwidths, seed)


def stored_kernel(row: Mapping[str, Any], dimensions: int) -> Kernel:
    """Return the feature map that a row of `alignments` was learned with.

    Raises:
        UsageError: for an exact kernel, which is one of the records that it was fitted to.
    """
    if row["kernel"] == EXACT:
        raise UsageError(
            f"The weight set {row['weight_set']!r} was learned with the exact kernel of its own records, which scores "
            "no others. Run align again, or learn a set with random features (features=1024)."
        )
    if row["bandwidths"] is None:
        raise UsageError(
            f"The weight set {row['weight_set']!r} was learned by an earlier version of SynAlign, which drew its "
            "features in another way. Run align again."
        )
    seed, bandwidths = row["seed"], tuple(row["bandwidths"])
    if row["kernel"] == LINEAR:
        return _kernel(LINEAR, RandomProjections.draw(dimensions, row["features"], seed), (), seed)
    return _kernel(RANDOM, RandomFeatures.draw(dimensions, row["features"], bandwidths, seed), bandwidths, seed)


def _kernel(name: str, features: FeatureMap, bandwidths: tuple[float, ...], seed: int) -> Kernel:
    columns = {"kernel": name, "bandwidths": list(bandwidths), "features": features.size, "seed": seed}
    return Kernel(features, columns)
