"""The settings: frozen models, one section for each step. What is allowed, and what it means, stands in each field."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from synalign.config.base import Section
from synalign.config.evaluation import Evaluate
from synalign.config.retrieval import Retrieve

#: Kinds of personal data that can be found in text.
PersonalKind = Literal["email", "phone", "card", "iban", "national_id", "ip"]

#: What an attribute's value is: one of few short values, a number, or free text.
AttributeKind = Literal["category", "number", "text"]

#: The attributes that are stated by default.
ATTRIBUTES: dict[str, AttributeKind] = {
    "topic": "category",
    "intent": "category",
    "tone": "category",
    "register": "category",
    "structure": "category",
    "length": "number",
    "style": "text",
    "vocabulary": "text",
    "quirks": "text",
}

#: Kernels that an expression is made of.
KERNELS = ("rbf", "matern12", "matern32", "matern52")


class Task(Section):
    """What the text is, in words that the prompts show."""

    description: str = Field("", description="What one text is, e.g. 'a message from a customer to a shop'.")
    labels: dict[str, str] = Field(default_factory=dict, description="What each label in the data means.")
    language: str = Field("", description="The language to write in; empty: that of the demonstrations.")

    def meaning(self, label: str) -> str:
        """Return what prompts call a label: its name or meaning if one is configured, else the label itself."""
        return self.labels.get(label, label)


class Embed(Section):
    """Which encoder turns text into vectors."""

    model: str = Field(
        "builtin/lsa",
        description="'builtin/lsa', 'sentence-transformers/NAME_OR_PATH', or 'openai/MODEL' for an "
        "OpenAI-compatible embeddings endpoint.",
    )
    dimensions: int | None = Field(
        None,
        ge=2,
        le=4096,
        description="Vector length; unset: 256 for builtin/lsa, else the model's own. Not for sentence-transformers.",
    )
    base_url: str | None = Field(None, description="Address of the embeddings endpoint, for 'openai/...'.")
    api_key_env: str = Field("OPENAI_API_KEY", description="Environment variable that holds the key.")
    batch_size: int = Field(128, ge=1, le=2048, description="Texts in one request or one forward pass.")

    @field_validator("model")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        kinds = ("sentence-transformers/", "openai/")
        if value == "builtin/lsa" or any(value.startswith(kind) and len(value) > len(kind) for kind in kinds):
            return value
        raise ValueError(f"must be builtin/lsa, sentence-transformers/NAME or openai/MODEL, not {value!r}")


class Cluster(Section):
    """How real records are grouped before selection."""

    k: int | None = Field(None, ge=1, description="Number of clusters; unset: the square root of the record count.")
    by_label: bool = Field(False, description="Cluster each label by itself; k counts the clusters of all of them.")


class Select(Section):
    """Which clusters, and which records of them, the language model is shown."""

    budget: int | None = Field(
        None, ge=1, description="Selections to make in one round; unset: 32, or all units if fewer."
    )
    unit: Literal["cluster", "record"] = Field("cluster", description="What is picked.")
    demonstrations: int = Field(4, ge=1, le=50, description="Records shown for one selection.")
    show: Literal["spread", "nearest", "random"] = Field(
        "spread",
        description="Which records around a pick are shown: far from each other, nearest to it, or drawn by the seed.",
    )
    kernel: str = Field(
        "rbf",
        min_length=1,
        description="rbf, matern12, matern32, matern52, or sums and products of these: 'rbf + matern32*matern12'.",
    )
    length_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["median", "learned"] = Field(
        "median",
        description="A number; 'median': the median distance; 'learned': by marginal likelihood of the labels.",
    )
    ard: bool = Field(False, description="Learn a length scale for each dimension; with length_scale = 'learned'.")
    noise: float = Field(
        1e-2, gt=0, allow_inf_nan=False, description="Observation noise variance of the Gaussian process (prior: 1)."
    )
    beta: float = Field(
        1.0, ge=0, le=10, description="Score = variance * mass^beta; 0, as in the paper, does not look at mass."
    )
    label_shares: Literal["proportional", "average"] | dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = (
        Field("proportional", description="Shares of the labels: the real ones, equal ones, or given ones.")
    )
    min_per_label: int = Field(1, ge=0, description="Selections that each label gets at least.")
    min_variance: float | None = Field(
        None, gt=0, le=1, description="Stop before a pick whose variance is below this (prior: 1)."
    )
    min_gain: float | None = Field(
        None, gt=0, lt=1, description="Stop before a pick whose score is below this share of the round's first."
    )
    batch: int = Field(1, ge=1, description="Picks taken by the same variances; 1 takes each by what is left.")
    guide: Literal["none", "witness"] = Field(
        "none", description="'witness': the score is times how far alignment finds the place under-covered."
    )

    @field_validator("kernel")
    @classmethod
    def _known_kernel(cls, value: str) -> str:
        unknown = [part.strip() for part in re.split(r"[+*]", value) if part.strip() not in KERNELS]
        if not unknown:
            return value
        known = f"a kernel is one of {', '.join(KERNELS)}, or several joined by + and *"
        if not unknown[0]:
            raise ValueError(f"it lacks a name beside + or *; {known}")
        near = difflib.get_close_matches(unknown[0], KERNELS, n=1, cutoff=0.3)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{unknown[0]!r} is unknown{hint}; {known}")


class Price(Section):
    """What a model costs, in US dollars for a million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False, description="For a million prompt tokens.")
    output: float = Field(ge=0, allow_inf_nan=False, description="For a million reply tokens.")
    batch: float = Field(0.5, ge=0, le=1, description="What a call of a batch costs, as a share of the price.")


class Llm(Section):
    """Which language model answers, and how it is asked."""

    model: str = Field(
        "builtin/ngram",
        description="'builtin/ngram' (embedded, proves the path, not for training data), 'replay/FILE' (a "
        "recording), or the name of a model at an OpenAI-compatible endpoint.",
    )
    base_url: str | None = Field(None, description="Address of the endpoint; unset: the openai client's default.")
    api_key_env: str = Field("OPENAI_API_KEY", description="Environment variable that holds the key.")
    temperature: float | None = Field(None, ge=0, le=2, description="Sampling temperature; unset: the model's own.")
    max_tokens: int | None = Field(None, ge=1, description="Upper limit on the tokens of one reply.")
    concurrency: int = Field(
        16, ge=1, le=1024, description="Requests under way at most; fewer while the endpoint says that it is too busy."
    )
    requests_per_minute: int | None = Field(None, ge=1, description="Limit on requests; unset: none.")
    tokens_per_minute: int | None = Field(None, ge=1, description="Limit on tokens, both ways; unset: none.")
    timeout: float = Field(120.0, gt=0, description="Seconds to wait for one reply.")
    max_attempts: int = Field(8, ge=1, le=100, description="Tries of one request before the step reports it.")
    patience: float = Field(
        600.0, ge=0, description="Seconds to wait for an endpoint that answered before and no longer does."
    )
    repairs: int = Field(1, ge=0, le=5, description="Times that a model is shown why its reply cannot be read.")
    batch: bool = Field(False, description="Ask through the provider's batch API: cheaper, within a day or so.")
    budget: str | None = Field(
        None, description="What all calls of the workspace may cost: '5usd' or '200000tokens'; unset: no limit."
    )
    redact: tuple[PersonalKind, ...] = Field(
        (), description="Personal data that is replaced by placeholders before real text is sent."
    )

    @field_validator("budget")
    @classmethod
    def _known_unit(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch(r"\s*\d+(_\d+)*(\.\d+)?\s*(usd|tokens)\s*", value.lower()):
            return value
        raise ValueError("must be an amount and a unit, such as '5usd' or '200000tokens'")


class Reason(Section):
    """Stage 1: the model states the attributes of the demonstrations."""

    prompt: str = Field("reason/attributes", description="A shipped prompt, or the path of a .j2 file.")
    attributes: dict[str, AttributeKind] = Field(
        default_factory=lambda: dict(ATTRIBUTES),
        min_length=1,
        description="The attributes to state, and what each value is: category, number or text.",
    )
    open: int = Field(3, ge=0, le=20, description="Attributes that the model may add.")
    values: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="The only values that a category may have, by its name."
    )
    merge: bool = Field(True, description="Have the model merge values of a category that mean the same.")
    merge_prompt: str = Field("reason/merge", description="A shipped prompt, or the path of a .j2 file.")


class Annotate(Section):
    """The model states the attributes of single records, so that shares can be compared."""

    sample: int = Field(200, ge=1, description="Records to annotate, by the hash of their ids.")
    batch: int = Field(10, ge=1, le=100, description="Records in one request.")
    prompt: str = Field("annotate/records", description="A shipped prompt, or the path of a .j2 file.")


class Generate(Section):
    """Stage 2: the model writes new records from the attributes."""

    per_selection: int = Field(10, ge=0, le=200, description="Records from the attributes of each selection.")
    recombined: int = Field(
        0, ge=0, le=200, description="Records for each selection from attributes drawn across those of its label."
    )
    from_demonstrations: int = Field(
        0, ge=0, le=200, description="Records for each selection from its demonstrations alone, without attributes."
    )
    from_documents: int = Field(
        0, ge=0, le=200, description="Queries for each of some documents from its text alone; in retrieval."
    )
    documents: int = Field(
        100, ge=1, description="Documents that from_documents asks for: those without a real query come first."
    )
    refills: int = Field(2, ge=0, le=20, description="Times that refused records are asked for anew.")
    prompt: str = Field("generate/records", description="A shipped prompt, or the path of a .j2 file.")
    single_stage_prompt: str = Field(
        "generate/single_stage", description="The prompt of from_demonstrations: shipped, or the path of a .j2 file."
    )
    query_prompt: str = Field(
        "generate/queries", description="The prompt where labels are documents: shipped, or the path of a .j2 file."
    )


Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class Accept(Section):
    """Which generated records are kept: one rule a key. A rule that is off (false) leaves its column empty."""

    label: bool = Field(True, description="The model says of its record the label that it was to write for.")
    language: bool = Field(True, description="The language is one that real records of the workspace have.")
    length: bool = Field(True, description="As many characters as some real record of the label, at least and at most.")
    length_slack: float = Field(1.25, ge=1, description="Factor by which both bounds of the length are widened.")
    duplicate: bool = Field(True, description="No other record of the workspace has the same text.")
    near_duplicate: Share | Literal[False] = Field(
        0.9, description="Jaccard similarity of 3-character pieces with another synthetic record, from which it is one."
    )
    too_similar: Share | Literal["auto", False] = Field(
        "auto",
        description="Cosine similarity to another synthetic record, from which it is one too many; more where real "
        "records are often nearer than that to each other. 'auto': 0.98, and off with builtin/lsa, which sees words.",
    )
    copied: Share | Literal[False] = Field(
        0.6, description="Share of a record's words that stand in one run in a real record, from which it is a copy."
    )
    too_near: Share | Literal["auto", False] = Field(
        "auto",
        description="Quantile of the distances from real records to the nearest other one; a record that is nearer to "
        "a real one is a copy of it. 'auto': 0.01, and off with builtin/lsa.",
    )
    refusal: bool = Field(True, description="No refusal and no boilerplate, such as 'As an AI ...'.")
    phrases: tuple[str, ...] = Field((), description="Your own phrases that mark a record as boilerplate.")
    leaked: bool = Field(True, description="Nothing of the prompt or a template stands in it.")
    personal: tuple[PersonalKind, ...] = Field(
        ("email", "phone", "card", "iban", "national_id", "ip"),
        description="Personal data that it may hold only if its demonstrations do.",
    )
    judge: bool = Field(False, description="A second call says whether the record fits its label and reads as real.")
    judge_prompt: str = Field("judge/records", description="A shipped prompt, or the path of a .j2 file.")

    @field_validator("near_duplicate", "too_similar", "copied", "too_near", mode="before")
    @classmethod
    def _no_truth(cls, value: object) -> object:
        if value is True:  # pydantic would take it for 1
            raise ValueError("must be a threshold, or false for no such rule")
        return value


class Align(Section):
    """How sampling weights are learned."""

    strength: Annotated[float, Field(ge=1e-9, allow_inf_nan=False)] | Literal["auto", "none"] = Field(
        "auto",
        description="eps of the dual, a smaller value pulls harder; 'none' for no pull; 'auto' chooses by "
        "cross-validation.",
    )
    features: Annotated[int, Field(ge=2, le=65536, multiple_of=2)] | Literal["auto", "exact"] = Field(
        1024,
        description="Random features; 'auto': as many as the data can tell apart; 'exact': the kernel itself, for up "
        "to 10,000 records, both sides together.",
    )
    kernel: Literal["gaussian", "linear"] = Field(
        "gaussian", description="'linear' is the paper's own objective: random projections, which see means alone."
    )
    bandwidths: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        (1.0,), min_length=1, max_length=16, description="Multiples of the median distance; several make a mixture."
    )
    by_label: bool | None = Field(None, description="Match each label by itself; unset: when labels exist.")
    match: tuple[str, ...] = Field((), description="Other categorical columns to match jointly, on both sides.")
    quality: bool | None = Field(
        None,
        description="Weight by how far the real data believe each synthetic label; unset: when labels are matched.",
    )
    label_shares: Literal["auto", "real", "kept"] | dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = (
        Field(
            "auto",
            description="Shares of the labels: the real ones, those kept from the synthetic records, given ones, or "
            "'auto': chosen with the strength.",
        )
    )
    max_weight_ratio: float | None = Field(
        None, ge=1, allow_inf_nan=False, description="The largest weight, as a multiple of the average in its label."
    )
    min_effective_share: float | None = Field(
        None, gt=0, le=1, description="Floor on the effective sample size of each label, as a share of its records."
    )
    duplicates: float | None = Field(
        None, gt=0, le=1, description="Cosine similarity from which records are near-duplicates that share one budget."
    )
    prior: str | None = Field(
        None, min_length=1, description="A numeric column of the synthetic records to start from."
    )
    weight_set: str = Field("default", min_length=1, description="The name under which the weights are kept.")
    device: str = Field("cpu", min_length=1, description="Where features are computed, as torch names it: cpu, cuda.")


class Config(Section):
    """All settings of a workspace, as `synalign.toml` holds them."""

    seed: int = Field(0, ge=0, lt=2**63)
    rounds: int = Field(
        1, ge=1, le=1000, description="Rounds of select, reason, generate and align that 'run' does, at most."
    )
    task: Task = Task()
    embed: Embed = Embed()
    cluster: Cluster = Cluster()
    select: Select = Select()
    llm: Llm = Llm()
    prices: dict[str, Price] = Field(default_factory=dict, description="What models cost, by name.")
    reason: Reason = Reason()
    annotate: Annotate = Annotate()
    generate: Generate = Generate()
    accept: Accept = Accept()
    align: Align = Align()
    evaluate: Evaluate = Evaluate()
    retrieve: Retrieve = Retrieve()


class Source(Section):
    """One file to ingest, as a `[[sources]]` table of a run file. Paths are relative to that file."""

    path: Path
    text: str = "text"
    label: str | None = None
    id: str | None = None
    split: str | None = None
    synthetic: bool = False
    skip_empty: bool = False
    query: str | None = Field(None, description="SQL to run over a DuckDB file; its result is ingested.")
    test_share: float | None = Field(None, gt=0, lt=1, description="Share put into the test split by id hash.")


class RunConfig(Config):
    """What `synalign run FILE` reads: a workspace, its sources and all settings."""

    workspace: Path
    sources: tuple[Source, ...] = ()
    steps: tuple[str, ...] | None = Field(None, description="Steps to do; unset: all but evaluate.")

    def settings(self) -> Config:
        """Return the part that is kept in the workspace."""
        return Config(**{name: getattr(self, name) for name in Config.model_fields})
