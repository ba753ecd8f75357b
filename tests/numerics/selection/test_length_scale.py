from __future__ import annotations

import gpytorch
import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

from synalign.errors import NumericsError
from synalign.numerics.selection.kernels import make_kernel, median_distance
from synalign.numerics.selection.length_scale import SCALE_BOUNDS, LearnedScale, learn_length_scale


def _draws(kernel: RBF, points: np.ndarray, columns: int, noise: float, seed: int) -> np.ndarray:
    """Draws of a Gaussian process of variance 1, with noise of this variance."""
    random = np.random.default_rng(seed)
    factor = np.linalg.cholesky(kernel(points) + 1e-9 * np.eye(len(points)))
    return factor @ random.normal(size=(len(points), columns)) + noise**0.5 * random.normal(size=(len(points), columns))


@pytest.mark.parametrize(("name", "reference"), [("rbf", RBF(0.6)), ("matern32", Matern(0.6, nu=1.5))])
def test_one_target_as_in_scikit_learn(name: str, reference: RBF) -> None:
    points = np.random.default_rng(0).uniform(-2, 2, size=(120, 2))
    target = 3 + 5 * _draws(reference, points, 1, 0.1, 1)
    theirs = GaussianProcessRegressor(
        ConstantKernel() * reference.clone_with_theta(np.zeros(1)) + WhiteKernel(), normalize_y=True
    ).fit(points, target[:, 0])
    ours = learn_length_scale(points, target, name, 0)
    assert ours.converged
    assert ours.length_scale == pytest.approx(theirs.kernel_.k1.k2.length_scale, rel=0.03)
    assert ours.log_likelihood == pytest.approx(theirs.log_marginal_likelihood_value_ / 120, abs=1e-4)


@pytest.mark.parametrize("true", [0.4, 1.5])
@pytest.mark.parametrize("expression", ["rbf", "matern52"])
def test_a_known_length_scale_is_recovered(expression: str, true: float) -> None:
    points = np.random.default_rng(3).normal(size=(250, 3))
    reference = RBF(true) if expression == "rbf" else Matern(true, nu=2.5)
    learned = learn_length_scale(points, _draws(reference, points, 6, 0.05, 4), expression, 0)
    assert learned.converged
    assert learned.length_scale == pytest.approx(true, rel=0.25)


def test_parts_of_a_sum_share_the_length_scale() -> None:
    points = np.random.default_rng(5).normal(size=(200, 2))
    made = make_kernel("rbf + matern12", 0.8)(torch.from_numpy(points)).to_dense().numpy()
    targets = np.linalg.cholesky(made + 1e-2 * np.eye(200)) @ np.random.default_rng(6).normal(size=(200, 6))
    learned = learn_length_scale(points, targets, "rbf + matern12", 0)
    assert learned.length_scale == pytest.approx(0.8, rel=0.25)


def test_the_likelihood_is_that_of_gpytorch_and_a_maximum() -> None:
    points = np.random.default_rng(7).normal(size=(80, 2))
    targets = _draws(RBF(0.9), points, 3, 0.2, 8)
    learned = learn_length_scale(points, targets, "rbf", 0)
    standard = torch.from_numpy((targets - targets.mean(axis=0)) / targets.std(axis=0))

    def best_at(scale: float) -> float:
        """The largest likelihood at this length scale, of a grid of variances."""
        prior = make_kernel("rbf", scale)(torch.from_numpy(points)).to_dense()
        values = [
            gpytorch.distributions.MultivariateNormal(torch.zeros(80).double(), s * prior + v * torch.eye(80).double())
            .log_prob(standard.T)
            .sum()
            for s in np.geomspace(0.3, 3, 25)
            for v in np.geomspace(0.05, 0.5, 25)
        ]
        return float(max(values)) / standard.numel()

    at = best_at(learned.length_scale)
    assert learned.log_likelihood == pytest.approx(at, abs=1e-3)
    assert at > best_at(0.8 * learned.length_scale)
    assert at > best_at(1.25 * learned.length_scale)


def test_ard_finds_the_columns_that_matter() -> None:
    points = np.random.default_rng(9).normal(size=(300, 4))
    targets = _draws(Matern([0.6, 2.4], nu=1.5), points[:, :2], 8, 0.05, 10)
    common = learn_length_scale(points, targets, "matern32", 0)
    learned = learn_length_scale(points, targets, "matern32", 0, ard=True)
    assert common.length_scales is None
    assert learned.length_scales is not None
    assert learned.length_scales.dtype == np.float64
    np.testing.assert_allclose(learned.length_scales[:2], [0.6, 2.4], rtol=0.25)
    assert learned.length_scales[2:].min() > 10
    assert learned.length_scale == pytest.approx(np.exp(np.log(learned.length_scales).mean()))
    assert learned.log_likelihood > common.log_likelihood
    # A column without effect comes to the upper bound, which is where it belongs.
    assert learned.length_scales.max() == pytest.approx(SCALE_BOUNDS[1] * median_distance(points, 0))
    assert learned.converged


def _one_hot_case(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(11)
    labels = random.integers(0, 4, n)
    centres = 3 * random.normal(size=(4, 6))
    return (centres[labels] + random.normal(size=(n, 6))).astype(np.float32), np.eye(4)[labels]


def test_same_seed_same_result_and_rows_are_sampled() -> None:
    vectors, targets = _one_hot_case()
    first, again, other = (learn_length_scale(vectors, targets, "rbf", seed, sample=100) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert learn_length_scale(vectors, targets, "rbf", 0) == learn_length_scale(vectors, targets, "rbf", 1)


def test_units_of_vectors_and_targets_do_not_matter() -> None:
    vectors, targets = _one_hot_case(120)
    plain = learn_length_scale(vectors.astype(float), targets, "rbf", 0)
    scaled = learn_length_scale(1e4 * vectors.astype(float) + 7, 1e-3 * targets - 5, "rbf", 0)
    assert scaled.length_scale == pytest.approx(1e4 * plain.length_scale, rel=1e-2)
    assert scaled.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-5)


def test_constant_columns_are_dropped() -> None:
    vectors, targets = _one_hot_case(120)
    padded = np.column_stack([np.full(120, 0.1), targets, np.zeros(120)])
    assert learn_length_scale(vectors, padded, "rbf", 0) == learn_length_scale(vectors, targets, "rbf", 0)


def _not_converged(learned: LearnedScale, median: float) -> None:
    assert not learned.converged
    low, high = SCALE_BOUNDS
    assert low * median * 0.999 <= learned.length_scale <= high * median * 1.001


def test_targets_without_a_length_scale_are_reported() -> None:
    random = np.random.default_rng(12)
    vectors = random.normal(size=(150, 5))
    median = median_distance(vectors, 0)
    # Noise, also where the search ends far from all bounds: in 60 columns every short length scale is as good.
    _not_converged(learn_length_scale(vectors, random.normal(size=(150, 2)), "rbf", 0), median)
    wide = random.normal(size=(150, 60))
    noise = learn_length_scale(wide, random.normal(size=(150, 3)), "rbf", 0)
    _not_converged(noise, median_distance(wide, 0))
    assert noise.length_scale > 0.05 * median_distance(wide, 0)
    assert noise.log_likelihood == pytest.approx(-0.5 * np.log(2 * np.pi * np.e), abs=1e-4)
    # Linear: the longer, the better.
    linear = learn_length_scale(vectors, vectors @ random.normal(size=(5, 2)), "matern12", 0)
    _not_converged(linear, median)
    assert linear.length_scale > 0.99 * SCALE_BOUNDS[1] * median


def test_wrong_arguments_are_named() -> None:
    vectors, targets = _one_hot_case(20)
    with pytest.raises(NumericsError, match=r"targets must vary: all of their 2 columns are constant over the 20"):
        learn_length_scale(vectors, np.ones((20, 2)), "rbf", 0)
    with pytest.raises(NumericsError, match=r"row for each of the 20 vectors; given: shape \(19, 4\)"):
        learn_length_scale(vectors, targets[1:], "rbf", 0)
    with pytest.raises(NumericsError, match=r"vectors must differ.*all 20 sampled rows are equal"):
        learn_length_scale(np.ones((20, 3)), targets, "rbf", 0)
    with pytest.raises(NumericsError, match="unknown part 'rbff'"):
        learn_length_scale(vectors, targets, "rbff", 0)
    with pytest.raises(NumericsError, match="sample must be a whole number of rows from 2 to"):
        learn_length_scale(vectors, targets, "rbf", 0, sample=1)
    with pytest.raises(NumericsError, match="targets must be finite"):
        learn_length_scale(vectors, np.full((20, 1), np.nan), "rbf", 0)
