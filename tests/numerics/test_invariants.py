"""What must hold of weights whatever the data: the invariants of an alignment, on random problems."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from synalign.numerics.alignment.dual import DualSolution, solve_dual, solve_with_floor
from synalign.numerics.alignment.stratum import Samples, SolverSettings, align_stratum, distances
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.duplicates import group_prior, near_duplicate_groups
from synalign.numerics.core.features import RandomFeatures

DIMENSIONS = 5
FEATURES = RandomFeatures.draw(DIMENSIONS, 32, 2.0, seed=0)

#: Sums of 32 features in float32, divided by the smallest eps in use.
ROUNDING = 2e-3

common = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)
strengths = st.floats(-2, 1).map(lambda exponent: 10.0**exponent)


def _real(seed: int, n: int = 20) -> np.ndarray:
    return np.random.default_rng([seed, 1]).normal(0.5, 0.8, size=(n, DIMENSIONS)).astype(np.float32)


def _synthetic(seed: int, m: int) -> np.ndarray:
    return np.random.default_rng([seed, 2]).normal(size=(m, DIMENSIONS)).astype(np.float32)


def _fit(synthetic: np.ndarray, real: np.ndarray, prior: np.ndarray | None, eps: float) -> DualSolution:
    return solve_dual(FeatureBlocks(FEATURES, synthetic), FEATURES.mean(real), prior, eps, relative_gap=1e-6)


def _apart(*solutions: DualSolution) -> float:
    """Return how far, in sum of absolute values, the weights of solutions of one problem may be apart: Pinsker's
    inequality on KL(w || w*) <= gap, for each."""
    return ROUNDING + sum(math.sqrt(2 * solution.gap) for solution in solutions)


@common
@given(seeds, st.integers(1, 40), strengths, st.floats(0.01, 1e4), st.booleans())
def test_weights_are_finite_and_not_negative_and_sum_to_one(
    seed: int, m: int, eps: float, spread: float, halves: bool
) -> None:
    random = np.random.default_rng(seed)
    n = 12 if halves else 3
    counts = random.integers(1, 4, size=m).astype(float)
    prior = counts * random.integers(0, 2, size=m) + np.eye(m)[0]
    samples = Samples(
        real=_real(seed, n),
        real_weights=random.integers(1, 4, size=n).astype(float),
        in_first_half=np.arange(n) % 2 == 0,
        synthetic=spread * _synthetic(seed, m),
        counts=counts,
        prior=prior,
        half_prior=prior,
        test=_real(seed + 1, 2),
        test_weights=np.ones(2),
    )
    fit = align_stratum(FEATURES, samples, SolverSettings(eps))
    weights = fit.solution.weights
    assert np.isfinite(weights).all()
    assert weights.min() >= 0
    assert math.isclose(weights.sum(), 1.0, rel_tol=1e-9)
    assert np.all(weights[prior == 0] == 0)
    found = distances(fit.means)
    assert found.after >= 0
    assert (found.heldout_after is None) == (not halves)
    # The prior is one of the weightings that were open: none with less divergence comes nearer, and it has none.
    before = float(np.sum((FEATURES.mean(samples.synthetic, prior) - fit.means.real) ** 2))
    assert found.after <= before + 2 * eps * fit.solution.gap + 1e-5


@common
@given(seeds, st.integers(2, 40), strengths)
def test_permuted_rows_get_permuted_weights(seed: int, m: int, eps: float) -> None:
    random = np.random.default_rng(seed)
    real, synthetic, prior = _real(seed), _synthetic(seed, m), random.uniform(0.1, 1.0, size=m)
    order = random.permutation(m)
    straight = _fit(synthetic, real, prior, eps)
    turned = _fit(synthetic[order], real[random.permutation(len(real))], prior[order], eps)
    assert np.abs(turned.weights - straight.weights[order]).sum() <= _apart(straight, turned)


@common
@given(seeds, st.integers(2, 25), strengths, st.floats(0, 1e-5), st.integers(2, 30))
def test_copies_together_get_what_the_record_alone_gets(
    seed: int, m: int, eps: float, noise: float, copies: int
) -> None:
    random = np.random.default_rng(seed)
    real, synthetic = _real(seed), _synthetic(seed, m)
    assume(len(set(near_duplicate_groups(synthetic, 0.999))) == m)
    source = np.concatenate([np.arange(m), np.zeros(copies - 1, dtype=int), random.integers(0, m, size=5)])
    crowd = synthetic[source] + (noise * random.normal(size=(len(source), DIMENSIONS))).astype(np.float32)
    order = random.permutation(len(source))
    source, crowd = source[order], crowd[order]
    groups = near_duplicate_groups(crowd, 0.999)
    alone = _fit(synthetic, real, None, eps)
    together = _fit(crowd, real, group_prior(np.ones(len(crowd)), groups), eps)
    assert np.abs(np.bincount(source, together.weights) - alone.weights).sum() <= _apart(alone, together)
    # The copies share alike.
    share = together.weights[source == 0]
    assert np.ptp(share) <= 0.01 * share.max()


@common
@given(seeds, st.integers(8, 40), strengths)
def test_synthetic_records_that_are_the_real_ones_keep_near_uniform_weights(seed: int, m: int, eps: float) -> None:
    records = _real(seed, m)
    ones = np.ones(m)
    first = np.arange(m) % 2 == 0
    fit = align_stratum(
        FEATURES, Samples(records, ones, first, records, ones, ones, ones, records[:0], ones[:0]), SolverSettings(eps)
    )
    np.testing.assert_allclose(fit.solution.weights, 1 / m, rtol=0.01)
    assert fit.solution.effective_size > 0.999 * m
    assert distances(fit.means).after < 1e-6


@common
@given(seeds, st.integers(1, 40), strengths, st.floats(1.0, 10.0), st.booleans())
def test_no_weight_exceeds_its_cap(seed: int, m: int, eps: float, ratio: float, floor: bool) -> None:
    random = np.random.default_rng(seed)
    counts = random.integers(1, 5, size=m).astype(float)
    prior = counts * random.uniform(0.01, 1.0, size=m)
    pull = SolverSettings(eps, max_weight_ratio=ratio, min_effective_share=0.3 if floor else None)
    blocks, target = FeatureBlocks(FEATURES, _synthetic(seed, m)), FEATURES.mean(_real(seed))
    weights = pull.solve(blocks, target, prior, counts).weights
    assert np.all(weights <= ratio * counts / counts.sum() * (1 + 1e-6))
    assert math.isclose(weights.sum(), 1.0, rel_tol=1e-9)
    assert weights.min() >= 0


@common
@given(seeds, st.integers(1, 40), strengths, st.floats(0.02, 1.2), st.booleans())
def test_the_floor_is_kept_or_what_is_nearest_to_it_returned(
    seed: int, m: int, eps: float, share: float, uniform: bool
) -> None:
    prior = np.ones(m) if uniform else np.random.default_rng(seed).exponential(size=m) ** 2
    prior /= prior.sum()
    floor = share * m
    blocks, target = FeatureBlocks(FEATURES, _synthetic(seed, m)), FEATURES.mean(_real(seed))
    solution = solve_with_floor(blocks, target, prior, eps, min_effective_size=floor)
    assert solution.eps >= eps
    of_prior = 1 / np.sum(prior**2)
    if solution.eps == math.inf:
        np.testing.assert_allclose(solution.weights, prior, rtol=1e-9)
    elif of_prior <= floor * (1 + 1e-9):
        # Out of reach by a weaker pull: what was asked for is kept where it leaves more records than the prior has.
        assert solution.eps == eps
        assert solution.effective_size >= of_prior * (1 - 1e-9)
    else:
        assert solution.effective_size >= floor
    # A floor that the strength asked for meets changes nothing; one that the prior meets is met.
    if of_prior >= floor * (1 + 1e-9):
        assert solution.effective_size >= floor * (1 - 1e-9)
    asked = solve_dual(blocks, target, prior, eps)
    if asked.effective_size >= floor:
        np.testing.assert_array_equal(solution.weights, asked.weights)
