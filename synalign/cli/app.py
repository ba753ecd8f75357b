"""The command line: arguments become calls of the Python API.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synalign.errors import SynAlignError, UsageError, without_passwords

if TYPE_CHECKING:
    from synalign.steps.core.context import Outcome

app = typer.Typer(
    name="synalign",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Where = Annotated[Path, typer.Argument(metavar="DIR", help="The workspace: one folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Embedder = Annotated[str | None, typer.Option(help="The name of an embedder, as in the relation embedders.")]
Budget = Annotated[str | None, typer.Option(help="What all calls of the workspace may cost: 5usd, or 200000tokens.")]
Batch = Annotated[bool | None, typer.Option("--batch/--no-batch", help="Ask through the provider's batch API.")]
Model = Annotated[str | None, typer.Option(help="Overrides llm.model: builtin/ngram, replay/FILE, or a model's name.")]
BaseUrl = Annotated[str | None, typer.Option(help="Overrides the endpoint's address.")]


#: Seconds to wait for another process that is writing: an option of all commands, so it stands before the verb.
patience: ContextVar[float] = ContextVar("patience", default=0.0)


@app.callback()
def options(
    wait: Annotated[
        float,
        typer.Option(min=0, envvar="SYNALIGN_WAIT", help="Seconds to wait for another process that is writing."),
    ] = 0.0,
) -> None:
    """Match weighted LLM-written text to the distribution of real text, inside LanceDB and DuckDB."""
    patience.set(wait)


def main() -> None:
    """Run the command line; typed errors become a message and an exit code."""
    try:
        app()
    except SynAlignError as error:
        from synalign.cli.terminal import show_error

        show_error(error, "--json" in sys.argv)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except OSError as error:
        sys.stderr.write(f"error: the output cannot be written: {error}\n")
        sys.exit(1)


@contextmanager
def opened(path: Path, *, create: bool = False) -> Iterator[Any]:
    """Open a workspace with progress on the terminal."""
    from synalign.cli.terminal import progress_bars
    from synalign.workspace import open

    with progress_bars() as (progress, notice), stopped():
        yield open(path, create=create, progress=progress, notice=notice, wait=patience.get())


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


def do_step(path: Path, as_json: bool, act: Callable[[Any], Outcome], *, create: bool = False) -> None:
    """Do one step of a workspace and show what it did."""
    from synalign.cli.terminal import outcome_data, print_json, show_outcome

    with opened(path, create=create) as workspace:
        outcome = act(workspace)
    if as_json:
        print_json(outcome_data(outcome))
    else:
        show_outcome(outcome)


def number(given: str | None) -> Any:
    """Return an option that takes a number or a word, as a number if it is one; the configuration says what may be."""
    if given is None:
        return None
    for kind in (int, float):
        try:
            return kind(given)
        except ValueError:
            continue
    return given


def shares(given: str | None, words: str) -> str | dict[str, float] | None:
    """Return --label-shares: a word, or a share for each label."""
    if given is None or "=" not in given:
        return given
    shares = {}
    for part in given.split(","):
        label, _, share = part.rpartition("=")
        try:
            shares[label.strip()] = float(share)
        except ValueError as error:
            raise UsageError(f"--label-shares takes {words}, or label=share,label=share; given: {given!r}.") from error
    return shares


def print_csv(columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Print rows as CSV."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def show_frame(frame: Any, brief: list[str], as_json: bool, as_csv: bool) -> None:
    """Print a frame: its brief columns for a person, all of it as JSON or CSV."""
    from synalign.cli.terminal import print_json, show_rows

    if as_json:
        print_json(frame.to_dicts())
    elif as_csv:
        print_csv(frame.columns, frame.rows())
    else:
        show_rows(brief, frame.select(brief).rows())
