"""The tables of a workspace: their columns and keys. What a row is stands in `docs/reference/sql.md`.

Every key column is non-nullable and carries Lance's primary-key metadata: without it, concurrent inserts of the same
new keys duplicate rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from synalign.config import RULES

_KEY = {"lance-schema:unenforced-primary-key": "true"}

#: The two sides of an alignment; `origin` columns hold one of these.
REAL, SYNTHETIC = "real", "synthetic"
ORIGINS = (REAL, SYNTHETIC)

#: What stands in the column `origin` of a table of vectors for those of documents, which are on neither side.
DOCUMENT = "document"

#: Splits that a record may be in. Only `train` is ever fitted on.
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class TableSpec:
    """One table: its schema, and the columns that name a row."""

    schema: pa.Schema
    key: tuple[str, ...]


def _spec(key: str, **columns: pa.DataType) -> TableSpec:
    names = tuple(key.split())
    fields = [
        pa.field(name, kind, nullable=name not in names, metadata=_KEY if name in names else None)
        for name, kind in columns.items()
    ]
    return TableSpec(pa.schema(fields), names)


_S, _I, _F, _B = pa.string(), pa.int64(), pa.float64(), pa.bool_()
#: In UTC, without a zone: DuckDB hands zoned times to Python through pytz, which nothing here installs.
_TIME = pa.timestamp("us")
_NAMED = pa.list_(pa.struct([("name", _S), ("value", _S)]))
_SHARES = pa.list_(pa.struct([("label", _S), ("share", _F)]))

RECORD_COLUMNS: dict[str, pa.DataType] = {"id": _S, "text": _S, "label": _S, "split": _S, "run_id": _S}

TABLES: dict[str, TableSpec] = {
    "real": _spec("id", **RECORD_COLUMNS),
    "synthetic": _spec("id", **RECORD_COLUMNS, call_id=_S, selection_id=_S, attributes_id=_S, written_from=_S),
    "multiplicities": _spec("run_id origin id", run_id=_S, origin=_S, id=_S, multiplicity=_I),
    "exclusions": _spec("run_id id", run_id=_S, id=_S, excluded=_B, reason=_S),
    "embedders": _spec(
        "run_id", run_id=_S, name=_S, model=_S, dimensions=_I, fitted_on=pa.list_(_S), texts=_I, state=pa.large_binary()
    ),
    "clusters": _spec(
        "run_id cluster_id",
        run_id=_S, cluster_id=_I, size=_F, label_mix=_SHARES, radius=_F, centroid=pa.list_(pa.float32()),
        label=_S, purity=_F, silhouette=_F,
    ),
    "cluster_members": _spec(
        "run_id origin id",
        run_id=_S, origin=_S, id=_S, cluster_run_id=_S, cluster_id=_I, distance=_F,
    ),
    "selections": _spec(
        "run_id step",
        run_id=_S, step=_I, selection_id=_S, round=_I, cluster_run_id=_S, cluster_id=_I, label=_S,
        variance_before=_F, variance_after=_F, score=_F, demonstrations=pa.list_(_S),
        kernel=_S, length_scale=_F, noise=_F, stop_reason=_S, unit=_S, record_id=_S, mass=_F, gap=_F,
        length_scale_from=_S, length_scales=pa.list_(_F), shown_by=_S, uninformative=_B, seconds=_F,
    ),
    "uncertainty": _spec(
        "run_id cluster_id", run_id=_S, cluster_id=_I, variance_before=_F, variance_after=_F
    ),
    "rounds": _spec(
        "run_id",
        run_id=_S, round=_I, select_run_id=_S, generate_run_id=_S, align_run_id=_S, records=_I, synthetic_records=_I,
        mmd2_without=_F, mmd2_with=_F, improvement=_F, improvement_error=_F, mmd2_floor=_F, effective_share=_F,
        decision=_S, reason=_S,
    ),
    "attributes": _spec(
        "run_id id", run_id=_S, id=_S, selection_id=_S, call_id=_S, attributes=_NAMED
    ),
    "attribute_values": _spec(
        "run_id attributes_id name",
        run_id=_S, attributes_id=_S, name=_S, kind=_S, value=_S, stated=_S, number=_F, added=_B,
    ),
    "annotations": _spec(
        "run_id origin id name", run_id=_S, origin=_S, id=_S, call_id=_S, name=_S, kind=_S, value=_S, stated=_S,
        number=_F,
    ),
    "redactions": _spec("placeholder", placeholder=_S, original=_S),
    "calls": _spec(
        "call_id",
        call_id=_S, run_id=_S, step=_S, selection_id=_S, model=_S, base_url=_S, template_hash=_S, system=_S, user=_S,
        status=_S, reply=_S, error=_S, finish_reason=_S, mode=_S, attempts=_I, prompt_tokens=_I, completion_tokens=_I,
        cost_usd=_F, latency_s=_F, finished_at=_TIME, subject=_S, seed=_I, repairs=_S, batch_id=_S,
    ),
    "rejections": _spec(
        "run_id call_id index", run_id=_S, call_id=_S, index=_I, reason=_S, detail=_S, text=_S
    ),
    "checks": _spec(
        "run_id call_id index",
        run_id=_S, call_id=_S, index=_I, id=_S, accepted=_B, reason=_S, **dict.fromkeys(RULES, _B),
        near_duplicate_similarity=_F, copied_share=_F, cosine_to_synthetic=_F, cosine_to_real=_F,
    ),
    "weights": _spec("run_id id", run_id=_S, id=_S, weight_set=_S, label=_S, weight=_F),
    "label_quality": _spec(
        "run_id id", run_id=_S, id=_S, label=_S, quality=_F, predicted=_S, predicted_probability=_F
    ),
    "alignments": _spec(
        "run_id stratum",
        run_id=_S, stratum=_S, weight_set=_S, embedder=_S, kernel=_S, bandwidths=pa.list_(_F), features=_I, seed=_I,
        strength=_F, quality=_B, label_shares=_S, scored_from=_S, drift=_F, real_records=_I, synthetic_records=_I,
        share=_F, mmd2_before=_F, mmd2_after=_F, mmd2_heldout_before=_F, mmd2_heldout_after=_F, mmd2_floor=_F,
        mmd2_test_before=_F, mmd2_test_after=_F, effective_size=_F, effective_share=_F, gap=_F, iterations=_I,
        converged=_B, log_normaliser=_F, dual=pa.list_(_F),
    ),
    "strength_curve": _spec(
        "run_id candidate",
        run_id=_S, candidate=_I, strength=_F, quality=_B, label_shares=_S, effective_size=_F, effective_share=_F,
        mmd2_fitted=_F, mmd2_heldout=_F, accuracy=_F, accuracy_error=_F, gain=_F, gain_error=_F, chosen=_B,
        unweighted=_B, folds=_I, real_records=_I, synthetic_records=_I, seed=_I,
    ),
    "metrics": _spec(
        "run_id metric scope",
        run_id=_S, metric=_S, scope=_S, weights_run_id=_S, weight_set=_S, split=_S, value=_F, low=_F, high=_F,
        p_value=_F, real_records=_I, synthetic_records=_I, seed=_I,
    ),
    "witness": _spec(
        "run_id id",
        run_id=_S, weights_run_id=_S, id=_S, stratum=_S, witness=_F, real_mean=_F, synthetic_mean=_F,
    ),
    "neighbours": _spec(
        "run_id origin id",
        run_id=_S, weights_run_id=_S, origin=_S, id=_S, label=_S, neighbour_id=_S, neighbour_label=_S, similarity=_F,
    ),
    "evaluations": _spec(
        "run_id method real_records seed",
        run_id=_S, method=_S, real_records=_I, seed=_I, synthetic_records=_I, test_records=_I, model=_S, embedder=_S,
        share=_F, strength=_F, quality=_B, label_shares=_S, effective_size=_F, accuracy=_F, macro_f1=_F, log_loss=_F,
        calibration_error=_F, seconds=_F,
    ),
    "documents": _spec("id", id=_S, text=_S, run_id=_S),
    "retrievers": _spec(
        "run_id",
        run_id=_S, name=_S, trained_on=_S, embedder=_S, dimensions=_I, settings=_S, share=_F, real_pairs=_I,
        synthetic_pairs=_I, documents=_I, index_kind=_S, probes=_I, refine=_I, index_recall=_F, index_goal=_F,
        train_seconds=_F, index_seconds=_F, state=pa.large_binary(),
    ),
    "rankings": _spec(
        "run_id retriever query_id rank", run_id=_S, retriever=_S, query_id=_S, rank=_I, document_id=_S, score=_F
    ),
    "comparisons": _spec(
        "run_id",
        run_id=_S, a=_S, b=_S, rankings_run_id=_S, rankings_run_id_b=_S, split=_S, click_model=_S, depth=_I, shared=_B,
        passes=_I, queries=_I, impressions=_I, wins_a=_I, wins_b=_I, ties=_I, win_rate=_F, low=_F, high=_F, p_value=_F,
        decision=_S, stopped_after=_I, lift=_F, needed_for_lift=_I, needed_at_once=_I, alpha=_F, power=_F, seed=_I,
    ),
    "experiments": _spec(
        "run_id metric arm",
        run_id=_S, metric=_S, arm=_S, experiment=_S, counted=_S, divided_by=_S, control=_S, users=_I, control_users=_I,
        value=_F, control_value=_F, lift=_F, low=_F, high=_F, relative_lift=_F, relative_low=_F, relative_high=_F,
        p_value=_F, corrected_p=_F, significant=_B, joint_low=_F, joint_high=_F, correction=_S, alpha=_F,
        sample_ratio_p=_F, users_in_two_arms=_I, first_event=_TIME, last_event=_TIME,
    ),
    "runs": _spec(
        "run_id",
        run_id=_S, sequence=_I, step=_S, parameters=_S, seed=_I, round=_I, inputs=pa.list_(_S), table_versions=_S,
        counts=_S, notes=pa.list_(_S), seconds=_F, started_at=_TIME, finished_at=_TIME, package_version=_S,
    ),
    "activations": _spec("sequence", sequence=_I, step=_S, run_id=_S, at=_TIME),
    "tags": _spec("number", number=_I, name=_S, sequence=_I, state_at=_TIME, note=_S, dropped=_B, tagged_at=_TIME),
    "forgotten": _spec("digest", digest=_S, at=_TIME),
    "recordings": _spec("path", path=_S, at=_TIME),
}  # fmt: skip

#: Column names that the views give a meaning to; a user's own column of that name is kept as `file_<name>`.
RESERVED = frozenset(TABLES["synthetic"].schema.names) | {
    "multiplicity", "weight", "weight_set", "label_quality", "origin", "sample_weight", "excluded", "label_name",
    "copies",
}  # fmt: skip

#: Tables that no SQL surface shows: what personal data was taken out of prompts stays in the workspace, and so does
#: what names the records that were forgotten, and the files to which replies were written.
HIDDEN = ("redactions", "forgotten", "recordings")

#: Tables whose rows belong to the run that wrote them and are dropped when that run never finished. `calls` is not
#: among them: a reply that was paid for is kept whatever happens.
OWNED_BY_RUN = tuple(name for name in TABLES if name not in ("calls", "runs", "activations", "tags", *HIDDEN))


def vectors_spec(dimensions: int) -> TableSpec:
    """Return the layout of an embedder's table of vectors. Its key is (origin, id): ids of the two sides may meet."""
    vector = pa.list_(pa.float32(), dimensions)
    return _spec("origin id", origin=_S, id=_S, run_id=_S, vector=vector)


def vectors_table(embedder: str) -> str:
    """Return the name of the table that holds the vectors of one embedder."""
    return f"vectors_{embedder}"


def index_table(run_id: str) -> str:
    """Return the name of the table that holds the vectors of the documents as one retriever makes them. It is laid out
    as a table of vectors, all of the origin "document"."""
    return f"index_{run_id}"


def empty(name: str) -> pa.Table:
    """Return the table `name` without rows, for a workspace that has not written it yet."""
    return TABLES[name].schema.empty_table()
