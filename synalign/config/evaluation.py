"""The settings of `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from synalign.config.base import CheckedInt, Counts, EmbedderName, Names, Section, WeightSetName

Count = Annotated[int, Field(ge=1)]
RealCount = Annotated[
    Count | None, Field(description="Real training records in each draw; unset: train_share of those there are.")
]
Sizes = Annotated[
    Counts,
    Field(
        min_length=1,
        description="Numbers of real records to train on, in the learning curve; all records are always added.",
    ),
]
#: The sizes of the learning curve by default.
SIZES = (50, 100, 300, 1000)


class TrainingSettings(Section):
    """What is trained to see whether the synthetic records help, how often, and on how much."""

    model: str = Field(
        default="logistic",
        min_length=1,
        description="What is trained: 'logistic' on embeddings, 'tfidf', 'network', or 'transformers/NAME_OR_PATH'.",
    )
    settings: Mapping[str, int | float | bool | str] = Field(
        default_factory=dict, description="Settings of the model, such as epochs of a network."
    )
    seeds: int = Field(
        default=5,
        ge=2,
        le=1000,
        description="Draws of training records, each with a model of its own; intervals are over these.",
    )
    synthetic: Count | None = Field(
        default=None, description="Synthetic records in each draw; unset: train_share of them."
    )
    train_share: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Share of the real and of the synthetic records that a draw takes; 1: all of them in each draw.",
    )
    methods: Names = Field(
        default=(), description="Methods to compare, such as real or weighted, as the relation lists them; empty: all."
    )
    overlap: Literal["refuse", "drop", "keep"] = Field(
        default="refuse",
        description="Test records whose text is also trained on: refuse to evaluate, drop them, or keep them.",
    )


class Evaluate(TrainingSettings):
    """Whether the synthetic records help: what is trained, how often, and on how much."""

    real: RealCount = None
    sizes: Sizes = SIZES


class LearningCurveRequest(TrainingSettings):
    """Measure how many real labels the synthetic records are worth.

    A model is trained on several numbers of real records, and on all of them, alone and with synthetic ones, and
    tested on the test split; the relation `learning_curve` is the table. `sizes` above the number of real records
    are left out. By default the methods are: real records alone, with synthetic ones as they come, and weighted.

    Raises:
        NotReadyError: without real, synthetic or test records, or labels of them.
        UsageError: for one label alone, too few records, a label that is in the test split only, test records whose
            text is trained on, or a method, model or setting that is not known.
        ModelError: if a model needs what is not installed or not there.
    """

    section = "evaluate"
    sizes: Sizes = SIZES
    embedder: EmbedderName = None


class EvaluateRequest(TrainingSettings):
    """Train on real, synthetic and mixed records, and compare on the test split.

    Each method is one choice of training records; the relation `ablation` is the table. How `weighted` is learned
    follows the section `align` of the configuration.

    Raises:
        NotReadyError: without real, synthetic or test records, or labels of them.
        UsageError: for one label alone, too few records, a label that is in the test split only, test records whose
            text is trained on, or a method, model or setting that is not known.
        ModelError: if a model needs what is not installed or not there.
    """

    real: RealCount = None
    embedder: EmbedderName = None


class TextQualityRequest(Section):
    """Compare real, raw and weighted texts.

    How varied they are, their form, how near they are to real text, and what of it they repeat. Raw are the synthetic
    texts as they came. The view `text_quality` shows the newest figures.

    Raises:
        NotReadyError: without real or synthetic records.
        UsageError: if the sample is too small, or there is no such weight set.
    """

    weight_set: WeightSetName = None
    sample: CheckedInt = Field(default=2_000, description="Texts of each kind that are looked at, at most.")
    seed: int | None = Field(default=None, description="Seed of what is drawn; unset: that of the configuration.")
