from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from synalign.errors import NumericsError
from synalign.numerics.clustering import Clusters, assign, choose_k, fit_clusters


def _blobs() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10]], dtype=np.float32)
    truth = np.repeat([0, 1, 2], [50, 30, 20])
    noise = random.normal(scale=0.5, size=(100, 2)).astype(np.float32)
    return centres[truth] + noise, truth


def _check(clusters: Clusters, vectors: np.ndarray, k: int) -> None:
    found = len(clusters.centroids)
    assert 1 <= found <= k
    assert clusters.centroids.dtype == clusters.distances.dtype == clusters.radius.dtype == np.float32
    assert clusters.labels.dtype == np.int64
    assert np.bincount(clusters.labels, minlength=found).min() > 0
    assert np.all(np.diff(clusters.sizes) <= 0)
    distances = cdist(vectors, clusters.centroids)
    # float32 rounding may decide between nearly equal centroids: the one taken is as near as the nearest.
    np.testing.assert_allclose(clusters.distances, distances.min(axis=1), atol=1e-4, rtol=1e-4)
    for cluster in range(found):
        assert clusters.radius[cluster] == clusters.distances[clusters.labels == cluster].max()


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (3, 2), (300, 17), (10**6, 1000), (10**7, 1024)])
def test_choose_k(n: int, k: int) -> None:
    assert choose_k(n) == k


def test_choose_k_of_nothing() -> None:
    with pytest.raises(NumericsError):
        choose_k(0)


def test_blobs_are_found_and_ordered_by_size() -> None:
    vectors, truth = _blobs()
    clusters = fit_clusters(vectors, 3, seed=0)
    np.testing.assert_array_equal(clusters.labels, truth)
    np.testing.assert_array_equal(clusters.sizes, [50, 30, 20])
    _check(clusters, vectors, 3)


def test_weights_decide_sizes_and_order() -> None:
    vectors, truth = _blobs()
    weights = np.where(truth == 2, 10.0, 1.0)
    clusters = fit_clusters(vectors, 3, seed=0, weights=weights)
    np.testing.assert_array_equal(clusters.sizes, [200, 50, 30])
    assert set(clusters.labels[truth == 2]) == {0}


def test_the_same_seed_gives_the_same_clusters() -> None:
    vectors = np.random.default_rng(3).normal(size=(3000, 16)).astype(np.float32)
    first, second = (fit_clusters(vectors, 40, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.centroids, second.centroids)
    np.testing.assert_array_equal(first.labels, second.labels)
    _check(first, vectors, 40)


def test_fewer_distinct_rows_than_clusters() -> None:
    vectors = np.array([[1, 1], [0, 0], [1, 1], [0, 0], [1, 1]], dtype=np.float32)
    clusters = fit_clusters(vectors, 4, seed=0)
    np.testing.assert_array_equal(clusters.centroids, [[1, 1], [0, 0]])
    np.testing.assert_array_equal(clusters.labels, [0, 1, 0, 1, 0])
    np.testing.assert_array_equal(clusters.distances, 0)


def test_equal_sizes_are_ordered_by_centroid() -> None:
    clusters = fit_clusters(np.array([[3.0, 0], [1, 5], [1, 2]]), 3, seed=9)
    np.testing.assert_array_equal(clusters.centroids, [[1, 2], [1, 5], [3, 0]])


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 3), st.data())
def test_any_small_input(n: int, d: int, seed: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(-3, 3), min_size=n * d, max_size=n * d))
    vectors = np.array(values, dtype=np.float32).reshape(n, d)
    k = data.draw(st.integers(1, n))
    _check(fit_clusters(vectors, k, seed), vectors, k)


def test_assign_in_blocks_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    vectors, centroids = random.normal(size=(101, 5)), random.normal(size=(7, 5))
    monkeypatch.setattr("synalign.numerics.checks.BLOCK_BYTES", 300)
    labels, distances = assign(vectors, centroids)
    reference = cdist(vectors, centroids)
    np.testing.assert_array_equal(labels, reference.argmin(axis=1))
    np.testing.assert_allclose(distances, reference.min(axis=1), rtol=1e-6)
    assert (labels.dtype, distances.dtype) == (np.int64, np.float32)


def test_wrong_arguments_are_named() -> None:
    vectors = np.zeros((3, 2))
    for k in (0, 4):
        with pytest.raises(NumericsError, match="from 1 to 3; given"):
            fit_clusters(vectors, k, seed=0)
    with pytest.raises(NumericsError, match="vectors"):
        fit_clusters(np.zeros((0, 2)), 1, seed=0)
    with pytest.raises(NumericsError, match="row 1"):
        fit_clusters(np.array([[0.0], [np.nan]]), 1, seed=0)
    with pytest.raises(NumericsError, match="weights"):
        fit_clusters(vectors, 1, seed=0, weights=[1, -1, 1])
    with pytest.raises(NumericsError, match="2 columns"):
        assign(np.zeros((1, 3)), vectors)
