"""Training data for any model, from real and weighted synthetic records: texts or vectors, labels, sample weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from synalign.errors import NotReadyError, UsageError
from synalign.numerics.core.mixing import sample_weights
from synalign.steps.core.context import Context
from synalign.steps.core.reading import records, require_real, vectors, weights_of
from synalign.steps.embedding.embed import named
from synalign.store.lake.schemas import REAL, SYNTHETIC

if TYPE_CHECKING:
    from torch.utils.data import Dataset


@dataclass(frozen=True)
class TrainingData:
    """n records to train on, real ones first, each side ordered by id.

    ids: n strings. origin: n of "real" or "synthetic". text: n strings. y: object [n], labels (None where there is
    none). sample_weight: float64 [n], mean 1. X: float32 [n, d], or None if only texts were asked for.
    """

    ids: list[str]
    origin: np.ndarray
    text: list[str]
    y: np.ndarray
    sample_weight: np.ndarray
    X: np.ndarray | None = None

    def __len__(self) -> int:
        """The number of records."""
        return len(self.ids)

    @property
    def effective_weight(self) -> np.ndarray:
        """The sample weights scaled to sum to their effective number, (sum w)^2 / sum w^2, float64 [n]. For a model
        that is regularised they are the better ones: with a mean of 1 it takes few real records that share the weight
        with many synthetic ones for many certain ones (docs/explanation/evaluation.md)."""
        found: np.ndarray = self.sample_weight * (self.sample_weight.sum() / np.square(self.sample_weight).sum())
        return found

    @property
    def classes(self) -> list[str]:
        """The labels there are, sorted."""
        return sorted({label for label in self.y if label is not None})

    def dataset(self) -> Dataset[dict[str, Any]]:
        """Return a torch Dataset, of the map style. An item is a dict: text, label (index into `classes`, -1 for none),
        sample_weight, and x, a float32 tensor [d], if there are vectors."""
        from synalign.steps.corpus.dataset import RecordDataset

        return RecordDataset(self)

    def __repr__(self) -> str:
        """The number of records of each side, and of labels."""
        shape = None if self.X is None else self.X.shape
        counts = ", ".join(f"{(self.origin == side).sum()} {side}" for side in (REAL, SYNTHETIC))
        return f"TrainingData({counts}; {len(self.classes)} classes; X {shape})"


def training_data(context: Context, *, with_vectors: bool, synthetic_share: float) -> TrainingData:
    """Return the real training records and the weighted synthetic ones.

    Where any record has a label, those without one are left out: there is nothing to train on in them.

    Args:
        with_vectors: whether to fill X, with the embedder that the weights were learned with.
        synthetic_share: the share of all sample weight that the synthetic records get, from 0 to 1.

    Raises:
        UsageError: for a share outside [0, 1].
        NotReadyError: if there are no weights.
    """
    if not 0 <= synthetic_share <= 1:
        raise UsageError(f"synthetic_share must be from 0 to 1, not {synthetic_share}.")
    run = context.journal.current("align")
    if run is None:
        raise NotReadyError("There are no weights yet. Run ws.align() ('synalign align DIR') first.")
    real = require_real(context).with_columns(pl.col("multiplicity").cast(pl.Float64).alias("amount"))
    weights = weights_of(context, run)
    synthetic = records(context, SYNTHETIC).join(weights.rename({"weight": "amount"}), on="id").sort("id")
    sides = [(REAL, real, 1 - synthetic_share), (SYNTHETIC, synthetic, synthetic_share)]
    if any(frame["label"].null_count() < frame.height for _, frame, _ in sides):
        sides = [(origin, frame.filter(pl.col("label").is_not_null()), share) for origin, frame, share in sides]
    used = [(origin, frame, share) for origin, frame, share in sides if share > 0 and frame.height]
    if not used:
        raise NotReadyError("No record is left to train on: the synthetic ones are excluded or have no label.")
    sample_weight = sample_weights(
        [frame["amount"].to_numpy() for _, frame, _ in used], [share for _, _, share in used]
    )
    matrix = None
    if with_vectors:
        name = named(context, run.parameters["embedder"]).name
        matrix = np.concatenate([vectors(context, name, origin, frame["id"]) for origin, frame, _ in used])
    both = pl.concat([frame.select("id", "text", "label") for _, frame, _ in used])
    return TrainingData(
        ids=both["id"].to_list(),
        origin=np.repeat([origin for origin, _, _ in used], [frame.height for _, frame, _ in used]),
        text=both["text"].to_list(),
        y=np.array(both["label"].to_list(), dtype=object),
        sample_weight=sample_weight,
        X=matrix,
    )
