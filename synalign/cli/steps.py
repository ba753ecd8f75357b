"""Commands that are verbs: their options are the fields of the verb's request, and what they did is shown alike."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from synalign.cli.app import COMMANDS, patience
from synalign.cli.options import AsJson, ModelSettings, Settings, Where, given, options, settings, signed
from synalign.errors import without_passwords
from synalign.workspace import Workspace, open

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
