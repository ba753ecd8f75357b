"""The settings of what a language model is asked: which model, attributes, the records it writes, and their checks."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from synalign.config.base import Section, of

#: Kinds of personal data that can be found in text.
PersonalKind = Literal["email", "phone", "card", "iban", "national_id", "ip"]

#: What a generated record is checked for. `too_similar`, `too_near` and `judge` need an encoder or a model.
Rule = Literal[
    "schema", "label", "language", "length", "duplicate", "near_duplicate", "too_similar", "copied", "too_near",
    "refusal", "leaked", "personal", "judge",
]  # fmt: skip

#: The rules, in the order in which they name the reason of a refusal: a column each of the table `checks`.
RULES: tuple[Rule, ...] = get_args(Rule)

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


class Price(Section):
    """What a model costs, in US dollars for a million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False, description="For a million prompt tokens.")
    output: float = Field(ge=0, allow_inf_nan=False, description="For a million reply tokens.")
    batch: float = Field(default=0.5, ge=0, le=1, description="What a call of a batch costs, as a share of the price.")


class Llm(Section):
    """Which language model answers, and how it is asked."""

    model: str = Field(
        default="builtin/ngram",
        description="'builtin/ngram' (embedded, proves the path, not for training data), 'replay/FILE' (a "
        "recording), or the name of a model at an OpenAI-compatible endpoint.",
    )
    base_url: str | None = Field(
        default=None, description="Address of the endpoint; unset: the openai client's default."
    )
    api_key_env: str = Field(default="OPENAI_API_KEY", description="Environment variable that holds the key.")
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="Sampling temperature; unset: the model's own."
    )
    max_tokens: int | None = Field(default=None, ge=1, description="Upper limit on the tokens of one reply.")
    concurrency: int = Field(
        default=16,
        ge=1,
        le=1024,
        description="Requests under way at most; fewer while the endpoint says that it is too busy.",
    )
    requests_per_minute: int | None = Field(default=None, ge=1, description="Limit on requests; unset: none.")
    tokens_per_minute: int | None = Field(default=None, ge=1, description="Limit on tokens, both ways; unset: none.")
    timeout: float = Field(default=120.0, gt=0, description="Seconds to wait for one reply.")
    max_attempts: int = Field(default=8, ge=1, le=100, description="Tries of one request before the step reports it.")
    patience: float = Field(
        default=600.0, ge=0, description="Seconds to wait for an endpoint that answered before and no longer does."
    )
    repairs: int = Field(default=1, ge=0, le=5, description="Times that a model is shown why its reply cannot be read.")
    batch: bool = Field(default=False, description="Ask through the provider's batch API: cheaper, within a day or so.")
    budget: str | None = Field(
        default=None, description="What all calls of the workspace may cost: '5usd' or '200000tokens'; unset: no limit."
    )
    redact: tuple[PersonalKind, ...] = Field(
        default=(), description="Personal data that is replaced by placeholders before real text is sent."
    )

    @field_validator("budget")
    @classmethod
    def _known_unit(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch(r"\s*\d+(_\d+)*(\.\d+)?\s*(usd|tokens)\s*", value.lower()):
            return value
        raise ValueError("must be an amount and a unit, such as '5usd' or '200000tokens'")


class Reason(Section):
    """Stage 1: the model states the attributes of the demonstrations."""

    prompt: str = Field(default="reason/attributes", description="A shipped prompt, or the path of a .j2 file.")
    attributes: dict[str, AttributeKind] = Field(
        default_factory=lambda: dict(ATTRIBUTES),
        min_length=1,
        description="The attributes to state, and what each value is: category, number or text.",
    )
    open: int = Field(default=3, ge=0, le=20, description="Attributes that the model may add.")
    values: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="The only values that a category may have, by its name."
    )
    merge: bool = Field(default=True, description="Have the model merge values of a category that mean the same.")
    merge_prompt: str = Field(default="reason/merge", description="A shipped prompt, or the path of a .j2 file.")


class Annotate(Section):
    """The model states the attributes of single records, so that shares can be compared."""

    sample: int = Field(default=200, ge=1, description="Records to annotate, by the hash of their ids.")
    batch: int = Field(default=10, ge=1, le=100, description="Records in one request.")
    prompt: str = Field(default="annotate/records", description="A shipped prompt, or the path of a .j2 file.")


class Generate(Section):
    """Stage 2: the model writes new records from the attributes."""

    per_selection: int = Field(default=10, ge=0, le=200, description="Records from the attributes of each selection.")
    recombined: int = Field(
        default=0,
        ge=0,
        le=200,
        description="Records for each selection from attributes drawn across those of its label.",
    )
    from_demonstrations: int = Field(
        default=0,
        ge=0,
        le=200,
        description="Records for each selection from its demonstrations alone, without attributes.",
    )
    from_documents: int = Field(
        default=0, ge=0, le=200, description="Queries for each of some documents from its text alone; in retrieval."
    )
    documents: int = Field(
        default=100, ge=1, description="Documents that from_documents asks for: those without a real query come first."
    )
    refills: int = Field(default=2, ge=0, le=20, description="Times that refused records are asked for anew.")
    prompt: str = Field(default="generate/records", description="A shipped prompt, or the path of a .j2 file.")
    single_stage_prompt: str = Field(
        default="generate/single_stage",
        description="The prompt of from_demonstrations: shipped, or the path of a .j2 file.",
    )
    query_prompt: str = Field(
        default="generate/queries",
        description="The prompt where labels are documents: shipped, or the path of a .j2 file.",
    )


Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class Accept(Section):
    """Which generated records are kept: one rule a key. A rule that is off (false) leaves its column empty."""

    label: bool = Field(default=True, description="The model says of its record the label that it was to write for.")
    language: bool = Field(default=True, description="The language is one that real records of the workspace have.")
    length: bool = Field(
        default=True, description="As many characters as some real record of the label, at least and at most."
    )
    length_slack: float = Field(
        default=1.25, ge=1, description="Factor by which both bounds of the length are widened."
    )
    duplicate: bool = Field(default=True, description="No other record of the workspace has the same text.")
    near_duplicate: Share | Literal[False] = Field(
        default=0.9,
        description="Jaccard similarity of 3-character pieces with another synthetic record, from which it is one.",
    )
    too_similar: Share | Literal["auto", False] = Field(
        default="auto",
        description="Cosine similarity to another synthetic record, from which it is one too many; more where real "
        "records are often nearer than that to each other. 'auto': 0.98, and off with builtin/lsa, which sees words.",
    )
    copied: Share | Literal[False] = Field(
        default=0.6,
        description="Share of a record's words that stand in one run in a real record, from which it is a copy.",
    )
    too_near: Share | Literal["auto", False] = Field(
        default="auto",
        description="Quantile of the distances from real records to the nearest other one; a record that is nearer to "
        "a real one is a copy of it. 'auto': 0.01, and off with builtin/lsa.",
    )
    refusal: bool = Field(default=True, description="No refusal and no boilerplate, such as 'As an AI ...'.")
    phrases: tuple[str, ...] = Field(default=(), description="Your own phrases that mark a record as boilerplate.")
    leaked: bool = Field(default=True, description="Nothing of the prompt or a template stands in it.")
    personal: tuple[PersonalKind, ...] = Field(
        default=("email", "phone", "card", "iban", "national_id", "ip"),
        description="Personal data that it may hold only if its demonstrations do.",
    )
    judge: bool = Field(
        default=False, description="A second call says whether the record fits its label and reads as real."
    )
    judge_prompt: str = Field(default="judge/records", description="A shipped prompt, or the path of a .j2 file.")

    @field_validator("near_duplicate", "too_similar", "copied", "too_near", mode="before")
    @classmethod
    def _no_truth(cls, value: object) -> object:
        if value is True:  # pydantic would take it for 1
            raise ValueError("must be a threshold, or false for no such rule")
        return value


class EstimateRequest(Section):
    """Estimate what reason and generate would cost.

    Nothing is sent, and nothing is written: the estimate is made from a sample of the prompts. Calls that were
    answered already cost nothing again. The notes say what is assumed.

    Raises:
        NotReadyError: if nothing is selected.
        ConfigError: if a setting or a prompt is not valid.
    """

    model: str | None = of(Llm, "model")
    base_url: str | None = of(Llm, "base_url")


class ReasonRequest(EstimateRequest):
    """Ask the model for the attributes of each selection.

    Values that mean the same are merged. Others may write to the workspace while calls are under way.

    Raises:
        NotReadyError: if nothing is selected.
        ModelError: if no reply can be used, or the endpoint fails for good. Replies that came are kept.
    """

    budget: str | None = of(Llm, "budget")
    batch: bool | None = of(Llm, "batch")


class GenerateRequest(ReasonRequest, Generate):
    """Ask the model to write new records, and check them.

    What is kept and what is refused, the section `accept` of the configuration says. Others may write to the workspace
    while calls are under way.

    Raises:
        NotReadyError: if nothing is selected, or there are no attributes of the current selections.
        UsageError: if no records are asked for; or no model is given and another than the configured one stated the
            attributes.
        ModelError: if no record can be used, or the endpoint fails for good. Replies that came are kept.
    """


class AnnotateRequest(ReasonRequest):
    """Ask the model for the attributes of single records.

    Shares of attributes can then be compared between real and synthetic records. The values are those that `reason`
    knows, and only attributes that are categories are asked for. A larger sample holds the smaller one, so that what
    was annotated is not asked again.

    Raises:
        UsageError: if `origin` is neither real nor synthetic.
        NotReadyError: if there are no records, or no category attributes.
        ModelError: if no reply can be used, or the endpoint fails for good. Replies that came are kept.
    """

    sample: int | None = of(Annotate, "sample")
    origin: str = Field(default="real", description="Which records: real or synthetic.")
