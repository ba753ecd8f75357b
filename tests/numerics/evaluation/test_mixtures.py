from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign.errors import NumericsError
from synalign.numerics.alignment.strength import UNWEIGHTED, Candidate, Labelled, candidates
from synalign.numerics.core.features import RandomFeatures, RandomProjections
from synalign.numerics.evaluation import mixtures as module
from synalign.numerics.evaluation.mixtures import METHODS, SHARES, Data, Kernels, Method, Mixture, mixture, mixtures
from synalign.numerics.evaluation.reweighting import Corpus, hashed_ngrams

KERNELS = Kernels(RandomFeatures.draw(6, 64, 3.0, 0), RandomProjections.draw(6, 32, 0))
TRIED = candidates(True, ["kept"], (np.inf, 1e-2))


def _corpus(count: int, noise: float, seed: int, wrong: float = 0.0, scale: float = 1.0) -> Corpus:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    vectors = scale * np.eye(6)[labels] + noise * random.normal(size=(count, 6))
    said = np.where(random.uniform(size=count) < wrong, 1 - labels, labels)
    records = Labelled(vectors.astype(np.float32), np.ones(count), said, said)
    return Corpus(records, hashed_ngrams([f"text {row % 7}" for row in range(count)]))


def _made(real: Corpus, synthetic: Corpus, methods: tuple[Method, ...] = METHODS, seed: int = 0) -> dict[str, Mixture]:
    found = mixtures(KERNELS, Data(real, synthetic, 2), methods, TRIED, seed)
    return {mixed.method: mixed for mixed in found}


@settings(max_examples=50, deadline=None)
@given(
    real=st.lists(st.floats(0.1, 10), min_size=1, max_size=20),
    synthetic=st.lists(st.floats(0.1, 10), min_size=1, max_size=20),
    share=st.sampled_from([0.0, 1.0]) | st.floats(1e-6, 1),
)
def test_a_mixture_sums_to_its_effective_number_in_the_share_asked_for(
    real: list[float], synthetic: list[float], share: float
) -> None:
    mixed = mixture("", np.array(real), np.array(synthetic), share)
    both = np.concatenate([mixed.real, mixed.synthetic])
    assert both.sum() == pytest.approx(both.sum() ** 2 / (both**2).sum())
    assert mixed.synthetic.sum() == pytest.approx(share * both.sum())
    assert both.sum() <= len(both) + 1e-9
    np.testing.assert_allclose(mixed.real * np.array(real)[0], np.array(real) * mixed.real[0])


def test_real_alone_counts_each_record_as_one() -> None:
    mixed = mixture("", np.ones(7), np.ones(9), 0.0)
    np.testing.assert_allclose(mixed.real, 1.0)
    assert (mixed.synthetic == 0).all()
    assert mixed.effective_size == 0


def test_every_method_trains_on_what_it_says() -> None:
    made = _made(_corpus(60, 1.0, 0), _corpus(300, 1.0, 1))
    assert list(made) == [method.name for method in METHODS]
    assert made["real"].synthetic.sum() == 0
    for name in ("synthetic", "weighted"):
        assert made[name].real.sum() == 0
        assert made[name].share == 1
    assert all(mixed.share in SHARES for name, mixed in made.items() if name.startswith("real"))
    assert made["weighted"].candidate != UNWEIGHTED
    assert [name for name, mixed in made.items() if mixed.candidate is not None] == ["weighted", "real+weighted"]


def test_good_synthetic_records_get_a_share_and_bad_ones_none() -> None:
    plain = (Method("mix", True, "unweighted"),)
    real = _corpus(40, 1.5, 0)
    assert _made(real, _corpus(600, 1.5, 1), plain)["mix"].share >= 0.5
    # Labels that are drawn by lot in a corpus of another shape teach nothing.
    assert _made(_corpus(200, 0.5, 0), _corpus(600, 0.5, 1, wrong=1.0, scale=2.0), plain)["mix"].share == 0.0


def test_the_choice_knows_nothing_of_what_it_is_judged_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each fold, weights are fitted to the other folds alone, and each record is judged once."""
    real, synthetic = _corpus(50, 1.0, 0), _corpus(80, 1.0, 1)
    seen: list[tuple[int, int]] = []
    judged = module._Fold.judge

    def recorded(fold: module._Fold, job: module._Job) -> object:
        held = {row.tobytes() for row in (fold.held * 1.0).astype(np.float32)}
        known = {row.tobytes() for row in fold.vectors.astype(np.float32)}
        assert not held & known
        if job.share == 0:
            seen.append((len(fold.held), len(fold.real)))
        return judged(fold, job)

    fitted: list[int] = []
    original = module.Reweighting.__init__

    def fit(self: object, maps: object, to: Corpus, *rest: object) -> None:
        fitted.append(len(to))
        original(self, maps, to, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module._Fold, "judge", recorded)
    monkeypatch.setattr(module.Reweighting, "__init__", fit)
    _made(real, synthetic, (Method("mix", True, "quality"),))
    assert seen == [(10, 40)] * 5
    assert fitted == [40] * 5 + [50]


def test_records_that_no_synthetic_one_matches_are_trained_on_and_not_fitted_to() -> None:
    real, synthetic = _corpus(60, 1.0, 0), _corpus(100, 1.0, 1)
    records = real.records
    strata = np.where(np.arange(60) < 10, -1, records.strata)
    apart = Corpus(Labelled(records.vectors, records.weights, strata, records.labels), real.ngrams)
    data = Data(apart, synthetic, 2)
    assert len(data.matched()) == 50
    assert len(data.matched(np.arange(15))) == 5
    made = {mixed.method: mixed for mixed in mixtures(KERNELS, data, METHODS, TRIED, 0)}
    assert (made["real+weighted"].real[:10] > 0).all() or made["real+weighted"].share == 1


def test_given_weights_are_a_way() -> None:
    real, synthetic = _corpus(40, 1.5, 0), _corpus(300, 1.5, 1)
    own = np.where(np.arange(300) < 150, 1.0, 0.0)
    data = Data(real, synthetic, 2, {"mine": own})
    (found,) = mixtures(KERNELS, data, [Method("real+mine", True, "mine")], TRIED, 0)
    assert found.share > 0
    assert (found.synthetic[150:] == 0).all()
    assert found.effective_size == pytest.approx(150)


def test_many_records_are_chosen_by_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REAL", 30)
    monkeypatch.setattr(module, "MAX_SYNTHETIC", 50)
    data = Data(_corpus(60, 1.0, 0), _corpus(100, 1.0, 1), 2, {"mine": np.arange(100.0)})
    few = data.some(0)
    assert (len(few.real), len(few.synthetic), len(few.given["mine"])) == (30, 50, 50)
    (found,) = mixtures(KERNELS, data, [Method("mix", True, "weighted")], TRIED, 0)
    assert (len(found.real), len(found.synthetic)) == (60, 100)


def test_a_fixed_strength_is_not_compared() -> None:
    fixed = Candidate(1e-2, False, "real")
    data = Data(_corpus(40, 1.0, 0), _corpus(100, 1.0, 1), 2)
    (found,) = mixtures(KERNELS, data, [Method("weighted", False, "weighted")], [fixed], 0)
    assert found.candidate == fixed


@pytest.mark.parametrize("kind", ["few", "one label", "apart"])
def test_what_cannot_be_in_folds_is_refused(kind: str) -> None:
    real = _corpus(4 if kind == "few" else 20, 1.0, 0)
    records = real.records
    if kind == "one label":
        real = Corpus(Labelled(records.vectors, records.weights, records.strata, 0 * records.labels), real.ngrams)
    if kind == "apart":
        real = Corpus(Labelled(records.vectors, records.weights, 0 * records.strata - 1, records.labels), real.ngrams)
    with pytest.raises(NumericsError, match="5 folds"):
        mixtures(KERNELS, Data(real, _corpus(30, 1.0, 1), 2), METHODS, TRIED, 0)


def test_the_same_seed_gives_the_same_and_another_one_other_draws() -> None:
    real, synthetic = _corpus(40, 1.0, 0), _corpus(100, 1.0, 1)
    one, again, other = (_made(real, synthetic, seed=seed)["real+random"] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.synthetic, again.synthetic)
    assert (one.synthetic > 0).tolist() != (other.synthetic > 0).tolist() or one.share == 0
