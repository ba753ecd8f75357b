"""embed: versions stand side by side, are deterministic, and are never mixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.errors import NotReadyError, StoreError, UsageError
from synalign.steps.core.reading import vectors
from tests.llm.server import Answer, Server

CORPUS = Path(__file__).resolve().parents[3] / "fixtures" / "support.csv"


def _vectors(workspace: sa.Workspace, embedder: str, ids: list[str]) -> np.ndarray:
    return vectors(workspace._context(), embedder, "real", pl.Series("id", ids))


def test_the_same_text_has_the_same_vectors_in_two_workspaces(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        workspace = sa.open(tmp_path / name)
        workspace.ingest(CORPUS, label="label")
        embedder = workspace.embed().counts["embedder"]
        ids = [row[0] for row in workspace.sql("select id from real order by id").fetchall()]
        found.append((embedder, _vectors(workspace, embedder, ids)))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])
    np.testing.assert_allclose(np.linalg.norm(found[0][1], axis=1), 1.0, rtol=1e-5)


def test_the_test_split_is_embedded_but_never_fitted_on(tmp_path: Path) -> None:
    corpus = pl.read_csv(CORPUS).with_row_index("n")
    split = pl.when(pl.col("n") < 100).then(pl.lit("test")).otherwise(pl.lit("train")).alias("split")
    changed = pl.when(pl.col("n") < 100).then(pl.lit("quite another text ") + pl.col("n").cast(pl.String))
    other = corpus.with_columns(changed.otherwise(pl.col("text")).alias("text"))
    found = []
    for name, frame in (("a", corpus), ("b", other)):
        workspace = sa.open(tmp_path / name)
        workspace.ingest(frame.with_columns(split), label="label", split="split", id="n")
        embedder = workspace.embed().counts["embedder"]
        found.append(_vectors(workspace, embedder, [str(n) for n in range(100, 451)]))
        assert _vectors(workspace, embedder, ["5"]).shape == (1, found[-1].shape[1])
    np.testing.assert_array_equal(found[0], found[1])


def test_two_versions_stand_side_by_side_and_each_has_its_own_table(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(CORPUS, label="label")
    first = workspace.embed().counts["embedder"]
    second = workspace.embed(dimensions=16).counts["embedder"]
    assert first != second
    ids = [row[0] for row in workspace.sql("select id from real limit 3").fetchall()]
    assert _vectors(workspace, second, ids).shape == (3, 16)
    assert _vectors(workspace, first, ids).shape[1] > 16
    assert workspace.embed().reused
    assert workspace.embed(dimensions=16).reused


def _embeddings(body: dict[str, Any], _number: int) -> Answer:
    """Answer with vectors that say which text they are of, in reverse order."""
    items = [{"object": "embedding", "index": n, "embedding": [len(t), 1.0]} for n, t in enumerate(body["input"])]
    return Answer({"object": "list", "model": "small", "data": items[::-1], "usage": {"prompt_tokens": 1}})


def test_an_endpoint_embeds_each_text_once_and_each_gets_its_own_vector(
    tmp_path: Path, serve: Callable[[Callable[[dict[str, Any], int], Answer]], Server]
) -> None:
    server = serve(_embeddings)
    workspace = sa.open(tmp_path / "w")
    corpus = pl.read_csv(CORPUS)
    workspace.ingest(corpus.head(300), label="label")
    outcome = workspace.embed(model="openai/small", base_url=server.url)
    assert outcome.counts["records"] == 300
    assert [len(body["input"]) for body in server.bodies] == [128, 128, 44]
    rows = workspace.sql("select id, text from real").fetchall()
    found = _vectors(workspace, outcome.counts["embedder"], [row[0] for row in rows])
    assert found[:, 0].tolist() == [len(row[1]) for row in rows]
    workspace.ingest(corpus.slice(300, 5), label="label")
    assert workspace.embed(model="openai/small", base_url=server.url).counts["records"] == 5
    assert len(server.bodies) == 4


def test_an_unknown_embedder_is_refused_with_those_there_are(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(CORPUS, label="label")
    name = workspace.embed().counts["embedder"]
    with pytest.raises(UsageError, match=name):
        workspace.cluster(embedder="nope")
    with pytest.raises(UsageError, match=name):
        workspace.search("lamp", embedder="nope")


def test_a_gap_is_never_filled_from_another_embedder(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(CORPUS, label="label")
    name = workspace.embed().counts["embedder"]
    with pytest.raises(StoreError, match="1 of 1 real records have no vector"):
        _vectors(workspace, name, ["no such record"])


def test_another_seed_is_another_fit_and_going_back_finds_the_first(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(CORPUS, label="label")
    first = workspace.cluster(k=4).counts["embedder"]
    workspace.configure(sa.Config(seed=5))
    second = workspace.cluster(k=4).counts["embedder"]
    assert second != first
    workspace.configure(sa.Config())
    assert workspace.cluster(k=4).counts["embedder"] == first


def test_a_length_is_refused_for_a_model_that_has_its_own(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(CORPUS, label="label")
    with pytest.raises(UsageError, match="vector length of its own"):
        workspace.embed(model="sentence-transformers/some", dimensions=64)


def test_search_says_when_records_are_not_embedded_yet(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(pl.read_csv(CORPUS).head(50), label="label")
    workspace.embed()
    workspace.ingest(pl.DataFrame({"text": ["a glass lamp that hums"]}))
    with pytest.raises(NotReadyError, match="has not seen"):
        workspace.search("a glass lamp that hums")
    workspace.embed()
    assert workspace.search("a glass lamp that hums", k=1)["text"][0] == "a glass lamp that hums"


def test_excluded_records_are_not_found_and_do_not_take_the_place_of_others(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    corpus = pl.read_csv(CORPUS)
    workspace.ingest(corpus.head(60), label="label")
    workspace.ingest(corpus.slice(60, 60), label="label", synthetic=True)
    workspace.embed()
    nearest = workspace.search("where is my parcel", k=5, origin="synthetic")["id"].to_list()
    workspace.exclude(f"id in ('{nearest[0]}', '{nearest[2]}')")
    left = workspace.search("where is my parcel", k=5, origin="synthetic")["id"].to_list()
    assert left[:3] == [nearest[1], nearest[3], nearest[4]]
    assert len(left) == 5


def test_nothing_to_embed_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="no real training records"):
        sa.open(tmp_path / "w").embed()


def test_search_finds_the_text_itself_first_and_is_by_cosine_distance(filled: sa.Workspace) -> None:
    text = "where is my parcel??"
    found = filled.search(text, k=5, origin="real")
    assert found["text"][0] == text
    assert found["distance"][0] == pytest.approx(0.0, abs=1e-5)
    assert found["distance"].is_sorted()
    embedder = filled.sql("select name from embedders order by len(fitted_on) desc").fetchall()[0][0]
    own = _vectors(filled, embedder, found["id"].to_list())
    np.testing.assert_allclose(found["distance"].to_numpy(), 1 - own @ own[0], atol=1e-5)
    by_id = filled.search(id=found["id"][0], k=4, origin="real")
    assert by_id["id"].to_list() == found["id"].to_list()[1:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give one of them"),
        ({"text": "a", "id": "b"}, "give one of them"),
        ({"text": "a", "origin": "rael"}, "no side 'rael'"),
        ({"text": "a", "k": 0}, "at least 1"),
        ({"id": "nobody"}, "no record with the id 'nobody'"),
    ],
)
def test_a_wrong_search_is_refused(filled: sa.Workspace, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        filled.search(**arguments)  # type: ignore[arg-type]


def test_steps_use_the_embedder_that_was_embedded_with_last(
    tmp_path: Path, serve: Callable[[Callable[[dict[str, Any], int], Answer]], Server]
) -> None:
    """Also where its endpoint is: a step is not told the address again."""
    server = serve(_embeddings)
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(pl.read_csv(CORPUS).head(40), label="label")
    lsa = workspace.embed().counts["embedder"]
    small = workspace.embed(model="openai/small", base_url=server.url).counts["embedder"]
    assert workspace.cluster(k=3).counts["embedder"] == small
    asked = len(server.bodies)
    assert workspace.search("a lamp", k=1).height == 1
    assert server.bodies[asked]["input"] == ["a lamp"]
    assert workspace.cluster(k=3, embedder=lsa).counts["embedder"] == lsa
    workspace.embed()
    assert workspace.cluster(k=3).counts["embedder"] == lsa
    with pytest.raises(UsageError, match="never mixed"):
        workspace.select(embedder=small)
