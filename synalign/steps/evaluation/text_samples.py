"""The texts that `text_quality` compares: real ones to compare with, and samples of real, raw and weighted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from synalign.errors import NotReadyError
from synalign.ids import child_seed
from synalign.numerics.alignment.dual import effective_size
from synalign.numerics.statistics.two_sample import resample
from synalign.steps.alignment.inputs import first_half
from synalign.steps.alignment.measure import MIN_TEST
from synalign.steps.core.context import Context
from synalign.steps.core.reading import records, require_real, vectors, weights_of
from synalign.store.lake.journal import Run
from synalign.store.lake.schemas import REAL, SYNTHETIC

#: The three sides, as `metrics.scope` has them.
REAL_SIDE, RAW, WEIGHTED = "real", "raw", "weighted"

#: Texts that a side has to be worth for figures that depend on how many texts there are.
MIN_TEXTS = 20

#: Real training texts that copies are looked for in, at most.
MAX_SOURCES = 100_000


@dataclass(frozen=True)
class TextSide:
    """Texts of one side. texts, weights: at most so many as were asked for, and what each counts, for sums over texts.
    drawn: the same number of texts on each side, drawn by weight, for figures that depend on it; none if the side is
    worth too few. vectors: float32 [drawn, d], theirs."""

    scope: str
    texts: list[str]
    weights: np.ndarray
    drawn: list[str]
    vectors: np.ndarray


@dataclass(frozen=True)
class Texts:
    """What is compared. reference, vectors: real training texts to be near to, and float32 [n, d]. sources: those that
    copies among synthetic texts are looked for in, all of them; others: those for real texts, which are not among them.
    test: all test texts. sides: of the real, raw and weighted scopes, those that there are.
    split: where the real side is from. notes: what to say of it."""

    reference: list[str]
    vectors: np.ndarray
    sources: list[str]
    others: list[str]
    test: list[str]
    sides: list[TextSide]
    split: str
    notes: list[str]


@dataclass(frozen=True)
class Records:
    """Records of the real training and test splits, and synthetic ones, with `weight` if there are weights."""

    train: pl.DataFrame
    test: pl.DataFrame
    synthetic: pl.DataFrame


def read_records(context: Context, run: Run | None) -> Records:
    """Return the records whose texts are compared, with the weights of a run if one is given.

    Raises:
        NotReadyError: without real training records, or synthetic ones.
    """
    return Records(require_real(context), records(context, REAL, split="test"), _synthetic(context, run))


def choose_texts(context: Context, found: Records, embedder: str, sample: int, seed: int) -> Texts:
    """Return the texts to compare: at most `sample` of each side, drawn by multiplicity, the weighted ones by weight.

    Real texts are compared with the real training texts too, never with themselves: they are those of the test split
    where it has MIN_TEST records, else one half of the training texts, and the other half is what all are compared
    with.
    """
    train, test, synthetic = found.train, found.test, found.synthetic
    notes: list[str] = []
    split, reference, held = "test", train, test
    if test.height < MIN_TEST:
        split, half = "train", first_half(train["id"])
        reference, held = train.filter(half), train.filter(~half)
        if not (reference.height and held.height):
            reference, held = train, train.clear()
            notes.append(f"{train.height} real training records have no two halves: no real side to compare with")
    pools = {REAL_SIDE: (held, "multiplicity", REAL), RAW: (synthetic, "multiplicity", SYNTHETIC)}
    if "weight" in synthetic.columns and synthetic["weight"].sum() > 0:
        pools[WEIGHTED] = (synthetic, "weight", SYNTHETIC)
    amounts = {scope: frame[column].to_numpy().astype(np.float64) for scope, (frame, column, _) in pools.items()}
    worth = {scope: int(effective_size(array / array.sum()) + 1e-9) for scope, array in amounts.items() if array.any()}
    few = {scope: count for scope, count in worth.items() if count < MIN_TEXTS}
    count = min([sample, *(size for scope, size in worth.items() if scope not in few)])
    notes += [
        f"figures that depend on how many texts there are leave out the {scope} side: it is worth {size} records, and "
        f"{MIN_TEXTS} are needed"
        for scope, size in few.items()
    ]
    sides = []
    for scope, (frame, _, origin) in pools.items():
        if scope not in worth:
            continue
        rows, weights = _some(amounts[scope], sample, child_seed(seed, scope, "sums"))
        drawn = np.empty(0, np.int64)
        if scope not in few:
            drawn = resample(amounts[scope], count, child_seed(seed, scope, "draw"))
        texts = frame["text"]
        matrix = _vectors(context, embedder, origin, frame["id"], drawn)
        sides.append(TextSide(scope, texts.gather(rows).to_list(), weights, texts.gather(drawn).to_list(), matrix))
    amount = reference["multiplicity"].to_numpy().astype(np.float64)
    near = _drawn(amount, sample, child_seed(seed, "reference"))
    sources, others = (_sources(frame, child_seed(seed, "sources"), notes) for frame in (train, reference))
    return Texts(
        reference["text"].gather(near).to_list(),
        _vectors(context, embedder, REAL, reference["id"], near),
        sources,
        others,
        test["text"].to_list(),
        sides,
        split,
        notes,
    )


def _sources(frame: pl.DataFrame, seed: int, notes: list[str]) -> list[str]:
    """Return the different texts of records, at most MAX_SOURCES of them."""
    texts = frame["text"].unique(maintain_order=True)
    if texts.len() > MAX_SOURCES:
        said = f"copies were looked for in {MAX_SOURCES:,} of the {texts.len():,} real training texts"
        notes += [said] if said not in notes else []
        texts = texts.sample(MAX_SOURCES, seed=seed)
    return texts.to_list()


def _synthetic(context: Context, run: Run | None) -> pl.DataFrame:
    frame = records(context, SYNTHETIC, split="train")
    if not frame.height:
        if records(context, SYNTHETIC, with_excluded=True).height:
            raise NotReadyError(
                "All synthetic records are excluded, or none is in the train split. Take some back: ws.include('true') "
                "('synalign include DIR true')."
            )
        raise NotReadyError(
            "There are no synthetic records whose text could be compared. Generate some (ws.select(), ws.reason(), "
            "ws.generate()), or ingest text that another generator wrote: ws.ingest('file.jsonl', synthetic=True)."
        )
    if run is None:
        return frame
    weights = weights_of(context, run)
    return frame.join(weights, on="id", how="left", maintain_order="left").with_columns(pl.col("weight").fill_null(0.0))


def _some(amounts: np.ndarray, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and what each counts: all that do, or as many draws, of which one that comes twice counts twice."""
    used = np.flatnonzero(amounts > 0)
    if len(used) <= most:
        return used, amounts[used]
    rows, counts = np.unique(resample(amounts, most, seed), return_counts=True)
    return rows, counts.astype(np.float64)


def _drawn(amounts: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return at most so many rows by multiplicity, each as often as it came where there are no more."""
    if amounts.sum() <= most:
        return np.repeat(np.arange(len(amounts)), amounts.astype(np.int64))
    return resample(amounts, most, seed)


def _vectors(
    context: Context, embedder: str, origin: str, ids: pl.Series, rows: Sequence[int] | np.ndarray
) -> np.ndarray:
    there, places = np.unique(rows, return_inverse=True)
    if not len(there):
        return np.empty((0, 0), dtype=np.float32)
    return vectors(context, embedder, origin, ids.gather(there))[places]
