"""Do synthetic queries help a retriever, and does a search through Lance's index find what exact search finds?

Data: the requests of clinc150 (people's), 150 intents, of which each is a document whose text is the intent's name.
Real training queries are 20 of each intent, drawn by the seed; test queries are those of the data's own test file.
Synthetic queries come the whole way (documents, ingest, cluster, select, reason, generate, align) from two writers:

- ngram: the embedded builtin/ngram, which recombines the words of its demonstrations and proves the path only;
- replay: a recording whose replies are real training queries of clinc150 that were not drawn. That is as good as
  generated queries could get, and stands for no language model: an upper bound.

Case `index` searches the same 150 documents, and 100,000 more: texts of the other data sets, of which none is repeated.
Build and query times are those of the index, by `retrieve`'s own search; `exact` compares with all documents as arrays.

The data are not part of this project. Intervals hold 95%: a bootstrap over queries, intent by intent. `gain` is the
paired difference of the mean reciprocal rank to a retriever that was trained on nothing.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import synalign as sa
from synalign.llm.builtin.replay import RecordedReply, recording_text
from synalign.numerics.evaluation.ranking import exact_search
from synalign.steps.retrieval.retrieve import stored
from synalign.steps.retrieval.retriever import load, named
from synalign.store.lake.indexing import Searcher

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DISTRACTORS = ("sst2/real_train", "sst2/synthetic_fewgen", "tweet_sentiment/real_train", "tweet_sentiment/synthetic")
REAL, WRITTEN, SEED = 20, 20, 11
KINDS = ("frozen", "real", "synthetic", "real+synthetic", "real+weighted")
SETTINGS = {
    "seed": SEED,
    "task": {"description": "a request to a voice assistant"},
    # Replies of the recording are asked for once: what is refused stays away.
    "generate": {"refills": 0},
    "accept": {"length": False, "language": False},
}


def read(path: Path) -> pl.DataFrame:
    """Return a JSON Lines file of the shared data."""
    if not path.is_file():
        raise SystemExit(f"Not found: {path}. Name the folder of the data with --data.")
    return pl.read_ndjson(path)


class Clinc:
    """The split that is used. documents: id, text. train, test: id, text, label, split. spare: those not drawn."""

    def __init__(self, data: Path, intents: int) -> None:
        """Draw it."""
        found = {part: read(data / "clinc150" / f"real_{part}.jsonl") for part in ("train", "test")}
        names = json.loads((data / "clinc150" / "labels.json").read_text())
        chosen = np.sort(np.random.default_rng(SEED).permutation(len(names))[:intents]).tolist()
        meaning = pl.DataFrame({"label": chosen, "name": [names[label] for label in chosen]})
        parts = {
            part: frame.join(meaning, on="label").select("id", "text", pl.col("name").alias("label"), "split")
            for part, frame in found.items()
        }
        order = parts["train"].sample(fraction=1.0, shuffle=True, seed=SEED)
        place = pl.int_range(pl.len()).over("label")
        self.train, self.spare = order.filter(place < REAL), order.filter(place >= REAL)
        # A test query that was drawn for training too would be found by heart.
        self.test = parts["test"].join(order.select("text"), on="text", how="anti")
        self.documents = pl.DataFrame(
            {"id": meaning["name"], "text": [name.replace("_", " ") for name in meaning["name"]]}
        )


def base(path: Path, data: Clinc) -> sa.Workspace:
    """Return a workspace with documents, queries, and the attributes of a selection for each intent."""
    workspace = sa.open(path)
    workspace.configure(sa.Config.model_validate(SETTINGS))
    workspace.ingest_documents(data.documents)
    workspace.ingest(pl.concat([data.train, data.test]), id="id", label="label", split="split")
    intents = data.documents.height
    workspace.cluster(k=intents, by_label=True)
    workspace.select(budget=intents)
    workspace.reason()
    return workspace


def rewritten(workspace: sa.Workspace, data: Clinc, path: Path) -> Path:
    """Write a recording that answers what this workspace asked with queries of the data that were not drawn."""
    asked = workspace.sql(
        "select c.subject, c.seed, s.label from calls c join selections s on s.selection_id = c.selection_id "
        "where c.step = 'generate'"
    ).fetchall()
    spare = {label: frame["text"].to_list() for (label,), frame in data.spare.group_by("label")}
    entries = []
    for subject, seed, label in sorted(asked):
        records = [{"text": text} for text in spare[label][:WRITTEN]]
        entries.append(RecordedReply(subject, json.dumps({"records": records}), seed, "generate", "people"))
    path.write_text(recording_text(entries), encoding="utf-8")
    return path


def peak() -> float:
    """Return the peak memory of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def judged(workspace: sa.Workspace, source: str, share: float | None) -> list[dict[str, Any]]:
    """Train and compare retrievers of one workspace; return their rows."""
    seconds = {}
    for kind in KINDS:
        start = time.perf_counter()
        workspace.train_retriever(kind, on=kind, share=share if "+" in kind else None)
        seconds[kind] = time.perf_counter() - start
    workspace.evaluate_retrievers(allow_overlap=True)
    rows = []
    for row in workspace.sql("from retrieval_summary").pl().to_dicts():
        case = {"case": f"clinc150-{source}", "method": row["retriever"], "seconds": seconds[row["retriever"]]}
        rows.append(case | {"peak_mb": peak()} | {name: value for name, value in row.items() if name != "run_id"})
    return rows


def quality(folder: Path, data: Clinc, share: float | None) -> list[dict[str, Any]]:
    """Return the rows of both writers."""
    start = base(folder / "base", data)
    rows = []
    recording = Path()
    for source in ("ngram", "replay"):
        shutil.copytree(start.path, folder / source)
        workspace = sa.open(folder / source)
        model = "builtin/ngram" if source == "ngram" else f"replay/{recording}"
        kept = workspace.generate(per_selection=WRITTEN, model=model).counts["records"]
        if source == "ngram":
            recording = rewritten(workspace, data, folder / "people.jsonl")
        begun = time.perf_counter()
        summary = workspace.align().counts
        note = f"{source}: {kept} synthetic queries, effective share {summary['effective_share']:.0%}"
        print(f"{note}, aligned in {time.perf_counter() - begun:.0f} s", flush=True)
        rows += [row | {"written": kept} for row in judged(workspace, source, share)]
    return rows


def distractors(data: Path, count: int) -> pl.DataFrame:
    """Return so many different texts of the other data sets as documents."""
    frames = [read(data / f"{name}.jsonl").select(pl.col("id").cast(pl.String), "text") for name in DISTRACTORS]
    texts = pl.concat(frames).unique("text", keep="first", maintain_order=True).head(count)
    if texts.height < count:
        raise SystemExit(f"{count} different texts are wanted; the data have {texts.height}.")
    return texts.with_columns(pl.format("other-{}", pl.int_range(pl.len())).alias("id"))


def indexed(folder: Path, data: Clinc, more: pl.DataFrame, kinds: list[str]) -> list[dict[str, Any]]:
    """Return for each index how near its search comes to exact search, and what it takes."""
    rows = []
    for extra in (more.head(0), more):
        workspace = sa.open(folder / f"index-{extra.height}")
        workspace.configure(sa.Config.model_validate(SETTINGS))
        workspace.ingest_documents(pl.concat([data.documents, extra]))
        workspace.ingest(pl.concat([data.train, data.test]), id="id", label="label", split="split")
        count = data.documents.height + extra.height
        for kind in kinds if extra.height else kinds[:1]:
            workspace.train_retriever(kind, on="real", index=kind, index_from=1)
        workspace.evaluate_retrievers(allow_overlap=True)
        found = {row["retriever"]: row for row in workspace.sql("from retrieval_summary").pl().to_dicts()}
        context = workspace._context()
        for name, row in found.items():
            retriever = named(context, name)
            texts = data.test["text"].head(200).to_list()
            queries = load(context, retriever).queries(encoded(workspace, retriever.row["embedder"], texts))
            searcher = Searcher(context.lake, retriever.table, retriever.probing)
            start = time.perf_counter()
            for query in queries:
                searcher.search(query, 10)
            near = (time.perf_counter() - start) / len(queries)
            _, matrix = stored(context, retriever)
            start = time.perf_counter()
            for query in queries:
                exact_search(query[None], matrix, 10)
            exact = (time.perf_counter() - start) / len(queries)
            rows.append(
                {
                    "case": f"index-{count}",
                    "method": name,
                    "seconds": near,
                    "peak_mb": peak(),
                    "exact_seconds": exact,
                    "build_seconds": retriever.row["index_seconds"],
                    "train_seconds": retriever.row["train_seconds"],
                    "probes": retriever.row["probes"],
                    "refine": retriever.row["refine"],
                    "recall_goal": retriever.row["index_goal"],
                    "recall_training": retriever.row["index_recall"],
                    "recall_test": row["index_recall_at_10"],
                    "mrr_at_10": row["mrr_at_10"],
                    "mrr_low": row["mrr_low"],
                    "mrr_high": row["mrr_high"],
                }
            )
    return rows


def encoded(workspace: sa.Workspace, embedder: str, texts: list[str]) -> np.ndarray:
    """Return the vectors of texts."""
    from synalign.steps.embedding import embed

    context = workspace._context()
    return embed.encoder(context, embed.named(context, embedder))(texts)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--index", nargs="*", default=["ivf_flat"], help="those to measure; ivf_pq takes minutes")
    parser.add_argument("--quick", action="store_true", help="20 intents, a fixed share, 2,000 distractors")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    data = Clinc(arguments.data, 20 if arguments.quick else 150)
    more = distractors(arguments.data, 2_000 if arguments.quick else 100_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = quality(folder, data, 0.5 if arguments.quick else None)
        print(
            f"{'case':<16} {'trained on':<15} {'MRR@10':>6} {'interval':>15} {'gain':>23} {'R@1':>5} {'R@10':>5} share"
        )
        for row in rows:
            span = f"{row['mrr_low']:.3f} to {row['mrr_high']:.3f}"
            gain = (
                "" if row["gain"] is None else f"{row['gain']:+.3f} ({row['gain_low']:+.3f} to {row['gain_high']:+.3f})"
            )
            print(
                f"{row['case']:<16} {row['method']:<15} {row['mrr_at_10']:>6.3f} {span:>15} {gain:>23} "
                f"{row['recall_at_1']:>5.3f} {row['recall_at_10']:>5.3f} {row['share']:g}",
                flush=True,
            )
        found = indexed(folder, data, more, arguments.index)
        heads = f"{'case':<13} {'index':<9} {'goal':>5} {'recall':>6} {'probes':>6} {'build s':>7} {'ms':>6}"
        print(f"{heads} exact ms MRR@10")
        for row in found:
            print(
                f"{row['case']:<13} {row['method']:<9} {row['recall_goal']:>5.2f} {row['recall_test']:>6.3f} "
                f"{row['probes']:>6} {row['build_seconds']:>7.1f} {1000 * row['seconds']:>6.1f} "
                f"{1000 * row['exact_seconds']:>5.1f} {row['mrr_at_10']:.3f}"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows + found, indent=2) + "\n")


if __name__ == "__main__":
    main()
