"""Each setting of select does what it says, checked against figures computed apart."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import gpytorch
import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import pdist
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern

import synalign as sa
from tests.cli.inside import cli
from tests.steps.workspaces import centroids, clustered, copy, corpus, one, posterior, selected, vectors_of

#: 120 messages, and thirty of them again under other names.
REAL = pl.concat([corpus().head(120), corpus().head(30)]).with_columns(key=pl.format("m{}", pl.int_range(150)))
K = 12


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """Twelve clusters that mix labels. Selections are made in it, each test reads its own."""
    return clustered(tmp_path_factory.mktemp("settings") / "w", REAL, k=K)


@pytest.fixture(scope="module")
def vectors(workspace: sa.Workspace) -> dict[str, np.ndarray]:
    return vectors_of(workspace)


def labels_of(log: pl.DataFrame) -> dict[str, int]:
    return dict(log["label"].value_counts().rows())


def test_records_are_picked_by_their_own_variance_within_the_quota_of_their_label(
    workspace: sa.Workspace, vectors: dict[str, np.ndarray]
) -> None:
    """Second opinion: greedy picks among the records of labels that have some left, by a process refitted each time."""
    log = selected(workspace, unit="record", budget=10, length_scale=0.9, demonstrations=3)
    names = sorted(vectors)
    points = np.array([vectors[name] for name in names])
    real = workspace.sql("select id, label from real").pl()
    label = dict(real.rows())
    left = labels_of(log)
    picked: list[int] = []
    for step in range(10):
        variance = posterior(points[picked], points, RBF(0.9), 0.01)
        able = [row for row, name in enumerate(names) if left[label[name]] and row not in picked]
        picked.append(max(able, key=lambda row: (round(variance[row], 8), -row)))
        assert log["record_id"][step] == names[picked[-1]]
        assert log["variance_before"][step] == pytest.approx(variance[picked[-1]], rel=1e-4)
        left[label[names[picked[-1]]]] -= 1
    places = dict(workspace.sql("select id, cluster_id from cluster_members where origin = 'real'").fetchall())
    for row in log.to_dicts():
        assert row["unit"] == "record"
        assert row["label"] == label[row["record_id"]]
        assert row["cluster_id"] == places[row["record_id"]]
        assert row["demonstrations"][0] == row["record_id"]
    # The shares of the real records, rounded, and no label without one.
    shares = {name: 10 * count / 150 for name, count in real["label"].value_counts().rows()}
    assert all(abs(labels_of(log)[name] - share) < 1 for name, share in shares.items())


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"label_shares": "average"}, [3, 3, 3, 3, 3]),
        ({"label_shares": {"account": 1, "defect": 0, "delivery": 3, "praise": 1, "refund": 0}}, [3, 0, 9, 3, 0]),
        ({"min_per_label": 3}, [3, 3, 3, 3, 3]),
    ],
)
def test_quotas_of_labels_are_kept_exactly_by_records(
    workspace: sa.Workspace, settings: dict[str, Any], wanted: list[int]
) -> None:
    log = selected(workspace, unit="record", budget=15, **settings)
    names = ("account", "defect", "delivery", "praise", "refund")
    assert labels_of(log) == {name: count for name, count in zip(names, wanted, strict=True) if count}
    plain = selected(workspace, unit="record", budget=15)
    assert labels_of(plain) != labels_of(log)


def test_clusters_that_mix_labels_are_written_for_labels_in_the_shares_given(workspace: sa.Workspace) -> None:
    """Which clusters are picked does not depend on it: only what is written for them."""
    shares = {"account": 0, "defect": 1, "delivery": 1, "praise": 0, "refund": 1}
    plain, log = selected(workspace, budget=6), selected(workspace, budget=6, label_shares=shares)
    assert log["cluster_id"].to_list() == plain["cluster_id"].to_list()
    assert labels_of(log) == {"defect": 2, "delivery": 2, "refund": 2}
    assert labels_of(plain) != labels_of(log)


def test_clusters_made_within_labels_are_picked_in_exact_quotas(tmp_path: Path) -> None:
    made = clustered(tmp_path / "w", corpus().head(80), k=24, by_label=True)
    owner = dict(made.sql("select cluster_id, label from clusters").fetchall())
    counts = dict(made.sql("select label, count(*) from real group by label").fetchall())
    clusters = {name: list(owner.values()).count(name) for name in counts}
    logs = [selected(made, budget=10, label_shares=shares) for shares in ("average", "proportional")]
    for log in logs:
        assert log["label"].to_list() == [owner[number] for number in log["cluster_id"]]
    assert labels_of(logs[0]) == dict.fromkeys(counts, 2)
    for name, count in counts.items():
        # A label has no more picks than clusters, and one at least.
        assert abs(labels_of(logs[1])[name] - min(max(10 * count / 80, 1), clusters[name])) < 1
    assert labels_of(logs[1]) != labels_of(logs[0])


def test_beta_lets_mass_count(workspace: sa.Workspace) -> None:
    sizes = np.array(workspace.sql("select size from clusters order by cluster_id").fetchall())[:, 0]
    assert sizes.sum() == 150
    log = selected(workspace, budget=6, beta=0.5)
    assert log["mass"].to_list() == sizes[log["cluster_id"].to_numpy()].tolist()
    expected = log["variance_before"] * (log["mass"] / sizes.mean()) ** 0.5
    np.testing.assert_allclose(log["score"], expected, rtol=1e-12)
    # Before the first pick all variances are equal.
    assert log["mass"][0] == sizes.max() > sizes.min()
    plain = selected(workspace, budget=6, beta=0.0)
    assert plain["score"].to_list() == plain["variance_before"].to_list()
    assert plain["cluster_id"].to_list() != log["cluster_id"].to_list()


@pytest.mark.parametrize("limit", ["min_variance", "min_gain"])
def test_a_selection_stops_before_the_first_pick_below_a_limit(workspace: sa.Workspace, limit: str) -> None:
    """Scores are sizes times variances, so that a share of the first score is no variance."""
    whole = selected(workspace, budget=K, beta=1.0)
    value = whole["variance_before"] if limit == "min_variance" else whole["score"] / whole["score"][0]
    level = sorted(value)[K // 2] + 1e-6
    kept = int(np.argmax(value.to_numpy() < level))
    log = selected(workspace, budget=K, beta=1.0, **{limit: level})
    assert 1 <= kept < K
    assert log["cluster_id"].to_list() == whole["cluster_id"].to_list()[:kept]
    assert log["stop_reason"].to_list() == [None] * (kept - 1) + [limit]
    counts = workspace.status()["steps"]["select"]["counts"]
    assert (counts["selections"], counts["stopped_by"]) == (kept, limit)
    assert whole["stop_reason"][-1] == "budget"


def test_picks_of_one_batch_are_taken_by_the_same_variances(
    workspace: sa.Workspace, vectors: dict[str, np.ndarray]
) -> None:
    log = selected(workspace, budget=8, batch=4, unit="record", length_scale=0.9)
    np.testing.assert_allclose(log["variance_before"][:4], 1.0)
    points = np.array([vectors[name] for name in log["record_id"]])
    np.testing.assert_allclose(log["variance_before"][4:], posterior(points[:4], points[4:], RBF(0.9), 0.01), rtol=1e-4)
    np.testing.assert_allclose(log["variance_after"][:4], posterior(points[:4], points[:4], RBF(0.9), 0.01), rtol=1e-4)
    assert selected(workspace, budget=8, unit="record", length_scale=0.9)["variance_before"][1] < 0.999


def test_no_two_demonstrations_are_near_duplicates_and_each_way_shows_its_own(
    workspace: sa.Workspace, vectors: dict[str, np.ndarray]
) -> None:
    def cosine(a: str, b: str) -> float:
        return float(vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b]))

    assert sum(cosine(a, b) > 0.98 for a, b in combinations(sorted(vectors), 2)) >= 30
    centres = centroids(workspace)
    inside = workspace.sql(
        "select m.cluster_id, r.label, list(m.id order by m.distance, m.id) as ids from cluster_members m "
        "join real r on r.id = m.id group by all"
    ).pl()
    distance: dict[str, float] = {}
    shown: dict[str, list[list[str]]] = {}
    for show in ("nearest", "spread", "random"):
        log = selected(workspace, budget=10, demonstrations=3, show=show)
        assert log["shown_by"].unique().to_list() == [show]
        shown[show] = log["demonstrations"].to_list()
        for ids in shown[show]:
            assert all(cosine(a, b) <= 0.98 for a, b in combinations(ids, 2))
        distance[show] = sum(
            float(np.linalg.norm(vectors[name] - centres[row["cluster_id"]]))
            for row in log.to_dicts()
            for name in row["demonstrations"]
        )
        if show == "nearest":
            for row in log.to_dicts():
                place = (pl.col("cluster_id") == row["cluster_id"]) & (pl.col("label") == row["label"])
                members = inside.filter(place)["ids"][0].to_list()
                if len(members) < 3:
                    continue
                expected: list[str] = []
                for name in members:
                    if len(expected) < 3 and all(cosine(name, other) <= 0.98 for other in expected):
                        expected.append(name)
                if len(expected) == 3:
                    assert row["demonstrations"] == expected
    assert distance["nearest"] < min(distance["spread"], distance["random"])
    assert shown["spread"] != shown["random"]


def test_a_kernel_expression_is_the_mean_of_its_terms_and_one_spelling_is_as_good_as_another(
    workspace: sa.Workspace,
) -> None:
    log = selected(workspace, budget=6, kernel="rbf+matern32 * matern12", length_scale=0.8)
    assert log["kernel"].unique().to_list() == ["rbf + matern32*matern12"]
    half = ConstantKernel(0.5)
    kernel = half * RBF(0.8) + half * Matern(0.8, nu=1.5) * Matern(0.8, nu=0.5)
    points = centroids(workspace)[log["cluster_id"].to_numpy()]
    for step in range(1, 6):
        expected = posterior(points[:step], points[step : step + 1], kernel, 0.01)[0]
        assert log["variance_before"][step] == pytest.approx(expected, rel=1e-5)
    assert workspace.select(beta=0.0, budget=6, kernel="rbf + matern32*matern12", length_scale=0.8).reused


def test_a_gpytorch_kernel_object_is_used_and_known_again_by_what_it_computes(workspace: sa.Workspace) -> None:
    def kernel(length_scale: float) -> gpytorch.kernels.Kernel:
        made = gpytorch.kernels.RBFKernel()
        made.lengthscale = length_scale
        return made

    own = kernel(0.7)
    log = selected(workspace, budget=6, kernel=own)
    left = workspace.status()["steps"]["select"]["counts"]["max_variance_left"]
    plain = selected(workspace, budget=6, length_scale=0.7)
    assert log["cluster_id"].to_list() == plain["cluster_id"].to_list()
    np.testing.assert_allclose(log["variance_before"], plain["variance_before"], rtol=1e-5)
    assert log["length_scale_from"].unique().to_list() == ["kernel"]
    assert log["length_scale"].null_count() == 6
    assert log["kernel"][0].startswith("RBFKernel(lengthscale=0.69")
    assert workspace.select(beta=0.0, budget=6, kernel=own).reused
    assert workspace.select(beta=0.0, budget=6, kernel=kernel(0.7)).reused
    own.lengthscale = 1.4
    changed = workspace.select(beta=0.0, budget=6, kernel=own)
    assert not changed.reused
    assert changed.counts["max_variance_left"] < 0.9 * left


def test_the_length_scale_is_the_median_distance_a_number_or_learned(workspace: sa.Workspace) -> None:
    points = centroids(workspace)
    found: dict[str, pl.DataFrame] = {}
    for given, source in (("median", "median"), (0.6, "given"), ("learned", "learned")):
        log = found[source] = selected(workspace, budget=3, length_scale=given)
        assert log["length_scale_from"].unique().to_list() == [source]
        assert log["length_scales"].null_count() == 3
        # The second pick, by hand: 1 - k^2 / (1 + noise).
        gap = np.linalg.norm(points[log["cluster_id"][0]] - points[log["cluster_id"][1]])
        expected = 1 - np.exp(-((gap / log["length_scale"][0]) ** 2)) / 1.01
        assert log["variance_before"][1] == pytest.approx(expected, rel=1e-5)
    assert found["median"]["length_scale"][0] == pytest.approx(np.median(pdist(points)))
    assert found["given"]["length_scale"][0] == 0.6
    assert found["learned"]["length_scale"][0] not in (0.6, found["median"]["length_scale"][0])
    notes = workspace.select(budget=3, length_scale="learned", noise=0.02).notes
    assert any("length scale" in note and "labels" in note for note in notes)


def test_ard_learns_a_length_scale_for_each_dimension_and_uses_it(tmp_path: Path) -> None:
    made = clustered(tmp_path / "w", corpus().head(150), k=6)
    log = selected(made, budget=3, length_scale="learned", ard=True)
    scales = np.array(log["length_scales"][0].to_list())
    assert scales.shape == (16,)
    assert scales.max() > 3 * scales.min()
    points = centroids(made)[log["cluster_id"].to_numpy()[:2]] / scales
    expected = 1 - np.exp(-np.sum((points[0] - points[1]) ** 2)) / 1.01
    assert log["variance_before"][1] == pytest.approx(expected, rel=1e-5)


def test_a_cluster_of_many_copies_is_shown_with_distinct_records_beyond_it(workspace: sa.Workspace) -> None:
    log = selected(workspace, budget=10, demonstrations=3, unit="record", length_scale=0.9)
    assert log["demonstrations"].list.len().to_list() == [3] * 10


def test_noise_is_what_a_pick_leaves_of_its_variance(workspace: sa.Workspace) -> None:
    for noise in (0.01, 0.5):
        log = selected(workspace, budget=2, noise=noise)
        assert log["variance_after"][0] == pytest.approx(noise / (1 + noise), rel=1e-6)
        assert log["noise"].unique().to_list() == [noise]


def test_the_command_line_hands_every_setting_on(workspace: sa.Workspace, tmp_path: Path) -> None:
    made = copy(workspace, tmp_path / "w")
    given = {
        "--budget": "5", "--unit": "record", "--demonstrations": "2", "--show": "random", "--kernel": "matern52 + rbf",
        "--length-scale": "0.8", "--noise": "0.05", "--beta": "0.25", "--min-per-label": "0", "--min-variance": "0.02",
        "--min-gain": "0.01", "--batch": "2", "--guide": "witness", "--round": "1",
        "--label-shares": "account=1,defect=1,delivery=2,praise=0,refund=1",
    }  # fmt: skip
    result = cli("select", made.path, *[text for pair in given.items() for text in pair], "--no-ard")
    assert result.returncode == 0, result.stderr
    parameters = made.status()["steps"]["select"]["parameters"]
    assert parameters == {
        "budget": 5, "unit": "record", "demonstrations": 2, "show": "random", "kernel": "matern52 + rbf",
        "length_scale": 0.8, "ard": False, "noise": 0.05, "beta": 0.25, "min_per_label": 0, "min_variance": 0.02,
        "min_gain": 0.01, "batch": 2, "guide": "witness",
        "label_shares": {"account": 1.0, "defect": 1.0, "delivery": 2.0, "praise": 0.0, "refund": 1.0},
    }  # fmt: skip
    assert one(made, "select count(*) from selection_log") == 5
    refused = cli("select", made.path, "--label-shares", "account=much")
    assert refused.returncode == 2
    assert "proportional, average, or label=share" in refused.stderr
