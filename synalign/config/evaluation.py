"""The settings of `evaluate`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from synalign.config.base import Section

Count = Annotated[int, Field(ge=1)]


class Evaluate(Section):
    """Whether the synthetic records help: what is trained, how often, and on how much."""

    model: str = Field(
        "logistic",
        min_length=1,
        description="What is trained: 'logistic' on embeddings, 'tfidf', 'network', or 'transformers/NAME_OR_PATH'.",
    )
    settings: dict[str, int | float | bool | str] = Field(
        default_factory=dict, description="Settings of the model, such as epochs of a network."
    )
    seeds: int = Field(5, ge=2, le=1000, description="How often all is drawn and trained; intervals are over these.")
    real: Count | None = Field(
        None, description="Real training records in each draw; unset: train_share of those there are."
    )
    synthetic: Count | None = Field(None, description="Synthetic records in each draw; unset: train_share of them.")
    train_share: float = Field(
        0.8, gt=0, le=1, description="Share of the records of each side that a draw takes; 1: all, the same each time."
    )
    methods: tuple[str, ...] = Field((), description="Rows of the table; empty: all.")
    sizes: tuple[Count, ...] = Field(
        (50, 100, 300, 1000), min_length=1, description="Real records of the learning curve; all of them come on top."
    )
    overlap: Literal["refuse", "drop", "keep"] = Field(
        "refuse",
        description="Test records whose text is also trained on: refuse to evaluate, drop them, or keep them.",
    )
