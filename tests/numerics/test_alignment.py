"""One stratum's alignment, and strata put together: against means computed record by record."""

from __future__ import annotations

import numpy as np
import pytest

from synalign.errors import NumericsError
from synalign.numerics.alignment import Means, align_stratum, distances, mixture
from synalign.numerics.features import RandomFeatures


def _data(seed: int, n: int = 200, m: int = 300) -> tuple[RandomFeatures, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    real = random.normal(0.4, 1.0, (n, 6)).astype(np.float32)
    synthetic = random.normal(0.0, 1.2, (m, 6)).astype(np.float32)
    return RandomFeatures.draw(6, 128, 3.0, seed), real, synthetic


def _halves(n: int) -> np.ndarray:
    return np.arange(n) % 2 == 0


def test_weighting_comes_nearer_to_real_records_it_was_not_fitted_on() -> None:
    features, real, synthetic = _data(1)
    fit = align_stratum(features, real, np.ones(200), _halves(200), synthetic, np.ones(300), 1e-3)
    found = distances(fit.means)
    assert found.after < found.before / 5
    assert found.heldout_after is not None
    assert found.heldout_before is not None
    assert found.heldout_after < found.heldout_before / 2
    assert found.test_before is None


def test_heldout_distances_never_see_the_second_half() -> None:
    """Moving the second half away leaves the half fit as it was: only the distance to it changes."""
    features, real, synthetic = _data(2)
    moved = real.copy()
    moved[~_halves(200)] += 3.0
    near = align_stratum(features, real, np.ones(200), _halves(200), synthetic, np.ones(300), 1e-2).means
    far = align_stratum(features, moved, np.ones(200), _halves(200), synthetic, np.ones(300), 1e-2).means
    np.testing.assert_allclose(near.first, far.first, rtol=1e-12)  # type: ignore[arg-type]
    # The half fit starts from the full fit, which did change: equal within its duality gap only.
    np.testing.assert_allclose(near.half_weighted, far.half_weighted, atol=5e-3)  # type: ignore[arg-type]
    heldout_near, heldout_far = distances(near).heldout_after, distances(far).heldout_after
    assert heldout_near is not None
    assert heldout_far is not None
    assert heldout_far > 10 * heldout_near


def test_multiplicity_counts_as_repetition() -> None:
    features, real, synthetic = _data(3, n=40)
    weights = np.random.default_rng(3).integers(1, 4, 40)
    counted = align_stratum(features, real, weights.astype(float), _halves(40), synthetic, np.ones(300), 1e-2)
    repeated_real = np.repeat(real, weights, axis=0)
    halves = np.repeat(_halves(40), weights)
    repeated = align_stratum(
        features, repeated_real, np.ones(len(repeated_real)), halves, synthetic, np.ones(300), 1e-2
    )
    np.testing.assert_allclose(counted.means.real, repeated.means.real, atol=1e-6)
    np.testing.assert_allclose(counted.solution.weights, repeated.solution.weights, rtol=1e-3)


def test_few_records_have_no_halves_and_one_record_gets_all_weight() -> None:
    features, real, synthetic = _data(4, n=5, m=1)
    fit = align_stratum(features, real, np.ones(5), _halves(5), synthetic, np.ones(1), 1e-3)
    assert fit.solution.weights.tolist() == [1.0]
    found = distances(fit.means)
    assert found.heldout_after is None
    assert found.floor is None


def test_strata_together_are_the_mean_over_their_records() -> None:
    features, real, synthetic = _data(5)
    first, second = real[:60], real[60:]
    parts = [
        align_stratum(features, side, np.ones(len(side)), _halves(len(side)), synthetic, np.ones(300), 1e-2).means
        for side in (first, second)
    ]
    shares = np.array([0.3, 0.7])
    whole = mixture(parts, shares, np.array([0.5, 0.5]), np.array([0.0, 0.0]))
    np.testing.assert_allclose(whole.real, features.map(real).astype(np.float64).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(whole.raw, features.mean(synthetic), atol=1e-9)
    assert whole.test is None


def test_a_mean_that_one_stratum_lacks_the_whole_lacks() -> None:
    vector = np.ones(4)
    parts = [Means(vector, vector, vector, first=vector), Means(vector, vector, vector)]
    whole = mixture(parts, np.array([0.5, 0.5]), np.array([0.5, 0.5]), np.array([0.5, 0.5]))
    assert whole.first is None


def test_shares_must_be_as_many_as_strata() -> None:
    vector = np.ones(4)
    with pytest.raises(NumericsError, match="1 strata"):
        mixture([Means(vector, vector, vector)], np.ones(2), np.ones(1), np.ones(1))
