"""ab: two retrievers against each other, offline: their rankings of the test queries are interleaved, simulated users
click, and a test that may be looked at after every query says which one wins more often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from synalign.config import AbRequest
from synalign.errors import NotReadyError, UsageError
from synalign.ids import child_seed
from synalign.numerics.evaluation.interleaving import CLICK_MODELS, NOTHING, compare
from synalign.numerics.statistics.sequential import Stopping, Watched, sample_size, stopping_time, watch
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import record_runs, records
from synalign.steps.core.run_step import Result, run_step
from synalign.steps.forget.tombstones import forget_runs
from synalign.store.lake.journal import Clock, Plan
from synalign.store.lake.lake import is_in, quote
from synalign.store.lake.schemas import REAL, SPLITS, TABLES

STEP = "ab"

#: The words of `decision` for the sign of the difference.
DECISIONS = {1: "A is better", -1: "B is better", 0: "no difference seen yet"}

_TABLES = ("comparisons",)

#: Raised when another row is written of the same rankings.
_VERSION = 1


@dataclass(frozen=True)
class _Rankings:
    """Two rankings of the same queries: documents by number, int64 [n, depth], and the one that answers each, [n]."""

    a: np.ndarray
    b: np.ndarray
    relevant: np.ndarray


def ab(context: Context, a: str, b: str, request: AbRequest) -> Outcome:
    """Compare two retrievers by the newest rankings that each has in `rankings`, and write a row of `comparisons`.

    The document that answers a query is the label of the real record that the query is.

    Raises:
        UsageError: if a value is out of range, both retrievers are one, or one has no rankings.
        NotReadyError: if there are no rankings, or no query of the split that both ranked.
    """
    clock = Clock()
    _check(a, b, request)
    queries, depth, passes, alpha = request.queries, request.depth, request.passes, request.alpha
    seed = child_seed(context.config.seed, STEP) if request.seed is None else request.seed
    runs = {name: _newest(context, name) for name in (a, b)}
    settings = request.model_dump(exclude={"seed"})
    parameters = {"a": a, "b": b, "rankings": [runs[a], runs[b]]} | settings
    sources = [run.run_id for run in record_runs(context, REAL)]
    inputs = [*dict.fromkeys([runs[a], runs[b]]), *sources, *forget_runs(context)]
    plan = Plan(STEP, parameters, inputs, seed, version=_VERSION)

    def work() -> Result:
        notes: list[str] = []
        found = _read_rankings(context, runs, a, b, queries, depth, notes)
        outcomes = _outcomes(found, request.click_model, passes, request.shared, seed)
        if passes > 1:
            notes.append(
                f"every query was asked about {passes} times: the interval holds for these {len(found.a):,} queries, "
                "and says less about others"
            )
        watched = watch(outcomes, alpha, request.min_lift)
        tie_rate = float(np.mean(outcomes == 0))
        needed: Stopping | None = None
        if tie_rate < 1:
            needed = stopping_time(request.min_lift, request.power, alpha, tie_rate, seed=child_seed(seed, "needed"))
        row = _comparison_row(outcomes, watched, needed) | {
            "a": a, "b": b, "rankings_run_id": runs[a], "rankings_run_id_b": runs[b], "split": queries, "seed": seed,
            "queries": len(found.a), "lift": request.min_lift,
            "needed_at_once": None if needed is None else sample_size(request.min_lift, request.power, alpha, tie_rate),
        }  # fmt: skip
        row = {name: value for name, value in settings.items() if name not in ("queries", "min_lift")} | row
        names = [name for name in TABLES["comparisons"].schema.names if name not in ("run_id", "seed")]
        return Result({"comparisons": [row]}, {name: row[name] for name in names}, notes)

    return run_step(context, clock, plan, work)


def summary(counts: Mapping[str, Any]) -> str:
    """Return what a comparison found, as a paragraph for people; `counts` are those of the step's outcome."""
    a, b = counts["a"], counts["b"]
    total = counts["impressions"]
    if counts["win_rate"] is None:
        return (
            f"{a} against {b}: all of {total:,} impressions ended in a tie. These users cannot tell the two apart: "
            f"look deeper than {counts['depth']} documents, or take another click model."
        )
    decided = counts["wins_a"] + counts["wins_b"]
    level = f"{100 * (1 - counts['alpha']):g}%"
    better = {DECISIONS[1]: f"{a} is better", DECISIONS[-1]: f"{b} is better"}
    said = better.get(counts["decision"], counts["decision"])
    if counts["stopped_after"] is not None:
        said += f", which was clear after {counts['stopped_after']:,} of {total:,} impressions"
    return (
        f"{a} wins {_percent(counts['win_rate'])} of {decided:,} decided queries against {b} ({level} anytime "
        f"interval {_percent(counts['low'])} to {_percent(counts['high'])}): {said}. {counts['ties']:,} of {total:,} "
        f"impressions ended in a tie. To see a lift of {100 * counts['lift']:g} points "
        f"({_percent(0.5 + counts['lift'])} wins) at {100 * counts['power']:g}% power you would need about "
        f"{counts['needed_for_lift']:,} impressions if you look as they come, or {counts['needed_at_once']:,} if you "
        f"look once, at the end. Clicks are simulated ({counts['click_model']} users): this shows which one to test "
        "online, and does not replace that."
    )


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}%"


def _check(a: str, b: str, request: AbRequest) -> None:
    if a == b:
        raise UsageError(f"{a!r} cannot be compared with itself. Name two retrievers.")
    for name, known in (("queries", SPLITS), ("click_model", tuple(CLICK_MODELS))):
        if (value := getattr(request, name)) not in known:
            raise UsageError(f"{name} must be one of {', '.join(known)}; given: {value!r}.")
    for name, most in (("depth", 1_000), ("passes", 10_000)):
        count = getattr(request, name)
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= most:
            raise UsageError(f"{name} must be a whole number from 1 to {most:,}; given: {count!r}.")
    for name, high in (("alpha", 0.5), ("power", 1.0), ("min_lift", 0.5)):
        share = getattr(request, name)
        if not 0 < share < high:
            raise UsageError(f"{name} must be above 0 and below {high:g}; given: {share!r}.")
    if request.min_lift < 0.001:
        raise UsageError(
            f"min_lift is a win rate above one half, 0.02 for 52%; {request.min_lift!r} is below 0.001, which takes "
            "millions of impressions to see."
        )


def _newest(context: Context, retriever: str) -> str:
    """Return the current run that holds rankings of a retriever."""
    rows = context.lake.read("rankings", ["run_id"], f"retriever = {quote(retriever)}")
    holding = set(rows["run_id"].unique().to_pylist())
    for step in sorted({run.step for run in context.journal.runs() if run.run_id in holding}):
        for run in context.journal.latest(step):
            if run.run_id in holding:
                return run.run_id
    finished = [run.run_id for run in context.journal.runs()]
    there = context.lake.read("rankings", ["retriever"], is_in("run_id", finished))["retriever"].unique()
    if not len(there):
        raise NotReadyError(
            "There are no rankings to compare yet. Have two retrievers rank the test queries first: "
            "ws.evaluate_retrievers() ('synalign evaluate-retrieval DIR')."
        )
    raise UsageError(f"No rankings are called {retriever!r}; there are: {', '.join(sorted(there.to_pylist()))}.")


def _read_rankings(
    context: Context, runs: Mapping[str, str], a: str, b: str, split: str, depth: int, notes: list[str]
) -> _Rankings:
    asked = records(context, REAL, split=split).filter(pl.col("label").is_not_null()).select("id", "label")
    frames = [_best(context, runs[name], name, depth) for name in (a, b)]
    both = asked
    for frame in frames:
        both = both.join(frame, left_on="id", right_on="query_id", how="semi")
    if not both.height:
        raise NotReadyError(
            f"No record of the split {split!r} that has a label was ranked by both {a} and {b}: there are "
            f"{asked.height:,} such records, and the two ranked {frames[0]['query_id'].n_unique():,} and "
            f"{frames[1]['query_id'].n_unique():,} queries. Rank the same queries with both."
        )
    if both.height < asked.height:
        notes.append(f"{asked.height - both.height:,} of {asked.height:,} {split} queries were not ranked by both")
    both = both.sort("id").with_row_index("row")
    documents = pl.concat([*(frame["document_id"] for frame in frames), both["label"]]).unique().sort()
    number = documents.to_frame("document_id").with_row_index("number")
    matrices = [_matrix(frame, both, number, depth) for frame in frames]
    answers = both.select(pl.col("label").alias("document_id")).join(
        number, on="document_id", how="left", maintain_order="left"
    )
    return _Rankings(matrices[0], matrices[1], answers["number"].to_numpy().astype(np.int64))


def _best(context: Context, run_id: str, retriever: str, depth: int) -> pl.DataFrame:
    """Return the first documents of each query: query_id, place (from 0), document_id."""
    where = f"run_id = {quote(run_id)} and retriever = {quote(retriever)}"
    frame = context.lake.frame("rankings", ["query_id", "rank", "document_id"], where)
    place = pl.col("rank").rank("ordinal").over("query_id").cast(pl.Int64) - 1
    return frame.with_columns(place.alias("place")).filter(pl.col("place") < depth)


def _matrix(frame: pl.DataFrame, both: pl.DataFrame, number: pl.DataFrame, depth: int) -> np.ndarray:
    known = frame.join(both, left_on="query_id", right_on="id").join(number, on="document_id")
    matrix = np.full((both.height, depth), NOTHING, dtype=np.int64)
    matrix[known["row"].to_numpy(), known["place"].to_numpy()] = known["number"].to_numpy()
    return matrix


def _outcomes(found: _Rankings, click_model: str, passes: int, shared: bool, seed: int) -> np.ndarray:
    """Return who wins each impression, int8 [impressions], in the order in which they come."""
    random = np.random.default_rng(child_seed(seed, "order"))
    count = len(found.a)
    # Once each in any order they are a sample of all queries there might be; drawn with return, one of these queries.
    rows = random.permutation(count) if passes == 1 else random.integers(0, count, count * passes)
    model = CLICK_MODELS[click_model]
    parts = [
        compare(found.a[part], found.b[part], found.relevant[part], model, child_seed(seed, "users", n), shared=shared)
        for n, part in enumerate(np.array_split(rows, passes))
    ]
    return np.concatenate(parts)


def _comparison_row(outcomes: np.ndarray, watched: Watched, needed: Stopping | None) -> dict[str, Any]:
    stopped = None if watched.stopped is None else int(np.flatnonzero(outcomes)[watched.stopped - 1]) + 1
    any_decided = watched.decided > 0
    return {
        "impressions": len(outcomes),
        "wins_a": watched.wins,
        "wins_b": watched.decided - watched.wins,
        "ties": len(outcomes) - watched.decided,
        "win_rate": watched.wins / watched.decided if any_decided else None,
        "low": float(watched.low[-1]) if any_decided else None,
        "high": float(watched.high[-1]) if any_decided else None,
        "p_value": float(watched.p_value[-1]) if any_decided else None,
        "decision": DECISIONS[watched.decision],
        "stopped_after": stopped,
        "needed_for_lift": None if needed is None else needed.needed,
    }
