"""evaluate: is a model better on held-out real records if it is trained on synthetic records too?

Each seed draws training records of both sides anew, chooses strength and share on its real ones, trains a model for
each method and measures all of them on the same test records. `learning_curve` repeats that for several numbers of real
records.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from synalign.config import Evaluate, EvaluateRequest, LearningCurveRequest, override
from synalign.errors import UsageError
from synalign.ids import child_seed
from synalign.models.registry import classifier
from synalign.numerics.alignment.strength import FOLDS, paired
from synalign.numerics.evaluation.learning_curve import worth
from synalign.numerics.evaluation.mixtures import REFERENCE, Method
from synalign.numerics.statistics.intervals import t_interval
from synalign.steps.alignment.align import align_inputs
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.run_step import Result, run_step
from synalign.steps.embedding import embed as embedding
from synalign.steps.evaluation.ablation import Verdict, draw, evaluate_draw
from synalign.steps.evaluation.data import CURRENT, EvaluationData, as_arrays, methods_of, read_labelled
from synalign.store.lake.journal import Clock, Plan

#: The version of the algorithm, part of every run's name.
_VERSION = 1

_TABLES = ("evaluations", "metrics")

#: Figures of a model; the columns of `evaluations` and the names in `metrics`.
FIGURES = ("accuracy", "macro_f1", "log_loss", "calibration_error")

#: What a figure's paired difference is called, and the method that it is from.
AGAINST = (("gain", REFERENCE), ("over_real", "real"))

#: The methods of a learning curve.
CURVE = ("real", REFERENCE, "real+weighted")

#: Test records below which the outcome says that they are few.
_FEW_TEST = 100


def evaluate(context: Context, request: EvaluateRequest) -> Outcome:
    """Train and judge a model for each method, and write `evaluations` and `metrics`; the view `ablation` sums them up.

    What is left out is taken from the configuration, section `evaluate`. How `weighted` is learned follows the section
    `align`.

    Raises:
        NotReadyError: without real, synthetic or test records, or labels of them.
        UsageError: for one label alone, too few records, a label that is in the test split only, test records whose
            text is trained on, or a method, model or setting that is not known.
        ModelError: if a model needs what is not installed or not there.
    """
    return _evaluate(context, override(context.config.evaluate, request), request.embedder, curve=False)


def learning_curve(context: Context, request: LearningCurveRequest) -> Outcome:
    """Do the same for several numbers of real records, and for all of them; the view `learning_curve` sums it up.

    Methods are by default real records alone, and with synthetic ones as they come and weighted. `sizes` above the
    number of real records are left out.

    Raises:
        As `evaluate`.
    """
    settings = override(context.config.evaluate, request)
    if not settings.methods:
        settings = settings.model_copy(update={"methods": CURVE})
    return _evaluate(context, settings, request.embedder, curve=True)


def _evaluate(context: Context, settings: Evaluate, embedder: str | None, *, curve: bool) -> Outcome:
    align = context.config.align
    trained = classifier(settings.model, **settings.settings)
    current = context.journal.current("align")
    rows = methods_of(settings, current is not None)
    frames = read_labelled(context, settings, align)
    chosen = embedding.resolve(context, embedder, synthetic_fit=True)
    clock = Clock()
    parameters = settings.model_dump(mode="json", exclude=set() if curve else {"sizes"})
    parameters |= {"methods": [method.name for method in rows], "embedder": chosen.name}
    parameters |= {"align": align.model_dump(mode="json", exclude={"device", "weight_set"})}
    inputs = align_inputs(context, chosen.run_id)
    if CURRENT in rows and current is not None:
        inputs.append(current.run_id)
    step = "learning_curve" if curve else "evaluate"
    plan = Plan(step, parameters, inputs, context.config.seed, version=_VERSION)

    def work() -> Result:
        seed = child_seed(context.config.seed, "evaluate")
        used = current if CURRENT in rows else None
        evaluation = as_arrays(context, frames, align, chosen.name, used, seed)
        sizes = (
            _sizes(evaluation, settings)
            if curve
            else [_size(len(evaluation.real), settings.real, settings, "real training")]
        )
        written = _size(len(evaluation.synthetic), settings.synthetic, settings, "synthetic")
        notes = [*evaluation.notes, *_cautions(evaluation, align.model_dump(), sizes, written, curve)]
        total, verdicts = settings.seeds * len(sizes) * len(rows), dict[tuple[str, int], list[Verdict]]()
        count = 0

        def count_trained() -> None:
            nonlocal count
            count += 1
            context.progress("evaluating", count, total)

        context.progress("evaluating", 0, total)
        for size in sizes:
            for number in range(settings.seeds):
                drawn = draw(evaluation, child_seed(seed, number), size, written)
                for verdict in evaluate_draw(evaluation, drawn, rows, trained, align, count_trained):
                    verdict.row["seed"] = number
                    verdicts.setdefault((verdict.row["method"], size), []).append(verdict)
        table = [{"embedder": chosen.name} | verdict.row for found in verdicts.values() for verdict in found]
        common = {"split": "test", "seed": context.config.seed}
        figures = [
            common | row for size in sizes for row in _figures(verdicts, rows, size, f"@{size}" if curve else "")
        ]
        if curve:
            figures += [common | row for row in _worth(verdicts, rows, sizes, seed)]
        counts = _counts(verdicts, rows, sizes, settings, evaluation)
        return Result({"evaluations": table, "metrics": figures}, counts, notes)

    return run_step(context, clock, plan, work)


def _size(there: int, wanted: int | None, settings: Evaluate, what: str) -> int:
    """Return how many records of a side each seed draws."""
    if wanted is None:
        return max(1, math.ceil(there * settings.train_share))
    if wanted > there:
        raise UsageError(
            f"Each draw is to have {wanted:,} {what} records, and there are {there:,} with a label. Ask for fewer, or "
            f"leave the number out: then it is a share of them, train_share = {settings.train_share:g}."
        )
    if wanted < FOLDS and what != "synthetic":
        raise UsageError(
            f"Each draw needs {FOLDS} {what} records or more, one for each fold of the cross-validation; given: "
            f"{wanted}."
        )
    return wanted


def _sizes(evaluation: EvaluationData, settings: Evaluate) -> list[int]:
    there = len(evaluation.real)
    sizes = sorted({size for size in settings.sizes if size < there} | {there})
    if sizes[0] < FOLDS:
        raise UsageError(
            f"A learning curve starts at {FOLDS} real records or more, one for each fold of the cross-validation; "
            f"given: {sizes[0]}."
        )
    return sizes


def _figures(
    verdicts: dict[tuple[str, int], list[Verdict]], rows: Sequence[Method], size: int, suffix: str
) -> list[dict[str, Any]]:
    """Return the rows of `metrics` for one number of real records: each figure's mean over the seeds, and its paired
    differences from the mix as it comes and from real records alone."""
    found = []
    names = [method.name for method in rows]
    for name in names:
        own = verdicts[name, size]
        sizes = {"real_records": size, "synthetic_records": own[0].row["synthetic_records"], "scope": name + suffix}
        for figure in FIGURES:
            values = np.array([verdict.row[figure] for verdict in own])
            found.append(sizes | _interval(figure, values))
            for against, other in AGAINST:
                if other in names and other != name:
                    theirs = np.array([verdict.row[figure] for verdict in verdicts[other, size]])
                    found.append(sizes | _interval(f"{figure}_{against}", values - theirs))
        found.append(sizes | {"metric": "accuracy_test_error", "value": _test_error(own)})
        for against, other in AGAINST:
            if other in names and other != name:
                error = _test_error(own, verdicts[other, size])
                found.append(sizes | {"metric": f"accuracy_{against}_test_error", "value": error})
    return found


def _worth(
    verdicts: dict[tuple[str, int], list[Verdict]], rows: Sequence[Method], sizes: Sequence[int], seed: int
) -> Iterator[dict[str, Any]]:
    """Yield what each mixture is worth in real records, where real records alone were tried in several numbers; what is
    beyond those numbers is null."""
    names = [method.name for method in rows]
    if "real" not in names or len(sizes) < 2:
        return

    def accuracies(name: str) -> np.ndarray:
        return np.array([[verdict.row["accuracy"] for verdict in verdicts[name, size]] for size in sizes]).T

    for method in rows:
        if method.real and method.way is not None:
            for found in worth(sizes, accuracies("real"), accuracies(method.name), seed):
                yield {
                    "metric": "real_labels_worth",
                    "scope": f"{method.name}@{found.real_records}",
                    "real_records": found.real_records,
                    "synthetic_records": verdicts[method.name, found.real_records][0].row["synthetic_records"],
                    "value": None if found.bound else found.equivalent,
                    "low": None if found.low_bound or math.isnan(found.low) else found.low,
                    "high": None if found.high_bound or math.isnan(found.high) else found.high,
                }


def _interval(metric: str, values: np.ndarray) -> dict[str, Any]:
    mean, low, high = t_interval(values)
    return {"metric": metric, "value": mean, "low": low, "high": high}


def _test_error(own: Sequence[Verdict], other: Sequence[Verdict] = ()) -> float:
    """Return the standard error that comes of the test records being few: of the mean over seeds, record by record."""
    mine = np.mean([verdict.correct for verdict in own], axis=0)
    theirs = np.mean([verdict.correct for verdict in other], axis=0) if other else np.zeros_like(mine)
    return paired(mine, theirs)[1]


def _counts(
    verdicts: dict[tuple[str, int], list[Verdict]],
    rows: Sequence[Method],
    sizes: Sequence[int],
    settings: Evaluate,
    evaluation: EvaluationData,
) -> dict[str, Any]:
    """Return what an outcome says: of the largest number of real records."""
    size = sizes[-1]
    means = {
        method.name: float(np.mean([verdict.row["accuracy"] for verdict in verdicts[method.name, size]]))
        for method in rows
    }
    best = max(means, key=lambda name: means[name])
    counts: dict[str, Any] = {"model": settings.model, "seeds": settings.seeds, "real_records": size}
    counts |= {"test_records": len(evaluation.test_codes), "best": best, "accuracy": means[best]}
    return counts | {f"accuracy_{name}": means[name] for name in CURVE if name in means and name != best}


def _cautions(
    evaluation: EvaluationData, align: dict[str, Any], sizes: Sequence[int], written: int, curve: bool
) -> list[str]:
    """Return what a reader should know before believing the table."""
    notes = []
    if len(evaluation.test_codes) < _FEW_TEST:
        notes.append(
            f"{len(evaluation.test_codes)} test records are few: see the column test_error, which the intervals over "
            "the seeds do not hold"
        )
    if not curve and sizes[0] == len(evaluation.real) and written == len(evaluation.synthetic):
        notes.append("each seed trains on all records: the intervals hold what a seed decides, not what a draw does")
    ignored = [name for name in ("max_weight_ratio", "min_effective_share") if align[name] is not None]
    ignored += ["label_shares"] if isinstance(align["label_shares"], dict) else []
    ignored += ["features"] if isinstance(align["features"], str) else []
    if ignored:
        notes.append(
            f"the weights of each draw are learned without {', '.join(ignored)} of the section align; real+current has "
            "the weights of the workspace as they are"
        )
    return notes
