"""Commands that are verbs: their options are the fields of the verb's request, and what they did is shown alike."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from synalign.cli.app import COMMANDS, patience
from synalign.config import Config, Section
from synalign.errors import UsageError, without_passwords
from synalign.verb import plain
from synalign.workspace import Workspace, open

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
_WIDEST = 20

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
            value = shares(value, [word for part in get_args(kind) for word in get_args(part) if isinstance(word, str)])
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


def shares(given: str, words: Sequence[str]) -> str | dict[str, float]:
    """Return --label-shares: one of some words, or a share for each label."""
    if "=" not in given:
        return given
    found = {}
    for part in given.split(","):
        label, _, share = part.rpartition("=")
        try:
            found[label.strip()] = float(share)
        except ValueError as error:
            allowed = f"{', '.join(words)}, or label=share,label=share"
            raise UsageError(f"--label-shares takes {allowed}; given: {given!r}.") from error
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
            raise UsageError(f"--set takes NAME=VALUE, such as align.features=auto; given: {text!r}.")
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


#: Shows what a verb did: the workspace, what the verb gave, whether as JSON, and the values of options of its own.
Show = Callable[..., None]
FILE = Annotated[Path, typer.Argument(metavar="FILE", help=".csv, .tsv, .jsonl, .parquet, or .duckdb with --query.")]


@contextmanager
def opened(path: Path, *, create: bool = False, settings: Mapping[str, Any] | None = None) -> Iterator[Workspace]:
    """Open a workspace with progress on the terminal."""
    from synalign.cli.terminal import progress_bars

    with progress_bars() as (progress, notice), stopped():
        yield open(path, create=create, progress=progress, notice=notice, wait=patience.get(), settings=settings)


@contextmanager
def stopped() -> Iterator[None]:
    """Say after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        from synalign.cli.terminal import say

        command = without_passwords(shlex.join(["synalign", *sys.argv[1:]]))
        say(f"Stopped. What was done is kept. To go on from there: {command}")
        raise


def show_step(_workspace: Workspace, outcome: Any, as_json: bool) -> None:
    """Show what a step did."""
    from synalign.cli.terminal import outcome_data, print_json, show_outcome

    if as_json:
        print_json(outcome_data(outcome))
    else:
        show_outcome(outcome)


def step(
    command: str,
    verb: str | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    flags: Mapping[str, Sequence[str]] | None = None,
    texts: Mapping[str, str] | None = None,
    leave_out: Sequence[str] = (),
    read: Mapping[str, Callable[[Any], Any]] | None = None,
    own: Mapping[str, tuple[Any, Any]] | None = None,
    show: Show = show_step,
    before: Callable[..., None] | None = None,
    create: bool = False,
) -> Callable[..., None]:
    """Return the command that calls a verb.

    Args:
        command: its name.
        verb: of the workspace, if it is called otherwise.
        arguments: the arguments by position, with their types; a field of the request that is one is no option.
        flags: how options are written that are not called as their field.
        texts: metavars of fields that are lists, and given as one text.
        leave_out: fields that are reached with --set only.
        read: what makes the value of a field of that of the option.
        own: further options with type and default, which are handed to `show` and `before`.
        show: shows what was done.
        before: looks at the values of `own` before the work.
        create: whether the workspace may be new.
    """
    verb = verb or command.replace("-", "_")
    bound, positions, own, read = vars(Workspace)[verb], dict(arguments or {}), dict(own or {}), read or {}
    request = bound.request
    with_set = "settings" not in request.model_fields

    def run(path: Path, as_json: bool, **values: Any) -> None:
        configured, others = settings(values.pop("set", None) if with_set else values.pop("settings", None))
        if with_set and others:
            # A name without a section is a mistake, and the configuration says which key is near.
            configured |= others
        elif others:
            values["settings"] = others
        mine = {name: values.pop(name) for name in own}
        if before is not None:
            before(**mine)
        operands = [values.pop(name) for name in bound.required]
        needed = [name for name in read if request.model_fields[name].is_required()]
        taken = {
            name: read[name](value or []) if name in read and (value or name in needed) else value
            for name, value in values.items()
        }
        with opened(path, create=create, settings=configured) as workspace:
            outcome = getattr(workspace, verb)(*operands, **given(request, taken))
            show(workspace, outcome, as_json, **mine)

    keyword, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    parts = [inspect.Parameter("path", keyword, annotation=Where)]
    for name, kind in positions.items():
        default = empty if name in bound.required else None
        parts.append(inspect.Parameter(name, keyword, default=default, annotation=kind))
    parts += options(request, flags or {}, texts or {}, [*leave_out, *positions, "settings"])
    parts.append(
        inspect.Parameter(
            "set" if with_set else "settings", keyword, default=None, annotation=Settings if with_set else ModelSettings
        )
    )
    for name, (kind, default) in own.items():
        parts.append(inspect.Parameter(name, keyword, default=default, annotation=kind))
    parts.append(inspect.Parameter("as_json", keyword, default=False, annotation=AsJson))
    text = inspect.cleandoc(request.__doc__ or COMMANDS[command][1]).partition("\n\nRaises:")[0]
    return signed(run, parts, text)


def show_frame(frame: Any, brief: list[str], as_json: bool, as_csv: bool) -> None:
    """Print a frame: its brief columns for a person, all of it as JSON or CSV."""
    from synalign.cli.terminal import print_csv, print_json, show_rows

    if as_json:
        print_json(frame.to_dicts())
    elif as_csv:
        print_csv(frame.columns, frame.rows())
    else:
        show_rows(brief, frame.select(brief).rows())
