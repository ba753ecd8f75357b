from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign.errors import NumericsError
from synalign.numerics.core.lsa import MAX_FIT_TEXTS, Lsa, fit_lsa
from synalign.numerics.selection.kernels import median_distance
from synalign.numerics.statistics.mmd import mmd2

DATA = Path(__file__).parents[4] / "shared" / "data"

TEXTS = [
    f"{opening} {thing} {verdict}"
    for opening in ("the", "a truly", "this long")
    for thing in ("film", "soundtrack", "battery", "phone camera")
    for verdict in ("is great", "was dull and slow", "works well", "broke within a week")
]

ODD = [
    "",
    " ",
    "\n\t",
    "a",
    "!",
    "é",
    "🙂",
    "👩‍👩‍👧 💔",
    "我爱你",
    "愛",
    "مرحبا بالعالم",
    "กขค",
    "x" * 5000,
    "\ud800",
    "0",
]


@pytest.fixture(scope="module")
def model() -> Lsa:
    return fit_lsa(TEXTS, 16, seed=0)


def _texts(name: str) -> list[str]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the shared data is absent: {path}")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def test_vectors_are_units_and_alike_texts_are_near(model: Lsa) -> None:
    vectors = model.transform([*TEXTS, "the film was great", "my phone camera broke within days"])
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(TEXTS) + 2, model.dimensions))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    nearest = np.argmax(vectors[-2:] @ vectors[:-2].T, axis=1)
    assert "film is great" in TEXTS[nearest[0]]
    assert "phone camera broke" in TEXTS[nearest[1]]


def test_components_are_orthonormal_and_all_of_them_do_not_depend_on_the_seed(model: Lsa) -> None:
    gram = model.components @ model.components.T
    np.testing.assert_allclose(gram, np.eye(model.dimensions), atol=1e-4)
    # All dimensions that these texts carry: cosines of vectors are then those of the TF-IDF rows themselves.
    full = fit_lsa(TEXTS, 256, seed=1)
    assert full.dimensions <= len(TEXTS)
    assert fit_lsa(TEXTS, 256, seed=2).dimensions == full.dimensions
    np.testing.assert_allclose(
        full.transform(TEXTS) @ full.transform(TEXTS).T,
        (other := fit_lsa(TEXTS, 256, seed=2).transform(TEXTS)) @ other.T,
        atol=1e-4,
    )


def test_a_vector_does_not_depend_on_the_batch(model: Lsa) -> None:
    texts = [*TEXTS, *ODD]
    whole = model.transform(texts)
    order = np.random.default_rng(0).permutation(len(texts))
    np.testing.assert_array_equal(model.transform([texts[row] for row in order]), whole[order])
    np.testing.assert_array_equal(np.concatenate([model.transform([text]) for text in texts]), whole)


def test_no_text_has_a_zero_vector_and_unknown_ones_are_not_near_each_other(model: Lsa) -> None:
    vectors = model.transform(ODD)
    assert np.all(np.isfinite(vectors))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    unknown = model.transform([f"zqx{n}w" for n in range(40)])
    cosines = unknown @ unknown.T
    assert abs(cosines[np.triu_indices(40, 1)].mean()) < 0.1


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
def test_any_text_has_a_unit_vector(texts: list[str]) -> None:
    fitted = fit_lsa([*texts, "one token"], 8)
    vectors = fitted.transform(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("texts", [["a"], ["我"], ["🙂", "🙂"], ["", "x"], ["same words here"] * 9])
def test_tiny_corpora(texts: list[str]) -> None:
    fitted = fit_lsa(texts)
    assert 1 <= fitted.dimensions <= len(texts)
    np.testing.assert_allclose(np.linalg.norm(fitted.transform(texts), axis=1), 1.0, rtol=1e-5)


def test_scripts_without_spaces_are_compared_by_their_signs() -> None:
    texts = ["我喜欢这部电影", "我不喜欢这部电影", "手机电池坏了", "手机电池很好", "电影很好", "电池坏了"] * 3
    vectors = fit_lsa(texts, 8).transform(["这部电影我喜欢", "我喜欢这部电影", "手机电池坏了"])
    assert vectors[0] @ vectors[1] > 0.8
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3


def test_weights_count_as_copies() -> None:
    # Only the SVD is weighted: the texts appear, and therefore idf and columns are, the same in both fits.
    weights = np.ones(len(TEXTS))
    weights[:4] = 50.0
    plain, weighted = fit_lsa(TEXTS, 4), fit_lsa(TEXTS, 4, weights=weights)
    np.testing.assert_array_equal(plain.columns, weighted.columns)

    def kept(fitted: Lsa) -> float:
        full = fit_lsa(TEXTS, 256)
        rows = full.transform(TEXTS[:4]) @ (full.components @ fitted.components.T)
        return float(np.sum(rows**2))

    assert kept(weighted) > kept(plain) + 0.1


def test_stored_models_are_the_same_models(model: Lsa) -> None:
    data = model.to_bytes()
    assert data == fit_lsa(TEXTS, 16, seed=0).to_bytes()
    for copy in (Lsa.from_bytes(data), Lsa.from_arrays(model.to_arrays())):
        np.testing.assert_array_equal(copy.transform(TEXTS[:9]), model.transform(TEXTS[:9]))
        assert copy.to_bytes() == data


def test_wrong_arguments_are_named(model: Lsa) -> None:
    with pytest.raises(NumericsError, match=f"from 1 to {MAX_FIT_TEXTS} texts; given: 0"):
        fit_lsa([])
    with pytest.raises(NumericsError, match=f"given: {MAX_FIT_TEXTS + 1}"):
        fit_lsa(["a"] * (MAX_FIT_TEXTS + 1))
    with pytest.raises(NumericsError, match="None of the 2 texts"):
        fit_lsa(["", "  "])
    with pytest.raises(NumericsError, match="entry 1 is of type NoneType"):
        fit_lsa(["a", None])  # type: ignore[list-item]
    with pytest.raises(NumericsError, match="one string"):
        model.transform("abc")
    with pytest.raises(NumericsError, match="weights"):
        fit_lsa(["a", "b"], weights=[-1, 1])
    with pytest.raises(NumericsError, match="no stored LSA model"):
        Lsa.from_bytes(b"junk")
    with pytest.raises(NumericsError, match="missing: idf"):
        Lsa.from_arrays({"columns": model.columns, "components": model.components})
    assert model.transform([]).shape == (0, model.dimensions)


@pytest.mark.parametrize("synthetic_count", [0, 5000])
@pytest.mark.parametrize(
    ("real_name", "synthetic_name"),
    [
        ("sst2/real_train.jsonl", "sst2/synthetic_fewgen.jsonl"),
        ("tweet_sentiment/real_train.jsonl", "tweet_sentiment/synthetic_gpt4.jsonl"),
    ],
)
def test_held_out_text_is_as_near_as_a_sample_can_be(real_name: str, synthetic_name: str, synthetic_count: int) -> None:
    real, synthetic = _texts(real_name), _texts(synthetic_name)
    distances, floors = [], []
    for seed in range(8 if synthetic_count == 0 else 3):
        random = np.random.default_rng(seed)
        drawn = [real[row] for row in random.choice(len(real), 1200, replace=False)]
        extra = [synthetic[row] for row in random.choice(len(synthetic), synthetic_count, replace=False)]
        fitted = fit_lsa(drawn[:300] + extra, seed=seed)
        known, first, second, third = np.split(fitted.transform(drawn), 4)
        bandwidth = median_distance(known, seed)
        distances += [mmd2(known, other, bandwidth, unbiased=False) for other in (first, second, third)]
        pairs = ((first, second), (first, third), (second, third))
        floors += [mmd2(one, other, bandwidth, unbiased=False) for one, other in pairs]
    assert np.mean(distances) <= 1.5 * np.mean(floors)
