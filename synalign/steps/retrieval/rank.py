"""rank: how well retrievers find the documents that answer test queries, and whether one is better than another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from synalign.config import EvaluateRetrieversRequest
from synalign.errors import NotReadyError, UsageError
from synalign.ids import child_seed
from synalign.numerics.evaluation.ranking import (
    agreement,
    bootstrap_mean,
    exact_search,
    hits,
    ndcg_at,
    paired_bootstrap,
    recall_at,
    reciprocal_rank,
)
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import record_runs, records, vectors
from synalign.steps.core.run_step import Result, run_step
from synalign.steps.embedding import embed as embedding
from synalign.steps.forget.tombstones import forget_runs
from synalign.steps.retrieval.queries import Queries, real_queries, require_documents
from synalign.steps.retrieval.retrieve import is_indexed, stored
from synalign.steps.retrieval.retriever import Retriever, index_rows, load, named, retrievers
from synalign.store.lake.indexing import Searcher
from synalign.store.lake.journal import Clock, Plan
from synalign.store.lake.schemas import REAL, SYNTHETIC

STEP = "rank"

#: The ranks that recall is given at by default.
RECALL_AT = (1, 5, 10, 100)

#: Test queries at most that the index is compared with exact search on, and the documents of each.
_COMPARED, _BEST = 1_000, 10

_CUT = 10
_TABLES = ("rankings", "metrics")
_SHOWN = 10


@dataclass(frozen=True)
class _Ranked:
    """What one retriever did. names: of the documents. rows, scores: [n, t], best first. ranks: int64 [n], that of the
    right document, 0 where it is not among the t."""

    retriever: Retriever
    names: pl.Series
    rows: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    index_recall: float | None


def evaluate_retrievers(context: Context, request: EvaluateRetrieversRequest) -> Outcome:
    """Rank the documents for the queries of the test split, and write `rankings` and `metrics`.

    Raises:
        NotReadyError: if there are no documents, retrievers or test queries.
        UsageError: for a retriever that is not there, a k below 1, or test queries that are training texts.
        InputError: if labels are no document's id.
    """
    clock = Clock()
    names, allow_overlap = request.names, request.allow_overlap
    k = RECALL_AT if request.k is None else request.k
    ranks = sorted(set(k))
    if not ranks or ranks[0] < 1:
        raise UsageError(f"Recall is given at ranks of at least 1, such as 1,5,10; given: {list(k)}.")
    known = require_documents(context)
    wanted: list[str | None] = [*(dict.fromkeys(names) if names else sorted(retrievers(context)))]
    chosen = [named(context, name) for name in wanted or [None]]  # of none, it is said what to do
    first = _baseline(chosen, request.baseline)
    test = real_queries(context, known, context.config.retrieve, "test")
    if not len(test):
        raise NotReadyError(
            "There are no test queries. Ingest some with a split column, or with test_share: "
            "ws.ingest('queries.jsonl', label='document', test_share=0.2) ('synalign ingest DIR FILE --label COLUMN "
            "--test-share 0.2')."
        )
    notes = [*test.notes, *_overlap(context, test, allow_overlap)]
    plan = _plan(context, chosen, ranks, first, allow_overlap)

    def work() -> Result:
        top = max(_CUT, context.config.retrieve.kept, *ranks)
        found = []
        for number, retriever in enumerate(chosen):
            context.progress("evaluating retrievers", number, len(chosen))
            found.append(_ranked(context, retriever, test, top))
        context.progress("evaluating retrievers", len(chosen), len(chosen))
        rankings = pl.concat([_ranking_rows(item, test, context.config.retrieve.kept) for item in found])
        seed = child_seed(context.config.seed, STEP)
        rows = [row | {"split": "test", "real_records": len(test), "seed": seed}
                for row in _metrics(found, first, test, ranks, seed, notes)]  # fmt: skip
        counts: dict[str, Any] = {"queries": len(test), "documents": known.height, "baseline": first}
        counts |= {f"mrr {row['scope']}": row["value"] for row in rows if row["metric"] == "mrr_at_10"}
        return Result({"rankings": rankings, "metrics": rows}, counts, notes)

    return run_step(context, clock, plan, work)


def _baseline(chosen: Sequence[Retriever], given: str | None) -> str:
    """Return the name of the retriever that the others are compared with."""
    names = [retriever.name for retriever in chosen]
    if given is not None:
        if given not in names:
            raise UsageError(f"The baseline {given!r} is not among what is evaluated: {', '.join(names)}.")
        return given
    return next((retriever.name for retriever in chosen if retriever.row["trained_on"] == "frozen"), names[0])


def _overlap(context: Context, test: Queries, allowed: bool) -> list[str]:
    """Return a note if test queries are training texts, too, in whatever case.

    Raises:
        UsageError: if that is not allowed.
    """
    text = pl.col("text").str.strip_chars().str.to_lowercase()
    train = pl.concat([records(context, origin, split="train").select(text) for origin in (REAL, SYNTHETIC)])
    same = test.frame.with_columns(text).join(train.unique(), on="text", how="semi")["id"].sort().to_list()
    if not same:
        return []
    listed = ", ".join(map(repr, same[:_SHOWN])) + (f" and {len(same) - _SHOWN} more" if len(same) > _SHOWN else "")
    said = f"{len(same)} of {len(test)} test queries are training texts, too: {listed}"
    if not allowed:
        raise UsageError(
            f"{said}. What is found for them tells how well a retriever remembers. Exclude the synthetic ones "
            "('synalign exclude DIR \"text in (select text from real where split = 'test')\"'), or go on with "
            "allow_overlap=True (--allow-overlap). Nothing was written."
        )
    return [said]


def _plan(context: Context, chosen: Sequence[Retriever], ranks: Sequence[int], first: str, allowed: bool) -> Plan:
    inputs = [retriever.run.run_id for retriever in chosen]
    for origin in (REAL, SYNTHETIC):
        inputs += [run.run_id for run in record_runs(context, origin)]
    inputs += [run.run_id for run in context.journal.runs("exclude")] + forget_runs(context)
    settings = context.config.retrieve
    parameters = {
        "retrievers": [retriever.name for retriever in chosen],
        "recall_at": list(ranks),
        "baseline": first,
        "allow_overlap": allowed,
        "kept": settings.kept,
        "unknown": settings.unknown,
        # What forget drops takes the index with it, so that another search is compared.
        "indexed": [is_indexed(context, retriever) for retriever in chosen],
    }
    return Plan(STEP, parameters, inputs, context.config.seed)


def _ranked(context: Context, retriever: Retriever, test: Queries, top: int) -> _Ranked:
    embedder = embedding.named(context, retriever.row["embedder"])
    embedding.apply(context, embedder)
    queries = load(context, retriever).queries(vectors(context, embedder.name, REAL, test.frame["id"]))
    names, matrix = stored(context, retriever)
    rows, scores = exact_search(queries, matrix, top)
    recall = None
    if is_indexed(context, retriever):
        random = np.random.default_rng(child_seed(context.config.seed, STEP, "index"))
        places = np.sort(random.permutation(len(queries))[:_COMPARED])
        of = {name: row for row, name in enumerate(names)}
        searcher = Searcher(context.lake, retriever.table, retriever.probing)
        found = index_rows(searcher, queries[places], _BEST, of)
        recall = float(agreement(found, rows[places], _BEST).mean())
    return _Ranked(retriever, names, rows, scores, hits(rows, test.targets), recall)


def _ranking_rows(found: _Ranked, test: Queries, kept: int) -> pl.DataFrame:
    """Return the rows of `rankings` of one retriever."""
    rows, scores = found.rows[:, :kept], found.scores[:, :kept]
    count, width = rows.shape
    frame = pl.DataFrame(
        {
            "query_id": test.frame["id"].gather(np.repeat(np.arange(count), width)),
            "rank": np.tile(np.arange(1, width + 1), count),
            "document_id": found.names.gather(rows.ravel()),
            "score": scores.ravel().astype(np.float64),
        }
    )
    return frame.with_columns(pl.lit(found.retriever.name).alias("retriever"))


def _metrics(
    found: Sequence[_Ranked], first: str, test: Queries, ranks: Sequence[int], seed: int, notes: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of `metrics`. Queries of one document are drawn together: they are no independent observations."""
    figures: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        **{f"recall_at_{k}": partial(recall_at, k=k) for k in ranks},
        f"mrr_at_{_CUT}": partial(reciprocal_rank, k=_CUT),
        f"ndcg_at_{_CUT}": partial(ndcg_at, k=_CUT),
    }
    weights = test.frame["amount"].to_numpy()
    groups = len(np.unique(test.targets))
    if groups < 2:
        notes.append("the test queries are of one document: there are no intervals, which need two")
    base = next(item for item in found if item.retriever.name == first)
    for item in found:
        scope = item.retriever.name
        for name, figure in figures.items():
            values = figure(item.ranks)
            row: dict[str, Any] = {"metric": name, "scope": scope, "value": float(np.average(values, weights=weights))}
            if groups >= 2:
                mean = bootstrap_mean(values, seed, groups=test.targets, weights=weights)
                row |= {"low": mean.low, "high": mean.high}
            yield row
            if item is base:
                continue
            other = figure(base.ranks)
            gain: dict[str, Any] = {"metric": f"{name}_gain", "scope": scope}
            gain["value"] = float(np.average(values - other, weights=weights))
            if groups >= 2:
                paired = paired_bootstrap(values, other, seed, groups=test.targets, weights=weights)
                gain |= {"low": paired.low, "high": paired.high, "p_value": paired.p_value}
            yield gain
        if item.index_recall is not None:
            yield {"metric": f"index_recall_at_{_BEST}", "scope": scope, "value": item.index_recall}
