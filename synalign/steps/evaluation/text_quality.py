"""text_quality: how varied the synthetic text is, what form it has, how near it is to real text, and what of real text
it repeats: for real, raw and weighted texts side by side. It learns nothing, and works without weights."""

from __future__ import annotations

from typing import Any

from synalign.config import Accept, TextQualityRequest
from synalign.errors import UsageError
from synalign.ids import child_seed
from synalign.llm.validation.leakage import Leakage
from synalign.steps.alignment.weight_sets import find_set, fitted_run, settings_of
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import record_runs
from synalign.steps.core.run_step import Result, run_step
from synalign.steps.embedding import embed as embedding
from synalign.steps.evaluation.text_figures import figures
from synalign.steps.evaluation.text_samples import MIN_TEXTS, choose_texts, read_records
from synalign.steps.forget.tombstones import forget_runs
from synalign.steps.lifecycle.status import stale_weights
from synalign.store.lake.journal import Clock, Plan, Run
from synalign.store.lake.schemas import ORIGINS

STEP = "text_quality"

#: Raised when other rows are written of the same texts.
_VERSION = 1

_MOST = 100_000


def text_quality(context: Context, request: TextQualityRequest) -> Outcome:
    """Compare the synthetic texts, as they came and weighted, with real ones, and write `metrics`, of which the view
    `text_quality` shows the newest.

    Raises:
        NotReadyError: without real training records, or synthetic ones, or the weights of a set that is named.
        UsageError: if there is no such set, or a number is out of range.
    """
    clock = Clock()
    weight_set, sample, seed = request.weight_set, request.sample, request.seed
    if isinstance(sample, bool) or not isinstance(sample, int) or not MIN_TEXTS <= sample <= _MOST:
        raise UsageError(f"sample must be a whole number of texts from {MIN_TEXTS} to {_MOST:,}; given: {sample!r}.")
    run = find_set(context, weight_set) if weight_set is not None or context.journal.runs("align") else None
    found = read_records(context, run)
    chosen = _embedder(context, run)
    accept, usual = context.config.accept, Accept()
    # A rule that is off has no threshold; what leaked is told by the usual one all the same.
    copied, near = accept.copied or usual.copied, accept.near_duplicate or usual.near_duplicate
    name = None if run is None else run.parameters["weight_set"]
    parameters = {"weight_set": name, "sample": sample, "copied": copied, "near_duplicate": near}
    start = context.config.seed if seed is None else seed
    plan = Plan(STEP, parameters | {"embedder": chosen.name}, _inputs(context, run, chosen.run_id), start, 0, _VERSION)

    def work() -> Result:
        context.progress("comparing texts", 0, 2)
        inner = child_seed(start, STEP)
        texts = choose_texts(context, found, chosen.name, sample, inner)
        leakage, base = (
            Leakage(sources, texts.test, float(copied), float(near)) for sources in (texts.sources, texts.others)
        )
        context.progress("comparing texts", 1, 2)
        common = {
            "weights_run_id": None if run is None else run.run_id,
            "weight_set": name,
            "split": texts.split,
            "seed": start,
        }
        rows = [common | row for row in figures(texts, leakage, base, inner)]
        context.progress("comparing texts", 2, 2)
        notes = [*texts.notes, *([] if run is None else stale_weights(context, run))]
        counts: dict[str, Any] = {"weight_set": name, "split": texts.split, "reference": len(texts.reference)}
        counts["texts"] = max((len(side.drawn) for side in texts.sides), default=0)
        counts |= {f"mauve_{row['scope']}": row["value"] for row in rows if row["metric"] == "mauve"}
        return Result({"metrics": rows}, counts, notes)

    return run_step(context, clock, plan, work)


def _embedder(context: Context, run: Run | None) -> embedding.Embedder:
    """Return the embedder that the weights were learned with, or the current one, with all records embedded."""
    if run is None:
        return embedding.resolve(context, synthetic_fit=True)
    chosen = embedding.named(context, settings_of(fitted_run(context, run))[1])
    embedding.apply(context, chosen)
    return chosen


def _inputs(context: Context, run: Run | None, embedder_run: str) -> list[str]:
    sources = [source.run_id for origin in ORIGINS for source in record_runs(context, origin)]
    verdicts = [source.run_id for source in context.journal.runs("exclude")]
    return [*([run.run_id] if run else []), embedder_run, *sources, *verdicts, *forget_runs(context)]
