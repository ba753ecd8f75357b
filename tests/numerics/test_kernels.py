from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.gaussian_process.kernels import RBF, Matern

from synalign.errors import NumericsError
from synalign.numerics.kernels import FALLBACK_DISTANCE, KERNEL_NAMES, make_kernel, median_distance


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
    nu = {"rbf": None, "matern12": 0.5, "matern32": 1.5, "matern52": 2.5}[name]
    reference = RBF(0.7) if nu is None else Matern(0.7, nu=nu)
    kernel = make_kernel(name, 0.7)
    ours = kernel(torch.from_numpy(points)).to_dense()
    assert ours.dtype == torch.float64
    assert not any(parameter.requires_grad for parameter in kernel.parameters())
    np.testing.assert_allclose(ours.numpy(), reference(points), rtol=1e-6, atol=1e-7)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(NumericsError, match="rbf, matern12, matern32, matern52; given: 'linear'"):
        make_kernel("linear", 1.0)
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(NumericsError, match="length_scale"):
            make_kernel("rbf", bad)
    with pytest.raises(NumericsError, match="sample"):
        median_distance(np.ones((3, 2)), seed=0, sample=1)
    with pytest.raises(NumericsError, match="vectors"):
        median_distance(np.ones((0, 2)), seed=0)
