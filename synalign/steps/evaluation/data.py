"""Reads the data of an evaluation: labelled real and synthetic training records, and test records, which nothing is
fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from synalign.config import Align, Evaluate
from synalign.errors import NotReadyError, UsageError
from synalign.models.protocol import Inputs
from synalign.numerics.alignment.strength import FOLDS, Labelled
from synalign.numerics.evaluation.mixtures import METHODS, Data, Method
from synalign.numerics.evaluation.reweighting import Corpus, hashed_ngrams
from synalign.steps.alignment.inputs import RecordArrays, base_measure, find_strata, read_arrays, read_frames
from synalign.steps.core.context import Context
from synalign.steps.core.reading import records, vectors, weights_of
from synalign.store.lake.journal import Run
from synalign.store.lake.schemas import REAL, SYNTHETIC

#: The row of the weights that the workspace has, as they are.
CURRENT = Method("real+current", True, "current")

#: Names of records that an error shows.
_SHOWN = 5


@dataclass(frozen=True)
class EvaluationData:
    """The records that training sets are drawn from, and the test records that models are measured on.

    labels: the names that codes stand for. real, synthetic, test: frames of id, text, label, ordered by id. data: the
    real and the synthetic training records as arrays, rows as in the frames. test_inputs, test_codes: the test records.
    notes: which records were left out, in sentences.
    """

    labels: list[str]
    real: pl.DataFrame
    synthetic: pl.DataFrame
    test: pl.DataFrame
    data: Data
    test_inputs: Inputs
    test_codes: np.ndarray
    notes: list[str]


@dataclass(frozen=True)
class Frames:
    """The labelled records of an evaluation, ordered by id, that have passed all checks."""

    labels: list[str]
    real: pl.DataFrame
    synthetic: pl.DataFrame
    test: pl.DataFrame
    notes: list[str]


def methods_of(settings: Evaluate, with_current: bool) -> list[Method]:
    """Return the rows that the settings name, all by default.

    Raises:
        UsageError: for a name that is none, or that of weights that the workspace does not have.
    """
    known = {method.name: method for method in [*METHODS, CURRENT]}
    wanted = settings.methods or [name for name in known if with_current or name != CURRENT.name]
    for name in wanted:
        if name not in known:
            raise UsageError(f"There is no method {name!r}; methods are {', '.join(known)}.")
    if CURRENT.name in wanted and not with_current:
        raise UsageError(
            f"The method {CURRENT.name!r} is of the weights that the workspace has, and it has none yet. Run "
            "ws.align() ('synalign align DIR'), or leave the method out."
        )
    return [known[name] for name in dict.fromkeys(wanted)]


def read_labelled(context: Context, settings: Evaluate, align: Align) -> Frames:
    """Return the labelled records of both sides and of the test split.

    Raises:
        NotReadyError: without real, synthetic or test records, or labels of them.
        UsageError: for one label alone, too few records, a label that is in the test split only, or test records whose
            text is trained on.
    """
    real, synthetic = read_frames(context, align)
    test = records(context, REAL, split="test")
    notes: list[str] = []
    sides = {"real training": real, "synthetic": synthetic, "test": test}
    for name, frame in sides.items():
        bare = frame["label"].null_count()
        if frame.height and bare == frame.height:
            raise NotReadyError(
                f"An evaluation trains a classifier, and no {name} record has a label. Ingest them with the column "
                "that holds it: ws.ingest(..., label='COLUMN') (--label COLUMN)."
            )
        if bare:
            notes.append(f"{bare:,} {name} records without a label are left out")
        sides[name] = frame.filter(pl.col("label").is_not_null())
    real, synthetic, test = sides.values()
    if not test.height:
        raise NotReadyError(
            "There are no test records to judge on. Set some aside when you ingest: ws.ingest(..., test_share=0.2) "
            "(--test-share 0.2), or name the column that says which: split='COLUMN' (--split COLUMN)."
        )
    labels = sorted(real["label"].unique().to_list())
    _require_enough(real, labels)
    _require_known(test, labels)
    unknown = synthetic.filter(~pl.col("label").is_in(labels))
    if unknown.height:
        synthetic = synthetic.filter(pl.col("label").is_in(labels))
        notes.append(f"{unknown.height:,} synthetic records have a label that no real one has, and are left out")
    if not synthetic.height:
        raise UsageError(f"No synthetic record has a label that a real one has: {_some(labels)}.")
    test = _without_overlap(test, {"real training": real, "synthetic": synthetic}, settings.overlap, notes)
    return Frames(labels, real, synthetic, test, notes)


def as_arrays(
    context: Context, frames: Frames, align: Align, embedder: str, current: Run | None, seed: int
) -> EvaluationData:
    """Return the records as arrays, with vectors of one embedder.

    Raises:
        UsageError: if no stratum is on both sides.
        InputError: if the prior column holds what is no weight.
    """
    strata = find_strata(frames.real, frames.synthetic, align)
    notes = [*frames.notes, *strata.notes]
    real = read_arrays(context, embedder, frames.real, REAL, strata, frames.labels)
    synthetic = read_arrays(context, embedder, frames.synthetic, SYNTHETIC, strata, frames.labels)
    base, said = base_measure(synthetic, align, seed)
    given = {} if current is None else {str(CURRENT.way): _weights(context, current, frames.synthetic)}
    usable = np.flatnonzero((synthetic.strata >= 0) & (base > 0))
    synthetic_frame = frames.synthetic[usable]
    given = {name: weights[usable] for name, weights in given.items()}
    both = _corpus(real, real.multiplicity), _corpus(synthetic, base).take(usable)
    data = Data(*both, len(frames.labels), given)
    test = frames.test
    inputs = Inputs(vectors(context, embedder, REAL, test["id"]), test["text"].to_list())
    codes = test["label"].replace_strict(frames.labels, range(len(frames.labels)), return_dtype=pl.Int64).to_numpy()
    return EvaluationData(frames.labels, frames.real, synthetic_frame, test, data, inputs, codes, [*notes, *said])


def _corpus(found: RecordArrays, weights: np.ndarray) -> Corpus:
    return Corpus(
        Labelled(found.matrix, weights, found.strata, found.labels), hashed_ngrams(found.frame["text"].to_list())
    )


def _weights(context: Context, run: Run, synthetic: pl.DataFrame) -> np.ndarray:
    """Return the weights of a set for these records, float64 [m]; 0 for a record that it does not have."""
    found = weights_of(context, run)
    joined = synthetic.select("id").join(found, on="id", how="left", maintain_order="left")
    return joined["weight"].fill_null(0.0).to_numpy()


def _require_enough(real: pl.DataFrame, labels: Sequence[str]) -> None:
    if len(labels) < 2:
        raise UsageError(
            f"All real training records have one label, {labels[0]!r}: there is nothing for a classifier to tell "
            "apart. Ingest records of another label, or look at the text alone: ws.text_quality() ('synalign "
            "text-quality DIR')."
        )
    if real.height < FOLDS:
        raise UsageError(
            f"The share of synthetic records is chosen by {FOLDS}-fold cross-validation over the real training "
            f"records, and there are {real.height}. Ingest at least {FOLDS}, better 50 and more."
        )


def _require_known(test: pl.DataFrame, labels: Sequence[str]) -> None:
    alone = test.filter(~pl.col("label").is_in(list(labels)))
    if alone.height:
        names = sorted(alone["label"].unique().to_list())
        raise UsageError(
            f"{alone.height:,} test records have a label that no training record has: {_some(names)}; the first are "
            f"{_some(alone['id'].to_list())}. No model can find it. The labels of training records are "
            f"{_some(labels)}. Ingest training records of it, or leave those test records out of the file."
        )


def _without_overlap(
    test: pl.DataFrame, trained: dict[str, pl.DataFrame], overlap: str, notes: list[str]
) -> pl.DataFrame:
    """Return the test records whose text nothing is trained on, or all, as the setting says."""

    def plain(frame: pl.DataFrame) -> pl.Series:
        """Return texts without what is no difference to a reader: case and white space."""
        return frame["text"].str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()

    mine = test.with_columns(plain(test).alias("_plain"))
    found = []
    for name, frame in trained.items():
        theirs = frame.select("id").with_columns(plain(frame).alias("_plain")).unique("_plain", keep="first")
        both = mine.join(theirs, on="_plain", how="inner", suffix="_trained", maintain_order="left")
        if both.height:
            pairs = [f"{one} = {other}" for one, other in both.select("id", "id_trained").rows()]
            found.append((name, both["id"], pairs))
    if not found:
        return test
    said = "; ".join(f"{len(pairs):,} are {name} texts ({_some(pairs)})" for name, _, pairs in found)
    if overlap == "refuse":
        raise UsageError(
            f"Test records are trained on, which flatters every figure: {said}. Leave them out of the judgement: "
            "overlap='drop' (--overlap drop), or keep them: overlap='keep'. Nothing was evaluated."
        )
    if overlap == "keep":
        notes.append(f"test records are trained on, and kept: {said}")
        return test
    gone = pl.concat([ids for _, ids, _ in found]).unique()
    notes.append(f"{len(gone):,} of {test.height:,} test records are trained on, and left out: {said}")
    kept = test.filter(~pl.col("id").is_in(gone.to_list()))
    if not kept.height:
        raise UsageError("All test records are trained on; there is none left to judge on.")
    return kept


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(str(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
