from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from synalign.numerics.alignment.dual import effective_size
from synalign.numerics.alignment.strength import UNWEIGHTED, Candidate, Labelled, Weightings
from synalign.numerics.core.features import RandomFeatures, RandomProjections
from synalign.numerics.core.label_quality import SHARPNESS, label_quality, root_mean_square
from synalign.numerics.evaluation.reweighting import PAPER, QUALITY, WAYS, Corpus, Maps, Reweighting, hashed_ngrams

CHOSEN = Candidate(1e-2, True, "kept")
WORDS = ("parcel", "late", "refund", "lamp", "broken", "thanks", "order", "money", "colour", "wrong")


@cache
def _corpora(seed: int = 0) -> tuple[Corpus, Corpus]:
    """Real records in two groups, and synthetic ones that have them in other shares, with texts to match."""
    random = np.random.default_rng(seed)
    found = []
    for count, share in ((120, 0.3), (400, 0.7)):
        labels = np.arange(count) % 2
        group = random.uniform(size=count) < share
        vectors = random.normal(size=(count, 6)) + 1.5 * np.eye(6)[labels] + 2.0 * np.eye(6)[2 + group.astype(int)]
        texts = [" ".join(random.choice(WORDS[:5] if here else WORDS[5:], size=6)) for here in group.tolist()]
        records = Labelled(vectors.astype(np.float32), np.ones(count), labels, labels)
        found.append(Corpus(records, hashed_ngrams(texts)))
    return found[0], found[1]


def _reweighting(real: Corpus, synthetic: Corpus, chosen: Candidate = CHOSEN, seed: int = 0) -> Reweighting:
    features = RandomFeatures.draw(6, 128, 3.0, 0)
    linear = RandomProjections.draw(6, 32, 0)
    maps = Maps.of(features, linear, real.records, synthetic.records, 0)
    return Reweighting(maps, real, synthetic, chosen, seed)


@pytest.mark.parametrize("way", WAYS)
def test_weights_are_a_distribution_and_the_same_each_time(way: str) -> None:
    real, synthetic = _corpora()
    found = _reweighting(real, synthetic).weights(way)
    assert found.shape == (400,)
    assert found.sum() == pytest.approx(1.0)
    assert (found >= 0).all()
    np.testing.assert_array_equal(found, _reweighting(real, synthetic).weights(way))


def test_weighted_is_what_align_learns_and_resampled_is_a_draw_by_it() -> None:
    real, synthetic = _corpora()
    ways = _reweighting(real, synthetic)
    features = RandomFeatures.draw(6, 128, 3.0, 0)
    learned, _ = Weightings(features, real.records, synthetic.records, 0).weights(CHOSEN)
    np.testing.assert_allclose(ways.weights("weighted"), learned, rtol=1e-9)
    copies = ways.weights("resampled") * 400
    np.testing.assert_allclose(copies, np.round(copies), atol=1e-9)
    assert np.all(np.abs(copies - 400 * learned) < 1)  # systematic: floor or ceiling of what is expected


def test_random_and_dsir_take_as_many_records_as_the_weights_are_worth() -> None:
    real, synthetic = _corpora()
    ways = _reweighting(real, synthetic)
    worth = effective_size(ways.weights("weighted"))
    assert (ways.weights("random") > 0).sum() == round(worth)
    assert abs((ways.weights("dsir") > 0).sum() - worth) <= 2  # label by label, rounded


def test_random_knows_nothing_and_dsir_takes_what_reads_like_real_text() -> None:
    real, synthetic = _corpora()
    first = synthetic.ngrams[:, hashed_ngrams([WORDS[0]]).indices[0]].toarray().ravel() > 0
    means = {"random": [], "dsir": []}
    for seed in range(12):
        ways = _reweighting(real, synthetic, seed=seed)
        for way, found in means.items():
            found.append(float(ways.weights(way)[first].sum()))
    raw = first.mean()
    assert np.mean(means["random"]) == pytest.approx(raw, abs=0.04)
    assert np.mean(means["dsir"]) < raw - 0.1  # the group of the word is 70% of the synthetic records, 30% of the real


def test_quality_is_the_probability_of_the_label_and_importance_is_over_the_synthetic_records_own() -> None:
    real, synthetic = _corpora()
    ways = _reweighting(real, synthetic)
    train, records = real.records, synthetic.records
    believed = label_quality(train.vectors, train.labels, None, records.vectors, records.labels, 0).probability
    np.testing.assert_allclose(ways.weights("quality"), believed / believed.sum(), rtol=1e-9)
    # The same by scikit-learn alone, from the definition in the paper.
    scale = [root_mean_square(side.vectors) for side in (train, records)]
    odds = []
    for side, length in zip((train, records), scale, strict=True):
        model = LogisticRegression(C=SHARPNESS, solver="newton-cholesky", tol=1e-6)
        model.fit(side.vectors / length, side.labels)
        odds.append(model.predict_proba(records.vectors / length)[np.arange(400), records.labels])
    expected = odds[0] / odds[1]
    # Classifiers stop a little early, and a ratio of small numbers shows it.
    np.testing.assert_allclose(ways.weights("importance"), expected / expected.sum(), rtol=0.15)


def test_paper_matches_means_label_by_label() -> None:
    real, synthetic = _corpora()
    found = _reweighting(real, synthetic).weights("paper")
    for label in (0, 1):
        rows = synthetic.records.labels == label
        target = real.records.vectors[real.records.labels == label].mean(axis=0)
        part = found * rows
        after = np.linalg.norm((part @ synthetic.records.vectors) / part.sum() - target)
        before = np.linalg.norm(synthetic.records.vectors[rows].mean(axis=0) - target)
        assert after < before / 3
    assert (PAPER.quality, PAPER.shares) == (False, "kept")


def test_unweighted_follows_multiplicities_and_given_weights_are_taken_as_they_are() -> None:
    real, synthetic = _corpora()
    records = synthetic.records
    amounts = np.where(np.arange(400) < 10, 3.0, 1.0)
    heavy = Corpus(Labelled(records.vectors, amounts, records.strata, records.labels), synthetic.ngrams)
    np.testing.assert_allclose(_reweighting(real, heavy).weights("unweighted"), amounts / amounts.sum())
    features = RandomFeatures.draw(6, 128, 3.0, 0)
    maps = Maps.of(features, RandomProjections.draw(6, 32, 0), real.records, records, 0)
    own = np.arange(400.0)
    ways = Reweighting(maps, real, synthetic, CHOSEN, 0, {"mine": own, "none": np.zeros(400)})
    np.testing.assert_allclose(ways.weights("mine"), own / own.sum())
    np.testing.assert_allclose(ways.weights("none"), 1 / 400)  # as they came


def test_without_a_pull_the_weights_are_the_base_measure() -> None:
    real, synthetic = _corpora()
    ways = _reweighting(real, synthetic, UNWEIGHTED)
    np.testing.assert_allclose(ways.weights("weighted"), 1 / 400)
    assert (ways.weights("random") > 0).all()
    assert math.isinf(QUALITY.eps)


def test_ngrams_are_hashed_counts_of_words_and_pairs() -> None:
    once, twice = hashed_ngrams(["parcel"]), hashed_ngrams(["parcel late parcel"])
    assert once.sum() == 1
    assert twice.sum() == 5  # three words, two pairs
    assert twice[0, once.indices[0]] == 2
