from __future__ import annotations

import math

import numpy as np
import pytest

from synalign.errors import NumericsError
from synalign.numerics.alignment.witness import witness
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.features import KernelFeatures, RandomFeatures
from synalign.numerics.statistics.mmd import mmd2

_WIDTH = 1.3


def _records(n: int = 14, m: int = 9, seed: int = 0) -> tuple[np.ndarray, np.ndarray, KernelFeatures]:
    random = np.random.default_rng(seed)
    real, synthetic = random.normal(size=(n, 3)), random.normal(0.7, 1.2, size=(m, 3))
    return real, synthetic, KernelFeatures.fit(np.concatenate([real, synthetic]), _WIDTH)


def _kernel(x: np.ndarray, y: np.ndarray) -> float:
    return math.exp(-(math.dist(x, y) ** 2) / (2 * _WIDTH**2))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_double_loop_over_the_exact_kernel_agrees(weighted: bool) -> None:
    real, synthetic, features = _records()
    random = np.random.default_rng(1)
    copies = random.integers(1, 5, size=len(real)).astype(float) if weighted else np.ones(len(real))
    drawn = random.uniform(size=len(synthetic))
    mean = features.mean(synthetic, drawn)
    to_real, to_synthetic = witness(FeatureBlocks(features, real), copies if weighted else None, mean)
    for i, record in enumerate(real):
        others = [j for j in range(len(real)) if j != i]
        near = sum(copies[j] * _kernel(record, real[j]) for j in others) / sum(copies[j] for j in others)
        made = sum(w * _kernel(record, x) for w, x in zip(drawn, synthetic, strict=True)) / drawn.sum()
        assert to_real[i] == pytest.approx(near, abs=1e-5)
        assert to_synthetic[i] == pytest.approx(made, abs=1e-5)


def test_the_scale_of_the_weights_does_not_matter() -> None:
    real, synthetic, features = _records()
    blocks, mean = FeatureBlocks(features, real), features.mean(synthetic)
    copies = np.arange(1.0, 15.0)
    np.testing.assert_allclose(witness(blocks, copies * 1e6, mean)[0], witness(blocks, copies, mean)[0], rtol=1e-9)


def test_its_mean_over_the_real_records_is_the_unbiased_mmd_less_what_synthetic_ones_add() -> None:
    real, synthetic, features = _records(40, 30)
    to_real, to_synthetic = witness(FeatureBlocks(features, real), None, features.mean(synthetic))
    gram = np.array([[_kernel(x, y) for y in synthetic] for x in synthetic])
    apart = (gram.sum() - len(gram)) / (len(gram) * (len(gram) - 1))
    expected = mmd2(real, synthetic, _WIDTH) - apart
    # MMD^2 has the term across twice: once of the real side's witness, once of the synthetic side's.
    assert np.mean(to_real - to_synthetic) - np.mean(to_synthetic) == pytest.approx(expected, abs=1e-5)


def test_a_record_far_from_all_synthetic_ones_has_the_largest_witness() -> None:
    random = np.random.default_rng(2)
    uncovered = random.normal(8.0, 0.5, size=(10, 2))
    real = np.concatenate([random.normal(size=(90, 2)), uncovered])
    features = RandomFeatures.draw(2, 1024, 1.0, seed=0)
    to_real, to_synthetic = witness(FeatureBlocks(features, real), None, features.mean(random.normal(size=(200, 2))))
    difference = to_real - to_synthetic
    assert difference[90:].mean() > difference[:90].mean() + 0.02
    assert np.abs(to_synthetic[90:]).max() < 0.05


def test_a_record_that_is_alone_is_compared_with_itself() -> None:
    real, synthetic, features = _records()
    one = witness(FeatureBlocks(features, real[:1]), [3.0], features.mean(synthetic))[0]
    np.testing.assert_allclose(one, [1.0], atol=1e-5)
    # The others have weight 0: they see it alone, and it sees none of them.
    weights = np.zeros(14)
    weights[4] = 2.0
    many = witness(FeatureBlocks(features, real), weights, features.mean(synthetic))[0]
    np.testing.assert_allclose(many, [_kernel(x, real[4]) for x in real], atol=1e-5)


def test_twins_see_each_other_and_not_themselves() -> None:
    pair = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    linked = KernelFeatures.fit(np.concatenate([pair[:1], pair[:1] + 5.0]), _WIDTH)
    np.testing.assert_allclose(witness(FeatureBlocks(linked, pair), None, np.zeros(2))[0], [1.0, 1.0], atol=1e-4)
    apart = np.stack([pair[0], pair[0] + 5.0])
    np.testing.assert_allclose(witness(FeatureBlocks(linked, apart), None, np.zeros(2))[0], [0.0, 0.0], atol=1e-4)


def test_shares_of_strata_scale_each_side() -> None:
    real, synthetic, features = _records()
    blocks, mean = FeatureBlocks(features, real), features.mean(synthetic)
    whole, part = witness(blocks, None, mean), witness(blocks, None, mean, 0.25, 0.5)
    np.testing.assert_allclose(part[0], whole[0] / 4)
    np.testing.assert_allclose(part[1], whole[1] / 2)
    np.testing.assert_array_equal(witness(blocks, None, mean, 0.0, 0.0), np.zeros((2, 14)))


def test_wrong_arguments_are_named() -> None:
    real, synthetic, features = _records()
    blocks, mean = FeatureBlocks(features, real), features.mean(synthetic)
    with pytest.raises(NumericsError, match="real_weights must be a vector of length 14"):
        witness(blocks, np.ones(13), mean)
    with pytest.raises(NumericsError, match="real_weights must not be negative; entry 0"):
        witness(blocks, -np.ones(14), mean)
    with pytest.raises(NumericsError, match="synthetic_mean must be a vector of length 23"):
        witness(blocks, None, mean[:-1])
    with pytest.raises(NumericsError, match=r"shares must not be negative; given: 1.0 and -0.1"):
        witness(blocks, None, mean, 1.0, -0.1)
    with pytest.raises(NumericsError, match=r"shares must not be negative; given: -0.5 and 0.1"):
        witness(blocks, None, mean, -0.5, 0.1)
