"""The settings of retrieval: how retrievers are trained, how documents are searched, and how that is judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from synalign.config.base import Section

#: What a retriever may be trained on. `weighted` is synthetic queries by their current weights, and `frozen` nothing.
TrainedOn = Literal["frozen", "real", "synthetic", "weighted", "real+synthetic", "real+weighted"]


class Retrieve(Section):
    """Retrieval: labels are the ids of documents, and records are queries for them."""

    on: TrainedOn = Field(
        "real+weighted",
        description="What a retriever is trained on: frozen (nothing), real, synthetic, weighted, real+synthetic or "
        "real+weighted.",
    )
    share: Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = Field(
        "auto",
        description="The share of all sample weight that synthetic queries get beside real ones; 'auto': chosen by "
        "cross-validation on the real ones.",
    )
    unknown: Literal["refuse", "leave_out"] = Field(
        "refuse", description="What to do with records whose label is the id of no document."
    )
    dimensions: int | None = Field(
        None, ge=2, le=4096, description="Length of a retriever's vectors; unset: that of the embedder's."
    )
    epochs: int = Field(
        20, ge=1, le=10_000, description="Passes over the queries, more where these are fewer than 100 steps."
    )
    batch: int = Field(256, ge=2, le=65_536, description="Queries of one step.")
    learning_rate: float = Field(3e-3, gt=0, allow_inf_nan=False, description="Of the first step; it falls to 0.")
    temperature: float = Field(
        0.1, gt=0, allow_inf_nan=False, description="By which cosines are divided: small, and only near misses count."
    )
    penalty: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="How strongly the projection is held near the embedder's own."
    )
    anchor: float = Field(
        0.3,
        ge=0,
        allow_inf_nan=False,
        description="Weight of documents as queries for themselves: keeps those findable that no query is of.",
    )
    unasked: float = Field(
        0.1,
        ge=0,
        le=1,
        description="How much documents that no query is of count among the wrong answers, more where they are drawn.",
    )
    hard_negatives: int = Field(2, ge=0, le=100, description="Near misses of each query among the wrong answers.")
    device: str = Field("cpu", min_length=1, description="Where it is trained, as torch names it: cpu, cuda.")
    index_from: int = Field(
        5_000, ge=1, description="Documents from which an index is built; of fewer, all are compared."
    )
    index: Literal["ivf_flat", "ivf_pq", "ivf_hnsw", "none"] = Field(
        "ivf_flat", description="The index: ivf_flat, ivf_pq (small), ivf_hnsw (graphs in partitions), or none."
    )
    index_recall: float = Field(
        0.95, gt=0, le=1, description="Share of the ten best documents that a search through the index is to find."
    )
    kept: int = Field(20, ge=1, le=100, description="Documents of each test query that `rankings` keeps.")
    shown: int = Field(
        600, ge=20, description="Characters of a document that a prompt shows; longer ones are cut at a word."
    )
