"""What all sections of the configuration and all requests are, and the types that several of them use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SkipValidation


class Section(BaseModel):
    """Base of all sections and requests: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=True)
    #: The section that a request is of, where that is not called as the verb.
    section: ClassVar[str] = ""


def of(section: type[BaseModel], name: str) -> Any:
    """Return the field of a request that overrides one setting of a section; its description is the section's."""
    return Field(default=None, description=section.model_fields[name].description)


def _several(value: Any) -> Any:
    """Return what may be given as one value or as several, as a tuple."""
    if isinstance(value, str | int | float):
        return (value,)
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, Mapping) else value


def _with_text_keys(value: Any) -> Any:
    return {str(name): part for name, part in value.items()} if isinstance(value, Mapping) else value


#: In a mapping, labels that are numbers stand for their text, which is what the tables hold.
TextKeys = BeforeValidator(_with_text_keys)
EmbedderName = Annotated[
    str | None,
    Field(description="Name of an embedder, as the relation `embedders` lists them; unset: the current embedder."),
]
WeightSetName = Annotated[str | None, Field(description="Name of a weight set; unset: the current one.")]
#: Values that the step checks itself, against more than a range.
Metrics = Annotated[Mapping[str, Any] | Iterable[str], SkipValidation()]
CheckedInt = Annotated[int, SkipValidation()]
CheckedFloat = Annotated[float, SkipValidation()]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

if TYPE_CHECKING:  # What may be given is more than what is kept: one value, a list, any sequence.
    Names = Sequence[str]
    Counts = Sequence[int]
    Numbers = Sequence[int]
    Factors = Sequence[float] | float
else:
    Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
    Counts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_several)]
    Numbers = Annotated[tuple[int, ...], BeforeValidator(_several)]
    Factors = Annotated[tuple[Positive, ...], BeforeValidator(_several)]
