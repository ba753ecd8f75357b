"""Commands that bring in text and choose what a language model is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synalign.cli.app import AsJson, BaseUrl, Embedder, Model, Where, app, do_step, number, opened, shares
from synalign.errors import UsageError


@app.command()
def init(
    path: Where,
    description: Annotated[str, typer.Option(help="What one text is, in a few words, for the prompts.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="What a label means, as NAME=MEANING; repeat.")] = None,
    language: Annotated[str, typer.Option(help="The language to write in.")] = "",
    model: Model = None,
    base_url: BaseUrl = None,
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


@app.command()
def ingest(
    path: Where,
    file: Annotated[Path, typer.Argument(help=".csv, .tsv, .jsonl, .parquet, or .duckdb with --query.")],
    text: Annotated[str, typer.Option(help="The column with the text.")] = "text",
    label: Annotated[str | None, typer.Option(help="The column with the label.")] = None,
    id: Annotated[str | None, typer.Option(help="The column with the id; without one, content is hashed.")] = None,
    split: Annotated[str | None, typer.Option(help="The column with the split: train, validation, test.")] = None,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="The text was generated; weight it.")] = False,
    skip_empty: Annotated[bool, typer.Option("--skip-empty", help="Leave out rows without text.")] = False,
    query: Annotated[str | None, typer.Option(help="SQL over a DuckDB file.")] = None,
    test_share: Annotated[float | None, typer.Option(help="Put this share, by id hash, in the test split.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring in labelled text. The same content again adds nothing."""
    do_step(
        path,
        as_json,
        lambda ws: ws.ingest(
            file,
            text=text,
            label=label,
            id=id,
            split=split,
            synthetic=synthetic,
            skip_empty=skip_empty,
            query=query,
            test_share=test_share,
        ),
        create=True,
    )


@app.command()
def embed(
    path: Where,
    model: Annotated[str | None, typer.Option(help="Overrides embed.model.")] = None,
    dimensions: Annotated[int | None, typer.Option(help="Length of a vector.")] = None,
    base_url: BaseUrl = None,
    refit: Annotated[bool, typer.Option("--refit", help="Fit a new version to all text there is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Embed what has no vector yet."""
    do_step(path, as_json, lambda ws: ws.embed(model=model, dimensions=dimensions, base_url=base_url, refit=refit))


@app.command()
def cluster(
    path: Where,
    k: Annotated[
        int | None, typer.Option("-k", "--k", help="Clusters; default: the square root of the records.")
    ] = None,
    by_label: Annotated[
        bool | None, typer.Option("--by-label/--no-by-label", help="Cluster each label by itself.")
    ] = None,
    embedder: Embedder = None,
    refit: Annotated[bool, typer.Option("--refit", help="Cluster anew, with all records there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Cluster the real training records, and assign all others."""
    do_step(path, as_json, lambda ws: ws.cluster(k=k, by_label=by_label, embedder=embedder, refit=refit))


@app.command()
def select(
    path: Where,
    budget: Annotated[int | None, typer.Option(help="Selections to make.")] = None,
    unit: Annotated[str | None, typer.Option(help="What is picked: cluster or record.")] = None,
    demonstrations: Annotated[int | None, typer.Option(help="Records shown for one selection.")] = None,
    show: Annotated[str | None, typer.Option(help="Which records around a pick: spread, nearest or random.")] = None,
    kernel: Annotated[
        str | None, typer.Option(help="rbf, matern12, matern32, matern52, or such with + and *: 'rbf + matern32'.")
    ] = None,
    length_scale: Annotated[str | None, typer.Option(help="A number, median, or learned.")] = None,
    ard: Annotated[bool | None, typer.Option("--ard/--no-ard", help="Learn a length scale for each dimension.")] = None,
    noise: Annotated[float | None, typer.Option(help="Noise variance of the Gaussian process.")] = None,
    beta: Annotated[float | None, typer.Option(help="Score = variance * mass^beta; 0 does not look at mass.")] = None,
    label_shares: Annotated[str | None, typer.Option(help="proportional, average, or label=share,label=share.")] = None,
    min_per_label: Annotated[int | None, typer.Option(help="Selections of each label at least.")] = None,
    min_variance: Annotated[float | None, typer.Option(help="Stop before a pick of smaller variance.")] = None,
    min_gain: Annotated[
        float | None, typer.Option(help="Stop before a pick whose score is below this share of the first.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Picks taken by the same variances.")] = None,
    guide: Annotated[str | None, typer.Option(help="none, or witness: go where alignment finds text missing.")] = None,
    round: Annotated[str | None, typer.Option(help="A number from 1, or next; default: the current one.")] = None,
    embedder: Embedder = None,
    refit: Annotated[bool, typer.Option("--refit", help="A later round: anew, with the text there is now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Pick the demonstrations to show, by uncertainty."""
    do_step(
        path,
        as_json,
        lambda ws: ws.select(
            budget=budget,
            unit=unit,
            demonstrations=demonstrations,
            show=show,
            kernel=kernel,
            length_scale=number(length_scale),
            ard=ard,
            noise=noise,
            beta=beta,
            label_shares=shares(label_shares, "proportional, average"),
            min_per_label=min_per_label,
            min_variance=min_variance,
            min_gain=min_gain,
            batch=batch,
            guide=guide,
            round=number(round),
            embedder=embedder,
            refit=refit,
        ),
    )
