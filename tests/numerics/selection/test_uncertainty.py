from __future__ import annotations

import math

import gpytorch
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign.errors import NumericsError
from synalign.numerics.selection.kernels import make_kernel
from synalign.numerics.selection.uncertainty import UncertaintyTracker

NAMES = ("rbf", "matern12", "matern32", "matern52", "rbf + matern32*matern12")


class _ExactGp(gpytorch.models.ExactGP):
    def __init__(self, x: torch.Tensor, kernel: gpytorch.kernels.Kernel, noise: float) -> None:
        likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(torch.full((len(x),), noise).double())
        super().__init__(x, torch.zeros(len(x)).double(), likelihood.double())
        self.mean_module = gpytorch.means.ZeroMean()
        self.covar_module = kernel

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def exact_variance(
    observed: np.ndarray, points: np.ndarray, kernel: gpytorch.kernels.Kernel, noise: float
) -> np.ndarray:
    model = _ExactGp(torch.from_numpy(observed), kernel, noise).eval()
    with torch.no_grad(), gpytorch.settings.fast_computations(False, False, False):
        return model(torch.from_numpy(points)).variance.numpy()


def _points(count: int, seed: int, columns: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, columns))


@pytest.mark.parametrize("name", NAMES)
def test_several_calls_in_a_row_give_the_variances_of_gpytorch(name: str) -> None:
    kernel, noise = make_kernel(name, 2.0), 1e-2
    candidates, others = _points(60, 0), _points(40, 1)
    tracker = UncertaintyTracker(kernel, noise)
    np.testing.assert_allclose(tracker.variance(others), 1.0, rtol=1e-12)
    observed = np.zeros((0, 4))
    for step in range(6):
        if step % 2:
            fresh = _points(step, 10 + step)
            tracker.condition(fresh)
        else:
            fresh = candidates[tracker.select(candidates, 5).indices]
        observed = np.concatenate([observed, fresh])
        assert len(tracker) == len(observed)
        np.testing.assert_array_equal(tracker.points, observed)
        expected = exact_variance(observed, others, kernel, noise)
        np.testing.assert_allclose(tracker.variance(others), expected, rtol=1e-6)


def test_any_kernel_of_gpytorch_will_do() -> None:
    ard = make_kernel("rbf", np.array([0.5, 2.0, 4.0, 1.0]))
    scaled = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=1.5, active_dims=[1, 2])).double()
    scaled.outputscale = 7.0
    linear = gpytorch.kernels.LinearKernel().double()
    periodic = gpytorch.kernels.PeriodicKernel().double() * gpytorch.kernels.RBFKernel().double()
    for kernel in (ard, scaled, linear + ard, periodic):
        tracker = UncertaintyTracker(kernel, 0.05)
        tracker.condition(_points(7, 0))
        tracker.condition(_points(9, 1))
        others = _points(30, 2)
        expected = exact_variance(tracker.points, others, kernel.eval(), 0.05)
        np.testing.assert_allclose(tracker.variance(others), expected, rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.integers(1, 5),
    st.floats(0.3, 5.0),
    st.sampled_from([1e-3, 1e-2, 0.5]),
    st.sampled_from(NAMES),
)
def test_more_points_never_raise_a_variance_and_parts_do_not_matter(
    seed: int, parts: list[int], columns: int, scale: float, noise: float, name: str
) -> None:
    random = np.random.default_rng(seed)
    # A coarse grid on half of the examples: equal and symmetric points.
    draw = random.normal if seed % 2 else lambda size: random.integers(-2, 3, size=size).astype(float)
    points, others = draw(size=(sum(parts), columns)), draw(size=(25, columns))
    kernel = make_kernel(name, scale)
    tracker = UncertaintyTracker(kernel, noise)
    before, start = tracker.variance(others), 0
    for part in parts:
        tracker.condition(points[start : start + part])
        after = tracker.variance(others)
        assert np.all(after <= before + 1e-12)
        assert np.all(after >= 0)
        before, start = after, start + part
    whole = UncertaintyTracker(kernel, noise)
    whole.condition(points)
    np.testing.assert_allclose(whole.variance(others), before, rtol=1e-7, atol=1e-10)
    # gpytorch's Matern kernels are off by up to 3e-8 between equal rows of two sets.
    expected = exact_variance(points, others, kernel, noise)
    np.testing.assert_allclose(before, expected, rtol=1e-6, atol=1e-9 if name == "rbf" else 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_duplicates_of_an_observed_point_have_variances_near_the_noise(name: str) -> None:
    points, noise = _points(12, 3), 1e-2
    tracker = UncertaintyTracker(make_kernel(name, 2.0), noise)
    tracker.condition(points[:5])
    before = tracker.variance(points[5:6])[0]
    # A rough kernel does not forgive a distance of 1e-8 that should be 0: from far away as well.
    tracker.condition(points[5:6])
    after = tracker.variance(np.repeat(points[5:6], 40, axis=0))
    np.testing.assert_allclose(after, before * noise / (before + noise), rtol=1e-9)
    tracker.condition(points[5:6])
    twice = before * noise / (2 * before + noise)
    np.testing.assert_allclose(tracker.variance(points[5:6]), twice, rtol=1e-9)


def test_a_linear_kernel_in_closed_form() -> None:
    kernel = gpytorch.kernels.LinearKernel().double()
    kernel.variance = 1.0
    tracker = UncertaintyTracker(kernel, 0.5)
    np.testing.assert_allclose(tracker.variance([[1.0], [3.0], [-2.0]]), [1, 9, 4])
    tracker.condition([[3.0]])
    # f(x) = a x, a ~ N(0, 1): after 3 is observed with noise 0.5, var a = 1 / (1 + 9 / 0.5).
    np.testing.assert_allclose(tracker.variance([[1.0], [3.0], [-2.0]]), np.array([1, 9, 4]) / 19)


def test_points_far_from_the_origin() -> None:
    points, others = _points(10, 0), _points(20, 1)
    near, far = (UncertaintyTracker(make_kernel("rbf", 2.0)) for _ in range(2))
    near.condition(points)
    far.condition(points + 2.0**20)
    # Rounded to a grid first, so that both are the same points.
    grid = (others + 2.0**20) - 2.0**20
    near = UncertaintyTracker(make_kernel("rbf", 2.0))
    near.condition((points + 2.0**20) - 2.0**20)
    np.testing.assert_allclose(far.variance(grid + 2.0**20), near.variance(grid), rtol=1e-8)


def test_no_points_yet() -> None:
    tracker = UncertaintyTracker(make_kernel("rbf", 1.0))
    assert len(tracker) == 0
    assert tracker.points.shape == (0, 0)
    assert tracker.noise == 0.01
    np.testing.assert_array_equal(tracker.variance(np.eye(3)), np.ones(3))


def test_points_are_a_copy() -> None:
    tracker = UncertaintyTracker(make_kernel("rbf", 1.0))
    tracker.condition(np.eye(3))
    before = tracker.variance(np.ones((1, 3)))
    tracker.points[:] = 9.0
    np.testing.assert_array_equal(tracker.points, np.eye(3))
    np.testing.assert_array_equal(tracker.variance(np.ones((1, 3))), before)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    points, others = _points(50, 0), _points(70, 1)
    whole = UncertaintyTracker(make_kernel("matern52", 2.0))
    whole.condition(points)
    expected = whole.variance(others)
    monkeypatch.setattr("synalign.numerics.selection.posterior._ROWS", 7)
    blocks = UncertaintyTracker(make_kernel("matern52", 2.0))
    blocks.condition(points)
    np.testing.assert_allclose(blocks.variance(others), expected, rtol=1e-10)


@pytest.mark.parametrize("noise", [0.0, -1.0, math.nan, math.inf])
def test_a_noise_that_is_not_above_zero_is_named(noise: float) -> None:
    with pytest.raises(NumericsError, match="noise must be a finite number above 0"):
        UncertaintyTracker(make_kernel("rbf", 1.0), noise)


class _Distance(gpytorch.kernels.Kernel):
    """Of no random function: its matrix has a negative eigenvalue wherever two points differ."""

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, diag: bool = False, **_: object) -> torch.Tensor:
        found = -torch.cdist(x1, x2).square()
        return found.diagonal(dim1=-2, dim2=-1) if diag else found


class _Sigmoid(gpytorch.kernels.Kernel):
    """The "kernel" of a neural layer, not positive definite."""

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, diag: bool = False, **_: object) -> torch.Tensor:
        found = torch.tanh(x1 @ x2.transpose(-2, -1) - 1.0)
        return found.diagonal(dim1=-2, dim2=-1) if diag else found


@pytest.mark.parametrize("kind", [_Distance, _Sigmoid])
def test_a_kernel_that_is_not_positive_definite_is_named(kind: type[gpytorch.kernels.Kernel]) -> None:
    points = _points(20, 0)
    for attempt in (
        lambda tracker: tracker.condition(points),
        lambda tracker: tracker.select(points, 20),
        lambda tracker: tracker.select(points, 20, batch=5),
    ):
        with pytest.raises(NumericsError, match=r"not positive definite.*Use one that is, such as rbf"):
            attempt(UncertaintyTracker(kind()))


def test_a_small_kernel_that_is_not_positive_definite_is_named() -> None:
    # Its posterior variance at 1 is far below 0, measured by its prior of 1e-8.
    class Small(gpytorch.kernels.Kernel):
        def forward(self, x1: torch.Tensor, x2: torch.Tensor, diag: bool = False, **_: object) -> torch.Tensor:
            found = 1e-8 * torch.where(x1 == x2.T, 1.0, 3.0).to(x1)
            return found.diagonal() if diag else found

    tracker = UncertaintyTracker(Small(), 1e-9)
    tracker.condition([[0.0]])
    with pytest.raises(NumericsError, match="not positive definite"):
        tracker.variance([[1.0]])


def test_after_a_failed_condition_the_tracker_is_as_before() -> None:
    others = _points(9, 1)
    tracker = UncertaintyTracker(make_kernel("rbf", 1.0), 1e-2)
    tracker.condition(_points(6, 0))
    before, points = tracker.variance(others), tracker.points
    for bad, message in (
        (np.full((2, 4), np.nan), "points must be finite"),
        (np.ones((2, 3)), r"points must have 4 columns, as the points observed before"),
        (np.zeros((0, 4)), "points must be a matrix"),
        ([["a", "b", "c", "d"]], "points must hold numbers only"),
        (np.full((1, 4), np.inf), "points must be finite"),
    ):
        with pytest.raises(NumericsError, match=message):
            tracker.condition(bad)
        assert len(tracker) == 6
        np.testing.assert_array_equal(tracker.points, points)
        np.testing.assert_array_equal(tracker.variance(others), before)


def test_after_a_factor_that_failed_the_tracker_is_as_before() -> None:
    others = _points(9, 1)
    tracker = UncertaintyTracker(_Sigmoid(), 1e-2)
    tracker.condition([[2.0, 0, 0, 0]])
    before = tracker.points
    with pytest.raises(NumericsError, match="can't be added to the factor"):
        tracker.condition(0.1 * others)
    np.testing.assert_array_equal(tracker.points, before)
    again = UncertaintyTracker(_Sigmoid(), 1e-2)
    again.condition([[2.0, 0, 0, 0]])
    np.testing.assert_array_equal(tracker.variance(3.0 * before), again.variance(3.0 * before))


def test_what_was_only_asked_for_does_not_bind() -> None:
    points, others = _points(6, 0), _points(9, 1)
    plain = UncertaintyTracker(make_kernel("rbf", 1.0), 1e-2)
    plain.condition(points)
    asked = UncertaintyTracker(make_kernel("rbf", 1.0), 1e-2)
    asked.variance(np.ones((3, 7)))
    asked.variance(np.full((1, 4), 1e8))
    asked.condition(points)
    np.testing.assert_allclose(asked.variance(others), plain.variance(others), rtol=1e-9)


def test_a_first_condition_that_failed_does_not_bind() -> None:
    points, others = _points(6, 0), _points(9, 1)
    plain = UncertaintyTracker(make_kernel("rbf", 1.0), 1e-2)
    plain.condition(points)
    failed = UncertaintyTracker(make_kernel("rbf", 1.0), 1e-2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failed, "noise", -2.0)
        with pytest.raises(NumericsError, match="not positive definite"):
            failed.condition(np.full((1, 4), 1e8))
    failed.condition(points)
    np.testing.assert_allclose(failed.variance(others), plain.variance(others), rtol=1e-9)


@pytest.mark.parametrize(
    "kernel",
    [
        make_kernel("rbf", np.ones(3)),
        make_kernel("matern52*rbf", np.ones(3)),
        gpytorch.kernels.RBFKernel(active_dims=[9]),
    ],
    ids=["ard", "ard-product", "active-dims"],
)
def test_a_kernel_of_other_columns_is_named(kernel: gpytorch.kernels.Kernel) -> None:
    for attempt in (UncertaintyTracker.variance, UncertaintyTracker.condition):
        with pytest.raises(NumericsError, match="column"):
            attempt(UncertaintyTracker(kernel), _points(5, 0))
