"""retriever: a projection of one embedder's vectors that brings queries near the documents that answer them. It is
fitted to real queries, synthetic ones, or both, and the documents are stored as it sees them, indexed where they are
many."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from synalign import ids
from synalign.config import Retrieve, TrainRetrieverRequest, override
from synalign.errors import NotReadyError, StoreError, UsageError
from synalign.ids import child_seed
from synalign.models.biencoder import BiEncoder, Pairs, Settings, choose_share, chosen, fit, mix
from synalign.numerics.evaluation.ranking import agreement, exact_search
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import document_runs, record_runs, records, vectors
from synalign.steps.core.run_step import Result, run_step
from synalign.steps.embedding import embed as embedding
from synalign.steps.forget.tombstones import forget_runs
from synalign.steps.retrieval.queries import Queries, real_queries, require_documents, synthetic_queries
from synalign.store.lake.indexing import Probing, Searcher, build, is_built, ways
from synalign.store.lake.journal import Clock, Plan, Run
from synalign.store.lake.lake import quote
from synalign.store.lake.schemas import DOCUMENT, REAL, SYNTHETIC, TABLES, index_table, vectors_spec

STEP = "retriever"

#: Shares of synthetic queries that are tried where real ones are there too, and the folds of these.
SHARES = (0.0, 0.25, 0.5, 0.75)
_FOLDS = 3

#: Training queries that an index is tried on, and how many of their best documents it is to find.
_TRIED, _BEST = 300, 10


@dataclass(frozen=True)
class Retriever:
    """A trained retriever. run: that trained it. row: of `retrievers`, without its state."""

    run: Run
    row: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.row["name"])

    @property
    def table(self) -> str:
        """The table of its documents."""
        return index_table(self.run.run_id)

    @property
    def probing(self) -> Probing:
        """How its index is searched."""
        return Probing(self.row["index_kind"], self.row["probes"] or 0, self.row["refine"])


@dataclass(frozen=True)
class _Material:
    """The training data of one retriever. real, synthetic: the queries, None where it is not trained on such."""

    embedder: embedding.Embedder
    documents: pl.DataFrame
    real: Queries | None
    synthetic: Queries | None


def train_retriever(context: Context, request: TrainRetrieverRequest) -> Outcome:
    """Train a retriever, and store and index the documents as it sees them.

    Raises:
        NotReadyError: without documents, or the queries or weights to train on.
        InputError: if labels are no document's id.
        UsageError: if the name is empty.
        ConfigError: if a setting is not allowed.
    """
    clock = Clock()
    settings = override(context.config.retrieve, request)
    name = settings.on if request.name is None else request.name.strip()
    if not name:
        raise UsageError("A retriever needs a name that is not empty, such as 'mixed'. Nothing was trained.")
    material = _material(context, settings)
    plan = _plan(context, name, settings, material)

    def work() -> Result:
        with clock.part("train"):
            model, share = _fitted(context, settings, material)
        with clock.part("index"):
            projected = _store(context, material, model, plan.run_id)
            probing, recall = _index(context, settings, index_table(plan.run_id), model, material, projected)
        notes = [note for queries in (material.real, material.synthetic) if queries for note in queries.notes]
        if recall is not None and recall < settings.index_recall:
            notes.append(
                f"the index finds {recall:.1%} of the ten best documents of training queries however it is searched, "
                f"and {settings.index_recall:.1%} is wanted: use another one (retrieve.index), or exact=True"
            )
        row = {
            "name": name,
            "trained_on": settings.on,
            "embedder": material.embedder.name,
            "dimensions": projected.shape[1],
            "settings": ids.canonical_json(_training(settings)),
            "share": share,
            "real_pairs": len(material.real) if material.real else 0,
            "synthetic_pairs": len(material.synthetic) if material.synthetic else 0,
            "documents": material.documents.height,
            "index_kind": probing.kind,
            "probes": probing.probes or None,
            "refine": probing.refine,
            "index_recall": recall,
            "index_goal": settings.index_recall if probing.kind else None,
            "train_seconds": clock.split()["train"],
            "index_seconds": clock.split()["index"],
            "state": model.to_bytes(),
        }
        counts = {"retriever": name, "on": settings.on, "embedder": material.embedder.name, "share": share}
        counts |= {
            key: row[key] for key in ("real_pairs", "synthetic_pairs", "documents", "index_kind", "index_recall")
        }
        return Result({"retrievers": [row]}, counts, notes)

    outcome = run_step(context, clock, plan, work)
    if outcome.reused:
        outcome = replace(outcome, notes=(*outcome.notes, *_mended(context, material, plan.run_id))).timed(clock)
    return outcome


def retrievers(context: Context) -> dict[str, Retriever]:
    """Return the retrievers by name, the one that was trained or gone back to last first; of one name the newest."""
    columns = [name for name in TABLES["retrievers"].schema.names if name != "state"]
    rows = {row["run_id"]: row for row in context.lake.read("retrievers", columns).to_pylist()}
    found: dict[str, Retriever] = {}
    for run in context.journal.latest(STEP):
        if run.run_id in rows:
            found.setdefault(rows[run.run_id]["name"], Retriever(run, rows[run.run_id]))
    return found


def named(context: Context, name: str | None) -> Retriever:
    """Return the retriever of a name, or the one that was trained last.

    Raises:
        NotReadyError: if there is none at all; or if documents came in since it was trained.
        UsageError: if there is none of that name, with the nearest one.
        StoreError: if its documents are gone.
    """
    there = retrievers(context)
    if not there:
        require_documents(context)
        raise NotReadyError(
            "There are no retrievers yet. Train one: ws.train_retriever() ('synalign retriever DIR NAME')."
        )
    if name is not None and name not in there:
        near = difflib.get_close_matches(name, there, n=1, cutoff=0.3)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"There is no retriever {name!r}.{hint} There are: {', '.join(sorted(there))}.")
    found = next(iter(there.values())) if name is None else there[name]
    on = found.row["trained_on"]
    again = f"ws.train_retriever({found.name!r}, on={on!r}) ('synalign retriever DIR {found.name} --on {on}')"
    if {run.run_id for run in document_runs(context)} - set(found.run.inputs):
        raise NotReadyError(
            f"Documents came in since the retriever {found.name!r} was trained, which it does not know. Train it "
            f"again: {again}."
        )
    if not context.lake.exists(found.table):
        raise StoreError(f"The documents of the retriever {found.name!r} are gone. Train it as before: {again}.")
    return found


def load(context: Context, retriever: Retriever) -> BiEncoder:
    """Return the projection of a retriever."""
    stored = context.lake.read("retrievers", ["state"], f"run_id = {quote(retriever.run.run_id)}")
    return BiEncoder.from_bytes(stored["state"][0].as_py())


def _material(context: Context, settings: Retrieve) -> _Material:
    """Read the queries before anything is embedded, so that what is wrong is said at once."""
    known = require_documents(context)
    parts = settings.on.split("+")
    real = real_queries(context, known, settings, "train") if "real" in parts else None
    if real is not None and not len(real):
        raise NotReadyError(
            "There are no real training queries. Ingest some: ws.ingest('queries.jsonl', label='document') ('synalign "
            "ingest DIR FILE --label COLUMN'), whose label is a document's id. Or train on='synthetic' or 'frozen'."
        )
    synthetic = None
    if "synthetic" in parts or "weighted" in parts:
        synthetic = synthetic_queries(context, known, settings, "weighted" in parts)
        if not len(synthetic):
            raise NotReadyError("No synthetic query is left to train on: none has a weight and a document.")
    written = records(context, SYNTHETIC, split="train").height > 0
    embedder = embedding.resolve(context, synthetic_fit=written, document_fit=True)
    return _Material(embedder, known, real, synthetic)


def _plan(context: Context, name: str, settings: Retrieve, material: _Material) -> Plan:
    inputs = [material.embedder.run_id, *(run.run_id for run in document_runs(context)), *forget_runs(context)]
    if material.real is not None:
        inputs += [run.run_id for run in record_runs(context, REAL)]
    if material.synthetic is not None:
        inputs += [run.run_id for run in [*record_runs(context, SYNTHETIC), *context.journal.runs("exclude")]]
        aligned = context.journal.current("align")
        inputs += [aligned.run_id] if aligned is not None and "weighted" in settings.on else []
    # `shown` and `kept` belong to prompts and evaluations, and the device does not change what is learned.
    parameters = settings.model_dump(mode="json", exclude={"shown", "kept", "device"})
    parameters |= {"name": name, "embedder": material.embedder.name}
    return Plan(STEP, parameters, inputs, context.config.seed)


def _training(settings: Retrieve) -> dict[str, Any]:
    """Return what says how a bi-encoder is trained."""
    return {name: getattr(settings, name) for name in Settings.__dataclass_fields__}


def _fitted(context: Context, settings: Retrieve, material: _Material) -> tuple[BiEncoder, float]:
    """Return the projection, and the share of all sample weight that the synthetic queries had."""
    documents = _document_vectors(context, material)
    if settings.on == "frozen":
        return BiEncoder.identity(documents.shape[1]), 0.0
    real = _pairs(context, material, material.real, REAL)
    synthetic = _pairs(context, material, material.synthetic, SYNTHETIC)
    how = Settings(**_training(settings))
    seed = child_seed(context.config.seed, STEP)
    if real is None or synthetic is None:
        pairs, share = (synthetic, 1.0) if real is None else (real, 0.0)
        assert pairs is not None
    else:
        told = _reporter(context, "choosing the share of synthetic queries")
        trials = (
            []
            if settings.share != "auto"
            else choose_share(real, synthetic, documents, SHARES, how, seed, folds=_FOLDS, progress=told)
        )
        share = chosen(trials) if settings.share == "auto" else settings.share
        pairs = mix(real, synthetic, share)
    return fit(pairs, documents, how, seed, _reporter(context, "training the retriever")), share


def _reporter(context: Context, what: str) -> Callable[[int, int], None]:
    return lambda done, total: context.progress(what, done, total)


def _pairs(context: Context, material: _Material, queries: Queries | None, origin: str) -> Pairs | None:
    if queries is None:
        return None
    matrix = vectors(context, material.embedder.name, origin, queries.frame["id"])
    return Pairs(matrix, queries.targets, queries.frame["amount"].to_numpy())


def _document_vectors(context: Context, material: _Material) -> np.ndarray:
    return vectors(context, material.embedder.name, DOCUMENT, material.documents["id"])


def _store(context: Context, material: _Material, model: BiEncoder, run_id: str) -> np.ndarray:
    """Write the documents as a retriever sees them, float32 [m, k], and return them."""
    table, names = index_table(run_id), material.documents["id"]
    if context.lake.exists(table):  # of a run that was killed
        context.lake.drop(table)
    matrix = model.documents(_document_vectors(context, material))
    spec = vectors_spec(matrix.shape[1])
    columns = {
        "origin": pa.array([DOCUMENT] * len(names)),
        "id": names.to_arrow().cast(pa.string()),
        "run_id": pa.array([run_id] * len(names)),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1]),
    }
    context.progress("storing documents", 0, 1)
    context.lake.insert(table, pa.table(columns, schema=spec.schema), spec)
    context.progress("storing documents", 1, 1)
    return matrix


def _mended(context: Context, material: _Material, run_id: str) -> list[str]:
    """Store the documents of a finished retriever again if they are gone, and build its index again if it is: `forget`
    drops all indices. Return what was done."""
    table = index_table(run_id)
    found = next(item for item in retrievers(context).values() if item.run.run_id == run_id)
    done = []
    if not context.lake.exists(table):
        _store(context, material, load(context, found), run_id)
        done.append("its documents were gone, and are stored again")
    if found.probing.kind is not None and not is_built(context.lake, table):
        build(context.lake, table, found.probing.kind)
        done.append("its index was gone, and is built again")
    return done


def _index(
    context: Context,
    settings: Retrieve,
    table: str,
    model: BiEncoder,
    material: _Material,
    projected: np.ndarray,
) -> tuple[Probing, float | None]:
    """Build the index, if there are enough documents, and return the fastest way to search it that finds as many of the
    best documents of training queries as is wanted, with the share that it found; of none, the one that finds most."""
    if settings.index == "none" or len(projected) < settings.index_from:
        return Probing(), None
    context.progress("indexing documents", 0, 1)
    build(context.lake, table, settings.index)
    context.progress("indexing documents", 1, 1)
    queries = model.queries(_tried(context, material))
    exact, _ = exact_search(queries, projected, _BEST)
    rows = {name: row for row, name in enumerate(material.documents["id"])}
    best = (Probing(), -1.0)
    for probing in ways(settings.index, len(projected)):
        found = index_rows(Searcher(context.lake, table, probing), queries, _BEST, rows)
        recall = float(agreement(found, exact, _BEST).mean())
        if recall > best[1]:
            best = (probing, recall)
        if recall >= settings.index_recall:
            break
    return best


def index_rows(searcher: Searcher, queries: np.ndarray, count: int, rows: Mapping[str, int]) -> np.ndarray:
    """Return the rows of the documents that a search finds for each query, int64 [n, count], -1 where it finds fewer.

    `rows`: of the documents, by id."""
    found = np.full((len(queries), count), -1, dtype=np.int64)
    for place, query in enumerate(queries):
        names, _ = searcher.search(query, count)
        found[place, : len(names)] = [rows[name] for name in names]
    return found


def _tried(context: Context, material: _Material) -> np.ndarray:
    """Return vectors of training queries to try the index on: real ones if there are any, else synthetic ones, else the
    documents themselves."""
    name, random = material.embedder.name, np.random.default_rng(child_seed(context.config.seed, STEP, "index"))
    for origin in (REAL, SYNTHETIC, DOCUMENT):
        there = material.documents["id"] if origin == DOCUMENT else records(context, origin, split="train")["id"]
        if len(there):
            chosen = np.sort(random.permutation(len(there))[:_TRIED])
            return vectors(context, name, origin, there.gather(chosen))
    raise AssertionError("a retriever has documents")
