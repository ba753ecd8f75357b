"""One stratum's alignment, and strata put together: against means computed record by record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synalign.errors import NumericsError
from synalign.numerics.alignment import stratum
from synalign.numerics.alignment.dual import effective_size
from synalign.numerics.alignment.stratum import Fit, Rows, Samples, SolverSettings, align_whole, distances
from synalign.numerics.alignment.witness import witness
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.features import RandomFeatures


def _data(seed: int, n: int = 200, m: int = 300, t: int = 0) -> tuple[RandomFeatures, Samples]:
    random = np.random.default_rng(seed)
    real = random.normal(0.4, 1.0, (n, 6)).astype(np.float32)
    synthetic = random.normal(0.0, 1.2, (m, 6)).astype(np.float32)
    test = random.normal(0.4, 1.0, (t, 6)).astype(np.float32)
    ones = np.ones(m)
    samples = Samples(real, np.ones(n), np.arange(n) % 2 == 0, synthetic, ones, ones, ones, test, np.ones(t))
    return RandomFeatures.draw(6, 128, 3.0, seed), samples


def align_stratum(features: RandomFeatures, samples: Samples, eps: float) -> Fit:
    return stratum.align_stratum(features, samples, SolverSettings(eps))


def test_weighting_comes_nearer_to_real_records_it_was_not_fitted_on() -> None:
    features, samples = _data(1, t=100)
    found = distances(align_stratum(features, samples, 1e-3).means)
    assert found.after < found.before / 5
    assert found.heldout_after is not None
    assert found.heldout_before is not None
    assert found.heldout_after < found.heldout_before / 2
    assert found.test_after is not None
    assert found.test_before is not None
    assert found.test_after < found.test_before / 2


def test_the_half_fit_has_not_seen_the_second_half() -> None:
    """Moving the second half away leaves the half fit as it was, to the last bit: only the distance to it changes."""
    features, samples = _data(2)
    moved = samples.real + np.where(samples.in_first_half, 0.0, 3.0)[:, None].astype(np.float32)
    near = align_stratum(features, samples, 1e-2).means
    far = align_stratum(features, replace(samples, real=moved), 1e-2).means
    np.testing.assert_array_equal(near.half_weighted, far.half_weighted)  # type: ignore[arg-type]
    heldout_near, heldout_far = distances(near).heldout_after, distances(far).heldout_after
    assert heldout_near is not None
    assert heldout_far is not None
    assert heldout_far > 10 * heldout_near


def test_multiplicity_counts_as_repetition() -> None:
    features, samples = _data(3, n=40)
    times = np.random.default_rng(3).integers(1, 4, 40)
    counted = align_stratum(features, replace(samples, real_weights=times.astype(float)), 1e-2)
    repeated = replace(
        samples,
        real=np.repeat(samples.real, times, axis=0),
        real_weights=np.ones(times.sum()),
        in_first_half=np.repeat(samples.in_first_half, times),
    )
    other = align_stratum(features, repeated, 1e-2)
    np.testing.assert_allclose(counted.means.real, other.means.real, atol=1e-6)
    np.testing.assert_allclose(counted.solution.weights, other.solution.weights, rtol=1e-3)


def test_few_records_have_no_halves_and_one_record_gets_all_weight() -> None:
    features, samples = _data(4, n=5, m=1)
    fit = align_stratum(features, samples, 1e-3)
    assert fit.solution.weights.tolist() == [1.0]
    found = distances(fit.means)
    assert found.heldout_after is None
    assert found.floor is None


def _parts(samples: Samples, first: int) -> list[Samples]:
    """The first real records as one stratum, the others as a second; both with all synthetic records."""
    rows = [slice(None, first), slice(first, None)]
    return [
        replace(
            samples,
            real=samples.real[part],
            real_weights=samples.real_weights[part],
            in_first_half=samples.in_first_half[part],
        )
        for part in rows
    ]


def test_the_whole_is_the_mean_over_all_records_and_the_strata_in_their_shares() -> None:
    features, samples = _data(5)
    fits = [align_stratum(features, part, 1e-2) for part in _parts(samples, 60)]
    whole = align_whole(features, samples, fits, np.array([0.3, 0.7]))
    np.testing.assert_allclose(whole.real, features.map(samples.real).astype(np.float64).mean(axis=0), atol=1e-6)
    weights = 0.3 * fits[0].solution.weights + 0.7 * fits[1].solution.weights
    np.testing.assert_allclose(whole.weighted, weights @ features.map(samples.synthetic).astype(np.float64), atol=1e-6)
    assert whole.test is None


def test_real_records_that_no_stratum_covers_count_in_the_distance_of_the_whole() -> None:
    features, samples = _data(6)
    covered, left = _parts(samples, 60)
    fit = align_stratum(features, covered, 1e-2)
    shifted = replace(samples, real=np.concatenate([covered.real, left.real + 2.0]))
    whole = distances(align_whole(features, shifted, [fit], np.ones(1)))
    assert whole.after > 2 * distances(fit.means).after


def test_one_small_stratum_does_not_take_the_held_out_figure_away() -> None:
    features, samples = _data(7)
    fits = [align_stratum(features, part, 1e-2) for part in _parts(samples, 4)]
    assert fits[0].means.half_weighted is None
    whole = align_whole(features, samples, fits, np.array([0.02, 0.98]))
    expected = 0.02 * fits[0].means.raw + 0.98 * fits[1].means.half_weighted  # type: ignore[operator]
    np.testing.assert_allclose(whole.half_weighted, expected, rtol=1e-12)  # type: ignore[arg-type]
    assert distances(whole).heldout_after is not None


def test_shares_must_be_as_many_as_strata() -> None:
    features, samples = _data(8)
    with pytest.raises(NumericsError, match="1 strata"):
        align_whole(features, samples, [align_stratum(features, samples, 1.0)], np.ones(2))


def test_effective_size_counts_equal_weights_and_ignores_the_absent() -> None:
    assert effective_size(np.full(8, 1 / 8)) == pytest.approx(8)
    assert effective_size(np.array([0.5, 0.5, 0.0])) == pytest.approx(2)


def test_the_half_fit_starts_from_the_base_measure_of_the_first_half() -> None:
    features, samples = _data(9)
    half_prior = np.where(np.arange(300) < 30, 1.0, 0.0)
    fit = align_stratum(features, replace(samples, half_prior=half_prior), 1e3)
    np.testing.assert_allclose(fit.solution.weights, 1 / 300, rtol=1e-2)
    expected = features.map(samples.synthetic[:30]).astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(fit.means.half_weighted, expected, atol=1e-4)  # type: ignore[arg-type]


def test_a_cap_counts_in_multiples_of_a_records_share_by_multiplicity() -> None:
    features, samples = _data(10)
    counts = np.where(np.arange(300) < 10, 3.0, 1.0)
    capped = replace(samples, counts=counts, prior=counts, half_prior=counts)
    free = stratum.align_stratum(features, capped, SolverSettings(1e-3)).solution
    fit = stratum.align_stratum(features, capped, SolverSettings(1e-3, max_weight_ratio=2.0)).solution
    bound = 2.0 * counts / counts.sum()
    assert (free.weights > bound).sum() > 5
    assert (fit.weights <= bound * (1 + 1e-9)).all()
    assert (fit.weights > bound * 0.999).sum() > 5


def test_a_floor_on_the_effective_share_holds_in_the_fit() -> None:
    features, samples = _data(11)
    fit = stratum.align_stratum(features, samples, SolverSettings(1e-4, min_effective_share=0.6)).solution
    assert 0.6 * 300 <= fit.effective_size <= 0.62 * 300
    assert fit.eps > 1e-4


def test_the_whole_from_the_means_of_its_strata_is_that_from_all_records() -> None:
    """A stratum that is too small for halves, and records of no stratum, are among them."""
    features, samples = _data(12, t=50)
    small, large = _parts(replace(samples, test=samples.test[:0], test_weights=np.ones(0)), 5)
    large = replace(large, real=large.real[:-20], real_weights=large.real_weights[:-20])
    large = replace(large, in_first_half=large.in_first_half[:-20], test=samples.test, test_weights=np.ones(50))
    fits = [align_stratum(features, part, 1e-2) for part in (small, large)]
    synthetic, none = np.arange(len(samples.synthetic)), np.arange(0)
    rows = [Rows(np.arange(5), synthetic[:0], none), Rows(np.arange(5, 180), synthetic, np.arange(50))]
    shares = np.array([0.4, 0.6])
    pooled = align_whole(features, samples, fits, shares, rows=rows)
    direct = align_whole(features, samples, fits, shares)
    for name in ("real", "raw", "weighted", "first", "second", "half_weighted", "test"):
        np.testing.assert_allclose(getattr(pooled, name), getattr(direct, name), atol=1e-6, err_msg=name)


def test_the_witness_of_a_fit_is_that_of_its_records_and_changes_no_weight() -> None:
    features, samples = _data(13)
    fit = stratum.align_stratum(features, samples, SolverSettings(1e-2), with_witness=True)
    plain = align_stratum(features, samples, 1e-2)
    np.testing.assert_array_equal(fit.solution.weights, plain.solution.weights)
    assert plain.witness is None
    expected = witness(FeatureBlocks(features, samples.real), samples.real_weights, fit.solution.mean)
    np.testing.assert_allclose(fit.witness, np.array(expected), atol=1e-6)  # type: ignore[arg-type]
