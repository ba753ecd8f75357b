from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synalign.errors import NumericsError, UsageError
from synalign.models.finetune import FineTuning, TextPairs, fine_tune

WORDS = [f"word{number}" for number in range(24)]
DOCUMENTS = [f"topic{number}" for number in range(8)]
SETTINGS = FineTuning(epochs=12, batch=16, learning_rate=5e-3, temperature=0.1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a model of two small layers with random weights, which knows the words above."""
    library = pytest.importorskip("sentence_transformers", reason="the extra sentence-transformers is not installed")
    import torch
    from sentence_transformers import models
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *DOCUMENTS]))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        BertModel(BertConfig(vocab_size=5 + len(WORDS) + len(DOCUMENTS), **shape)).save_pretrained(folder / "bert")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    parts = [models.Transformer(str(folder / "bert")), models.Pooling(32)]
    library.SentenceTransformer(modules=parts).save(str(folder / "whole"), create_model_card=False)
    return str(folder / "whole")


def _pairs(seed: int, count: int) -> TextPairs:
    """Queries of three words, of which one in three tells the topic."""
    random = np.random.default_rng(seed)
    targets = np.arange(count) % 8
    texts = [" ".join(random.permutation([WORDS[target], *random.choice(WORDS[8:], 2)])) for target in targets]
    return TextPairs(texts, targets, np.ones(count))


def _right(found: object, pairs: TextPairs) -> float:
    scores = found.queries(pairs.queries) @ found.documents(DOCUMENTS).T  # type: ignore[attr-defined]
    return float((scores.argmax(axis=1) == pairs.targets).mean())


def test_a_model_learns_topics_and_is_kept(model: str, tmp_path: Path) -> None:
    import torch

    pairs, new = _pairs(0, 96), _pairs(1, 80)
    state = torch.get_rng_state()
    told: list[tuple[int, int]] = []
    found = fine_tune(model, pairs, DOCUMENTS, SETTINGS, 3, lambda done, total: told.append((done, total)))
    assert torch.equal(torch.get_rng_state(), state)
    assert told == [(done, 72) for done in range(73)]
    assert _right(found, new) > 0.8
    vectors = found.queries(new.queries)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    assert found.documents([]).shape == (0, 32)
    found.save(tmp_path / "kept")
    again = fine_tune(str(tmp_path / "kept"), pairs, DOCUMENTS, replace(SETTINGS, epochs=1, learning_rate=1e-12), 3)
    np.testing.assert_allclose(again.queries(new.queries), vectors, atol=1e-4)
    with pytest.raises(UsageError, match="not empty"):
        found.save(tmp_path / "kept")


def test_seed_and_weights(model: str) -> None:
    pairs = _pairs(0, 48)
    weights = np.random.default_rng(1).random(48)
    weights[::3] = 0.0
    kept = np.flatnonzero(weights > 0)
    short = replace(SETTINGS, epochs=1)
    first = fine_tune(model, replace(pairs, weights=weights), DOCUMENTS, short, 3).documents(DOCUMENTS)
    twice = fine_tune(model, replace(pairs, weights=2 * weights), DOCUMENTS, short, 3).documents(DOCUMENTS)
    np.testing.assert_array_equal(twice, first)
    other = fine_tune(model, replace(pairs, weights=weights), DOCUMENTS, short, 4).documents(DOCUMENTS)
    assert not np.allclose(other, first, atol=1e-6)
    # What has no weight is not even read.
    garbled = [text if row in kept else "word23 word23" for row, text in enumerate(pairs.queries)]
    again = fine_tune(model, TextPairs(garbled, pairs.targets, weights), DOCUMENTS, short, 3).documents(DOCUMENTS)
    np.testing.assert_array_equal(again, first)


def test_equal_documents_are_no_negatives_of_each_other(model: str) -> None:
    """All pairs of one text: there is nothing to tell apart, and no gradient but decay."""
    pairs = _pairs(0, 16)
    short = replace(SETTINGS, epochs=1)
    before = fine_tune(model, pairs, DOCUMENTS, replace(short, learning_rate=1e-12), 3).documents(DOCUMENTS)
    after = fine_tune(model, pairs, ["topic0"] * 8, short, 3).documents(DOCUMENTS)
    np.testing.assert_allclose(after, before, atol=2e-2)
    moved = fine_tune(model, pairs, DOCUMENTS, short, 3).documents(DOCUMENTS)
    assert np.abs(moved - before).max() > 0.1


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (TextPairs(["a"], np.array([8]), np.ones(1)), "pair 0 has 8"),
        (TextPairs(["a"], np.array([0]), np.zeros(1)), "above 0"),
        (TextPairs(["a"], np.array([0]), np.ones(2)), "a weight"),
        (TextPairs(["a"], np.array([0.0]), np.ones(1)), "whole number"),
    ],
)
def test_fine_tuning_refuses(pairs: TextPairs, said: str) -> None:
    with pytest.raises(NumericsError, match=said):
        fine_tune("nowhere", pairs, DOCUMENTS, SETTINGS, 1)


def test_there_is_no_such_model(tmp_path: Path) -> None:
    """With the extra or without it, the user is told what is missing."""
    with pytest.raises(UsageError, match=r"no sentence-transformers model|not installed"):
        fine_tune(str(tmp_path / "none"), _pairs(0, 8), DOCUMENTS, SETTINGS, 1)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch": 2.5}, {"learning_rate": 0.0}, {"temperature": -1.0}])
def test_settings_refuse(wrong: dict[str, float]) -> None:
    with pytest.raises(NumericsError, match=next(iter(wrong))):
        FineTuning(**wrong)  # type: ignore[arg-type]
