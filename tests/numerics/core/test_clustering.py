from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics.cluster import contingency_matrix

from synalign.errors import NumericsError
from synalign.numerics.core.clustering import (
    Clusters,
    assign,
    assign_within,
    choose_k,
    fit_clusters,
    fit_clusters_within,
    purity,
    silhouette,
)


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
    monkeypatch.setattr("synalign.numerics.core.checks.BLOCK_BYTES", 300)
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


def test_larger_data_end_near_a_full_k_means() -> None:
    """Second opinion: Lloyd iterations over all rows, the best of three starts."""
    random = np.random.default_rng(1)
    centres = random.normal(size=(30, 8))
    vectors = (centres[random.integers(30, size=20_000)] + random.normal(size=(20_000, 8))).astype(np.float32)
    clusters = fit_clusters(vectors, 20, seed=0)
    _check(clusters, vectors, 20)
    best = KMeans(20, n_init=3, random_state=0).fit(vectors).inertia_
    assert (clusters.distances.astype(np.float64) ** 2).sum() < 1.05 * best


def test_rows_without_weight_do_not_move_a_centroid() -> None:
    vectors = np.array([[0.0], [1], [10], [11], [500], [0.4]])
    clusters = fit_clusters(vectors, 2, seed=0, weights=[1, 1, 1, 2, 0, 0])
    np.testing.assert_allclose(clusters.centroids, [[32 / 3], [0.5]], rtol=1e-6)
    np.testing.assert_array_equal(clusters.labels, [1, 1, 0, 0, 0, 1])
    np.testing.assert_array_equal(clusters.sizes, [3, 2])


def test_clusters_within_groups_are_those_of_each_group() -> None:
    """Two groups lie on top of each other: no cluster may hold both, and each is found as if it were alone."""
    vectors, truth = _blobs()
    both, groups = np.concatenate([vectors, vectors + 0.01]), np.repeat([7, 3], 100)
    clusters, owners = fit_clusters_within(both, groups, 6, seed=0)
    _check_groups(clusters, owners, groups)
    np.testing.assert_array_equal(clusters.sizes, [50, 50, 30, 30, 20, 20])
    for group in (3, 7):
        inside = clusters.labels[groups == group]
        assert len({(kind, number) for kind, number in zip(truth, inside, strict=True)}) == 3
    for number, centroid in enumerate(clusters.centroids):
        np.testing.assert_allclose(centroid, both[clusters.labels == number].mean(axis=0), rtol=1e-4, atol=1e-5)


def _check_groups(clusters: Clusters, owners: np.ndarray, groups: np.ndarray) -> None:
    assert owners.shape == (len(clusters.centroids),)
    np.testing.assert_array_equal(owners[clusters.labels], groups)
    assert np.all(np.diff(clusters.sizes) <= 0)


def test_groups_share_the_clusters_by_weight_and_each_has_one() -> None:
    random = np.random.default_rng(0)
    vectors, groups = random.normal(size=(400, 3)), np.repeat([0, 1, 2], [200, 196, 4])
    _, owners = fit_clusters_within(vectors, groups, 10, seed=0)
    np.testing.assert_array_equal(np.bincount(owners), [5, 4, 1])
    _, owners = fit_clusters_within(vectors, groups, 10, seed=0, weights=np.where(groups == 1, 3.0, 1.0))
    np.testing.assert_array_equal(np.bincount(owners), [2, 7, 1])
    # Four rows make no more than four clusters, however heavy they are: the others have what is left.
    _, owners = fit_clusters_within(vectors, groups, 10, seed=0, weights=np.where(groups == 2, 1e4, 1.0))
    np.testing.assert_array_equal(np.bincount(owners), [3, 3, 4])
    _, owners = fit_clusters_within(vectors, groups, 3, seed=0)
    np.testing.assert_array_equal(np.sort(owners), [0, 1, 2])


def test_equal_clusters_of_two_groups_are_ordered_by_group() -> None:
    clusters, owners = fit_clusters_within([[1.0, 1], [0, 0], [0, 0]], [4, 5, 2], 3, seed=0)
    np.testing.assert_array_equal(clusters.centroids, [[0, 0], [0, 0], [1, 1]])
    np.testing.assert_array_equal(owners, [2, 5, 4])
    np.testing.assert_array_equal(clusters.labels, [2, 1, 0])


def test_assignment_within_groups_is_the_nearest_of_the_own_group() -> None:
    random = np.random.default_rng(2)
    vectors, centroids = random.normal(size=(60, 4)), random.normal(size=(9, 4))
    groups, owners = np.arange(60) % 5 - 1, np.arange(9) % 3
    labels, distances = assign_within(vectors, groups, centroids, owners)
    every = cdist(vectors, centroids)
    # Groups -1 and 3 have no cluster.
    allowed = (groups[:, None] == owners) | ~np.isin(groups, [0, 1, 2])[:, None]
    np.testing.assert_array_equal(labels, np.where(allowed, every, np.inf).argmin(axis=1))
    np.testing.assert_allclose(distances, every[np.arange(60), labels], rtol=1e-6)


def test_wrong_groups_are_named() -> None:
    vectors = np.arange(6.0).reshape(6, 1)
    with pytest.raises(NumericsError, match=r"at least the number of groups, 3, .*given: 2"):
        fit_clusters_within(vectors, [0, 0, 1, 1, 2, 2], 2, seed=0)
    with pytest.raises(NumericsError, match="group 4 has none"):
        fit_clusters_within(vectors, [0, 0, 0, 4, 4, 4], 2, seed=0, weights=[1, 1, 1, 0, 0, 0])
    for groups in ([0] * 5, [0.5] * 6):
        with pytest.raises(NumericsError, match="groups must be a vector of 6 integers"):
            fit_clusters_within(vectors, groups, 2, seed=0)
    with pytest.raises(NumericsError, match="owners"):
        assign_within(vectors, [0] * 6, [[0.0]], [0, 1])


def test_purity_by_hand() -> None:
    each, overall = purity([0, 0, 0, 1, 1, 3], [5, 5, 2, 2, -1, -1])
    np.testing.assert_allclose(each, [2 / 3, 1, np.nan, np.nan])
    assert overall == pytest.approx(3 / 4)
    each, overall = purity([0, 0, 0, 1], [5, 5, 2, 2], weights=[1, 1, 6, 2])
    np.testing.assert_allclose(each, [6 / 8, 1])
    assert overall == pytest.approx(8 / 10)
    assert np.isnan(purity([0, 1], [-1, -1])[1])


def test_purity_against_a_contingency_table() -> None:
    random = np.random.default_rng(0)
    labels, codes = random.integers(7, size=300), random.integers(4, size=300)
    table = contingency_matrix(labels, codes)
    each, overall = purity(labels, codes)
    np.testing.assert_allclose(each, table.max(axis=1) / table.sum(axis=1))
    assert overall == pytest.approx(table.max(axis=1).sum() / 300)


def test_silhouette_of_all_rows_by_its_definition() -> None:
    vectors, truth = _blobs()
    distances = cdist(vectors, vectors)
    values = []
    for row in range(100):
        means = [
            distances[row, truth == other].sum() / ((truth == other).sum() - (other == truth[row]))
            for other in range(3)
        ]
        own, nearest = means[truth[row]], min(means[: truth[row]] + means[truth[row] + 1 :])
        values.append((nearest - own) / max(own, nearest))
    mean, each = silhouette(vectors, truth, seed=0)
    assert mean == pytest.approx(np.mean(values), rel=1e-4)
    np.testing.assert_allclose(each, [np.mean(np.array(values)[truth == kind]) for kind in range(3)], rtol=1e-4)


def test_silhouette_of_a_sample_is_near_and_repeatable() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(4000) % 3
    vectors = random.normal(size=(4000, 2)) + 3 * np.eye(3)[labels, :2]
    whole, every = silhouette(vectors, labels, seed=0)
    part, each = silhouette(vectors, labels, seed=1, sample=800)
    assert part == silhouette(vectors, labels, seed=1, sample=800)[0] != silhouette(vectors, labels, 2, sample=800)[0]
    assert part == pytest.approx(whole, abs=0.03)
    np.testing.assert_allclose(each, every, atol=0.06)


def test_silhouette_leaves_out_what_the_sample_cannot_tell() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(1000, 2))
    labels = np.repeat([0, 1, 2], [600, 399, 1])
    vectors[labels == 1] += 9
    vectors[-1] = 99
    each = silhouette(vectors, labels, seed=0)[1]
    assert each[2] == 0  # a cluster of one row, by definition
    # Of 20 clusters of five rows, most are drawn once or not at all: that says nothing of them, and is no 0.
    labels = np.concatenate([np.repeat([0, 1], 450), 2 + np.arange(100) // 5])
    mean, each = silhouette(vectors, labels, seed=0, sample=100)
    assert np.isfinite([mean, *each[:2]]).all()
    assert 5 < np.isnan(each).sum() < 20
    assert not (each == 0).any()
    for clusters in (np.zeros(1000, int), np.arange(1000)):
        mean, each = silhouette(vectors, clusters, seed=0)
        assert np.isnan(mean)
        assert np.isnan(each).all()


def test_measures_of_wrong_arguments_are_named() -> None:
    with pytest.raises(NumericsError, match="codes must be a vector of 2 integers"):
        purity([0, 1], [1])
    with pytest.raises(NumericsError, match="from 0"):
        purity([0, -1], [1, 1])
    with pytest.raises(NumericsError, match="each of 3 rows; given: 2"):
        silhouette(np.zeros((3, 1)), [0, 1], seed=0)
    with pytest.raises(NumericsError, match="sample"):
        silhouette(np.zeros((3, 1)), [0, 1, 1], seed=0, sample=1)


_MILLION = """
import resource
import numpy as np
from synalign.numerics.core.clustering import fit_clusters

random = np.random.default_rng(0)
vectors = np.empty((1_000_000, 384), dtype=np.float32)
centres = random.normal(size=(1000, 384)).astype(np.float32)
for start in range(0, len(vectors), 10_000):
    noise = random.standard_normal((10_000, 384), dtype=np.float32)
    vectors[start : start + 10_000] = centres[random.integers(1000, size=10_000)] + 0.5 * noise
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = fit_clusters(vectors, 1000, seed=0)
extra = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert len(found.labels) == 1_000_000
print(extra / 1024, float((found.distances.astype(float) ** 2).mean()))
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units elsewhere")
def test_a_million_rows_take_little_more_memory_than_they_are() -> None:
    done = subprocess.run([sys.executable, "-c", _MILLION], capture_output=True, text=True, check=True)
    extra, spread = map(float, done.stdout.split())
    assert extra < 1000
    # The noise alone has 384 * 0.25; a start that put two centroids into one blob leaves another blob without.
    assert 90 < spread < 384 * 0.25 * 2
