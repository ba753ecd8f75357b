from __future__ import annotations

import copy

import gpytorch
import numpy as np
import pytest
import torch
from sklearn.gaussian_process.kernels import RBF, Matern

from synalign.errors import NumericsError
from synalign.numerics.selection.covariance import Covariance
from synalign.numerics.selection.kernels import KERNEL_NAMES, make_kernel

SCALES = (1.7, np.array([0.5, 3.0, 1.0, 2.0]))


def _of_columns(*columns: int) -> gpytorch.kernels.Kernel:
    kernel = gpytorch.kernels.RBFKernel(active_dims=list(columns))
    kernel.lengthscale = 1.3
    return kernel


def _scaled(kernel: gpytorch.kernels.Kernel, scale: float) -> gpytorch.kernels.Kernel:
    result = gpytorch.kernels.ScaleKernel(kernel)
    result.outputscale = scale
    return result


OTHERS = {
    "sum": lambda: make_kernel("rbf + matern52", 1.7),
    "product": lambda: make_kernel("matern32*matern52", 1.7),
    "sum-of-products": lambda: make_kernel("rbf*matern32 + matern12", SCALES[1]),
    "scaled": lambda: _scaled(gpytorch.kernels.MaternKernel(nu=2.5), 3.0),
    "columns": lambda: _of_columns(0, 2),
    "sum-of-columns": lambda: _of_columns(1) + _of_columns(3, 0),
    "linear": gpytorch.kernels.LinearKernel,
    "rational-quadratic": gpytorch.kernels.RQKernel,
    "float32": lambda: gpytorch.kernels.RBFKernel().float(),
}


def _covariance(kernel: gpytorch.kernels.Kernel, rows: np.ndarray) -> Covariance:
    covariance = Covariance(kernel)
    covariance.centre(rows)
    return covariance


def _between(covariance: Covariance, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return covariance.between(covariance.prepare(a), covariance.prepare(b)).numpy()


def _points(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 4))


@pytest.mark.parametrize("scale", SCALES, ids=["scalar", "ard"])
@pytest.mark.parametrize("name", KERNEL_NAMES)
def test_stationary_kernels_are_those_of_gpytorch(name: str, scale: float | np.ndarray) -> None:
    _agrees(make_kernel(name, scale))


@pytest.mark.parametrize("name", OTHERS)
def test_other_kernels_are_those_of_gpytorch(name: str) -> None:
    _agrees(OTHERS[name]())


def _agrees(kernel: gpytorch.kernels.Kernel) -> None:
    a, b = _points(30, 0), _points(20, 1)
    covariance = _covariance(kernel, a)
    theirs = copy.deepcopy(kernel).double().eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(a), torch.from_numpy(b)).to_dense().numpy()
        diagonal = theirs(torch.from_numpy(b), diag=True).numpy()
    found = _between(covariance, a, b)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(covariance.prior(covariance.prepare(b)).numpy(), diagonal, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", KERNEL_NAMES)
def test_far_from_the_origin_nothing_cancels(name: str) -> None:
    a, b = _points(30, 0) + 1e4, _points(20, 1) + 1e4
    nu = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}.get(name)
    # scikit-learn subtracts the rows themselves; gpytorch is off by 1e-12 here.
    expected = (RBF(1.7) if nu is None else Matern(1.7, nu=nu))(a, b)
    np.testing.assert_allclose(_between(_covariance(make_kernel(name, 1.7), a), a, b), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1e4])
@pytest.mark.parametrize("name", ["matern12", "matern12 + rbf", "matern12*matern32"])
def test_equal_rows_have_the_prior_exactly(name: str, shift: float) -> None:
    a = _points(200, 0) + shift
    covariance = _covariance(make_kernel(name, 1.7), a)
    assert np.all(np.diag(_between(covariance, a, a)) == 1.0)
    order = np.random.default_rng(2).permutation(200)[:33]
    found = _between(covariance, a[order], a)
    assert np.all(found[np.arange(33), order] == 1.0)
    found[np.arange(33), order] = 0.0
    assert found.max() < 1.0


@pytest.mark.parametrize("name", ["matern12", "matern12 + rbf"])
def test_many_equal_rows_have_the_prior_exactly(name: str) -> None:
    a = np.repeat(_points(3, 0), 100, axis=0)
    found = _between(_covariance(make_kernel(name, 1.7), a), a, a)
    same = np.equal.outer(np.arange(300) // 100, np.arange(300) // 100)
    assert np.all(found[same] == 1.0)


def test_float32_rows_are_taken_as_they_are() -> None:
    a = _points(30, 0).astype(np.float32)
    found = _between(_covariance(make_kernel("rbf", 1.7), a), a, a)
    wide = a.astype(np.float64)
    np.testing.assert_array_equal(found, _between(_covariance(make_kernel("rbf", 1.7), wide), wide, wide))


def test_the_kernel_given_is_not_changed() -> None:
    kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(ard_num_dims=4)).float()
    before = copy.deepcopy(kernel.state_dict())
    _between(_covariance(kernel, _points(5, 0)), _points(5, 0), _points(5, 1))
    assert kernel.training
    assert kernel.base_kernel.training
    for name, parameter in kernel.named_parameters():
        assert parameter.requires_grad
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, before[name])


def test_later_changes_of_the_kernel_given_do_not_count() -> None:
    kernel = make_kernel("rbf", 1.7)
    a = _points(5, 0)
    covariance = _covariance(kernel, a)
    before = _between(covariance, a, a)
    kernel.lengthscale = 9.0
    np.testing.assert_array_equal(_between(covariance, a, a), before)


def test_a_subclass_of_a_known_kernel_is_called_itself() -> None:
    class Half(gpytorch.kernels.RBFKernel):
        def forward(self, x1: torch.Tensor, x2: torch.Tensor, **parameters: object) -> torch.Tensor:
            return 0.5 * super().forward(x1, x2, **parameters)

    a = _points(5, 0)
    covariance = _covariance(Half().double(), a)
    np.testing.assert_allclose(np.diag(_between(covariance, a, a)), 0.5)
    np.testing.assert_allclose(covariance.prior(covariance.prepare(a)).numpy(), 0.5)


def test_what_is_no_kernel_is_named() -> None:
    with pytest.raises(NumericsError, match="make_kernel"):
        Covariance("rbf")
