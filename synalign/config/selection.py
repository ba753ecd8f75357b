"""The settings of embedding, clustering and selection."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from synalign.config.base import EmbedderName, Section, TextKeys

#: Kernels that an expression is made of.
KERNELS = ("rbf", "matern12", "matern32", "matern52")


class Embed(Section):
    """Which encoder turns text into vectors."""

    model: str = Field(
        default="builtin/lsa",
        description="'builtin/lsa', 'sentence-transformers/NAME_OR_PATH', or 'openai/MODEL' for an "
        "OpenAI-compatible embeddings endpoint.",
    )
    dimensions: int | None = Field(
        default=None,
        ge=2,
        le=4096,
        description="Vector length; unset: 256 for builtin/lsa, else the model's own. Not for sentence-transformers.",
    )
    base_url: str | None = Field(default=None, description="Address of the embeddings endpoint, for 'openai/...'.")
    api_key_env: str = Field(default="OPENAI_API_KEY", description="Environment variable that holds the key.")
    batch_size: int = Field(default=128, ge=1, le=2048, description="Texts in one request or one forward pass.")

    @field_validator("model")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        kinds = ("sentence-transformers/", "openai/")
        if value == "builtin/lsa" or any(value.startswith(kind) and len(value) > len(kind) for kind in kinds):
            return value
        raise ValueError(f"must be builtin/lsa, sentence-transformers/NAME or openai/MODEL, not {value!r}")


class EmbedRequest(Embed):
    """Embed all records that have no vector yet.

    The newest embedder with these settings is used; one is fitted first if there is none. It becomes the current
    embedder, which the steps after this use unless they are told another.

    Raises:
        NotReadyError: without real training records.
        ModelError: if an endpoint fails. Vectors of finished blocks of records stay.
    """

    refit: bool = Field(default=False, description="Fit a new version of the embedder to all text that there is now.")


class Cluster(Section):
    """How real records are grouped before selection."""

    k: int | None = Field(
        default=None, ge=1, description="Number of clusters; unset: the square root of the record count."
    )
    by_label: bool = Field(
        default=False, description="Cluster each label by itself; k counts the clusters of all of them."
    )


class ClusterRequest(Cluster):
    """Cluster the real training records.

    Clusters that were made with the same settings are kept when records come in, so that the selections on them, and
    what was paid for, stay: new records are only assigned to them. With `by_label`, records are assigned to clusters
    of their label alone, and those without a label have clusters of their own.

    Raises:
        NotReadyError: without real training records.
        UsageError: with `by_label`, if no real training record has a label.
        NumericsError: if k is larger than the number of records, or, with `by_label`, smaller than that of labels.
    """

    embedder: EmbedderName = None
    refit: bool = Field(default=False, description="Cluster anew, with all records that there are now.")


class Select(Section):
    """Which clusters, and which records of them, the language model is shown."""

    budget: int | None = Field(
        default=None,
        ge=1,
        description="Selections to make in one round; unset: 32, or as many as there are clusters (or records).",
    )
    unit: Literal["cluster", "record"] = Field(
        default="cluster", description="What one selection picks: a cluster, or a record."
    )
    demonstrations: int = Field(
        default=4, ge=1, le=50, description="Real records that the model is shown for one selection."
    )
    show: Literal["spread", "nearest", "random"] = Field(
        default="spread",
        description="Which records around a pick are shown: far from each other, nearest to it, or drawn by the seed.",
    )
    kernel: str = Field(
        default="rbf",
        min_length=1,
        description="rbf, matern12, matern32, matern52, or sums and products of these: 'rbf + matern32*matern12'.",
    )
    length_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["median", "learned"] = Field(
        default="median",
        description="A number; 'median': the median distance; 'learned': by marginal likelihood of the labels.",
    )
    ard: bool = Field(
        default=False, description="Learn a length scale for each dimension; with length_scale = 'learned'."
    )
    noise: float = Field(
        default=1e-2,
        gt=0,
        allow_inf_nan=False,
        description="Observation noise variance of the Gaussian process (prior: 1).",
    )
    beta: float = Field(
        default=1.0, ge=0, le=10, description="Score = variance * mass^beta; 0, as in the paper, does not look at mass."
    )
    label_shares: Annotated[
        Literal["proportional", "average"] | dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]], TextKeys
    ] = Field(default="proportional", description="Shares of the labels: the real ones, equal ones, or given ones.")
    min_per_label: int = Field(default=1, ge=0, description="Smallest number of selections of each label.")
    min_variance: float | None = Field(
        default=None, gt=0, le=1, description="Stop before a pick whose variance is below this (prior: 1)."
    )
    min_gain: float | None = Field(
        default=None, gt=0, lt=1, description="Stop before a pick whose score is below this share of the round's first."
    )
    batch: int = Field(default=1, ge=1, description="Picks that are made before the variances are computed again.")
    guide: Literal["none", "witness"] = Field(
        default="none",
        description="'witness' multiplies the score by how under-covered alignment finds the place (the MMD witness).",
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


class SelectRequest(Select):
    """Choose the real records that the model is shown, where the GP is uncertain.

    Of clusters (or records), those with the greatest score under a Gaussian process are picked one by one, and for
    each some demonstrations around it, all of one label. A round after the first is conditioned on the picks of the
    rounds before it, and on all synthetic records that there are.

    Raises:
        NotReadyError: if there are no clusters, or nothing was generated since the round before was selected.
        UsageError: if the budget is above the number of clusters (or records), a label cannot have the selections that
            it is to get, `embedder` is not that of the clusters, or that round cannot be selected now.
        NumericsError: if all points are equal, or the kernel is not positive definite.
    """

    # A gpytorch kernel is allowed at run time; gpytorch is not imported here, since it takes seconds.
    kernel: Any = Field(
        default="rbf",
        description="rbf, matern12, matern32, matern52, or sums and products of these: 'rbf + matern32*matern12'; in "
        "Python also any gpytorch kernel over vectors of the embedder, which has its own length scale.",
    )
    round: int | str | None = Field(
        default=None, description="Number of the round from 1, or 'next'; unset: that of the current selection."
    )
    embedder: EmbedderName = None
    refit: bool = Field(
        default=False,
        description="In a later round, select anew with the synthetic records that there are now. Otherwise a "
        "selection that was made with the same settings stays, with what was paid for on top of it.",
    )

    @field_validator("kernel")
    @classmethod
    def _known_kernel(cls, value: Any) -> Any:
        return Select._known_kernel(value) if isinstance(value, str) else value

    def without_kernel(self) -> SelectRequest:
        """Return the request but for its kernel."""
        return SelectRequest(**{name: getattr(self, name) for name in self.model_fields_set - {"kernel"}})
