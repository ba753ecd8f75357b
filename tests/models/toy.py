"""A small problem that every kind of model can learn, from the vectors and from the texts, and a tiny transformer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synalign.models.protocol import Examples, Inputs

#: Words of each label, and words that any text may have.
TOLD = (("refund", "broken", "late"), ("thanks", "lovely", "perfect"), ("where", "when", "which"))
PLAIN = ("the", "parcel", "is", "a", "my", "it", "came", "with", "and", "blue", "red", "box", "!!", "to", "shop")


def inputs(codes: np.ndarray, seed: int) -> Inputs:
    """Return records of these labels."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(len(codes), 6))
    vectors[np.arange(len(codes)), codes] += 4.0
    texts = []
    for code in codes:
        words = [*random.choice(PLAIN, 4), random.choice(TOLD[code]), *random.choice(PLAIN, 2)]
        texts.append(" ".join(words))
    return Inputs(vectors.astype(np.float32), texts)


def examples(n: int, seed: int, labels: int = 3, weights: np.ndarray | None = None) -> Examples:
    """Return n records, as many of each label."""
    codes = np.arange(n) % labels
    return Examples(inputs(codes, seed), codes, np.ones(n) if weights is None else weights)


def rows(of: Examples, chosen: np.ndarray, weights: np.ndarray) -> Examples:
    """Return some of the examples, one as often as it is chosen, with these weights."""
    kept = Inputs(of.inputs.vectors[chosen], [of.inputs.texts[row] for row in chosen])
    return Examples(kept, of.labels[chosen], weights)


def save_tiny_bert(folder: Path) -> None:
    """Write a BERT of two layers with random weights, and a vocabulary of the words above."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = [*PLAIN, *(word for group in TOLD for word in group), "!"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(words)]
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(vocabulary)})
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=24,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
