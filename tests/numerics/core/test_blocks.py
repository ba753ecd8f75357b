from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax

from synalign.errors import NumericsError
from synalign.numerics.core import blocks as blocks_module
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.features import FeatureMap, KernelFeatures, RandomFeatures, RandomProjections

ROOT = Path(__file__).resolve().parents[3]


def _problem(m: int = 200, seed: int = 0) -> tuple[np.ndarray, RandomFeatures, np.ndarray]:
    """Return records, 32 features, and the features as a float64 matrix."""
    vectors = np.random.default_rng(seed).normal(size=(m, 3)).astype(np.float32)
    features = RandomFeatures.draw(3, 32, 1.5, seed=1)
    angles = vectors.astype(np.float64) @ features.frequencies.astype(np.float64)
    return vectors, features, np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / 4.0


def _prior(m: int) -> np.ndarray:
    return np.log(np.random.default_rng(2).dirichlet(np.ones(m)))


def _kept(blocks: FeatureBlocks) -> set[torch.dtype]:
    return set() if blocks._kept is None else {blocks._kept.dtype}


@pytest.mark.parametrize(("block_size", "count"), [(2**19, 1), (32 * 64, 4), (32, 200)])
def test_all_sums_are_those_of_the_whole_matrix(block_size: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_SIZE", block_size)
    vectors, features, phi = _problem()
    blocks = FeatureBlocks(features, vectors)
    assert (len(blocks.slices()), blocks.count, blocks.size) == (count, 200, 32)
    direction, log_prior = 5 * np.random.default_rng(3).normal(size=32), _prior(200)
    np.testing.assert_allclose(blocks.product(direction), phi @ direction, atol=1e-4)
    np.testing.assert_allclose(blocks.squared_norms(), 1.0, atol=1e-6)
    np.testing.assert_allclose(blocks.mean(), phi.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(blocks.mean(np.arange(200)), np.average(phi, axis=0, weights=np.arange(200)), atol=1e-6)
    before = log_prior.copy()
    nu, mean, logits = blocks.tilt(direction, log_prior)
    np.testing.assert_array_equal(log_prior, before)
    expected = log_prior + phi @ direction
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert nu == pytest.approx(logsumexp(expected), abs=1e-5)
    np.testing.assert_allclose(mean, softmax(expected) @ phi, atol=1e-5)


def test_rows_of_all_blocks_together_are_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_SIZE", 32 * 33)
    vectors, features, _ = _problem(100)
    rows = [np.arange(100)[part] for part in FeatureBlocks(features, vectors).slices()]
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(100))
    assert [len(part) for part in rows] == [33, 33, 33, 1]


@pytest.mark.parametrize("block_size", [2**19, 32 * 7])
def test_kept_whole_kept_in_half_and_computed_again_agree(block_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_SIZE", block_size)
    vectors, features, _ = _problem()
    full = FeatureBlocks(features, vectors)
    monkeypatch.setattr(blocks_module, "FULL_BYTES", 4 * 200 * 32 - 1)
    half = FeatureBlocks(features, vectors)
    monkeypatch.setattr(blocks_module, "KEEP_BYTES", 2 * 200 * 32 - 1)
    again = FeatureBlocks(features, vectors)
    assert [_kept(blocks) for blocks in (full, half, again)] == [{torch.float32}, {torch.float16}, set()]
    direction, log_prior = np.random.default_rng(3).normal(size=32), _prior(200)
    for name, arguments in {
        "product": (direction,),
        "squared_norms": (),
        "mean": (np.exp(log_prior),),
    }.items():
        whole = getattr(full, name)(*arguments)
        np.testing.assert_array_equal(getattr(again, name)(*arguments), whole)
        # Half precision has 11 bits: each feature is off by 1 in 2,000 or less.
        np.testing.assert_allclose(getattr(half, name)(*arguments), whole, atol=3e-3)
    for left, right, rounded in zip(*(x.tilt(direction, log_prior) for x in (full, again, half)), strict=True):
        np.testing.assert_array_equal(left, right)
        np.testing.assert_allclose(rounded, left, atol=3e-3)
    # The buffers of a block are used again: a second pass must find what the first did.
    np.testing.assert_array_equal(half.product(direction), half.product(direction))


def test_the_size_decides_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, features, _ = _problem()
    monkeypatch.setattr(blocks_module, "FULL_BYTES", 4 * 200 * 32)
    assert _kept(FeatureBlocks(features, vectors)) == {torch.float32}
    monkeypatch.setattr(blocks_module, "FULL_BYTES", 0)
    monkeypatch.setattr(blocks_module, "KEEP_BYTES", 2 * 200 * 32)
    assert _kept(FeatureBlocks(features, vectors)) == {torch.float16}
    # Unbounded features stay whole, and so need twice the room.
    linear = RandomProjections.draw(3, 32, seed=0)
    assert _kept(FeatureBlocks(linear, vectors)) == set()
    monkeypatch.setattr(blocks_module, "KEEP_BYTES", 4 * 200 * 32)
    assert _kept(FeatureBlocks(linear, vectors)) == {torch.float32}


@pytest.mark.parametrize("strength", [1e3, 1e6, 1e12])
def test_huge_logits_do_not_overflow(strength: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_SIZE", 32 * 20)
    vectors, features, phi = _problem()
    direction = strength * np.random.default_rng(4).normal(size=32)
    with np.errstate(over="raise", invalid="raise"):
        nu, mean, logits = FeatureBlocks(features, vectors).tilt(direction, _prior(200))
    assert nu == pytest.approx(logsumexp(_prior(200) + phi @ direction), rel=1e-5)
    # Logits carry the rounding of float32: the mean is judged by the logits that were found.
    np.testing.assert_allclose(mean, softmax(logits) @ phi, atol=1e-5)
    assert np.isfinite(logits).all()


def test_a_block_without_any_prior_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_SIZE", 32 * 20)
    vectors, features, phi = _problem()
    log_prior = np.full(200, -np.inf)
    log_prior[[70, 75, 199]] = np.log([0.2, 0.3, 0.5])
    direction = np.random.default_rng(4).normal(size=32)
    nu, mean, logits = FeatureBlocks(features, vectors).tilt(direction, log_prior)
    inside = log_prior + phi @ direction
    assert nu == pytest.approx(logsumexp(inside), abs=1e-5)
    np.testing.assert_allclose(mean, softmax(inside) @ phi, atol=1e-5)
    np.testing.assert_array_equal(logits == -np.inf, log_prior == -np.inf)


def test_weights_of_any_size_give_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_SIZE", 32 * 20)
    vectors, features, phi = _problem()
    blocks = FeatureBlocks(features, vectors)
    weights = np.random.default_rng(5).uniform(size=200)
    expected = np.average(phi, axis=0, weights=weights)
    for scale in (1e-300, 1.0, 1e300):
        np.testing.assert_allclose(blocks.mean(scale * weights), expected, atol=1e-6)
    with pytest.raises(NumericsError, match="weights must be a vector of length 200"):
        blocks.mean(np.ones(3))


@pytest.mark.parametrize("half", [False, True])
def test_one_record(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "FULL_BYTES", 0 if half else 2**20)
    vectors, features, phi = _problem(1)
    blocks = FeatureBlocks(features, vectors)
    direction = np.ones(32)
    nu, mean, logits = blocks.tilt(direction, np.zeros(1))
    atol = 3e-3 if half else 1e-5
    assert nu == pytest.approx(phi[0].sum(), abs=atol)
    np.testing.assert_allclose(mean, phi[0], atol=atol)
    np.testing.assert_allclose(logits, [phi[0].sum()], atol=atol)
    np.testing.assert_allclose(blocks.mean([7.0]), phi[0], atol=atol)
    assert blocks.slices() == [slice(0, 2**20 // 32)]


@pytest.mark.parametrize("kind", ["random", "kernel", "projections"])
def test_every_map_gives_the_mean_that_it_gives_itself(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_SIZE", 32 * 7)
    vectors, features, _ = _problem(32)
    maps: dict[str, FeatureMap] = {
        "random": features,
        "kernel": KernelFeatures.fit(vectors, 1.5),
        "projections": RandomProjections.draw(3, 32, seed=0),
    }
    weights = np.arange(32)
    blocks = FeatureBlocks(maps[kind], vectors)
    assert len(blocks.slices()) == 5
    np.testing.assert_allclose(blocks.mean(weights), maps[kind].mean(vectors, weights), atol=1e-5)
    norms = np.square(maps[kind].map(vectors)).sum(axis=1)
    np.testing.assert_allclose(blocks.squared_norms(), norms, rtol=1e-5, atol=1e-6)


_DIGESTS = """
import sys, hashlib, numpy as np, torch
torch.set_num_threads(int(sys.argv[1]))
from synalign.numerics.core import blocks
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.features import RandomFeatures

random = np.random.default_rng(0)
vectors, direction = random.normal(size=(2500, 48)).astype(np.float32), random.normal(size=256)
prior = random.uniform(size=2500)
features = RandomFeatures.draw(48, 256, 4.0, 0)
for full, keep in ((2**30, 2**30), (0, 2**30), (0, 0)):
    for size in (256 * 100, 2**30):
        blocks.FULL_BYTES, blocks.KEEP_BYTES, blocks.BLOCK_SIZE = full, keep, size
        made = FeatureBlocks(features, vectors)
        nu, mean, logits = made.tilt(direction, np.log(prior))
        arrays = [[nu], mean, logits, made.product(direction), made.mean(prior), features.mean(vectors, prior)]
        digests = [hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16] for array in arrays]
        print(len(made.slices()), *digests)
"""


def test_the_number_of_threads_does_not_change_one_bit() -> None:
    def digests(threads: int) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", _DIGESTS, str(threads)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [line for line in done.stdout.splitlines() if line.startswith("25 ")]

    one, two = digests(1), digests(2)
    assert len(one) == 3
    assert one == two


def test_wrong_arguments_are_named() -> None:
    vectors, features, _ = _problem()
    with pytest.raises(NumericsError, match="vectors must have 3 columns, as the feature map has"):
        FeatureBlocks(features, vectors[:, :2])
    with pytest.raises(NumericsError, match="vectors must be a matrix"):
        FeatureBlocks(features, vectors[:0])
    with pytest.raises(NumericsError, match="row 3"):
        FeatureBlocks(features, np.where(np.arange(200)[:, None] == 3, np.inf, vectors))
    with pytest.raises(NumericsError, match=r"device 'abacus' cannot hold the features: .* Use 'cpu'."):
        FeatureBlocks(features, vectors, "abacus")


@pytest.mark.parametrize("keep", [2**31, 0])
def test_some_records_are_those_records(keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "KEEP_BYTES", keep)
    monkeypatch.setattr(blocks_module, "BLOCK_SIZE", 7 * 32)
    vectors = np.random.default_rng(3).normal(size=(60, 5)).astype(np.float32)
    features = RandomFeatures.draw(5, 32, 1.5, seed=1)
    rows = np.array([3, 8, 9, 41, 59])
    part, direction = FeatureBlocks(features, vectors).take(rows), np.arange(32.0)
    assert part.count == 5
    np.testing.assert_allclose(part.product(direction), features.map(vectors[rows]) @ direction, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(part.mean([1, 0, 0, 0, 1]), features.map(vectors[[3, 59]]).mean(axis=0), atol=1e-6)
