from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from synalign.errors import NumericsError
from synalign.numerics.core import features as features_module
from synalign.numerics.core.features import KernelFeatures, RandomFeatures, RandomProjections


def test_inner_products_are_the_kernel_and_more_features_are_nearer() -> None:
    points = np.random.default_rng(0).normal(size=(30, 6))
    exact = np.exp(-cdist(points, points, "sqeuclidean") / (2 * 2.5**2))

    def error(features: int, orthogonal: bool) -> float:
        maps = [RandomFeatures.draw(6, features, 2.5, seed, orthogonal).map(points) for seed in range(10)]
        return float(np.mean([np.sqrt(np.mean((phi @ phi.T - exact) ** 2)) for phi in maps]))

    few, many = error(64, False), error(1024, False)
    assert error(1024, True) < 0.7 * many  # Yu et al. 2016: orthogonal frequencies estimate with less variance
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


def test_the_mean_streams_and_takes_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(2).normal(size=(53, 4))
    features = RandomFeatures.draw(4, 32, 1.5, seed=0)
    phi = features.map(points).astype(np.float64)
    monkeypatch.setattr(features_module, "_ROWS", 7)
    np.testing.assert_allclose(features.mean(points), phi.mean(axis=0), atol=1e-7)
    weights = np.random.default_rng(3).integers(0, 4, size=53)
    expected = np.repeat(phi, weights, axis=0).mean(axis=0)
    mean = features.mean(points, weights=weights)
    np.testing.assert_allclose(mean, expected, atol=1e-7)
    assert mean.dtype == np.float64


def test_orthogonal_frequencies_are_orthogonal_in_blocks_with_gaussian_lengths() -> None:
    drawn = RandomFeatures.draw(8, 2 * 8 * 500, 2.0, seed=3).frequencies.astype(np.float64)
    block = drawn[:, 8:16]
    gram = block.T @ block
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-6)
    # omega ~ N(0, I / 4): squared lengths have mean d / 4 and variance 2 d / 16.
    squared = np.sum(drawn**2, axis=0)
    assert squared.mean() == pytest.approx(2.0, rel=0.03)
    assert squared.var() == pytest.approx(1.0, rel=0.1)


def test_several_bandwidths_are_the_mean_of_their_kernels() -> None:
    points = np.random.default_rng(5).normal(size=(20, 5))
    distances = cdist(points, points, "sqeuclidean")
    widths = (0.8, 2.0, 5.0)
    exact = np.mean([np.exp(-distances / (2 * width**2)) for width in widths], axis=0)
    drawn = RandomFeatures.draw(5, 20_000, widths, seed=1)
    assert drawn.bandwidths == widths
    phi = drawn.map(points)
    np.testing.assert_allclose(phi @ phi.T, exact, atol=0.03)
    phi = KernelFeatures.fit(points, widths).map(points).astype(np.float64)
    np.testing.assert_allclose(phi @ phi.T, exact, atol=1e-6)


def test_the_exact_kernel_holds_between_landmarks_and_any_point_and_survives_equal_landmarks() -> None:
    random = np.random.default_rng(6)
    landmarks, others = random.normal(size=(15, 4)), random.normal(size=(9, 4))
    features = KernelFeatures.fit(np.concatenate([landmarks, landmarks[:3]]), 1.5)
    assert (features.size, features.dimensions) == (18, 4)
    exact = np.exp(-cdist(others, landmarks, "sqeuclidean") / (2 * 1.5**2))
    product = features.map(others).astype(np.float64) @ features.map(landmarks).astype(np.float64).T
    np.testing.assert_allclose(product, exact, atol=1e-4)


def test_linear_features_estimate_inner_products() -> None:
    points = np.random.default_rng(7).normal(size=(6, 12))
    phi = RandomProjections.draw(12, 60_000, seed=2).map(points)
    np.testing.assert_allclose(phi @ phi.T, points @ points.T, atol=0.25)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(NumericsError, match="at most 10,000 records"):
        KernelFeatures.fit(np.zeros((10_001, 1)), 1.0)
    with pytest.raises(NumericsError, match="bandwidths"):
        RandomFeatures.draw(3, 4, [1.0, 2.0, 3.0], seed=0)
    with pytest.raises(NumericsError, match="even"):
        RandomFeatures.draw(3, 5, 1.0, seed=0)
    with pytest.raises(NumericsError, match="bandwidth"):
        RandomFeatures.draw(3, 4, -1.0, seed=0)
    features = RandomFeatures.draw(3, 4, 1.0, seed=0)
    with pytest.raises(NumericsError, match="3 columns"):
        features.map(np.zeros((1, 2)))
    with pytest.raises(NumericsError, match="weights"):
        features.mean(np.zeros((2, 3)), weights=[1.0])
