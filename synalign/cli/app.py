"""The commands there are, in groups. A command's module is imported when it is called, so that --help is quick."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from synalign.errors import SynAlignError, UsageError
from synalign.version import __version__

#: The commands: in each group, the module and what it does in one clause, which fits a line of 80 columns.
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Pipeline": {
        "init": ("pipeline", "Make a workspace and its configuration file"),
        "ingest": ("pipeline", "Bring in labelled text, real or synthetic"),
        "embed": ("pipeline", "Compute embeddings of all records that have none"),
        "cluster": ("pipeline", "Cluster the real training records"),
        "select": ("pipeline", "Choose the real records that the model is shown"),
        "estimate": ("pipeline", "Estimate what reason and generate would cost"),
        "reason": ("pipeline", "Ask the model for attributes of the chosen records"),
        "generate": ("pipeline", "Ask the model for new records, and check them"),
        "annotate": ("pipeline", "Ask the model for attributes of single records"),
        "record": ("pipeline", "Save the model's replies to a file, to be replayed"),
        "run": ("pipeline", "Do all steps of a run file or a workspace"),
    },
    "Weights": {
        "align": ("weights", "Learn one sampling weight for each synthetic record"),
        "score": ("weights", "Weight new synthetic records without refitting"),
        "weights": ("weights", "List the weight sets, or choose the current one"),
        "check": ("weights", "Exit with 1 if weights break a limit (for CI)"),
        "sample": ("weights", "Draw records by weight"),
        "export": ("weights", "Write weighted or drawn records to files"),
        "exclude": ("weights", "Take synthetic records out of every weighting"),
        "include": ("weights", "Take exclusions back"),
    },
    "Evaluation": {
        "evaluate": ("evaluation", "Compare models trained on real and synthetic data"),
        "learning-curve": ("evaluation", "Measure how many real labels synthetic data replace"),
        "text-quality": ("evaluation", "Compare diversity and form of real and synthetic text"),
        "experiment": ("evaluation", "Analyse the log of an online A/B test"),
    },
    "Retrieval": {
        "documents": ("retrieval", "Bring in the documents that queries look for"),
        "retriever": ("retrieval", "Train a retriever and index the documents"),
        "retrieve": ("retrieval", "Find the documents that answer a text"),
        "evaluate-retrieval": ("retrieval", "Rank documents for the test queries"),
        "ab": ("evaluation", "Compare two retrievers by simulated clicks"),
    },
    "Questions": {
        "sql": ("query", "Run SQL over a workspace and attached data"),
        "search": ("query", "Find the records nearest to a text or a record"),
        "explain": ("history", "Show where a record comes from and what became of it"),
        "runs": ("history", "List the finished runs"),
        "diff": ("history", "Compare two states of a workspace"),
        "status": ("query", "Show what is in a workspace"),
    },
    "Upkeep": {
        "tag": ("history", "Name a state of the workspace, or list the names"),
        "forget": ("upkeep", "Delete real records and all that was derived from them"),
        "publish": ("upkeep", "Write catalog.duckdb anew if it is out of date"),
        "gc": ("upkeep", "Free the space of unfinished and superseded runs"),
        "fsck": ("upkeep", "Check tables and files, and say what to repair"),
        "version": ("upkeep", "Print the version"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
WIDTH = max(map(len, COMMANDS))


class Commands(TyperGroup):
    """The group of all commands: shown by subject, each made when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names of all commands, in order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return the command of a name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        single = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
        single.command(cmd_name)(getattr(import_module(f"synalign.cli.{module}"), cmd_name.replace("-", "_")))
        return typer.main.get_command(single)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, or say which one is near."""
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]  # looked at for near names only
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """List the commands by subject, each with what it does in the same line."""
        formatter.write("\nCommands:\n")
        for group, commands in GROUPS.items():
            formatter.write(f"\n{group}:\n")
            for name, (_, text) in commands.items():
                formatter.write(f"  {name:<{WIDTH}}  {text}\n")


app = typer.Typer(
    name="synalign",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

#: Seconds to wait for another process that is writing: an option of all commands, so it stands before the command.
patience: ContextVar[float] = ContextVar("patience", default=0.0)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    wait: Annotated[
        float,
        typer.Option(min=0, envvar="SYNALIGN_WAIT", help="Seconds to wait for another process that is writing."),
    ] = 0.0,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
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
