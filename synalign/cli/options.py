"""Options of the command line, made from the fields of a request model: one description for Python and the shell."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from synalign.config import Config, Section
from synalign.errors import UsageError
from synalign.verb import plain

Where = Annotated[Path, typer.Argument(metavar="DIR", help="The workspace: one folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Use this setting in place of the configured one, for this call; can be repeated.",
    ),
]

ModelSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A setting of the model, such as epochs=3; or SECTION.KEY=VALUE: use this setting in place of the "
        "configured one, for this call; can be repeated.",
    ),
]

#: Characters of the words that an option takes, up to which they stand beside it.
_WIDEST = 22

#: Fields that few need: they are no options, and are reached with --set.
RARE = {
    "api_key_env", "batch_size", "documents", "refills", "prompt", "single_stage_prompt", "query_prompt", "unknown",
    "penalty", "anchor", "unasked", "hard_negatives", "temperature", "learning_rate",
}  # fmt: skip


def options(
    request: type[Section],
    flags: Mapping[str, Sequence[str]],
    texts: Mapping[str, str],
    leave_out: Sequence[str] = (),
) -> list[inspect.Parameter]:
    """Return a parameter for each field of a request that is an option; None stands for what is not given.

    Args:
        request: the model.
        flags: how an option is written where it is not the name of its field, by that name.
        texts: metavars of fields that are given as one text.
        leave_out: fields that are no options, beside `RARE`.
    """
    found = []
    for name, field in request.model_fields.items():
        if name in RARE or name in leave_out:
            continue
        kind = plain(field.annotation)
        parts = [part for part in get_args(kind) or (kind,) if part is not type(None)]
        literals = [kind] if get_origin(kind) is Literal else [part for part in parts if get_origin(part) is Literal]
        words = [str(word) for part in literals for word in get_args(part)]
        if literals not in ([kind], parts):  # a number or a word
            words = ["NUMBER", *words] if {int, float} & {*parts} else []
        written = [*flags.get(name, [f"--{name.replace('_', '-')}"])]
        taken: Any = str
        metavar = texts.get(name) or "|".join(words) or None
        if words and len("|".join(words)) > _WIDEST:  # Then its description says which words there are.
            metavar = "NUMBER|WORD" if words[0] == "NUMBER" else "WORD"
        several = [part for part in (kind, *parts) if get_origin(part) in (tuple, Mapping)]
        if name in texts:
            pass
        elif several:
            taken = list[get_args(several[0])[0]]  # type: ignore[misc]
        elif parts == [bool]:
            taken = bool
            # What is configured can be turned off; what is for one call is only turned on.
            if field.default is None or name not in vars(request)["__annotations__"]:
                written = [f"{written[0]}/--no{written[0][1:]}"]
        elif parts in ([int], [float]):
            taken = parts[0]
        option = typer.Option(*written, help=sentence(field.description or ""), metavar=metavar)
        found.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[taken | None, option]
            )
        )
    return found


def sentence(text: str) -> str:
    """Return a description as one sentence ends."""
    return text if text.endswith((".", "?")) else f"{text}."


def given(request: type[Section], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of options as the fields of a request take them; what was not given is left out.

    Raises:
        UsageError: if shares of labels cannot be read.
    """
    found = {}
    for name, value in values.items():
        if value is None or value == []:
            continue
        kind = plain(request.model_fields[name].annotation) if name in request.model_fields else str
        if name == "label_shares":
            value = shares(value)
        elif isinstance(value, str) and {int, float} & set(get_args(kind)):
            value = number(value)
        found[name] = value
    return found


def number(given: str) -> Any:
    """Return what is a number or a word, as a number if it is one; the configuration says what may be."""
    for kind in (int, float):
        try:
            return kind(given)
        except ValueError:
            continue
    return given


def shares(given: str) -> str | dict[str, float]:
    """Return --label-shares: a word, or a share for each label."""
    if "=" not in given:
        return given
    found = {}
    for part in given.split(","):
        label, _, share = part.rpartition("=")
        try:
            found[label.strip()] = float(share)
        except ValueError as error:
            raise UsageError(f"--label-shares takes a word, or label=share,label=share; given: {given!r}.") from error
    return found


def settings(texts: Sequence[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what --set gives: settings of the configuration, as "section.key", and values of other names.

    Raises:
        UsageError: for what is not NAME=VALUE.
    """
    import tomllib

    configured: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise UsageError(f"--set takes SECTION.KEY=VALUE, such as align.features=auto; given: {text!r}.")
        try:
            read: Any = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            read = value
        first = name.partition(".")[0]
        (configured if "." in name or first in Config.model_fields else others)[name] = read
    return configured, others


def signed(function: Callable[..., None], parameters: Sequence[inspect.Parameter], text: str) -> Callable[..., None]:
    """Give a function the parameters and the help that the command line shows."""
    ordered = sorted(parameters, key=lambda parameter: parameter.default is not inspect.Parameter.empty)
    vars(function)["__signature__"] = inspect.Signature([part.replace(kind=part.KEYWORD_ONLY) for part in ordered])
    function.__annotations__ = {}
    function.__doc__ = text
    return function
