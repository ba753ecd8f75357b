"""The settings of retrieval: how retrievers are trained, how documents are searched, and how that is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from synalign.config.base import CheckedFloat, CheckedInt, Metrics, Names, Numbers, Section

#: What a retriever may be trained on. `weighted` is synthetic queries by their current weights, and `frozen` nothing.
TrainedOn = Literal["frozen", "real", "synthetic", "weighted", "real+synthetic", "real+weighted"]


class RetrieverSettings(Section):
    """How a retriever is trained, and its documents are indexed."""

    on: TrainedOn = Field(
        default="real+weighted",
        description="What a retriever is trained on: frozen (nothing), real, synthetic, weighted, real+synthetic or "
        "real+weighted.",
    )
    share: Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = Field(
        default="auto",
        description="The share of all sample weight that synthetic queries get beside real ones; 'auto': chosen by "
        "cross-validation on the real ones.",
    )
    unknown: Literal["refuse", "leave_out"] = Field(
        default="refuse", description="What to do with records whose label is the id of no document."
    )
    dimensions: int | None = Field(
        default=None, ge=2, le=4096, description="Length of a retriever's vectors; unset: that of the embedder's."
    )
    epochs: int = Field(
        default=20,
        ge=1,
        le=10_000,
        description="Passes over the training queries; more are made if these come to fewer than 100 steps.",
    )
    batch: int = Field(default=256, ge=2, le=65_536, description="Queries in one training step.")
    learning_rate: float = Field(
        default=3e-3, gt=0, allow_inf_nan=False, description="Learning rate of the first step; it falls to 0."
    )
    temperature: float = Field(
        default=0.1,
        gt=0,
        allow_inf_nan=False,
        description="Divisor of cosine similarities in the loss; the smaller, the more only near misses count.",
    )
    penalty: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="How strongly the projection is held near the embedder's own.",
    )
    anchor: float = Field(
        default=0.3,
        ge=0,
        allow_inf_nan=False,
        description="Weight of an extra loss in which each document is a query for itself, so that documents without "
        "a training query can still be found.",
    )
    unasked: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="How much documents that no query is of count among the wrong answers, more where they are drawn.",
    )
    hard_negatives: int = Field(
        default=2,
        ge=0,
        le=100,
        description="Hard negatives of each query: the nearest documents that do not answer it.",
    )
    device: str = Field(default="cpu", min_length=1, description="Device to train on, as torch names it: cpu, cuda.")
    index_from: int = Field(
        default=5_000,
        ge=1,
        description="Number of documents from which an index is built; with fewer, all are compared with a query.",
    )
    index: Literal["ivf_flat", "ivf_pq", "ivf_hnsw", "none"] = Field(
        default="ivf_flat", description="The index: ivf_flat, ivf_pq (small), ivf_hnsw (graphs in partitions), or none."
    )
    index_recall: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="Share of the ten best documents that a search through the index is to find.",
    )


class Retrieve(RetrieverSettings):
    """Retrieval: labels are the ids of documents, and records are queries for them."""

    kept: int = Field(default=20, ge=1, le=100, description="Documents of each test query that `rankings` keeps.")
    shown: int = Field(
        default=600, ge=20, description="Characters of a document that a prompt shows; longer ones are cut at a word."
    )


class TrainRetrieverRequest(RetrieverSettings):
    """Train a retriever, and index the documents as it sees them.

    Raises:
        NotReadyError: without documents, or the queries or weights to train on.
        InputError: if records have labels that are no document's id.
        UsageError: if the name is empty.
        ConfigError: if a setting is not allowed.
    """

    section = "retrieve"
    name: str | None = Field(
        default=None,
        description="Name of the retriever; unset: what it is trained on. Training under a name again replaces it.",
    )


class EvaluateRetrieversRequest(Section):
    """Rank the documents for the test queries, and compare retrievers.

    Retrievers are compared query by query, with intervals. The relations `retrieval_summary` and `rankings` hold what
    was found.

    Raises:
        NotReadyError: if there are no documents, retrievers or test queries.
        UsageError: for a retriever that is not there, a k below 1, or test queries that are training texts.
        InputError: if records have labels that are no document's id.
    """

    names: Names | None = Field(default=None, description="Retrievers to evaluate; unset: all.")
    k: Numbers | None = Field(default=None, description="Ranks at which recall is given; unset: 1, 5, 10 and 100.")
    baseline: str | None = Field(
        default=None,
        description="Retriever that the others are compared with; unset: a frozen one if there is one, else the first.",
    )
    allow_overlap: bool = Field(default=False, description="Go on though test queries are training texts, too.")


class AbRequest(Section):
    """Compare two retrievers offline, by simulated clicks.

    Their newest rankings of the same queries are interleaved, simulated users click, and a sequential test says which
    one wins; it may be looked at after every query. The result is a row of `comparisons`.

    Raises:
        UsageError: if a value is out of range, both retrievers are one, or one has no rankings.
        NotReadyError: if there are no rankings, or no query that both ranked.
    """

    queries: str = Field(default="test", description="The split whose records are the queries.")
    click_model: str = Field(
        default="navigational", description="How users click: perfect, navigational, informational or random."
    )
    depth: CheckedInt = Field(default=10, description="Documents that a user is shown at most.")
    passes: CheckedInt = Field(
        default=1,
        description="1 asks every query once, and the result holds for queries like these; more draw from the queries "
        "with repetition, and the result holds for these very queries.",
    )
    shared: bool = Field(
        default=False,
        description="Count clicks on the documents at the top that both rank alike; they add noise only.",
    )
    alpha: CheckedFloat = Field(default=0.05, description="Probability of a false alarm, at most, whenever one looks.")
    power: CheckedFloat = Field(
        default=0.8, description="Probability with which the smallest lift that matters is seen."
    )
    min_lift: CheckedFloat = Field(
        default=0.02, description="Win rate above one half that matters: 0.02 stands for 52%."
    )
    seed: int | None = Field(
        default=None, description="Seed of the coins, the clicks and the order; unset: made from the configuration's."
    )


class AnalyseExperimentRequest(Section):
    """Analyse the log of a real experiment.

    The unit is the user. For each metric and arm: the lift over the control with its interval, corrected for the
    number of comparisons. What is found is written to the relation `experiments`, the log is not. The source is a
    Parquet, CSV or JSON Lines file, a folder of Parquet files, a frame, a DuckDB file, or what else `attach` takes.

    Raises:
        UsageError: if a column or an arm does not exist, or a value is not allowed.
        AttachmentError: if the source cannot be read.
        InputError: if the log does not hold what the analysis needs; the message says what. Nothing is written.
    """

    metrics: Metrics = Field(
        description="Columns, or names for them: {'orders': 'orders', 'ctr': ('clicks', 'impressions')}: a mean over "
        "users of what a column adds up to, or the ratio of two sums."
    )
    query: str | None = Field(
        default=None, description="SQL to run over the source; a file or a frame is called `log` in it."
    )
    experiment: str | None = Field(
        default=None, description="The experiment to analyse, where the log has a column `experiment`."
    )
    user: str = Field(default="user_id", description="Column of the user, the unit of the analysis.")
    arm: str = Field(default="arm", description="Column of the arm that the user was assigned to.")
    control: str = Field(default="A", description="The arm that the others are compared with.")
    alpha: CheckedFloat = Field(default=0.05, description="Probability of a false alarm, at most.")
    correction: str = Field(
        default="holm",
        description="Correction for several comparisons: holm (for any false alarm), bh (for their share), or none.",
    )
    time: str | None = Field(default=None, description="Column of an event's time, which says how long the log is.")
    shares: Mapping[str, float] | None = Field(
        default=None, description="Shares of the users that were to come into each arm; unset: equal ones."
    )
    crossed: str = Field(
        default="refuse", description="Users seen in two arms: refuse to analyse, or drop (leave them out)."
    )
