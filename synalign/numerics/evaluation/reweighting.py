"""The ways to weight synthetic records that an ablation compares: what `align` learns, and what others do.

- unweighted: as they came.
- weighted: what `align` learns, at the strength and label shares that were chosen
  (`synalign.numerics.alignment.strength`).
- resampled: a draw by those weights, as many as there are records, which is how the SynAlign paper (arXiv 2502.08661,
  section 3.4) uses its weights; a record that is drawn twice counts twice.
- random: as many records as those weights are worth, drawn evenly: what remains if weights only made the set smaller.
- paper: the paper's own objective, label by label: the distance of means under linear random projections, no label
  quality, next to no entropy (eps 1e-3); used by a draw, too.
- quality: each record by the probability of its label under a classifier of the real records.
- importance: the importance loss of "Not All LLM-Generated Data Are Equal" (arXiv 2410.21526), a fixed factor on the
  loss of each record: the probability of its label under a classifier of the real records over that under one of the
  synthetic records.
- dsir: Data Selection with Importance Resampling (Xie et al., NeurIPS 2023, arXiv 2302.03169): importance weights on
  bags of hashed unigrams and bigrams, resampled without replacement by Gumbel top-k; as many records as the weights of
  `weighted` are worth, label by label, in the shares that they came in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synalign.numerics.alignment.dual import effective_size
from synalign.numerics.alignment.strength import Candidate, Labelled, Weightings, stratum_blocks
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.features import FeatureMap
from synalign.numerics.core.label_quality import label_quality
from synalign.numerics.statistics.two_sample import resample

WAYS = ("unweighted", "random", "weighted", "resampled", "paper", "quality", "importance", "dsir")

#: The paper's objective has no entropy: next to none is left here. Kept are the label shares that came.
PAPER = Candidate(1e-3, False, "kept")

#: Label quality alone.
QUALITY = Candidate(math.inf, True, "kept")

#: Buckets of DSIR's n-grams, as in its paper, and what is added to the count of each.
BUCKETS, SMOOTHING = 10_000, 1.0


def hashed_ngrams(texts: Sequence[str]) -> Any:
    """Return counts of hashed unigrams and bigrams, a scipy CSR matrix float64 [n, BUCKETS]."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        token_pattern=r"\w+|[^\w\s]+", ngram_range=(1, 2), n_features=BUCKETS, norm=None, alternate_sign=False
    )
    return hashing.transform(texts)


@dataclass(frozen=True)
class Corpus:
    """n records of one side: `records`, with counts of hashed n-grams, [n, BUCKETS], from `hashed_ngrams`."""

    records: Labelled
    ngrams: Any

    def __len__(self) -> int:
        """The number of records."""
        return len(self.records)

    def take(self, rows: np.ndarray) -> Corpus:
        """Return some of the records."""
        return Corpus(self.records.take(rows), self.ngrams[rows])


@dataclass(frozen=True)
class Maps:
    """What does not depend on the real records at hand: the feature map of `weighted`, that of `paper`, and the
    features of the synthetic records of each stratum under both, from `stratum_blocks`; and `belief`, float64 [m]: the
    probability of each synthetic label under a classifier of the synthetic records themselves."""

    features: FeatureMap
    linear: FeatureMap
    blocks: Sequence[FeatureBlocks | None]
    linear_blocks: Sequence[FeatureBlocks | None]
    belief: np.ndarray

    @classmethod
    def of(cls, features: FeatureMap, linear: FeatureMap, real: Labelled, synthetic: Labelled, seed: int) -> Maps:
        """Prepare for synthetic records; `real` says only what strata there are."""
        own = label_quality(
            synthetic.vectors, synthetic.labels, synthetic.weights, synthetic.vectors, synthetic.labels, seed
        )
        blocks, linear_blocks = (stratum_blocks(each, real, synthetic) for each in (features, linear))
        return cls(features, linear, blocks, linear_blocks, own.probability)


class Reweighting:
    """The weights of synthetic records, each way, fitted to one set of real records. Each is computed once."""

    def __init__(
        self,
        maps: Maps,
        real: Corpus,
        synthetic: Corpus,
        chosen: Candidate,
        seed: int,
        given: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Prepare to fit.

        Args:
            maps: for these synthetic records.
            real: the records to fit to; all have a stratum.
            synthetic: the records to weight.
            chosen: of the way `weighted`.
            seed: of what is drawn.
            given: weights that stand already, float64 [m] each, by the names of further ways.
        """
        self._given = given or {}
        self._real, self._synthetic, self._maps, self._chosen, self._seed = real, synthetic, maps, chosen, seed
        train, records = real.records, synthetic.records
        self._fits = Weightings(maps.features, train, records, seed, blocks=maps.blocks)
        self._linear = Weightings(maps.linear, train, records, seed, blocks=maps.linear_blocks)
        self._known: dict[Candidate, np.ndarray] = {}

    def weights(self, way: str) -> np.ndarray:
        """Return the weights of the synthetic records one way, of WAYS or given, float64 [m], sum 1. Where a way gives
        weight to none, they are taken as they came."""
        found = self._given[way] if way in self._given else getattr(self, f"_{way}")()
        total = found.sum()
        if not total > 0:
            found, total = self._synthetic.records.weights, self._synthetic.records.weights.sum()
        result: np.ndarray = found / total
        return result

    def by(self, candidate: Candidate) -> np.ndarray:
        """Return the weights that `align` learns by a candidate, float64 [m], sum 1."""
        if candidate not in self._known:
            self._known[candidate] = self._fits.weights(candidate)[0]
        return self._known[candidate]

    def _unweighted(self) -> np.ndarray:
        return self._synthetic.records.weights

    def _weighted(self) -> np.ndarray:
        return self.by(self._chosen)

    def _resampled(self) -> np.ndarray:
        return self._drawn(self._weighted())

    def _random(self) -> np.ndarray:
        records = self._synthetic.records
        random = np.random.default_rng(self._seed)
        drawn = random.choice(len(records), self._worth(), replace=False)
        found = np.zeros(len(records))
        found[drawn] = records.weights[drawn]
        return found

    def _paper(self) -> np.ndarray:
        return self._drawn(self._linear.weights(PAPER)[0])

    def _quality(self) -> np.ndarray:
        return self.by(QUALITY)

    def _importance(self) -> np.ndarray:
        return self._fits.base(True) / self._maps.belief

    def _dsir(self) -> np.ndarray:
        records, train = self._synthetic.records, self._real.records
        random = np.random.default_rng(self._seed)
        found = np.zeros(len(records))
        for stratum in np.unique(records.strata):
            rows = np.flatnonzero(records.strata == stratum)
            count = min(len(rows), max(1, round(self._worth() * len(rows) / len(records))))
            target = np.flatnonzero(train.strata == stratum)
            keys = random.gumbel(size=len(rows))
            if len(target):
                keys += self._log_ratio(target, rows)
            drawn = rows[np.argsort(-keys, kind="stable")[:count]]
            found[drawn] = records.weights[drawn]
        return found

    def _log_ratio(self, target: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return log p_real(x) - log p_synthetic(x) under the two bags of hashed n-grams, float64 [rows]."""
        counts = self._synthetic.ngrams[rows]
        logs = []
        for bag, weights in (
            (self._real.ngrams[target], self._real.records.weights[target]),
            (counts, self._synthetic.records.weights[rows]),
        ):
            sums = np.asarray(bag.T @ weights).ravel() + SMOOTHING
            logs.append(np.log(sums / sums.sum()))
        found: np.ndarray = counts @ (logs[0] - logs[1])
        return found

    def _worth(self) -> int:
        """Return how many records the weights of `weighted` are worth."""
        return max(1, round(effective_size(self._weighted())))

    def _drawn(self, weights: np.ndarray) -> np.ndarray:
        return np.bincount(resample(weights, len(weights), self._seed), minlength=len(weights)).astype(np.float64)
