"""Finds what was derived from some real records: by ids that lead from one row to the next, and by searching the
messages of calls for their texts. Frames in, ids out.

A selection shows records, its calls quote them, and attributes and synthetic records come from the replies. Attributes
spread further: `generate` recombines them across selections, a merge of the vocabulary shows those of all selections,
and records already written for a selection are shown when more are asked for. So the search is repeated until it finds
nothing new.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import polars as pl

from synalign.store.disk.byte_search import quoted_in
from synalign.store.lake.schemas import REAL, SYNTHETIC

#: Only texts of at least so many characters count as quotations: a shorter one may have been written independently.
QUOTATION = 16

_WORD = re.compile(r"\w{4,}")

#: Given texts, and whether only calls about the vocabulary of all selections count: the calls that hold one of them.
Quoting = Callable[[Iterable[str], bool], set[str]]


@dataclass(frozen=True)
class Frames:
    """Rows of a workspace. selections: selection_id, demonstrations, record_id. attributes: id, run_id, selection_id,
    call_id, attributes. values: attributes_id, name, kind, value, stated. annotations: run_id, origin, id, call_id,
    name, value, stated. synthetic: id, text, call_id, selection_id, attributes_id. rejections: call_id, text. calls:
    call_id, run_id, step, selection_id, repairs."""

    selections: pl.DataFrame
    attributes: pl.DataFrame
    values: pl.DataFrame
    annotations: pl.DataFrame
    synthetic: pl.DataFrame
    rejections: pl.DataFrame
    calls: pl.DataFrame


@dataclass
class Lineage:
    """Ids of the rows to remove. telling: attribute values that could only have come from the forgotten records."""

    selections: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    synthetic: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    telling: set[str] = field(default_factory=set)

    def size(self) -> int:
        """The number of ids and values found."""
        return len(self.selections) + len(self.attributes) + len(self.synthetic) + len(self.calls) + len(self.telling)


def trace_lineage(frames: Frames, real: set[str], texts: pl.Series, others: pl.Series, quoting: Quoting) -> Lineage:
    """Return what was derived from the real records of some ids.

    Args:
        real: their ids. texts: what they say.
        others: the texts of all other real records: words that these contain as well identify no forgotten record.
        quoting: finds calls whose messages contain a text.
    """
    found = Lineage()
    shown = frames.selections.explode("demonstrations", empty_as_null=True)
    named = list(real)
    hit = pl.col("demonstrations").is_in(named) | pl.col("record_id").is_in(named)
    found.selections = _names(shown.filter(hit.fill_null(False)), "selection_id")
    mentioned = Mentions(texts, others)
    looked_for: set[str] = set()
    size = -1
    while found.size() > size:
        size = found.size()
        _add_attributes(frames, found, real, mentioned)
        _add_synthetic(frames, found)
        _add_calls(frames, found, real)
        new = _quotable(frames, found, mentioned) - looked_for
        found.calls |= quoting(new, False)
        found.calls |= quoting(found.telling - looked_for, True)
        looked_for |= new | found.telling
    return found


class Mentions:
    """The words and values that occur in the forgotten records and in no other real record."""

    def __init__(self, texts: pl.Series, others: pl.Series) -> None:
        self._theirs, self._exact = texts.str.to_lowercase(), texts
        self._others, self._others_exact = others.str.to_lowercase(), others

    def alone(self, values: Iterable[str]) -> set[str]:
        """Return those of some values that stand in one of these texts and in no other one, in whatever case."""
        wanted = {value: value.lower() for value in values if len(value) >= 4}
        theirs = quoted_in(sorted(set(wanted.values())), self._theirs)
        anybody = quoted_in(sorted(theirs), self._others)
        return {value for value, lower in wanted.items() if lower in theirs - anybody}

    def words(self) -> set[str]:
        """Return the words, in lower case, that stand in these texts and in no other one."""
        return self.alone({word for text in self._theirs.to_list() for word in _WORD.findall(text)})

    def unlike_others(self, texts: Iterable[str]) -> set[str]:
        """Return those of some texts that are long enough to be quotations, and stand in no other real text."""
        long = sorted({text for text in texts if text and len(text) >= QUOTATION})
        return set(long) - quoted_in(long, self._others_exact)


def _add_attributes(frames: Frames, found: Lineage, real: set[str], mentioned: Mentions) -> None:
    rows = frames.attributes
    own = pl.col("selection_id").is_in(list(found.selections)) | pl.col("call_id").is_in(list(found.calls))
    found.attributes |= _names(rows.filter(own.fill_null(False)), "id")
    items = _stated(frames)
    of_them = pl.col("id").is_in(list(found.attributes))
    theirs = items.filter(of_them)
    anybody = items.filter(pl.col("call_id").is_not_null() & ~of_them).select("name", "value")
    private = theirs.join(anybody, on=["name", "value"], how="anti")
    annotated = frames.annotations.filter(_of_records(real, found.synthetic))
    categories = {*theirs.filter(pl.col("kind") == "category")["value"], *annotated["stated"].drop_nulls()}
    found.telling |= mentioned.alone(categories)
    quoted = private.filter(pl.col("kind") == "text").select("name", "value").unique()
    drawn = items.filter(pl.col("call_id").is_null())
    found.attributes |= _names(drawn.join(quoted, on=["name", "value"], how="semi"), "id")
    found.attributes |= _names(drawn.filter(pl.col("value").is_in(list(found.telling))), "id")


def _stated(frames: Frames) -> pl.DataFrame:
    """Return each attribute as it was stated, with its kind: id, call_id, name, value, kind."""
    items = frames.attributes.select("id", "call_id", "attributes").explode("attributes", empty_as_null=True)
    items = items.filter(pl.col("attributes").is_not_null()).unnest("attributes")
    kinds = frames.values.select(pl.col("attributes_id").alias("id"), "name", "kind")
    return items.join(kinds, on=["id", "name"], how="left").with_columns(pl.col("kind").fill_null("text"))


def _add_synthetic(frames: Frames, found: Lineage) -> None:
    rows = frames.synthetic
    hit = (
        pl.col("selection_id").is_in(list(found.selections))
        | pl.col("attributes_id").is_in(list(found.attributes))
        | pl.col("call_id").is_in(list(found.calls))
    )
    found.synthetic |= _names(rows.filter(hit.fill_null(False)), "id")


def _add_calls(frames: Frames, found: Lineage, real: set[str]) -> None:
    calls, attributes = frames.calls, frames.attributes
    ours = attributes.filter(pl.col("id").is_in(list(found.attributes)))
    written = frames.synthetic.filter(pl.col("id").is_in(list(found.synthetic)))
    annotated = frames.annotations.filter(_of_records(real, found.synthetic))
    for frame in (ours, written, annotated):
        found.calls |= _names(frame, "call_id")
    # A merge is asked about what all selections of its run stated.
    merging = (pl.col("step") == "reason") & pl.col("run_id").is_in(list(_names(ours, "run_id")))
    # What no annotation came of is a merge, or was shown records in vain.
    useful = list(_names(frames.annotations, "call_id"))
    looking = (pl.col("step") == "annotate") & pl.col("run_id").is_in(list(_names(annotated, "run_id")))
    common = pl.col("selection_id").is_null() & (merging | (looking & ~pl.col("call_id").is_in(useful)))
    hit = pl.col("selection_id").is_in(list(found.selections)).fill_null(False) | common
    found.calls |= _names(calls.filter(hit), "call_id")
    while True:  # a call that repairs another one shows its reply
        repairs = calls.filter(pl.col("repairs").is_in(list(found.calls)).fill_null(False))
        more = _names(repairs, "call_id") | _names(calls.filter(pl.col("call_id").is_in(list(found.calls))), "repairs")
        if more <= found.calls:
            return
        found.calls |= more


def _quotable(frames: Frames, found: Lineage, mentioned: Mentions) -> set[str]:
    """Return what was written from the records, which other calls may show: texts, kept or refused, and attributes."""
    written = frames.synthetic.filter(pl.col("id").is_in(list(found.synthetic)))["text"]
    refused = frames.rejections.filter(pl.col("call_id").is_in(list(found.calls)))["text"]
    items = _stated(frames)
    of_them = pl.col("id").is_in(list(found.attributes)) & pl.col("call_id").is_not_null()
    anybody = items.filter(~pl.col("id").is_in(list(found.attributes))).select("name", "value")
    private = items.filter(of_them & (pl.col("kind") == "text")).join(anybody, on=["name", "value"], how="anti")
    return mentioned.unlike_others({*written, *refused, *private["value"]})


def _of_records(real: set[str], synthetic: set[str]) -> pl.Expr:
    return ((pl.col("origin") == REAL) & pl.col("id").is_in(list(real))) | (
        (pl.col("origin") == SYNTHETIC) & pl.col("id").is_in(list(synthetic))
    )


def _names(frame: pl.DataFrame, column: str) -> set[str]:
    return set(frame[column].drop_nulls().to_list())
