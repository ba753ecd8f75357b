from __future__ import annotations

import math
import subprocess
import sys

import gpytorch
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.gaussian_process.kernels import RBF, Matern

from synalign.errors import NumericsError
from synalign.numerics.selection.kernels import (
    FALLBACK_DISTANCE,
    KERNEL_NAMES,
    MAX_PARTS,
    check_kernel_expression,
    describe_kernel,
    make_kernel,
    median_distance,
)


def test_median_distance_of_a_line() -> None:
    # Points 0, 1, 3: the distances are 1, 2 and 3.
    assert median_distance([[0.0], [1.0], [3.0]], seed=0) == 2.0


def test_median_distance_of_a_sample_is_near_that_of_all_and_seeded() -> None:
    vectors = np.random.default_rng(1).normal(size=(1500, 8)).astype(np.float32)
    every = median_distance(vectors, seed=0, sample=1500)
    part = median_distance(vectors, seed=0, sample=400)
    assert part == median_distance(vectors, seed=0, sample=400)
    assert part != median_distance(vectors, seed=1, sample=400)
    assert part == pytest.approx(every, rel=0.05)
    distances = cdist(vectors, vectors)
    assert every == pytest.approx(np.median(distances[np.triu_indices(1500, 1)]), rel=1e-6)


@pytest.mark.parametrize("rows", [1, 7])
def test_equal_vectors_have_the_stated_fallback(rows: int) -> None:
    assert median_distance(np.ones((rows, 3)), seed=0) == FALLBACK_DISTANCE


def test_mostly_duplicates_fall_back_to_the_distances_that_are_not_zero() -> None:
    vectors = np.zeros((20, 2))
    vectors[0] = [3.0, 4.0]
    assert median_distance(vectors, seed=0) == 5.0


@pytest.mark.parametrize("name", KERNEL_NAMES)
def test_kernels_agree_with_scikit_learn(name: str) -> None:
    points = np.random.default_rng(0).normal(size=(9, 4))
    reference = _reference(name, 0.7)
    kernel = make_kernel(name, 0.7)
    ours = kernel(torch.from_numpy(points)).to_dense()
    assert ours.dtype == torch.float64
    assert not any(parameter.requires_grad for parameter in kernel.parameters())
    np.testing.assert_allclose(ours.numpy(), reference(points), rtol=1e-6, atol=1e-7)


def _reference(name: str, scale: float | list[float]) -> RBF:
    nu = {"rbf": None, "matern12": 0.5, "matern32": 1.5, "matern52": 2.5}[name]
    return RBF(scale) if nu is None else Matern(scale, nu=nu)


@pytest.mark.parametrize("scale", [0.7, [0.7, 1.5, 0.2]], ids=["one", "ard"])
@pytest.mark.parametrize("rows", [9, 900])
def test_sums_are_means_and_products_bind_tighter(scale: float | list[float], rows: int) -> None:
    # From 800 rows on, gpytorch approximates some products.
    points = np.random.default_rng(0).normal(size=(rows, 3))
    points[1] = points[0]
    matern32, rbf, matern12 = (_reference(name, scale)(points) for name in ("matern32", "rbf", "matern12"))
    kernel = make_kernel("matern32+rbf * matern12", np.array(scale) if isinstance(scale, list) else scale)
    ours = kernel(torch.from_numpy(points)).to_dense()
    assert ours.dtype == torch.float64
    assert not any(parameter.requires_grad for parameter in kernel.parameters())
    np.testing.assert_allclose(ours.numpy(), (matern32 + rbf * matern12) / 2, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("terms", range(1, MAX_PARTS + 1))
def test_the_prior_variance_is_exactly_one(terms: int) -> None:
    points = torch.from_numpy(np.random.default_rng(terms).normal(size=(20, 2)))
    names = [KERNEL_NAMES[term % len(KERNEL_NAMES)] for term in range(terms)]
    for sign in "+*":
        for scale in (0.3, np.array([0.3, 7.0])):
            assert (make_kernel(sign.join(names), scale)(points, diag=True) == 1.0).all()


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("rbf", "rbf"),
        (" matern32+rbf  *matern12 ", "matern32 + rbf*matern12"),
        ("rbf*rbf + matern52\t+rbf", "rbf*rbf + matern52 + rbf"),
    ],
)
def test_the_canonical_form_of_an_expression(given: str, canonical: str) -> None:
    assert check_kernel_expression(given) == canonical
    assert check_kernel_expression(canonical) == canonical


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("matern23", r"unknown part 'matern23'.* nearest known name is 'matern"),
        ("RBF", r"'RBF'.* nearest known name is 'rbf'.*joined by '\+'"),
        ("linear", "kernel 'linear' holds .*one of rbf, matern12, matern32, matern52"),
        ("rbf + ", r"lacks a name .*given: 'rbf \+ '"),
        ("*rbf", "lacks a name"),
        ("", "lacks a name"),
        ("(rbf + matern12)*rbf", r"unknown part '\(rbf'.*without parentheses"),
        ("+".join(["rbf"] * (MAX_PARTS + 1)), f"has {MAX_PARTS + 1} parts; at most {MAX_PARTS}"),
        (None, "must be a text; given: None"),
    ],
)
def test_a_wrong_expression_is_named_with_the_grammar(given: str, message: str) -> None:
    for refuse in (check_kernel_expression, lambda text: make_kernel(text, 1.0)):
        with pytest.raises(NumericsError, match=message):
            refuse(given)


def test_an_expression_is_checked_without_torch() -> None:
    code = (
        "import sys; from synalign.numerics.selection.kernels import check_kernel_expression as check; "
        "check('rbf*matern12'); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_description_is_readable() -> None:
    kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(active_dims=(0, 2))).double()
    kernel.outputscale, kernel.base_kernel.lengthscale = 2, 0.5
    assert describe_kernel(kernel) == (
        "ScaleKernel(active_dims=[0, 2], outputscale=2, RBFKernel(active_dims=[0, 2], lengthscale=0.5))"
    )
    assert describe_kernel(make_kernel("rbf + rbf*matern12", 0.7)) == (
        "ScaleKernel(outputscale=0.5, AdditiveKernel([RBFKernel(lengthscale=0.7), "
        "ProductKernel([RBFKernel(lengthscale=0.7), MaternKernel(lengthscale=0.7, nu=0.5)])]))"
    )
    own = _Own()
    assert describe_kernel(own).startswith(f"{_Own.__module__}._Own(lengthscale=")


class _Own(gpytorch.kernels.RBFKernel):
    pass


def _variants() -> list[gpytorch.kernels.Kernel]:
    """Kernels of which no two have the same covariance function."""
    from gpytorch.kernels import (
        AdditiveKernel,
        MaternKernel,
        PeriodicKernel,
        PolynomialKernel,
        ProductKernel,
        RBFKernel,
    )

    def rbf(scale: float | np.ndarray, **given: object) -> gpytorch.kernels.Kernel:
        kernel = RBFKernel(**given).double()
        kernel.lengthscale = torch.as_tensor(scale, dtype=torch.float64)
        return kernel

    many = np.linspace(1.0, 2.0, 30)
    changed = many.copy()
    changed[17] += 1e-12
    return [
        rbf(0.5),
        rbf(0.5 + 1e-15),
        rbf(np.array([0.5, 0.6]), ard_num_dims=2),
        rbf(np.array([0.6, 0.5]), ard_num_dims=2),
        rbf(0.5, active_dims=(0,)),
        rbf(0.5, active_dims=(1,)),
        rbf(many, ard_num_dims=30),
        rbf(changed, ard_num_dims=30),
        MaternKernel(nu=0.5),
        MaternKernel(nu=1.5),
        PolynomialKernel(power=2),
        PolynomialKernel(power=3),
        PeriodicKernel(),
        AdditiveKernel(rbf(0.5), rbf(0.5)),
        AdditiveKernel(rbf(0.5), rbf(0.5), rbf(0.5)),
        AdditiveKernel(*[rbf(0.5)] * 4),
        ProductKernel(rbf(0.5), rbf(0.5)),
        AdditiveKernel(rbf(0.5), ProductKernel(rbf(0.5), rbf(0.5))),
        ProductKernel(rbf(0.5), AdditiveKernel(rbf(0.5), rbf(0.5))),
    ]


def test_equal_kernels_and_only_those_have_equal_descriptions() -> None:
    kernels, again = _variants(), _variants()
    descriptions = [describe_kernel(kernel) for kernel in kernels]
    assert descriptions == [describe_kernel(kernel) for kernel in again]
    assert len(set(descriptions)) == len(descriptions)
    assert not any("\n" in text for text in descriptions)


def test_a_description_does_not_change_with_use_or_format() -> None:
    kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RQKernel(ard_num_dims=3))
    before = describe_kernel(kernel)
    kernel.eval().requires_grad_(False)(torch.ones(4, 3)).to_dense()
    assert describe_kernel(kernel) == before
    # The outputscale is 1/2: exact in both formats.
    halved = make_kernel("rbf + rbf", 0.25)
    assert describe_kernel(halved.float()) == describe_kernel(make_kernel("rbf + rbf", 0.25))


def test_buffers_count_also_those_that_a_user_adds() -> None:
    kernel = _Own()
    kernel.register_buffer("knots", torch.arange(100.0))
    before = describe_kernel(kernel)
    kernel.knots[50] += 1
    assert describe_kernel(kernel) != before


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(NumericsError, match=r"must be a gpytorch.kernels.Kernel; given: str.*make_kernel"):
        describe_kernel("rbf")  # type: ignore[arg-type]
    for bad in (0.0, -1.0, math.inf, math.nan, [1.0, 0.0], [1.0, math.nan], [[1.0]], []):
        with pytest.raises(NumericsError, match="length_scale"):
            make_kernel("rbf", np.array(bad) if isinstance(bad, list) else bad)
    with pytest.raises(NumericsError, match="sample"):
        median_distance(np.ones((3, 2)), seed=0, sample=1)
    with pytest.raises(NumericsError, match="vectors"):
        median_distance(np.ones((0, 2)), seed=0)
