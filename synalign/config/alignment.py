"""The settings of alignment, and of what reads weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from synalign.config.base import CheckedFloat, EmbedderName, Factors, Names, Section, TextKeys, WeightSetName


class Align(Section):
    """How sampling weights are learned."""

    strength: Annotated[float, Field(ge=1e-9, allow_inf_nan=False)] | Literal["auto", "none"] = Field(
        default="auto",
        description="Regularisation (eps of the dual): a smaller number matches the real records more closely; 'none' "
        "does not match them at all; 'auto' chooses by cross-validation.",
    )
    features: Annotated[int, Field(ge=2, le=65536, multiple_of=2)] | Literal["auto", "exact"] = Field(
        default=1024,
        description="Random features; 'auto': as many as the data can tell apart; 'exact': the kernel itself, for up "
        "to 10,000 real and synthetic records together.",
    )
    kernel: Literal["gaussian", "linear"] = Field(
        default="gaussian",
        description="Kernel of the MMD; 'linear' is the paper's own objective, which compares means alone.",
    )
    bandwidths: Factors = Field(
        default=(1.0,),
        min_length=1,
        max_length=16,
        description="Bandwidths of the kernel, as multiples of the median distance; several make a mixture of kernels.",
    )
    by_label: bool | None = Field(default=None, description="Match each label by itself; unset: when labels exist.")
    match: Names = Field(
        default=(),
        description="Categorical columns whose joint shares are matched, too; real and synthetic records need them.",
    )
    quality: bool | None = Field(
        default=None,
        description="Weight each synthetic record by how probable its label is, to a classifier of the real records; "
        "unset: when labels are matched.",
    )
    label_shares: Annotated[
        Literal["auto", "real", "kept"] | dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]], TextKeys
    ] = Field(
        default="auto",
        description="Shares of the labels: the real ones, those kept from the synthetic records, given ones, or "
        "'auto': chosen with the strength.",
    )
    max_weight_ratio: float | None = Field(
        default=None,
        ge=1,
        allow_inf_nan=False,
        description="The largest weight, as a multiple of the average in its label.",
    )
    min_effective_share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Smallest effective sample size of each label, as a share of its records.",
    )
    duplicates: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Cosine similarity from which records are near-duplicates that share one budget.",
    )
    prior: str | None = Field(
        default=None,
        min_length=1,
        description="Numeric column of the synthetic records that holds the weights to start from.",
    )
    weight_set: str = Field(default="default", min_length=1, description="Name under which the weights are kept.")
    device: str = Field(
        default="cpu", min_length=1, description="Device to compute features on, as torch names it: cpu, cuda."
    )

    def bandwidths_at(self, median: float) -> tuple[float, ...]:
        """Return the bandwidths of the kernel where the median distance between records is `median`."""
        factors = self.bandwidths
        return tuple(factor * median for factor in ((factors,) if isinstance(factors, float | int) else factors))


class AlignRequest(Align):
    """Learn one sampling weight for each synthetic record.

    The weighted synthetic records are to match the real ones, label by label. Excluded records get no weight. The new
    weights become the current ones, under the name `weight_set`, beside other sets; then they are measured.

    Raises:
        NotReadyError: without real or synthetic records.
        UsageError: if no label occurs among both real and synthetic records, or a column or a label that is named is
            not there.
        InputError: if the prior column holds what cannot be a weight.
        NumericsError: if a vector is not finite, the device is not there, or a cap on weights leaves no room.
    """

    embedder: EmbedderName = None


class ScoreRequest(Section):
    """Weight new synthetic records without refitting.

    All synthetic records get the weight that the stored dual vectors of a weight set give them, as a new set, which
    becomes the current one. The shares of the labels stay those of the fit, and records that had a weight keep the
    ratios of their weights, unless a cap or a budget for near-duplicates says otherwise. The notes say when a refit is
    due: when the weighted mean feature moved, or the real one, by more than the distance that real records have from
    each other.

    Raises:
        NotReadyError: without weights, or without a synthetic record that the fit would give weight.
        UsageError: if there is no such set, `into` is the name of a set that was fitted, or the set was learned with
            the exact kernel or by an earlier version.
    """

    weight_set: WeightSetName = None
    into: str | None = Field(default=None, description="Name of the new set; unset: the old name with '-scored'.")


class CheckRequest(Section):
    """Compare a weight set with limits, and say which ones it breaks.

    It is measured first if it was not since records came in. Weights that do not cover all records fail, as do weights
    that did not converge, and a limit on what could not be measured.

    Raises:
        NotReadyError: without weights.
        UsageError: if there is no such set, or a limit is out of range.
    """

    weight_set: WeightSetName = None
    max_mmd_ratio: CheckedFloat | None = Field(
        default=None,
        description="Largest held-out squared MMD, as a multiple of the floor: that of real records against real ones.",
    )
    min_ess: CheckedFloat | None = Field(
        default=None, description="Smallest effective sample size, as a share of the records, from 0 to 1."
    )
    max_auc: CheckedFloat | None = Field(
        default=None,
        description="Largest AUC of a classifier that tells weighted synthetic from real records, from 0.5 to 1.",
    )
