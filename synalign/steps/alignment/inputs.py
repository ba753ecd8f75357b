"""The inputs of an alignment, as arrays: vectors, strata, labels and base measure of each record, ordered by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from synalign.config import Align
from synalign.errors import InputError, NotReadyError, UsageError
from synalign.numerics.core.duplicates import group_prior, near_duplicate_groups
from synalign.steps.core.context import Context
from synalign.steps.core.reading import records, require_real, vectors
from synalign.store.lake.schemas import REAL, SYNTHETIC

#: The stratum that stands for all records together.
ALL = "*"

_KEY = "_stratum"


@dataclass(frozen=True)
class RecordArrays:
    """n records: real, synthetic or test ones. frame: id, text, label, split, multiplicity and matched columns, ordered
    by id. matrix: float32 [n, d], their vectors. strata: int64 [n], place in the list of strata, -1 for none. labels:
    int64 [n], place in the list of labels, 0 where there are none."""

    frame: pl.DataFrame
    matrix: np.ndarray
    strata: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """The number of records."""
        return self.frame.height

    def take(self, rows: np.ndarray) -> RecordArrays:
        """Return the records at these places, int64; the same object for all of them in order."""
        if len(rows) == len(self) and (rows == np.arange(len(self))).all():
            return self
        return RecordArrays(self.frame[rows], self.matrix[rows], self.strata[rows], self.labels[rows])

    @cached_property
    def multiplicity(self) -> np.ndarray:
        """How often each record counts, float64 [n]."""
        return self.frame["multiplicity"].to_numpy().astype(np.float64)

    @cached_property
    def first_half(self) -> np.ndarray:
        """Which records are in the first half, bool [n]: by the hash of the id, so that it is so in every run."""
        return first_half(self.frame["id"])


@dataclass(frozen=True)
class Strata:
    """What is matched jointly. names: of the strata, those that both sides have. labels: of the strata, the label that
    each belongs to, None where labels are not matched. columns: that make a stratum. notes: what to say of the strata
    that one side lacks. has_labels: whether both sides have labels at all."""

    names: list[str]
    labels: list[str | None]
    columns: list[str]
    notes: list[str]
    has_labels: bool


@dataclass(frozen=True)
class AlignmentInputs:
    """What an alignment reads. real: the training records. synthetic: those that are not excluded. test: real records
    that nothing is fitted to, none if there is no test split. strata: what is matched jointly."""

    real: RecordArrays
    synthetic: RecordArrays
    test: RecordArrays
    strata: Strata

    @property
    def label_names(self) -> list[str | None]:
        """The labels that the codes of `RecordArrays.labels` stand for."""
        return _label_names(self.real.frame, self.synthetic.frame)

    def with_synthetic(self, rows: np.ndarray) -> AlignmentInputs:
        """Return the same with some of the synthetic records, int64 places; codes of labels stay."""
        return replace(self, synthetic=self.synthetic.take(rows))


def first_half(ids: pl.Series) -> np.ndarray:
    """Return which records are in the first half, bool [n]: by the hash of the id, so that it is so in every run."""
    return np.array([sha256(f"half/1:{name}".encode()).digest()[0] < 128 for name in ids], dtype=bool)


def hash_sample(ids: pl.Series, size: int) -> np.ndarray:
    """Return the places of `size` of the ids, those of the smallest hashes, int64, ascending; of fewer ids, all. Where
    ids come in or go, all others that were in the sample stay, but for those that make room."""
    if len(ids) <= size:
        return np.arange(len(ids))
    hashes = np.array([sha256(f"sample/1:{name}".encode()).digest()[:8] for name in ids], dtype="S8").view(">u8")
    return np.sort(np.argpartition(hashes, size)[:size])


def read_frames(context: Context, settings: Align) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the real training records and the synthetic ones that can be weighted.

    Raises:
        NotReadyError: without real or synthetic records, saying how to get them.
        UsageError: if a column to match, or the prior, is not there.
    """
    real = require_real(context, columns=settings.match)
    extra = [*settings.match, *([settings.prior] if settings.prior else [])]
    synthetic = records(context, SYNTHETIC, split="train", columns=extra)
    if not synthetic.height:
        if records(context, SYNTHETIC, with_excluded=True).height:
            raise NotReadyError(
                "All synthetic records are excluded, or none is in the train split. Take some back: ws.include('true') "
                "('synalign include DIR true')."
            )
        raise NotReadyError(
            "There are no synthetic records to weight. Generate some (ws.select(), ws.reason(), ws.generate()), or "
            "ingest text that another generator wrote: ws.ingest('file.jsonl', synthetic=True)."
        )
    return real, synthetic


def find_strata(real: pl.DataFrame, synthetic: pl.DataFrame, settings: Align) -> Strata:
    """Return the strata to match: label by label unless the settings say otherwise, crossed with `match` columns.

    Raises:
        UsageError: if no stratum occurs on both sides.
    """
    has = [frame["label"].null_count() < frame.height for frame in (real, synthetic)]
    by_label = all(has) if settings.by_label is None else settings.by_label
    notes = []
    if settings.by_label is None and any(has) and not all(has):
        bare = SYNTHETIC if has[0] else REAL
        notes.append(
            f"the {bare} records have no labels, so labels are not matched; ingest them with label=... (--label)"
        )
    columns = strata_columns(by_label, settings)
    if not columns:
        return Strata([ALL], [None], [], notes, all(has))
    here, there = _keys(real, columns), _keys(synthetic, columns)
    both = here.join(there, on=_KEY, how="semi").sort(*[pl.col(name).is_null() for name in columns], *columns)
    what = "label" if columns == ["label"] else f"combination of {', '.join(columns)}"
    if not both.height:
        raise UsageError(
            f"No {what} occurs on both sides: real has {_some(here)}, synthetic has {_some(there)}. Give the synthetic "
            "records the real values, or align without them: by_label=False (--no-by-label), or fewer columns to match."
        )
    lacking, idle = here.join(both, on=_KEY, how="anti"), there.join(both, on=_KEY, how="anti")
    if lacking.height:
        notes.append(
            f"no synthetic record has the {what} {_some(lacking)}: the others keep the proportions among themselves. "
            "Generate some for it"
        )
    if idle.height:
        count = synthetic.with_columns(_key(columns)).join(idle, on=_KEY, how="semi").height
        notes.append(f"{count} synthetic records have the {what} {_some(idle)}, which no real one has: no weight")
    names = both[_KEY].to_list()
    return Strata(names, both["label"].to_list() if by_label else [None] * len(names), columns, notes, all(has))


def strata_columns(by_label: bool, settings: Align) -> list[str]:
    """Return the columns that make a stratum, each once."""
    return list(dict.fromkeys([*(["label"] if by_label else []), *settings.match]))


def read_inputs(
    context: Context, embedder: str, real: pl.DataFrame, synthetic: pl.DataFrame, strata: Strata
) -> AlignmentInputs:
    """Return real and synthetic records, and those of the test split, as arrays with the vectors of one embedder."""
    test = records(context, REAL, split="test", columns=[name for name in strata.columns if name != "label"])
    labels = _label_names(real, synthetic)
    return AlignmentInputs(
        read_arrays(context, embedder, real, REAL, strata, labels),
        read_arrays(context, embedder, synthetic, SYNTHETIC, strata, labels),
        read_arrays(context, embedder, test, REAL, strata, labels),
        strata,
    )


def read_arrays(
    context: Context,
    embedder: str,
    frame: pl.DataFrame,
    origin: str,
    strata: Strata,
    labels: Sequence[str | None] = (),
) -> RecordArrays:
    """Return records as arrays, with the vectors of one embedder; codes of labels are places in `labels`."""
    places = np.zeros(frame.height, dtype=np.int64)
    if strata.columns:
        keyed = frame.with_columns(_key(strata.columns))[_KEY]
        codes = keyed.replace_strict(strata.names, range(len(strata.names)), default=-1, return_dtype=pl.Int64)
        places = codes.to_numpy()
    known = frame["label"].replace_strict(list(labels), range(len(labels)), default=0, return_dtype=pl.Int64)
    return RecordArrays(frame, vectors(context, embedder, origin, frame["id"]), places, known.to_numpy())


def base_measure(synthetic: RecordArrays, settings: Align, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return what each synthetic record weighs before anything is learned, float64 [m], and what to say of it:
    its multiplicity, times the prior column, near-duplicates sharing one budget.

    Raises:
        InputError: if the prior has a value that is no number of at least 0, or no value above 0 in a stratum.
    """
    # With duplicates on, the copies that multiplicity counts share one budget, too.
    base = synthetic.multiplicity if settings.duplicates is None else np.ones(len(synthetic))
    notes: list[str] = []
    if settings.prior is not None:
        base = base * _prior(synthetic, settings.prior)
    if settings.duplicates is not None:
        groups = near_duplicate_groups(synthetic.matrix, settings.duplicates, seed)
        # Copies of a text with different labels are different records: the budget is for each label.
        _, groups = np.unique(np.stack([groups, synthetic.strata]), axis=1, return_inverse=True)
        base = group_prior(base, groups.ravel())
        count = len(np.unique(groups))
        notes.append(f"{len(synthetic) - count} of {len(synthetic)} records are near-duplicates: {count} budgets")
    return base, notes


def given_shares(settings: Align, strata: Strata, real: RecordArrays) -> np.ndarray | None:
    """Return the shares of the strata that the settings give for labels, float64 [strata], or None if they give none.
    Within a label, the strata keep their real proportions.

    Raises:
        UsageError: if a label is missing or unknown, or labels are not matched, or all shares are 0.
    """
    wanted = settings.label_shares
    if not isinstance(wanted, dict):
        return None
    if "label" not in strata.columns:
        raise UsageError("label_shares gives shares of labels, and labels are not matched here. Leave it out.")
    known = ["(none)" if name is None else name for name in strata.labels]
    if set(wanted) != set(known) or sum(wanted.values()) <= 0:
        raise UsageError(
            f"label_shares must give a share for each label that both sides have, and no other: "
            f"{_first(sorted(set(known)))}. Given: {_first(list(wanted))}, with a sum of {sum(wanted.values()):g}."
        )
    counts = np.bincount(real.strata[real.strata >= 0], real.multiplicity[real.strata >= 0], minlength=len(known))
    names, codes = np.unique(known, return_inverse=True)
    totals = np.bincount(codes, counts)
    shares = np.array([wanted[name] for name in names.tolist()])[codes] * counts / totals[codes]
    return np.asarray(shares / shares.sum())


def rows_of_strata(strata: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the rows of each of `count` strata, in order."""
    order = np.argsort(strata, kind="stable")
    bounds = np.searchsorted(strata[order], np.arange(count + 1))
    return [order[start:end] for start, end in pairwise(bounds)]


def _prior(synthetic: RecordArrays, column: str) -> np.ndarray:
    frame = synthetic.frame
    values = frame[column]
    if not values.dtype.is_numeric():
        raise InputError(f"The prior column {column!r} must hold numbers; it holds {values.dtype}.")
    numbers = values.cast(pl.Float64)
    bad = frame.filter(~(numbers.is_finite() & (numbers >= 0)).fill_null(False))
    if bad.height:
        raise InputError(
            f"The prior column {column!r} must hold finite numbers of at least 0; {bad.height} records do not, the "
            f"first is {bad['id'][0]!r} with {bad[column][0]}. No weights were learned."
        )
    if not (numbers > 0).any():
        raise InputError(f"The prior column {column!r} holds no number above 0. No weights were learned.")
    found = numbers.to_numpy()
    for rows in rows_of_strata(synthetic.strata, int(synthetic.strata.max()) + 1):
        if len(rows) and not found[rows].any():
            raise InputError(
                f"The prior column {column!r} is 0 for all {len(rows)} records that are matched together with "
                f"{frame['id'][int(rows[0])]!r} (label {frame['label'][int(rows[0])]!r}), which leaves none to weight. "
                "Exclude them, or give one a number above 0. No weights were learned."
            )
    return found


def _label_names(real: pl.DataFrame, synthetic: pl.DataFrame) -> list[str | None]:
    return sorted({name for frame in (real, synthetic) for name in frame["label"].unique().to_list()}, key=str)


def _key(columns: Sequence[str]) -> pl.Expr:
    """Return the name of each record's stratum: the label as it is, and "column=value" of the other columns."""
    label = pl.col("label").cast(pl.String).fill_null("(none)")
    parts = [
        pl.when(label == ALL).then(pl.lit(f"'{ALL}'")).otherwise(label)
        if name == "label"
        else pl.format("{}={}", pl.lit(name), pl.col(name).cast(pl.String).fill_null("(none)"))
        for name in columns
    ]
    return pl.concat_str(parts, separator=" | ").alias(_KEY)


def _keys(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    return frame.select(_key(columns), *columns).unique(_KEY, maintain_order=True)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _some(found: pl.DataFrame) -> str:
    names: list[Any] = sorted(found[_KEY].to_list())
    shown = [name if name == "(none)" else repr(name) for name in names[:8]]
    return ", ".join(shown) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
