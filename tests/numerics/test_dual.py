from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from synalign.errors import NumericsError
from synalign.numerics import dual as dual_module
from synalign.numerics.dual import score, solve_dual
from synalign.numerics.features import RandomFeatures


def _problem(m: int = 40, d: int = 3, seed: int = 0) -> tuple[np.ndarray, RandomFeatures, np.ndarray]:
    random = np.random.default_rng(seed)
    synthetic = random.normal(size=(m, d)).astype(np.float32)
    real = random.normal(loc=0.6, size=(50, d)).astype(np.float32)
    features = RandomFeatures.draw(d, 32, 2.0, seed=1)
    return synthetic, features, features.mean(real)


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
    monkeypatch.setattr(dual_module, "BLOCK_ROWS", 64)
    blocked = solve_dual(synthetic, features, mu, None, 1e-2, relative_gap=1e-7)
    monkeypatch.setattr(dual_module, "KEEP_BYTES", 0)
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
    fitted = score(synthetic, features, solution.dual, prior, solution.log_normaliser)
    np.testing.assert_allclose(np.exp(fitted), solution.weights, rtol=1e-4)
    assert fitted[0] == -np.inf
    fresh = np.random.default_rng(9).normal(size=(25, 3))
    among = score(fresh, features, solution.dual)
    assert np.exp(among).sum() == pytest.approx(1.0)
    outside = score(fresh, features, solution.dual, None, solution.log_normaliser)
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
    for eps in (0.0, -1.0, np.nan, np.inf):
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
