from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Matern

from synalign.errors import NumericsError
from synalign.numerics.selection import candidates as candidates_module
from synalign.numerics.selection import greedy
from synalign.numerics.selection.greedy import TIE
from synalign.numerics.selection.kernels import make_kernel, median_distance
from synalign.numerics.selection.uncertainty import UncertaintyTracker

REFERENCES = {
    "rbf": RBF(1.5),
    "matern12": Matern(1.5, nu=0.5),
    "matern52": Matern(1.5, nu=2.5),
    "rbf + matern52": 0.5 * RBF(1.5) + 0.5 * Matern(1.5, nu=2.5),
}
NOISE = 1e-2


def _points(count: int, seed: int, columns: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, columns))


def _tracker(name: str = "rbf", scale: float = 1.5, noise: float = NOISE) -> UncertaintyTracker:
    return UncertaintyTracker(make_kernel(name, scale), noise)


def tiny(patch: pytest.MonkeyPatch) -> None:
    """Have the front hold 4 candidates at most and the pool 8, so that it runs dry and is filled anew."""
    patch.setattr(greedy, "FRONT", (2, 4))
    patch.setattr(candidates_module, "POOL_BYTES", 0)
    patch.setattr(candidates_module, "BLOCK", 8)


@dataclass
class Eager:
    """The plain way: the posterior covariance of all candidates, brought up to date after each pick (or batch)."""

    kernel: Any
    noise: float = NOISE

    def select(
        self,
        points: np.ndarray,
        budget: int,
        batch: int = 1,
        weights: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        quotas: np.ndarray | None = None,
        observed: np.ndarray | None = None,
    ) -> tuple[list[int], list[float]]:
        known = np.zeros((0, points.shape[1])) if observed is None else observed
        covariance = self._without(
            self.kernel(np.concatenate([points, known])), range(len(points), len(points) + len(known))
        )
        covariance = covariance[: len(points), : len(points)]
        weights = np.ones(len(points)) if weights is None else weights
        tolerance = TIE * (self.kernel.diag(points) * weights).max()
        left = None if quotas is None else list(quotas)
        picks: list[int] = []
        before: list[float] = []
        while len(picks) < budget:
            variance = np.diag(covariance).copy()
            together: list[int] = []
            while len(together) < min(batch, budget - len(picks)):
                may = [
                    row
                    for row in range(len(points))
                    if row not in picks and row not in together and (left is None or left[groups[row]] > 0)
                ]
                if not may:
                    break
                score = variance[may] * weights[may]
                row = may[int(np.flatnonzero(score >= score.max() - tolerance)[0])]
                together.append(row)
                before.append(float(variance[row]))
                if left is not None:
                    left[groups[row]] -= 1
            if not together:
                break
            picks += together
            covariance = self._without(covariance, together)
        return picks, before

    def _without(self, covariance: np.ndarray, observed: Iterable[int]) -> np.ndarray:
        for row in observed:
            column = covariance[row]
            covariance = covariance - np.outer(column, column) / (column[row] + self.noise)
        return covariance


@pytest.mark.parametrize("name", REFERENCES)
def test_picks_are_those_of_a_loop_that_refits(name: str) -> None:
    points = _points(120, 1)
    chosen: list[int] = []
    expected: list[float] = []
    while len(chosen) < 25:
        model = GaussianProcessRegressor(REFERENCES[name], alpha=NOISE, optimizer=None)
        if chosen:
            model.fit(points[chosen], np.zeros(len(chosen)))
        variance = model.predict(points, return_std=True)[1] ** 2
        open_ = np.setdiff1d(np.arange(120), chosen)
        row = int(open_[np.argmax(variance[open_] >= variance[open_].max() - TIE)])
        chosen.append(row)
        expected.append(float(variance[row]))
    picks = _tracker(name).select(points, 25)
    np.testing.assert_array_equal(picks.indices, chosen)
    np.testing.assert_allclose(picks.variance_before, expected, rtol=1e-6)
    np.testing.assert_allclose(picks.score, expected, rtol=1e-6)
    assert picks.stop_reason == "budget"
    assert picks.informative
    assert np.all(np.diff(picks.seconds) >= 0)


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    """Points at random or on a coarse grid, some of them twice; with or without weights, quotas, observed points."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, columns = draw(st.integers(2, 90)), draw(st.integers(1, 4))
    if draw(st.booleans()):
        points = random.integers(-2, 3, size=(count, columns)).astype(float)
    else:
        points = random.normal(size=(count, columns))
        points[random.integers(count, size=count // 3)] = points[random.integers(count)]
    points[-1, 0] += 0.5  # never all equal
    problem = {"points": points, "budget": draw(st.integers(1, count)), "batch": draw(st.sampled_from([1, 1, 3, 20]))}
    if draw(st.booleans()):
        problem["weights"] = random.uniform(0.2, 2.0, size=count)
    if draw(st.booleans()):
        groups = random.integers(0, 4, size=count)
        problem |= {"groups": groups, "quotas": random.integers(0, count, size=4)}
    if draw(st.booleans()):
        problem["observed"] = np.concatenate([points[: count // 5], random.normal(size=(3, columns))])
    return problem


@pytest.mark.parametrize("small", [False, True], ids=["shipped", "tiny"])
@settings(deadline=None, max_examples=60)
@given(problems(), st.sampled_from(sorted(REFERENCES)))
def test_picks_are_those_of_the_plain_way(small: bool, problem: dict[str, Any], name: str) -> None:
    expected, before = Eager(REFERENCES[name]).select(**problem)
    given_ = {key: value for key, value in problem.items() if key != "observed"}
    tracker = _tracker(name)
    observed = problem.get("observed", np.zeros((0, problem["points"].shape[1])))
    if len(observed):
        tracker.condition(observed)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            tiny(patch)
        picks = tracker.select(given_.pop("points"), given_.pop("budget"), **given_)
    np.testing.assert_array_equal(picks.indices, expected)
    np.testing.assert_allclose(picks.variance_before, before, rtol=1e-6, atol=1e-9)
    assert len(set(picks.indices)) == len(picks.indices)
    assert np.all(picks.variance_after <= picks.variance_before + 1e-12)
    weights = problem.get("weights", np.ones(len(problem["points"])))
    np.testing.assert_allclose(picks.score, picks.variance_before * weights[picks.indices], rtol=1e-12)
    if problem["batch"] == 1 and "groups" not in problem:
        assert np.all(np.diff(picks.score) <= 1e-9)
    if "groups" in problem:
        assert np.all(np.bincount(problem["groups"][picks.indices], minlength=4) <= problem["quotas"])
    assert picks.stop_reason == ("budget" if len(expected) == problem["budget"] else "quotas")
    if len(tracker):
        np.testing.assert_array_equal(tracker.points, np.concatenate([observed, problem["points"][picks.indices]]))


def test_many_refills_give_the_picks_of_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    points = _points(600, 0, 2)
    expected = Eager(REFERENCES["matern52"]).select(points, 200)[0]
    tiny(monkeypatch)
    np.testing.assert_array_equal(_tracker("matern52").select(points, 200).indices, expected)


def test_a_grid_of_ties() -> None:
    # Symmetric points tie exactly; the factor's rounding must not decide.
    points = np.stack(np.meshgrid(*[np.arange(7.0)] * 3), axis=-1).reshape(-1, 3)
    expected = Eager(REFERENCES["rbf"]).select(points, 150)[0]
    np.testing.assert_array_equal(_tracker().select(points, 150).indices, expected)
    with pytest.MonkeyPatch.context() as patch:
        tiny(patch)
        np.testing.assert_array_equal(_tracker().select(points, 150).indices, expected)


def test_ties_go_to_the_smaller_index() -> None:
    square = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(_tracker().select(square, 4).indices, [0, 3, 1, 2])


@pytest.mark.parametrize("name", REFERENCES)
def test_masses_of_duplicates(name: str) -> None:
    points = np.repeat(_points(5, 3), 60, axis=0)
    points = points[np.random.default_rng(4).permutation(300)]
    expected = Eager(REFERENCES[name]).select(points, 40)[0]
    np.testing.assert_array_equal(_tracker(name).select(points, 40).indices, expected)


def test_variances_before_and_after_in_closed_form() -> None:
    points = np.array([[0.0], [0.0], [50.0], [0.0]])
    picks = _tracker(scale=1.0).select(points, 3)
    np.testing.assert_array_equal(picks.indices, [0, 2, 1])
    # One observation with noise s leaves s / (1 + s) of the prior variance 1; two leave s / (2 + s).
    np.testing.assert_allclose(picks.variance_before, [1, 1, 0.01 / 1.01], rtol=1e-9)
    np.testing.assert_allclose(picks.variance_after, [0.01 / 1.01, 0.01 / 1.01, 0.01 / 2.01], rtol=1e-9)
    together = _tracker(scale=1.0).select(points, 2, batch=2)
    np.testing.assert_array_equal(together.indices, [0, 1])
    np.testing.assert_allclose(together.variance_before, [1, 1], rtol=1e-9)
    np.testing.assert_allclose(together.variance_after, [0.01 / 2.01] * 2, rtol=1e-9)


@pytest.mark.parametrize("small", [False, True], ids=["shipped", "tiny"])
def test_a_batch_is_the_best_by_the_same_variances(small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small:
        tiny(monkeypatch)
    points = _points(300, 5, 2)
    tracker, other = _tracker(), _tracker()
    picks = tracker.select(points, 70, batch=30)
    for start in (0, 30, 60):
        variance = other.variance(points)
        rows = picks.indices[start : start + 30]
        variance[picks.indices[:start]] = -1.0
        if start:
            # The k largest; at the start all tie, and the first come.
            expected = np.argsort(-variance, kind="stable")[: len(rows)]
            np.testing.assert_array_equal(rows, expected)
        else:
            np.testing.assert_array_equal(rows, np.arange(30))
        np.testing.assert_allclose(picks.variance_before[start : start + 30], variance[rows], rtol=1e-9)
        other.condition(points[rows])
        np.testing.assert_allclose(picks.variance_after[start : start + 30], other.variance(points[rows]), rtol=1e-9)


def test_a_batch_is_whole_where_a_quota_closes_all_that_came_first() -> None:
    # The 200 of large weight fill the front, and one of them may be taken.
    points, groups = _points(400, 14), np.arange(400) // 200
    weights = np.where(groups == 0, 10.0, 1.0)
    picks = _tracker().select(points, 5, batch=5, weights=weights, groups=groups, quotas=[1, 50])
    np.testing.assert_array_equal(picks.indices, [0, 200, 201, 202, 203])
    np.testing.assert_allclose(picks.variance_before, 1.0)


@pytest.mark.parametrize("batch", [1, 10])
def test_two_calls_are_one(batch: int) -> None:
    points = _points(200, 6)
    whole, parts = _tracker(), _tracker()
    once = whole.select(points, 50, batch=batch)
    twice = [parts.select(points, budget, batch=batch) for budget in (20, 30)]
    np.testing.assert_array_equal(once.indices, np.concatenate([part.indices for part in twice]))
    before = np.concatenate([part.variance_before for part in twice])
    np.testing.assert_allclose(once.variance_before, before, rtol=1e-9)
    np.testing.assert_allclose(whole.variance(points), parts.variance(points), rtol=1e-9)


def test_what_was_observed_is_avoided() -> None:
    points = _points(100, 7, 8)
    first = _tracker().select(points, 1).indices[0]
    tracker = _tracker()
    tracker.condition(points[[first]])
    tracker.condition(points[50:] + 1e-3)
    picks = tracker.select(points, 20)
    assert first not in picks.indices
    assert np.all(picks.indices < 50)
    assert picks.variance_before[0] < 1.0


def test_a_pick_of_a_large_weight_comes_first() -> None:
    points = np.arange(10.0)[:, None] * 9.0
    weights = np.ones(10)
    weights[7], weights[3] = 5.0, 2.0
    picks = _tracker().select(points, 4, weights=weights)
    np.testing.assert_array_equal(picks.indices, [7, 3, 0, 1])
    np.testing.assert_allclose(picks.score, [5.0, 2.0, 1.0, 1.0])
    np.testing.assert_allclose(picks.variance_before, 1.0)


@pytest.mark.parametrize("batch", [1, 3])
def test_huge_weights_leave_no_one_out(batch: int) -> None:
    # The tolerance of ties exceeds all scores of the second half then.
    weights = np.repeat([1e11, 1.0], 200)
    told: list[int] = []

    def progress(made: int, _: int) -> None:
        told.append(made)
        assert len(told) <= 210, "rounds without a pick"

    picks = _tracker().select(_points(400, 8), 210, weights=weights, batch=batch, progress=progress)
    assert sorted(picks.indices[:200]) == list(range(200))
    assert len(set(picks.indices)) == 210
    if batch > 1:
        assert len(told) == 70


@pytest.mark.parametrize("batch", [1, 4])
def test_min_variance_stops(batch: int) -> None:
    points = _points(80, 9, 2)
    whole = _tracker().select(points, 80)
    limit = whole.variance_before[30]
    tracker = _tracker()
    picks = tracker.select(points, 80, min_variance=limit * (1 + 1e-6), batch=batch)
    assert picks.stop_reason == "min_variance"
    assert len(tracker) == len(picks.indices) > 0
    assert picks.variance_before.min() >= limit
    if batch == 1:
        np.testing.assert_array_equal(picks.indices, whole.indices[:30])
        # What is left is below the limit: nothing was stopped too early.
        assert np.delete(tracker.variance(points), picks.indices).max() < limit * (1 + 1e-6)
    none = _tracker().select(points, 5, min_variance=2.0)
    assert (len(none.indices), none.stop_reason) == (0, "min_variance")


def test_min_gain_stops() -> None:
    points = _points(80, 9, 2)
    weights = np.random.default_rng(1).uniform(0.5, 4.0, size=80)
    whole = _tracker().select(points, 80, weights=weights)
    share = whole.score[25] / whole.score[0] * (1 + 1e-6)
    picks = _tracker().select(points, 80, weights=weights, min_gain=share)
    assert picks.stop_reason == "min_gain"
    np.testing.assert_array_equal(picks.indices, whole.indices[:25])


def test_quotas_stop_and_a_stop_leaves_a_tracker_that_goes_on() -> None:
    points, groups = _points(60, 10), np.arange(60) % 3
    tracker = _tracker()
    picks = tracker.select(points, 60, groups=groups, quotas=[4, 0, 7])
    assert picks.stop_reason == "quotas"
    np.testing.assert_array_equal(np.bincount(groups[picks.indices], minlength=3), [4, 0, 7])
    quotas = np.zeros(3, dtype=np.int32)
    none = tracker.select(points, 5, groups=groups, quotas=quotas)
    assert (len(none.indices), none.stop_reason) == (0, "quotas")
    more = tracker.select(points, 5, groups=groups.astype(np.uint8), quotas=np.array([0, 9, 0]))
    assert set(groups[more.indices]) == {1}
    assert len(tracker) == 16


def test_arguments_are_not_changed() -> None:
    points, groups, quotas, weights = _points(30, 11), np.arange(30) % 2, np.array([9, 9]), np.ones(30)
    kept = [array.copy() for array in (points, groups, quotas, weights)]
    _tracker().select(points, 20, groups=groups, quotas=quotas, weights=weights)
    for array, before in zip((points, groups, quotas, weights), kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_a_length_scale_far_too_short_is_seen_even_with_a_duplicate() -> None:
    vectors = _points(200, 3, 32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[1] = vectors[0]
    assert not _tracker(scale=0.1).select(vectors, 3).informative
    assert not _tracker(scale=0.1).select(vectors, 1).informative
    assert not _tracker(scale=0.1).select(vectors, 8, batch=4).informative
    few = {"groups": np.zeros(200, dtype=int), "quotas": [3]}
    assert not _tracker(scale=0.1).select(vectors, 8, batch=4, **few).informative
    assert _tracker(scale=median_distance(vectors, seed=0)).select(vectors, 3).informative
    assert _tracker(scale=0.1).select(vectors[:1], 1).informative


def test_float32_and_its_float64_copy_give_the_same_picks() -> None:
    points = _points(500, 12, 16).astype(np.float32)
    narrow = _tracker("matern52", 4.0).select(points, 60)
    wide = _tracker("matern52", 4.0).select(points.astype(np.float64), 60)
    np.testing.assert_array_equal(narrow.indices, wide.indices)
    np.testing.assert_array_equal(narrow.variance_before, wide.variance_before)


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    _tracker().select(_points(60, 13), 30, progress=lambda *counts: told.append(counts))
    assert told[-1] == (30, 30)
    assert told == sorted(told)


# In processes of their own: the setting of torch's threads is one of the process, and the first of `each` counts.
_PROBE = """
import hashlib, sys
import numpy as np, torch
if int(sys.argv[1]):
    torch.set_num_threads(int(sys.argv[1]))
from synalign.numerics.selection.kernels import make_kernel
from synalign.numerics.selection.uncertainty import UncertaintyTracker
points = np.random.default_rng(0).normal(size=(3000, 24))
tracker = UncertaintyTracker(make_kernel("matern52", 5.0))
tracker.condition(points[-200:])
picks = tracker.select(points, 60)
found = (picks.indices, picks.variance_before, picks.variance_after, tracker.variance(points))
print([hashlib.sha256(array.tobytes()).hexdigest() for array in found])
"""


def test_threads_change_no_bit() -> None:
    alone = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
    plain = {name: value for name, value in os.environ.items() if name not in alone}
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _PROBE, count], stdout=subprocess.PIPE, text=True, env=plain
        )
        for count in ("1", "0")
    ]
    printed = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert printed[0] == printed[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 0}, "budget must be a whole number of picks.* from 1 to 9; given: 0"),
        ({"budget": -1}, "budget .* from 1 to 9; given: -1"),
        ({"budget": 10}, "budget .* from 1 to 9; given: 10"),
        ({"batch": 0}, "batch must be a whole number"),
        ({"candidates": np.full((9, 2), np.nan)}, "candidates must be finite; row 0 .* Remove or re-embed that row"),
        ({"candidates": np.zeros((0, 2))}, "candidates must be a matrix"),
        ({"candidates": np.ones((9, 2))}, "All 9 candidates are equal.* an encoder that tells them apart"),
        ({"weights": np.ones(8)}, "weights must be a vector of length 9"),
        ({"weights": np.r_[np.ones(8), 0.0]}, "weights must be above 0; entry 8 is 0"),
        ({"weights": np.r_[np.ones(8), -2.0]}, "weights must be above 0; entry 8 is -2"),
        ({"weights": np.r_[np.ones(8), np.nan]}, "weights must be finite; entry 8"),
        ({"groups": np.zeros(9, int)}, "groups and quotas go together: give both or neither"),
        ({"quotas": [3]}, "groups and quotas go together: give both or neither"),
        ({"groups": np.zeros(8, int), "quotas": [3]}, "groups must be 9 integers"),
        ({"groups": np.zeros(9), "quotas": [3]}, "groups must be 9 integers"),
        ({"groups": np.zeros(9, int), "quotas": [3.0]}, "quotas one integer for each group"),
        ({"groups": np.arange(9), "quotas": [3, 3]}, "groups must be from 0 to 1"),
        ({"groups": np.arange(9) - 1, "quotas": [3] * 9}, "groups must be from 0 to 8"),
        ({"groups": np.zeros(9, int), "quotas": [-1]}, "no quota below 0"),
        ({"groups": np.zeros(9, int), "quotas": np.zeros(0, int)}, "quota"),
        ({"min_variance": -1.0}, "min_variance must be from 0 to inf"),
        ({"min_variance": np.nan}, "min_variance must be from 0 to inf"),
        ({"min_gain": 1.5}, "min_gain must be from 0 to 1"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    call: dict[str, Any] = {"candidates": _points(9, 0, 2), "budget": 3} | arguments
    tracker = _tracker()
    with pytest.raises(NumericsError, match=message):
        tracker.select(**call)
    assert len(tracker) == 0
    tracker.condition(_points(5, 0, 2))
    assert len(tracker) == 5


def test_columns_that_differ_are_named() -> None:
    tracker = _tracker()
    tracker.condition(np.eye(3))
    with pytest.raises(NumericsError, match="candidates must have 3 columns, as the points observed before"):
        tracker.select(_points(9, 0, 2), 3)


def test_equal_candidates_and_a_budget_of_one() -> None:
    picks = _tracker().select(np.ones((9, 2)), 1)
    np.testing.assert_array_equal(picks.indices, [0])
    assert picks.informative
