"""documents: what comes in, what is refused, and that nothing changes where there are none."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import synalign as sa
from synalign.errors import InputError, UsageError
from synalign.steps.embedding import embed
from tests.steps.helpdesk import ARTICLES, articles, helpdesk, queries
from tests.steps.workspaces import one


def test_documents_keep_their_columns_and_come_in_once(blank: Path) -> None:
    workspace = sa.open(blank)
    first = workspace.ingest_documents(ARTICLES)
    assert (first.step, first.counts) == ("documents", {"documents": 24, "added": 24})
    again = workspace.ingest_documents(articles().sample(fraction=1.0, shuffle=True, seed=1))
    assert again.reused
    assert again.counts["added"] == 0
    found = workspace.sql("select id, title, text from documents order by id").pl()
    assert found.equals(articles().select("id", "title", "text").sort("id"))


def test_more_documents_are_added_and_the_old_ones_stay(blank: Path) -> None:
    workspace = sa.open(blank)
    workspace.ingest_documents(articles().head(20))
    outcome = workspace.ingest_documents(articles().with_columns(pl.lit("en").alias("language")))
    assert outcome.counts == {"documents": 24, "added": 4}
    assert any("20 documents were in the workspace already" in note for note in outcome.notes)
    assert one(workspace, "select count(*) from documents where language is null") == 20


def test_an_id_that_stands_for_another_text_is_refused_by_its_name(blank: Path) -> None:
    workspace = sa.open(blank)
    workspace.ingest_documents(ARTICLES)
    other = articles().head(2).with_columns(pl.lit("something else").alias("text"))
    with pytest.raises(InputError, match=r"2 documents .* first 'missing-parcel'.*'something else' here"):
        workspace.ingest_documents(other)
    twice = pl.DataFrame({"id": ["a", "a"], "text": ["one", "two"]})
    with pytest.raises(InputError, match="1 ids stand for different content, first 'a'"):
        workspace.ingest_documents(twice)
    assert one(workspace, "select count(*) from documents") == 24


def test_columns_that_are_not_there_and_empty_texts_are_refused(blank: Path) -> None:
    workspace = sa.open(blank)
    with pytest.raises(UsageError, match="no column 'id' to take as id"):
        workspace.ingest_documents(pl.DataFrame({"text": ["one"]}))
    blanks = pl.DataFrame({"key": ["a", "b"], "body": ["one", " "]})
    with pytest.raises(InputError, match="1 of 2 texts in column 'body' are empty"):
        workspace.ingest_documents(blanks, id="key", text="body")
    assert workspace.ingest_documents(blanks, id="key", text="body", skip_empty=True).counts["added"] == 1
    assert one(workspace, "select id from documents") == "a"


def test_the_default_embedder_sees_documents_where_there_are_some(blank: Path, tmp_path: Path) -> None:
    with_documents = helpdesk(blank)
    with_documents.embed()
    train = queries().filter(pl.col("split") == "train").height
    assert one(with_documents, "select texts from embedders") == train + 24
    assert one(with_documents, "select fitted_on from embedders") == ["real", "document"]
    assert one(with_documents, "select count(*) from runs where parameters like '%document%' and step = 'embed'") == 1
    without = sa.open(tmp_path / "without")
    without.ingest(queries(), id="id", label="article", split="split")
    without.cluster(k=4)
    assert one(without, "select fitted_on from embedders") == ["real"]


def test_clustering_leaves_documents_alone(blank: Path) -> None:
    workspace = helpdesk(blank)
    workspace.cluster(k=6)
    assert one(workspace, "select count(*) from runs where step = 'embed'") == 1  # the queries
    assert workspace.search("where is my parcel", k=50).filter(pl.col("origin") == "document").height == 0


def test_room_to_fit_is_shared_out_between_what_there_is(blank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from synalign.steps.embedding.fitting import fit_texts

    workspace = helpdesk(blank)
    monkeypatch.setattr("synalign.numerics.core.lsa.MAX_FIT_TEXTS", 60)
    sizes = {origin: frame.height for origin, frame in fit_texts(workspace._context()).items()}
    assert sizes == {"real": 36, "synthetic": 0, "document": 24}
    monkeypatch.setattr("synalign.numerics.core.lsa.MAX_FIT_TEXTS", 20)
    sizes = {origin: frame.height for origin, frame in fit_texts(workspace._context()).items()}
    assert sizes == {"real": 10, "synthetic": 0, "document": 10}


def test_a_fixed_part_of_an_embedders_name_does_not_change_without_documents(blank: Path) -> None:
    workspace = sa.open(blank)
    workspace.ingest(queries(), id="id", label="article", split="split")
    context = workspace._context()
    sources = [run.run_id for run in context.journal.runs("ingest")]
    workspace.embed()
    (run,) = workspace._context().journal.runs("embedder")
    assert run.inputs == sources
    assert embed.current(workspace._context()) is not None
