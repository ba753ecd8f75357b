from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from synalign.errors import NumericsError
from synalign.numerics.features import RandomFeatures


def test_inner_products_are_the_kernel_and_more_features_are_nearer() -> None:
    points = np.random.default_rng(0).normal(size=(30, 6))
    exact = np.exp(-cdist(points, points, "sqeuclidean") / (2 * 2.5**2))

    def error(features: int) -> float:
        maps = [RandomFeatures.draw(6, features, 2.5, seed).map(points) for seed in range(10)]
        return float(np.mean([np.sqrt(np.mean((phi @ phi.T - exact) ** 2)) for phi in maps]))

    few, many = error(64), error(1024)
    assert many < 0.03
    # The standard error of a mean of D/2 terms: sixteen times the features, a quarter of the error.
    assert few / many == pytest.approx(4.0, rel=0.25)


def test_rows_have_norm_one_and_the_draw_is_seeded() -> None:
    points = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    features = RandomFeatures.draw(3, 10, 1.0, seed=4)
    phi = features.map(points)
    assert (phi.dtype, phi.shape, features.size) == (np.float32, (7, 10), 10)
    np.testing.assert_allclose(np.linalg.norm(phi, axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(phi, RandomFeatures.draw(3, 10, 1.0, seed=4).map(points))
    assert np.abs(phi - RandomFeatures.draw(3, 10, 1.0, seed=5).map(points)).max() > 0.1


def test_the_mean_streams_and_takes_weights() -> None:
    points = np.random.default_rng(2).normal(size=(53, 4))
    features = RandomFeatures.draw(4, 32, 1.5, seed=0)
    phi = features.map(points).astype(np.float64)
    np.testing.assert_allclose(features.mean(points, block=7), phi.mean(axis=0), atol=1e-7)
    weights = np.random.default_rng(3).integers(0, 4, size=53)
    expected = np.repeat(phi, weights, axis=0).mean(axis=0)
    mean = features.mean(points, weights=weights, block=10)
    np.testing.assert_allclose(mean, expected, atol=1e-7)
    assert mean.dtype == np.float64


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(NumericsError, match="even"):
        RandomFeatures.draw(3, 5, 1.0, seed=0)
    with pytest.raises(NumericsError, match="bandwidth"):
        RandomFeatures.draw(3, 4, -1.0, seed=0)
    features = RandomFeatures.draw(3, 4, 1.0, seed=0)
    with pytest.raises(NumericsError, match="3 columns"):
        features.map(np.zeros((1, 2)))
    with pytest.raises(NumericsError, match="weights"):
        features.mean(np.zeros((2, 3)), weights=[1.0])
