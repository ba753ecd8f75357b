"""Pairs of rankers of which it is known which one is better, as stores of rankings to draw queries from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synalign.numerics.evaluation.interleaving import CLICK_MODELS, ClickModel, compare


@dataclass(frozen=True)
class Pair:
    """Rankings of n queries by two rankers, int64 [n, 10], and the one relevant document of each query."""

    a: np.ndarray
    b: np.ndarray
    relevant: np.ndarray

    def outcomes(self, queries: int, model: ClickModel, seed: int, *, shared: bool = False) -> np.ndarray:
        """Who wins each of so many queries, drawn with return."""
        rows = np.random.default_rng(seed).integers(0, len(self.a), queries)
        return compare(self.a[rows], self.b[rows], self.relevant[rows], model, seed + 1, shared=shared)


def pair(better: float, queries: int = 20_000, depth: int = 10, seed: int = 0) -> Pair:
    """Both rankers put 40 documents in an order of scores: noise, and for the relevant one 1 more, for A's `better`
    more than that. With 0 the two are alike, though they do not rank alike."""
    random = np.random.default_rng(seed)
    relevant = random.integers(0, 40, queries)
    ranked = []
    for lift in (1 + better, 1.0):
        scores = random.normal(size=(queries, 40))
        scores[np.arange(queries), relevant] += lift
        ranked.append(np.argsort(-scores, axis=1)[:, :depth])
    return Pair(ranked[0], ranked[1], relevant)


NAVIGATIONAL = CLICK_MODELS["navigational"]
