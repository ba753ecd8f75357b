"""The command line: arguments become calls of the Python API.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synalign.errors import SynAlignError, UsageError
from synalign.version import __version__

if TYPE_CHECKING:
    from synalign.steps.context import Outcome
    from synalign.workspace import Workspace

app = typer.Typer(
    name="synalign",
    help="Match weighted LLM-written text to the distribution of real text, inside LanceDB and DuckDB.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Where = Annotated[Path, typer.Argument(metavar="DIR", help="The workspace: one folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Embedder = Annotated[str | None, typer.Option(help="The name of an embedder, as in the relation embedders.")]
Model = Annotated[str | None, typer.Option(help="Overrides llm.model: builtin/ngram, replay/FILE, or a model's name.")]
BaseUrl = Annotated[str | None, typer.Option(help="Overrides the endpoint's address.")]


def main() -> None:
    """Run the command line; typed errors become a message and an exit code."""
    try:
        app()
    except SynAlignError as error:
        from synalign.terminal import show_error

        show_error(error, "--json" in sys.argv)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except OSError as error:
        sys.stderr.write(f"error: the output cannot be written: {error}\n")
        sys.exit(1)


@contextmanager
def _workspace(path: Path, *, create: bool = False) -> Iterator[Workspace]:
    from synalign.terminal import progress_bars, say
    from synalign.workspace import open

    with progress_bars() as progress:
        try:
            yield open(path, create=create, progress=progress)
        except KeyboardInterrupt:
            say("Stopped. What was done is kept; the same command goes on from there.")
            raise


def _step(path: Path, as_json: bool, act: Callable[[Workspace], Outcome], *, create: bool = False) -> None:
    from synalign.terminal import outcome_data, print_json, show_outcome

    with _workspace(path, create=create) as workspace:
        outcome = act(workspace)
    if as_json:
        print_json(outcome_data(outcome))
    else:
        show_outcome(outcome)


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
    from synalign.config import CONFIG_NAME, Config, parse
    from synalign.terminal import say

    pairs = [text.partition("=") for text in label or ()]
    wrong = [name for name, equals, meaning in pairs if not (name and equals and meaning)]
    if wrong:
        raise UsageError(f"--label takes NAME=MEANING, such as 0=negative; given: {wrong[0]!r}.")
    if (path / CONFIG_NAME).exists():
        raise UsageError(f"{path / CONFIG_NAME} exists already. Edit it; nothing was changed.")
    task = {"description": description, "language": language, "labels": {name: text for name, _, text in pairs}}
    llm = {name: value for name, value in (("model", model), ("base_url", base_url)) if value is not None}
    config = parse(Config, {"task": task, "llm": llm}, "the options")
    with _workspace(path, create=True) as workspace:
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
    _step(
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
    _step(path, as_json, lambda ws: ws.embed(model=model, dimensions=dimensions, base_url=base_url, refit=refit))


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
    _step(path, as_json, lambda ws: ws.cluster(k=k, by_label=by_label, embedder=embedder, refit=refit))


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
    _step(
        path,
        as_json,
        lambda ws: ws.select(
            budget=budget,
            unit=unit,
            demonstrations=demonstrations,
            show=show,
            kernel=kernel,
            length_scale=_number(length_scale),
            ard=ard,
            noise=noise,
            beta=beta,
            label_shares=_shares(label_shares, "proportional, average"),
            min_per_label=min_per_label,
            min_variance=min_variance,
            min_gain=min_gain,
            batch=batch,
            guide=guide,
            round=_number(round),
            embedder=embedder,
            refit=refit,
        ),
    )


@app.command()
def reason(path: Where, model: Model = None, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Stage 1: the LLM states attributes of demonstrations."""
    _step(path, as_json, lambda ws: ws.reason(model=model, base_url=base_url))


@app.command()
def generate(
    path: Where,
    per_selection: Annotated[int | None, typer.Option(help="Records asked for in one request.")] = None,
    model: Model = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Stage 2: the LLM writes new records."""
    _step(path, as_json, lambda ws: ws.generate(per_selection=per_selection, model=model, base_url=base_url))


@app.command()
def align(
    path: Where,
    strength: Annotated[
        str | None, typer.Option(help="eps of the dual, smaller pulls harder; auto (chosen), or none.")
    ] = None,
    features: Annotated[str | None, typer.Option(help="Random features, an even number; auto, or exact.")] = None,
    kernel: Annotated[str | None, typer.Option(help="gaussian, or linear: the paper's own objective.")] = None,
    bandwidth: Annotated[
        list[float] | None, typer.Option(help="A multiple of the median distance; several make a mixture.")
    ] = None,
    by_label: Annotated[bool | None, typer.Option("--by-label/--no-by-label", help="Match label by label.")] = None,
    match: Annotated[
        list[str] | None, typer.Option(help="Another categorical column to match; can be repeated.")
    ] = None,
    quality: Annotated[
        bool | None, typer.Option("--quality/--no-quality", help="Weight by how far real data believe each label.")
    ] = None,
    label_shares: Annotated[str | None, typer.Option(help="auto, real, kept, or label=share,label=share.")] = None,
    max_weight_ratio: Annotated[float | None, typer.Option(help="Largest weight, in multiples of the average.")] = None,
    min_effective_share: Annotated[float | None, typer.Option(help="Floor on the effective sample size.")] = None,
    duplicates: Annotated[
        float | None, typer.Option(help="Cosine similarity from which records share one budget.")
    ] = None,
    prior: Annotated[str | None, typer.Option(help="A numeric column of the synthetic records to start from.")] = None,
    weight_set: Annotated[str | None, typer.Option(help="The name to keep the weights under.")] = None,
    embedder: Embedder = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    as_json: AsJson = False,
) -> None:
    """Learn one sampling weight for each synthetic record."""
    _step(
        path,
        as_json,
        lambda ws: ws.align(
            strength=_number(strength),
            features=_number(features),
            kernel=kernel,
            bandwidths=bandwidth or None,
            by_label=by_label,
            match=match or None,
            quality=quality,
            label_shares=_shares(label_shares, "auto, real, kept"),
            max_weight_ratio=max_weight_ratio,
            min_effective_share=min_effective_share,
            duplicates=duplicates,
            prior=prior,
            weight_set=weight_set,
            embedder=embedder,
            device=device,
        ),
    )


@app.command()
def score(
    path: Where,
    weight_set: Annotated[str | None, typer.Option(help="Whose dual vectors; default: the current set's.")] = None,
    into: Annotated[str | None, typer.Option(help="Name of the new set; default: the old one with -scored.")] = None,
    as_json: AsJson = False,
) -> None:
    """Weight new synthetic records without refitting."""
    _step(path, as_json, lambda ws: ws.score(weight_set=weight_set, into=into))


@app.command()
def weights(
    path: Where,
    use: Annotated[str | None, typer.Option(help="Make this set the current one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the weight sets, or make one the current one."""
    from synalign.terminal import print_json, show_rows

    if use is not None:
        _step(path, as_json, lambda ws: ws.use_weights(use))
        return
    with _workspace(path) as workspace:
        columns, rows = workspace.fetch(workspace.sql("from weight_sets order by is_current desc, weight_set"))
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        show_rows(columns, rows)


@app.command()
def check(
    path: Where,
    max_mmd_ratio: Annotated[
        float | None, typer.Option(help="Held-out squared MMD over the floor, real against real.")
    ] = None,
    min_ess: Annotated[float | None, typer.Option(help="Effective sample size, as a share of the records.")] = None,
    max_auc: Annotated[float | None, typer.Option(help="AUC of a classifier against real records.")] = None,
    weight_set: Annotated[str | None, typer.Option(help="The set; default: the current one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Exit with 1 and the reasons if weights break a limit: a gate for CI."""
    from synalign.terminal import print_json, say, show_pairs

    with _workspace(path) as workspace:
        found = workspace.check(weight_set=weight_set, max_mmd_ratio=max_mmd_ratio, min_ess=min_ess, max_auc=max_auc)
    if as_json:
        print_json({"weight_set": found.weight_set, "passed": found.passed, "reasons": found.reasons} | found.figures)
    else:
        show_pairs(
            {"weight set": found.weight_set}
            | {name: "not measured" if value is None else value for name, value in found.figures.items()}
        )
        for reason in found.reasons:
            say(f"failed: {reason}.")
        if found.passed:
            say("passed.")
    if not found.passed:
        raise typer.Exit(1)


def _number(given: str | None) -> Any:
    """Return an option that takes a number or a word, as a number if it is one; the configuration says what may be."""
    if given is None:
        return None
    for kind in (int, float):
        try:
            return kind(given)
        except ValueError:
            continue
    return given


def _shares(given: str | None, words: str) -> str | dict[str, float] | None:
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


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A run file (TOML), or a workspace.")], as_json: AsJson = False
) -> None:
    """Do all steps; what is done already is not done again."""
    from synalign.terminal import outcome_data, print_json, progress_bars, say, show_outcome
    from synalign.workspace import run as run_all

    with progress_bars() as progress:
        try:
            report = None if as_json else show_outcome
            outcomes = run_all(config, progress=progress, report=report)
        except KeyboardInterrupt:
            say("Stopped. What was done is kept; the same command goes on from there.")
            raise
    if as_json:
        print_json([outcome_data(outcome) for outcome in outcomes])


@app.command()
def status(path: Where, as_json: AsJson = False) -> None:
    """Say what is in a workspace."""
    from synalign.terminal import brief, print_json, show_pairs

    with _workspace(path) as workspace:
        found = workspace.status()
    if as_json:
        print_json(found)
        return
    pairs: dict[str, Any] = {"workspace": found["workspace"]}
    for side, splits in found["records"].items():
        pairs[side] = ", ".join(f"{count:,} {split}" for split, count in splits.items()) or "none"
    for step, current in found["steps"].items():
        counts = {} if current is None else current["counts"]
        pairs[step] = " · ".join(f"{name} {brief(value)}" for name, value in counts.items() if value is not None)
        pairs[step] = pairs[step] or "not yet"
    pairs |= {f"stale {number}": text for number, text in enumerate(found["stale"], start=1)}
    show_pairs(pairs)


@app.command()
def sql(
    path: Where,
    query: Annotated[str, typer.Argument(help="SQL over the relations of the workspace; - reads stdin.")],
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Run SQL over the tables and views of a workspace."""
    from synalign.terminal import print_json, show_rows

    with _workspace(path) as workspace:
        relation = workspace.sql(sys.stdin.read() if query == "-" else query)
        columns, rows = workspace.fetch(relation)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif as_csv:
        _print_csv(columns, rows)
    else:
        show_rows(columns, rows)


@app.command()
def sample(
    path: Where,
    n: Annotated[int, typer.Argument(help="Draws.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same sample.")] = 0,
    distinct: Annotated[bool, typer.Option("--distinct", help="Refuse to draw a record twice.")] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Draw synthetic records by weight."""
    with _workspace(path) as workspace:
        frame = workspace.sample(n, seed=seed, distinct=distinct)
    _show_frame(frame, ["label", "weight", "copies", "text"], as_json, as_csv)


@app.command()
def search(
    path: Where,
    text: Annotated[str | None, typer.Argument(help="The text to search for.")] = None,
    id: Annotated[str | None, typer.Option(help="Search for what is near to this record.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Records to find.")] = 10,
    origin: Annotated[str | None, typer.Option(help="real or synthetic.")] = None,
    embedder: Embedder = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Find the records nearest to a text or to a record."""
    with _workspace(path) as workspace:
        frame = workspace.search(text, id=id, k=k, origin=origin, embedder=embedder)
    _show_frame(frame, ["distance", "origin", "label", "split", "text", "id"], as_json, as_csv)


@app.command()
def export(
    path: Where,
    file: Annotated[Path, typer.Argument(help=".parquet, .csv or .jsonl; a dataset card is put beside it.")],
    n: Annotated[
        int | None, typer.Option("-n", "--n", help="Draw this many by weight; default: all, weighted.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write weighted or drawn synthetic records to a file."""
    from synalign.terminal import print_json, say

    with _workspace(path) as workspace:
        written = workspace.export(file, n=n, seed=seed)
    if as_json:
        print_json({"file": str(written), "card": f"{written}.md"})
    else:
        say(f"Wrote {written} and {written.name}.md.")


@app.command()
def exclude(
    path: Where,
    where: Annotated[str, typer.Argument(help="A SQL condition over synthetic, such as: text like '%AI model%'")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: AsJson = False,
) -> None:
    """Take synthetic records out of every weighting."""
    _step(path, as_json, lambda ws: ws.exclude(where, reason=reason))


@app.command()
def include(
    path: Where,
    where: Annotated[str, typer.Argument(help="A SQL condition over synthetic.")],
    as_json: AsJson = False,
) -> None:
    """Take exclusions back."""
    _step(path, as_json, lambda ws: ws.include(where))


@app.command()
def gc(path: Where, as_json: AsJson = False) -> None:
    """Give back space: unfinished rows, old versions, orphan files."""
    from synalign.terminal import print_json, show_pairs

    with _workspace(path) as workspace:
        dropped = workspace.gc()
    if as_json:
        print_json(dropped)
    else:
        show_pairs(dropped)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _print_csv(columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def _show_frame(frame: Any, brief: list[str], as_json: bool, as_csv: bool) -> None:
    from synalign.terminal import print_json, show_rows

    if as_json:
        print_json(frame.to_dicts())
    elif as_csv:
        _print_csv(frame.columns, frame.rows())
    else:
        show_rows(brief, frame.select(brief).rows())


if __name__ == "__main__":
    main()
