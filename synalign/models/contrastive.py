"""The batches of a bi-encoder, and their loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from synalign.models.vectors import project

if TYPE_CHECKING:
    import torch

    from synalign.models.biencoder import Pairs, Settings

#: Documents up to which every one is in every softmax. Beyond, as many are drawn for each batch, and as many of those
#: that some pair has as its target.
ALL_DOCUMENTS = 512

#: Steps of a training at least. Few pairs alone, with their few batches, would otherwise be judged half trained beside
#: the same pairs and many synthetic ones.
MIN_STEPS = 100

#: Documents among which hard negatives are looked for, besides the targets: a sample by the seed where there are more.
MAX_MINED = 16_384


class Loss:
    """The weighted loss of one step, as a function of the two matrices."""

    def __init__(self, pairs: Pairs, documents: np.ndarray, settings: Settings, device: torch.device) -> None:
        self._pairs, self._documents, self._settings, self._device = pairs, documents, settings, device
        # Where documents are drawn, one counts for those that are not. But as its own self at most: with 100,000
        # documents, counting them all took more from those that no pair was of than it gave to the others.
        count = min(1.0, settings.unasked * max(1.0, len(documents) / ALL_DOCUMENTS))
        self._counts = np.full(len(documents), np.log(max(count, 1e-30)), dtype=np.float32)
        self._counts[pairs.targets] = 0.0

    def __call__(
        self,
        query_matrix: torch.Tensor,
        document_matrix: torch.Tensor,
        rows: np.ndarray,
        candidates: np.ndarray,
        anchors: np.ndarray,
    ) -> torch.Tensor:
        """Return the loss of some pairs among `candidates`, ascending rows of documents that hold all their targets.
        anchors: places in `candidates`."""
        from torch.nn.functional import cross_entropy, normalize

        sharpness = 1.0 / self._settings.temperature
        texts = self._tensor(self._documents[candidates])
        documents = normalize(texts @ document_matrix.T, dim=1).T * sharpness
        targets = self._tensor(np.searchsorted(candidates, self._pairs.targets[rows]))
        logits = normalize(self._tensor(self._pairs.queries[rows]) @ query_matrix.T, dim=1) @ documents
        each = cross_entropy(logits + self._tensor(self._counts[candidates]), targets, reduction="none")
        loss = (each * self._tensor(self._pairs.weights[rows].astype(np.float32))).mean()
        if not self._settings.anchor:
            return loss
        places = self._tensor(anchors)
        own = normalize(texts[places] @ query_matrix.T, dim=1) @ documents
        return loss + self._settings.anchor * cross_entropy(own, places)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        import torch

        # Indexing has copied it: what a caller cannot write to, torch would warn of.
        return torch.from_numpy(array).to(self._device)


def count_steps(pairs: int, settings: Settings) -> int:
    """Return how many steps a training on so many pairs has: whole passes over them."""
    batches = math.ceil(pairs / settings.batch)
    return batches * max(settings.epochs, math.ceil(MIN_STEPS / batches))


def steps(
    pairs: Pairs, documents: np.ndarray, start: np.ndarray, settings: Settings, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield for each step rows of the pairs, ascending rows of the documents in its softmax, and places in these of
    documents that stand as queries for themselves."""
    random = np.random.default_rng(seed)
    everything = np.arange(len(documents))
    asked = np.unique(pairs.targets)
    every = len(documents) <= ALL_DOCUMENTS
    mined = None if every else _mined(pairs, documents, start, settings.hard_negatives, random)
    batches = math.ceil(len(pairs) / settings.batch)
    for _ in range(count_steps(len(pairs), settings) // batches):
        for rows in np.array_split(random.permutation(len(pairs)), batches):
            candidates = everything
            if mined is not None:
                drawn = random.integers(len(documents), size=ALL_DOCUMENTS)
                others = asked if len(asked) <= ALL_DOCUMENTS else random.choice(asked, ALL_DOCUMENTS)
                candidates = np.unique(np.concatenate([pairs.targets[rows], mined[rows].ravel(), drawn, others]))
            anchors = np.arange(len(candidates))
            if len(anchors) > settings.batch:
                anchors = random.choice(anchors, settings.batch, replace=False)
            yield rows, candidates, anchors


def _mined(
    pairs: Pairs, documents: np.ndarray, start: np.ndarray, count: int, random: np.random.Generator
) -> np.ndarray:
    """Return for each query the `count` nearest documents that do not answer it, before training, int64 [n, count]."""
    import torch

    drawn = np.arange(len(documents))
    if len(drawn) > MAX_MINED:
        drawn = np.unique(np.concatenate([random.choice(drawn, MAX_MINED, replace=False), pairs.targets]))
    count = min(count, len(drawn) - 1)
    found = np.empty((len(pairs), count), dtype=np.int64)
    if not count:
        return found
    corpus = torch.from_numpy(project("documents", documents[drawn], start))
    queries = project("queries", pairs.queries, start)
    own = np.searchsorted(drawn, pairs.targets)
    step = max(1, 2**23 // len(drawn))
    for begin in range(0, len(pairs), step):
        here = slice(begin, begin + step)
        scores = torch.from_numpy(queries[here]) @ corpus.T
        scores[torch.arange(len(scores)), torch.from_numpy(own[here])] = -math.inf
        found[here] = drawn[scores.topk(count, dim=1).indices.numpy()]
    return found
