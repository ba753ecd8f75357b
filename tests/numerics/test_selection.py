from __future__ import annotations

import gpytorch
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Matern

from synalign.errors import NumericsError
from synalign.numerics import selection
from synalign.numerics.kernels import KERNEL_NAMES, make_kernel, median_distance
from synalign.numerics.selection import select_by_variance


class _ExactGp(gpytorch.models.ExactGP):
    def __init__(self, x: torch.Tensor, kernel: gpytorch.kernels.Kernel, noise: float) -> None:
        likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(torch.full((len(x),), noise).double())
        super().__init__(x, torch.zeros(len(x)).double(), likelihood.double())
        self.mean_module = gpytorch.means.ZeroMean()
        self.covar_module = kernel

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def _exact_variance(points: np.ndarray, picks: np.ndarray, name: str, scale: float, noise: float) -> np.ndarray:
    model = _ExactGp(torch.from_numpy(points[picks]), make_kernel(name, scale), noise).eval()
    with torch.no_grad(), gpytorch.settings.fast_computations(False, False, False):
        return model(torch.from_numpy(points)).variance.numpy()


@pytest.mark.parametrize("name", KERNEL_NAMES)
def test_variances_are_those_of_gpytorch(name: str) -> None:
    points = np.random.default_rng(0).normal(size=(60, 4))
    picks = select_by_variance(points, 12, make_kernel(name, 2.0), 1e-2)
    # gpytorch's own Matern kernel is off by up to 3e-8 between equal rows of two sets (it adds 1e-15 before a root).
    slack = 0.0 if name == "rbf" else 1e-7
    for step in range(12):
        after = _exact_variance(points, picks.indices[: step + 1], name, 2.0, 1e-2)
        pick = picks.indices[step]
        assert picks.variance_after[step] == pytest.approx(after[pick], rel=1e-6, abs=slack)
        assert picks.max_remaining[step] == pytest.approx(after.max(), rel=1e-6, abs=slack)
        if step:
            before = _exact_variance(points, picks.indices[:step], name, 2.0, 1e-2)
            assert picks.variance_before[step] == pytest.approx(before[pick], rel=1e-6, abs=slack)
    assert picks.variance_before[0] == 1.0
    assert picks.informative


@pytest.mark.parametrize("reference", [RBF(1.5), Matern(1.5, nu=2.5)])
def test_picks_are_those_of_a_loop_that_refits(reference: RBF) -> None:
    points = np.random.default_rng(1).normal(size=(150, 5))
    chosen: list[int] = [0]
    while len(chosen) < 25:
        model = GaussianProcessRegressor(reference, alpha=1e-2, optimizer=None)
        model.fit(points[chosen], np.zeros(len(chosen)))
        deviation = model.predict(points, return_std=True)[1]
        deviation[chosen] = -1.0
        chosen.append(int(np.argmax(deviation)))
    name = "matern52" if isinstance(reference, Matern) else "rbf"
    picks = select_by_variance(points, 25, make_kernel(name, 1.5), 1e-2)
    np.testing.assert_array_equal(picks.indices, chosen)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 25), st.integers(1, 4), st.integers(0, 2**32), st.sampled_from(KERNEL_NAMES))
def test_variance_never_rises_and_no_index_comes_twice(n: int, d: int, seed: int, name: str) -> None:
    points = np.random.default_rng(seed).integers(-2, 3, size=(n, d)).astype(float)
    picks = select_by_variance(points, n, make_kernel(name, 1.3), 1e-3)
    assert sorted(picks.indices) == list(range(n))
    slack = 1e-9
    assert np.all(picks.variance_after <= picks.variance_before + slack)
    assert np.all(np.diff(picks.max_remaining) <= slack)
    assert np.all(np.diff(picks.variance_before) <= slack)
    assert picks.variance_before.min() >= 0


def test_a_duplicate_of_a_pick_has_variance_near_the_noise() -> None:
    points = np.array([[0.0], [0.0], [50.0], [0.0]])
    picks = select_by_variance(points, 3, make_kernel("rbf", 1.0), 1e-2)
    np.testing.assert_array_equal(picks.indices, [0, 2, 1])
    # One observation with noise s leaves s / (1 + s) of the prior variance 1; two leave s / (2 + s).
    np.testing.assert_allclose(picks.variance_before, [1, 1, 0.01 / 1.01], rtol=1e-9)
    np.testing.assert_allclose(picks.variance_after, [0.01 / 1.01, 0.01 / 1.01, 0.01 / 2.01], rtol=1e-9)


def test_rows_one_by_one_give_the_same_picks(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(4).normal(size=(80, 6))
    whole = select_by_variance(points, 20, make_kernel("matern32", 2.0), 1e-2)
    monkeypatch.setattr(selection, "KERNEL_BYTES", 0)
    rows = select_by_variance(points, 20, make_kernel("matern32", 2.0), 1e-2)
    np.testing.assert_array_equal(rows.indices, whole.indices)
    np.testing.assert_allclose(rows.variance_after, whole.variance_after, rtol=1e-6, atol=1e-7)


def test_ties_go_to_the_smaller_index() -> None:
    square = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    picks = select_by_variance(square, 4, make_kernel("rbf", 1.0), 1e-2)
    np.testing.assert_array_equal(picks.indices, [0, 3, 1, 2])


def test_a_length_scale_far_too_short_is_seen_even_with_a_duplicate() -> None:
    vectors = np.random.default_rng(3).normal(size=(200, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[1] = vectors[0]
    assert not select_by_variance(vectors, 3, make_kernel("rbf", 0.1), 1e-2).informative
    scale = median_distance(vectors, seed=0)
    assert select_by_variance(vectors, 3, make_kernel("rbf", scale), 1e-2).informative
    assert select_by_variance(vectors, 1, make_kernel("rbf", 0.1), 1e-2).informative


def test_the_prior_variance_is_the_kernel_diagonal() -> None:
    points = np.array([[1.0], [3.0], [-2.0]])
    kernel = gpytorch.kernels.LinearKernel().double()
    kernel.variance = 1.0
    picks = select_by_variance(points, 3, kernel, 0.5)
    # f(x) = a x, a ~ N(0, 1): the diagonal is x^2, and after observing 3 with noise 0.5, var a = 1 / (1 + 9 / 0.5).
    assert picks.indices[0] == 1
    assert picks.variance_before[0] == pytest.approx(9.0)
    assert picks.variance_after[0] == pytest.approx(9 / 19)
    assert picks.indices[1] == 2
    assert picks.variance_before[1] == pytest.approx(4 / 19)


def test_wrong_arguments_are_named() -> None:
    kernel = make_kernel("rbf", 1.0)
    for budget in (0, 4):
        with pytest.raises(NumericsError, match=r"from 1 to 3; given"):
            select_by_variance(np.zeros((3, 2)), budget, kernel, 1e-2)
    with pytest.raises(NumericsError, match="noise"):
        select_by_variance(np.zeros((3, 2)), 1, kernel, 0.0)
    with pytest.raises(NumericsError, match="candidates"):
        select_by_variance([[np.nan]], 1, kernel, 1.0)
