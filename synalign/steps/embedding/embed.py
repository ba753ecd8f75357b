"""embed: text becomes vectors.

Each version of an embedder has a table of its own, and only new records are embedded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from synalign.config import Embed, EmbedRequest, override
from synalign.errors import NotReadyError, UsageError
from synalign.llm.transport.endpoints import resolved_base_url
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import document_runs, record_runs, records, require_real
from synalign.steps.core.run_step import Result, run_step
from synalign.steps.corpus.documents import documents
from synalign.steps.embedding.fitting import fit_sources, fit_texts
from synalign.steps.forget.tombstones import last_forgotten
from synalign.store.lake.journal import Clock, Plan, Run
from synalign.store.lake.lake import quote
from synalign.store.lake.schemas import DOCUMENT, ORIGINS, SYNTHETIC, vectors_spec, vectors_table

BUILTIN = "builtin/lsa"
DEFAULT_DIMENSIONS = 256

#: Texts encoded and stored in one commit: memory is bounded, and a killed run goes on where it was. What an endpoint
#: is paid for is stored in smaller steps.
_BLOCK, _BLOCK_OF_ENDPOINT = 32768, 2048


@dataclass(frozen=True)
class Embedder:
    """One version of an encoder.

    name: of its table of vectors. run_id: of the run that made it. settings, seed: what decides the
    vectors, as the configuration had it. fitted_on: the origins of the text it was fitted to; none for a fixed model.
    """

    name: str
    run_id: str
    settings: Embed
    seed: int
    fitted_on: tuple[str, ...]

    @property
    def kind(self) -> dict[str, object]:
        """What all versions of this encoder share: its parameters and, where it is fitted, the seed."""
        return _kind(self.settings, self.seed)


def embed(context: Context, request: EmbedRequest) -> Outcome:
    """Embed all records that have no vector of the newest embedder of a model; fit one first if there is none.

    That embedder becomes the current one, which the steps after this use unless they are told another.

    Raises:
        NotReadyError: without real training records.
        ModelError: if an endpoint fails. Vectors of finished blocks of records stay.
    """
    settings = with_address(override(context.config.embed, request))
    require_real(context)
    embedder = None if request.refit else find(context, settings)
    embedder = embedder or fit(context, settings)
    context.journal.activate(context.journal.require(embedder.run_id))
    return apply(context, embedder, with_documents=True)


def resolve(
    context: Context, name: str | None = None, *, synthetic_fit: bool = False, document_fit: bool = False
) -> Embedder:
    """Return the embedder that a step is to use, with all records embedded: the one named, or the current one.

    If there is none yet, the configured one is made.

    Args:
        name: an embedder's own name, if the user gave one.
        synthetic_fit: only an embedder that saw the synthetic records too will do. A latent semantic space that was
            fitted to few real records alone makes all other text look far away, real text included.
        document_fit: likewise for the documents, which are then embedded, too.

    Raises:
        UsageError: if there is no embedder of that name.
    """
    found = current(context) if name is None else named(context, name)
    unseen = {SYNTHETIC} if synthetic_fit else {DOCUMENT} if document_fit else set()
    if found is None:
        found = fit(context, wanted(context))
    elif name is None and is_fitted(found.settings) and not unseen.issubset(found.fitted_on):
        found = fit(context, found.settings)
    apply(context, found, with_documents=document_fit)
    return found


def wanted(context: Context) -> Embed:
    """Return the settings of the embedder to make where there is no current one: those of the one that was, if it went
    with records that were forgotten, or the configured ones."""
    forgot = last_forgotten(context)
    given = forgot.parameters.get("embed") if forgot else None
    return with_address(context.config.embed) if given is None else _settings(context, given)


def of_kind(context: Context, kind: Mapping[str, object]) -> Embedder:
    """Return the newest embedder of a kind (`Embedder.kind`), fitted now if all of that kind were forgotten."""
    found = next((embedder for embedder in reversed(embedders(context)) if embedder.kind == kind), None)
    return found or fit(context, _settings(context, {name: kind[name] for name in kind if name != "seed"}))


def kind_wanted(context: Context) -> dict[str, object]:
    """Return the kind of the embedder to make where there is no current one."""
    return _kind(wanted(context), context.config.seed)


def with_address(settings: Embed) -> Embed:
    """Return settings with the address that requests will go to, spelt in one way: it is part of an embedder's name.

    Raises:
        ConfigError: if the address holds a user name or password.
    """
    if not settings.model.startswith("openai/"):
        return settings
    return settings.model_copy(update={"base_url": resolved_base_url(settings.base_url, settings.model)})


def is_fitted(settings: Embed) -> bool:
    """Return whether the model is fitted to the workspace's text, rather than fixed."""
    return settings.model == BUILTIN


def named(context: Context, name: str) -> Embedder:
    """Return the embedder called `name`.

    Raises:
        UsageError: if there is none, listing those there are.
        NotReadyError: if it was forgotten.
    """
    there = embedders(context)
    for embedder in there:
        if embedder.name == name:
            return embedder
    if any(name in run.parameters["embedders"] for run in context.journal.runs("forget")):
        raise NotReadyError(
            f"The embedder {name!r} was fitted to records that were forgotten, and went with them. What was learned "
            "with it cannot be used without it: learn weights again, ws.align() ('synalign align DIR'), which fits a "
            "new one."
        )
    raise UsageError(f"There is no embedder {name!r}. There are: {', '.join(e.name for e in there) or 'none yet'}.")


def embedders(context: Context) -> list[Embedder]:
    """Return all embedders, oldest first."""
    rows = {row["run_id"]: row for row in context.lake.read("embedders", ["name", "run_id", "fitted_on"]).to_pylist()}
    found = []
    for run in context.journal.runs("embedder"):
        row, given = rows[run.run_id], run.parameters
        found.append(Embedder(row["name"], run.run_id, _settings(context, given), run.seed, tuple(row["fitted_on"])))
    return found


def _settings(context: Context, given: Mapping[str, Any]) -> Embed:
    """Return the settings with the parameters of an embedder, which may be null."""
    known = {name: value for name, value in given.items() if value is not None}
    return override(context.config.embed.model_copy(update={"base_url": None, "dimensions": None}), known)


def current(context: Context) -> Embedder | None:
    """Return the embedder that steps use by default, or None if there is none yet of the configured seed."""
    run = context.journal.current("embedder")
    if run is not None and _was_replaced(context, run):
        return None  # the one that came after it was current, and was forgotten: it is fitted anew
    found = next((embedder for embedder in embedders(context) if run and embedder.run_id == run.run_id), None)
    if found and is_fitted(found.settings) and found.seed != context.config.seed:
        return find(context, found.settings)  # another seed means another fit
    return found


def _was_replaced(context: Context, run: Run) -> bool:
    """Return whether the current embedder was forgotten, and this one was not made or chosen since."""
    forgot = last_forgotten(context)
    if forgot is None or forgot.parameters["embed"] is None or run.sequence > forgot.sequence:
        return False
    where = f"run_id = {quote(run.run_id)} and sequence > {forgot.sequence}"
    return not context.lake.read("activations", ["sequence"], where).num_rows


def find(context: Context, settings: Embed) -> Embedder | None:
    """Return the newest embedder that these settings describe, or None."""
    wanted = _kind(settings, context.config.seed)
    return next((embedder for embedder in reversed(embedders(context)) if embedder.kind == wanted), None)


def fit(context: Context, settings: Embed) -> Embedder:
    """Make a new embedder version from the training text there is; one made of the same text before is returned."""
    clock = Clock()
    sources: list[str] = []
    if settings.model.startswith("sentence-transformers/") and settings.dimensions is not None:
        raise UsageError(f"{settings.model} has a vector length of its own; leave embed.dimensions (--dimensions) out.")
    if is_fitted(settings):
        sources = fit_sources(context)
    plan = Plan("embedder", _parameters(settings), sources, context.config.seed)
    name = f"{_slug(settings.model)}_{plan.run_id[:8]}"
    done = context.journal.get(plan.run_id)
    if done is not None:
        return named(context, name)
    fitted_on: list[str] = []
    texts: list[str] = []
    weights: list[int] = []
    state, dimensions = b"", settings.dimensions
    if is_fitted(settings):
        from synalign.numerics.core.lsa import fit_lsa

        chosen = fit_texts(context)
        fitted_on = [origin for origin in chosen if chosen[origin].height]
        texts = [text for origin in fitted_on for text in chosen[origin]["text"].to_list()]
        weights = [count for origin in fitted_on for count in chosen[origin]["multiplicity"].to_list()]
        context.progress("fitting the embedder", 0, 1)
        lsa = fit_lsa(texts, settings.dimensions or DEFAULT_DIMENSIONS, context.config.seed, np.array(weights))
        state, dimensions = lsa.to_bytes(), lsa.dimensions
        context.progress("fitting the embedder", 1, 1)
    row = {
        "name": name,
        "model": settings.model,
        "dimensions": dimensions,
        "fitted_on": fitted_on,
        "texts": len(texts),
        "state": state,
    }
    counts = {"embedder": name, "texts": len(texts), "dimensions": dimensions}
    run_step(context, clock, plan, lambda: Result({"embedders": [row]}, counts))
    return Embedder(name, plan.run_id, settings, context.config.seed, tuple(fitted_on))


def require_complete(context: Context, embedder: Embedder) -> None:
    """Check that all records are embedded.

    Raises:
        NotReadyError: if some came in since.
    """
    if any(not done for *_, done in _work(context, embedder, ORIGINS)):
        raise NotReadyError(
            f"Records came in that the embedder {embedder.name!r} has not seen. Run ws.embed() ('synalign embed DIR')."
        )


def _work(context: Context, embedder: Embedder, origins: Sequence[str]) -> list[tuple[str, Run, Plan, bool]]:
    """Return for each run that brought texts their origin, that run, the one that embeds it, and whether that is
    finished."""
    finished = {run.run_id for run in context.journal.runs("embed")}
    work = []
    for origin in origins:
        for source in document_runs(context) if origin == DOCUMENT else record_runs(context, origin):
            plan = Plan("embed", {"embedder": embedder.name, "origin": origin}, [embedder.run_id, source.run_id])
            work.append((origin, source, plan, plan.run_id in finished))
    return work


def apply(context: Context, embedder: Embedder, with_documents: bool = False) -> Outcome:
    """Embed the records of each ingest or generation that this embedder has not seen, and the documents if asked for:
    only retrieval needs those."""
    clock = Clock()
    work = _work(context, embedder, (*ORIGINS, DOCUMENT) if with_documents else ORIGINS)
    missing = [item for item in work if not item[3]]
    count = 0
    if not missing:
        if not work:
            raise NotReadyError("There are no records to embed. Ingest some first.")
        return Outcome("embed", work[-1][2].run_id, True, {"embedder": embedder.name, "records": 0})
    encode = encoder(context, embedder)
    for origin, source, plan, _ in missing:
        count += _embed_source(context, embedder, encode, origin, source, plan)
    seconds = clock.seconds
    notes = (f"{count / max(seconds, 1e-9):,.0f} texts a second",) if count else ()
    counts = {"embedder": embedder.name, "records": count}
    return Outcome("embed", missing[-1][2].run_id, False, counts, notes, seconds)


def encoder(context: Context, embedder: Embedder) -> Callable[[Sequence[str]], np.ndarray]:
    """Return the function that turns texts into vectors, float32 [n, d], as this embedder does."""
    settings = embedder.settings
    if is_fitted(settings):
        from synalign.numerics.core.lsa import Lsa

        stored = context.lake.read("embedders", ["state"], f"run_id = {quote(embedder.run_id)}")
        return Lsa.from_bytes(stored["state"][0].as_py()).transform
    from synalign.llm import encoders

    kind, _, model = settings.model.partition("/")
    if kind == "sentence-transformers":
        return lambda texts: encoders.encode_sentence_transformers(list(texts), model, settings.batch_size)
    return lambda texts: encoders.openai_embed(
        list(texts),
        model=model,
        base_url=settings.base_url,
        api_key_env=settings.api_key_env,
        batch_size=settings.batch_size,
        dimensions=settings.dimensions,
    )


def _embed_source(
    context: Context,
    embedder: Embedder,
    encode: Callable[[Sequence[str]], np.ndarray],
    origin: str,
    source: Run,
    plan: Plan,
) -> int:
    clock = Clock()
    if origin == DOCUMENT:
        frame = documents(context, runs=[source])
    else:
        frame = records(context, origin, runs=[source], with_excluded=True)
    name = vectors_table(embedder.name)
    total = frame.height
    if context.lake.exists(name):
        known = context.lake.frame(name, ["id"], f"origin = {quote(origin)}")
        frame = frame.join(known, on="id", how="anti")
    block = _BLOCK_OF_ENDPOINT if embedder.settings.model.startswith("openai/") else _BLOCK
    what = f"embedding {origin} records" if origin in ORIGINS else "embedding documents"
    for start in range(0, frame.height, block):
        context.progress(what, total - frame.height + start, total)
        part = frame.slice(start, block)
        store(context, embedder, origin, plan.run_id, part["id"], encode(part["text"].to_list()))
    context.progress(what, total, total)
    context.journal.finish(plan, clock, {"records": total})
    return total


def store(context: Context, embedder: Embedder, origin: str, run_id: str, ids: pl.Series, matrix: np.ndarray) -> None:
    """Write the vectors of records, float32 [n, d]; those that are there already stay as they are."""
    spec = vectors_spec(matrix.shape[1])
    columns = {
        "origin": pa.array([origin] * len(ids)),
        "id": ids.to_arrow().cast(pa.string()),
        "run_id": pa.array([run_id] * len(ids)),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1]),
    }
    context.lake.insert(vectors_table(embedder.name), pa.table(columns, schema=spec.schema), spec)


def _kind(settings: Embed, seed: int) -> dict[str, object]:
    """Return what names an encoder, whatever text its versions were fitted to."""
    return _parameters(settings) | ({"seed": seed} if is_fitted(settings) else {})


def _parameters(settings: Embed) -> dict[str, object]:
    dimensions = settings.dimensions or (DEFAULT_DIMENSIONS if is_fitted(settings) else None)
    where = settings.base_url if settings.model.startswith("openai/") else None
    return {"model": settings.model, "dimensions": dimensions, "base_url": where}


def _slug(model: str) -> str:
    name = model.removeprefix("builtin/").rstrip("/").rpartition("/")[2]
    return "".join(c if c.isalnum() else "_" for c in name.lower())[:40]
