from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from synalign.errors import NumericsError
from synalign.numerics.alignment import dual as dual_module
from synalign.numerics.alignment.dual import DualSolution, score, solve_with_floor
from synalign.numerics.core import blocks as blocks_module
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.features import FeatureMap, KernelFeatures, RandomFeatures, RandomProjections


def _problem(m: int = 40, d: int = 3, seed: int = 0) -> tuple[np.ndarray, RandomFeatures, np.ndarray]:
    random = np.random.default_rng(seed)
    synthetic = random.normal(size=(m, d)).astype(np.float32)
    real = random.normal(loc=0.6, size=(50, d)).astype(np.float32)
    features = RandomFeatures.draw(d, 32, 2.0, seed=1)
    return synthetic, features, features.mean(real)


def solve_dual(
    vectors: np.ndarray,
    features: FeatureMap,
    target: np.ndarray,
    prior: Any,
    eps: float,
    device: str = "cpu",
    **more: Any,
) -> DualSolution:
    return dual_module.solve_dual(FeatureBlocks(features, vectors, device), target, prior, eps, **more)


def _primal(weights: np.ndarray, phi: np.ndarray, mu: np.ndarray, prior: np.ndarray, eps: float) -> float:
    positive = weights > 0
    divergence = np.sum(weights[positive] * np.log(weights[positive] / prior[positive]))
    return float(divergence + np.sum((weights @ phi - mu) ** 2) / (2 * eps))


@pytest.mark.parametrize("eps", [1e-1, 1e-2])
@pytest.mark.parametrize("uniform", [True, False])
def test_a_general_convex_solver_on_the_primal_agrees(eps: float, uniform: bool) -> None:
    m = 12
    synthetic, features, mu = _problem(m)
    prior = np.full(m, 1 / m) if uniform else np.random.default_rng(5).dirichlet(np.ones(m))
    phi = features.map(synthetic).astype(np.float64)
    reference = minimize(
        _primal,
        prior,
        args=(phi, mu, prior, eps),
        method="SLSQP",
        bounds=[(1e-12, 1.0)] * m,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0},
        options={"ftol": 1e-14, "maxiter": 2000},
    )
    solution = solve_dual(synthetic, features, mu, None if uniform else prior, eps, relative_gap=1e-8)
    assert solution.converged
    assert solution.objective == pytest.approx(reference.fun, rel=1e-4)
    assert solution.objective <= reference.fun + 1e-6
    np.testing.assert_allclose(solution.weights, reference.x, atol=1e-3)
    # The certificate is the primal at the returned weights less the dual, both computed here by their definitions.
    primal = _primal(solution.weights, phi, mu, prior, eps)
    log_normaliser = np.log(np.sum(prior * np.exp(phi @ solution.dual)))
    value = solution.dual @ mu - log_normaliser - eps / 2 * solution.dual @ solution.dual
    assert solution.objective == pytest.approx(primal, abs=1e-6)
    assert solution.log_normaliser == pytest.approx(log_normaliser, abs=1e-5)
    assert solution.gap == pytest.approx(primal - value, abs=1e-6)


def test_weights_have_the_closed_form_of_the_optimum() -> None:
    synthetic, features, mu = _problem()
    prior = np.random.default_rng(6).uniform(size=40)
    solution = solve_dual(synthetic, features, mu, prior, 1e-2, relative_gap=1e-7)
    phi = features.map(synthetic).astype(np.float64)
    # Stationarity of the primal on the simplex: log(w/q) + phi (Phi'w - mu) / eps is the same for all records.
    slope = np.log(solution.weights / prior) + phi @ (solution.weights @ phi - mu) / 1e-2
    np.testing.assert_allclose(slope, slope.mean(), atol=5e-3)
    tilted = prior * np.exp(phi @ solution.dual)
    np.testing.assert_allclose(solution.weights, tilted / tilted.sum(), rtol=1e-4)


def test_weighting_brings_the_mean_nearer_and_smaller_eps_nearer_still() -> None:
    synthetic, features, mu = _problem(300)
    distances = [float(np.sum((features.mean(synthetic) - mu) ** 2))]
    sizes = [300.0]
    for eps in (1e-1, 1e-2, 1e-3):
        solution = solve_dual(synthetic, features, mu, None, eps)
        distances.append(float(np.sum((features.mean(synthetic, solution.weights) - mu) ** 2)))
        sizes.append(solution.effective_size)
        assert solution.effective_size == pytest.approx(1 / np.sum(solution.weights**2))
    assert distances == sorted(distances, reverse=True)
    assert sizes == sorted(sizes, reverse=True)


def test_synthetic_equal_to_real_keeps_the_prior() -> None:
    synthetic, features, _ = _problem(200)
    solution = solve_dual(synthetic, features, features.mean(synthetic), None, 1e-4)
    np.testing.assert_allclose(solution.weights, 1 / 200, rtol=1e-3)
    assert solution.converged
    assert solution.effective_size == pytest.approx(200, rel=1e-4)


def test_one_record_and_equal_records() -> None:
    synthetic, features, mu = _problem(1)
    alone = solve_dual(synthetic, features, mu, None, 1e-3)
    np.testing.assert_array_equal(alone.weights, [1.0])
    assert alone.converged
    same = solve_dual(np.repeat(synthetic, 5, axis=0), features, mu, [1, 2, 3, 4, 0], 1e-3)
    np.testing.assert_allclose(same.weights, [0.1, 0.2, 0.3, 0.4, 0.0], rtol=1e-4)


def test_order_does_not_matter_and_duplicates_share() -> None:
    synthetic, features, mu = _problem(60)
    straight = solve_dual(synthetic, features, mu, None, 1e-2, relative_gap=1e-7)
    order = np.random.default_rng(8).permutation(60)
    turned = solve_dual(synthetic[order], features, mu, None, 1e-2, relative_gap=1e-7)
    np.testing.assert_allclose(turned.weights, straight.weights[order], rtol=1e-3)
    doubled = solve_dual(np.concatenate([synthetic, synthetic[:10]]), features, mu, None, 1e-2, relative_gap=1e-7)
    np.testing.assert_allclose(doubled.weights[:10], doubled.weights[60:], rtol=1e-4)
    # A record given twice is a record of twice the prior.
    heavier = solve_dual(synthetic, features, mu, [2.0] * 10 + [1.0] * 50, 1e-2, relative_gap=1e-7)
    np.testing.assert_allclose(doubled.weights[:10] * 2, heavier.weights[:10], rtol=2e-3)


def test_the_same_call_gives_the_same_bits() -> None:
    synthetic, features, mu = _problem(500)
    first, second = (solve_dual(synthetic, features, mu, None, 1e-3) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)
    np.testing.assert_array_equal(first.dual, second.dual)


def test_blocks_and_recomputing_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic, features, mu = _problem(500)
    whole = solve_dual(synthetic, features, mu, None, 1e-2, relative_gap=1e-7)
    monkeypatch.setattr(blocks_module, "BLOCK_SIZE", 64 * 32)
    blocked = solve_dual(synthetic, features, mu, None, 1e-2, relative_gap=1e-7)
    monkeypatch.setattr(blocks_module, "KEEP_BYTES", 0)
    streamed = solve_dual(synthetic, features, mu, None, 1e-2, relative_gap=1e-7)
    np.testing.assert_allclose(blocked.weights, whole.weights, rtol=1e-3)
    np.testing.assert_array_equal(streamed.weights, blocked.weights)


def test_a_start_at_the_solution_needs_no_iteration() -> None:
    synthetic, features, mu = _problem()
    solution = solve_dual(synthetic, features, mu, None, 1e-3)
    again = solve_dual(synthetic, features, mu, None, 1e-3, start=solution.dual)
    assert (again.iterations, again.converged) == (0, True)
    np.testing.assert_array_equal(again.weights, solution.weights)


def test_too_few_iterations_are_said() -> None:
    synthetic, features, mu = _problem(300)
    solution = solve_dual(synthetic, features, mu, None, 1e-5, max_iterations=1)
    assert not solution.converged
    assert solution.weights.sum() == pytest.approx(1.0)


def test_scores_are_the_logarithm_of_the_weights() -> None:
    synthetic, features, mu = _problem()
    prior = np.arange(40)
    solution = solve_dual(synthetic, features, mu, prior, 1e-2)
    fitted = score(FeatureBlocks(features, synthetic), solution.dual, prior, solution.log_normaliser)
    np.testing.assert_allclose(np.exp(fitted), solution.weights, rtol=1e-4)
    assert fitted[0] == -np.inf
    fresh = np.random.default_rng(9).normal(size=(25, 3))
    among = score(FeatureBlocks(features, fresh), solution.dual)
    assert np.exp(among).sum() == pytest.approx(1.0)
    outside = score(FeatureBlocks(features, fresh), solution.dual, None, solution.log_normaliser)
    np.testing.assert_allclose(outside - outside[0], among - among[0], atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(0, 2**32), st.floats(-6, 1), st.floats(0.01, 100))
def test_weights_are_always_a_distribution(m: int, seed: int, log_eps: float, spread: float) -> None:
    random = np.random.default_rng(seed)
    synthetic = (spread * random.normal(size=(m, 2))).astype(np.float32)
    features = RandomFeatures.draw(2, 16, 1.0, seed=0)
    mu = features.mean(random.normal(size=(5, 2)))
    prior = random.integers(0, 3, size=m) + np.eye(m)[0]
    solution = solve_dual(synthetic, features, mu, prior, 10**log_eps, max_iterations=50)
    assert np.all(np.isfinite(solution.weights))
    assert solution.weights.min() >= 0
    assert solution.weights.sum() == pytest.approx(1.0)
    assert np.all(solution.weights[prior == 0] == 0)
    assert solution.gap >= 0
    assert 1 - 1e-9 <= solution.effective_size <= m + 1e-9


def test_wrong_arguments_are_named() -> None:
    synthetic, features, mu = _problem()
    for eps in (0.0, -1.0, np.nan, -np.inf):
        with pytest.raises(NumericsError, match="eps"):
            solve_dual(synthetic, features, mu, None, eps)
    with pytest.raises(NumericsError, match="prior must not be negative; entry 0"):
        solve_dual(synthetic, features, mu, [-1.0] * 40, 1e-3)
    with pytest.raises(NumericsError, match="target must be a vector of length 32"):
        solve_dual(synthetic, features, mu[:-1], None, 1e-3)
    with pytest.raises(NumericsError, match="vectors must have 3 columns"):
        solve_dual(synthetic[:, :2], features, mu, None, 1e-3)
    with pytest.raises(NumericsError, match="vectors must be a matrix"):
        solve_dual(synthetic[:0], features, mu, None, 1e-3)
    with pytest.raises(NumericsError, match="row 2"):
        solve_dual(np.where(np.arange(40)[:, None] == 2, np.nan, synthetic), features, mu, None, 1e-3)
    with pytest.raises(NumericsError, match="start"):
        solve_dual(synthetic, features, mu, None, 1e-3, start=[0.0])
    with pytest.raises(NumericsError, match="device 'abacus'"):
        solve_dual(synthetic, features, mu, None, 1e-3, device="abacus")


def _capped_reference(phi: np.ndarray, mu: np.ndarray, prior: np.ndarray, eps: float, cap: np.ndarray) -> np.ndarray:
    found = minimize(
        _primal,
        np.minimum(prior, cap) / np.minimum(prior, cap).sum(),
        args=(phi, mu, prior, eps),
        method="SLSQP",
        bounds=[(1e-12, bound) for bound in cap],
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0},
        options={"ftol": 1e-14, "maxiter": 2000},
    )
    return np.asarray(found.x)


def test_a_cap_is_kept_and_the_rest_is_optimal_under_it() -> None:
    m, eps = 12, 1e-2
    synthetic, features, mu = _problem(m)
    prior = np.random.default_rng(5).dirichlet(np.ones(m))
    cap = np.full(m, 0.13)
    phi = features.map(synthetic).astype(np.float64)
    free = solve_dual(synthetic, features, mu, prior, eps)
    assert free.weights.max() > 0.2
    solution = solve_dual(synthetic, features, mu, prior, eps, cap=cap, relative_gap=1e-7)
    assert solution.converged
    assert solution.weights.max() <= 0.13 + 1e-9
    np.testing.assert_allclose(solution.weights, _capped_reference(phi, mu, prior, eps, cap), atol=2e-3)
    assert solution.objective == pytest.approx(_primal(solution.weights, phi, mu, prior, eps), rel=1e-5)
    fitted = score(FeatureBlocks(features, synthetic), solution.dual, prior, solution.log_normaliser, cap)
    np.testing.assert_allclose(np.exp(fitted), solution.weights, rtol=1e-4)


def test_a_cap_without_room_is_refused_and_one_of_just_enough_room_is_met() -> None:
    synthetic, features, mu = _problem(10)
    with pytest.raises(NumericsError, match=r"sum to 0\.9"):
        solve_dual(synthetic, features, mu, None, 1e-2, cap=np.full(10, 0.09))
    tight = solve_dual(synthetic, features, mu, None, 1e-2, cap=np.full(10, 0.1))
    np.testing.assert_allclose(tight.weights, 0.1, rtol=1e-6)


def test_an_infinite_eps_is_the_prior_under_its_cap() -> None:
    synthetic, features, mu = _problem(5)
    alone = solve_dual(synthetic, features, mu, [1, 1, 1, 1, 6], np.inf)
    np.testing.assert_allclose(alone.weights, [0.1, 0.1, 0.1, 0.1, 0.6])
    np.testing.assert_allclose(alone.mean, alone.weights @ features.map(synthetic), atol=1e-6)
    capped = solve_dual(synthetic, features, mu, [1, 1, 1, 1, 6], np.inf, cap=np.full(5, 0.4))
    np.testing.assert_allclose(capped.weights, [0.15, 0.15, 0.15, 0.15, 0.4])


def test_a_floor_on_the_effective_size_weakens_the_pull_just_enough() -> None:
    synthetic, features, mu = _problem(300)
    blocks = FeatureBlocks(features, synthetic)
    strong = solve_with_floor(blocks, mu, None, 1e-3, min_effective_size=1.0)
    assert strong.eps == 1e-3
    wanted = 1.5 * strong.effective_size
    weaker = solve_with_floor(blocks, mu, None, 1e-3, min_effective_size=wanted)
    assert wanted <= weaker.effective_size <= 1.03 * wanted
    assert weaker.eps > 1e-3
    again = dual_module.solve_dual(blocks, mu, None, weaker.eps)
    assert np.abs(again.weights - weaker.weights).sum() < 0.02
    out_of_reach = solve_with_floor(blocks, mu, [1.0] * 10 + [0.0] * 290, 1e-3, min_effective_size=20.0)
    assert out_of_reach.eps == np.inf
    assert out_of_reach.effective_size == pytest.approx(10)


def test_half_precision_solves_the_same_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic, features, mu = _problem(400)
    full = solve_dual(synthetic, features, mu, None, 1e-3, relative_gap=1e-5)
    monkeypatch.setattr(blocks_module, "FULL_BYTES", 0)
    half = solve_dual(synthetic, features, mu, None, 1e-3, relative_gap=1e-5)
    assert half.converged
    np.testing.assert_allclose(half.weights, full.weights, rtol=0.05)
    assert half.objective == pytest.approx(full.objective, rel=1e-3)


def test_large_linear_features_are_not_put_into_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "FULL_BYTES", 0)
    vectors = np.random.default_rng(0).normal(scale=1e6, size=(30, 4))
    blocks = FeatureBlocks(RandomProjections.draw(4, 8, seed=0), vectors)
    assert np.isfinite(blocks.mean()).all()


def test_random_features_come_to_the_exact_kernel() -> None:
    """The oracle: the exact problem, solved in the span of the records. More features, nearer weights."""
    random = np.random.default_rng(11)
    synthetic, real = random.normal(size=(150, 3)), random.normal(0.5, 0.8, size=(100, 3))
    exact = KernelFeatures.fit(np.concatenate([synthetic, real]), 1.5)
    oracle = solve_dual(synthetic, exact, exact.mean(real), None, 1e-2, relative_gap=1e-6)
    gram = np.exp(-((synthetic[:, None] - synthetic[None]) ** 2).sum(-1) / (2 * 1.5**2))
    across = np.exp(-((synthetic[:, None] - real[None]) ** 2).sum(-1) / (2 * 1.5**2)).mean(axis=1)
    # Stationarity of the primal, with kernels alone: log w + (K w - k) / eps is the same for all records.
    slope = np.log(oracle.weights) + (gram @ oracle.weights - across) / 1e-2
    np.testing.assert_allclose(slope, slope.mean(), atol=2e-2)

    def distance(count: int) -> float:
        gaps = []
        for seed in range(5):
            drawn = RandomFeatures.draw(3, count, 1.5, seed)
            solution = solve_dual(synthetic, drawn, drawn.mean(real), None, 1e-2)
            gaps.append(np.abs(solution.weights - oracle.weights).sum())
        return float(np.mean(gaps))

    assert distance(2048) < 0.05
    assert distance(2048) < distance(64) / 3


def _concentrated() -> tuple[FeatureBlocks, np.ndarray]:
    """Real records where few of 4,000 synthetic ones are."""
    random = np.random.default_rng(12)
    synthetic, real = random.normal(size=(4000, 3)), random.normal([3.0, 0.0, 0.0], 0.1, size=(200, 3))
    features = RandomFeatures.draw(3, 128, 0.5, 0)
    return FeatureBlocks(features, synthetic), features.mean(real)


def test_leaving_out_records_of_no_weight_meets_the_same_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, mu = _concentrated()
    sizes: list[int] = []
    take = FeatureBlocks.take

    def counted(self: FeatureBlocks, rows: np.ndarray) -> FeatureBlocks:
        sizes.append(len(rows))
        return take(self, rows)

    monkeypatch.setattr(FeatureBlocks, "take", counted)
    screened = dual_module.solve_dual(blocks, mu, None, 1e-4, relative_gap=1e-4)
    assert sizes
    assert max(sizes) <= 1000
    monkeypatch.setattr(dual_module, "_SCREENED", -1.0)
    whole = dual_module.solve_dual(blocks, mu, None, 1e-4, relative_gap=1e-4)
    assert screened.converged
    assert whole.converged
    assert screened.objective == pytest.approx(whole.objective, rel=2e-4)
    # KL to the optimum is at most the gap, and half the squared sum of differences at most KL (Pinsker).
    bound = sum(np.sqrt(2 * max(found.gap, 1e-9)) for found in (screened, whole))
    assert np.abs(screened.weights - whole.weights).sum() <= bound
    # The gap is that of the problem of all records, by its definition.
    phi = blocks.product(screened.dual)
    value = screened.dual @ mu - np.log(np.mean(np.exp(phi - phi.max()))) - phi.max()
    value -= 5e-5 * screened.dual @ screened.dual
    assert screened.gap == pytest.approx(screened.objective - value, abs=1e-3 * screened.objective)


def test_a_capped_problem_leaves_out_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, mu = _concentrated()
    monkeypatch.setattr(FeatureBlocks, "take", None)
    solution = dual_module.solve_dual(blocks, mu, None, 1e-3, cap=np.full(4000, 0.005))
    assert solution.converged
    assert solution.weights.max() <= 0.005 * (1 + 1e-9)
