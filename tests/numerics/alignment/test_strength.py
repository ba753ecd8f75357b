from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from synalign.errors import NumericsError
from synalign.numerics.alignment import strength as strength_module
from synalign.numerics.alignment.strength import (
    STRENGTHS,
    UNWEIGHTED,
    Candidate,
    Labelled,
    Trial,
    Weightings,
    candidates,
    choose,
    cross_validate,
    paired,
)
from synalign.numerics.core import fast_classifier as judge_module
from synalign.numerics.core.features import KernelFeatures, RandomFeatures
from synalign.numerics.core.label_quality import Quality
from synalign.numerics.statistics.mmd import mmd2

PULLED = Candidate(1e-2, False, "kept")
FEATURES = RandomFeatures.draw(4, 64, 2.0, seed=0)


def _records(
    n: int, seed: int, shift: float = 0.0, labels: int = 2, flipped: float = 0.0, apart: float = 2.0
) -> Labelled:
    """Return records of n, as many of each label, whose first coordinate tells the label."""
    random = np.random.default_rng(seed)
    truth = np.arange(n) % labels
    vectors = random.normal(size=(n, 4))
    vectors[:, 0] += apart * truth
    vectors[:, 1] += shift
    wrong = random.uniform(size=n) < flipped
    said = np.where(wrong, (truth + 1) % labels, truth)
    return Labelled(vectors.astype(np.float32), np.ones(n), said, said)


def _trial(share: float, scores: Any = None, heldout: float = 0.1) -> Trial:
    scores = None if scores is None else np.asarray(scores, dtype=float)
    return Trial(UNWEIGHTED, 100 * share, share, 0.0, heldout, scores, scores)


# choose


def test_within_the_noise_the_larger_effective_share_is_taken() -> None:
    noise = np.random.default_rng(0).normal(size=400)
    noise -= noise.mean()
    error = stats.sem(noise)
    base = np.linspace(-2, -1, 400)
    strong = _trial(0.1, base + noise)
    near, far = _trial(0.9, base + 0.6 * error - error), _trial(0.95, base - error)
    assert choose([far, near, strong]) == 1
    # A little more than LEAN standard errors is too much.
    assert choose([far, _trial(0.9, base - 0.52 * error), strong]) == 2
    assert choose([far, _trial(0.9, base - 0.48 * error), strong]) == 1


def test_beyond_the_noise_the_clear_winner_is_taken_wherever_it_stands() -> None:
    random = np.random.default_rng(1)
    base = random.normal(size=300)
    worse = [_trial(share, base - 0.2 - 0.1 * random.normal(size=300)) for share in (1.0, 0.6, 0.05)]
    for place in range(4):
        assert choose([*worse[:place], _trial(0.3, base), *worse[place:]]) == place


def test_the_difference_is_taken_record_by_record() -> None:
    # Records differ by far more than the two trials do: unpaired, the difference would be noise.
    base = 10 * np.random.default_rng(2).normal(size=100)
    assert choose([_trial(1.0, base - 0.01), _trial(0.2, base)]) == 1


def test_equal_trials_give_the_weakest_and_then_the_first() -> None:
    scores = np.random.default_rng(3).normal(size=50)
    assert choose([_trial(0.2, scores), _trial(0.7, scores), _trial(0.7, scores), _trial(0.5, scores)]) == 1
    # One record has no noise that could be known.
    assert choose([_trial(1.0, [-0.3]), _trial(0.1, [-0.2])]) == 1


def test_trials_below_the_floor_are_left_out_as_long_as_one_is_above() -> None:
    scores = np.random.default_rng(4).normal(size=50)
    trials = [_trial(1.0, scores - 2), _trial(0.4, scores - 1), _trial(0.1, scores)]
    assert choose(trials) == 2
    assert choose(trials, 0.2) == 1
    assert choose(trials, 0.4) == 1
    assert choose(trials, 0.41) == 0
    assert choose(trials[1:], 0.5) == 0


def test_without_labels_the_smallest_heldout_distance_above_the_floor_is_taken() -> None:
    trials = [_trial(1.0, heldout=0.5), _trial(0.5, heldout=0.2), _trial(0.3, heldout=0.3), _trial(0.19, heldout=0.1)]
    assert choose(trials) == 1
    assert choose(trials, 0.05) == 1
    assert choose(trials, 0.6) == 0
    assert choose([_trial(0.20, heldout=0.1), *trials]) == 0
    low = [_trial(0.02, heldout=0.1), _trial(0.08, heldout=0.9), _trial(0.05, heldout=0.05)]
    assert choose(low) == 1
    assert choose(low, 0.06) == 1


def test_no_trial_is_an_error() -> None:
    with pytest.raises(NumericsError, match="no trial"):
        choose([])


# paired, candidates


def test_paired_is_the_paired_t_test() -> None:
    random = np.random.default_rng(5)
    first, second = random.normal(size=30), random.normal(0.3, 2.0, size=30)
    mean, error = paired(first, second)
    assert error == pytest.approx(stats.sem(first - second))
    assert mean / error == pytest.approx(stats.ttest_rel(first, second).statistic)
    assert paired(np.array([1.0]), np.array([3.0])) == (-2.0, 0.0)


def test_candidates_are_distinct_with_no_weighting_first() -> None:
    for quality in (False, True):
        for shares in (["kept"], ["kept", "real"], ["real"], ["given"]):
            found = candidates(quality, shares)
            assert found[0] == UNWEIGHTED
            assert len(set(found)) == len(found)
            for kind in shares:
                assert [each.eps for each in found if (each.quality, each.shares) == (quality, kind)] == list(STRENGTHS)
            # What was not asked for is not tried, but for no weighting.
            assert {(each.quality, each.shares) for each in found[1:]} <= {(quality, kind) for kind in shares}
    assert candidates(False, ["kept"], [math.inf]) == [UNWEIGHTED]
    assert candidates(True, ["real"], [0.1]) == [UNWEIGHTED, Candidate(0.1, True, "real")]


def test_strengths_are_tried_from_the_weakest_on() -> None:
    assert list(STRENGTHS) == sorted(STRENGTHS, reverse=True)
    assert STRENGTHS[0] == math.inf


# Weightings


def test_no_weighting_is_the_base_measure_as_it_is() -> None:
    synthetic = _records(60, 1)
    synthetic = Labelled(synthetic.vectors, np.arange(60.0), synthetic.strata, synthetic.labels)
    weights, mean = Weightings(FEATURES, _records(40, 0), synthetic, 0).weights(UNWEIGHTED)
    np.testing.assert_allclose(weights, np.arange(60) / (59 * 30), atol=1e-12)
    np.testing.assert_allclose(
        mean, np.average(FEATURES.map(synthetic.vectors), axis=0, weights=np.arange(60)), atol=1e-6
    )


def test_quality_is_a_factor_of_the_base_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    believed = np.random.default_rng(6).uniform(size=60)
    asked = []

    def quality(real: Any, real_labels: Any, real_weights: Any, made: Any, made_labels: Any, seed: int) -> Quality:
        asked.append((real, real_labels, real_weights, made, made_labels, seed))
        return Quality(believed, np.zeros(60, dtype=int), believed)

    monkeypatch.setattr(strength_module, "label_quality", quality)
    train, synthetic = _records(40, 0), _records(60, 1)
    counts = 1.0 + np.arange(60) % 7
    synthetic = Labelled(synthetic.vectors, counts, synthetic.strata, synthetic.labels)
    product = counts * believed
    fits = Weightings(FEATURES, train, synthetic, 7)
    weights, _ = fits.weights(Candidate(math.inf, True, "kept"))
    np.testing.assert_allclose(weights, product / product.sum())
    # With the shares of the real records, it is a factor within each label.
    forced, _ = fits.weights(Candidate(math.inf, True, "real"))
    for label in (0, 1):
        rows = synthetic.labels == label
        np.testing.assert_allclose(forced[rows], 0.5 * product[rows] / product[rows].sum())
    assert len(asked) == 1
    expected = (train.vectors, train.labels, train.weights, synthetic.vectors, synthetic.labels, 7)
    for given, wanted in zip(asked[0], expected, strict=True):
        np.testing.assert_array_equal(given, wanted)
    np.testing.assert_allclose(fits.weights(UNWEIGHTED)[0], counts / counts.sum())


@pytest.mark.parametrize("eps", [math.inf, 1e-1, 1e-3])
def test_the_shares_of_the_strata_are_those_of_their_kind(eps: float) -> None:
    train, synthetic = _records(40, 0, labels=3), _records(60, 1, labels=3, shift=0.3)
    train = Labelled(train.vectors, 1.0 + train.strata, train.strata, train.labels)
    synthetic = Labelled(synthetic.vectors, 1.0 / (1 + synthetic.strata), synthetic.strata, synthetic.labels)
    fits = Weightings(FEATURES, train, synthetic, 0, np.array([0.5, 0.2, 0.3]))
    real = np.array([14 * 1.0, 13 * 2.0, 13 * 3.0])
    kept = np.array([1.0, 1 / 2, 1 / 3])
    wanted = {"given": np.array([0.5, 0.2, 0.3]), "real": real / real.sum(), "kept": kept / kept.sum()}
    for kind, shares in wanted.items():
        weights, mean = fits.weights(Candidate(eps, False, kind))
        found = [weights[synthetic.strata == stratum].sum() for stratum in range(3)]
        np.testing.assert_allclose(found, shares, rtol=1e-9)
        np.testing.assert_allclose(mean, weights @ FEATURES.map(synthetic.vectors), atol=1e-5)


def test_a_smaller_eps_comes_nearer_to_the_real_records_of_each_stratum() -> None:
    train, synthetic = _records(80, 0, shift=0.8), _records(200, 1)
    fits = Weightings(FEATURES, train, synthetic, 0)
    distances, sizes = [], []
    for eps in STRENGTHS:
        weights, _ = fits.weights(Candidate(eps, False, "real"))
        per_stratum = []
        for stratum in (0, 1):
            real, made = train.vectors[train.strata == stratum], synthetic.strata == stratum
            per_stratum.append(mmd2(real, synthetic.vectors[made], 2.0, None, weights[made], unbiased=False))
        distances.append(per_stratum)
        sizes.append(1 / np.sum(weights**2))
    assert np.all(np.diff(distances, axis=0) < 1e-4)
    assert sizes == sorted(sizes, reverse=True)
    assert np.all(np.array(distances[-1]) < 0.3 * np.array(distances[0]))


def test_the_order_in_which_candidates_are_asked_for_changes_no_more_than_the_tolerance() -> None:
    train, synthetic = _records(80, 0, shift=0.5), _records(200, 1)
    one_by_one, at_once = (Weightings(FEATURES, train, synthetic, 0) for _ in range(2))
    for eps in STRENGTHS[:-1]:
        one_by_one.weights(Candidate(eps, False, "kept"))
    weakest_last = one_by_one.weights(Candidate(STRENGTHS[-2], False, "kept"))[0]
    alone = at_once.weights(Candidate(STRENGTHS[-2], False, "kept"))[0]
    assert np.abs(weakest_last - alone).sum() < 0.2


def test_a_stratum_of_which_the_fold_lacks_real_records_keeps_its_base_measure() -> None:
    train, synthetic = _records(40, 0), _records(60, 1, labels=3)
    fits = Weightings(FEATURES, train, synthetic, 0, np.array([0.2, 0.2, 0.6]))
    last = synthetic.strata == 2
    for kind, share in {"kept": 1 / 3, "given": 0.6, "real": 0.0}.items():
        weights, _ = fits.weights(Candidate(1e-2, False, kind))
        np.testing.assert_allclose(weights[last], share / 20)
        assert weights.sum() == pytest.approx(1.0)
        assert np.ptp(weights[~last]) > 0.001


def test_a_stratum_without_synthetic_records_leaves_its_share_to_the_others() -> None:
    train, synthetic = _records(60, 0, labels=3), _records(60, 1)
    given = np.array([0.2, 0.3, 0.5])
    fits = Weightings(FEATURES, train, synthetic, 0, given)
    for kind, shares in {"given": [0.4, 0.6], "real": [0.5, 0.5]}.items():
        weights, _ = fits.weights(Candidate(1e-2, False, kind))
        np.testing.assert_allclose(np.bincount(synthetic.strata, weights), shares)
    # Nor need the fold have real records of it: the shares are given for all strata there are.
    few = Weightings(FEATURES, _records(40, 0), synthetic, 0, given)
    weights, _ = few.weights(Candidate(1e-2, False, "given"))
    np.testing.assert_allclose(np.bincount(synthetic.strata, weights), [0.4, 0.6])
    # Where none of the real strata has synthetic records, the shares that follow from the base measure are kept.
    only = train.take(np.flatnonzero(train.strata == 2))
    weights, _ = Weightings(FEATURES, only, synthetic, 0).weights(Candidate(1e-2, False, "real"))
    np.testing.assert_allclose(weights, 1 / 60)


# cross_validate


class _Seen:
    """What a cross-validation fitted to and judged on, fold by fold."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.train: list[np.ndarray] = []
        self.out: list[list[np.ndarray]] = []
        self.weights: list[list[np.ndarray]] = []
        seen, judge = self, strength_module._judge

        class Recorded(Weightings):
            def __init__(self, features: Any, train: Labelled, *more: Any) -> None:
                super().__init__(features, train, *more)
                seen.train.append(train.vectors)
                seen.weights.append([])
                seen.out.append([])

            def weights(self, candidate: Candidate) -> tuple[np.ndarray, np.ndarray]:
                found = super().weights(candidate)
                seen.weights[-1].append(found[0])
                return found

        def judged(synthetic: Labelled, weights: np.ndarray, out: Labelled, classes: int) -> Any:
            seen.out[-1].append(out.vectors)
            return judge(synthetic, weights, out, classes)

        monkeypatch.setattr(strength_module, "Weightings", Recorded)
        monkeypatch.setattr(strength_module, "_judge", judged)

    def fold_of(self, vector: np.ndarray) -> int:
        folds = [fold for fold, judged in enumerate(self.out) if (judged[0] == vector).all(axis=1).any()]
        assert len(folds) == 1
        return folds[0]


def test_every_record_is_held_out_once_and_fitted_to_in_all_other_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _Seen(monkeypatch)
    real = _records(33, 0)
    told: list[tuple[int, int]] = []
    cross_validate(
        FEATURES,
        real,
        _records(40, 1),
        [UNWEIGHTED, PULLED],
        0,
        progress=lambda done, total: told.append((done, total)),
    )

    def rows(vectors: np.ndarray) -> list[int]:
        return [int(np.flatnonzero((real.vectors == vector).all(axis=1)).item()) for vector in vectors]

    for candidate in (0, 1):
        assert sorted(row for judged in seen.out for row in rows(judged[candidate])) == list(range(33))
    for train, judged in zip(seen.train, seen.out, strict=True):
        assert sorted(rows(train) + rows(judged[0])) == list(range(33))
    assert told == [(done, 5) for done in range(6)]


@pytest.mark.parametrize("row", [0, 17])
def test_a_held_out_record_changes_nothing_that_its_own_fold_fits(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, synthetic = _records(50, 0, shift=0.4), _records(80, 1, flipped=0.2)
    tried = [UNWEIGHTED, *(Candidate(eps, True, kind) for eps in (math.inf, 1e-2) for kind in ("kept", "real"))]
    poisoned = Labelled(real.vectors.copy(), real.weights.copy(), real.strata.copy(), real.labels)
    poisoned.vectors[row] = [300.0, -200.0, 100.0, 50.0]
    poisoned.weights[row] = 7.0
    poisoned.strata[row] = 1 - real.strata[row]
    clean_seen = _Seen(monkeypatch)
    clean = cross_validate(FEATURES, real, synthetic, tried, 5)
    monkeypatch.undo()
    seen = _Seen(monkeypatch)
    trials = cross_validate(FEATURES, poisoned, synthetic, tried, 5)
    fold = seen.fold_of(poisoned.vectors[row])
    assert fold == clean_seen.fold_of(real.vectors[row])
    for place in range(5):
        same = [
            np.array_equal(one, other)
            for one, other in zip(clean_seen.weights[place], seen.weights[place], strict=True)
        ]
        # No weighting is the same in every fold; all else has seen the record, where it was not held out.
        assert same == ([True] * 5 if place == fold else [True] + [False] * 4)
    # Its neighbours in the fold are judged as before.
    others = [i for i in range(50) if i != row and clean_seen.fold_of(real.vectors[i]) == fold]
    assert len(others) >= 8
    for before, after in zip(clean, trials, strict=True):
        np.testing.assert_array_equal(before.scores[others], after.scores[others])


def test_a_label_is_spread_over_the_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _Seen(monkeypatch)
    random = np.random.default_rng(8)
    labels = random.permutation(np.repeat([0, 1, 2], [50, 10, 6]))
    real = Labelled(random.normal(size=(66, 4)), np.ones(66), labels, labels)
    cross_validate(FEATURES, real, _records(30, 1, labels=3), [UNWEIGHTED], 0)
    fold = np.array([seen.fold_of(vector) for vector in real.vectors])
    np.testing.assert_array_equal(np.bincount(fold[labels == 0]), [10] * 5)
    np.testing.assert_array_equal(np.bincount(fold[labels == 1]), [2] * 5)
    np.testing.assert_array_equal(np.sort(np.bincount(fold[labels == 2])), [1, 1, 1, 1, 2])


def test_scores_are_the_log_likelihood_under_a_classifier_of_synthetic_records_alone() -> None:
    real, synthetic = _records(40, 0, apart=1.0), _records(70, 1, apart=1.0, labels=2)
    trial = cross_validate(FEATURES, real, synthetic, [UNWEIGHTED], 0)[0]
    length = np.sqrt((synthetic.vectors.astype(float) ** 2).sum(axis=1).mean())
    model = LogisticRegression(C=1.0, solver="lbfgs", tol=1e-8).fit(synthetic.vectors / length, synthetic.labels)
    table = model.predict_proba(real.vectors / length)
    assert -trial.scores.mean() == pytest.approx(log_loss(real.labels, table), abs=5e-3)
    # The same classifier in every fold: that of no weighting does not depend on the real records.
    np.testing.assert_allclose(np.exp(trial.scores), table[np.arange(40), real.labels], atol=5e-3)
    np.testing.assert_array_equal(trial.correct, model.predict(real.vectors / length) == real.labels)


def test_beyond_the_labels_of_a_logistic_regression_scores_are_brier_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    real, synthetic = _records(60, 0, labels=4), _records(90, 1, labels=4)
    monkeypatch.setattr(judge_module, "MAX_LOGISTIC", 3)
    weighted = Labelled(synthetic.vectors, np.maximum(np.arange(90) - 19.0, 0.0), synthetic.strata, synthetic.labels)
    trial = cross_validate(FEATURES, real, weighted, [UNWEIGHTED], 0)[0]
    # Least squares with an intercept, one label after the other, by the normal equations.
    length = np.sqrt((synthetic.vectors[20:].astype(float) ** 2).sum(axis=1).mean())
    known, asked = synthetic.vectors[20:] / length, real.vectors / length
    amounts = np.arange(1.0, 71.0) / 35.5
    centre = np.average(known, axis=0, weights=amounts)
    brier, table = np.zeros(60), np.zeros((60, 4))
    for label in range(4):
        said = (synthetic.labels[20:] == label).astype(float)
        share = np.average(said, weights=amounts)
        scatter = (known - centre).T @ (amounts[:, None] * (known - centre))
        slope = np.linalg.solve(scatter + np.eye(4), (known - centre).T @ (amounts * (said - share)))
        table[:, label] = share + (asked - centre) @ slope
        brier += (table[:, label] - (real.labels == label)) ** 2
    np.testing.assert_allclose(trial.scores, -brier, atol=1e-4)
    np.testing.assert_array_equal(trial.correct, table.argmax(axis=1) == real.labels)
    assert trial.correct.mean() > 0.5
    # Up to as many labels it is the likelihood, which has no such bound from below.
    monkeypatch.setattr(judge_module, "MAX_LOGISTIC", 4)
    likely = cross_validate(FEATURES, real, weighted, [UNWEIGHTED], 0)[0]
    assert not np.allclose(likely.scores, trial.scores, atol=0.1)


def test_distances_are_those_of_the_exact_kernel() -> None:
    real, synthetic = _records(30, 0, shift=0.5), _records(40, 1)
    exact = KernelFeatures.fit(np.concatenate([real.vectors, synthetic.vectors]), 2.0)
    trial = cross_validate(exact, real, synthetic, [UNWEIGHTED], 0, classify=False)[0]
    assert (trial.scores, trial.correct) == (None, None)
    assert trial.effective_size == pytest.approx(40)
    assert trial.effective_share == pytest.approx(1)
    # Over folds, held-out means average to that of all: E|m - x|^2 = |m - mean x|^2 + their spread.
    whole = mmd2(real.vectors, synthetic.vectors, 2.0, unbiased=False)
    folds = strength_module.folds_of(np.random.default_rng(0), np.zeros(30, dtype=int))
    held = [real.vectors[folds == fold] for fold in range(5)]
    fitted = [real.vectors[folds != fold] for fold in range(5)]
    heldout = np.mean([mmd2(part, synthetic.vectors, 2.0, unbiased=False) for part in held])
    spread = np.mean([mmd2(part, real.vectors, 2.0, unbiased=False) for part in held])
    assert trial.mmd2_heldout == pytest.approx(heldout, abs=1e-5)
    assert trial.mmd2_heldout == pytest.approx(whole + spread, abs=1e-5)
    near = np.mean([mmd2(part, synthetic.vectors, 2.0, unbiased=False) for part in fitted])
    assert trial.mmd2_fitted == pytest.approx(near, abs=1e-5)


def test_the_seed_determines_it() -> None:
    real, synthetic = _records(40, 0, shift=0.5), _records(60, 1, flipped=0.2)
    tried = [UNWEIGHTED, Candidate(1e-2, True, "real")]
    first, again, other = (cross_validate(FEATURES, real, synthetic, tried, seed) for seed in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.scores, two.scores)
        assert (one.mmd2_fitted, one.mmd2_heldout, one.effective_size) == (
            two.mmd2_fitted,
            two.mmd2_heldout,
            two.effective_size,
        )
    assert np.abs(first[1].scores - other[1].scores).max() > 1e-3


def test_more_records_than_the_maximum_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strength_module, "MAX_REAL", 30)
    monkeypatch.setattr(strength_module, "MAX_SYNTHETIC", 50)
    trials = [cross_validate(FEATURES, _records(200, 0), _records(300, 1), [UNWEIGHTED], seed)[0] for seed in (0, 0, 1)]
    assert len(trials[0].scores) == 30
    assert trials[0].effective_size == pytest.approx(50)
    assert trials[0].effective_share == pytest.approx(1)
    np.testing.assert_array_equal(trials[0].scores, trials[1].scores)
    assert not np.array_equal(trials[0].scores, trials[2].scores)


def test_given_shares_are_honoured_in_every_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _Seen(monkeypatch)
    synthetic = _records(60, 1)
    tried = [UNWEIGHTED, *(Candidate(eps, True, "given") for eps in (math.inf, 1e-2))]
    cross_validate(FEATURES, _records(40, 0), synthetic, tried, 0, given_shares=np.array([0.8, 0.2]))
    for weights in seen.weights:
        np.testing.assert_allclose([np.bincount(synthetic.strata, each)[0] for each in weights], [0.5, 0.8, 0.8])


def test_a_label_and_a_stratum_that_a_fold_lacks_are_survived() -> None:
    real, synthetic = _records(41, 0), _records(60, 1, labels=4)
    # One real record of label 2: its own fold does not know of it. None of label 3. One of a label nothing else has.
    labels = real.labels.copy()
    labels[5], labels[6] = 2, 4
    real = Labelled(real.vectors, real.weights, labels, labels)
    tried = [
        UNWEIGHTED,
        *(Candidate(eps, True, kind) for eps in (math.inf, 1e-2) for kind in ("kept", "real", "given")),
    ]
    trials = cross_validate(FEATURES, real, synthetic, tried, 0, given_shares=np.array([0.4, 0.3, 0.1, 0.1, 0.1]))
    for trial in trials:
        assert np.isfinite(trial.scores).all()
        assert np.isfinite([trial.mmd2_fitted, trial.mmd2_heldout]).all()
        assert 1 <= trial.effective_size <= 60
        # The smallest likelihood that counts, for a label that no synthetic record has.
        assert trial.scores[6] == pytest.approx(math.log(1e-6))
        assert trial.correct[6] == 0
    # By quality or by real shares, nothing that its fold saw believes in label 2.
    assert trials[0].scores[5] > trials[1].scores[5]


def test_two_real_records_and_labels_that_are_all_equal() -> None:
    real, synthetic = _records(2, 0), _records(30, 1)
    assert len(cross_validate(FEATURES, real, synthetic, [UNWEIGHTED, PULLED], 0)[0].scores) == 2
    same = Labelled(synthetic.vectors, np.ones(30), np.zeros(30, dtype=int), np.zeros(30, dtype=int))
    trial = cross_validate(FEATURES, _records(20, 0), same, [UNWEIGHTED], 0)[0]
    np.testing.assert_array_equal(trial.correct, np.arange(20) % 2 == 0)
    np.testing.assert_allclose(trial.scores, np.where(np.arange(20) % 2, math.log(1e-6), 0.0))
    with pytest.raises(NumericsError, match="needs 2 real records"):
        cross_validate(FEATURES, real.take(np.array([0])), synthetic, [UNWEIGHTED], 0)


# The whole: what is chosen


def test_weighting_that_helps_is_recognised() -> None:
    """Half of the synthetic records say nothing about the label, and the real ones lie elsewhere."""
    gains = []
    for seed in range(3):
        real, synthetic = _records(120, seed, shift=0.7), _records(300, 100 + seed, flipped=0.5)
        tried = candidates(True, ["kept", "real"], (math.inf, 1e-1, 1e-2, 1e-3))
        trials = cross_validate(FEATURES, real, synthetic, tried, seed)
        picked = choose(trials)
        assert tried[picked].quality
        assert trials[picked].effective_share < 0.9
        gain, error = paired(trials[picked].scores, trials[0].scores)
        assert gain > 3 * error
        gains.append(np.mean(trials[picked].correct) - np.mean(trials[0].correct))
    assert np.mean(gains) > 0.1


def test_synthetic_records_of_the_real_distribution_are_left_about_as_they_are() -> None:
    for seed in range(3):
        real, synthetic = _records(120, seed), _records(300, 100 + seed)
        tried = candidates(True, ["kept", "real"], (math.inf, 1e-1, 1e-2, 1e-3))
        trials = cross_validate(FEATURES, real, synthetic, tried, seed)
        assert trials[choose(trials)].effective_share > 0.5


def test_without_labels_a_shift_is_pulled_back_and_the_floor_kept() -> None:
    real, synthetic = _records(120, 0, shift=0.7), _records(300, 1)
    trials = cross_validate(FEATURES, real, synthetic, candidates(False, ["kept"]), 0, classify=False)
    picked = choose(trials)
    assert trials[picked].mmd2_heldout < 0.7 * trials[0].mmd2_heldout
    assert 0.2 <= trials[picked].effective_share < 1
    assert choose(trials, 0.9) < picked
