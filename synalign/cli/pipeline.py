"""Commands of the pipeline, from a new workspace to checked records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from synalign.cli.app import patience
from synalign.cli.steps import FILE, AsJson, Settings, Where, opened, settings, step, stopped
from synalign.errors import UsageError
from synalign.workspace import Workspace


def init(
    path: Where,
    description: Annotated[str, typer.Option(help="What one text is, in a few words, for the prompts.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="What a label means, as NAME=MEANING; repeat.")] = None,
    language: Annotated[str, typer.Option(help="The language to write in.")] = "",
    model: Annotated[
        str | None, typer.Option(help="The language model: builtin/ngram, replay/FILE, or a name.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible endpoint.")] = None,
) -> None:
    """Make a workspace, with its configuration in synalign.toml."""
    from synalign.cli.terminal import say
    from synalign.config import CONFIG_NAME, Config, parse

    pairs = [text.partition("=") for text in label or ()]
    wrong = [name for name, equals, meaning in pairs if not (name and equals and meaning)]
    if wrong:
        raise UsageError(f"--label takes NAME=MEANING, such as 0=negative; given: {wrong[0]!r}.")
    task = {"description": description, "language": language, "labels": {name: text for name, _, text in pairs}}
    llm = {name: value for name, value in (("model", model), ("base_url", base_url)) if value is not None}
    config = parse(Config, {"task": task, "llm": llm}, "the options")
    with opened(path, create=True) as workspace:
        if (path / CONFIG_NAME).exists():
            raise UsageError(f"{path / CONFIG_NAME} exists already. Edit it; nothing was changed.")
        workspace.configure(config)
    say(f"Made {path}. Its settings are in {path / CONFIG_NAME}. Next: synalign ingest {path} FILE --text COLUMN")


def _show_estimate(_workspace: Workspace, found: Any, as_json: bool) -> None:
    from synalign.cli.terminal import print_json, say, show_rows

    if as_json:
        print_json(found.data())
        return
    columns = ["step", "kind", "calls", "known", "tokens", "tokens from", "to", "usd", "usd from", "usd to", "at most"]
    rows = []
    for row in (*found.rows, found.total):
        tokens = [row.prompt_tokens + row.reply_tokens, row.tokens_low, row.tokens_high]
        usd = [row.usd, row.usd_low, row.usd_high, row.usd_at_most]
        shown = ["unknown" if value is None else value for value in usd]
        rows.append([row.step, row.kind, row.calls, row.known, *tokens, *shown])
    show_rows(columns, rows)
    for note in found.notes:
        say(note)


ingest = step("ingest", arguments={"source": FILE}, create=True)
embed = step("embed")
cluster = step("cluster", flags={"k": ("-k", "--k")})
select = step("select")
estimate = step("estimate", show=_show_estimate)
reason = step("reason")
generate = step("generate")
annotate = step("annotate")


def record(
    path: Where,
    file: Annotated[Path, typer.Argument(help="The recording to write, a .jsonl file.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write all replies to a file that model = "replay/FILE" answers from."""
    from synalign.cli.terminal import print_json, show_pairs

    with opened(path) as workspace:
        written = workspace.record(file, overwrite=force)
    if as_json:
        print_json(written)
    else:
        show_pairs(written)


def run(
    config: Annotated[Path, typer.Argument(help="A run file (TOML), or a workspace.")],
    budget: Annotated[
        str | None, typer.Option(help="What all calls of the workspace may cost: 5usd, or 200000tokens.")
    ] = None,
    set: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Do all steps of a run file, or of a workspace. What is done already is not done again."""
    from synalign.cli.terminal import outcome_data, print_json, progress_bars, show_outcome
    from synalign.workspace import run as run_all

    configured, others = settings(set)
    configured |= others
    with progress_bars() as (progress, notice), stopped():
        report = None if as_json else show_outcome
        outcomes = run_all(
            config,
            progress=progress,
            notice=notice,
            report=report,
            budget=budget,
            wait=patience.get(),
            settings=configured,
        )
    if as_json:
        print_json([outcome_data(outcome) for outcome in outcomes])
