"""forget: removes real records for good, with everything that was derived from them and quotes them.

This module plans it, `execute` carries it out, and `verify` searches every file for what should be gone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pyarrow as pa

from synalign import ids
from synalign.config import PersonalKind
from synalign.errors import UsageError
from synalign.llm.prompting.prompts import data_json
from synalign.llm.validation.personal import Redactor
from synalign.steps.calling.spending import worth
from synalign.steps.core.context import Context, Outcome
from synalign.steps.corpus.documents import documents
from synalign.steps.embedding import embed as embedding
from synalign.steps.forget import plan_file
from synalign.steps.forget.execute import carry_out
from synalign.steps.forget.lineage import QUOTATION, Frames, Lineage, Mentions, trace_lineage
from synalign.steps.forget.plan_file import ForgetPlan, Removal, Replacement
from synalign.steps.forget.tombstones import digests, known, last_forgotten, names_of, new_salt, salt_of
from synalign.steps.lifecycle.gc import drop_unfinished
from synalign.store.disk.byte_search import ByteSearch, forms, quoted_in
from synalign.store.lake.lake import is_in, quote
from synalign.store.lake.schemas import REAL, SYNTHETIC, index_table, vectors_table

#: What stands in the place of words that quoted a record.
FORGOTTEN = "[forgotten]"

_CALLS = ("call_id", "run_id", "step", "selection_id", "repairs")
_SAID = ("system", "user", "reply", "error")
_WRITERS: tuple[Callable[[str], str], ...] = (json.dumps, ids.canonical_json, lambda text: str(data_json(text)))
_SHOWN = 10


def forget(context: Context, names: Sequence[str], catalog: Path) -> Outcome:
    """Take real records out of the workspace for good, with all that quotes them, and prove that they are gone.

    Once it has begun it is carried through: a forget that is killed is finished by the next command that writes.

    Args:
        names: their ids. `catalog`: the path of the published catalog.

    Raises:
        UsageError: if there is no record of an id, or none is given. Nothing is done then.
        StoreError: if something could not be removed, or the verification finds what should be gone, saying where.
    """
    _check(context, names)
    drop_unfinished(context)
    work = plan(context, names)
    plan_file.write(context.root, work)
    return carry_out(context, work, catalog)


def preview(context: Context, names: Sequence[str]) -> Outcome:
    """Return what `forget` would take away, by table, and write nothing.

    Raises:
        UsageError: as `forget`.
    """
    _check(context, names)
    work = plan(context, names)
    rows: Counter[str] = Counter()
    for removal in work.removals:
        rows[removal.table] += sum(context.lake.count(removal.table, where) for where in removal.conditions())
    for name in work.dropped:
        rows[name] += context.lake.count(name, "true")
    ledger = context.ledger.rows(work.calls)["call_id"].to_pylist()
    folded = context.lake.read("calls", ["call_id"], is_in("call_id", ledger)).num_rows
    rows["calls"] += len(ledger) - folded
    counts = {name: count for name, count in rows.items() if count}
    notes = ["nothing was written", *work.notes]
    if work.recordings:
        notes.append(f"these recordings lose what they hold of the records: {', '.join(work.recordings)}")
    return Outcome("forget", "", False, counts, tuple(notes))


def _check(context: Context, names: Sequence[str]) -> None:
    if not names:
        raise UsageError("No real record is named, or none matches. Nothing was forgotten.")
    there = set(context.lake.read(REAL, ["id"])["id"].to_pylist())
    unknown = [name for name in names if name not in there]
    if unknown:
        before = known(context, unknown)
        listed = ", ".join(map(repr, unknown[:_SHOWN])) + (" ..." if len(unknown) > _SHOWN else "")
        hint = f" {len(before)} of them were forgotten before." if before else ""
        raise UsageError(f"There is no real record with the id {listed}.{hint} Nothing was forgotten.")


def plan(context: Context, names: Sequence[str]) -> ForgetPlan:
    """Return what forgetting the real records of these ids takes. Reads, and writes nothing."""
    real = context.lake.frame(REAL, ["id", "text", "label", "split", "run_id"])
    theirs = real.filter(pl.col("id").is_in(list(names)))
    others = real.filter(~pl.col("id").is_in(list(names)))
    redact = _redacting(context)
    frames = read_frames(context)
    found = trace_lineage(frames, set(names), theirs["text"], others["text"], _quoting(context, redact))
    written = context.lake.frame(SYNTHETIC, ["id", "text", "run_id"])
    sources = written.filter(pl.col("id").is_in(list(found.synthetic)))["run_id"]
    written = written.filter(~pl.col("id").is_in(list(found.synthetic))).select("id", "text")
    mentioned = Mentions(theirs["text"], others["text"])
    # A forget removes records only: what the text of a document contains as well need not be removed elsewhere.
    remaining = pl.concat([others.select("id", "text"), written, documents(context)])
    texts = theirs["text"].unique().to_list()
    shared = quoted_in(texts, remaining["text"])
    own = [text for text in texts if text not in shared]
    taken = set(remaining["id"].to_list())
    long_ids = [name for name in names if len(name) >= QUOTATION and name not in taken]
    long = [
        form
        for text in own
        if len(text) >= QUOTATION
        for item in (text, redact(text))
        for form in forms(item, _WRITERS)
    ]
    inside = quoted_in(long_ids, remaining["id"])
    needles = sorted(
        {*(name for name in long_ids if name not in inside), *(form for form in long if len(form) >= QUOTATION)}
    )
    gone = _embedders(context, theirs["run_id"].unique().to_list())
    trained = _retrievers(context, [*theirs["run_id"], *sources], gone)
    forgot = last_forgotten(context)
    number = 1 + len(context.journal.runs("forget"))
    current = embedding.current(context)
    settings = forgot.parameters["embed"] if forgot and current is None else None
    if current is not None and current.name in gone:
        settings = {name: value for name, value in current.kind.items() if name != "seed"}
    salt = salt_of(context) or new_salt()
    out = {name for row in theirs.select("id", "text", "label", "split").iter_rows() for name in names_of(*row)}
    calls = sorted(found.calls)
    tokens, usd = worth(context, calls)
    return ForgetPlan(
        number=number,
        parameters={"number": number, "embedders": sorted(gone), "embed": settings},
        salt=salt,
        digests=digests(sorted(out), salt),
        removals=_removals(context, sorted(names), found, gone, trained, _redactions(context, theirs, others)),
        replacements=[*_emptied(context, set(names)), *_scrubbed(context, mentioned.words(), needles)],
        dropped=[*(vectors_table(name) for name in sorted(gone)), *map(index_table, sorted(trained))],
        calls=calls,
        held=[(f"forgotten:{number}", tokens, usd)] if tokens or usd else [],
        subjects=_subjects(context, calls),
        recordings=_recordings(context),
        needles=needles,
        exact=sorted(inside),
        whole=[text for text in own if len(text) < QUOTATION],
        counts=_counts(theirs, found, gone, trained),
        notes=_notes(remaining, shared, gone, trained),
    )


def read_frames(context: Context) -> Frames:
    """Return the rows that lineage is followed in."""
    frame = context.lake.frame
    ledger = pl.DataFrame(context.ledger.rows().select(_CALLS))
    calls = pl.concat([frame("calls", _CALLS), ledger]).unique("call_id", maintain_order=True)
    return Frames(
        selections=frame("selections", ["selection_id", "demonstrations", "record_id"]),
        attributes=frame("attributes"),
        values=frame("attribute_values", ["attributes_id", "name", "kind", "value", "stated"]),
        annotations=frame("annotations", ["run_id", "origin", "id", "call_id", "name", "value", "stated"]),
        synthetic=frame(SYNTHETIC, ["id", "text", "call_id", "selection_id", "attributes_id"]),
        rejections=frame("rejections", ["call_id", "text"]),
        calls=calls,
    )


def _quoting(context: Context, redact: Callable[[str], str]) -> Callable[[Iterable[str], bool], set[str]]:
    """Return what finds the calls that hold one of some texts, as it is or redacted, in whatever JSON."""

    def quoting(texts: Iterable[str], vocabulary: bool) -> set[str]:
        needles = ByteSearch(form for text in texts for item in (text, redact(text)) for form in forms(item, _WRITERS))
        if not needles:
            return set()
        columns = ["call_id", "selection_id", *_SAID]
        batches: list[Any] = [context.ledger.rows().select(columns)]
        if context.lake.exists("calls"):
            batches = [*batches, *context.lake.batches("calls", columns)]
        found: set[str] = set()
        for batch in batches:
            frame = pl.DataFrame(pa.table({name: batch[name] for name in columns}))
            if vocabulary:
                frame = frame.filter(pl.col("selection_id").is_null())
            for column in _SAID:
                found |= set(frame.filter(needles.held_by(frame[column]))["call_id"].to_list())
        return found

    return quoting


def _redacting(context: Context) -> Callable[[str], str]:
    rows = context.lake.read("redactions").to_pylist()
    if not rows:
        return lambda text: text
    redactor = Redactor(get_args(PersonalKind), {row["placeholder"]: row["original"] for row in rows})
    return redactor.redact


def _redactions(context: Context, theirs: pl.DataFrame, others: pl.DataFrame) -> list[str]:
    """Return the placeholders of personal data that occurs in the forgotten texts alone."""
    rows = context.lake.read("redactions").to_pylist()
    originals = sorted({row["original"] for row in rows})
    alone = quoted_in(originals, theirs["text"]) - quoted_in(originals, others["text"])
    return [row["placeholder"] for row in rows if row["original"] in alone]


def _embedders(context: Context, sources: Sequence[str]) -> dict[str, str]:
    """Return the fitted embedders that saw the records of some ingests, as {name: run_id}."""
    runs = {run.run_id: set(run.inputs) for run in context.journal.runs("embedder")}
    return {
        embedder.name: embedder.run_id
        for embedder in embedding.embedders(context)
        if embedding.is_fitted(embedder.settings) and not runs[embedder.run_id].isdisjoint(sources)
    }


def _retrievers(context: Context, sources: Sequence[str], gone: dict[str, str]) -> set[str]:
    """Return the retrievers that saw the records of some ingests, or what was written from them, or that project the
    vectors of an embedder that goes, by their runs."""
    return {
        run.run_id
        for run in context.journal.runs("retriever")
        if run.parameters["embedder"] in gone or not set(sources).isdisjoint(run.inputs)
    }


def _removals(
    context: Context,
    real: list[str],
    found: Lineage,
    gone: dict[str, str],
    trained: set[str],
    placeholders: list[str],
) -> list[Removal]:
    """Return the rows that go, those that build on others first: at no moment does a visible row name one that is
    not there."""
    synthetic, attributes, calls = sorted(found.synthetic), sorted(found.attributes), sorted(found.calls)
    telling = sorted(found.telling)
    runs = list(gone.values())
    runs += [run.run_id for run in context.journal.runs("embed") if run.parameters["embedder"] in gone]
    runs += sorted(trained)
    tables = [vectors_table(embedder.name) for embedder in embedding.embedders(context) if embedder.name not in gone]
    sided = ["multiplicities", "annotations", "cluster_members", "neighbours", *tables]
    every = [
        Removal(SYNTHETIC, "id", synthetic),
        *(Removal(name, "id", synthetic) for name in ("weights", "label_quality", "exclusions", "checks")),
        *(Removal(name, "id", synthetic, SYNTHETIC) for name in sided),
        Removal("neighbours", "neighbour_id", [*real, *synthetic]),
        Removal("rankings", "query_id", real),
        Removal("checks", "call_id", calls),
        Removal("rejections", "call_id", calls),
        Removal("attribute_values", "attributes_id", attributes),
        Removal("attribute_values", "value", telling),
        Removal("attributes", "id", attributes),
        Removal("annotations", "value", telling),
        Removal("annotations", "stated", telling),
        Removal("selections", "selection_id", sorted(found.selections)),
        Removal("calls", "call_id", calls),
        Removal(REAL, "id", real),
        *(Removal(name, "id", real, REAL) for name in sided),
        Removal("witness", "id", real),
        Removal("redactions", "placeholder", placeholders),
        Removal("activations", "run_id", runs),
        Removal("runs", "run_id", runs),
        Removal("retrievers", "run_id", sorted(trained)),
        Removal("embedders", "run_id", list(gone.values())),
    ]
    return [removal for removal in every if removal.values]


def _emptied(context: Context, real: set[str]) -> list[Replacement]:
    """Return the clusters of which no record is left, without their centroids: they were the records' vectors."""
    members = context.lake.frame("cluster_members", ["id", "cluster_run_id", "cluster_id"], "origin = 'real'")
    split = context.lake.frame(REAL, ["id", "split"]).filter(pl.col("split") == "train")
    members = members.join(split, on="id", how="semi")
    key = ["cluster_run_id", "cluster_id"]
    touched = members.filter(pl.col("id").is_in(list(real))).select(key).unique()
    left = members.filter(~pl.col("id").is_in(list(real))).select(key).unique()
    found = []
    for run_id, number in touched.join(left, on=key, how="anti").sort(key).iter_rows():
        where = f"run_id = {quote(run_id)} and cluster_id = {number}"
        for row in context.lake.read("clusters", where=where).to_pylist():
            blank = {"size": 0.0, "label_mix": [], "radius": 0.0, "centroid": None, "purity": None, "silhouette": None}
            found.append(Replacement("clusters", where, row | blank))
    return found


def _scrubbed(context: Context, words: set[str], needles: Sequence[str]) -> list[Replacement]:
    """Return what people wrote that quotes the records, without that: reasons of exclusions, and notes of tags."""

    @cache  # many records are excluded for one reason
    def quotes(text: str | None) -> bool:
        lower = (text or "").lower()
        return any(word in lower for word in words) or any(needle in (text or "") for needle in needles)

    found = []
    for row in context.lake.read("exclusions").to_pylist():
        if quotes(row["reason"]):
            where = f"run_id = {quote(row['run_id'])} and id = {quote(row['id'])}"
            found.append(Replacement("exclusions", where, row | {"reason": FORGOTTEN}))
    for row in context.lake.read("tags").to_pylist():
        if quotes(row["note"]):
            found.append(Replacement("tags", f"number = {row['number']}", row | {"note": FORGOTTEN}))
    for row in context.lake.read("runs", where="step = 'exclude'").to_pylist():
        parameters = json.loads(row["parameters"])
        if quotes(parameters["reason"]):
            given = ids.canonical_json(parameters | {"reason": FORGOTTEN})
            found.append(Replacement("runs", f"run_id = {quote(row['run_id'])}", row | {"parameters": given}))
    return found


def _subjects(context: Context, calls: Sequence[str]) -> list[str]:
    folded = context.lake.read("calls", ["subject"], is_in("call_id", calls))["subject"].to_pylist()
    kept = context.ledger.rows(calls)["subject"].to_pylist()
    return sorted({subject for subject in folded + kept if subject})


def _recordings(context: Context) -> list[str]:
    """Return the files that replies were written to, and the one that the configured model answers from."""
    found = context.lake.read("recordings", ["path"])["path"].to_pylist()
    kind, _, file = context.config.llm.model.partition("/")
    return sorted({*found, *([file] if kind == "replay" else [])})


def _counts(theirs: pl.DataFrame, found: Lineage, gone: dict[str, str], trained: set[str]) -> dict[str, int]:
    counts = {
        "real": theirs.height,
        "selections": len(found.selections),
        "attributes": len(found.attributes),
        "synthetic": len(found.synthetic),
        "calls": len(found.calls),
        "embedders": len(gone),
    }
    return counts | ({"retrievers": len(trained)} if trained else {})


def _notes(remaining: pl.DataFrame, shared: set[str], gone: dict[str, str], trained: set[str]) -> list[str]:
    notes = []
    if shared:
        holding = remaining.filter(ByteSearch(shared).held_by(remaining["text"]))["id"].to_list()
        listed = ", ".join(map(repr, holding[:_SHOWN])) + (" ..." if len(holding) > _SHOWN else "")
        notes.append(
            f"{len(shared)} of the texts stand in {len(holding)} other records too, which stay: {listed}. Forget or "
            "exclude them as well if they are to go"
        )
    if gone:
        notes.append(
            f"the embedders {', '.join(sorted(gone))} were fitted to the records and are gone with them; the next step "
            "fits a new one. Clusters and selections stay"
        )
    if trained:
        notes.append(f"{len(trained)} retrievers were trained on the records and are gone; train them again")
    notes.append(
        "run align again: it learns the weights without the records. Exports, backups, other copies of this folder and "
        "what was sent to a model's provider are beyond this workspace"
    )
    return notes
