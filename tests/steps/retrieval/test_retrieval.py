"""Retrieval on the help articles: trained, searched, judged, forgotten; and what is said of bad input."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.errors import ConfigError, InputError, NotReadyError, StoreError, UsageError
from synalign.steps.retrieval.retriever import named
from tests.steps.helpdesk import articles, helpdesk, queries, written
from tests.steps.workspaces import one

FIGURES = {"recall_at_1", "recall_at_5", "recall_at_10", "recall_at_100", "mrr_at_10", "ndcg_at_10"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """Five retrievers, one of them with an index, and their evaluation. Copy it before writing."""
    workspace = helpdesk(tmp_path_factory.mktemp("retrieval") / "w")
    workspace.ingest(written(), id="id", label="article", synthetic=True)
    workspace.align(strength="none", features=64, quality=False, label_shares="kept")
    workspace.train_retriever(on="frozen")
    workspace.train_retriever("mixed", on="real+weighted", share=0.4)
    workspace.train_retriever("written", on="synthetic")
    workspace.train_retriever("indexed", on="real", index_from=10, index_recall=0.9)
    workspace.train_retriever(on="real")
    workspace.evaluate_retrievers()
    return workspace


@pytest.fixture
def copy(trained: sa.Workspace, tmp_path: Path) -> sa.Workspace:
    shutil.copytree(trained.path, tmp_path / "copy")
    return sa.open(tmp_path / "copy")


def rows(workspace: sa.Workspace, sql: str) -> list[dict[str, Any]]:
    return workspace.sql(sql).pl().to_dicts()


def test_retrievers_say_what_they_were_trained_on(trained: sa.Workspace) -> None:
    found = {row["name"]: row for row in rows(trained, "from retrievers")}
    train, sentences = 121, written().height
    pairs = {name: (row["trained_on"], row["real_pairs"], row["synthetic_pairs"]) for name, row in found.items()}
    assert pairs == {
        "frozen": ("frozen", 0, 0),
        "mixed": ("real+weighted", train, sentences),
        "written": ("synthetic", 0, sentences),
        "indexed": ("real", train, 0),
        "real": ("real", train, 0),
    }
    assert (found["mixed"]["share"], found["written"]["share"], found["real"]["share"]) == (0.4, 1.0, 0.0)
    assert {row["documents"] for row in found.values()} == {24}
    assert found["real"]["index_kind"] is None
    assert (found["indexed"]["index_kind"], found["indexed"]["index_goal"]) == ("ivf_flat", 0.9)
    assert found["indexed"]["index_recall"] >= 0.9


def test_training_again_does_nothing_and_another_seed_does(copy: sa.Workspace) -> None:
    assert copy.train_retriever(on="real").reused
    copy.configure(copy.config.model_copy(update={"seed": 4}))
    assert not copy.train_retriever("frozen", on="frozen").reused


def test_retrieve_finds_documents_by_the_retriever_that_was_asked(trained: sa.Workspace) -> None:
    found = trained.retrieve("my login is locked and i forgot the password", 3, retriever="real")
    assert found.columns == ["query", "rank", "id", "score", "text"]
    assert found["id"][0] == "reset-password"
    assert found["rank"].to_list() == [1, 2, 3]
    assert found["score"].is_sorted(descending=True)
    both = trained.retrieve(["a bill with our company name", "unsubscribe"], 2, retriever="real")
    assert both["query"].to_list() == [0, 0, 1, 1]
    assert both.filter(pl.col("rank") == 1)["id"].to_list() == ["invoice", "newsletter"]
    everything = trained.retrieve("lamp", 1000)
    assert sorted(everything["id"]) == sorted(articles()["id"])


def test_training_brings_queries_near_their_documents(trained: sa.Workspace) -> None:
    train = queries().filter(pl.col("split") == "train")
    right = {}
    for name in ("frozen", "real"):
        found = trained.retrieve(train["text"].to_list(), 1, retriever=name)["id"]
        right[name] = (found == train["article"]).mean()
    assert right["real"] > right["frozen"] + 0.2


def test_the_index_and_exact_search_give_the_same_scores(trained: sa.Workspace) -> None:
    texts = queries()["text"].head(20).to_list()
    near = trained.retrieve(texts, 5, retriever="indexed")
    exact = trained.retrieve(texts, 24, retriever="indexed", exact=True)
    both = near.join(exact, on=["query", "id"], suffix="_exact")
    assert both.height == near.height
    np.testing.assert_allclose(both["score"], both["score_exact"], atol=1e-5)
    best = exact.filter(pl.col("rank") <= 5).join(near, on=["query", "id"], how="semi")
    assert best.height >= 0.8 * near.height


def test_figures_are_those_of_the_rankings(trained: sa.Workspace) -> None:
    right = rows(
        trained,
        """select retriever, count(*) filter (rank = 1) / 48 as first, sum(1 / rank) filter (rank <= 10) / 48 as mrr
        from rankings k join real q on q.id = k.query_id and q.label = k.document_id group by retriever""",
    )
    summary = {row["retriever"]: row for row in rows(trained, "from retrieval_summary")}
    assert set(summary) == {"frozen", "mixed", "written", "indexed", "real"}
    for row in right:
        found = summary[row["retriever"]]
        assert found["recall_at_1"] == pytest.approx(row["first"])
        assert found["mrr_at_10"] == pytest.approx(row["mrr"])
        assert found["mrr_low"] < found["mrr_at_10"] < found["mrr_high"]
        assert found["queries"] == 48
    assert one(trained, "select count(*) from rankings") == 5 * 48 * 20
    assert one(trained, "select max(rank) from rankings") == 20


def test_gains_are_paired_differences_to_the_baseline(trained: sa.Workspace) -> None:
    summary = {row["retriever"]: row for row in rows(trained, "from retrieval_summary")}
    assert {row["baseline"] for row in summary.values()} == {"frozen"}
    assert summary["frozen"]["gain"] is None
    for name in ("mixed", "written", "real"):
        row = summary[name]
        assert row["gain"] == pytest.approx(row["mrr_at_10"] - summary["frozen"]["mrr_at_10"])
        assert row["gain_low"] <= row["gain"] <= row["gain_high"]
        assert (row["gain_low"] > 0) <= (row["gain_p_value"] < 0.05)
    metrics = {row["metric"] for row in rows(trained, "from metrics where scope = 'real'")}
    assert metrics == FIGURES | {f"{name}_gain" for name in FIGURES}


def test_the_index_is_compared_with_exact_search(trained: sa.Workspace) -> None:
    summary = {row["retriever"]: row["index_recall_at_10"] for row in rows(trained, "from retrieval_summary")}
    assert summary.pop("indexed") >= 0.8
    assert set(summary.values()) == {None}


def test_an_evaluation_is_done_once_and_of_those_that_are_named(copy: sa.Workspace) -> None:
    assert copy.evaluate_retrievers().reused
    found = copy.evaluate_retrievers(["real", "written"], k=[3], baseline="written")
    assert not found.reused
    summary = rows(copy, "from retrieval_summary")
    assert {row["retriever"]: row["baseline"] for row in summary} == {"real": "written", "written": "written"}
    assert one(copy, f"select value from metrics where run_id = '{found.run_id}' and metric = 'recall_at_3' limit 1")


def test_training_under_a_name_again_replaces_it(copy: sa.Workspace) -> None:
    copy.train_retriever("real", on="frozen")
    assert named(copy._context(), "real").row["trained_on"] == "frozen"
    assert copy.gc(superseded=True)["tables"] == 0  # what was evaluated is kept
    copy.evaluate_retrievers(["real", "mixed"])
    dropped = copy.gc(superseded=True)
    assert (dropped["runs"], dropped["tables"]) == (2, 1)  # and the evaluation before it
    assert one(copy, "select count(*) from retrievers where name = 'real'") == 1
    assert copy.fsck().problems == []
    copy.retrieve("lamp", retriever="mixed")


def test_labels_that_are_no_documents_are_named_with_their_counts(blank: Path) -> None:
    workspace = sa.open(blank)
    workspace.ingest_documents(articles().filter(~pl.col("id").is_in(["bulbs", "stock"])))
    workspace.ingest(queries(), id="id", label="article", split="split")
    with pytest.raises(InputError, match=r"10 of 121 real train records .* no document: 'bulbs' \(5\), 'stock' \(5\)"):
        workspace.train_retriever(on="real")
    workspace.configure(sa.Config.model_validate({"retrieve": {"unknown": "leave_out", "epochs": 1}}))
    outcome = workspace.train_retriever(on="real")
    assert outcome.counts["real_pairs"] == 111
    assert "they are left out" in outcome.notes[0]
    assert workspace.evaluate_retrievers().counts["queries"] == 44


def test_what_is_missing_is_said_with_what_to_do(blank: Path) -> None:
    workspace = sa.open(blank)
    workspace.ingest(queries().filter(pl.col("split") == "train"), id="id", label="article")
    with pytest.raises(NotReadyError, match=r"no documents to retrieve.*ingest_documents"):
        workspace.train_retriever(on="frozen")
    with pytest.raises(NotReadyError, match="no documents"):
        workspace.retrieve("lamp")
    workspace.ingest_documents(articles())
    with pytest.raises(NotReadyError, match=r"no retrievers yet.*ws\.train_retriever"):
        workspace.retrieve("lamp")
    with pytest.raises(NotReadyError, match="no synthetic queries"):
        workspace.train_retriever(on="real+synthetic")
    with pytest.raises(ConfigError, match="retrieve is not valid"):
        workspace.train_retriever(on="everything")
    with pytest.raises(UsageError, match="a name that is not empty"):
        workspace.train_retriever("  ", on="frozen")
    workspace.train_retriever(on="frozen")
    with pytest.raises(NotReadyError, match=r"no test queries.*test_share"):
        workspace.evaluate_retrievers()
    workspace.ingest(written(), id="id", label="article", synthetic=True)
    with pytest.raises(NotReadyError, match="no weights yet"):
        workspace.train_retriever(on="weighted")


def test_bad_questions_are_refused(trained: sa.Workspace) -> None:
    with pytest.raises(UsageError, match=r"no retriever 'mixd'\. Did you mean 'mixed'"):
        trained.retrieve("lamp", retriever="mixd")
    with pytest.raises(UsageError, match="k, must be at least 1, not 0"):
        trained.retrieve("lamp", 0)
    with pytest.raises(UsageError, match=r"query number 1 \(counted from 0\) is empty"):
        trained.retrieve(["lamp", " "])
    assert trained.retrieve([]).height == 0
    with pytest.raises(UsageError, match="no retriever 'none'"):
        trained.evaluate_retrievers(["none"])
    with pytest.raises(UsageError, match="ranks of at least 1"):
        trained.evaluate_retrievers(k=[0])
    with pytest.raises(UsageError, match="baseline 'frozen' is not among"):
        trained.evaluate_retrievers(["real"], baseline="frozen")


def test_test_queries_that_are_training_texts_are_refused(copy: sa.Workspace) -> None:
    test = queries().filter(pl.col("split") == "test").head(2)
    leaked = test.select(pl.format("leak-{}", "id").alias("id"), pl.col("text").str.to_uppercase(), "article")
    copy.ingest(leaked, id="id", label="article", synthetic=True)
    with pytest.raises(UsageError, match=r"2 of 48 test queries are training texts, too: 'q003', 'q006'"):
        copy.evaluate_retrievers()
    outcome = copy.evaluate_retrievers(allow_overlap=True)
    assert "2 of 48 test queries are training texts" in outcome.notes[0]


def test_documents_that_come_later_are_said(copy: sa.Workspace) -> None:
    copy.ingest_documents(pl.DataFrame({"id": ["new"], "text": ["Carpets are cut to size in every shop."]}))
    with pytest.raises(NotReadyError, match=r"Documents came in since the retriever 'frozen' .* on='frozen'"):
        copy.retrieve("carpet", retriever="frozen")
    copy.train_retriever(on="frozen")
    assert copy.retrieve("are carpets cut to size", 1)["id"].to_list() == ["new"]


def test_a_retriever_is_mended_where_its_documents_or_its_index_are_gone(copy: sa.Workspace) -> None:
    before = copy.retrieve("unsubscribe", 24, retriever="indexed", exact=True)
    table = named(copy._context(), "indexed").table
    shutil.rmtree(copy.path / "lance" / f"{table}.lance")
    assert [problem.check for problem in copy.fsck().problems] == ["vectors"]
    with pytest.raises(StoreError, match="The documents of the retriever 'indexed' are gone"):
        copy.retrieve("unsubscribe", retriever="indexed")
    mended = copy.train_retriever("indexed", on="real", index_from=10, index_recall=0.9)
    assert mended.reused
    assert [note.split(" ")[1] for note in mended.notes if note.startswith("its ")] == ["documents", "index"]
    assert copy.fsck().problems == []
    assert copy.retrieve("unsubscribe", 24, retriever="indexed", exact=True).equals(before)


def test_forgetting_a_query_takes_what_was_trained_on_it(copy: sa.Workspace) -> None:
    tables = {path.name for path in (copy.path / "lance").glob("index_*.lance")}
    outcome = copy.forget(["q003"])
    assert outcome.counts["retrievers"] == len(tables) == 5  # the default embedder saw the queries
    assert one(copy, "select count(*) from rankings where query_id = 'q003'") == 0
    assert one(copy, "select count(*) from rankings") == 5 * 47 * 20
    assert not list((copy.path / "lance").glob("index_*.lance"))
    assert one(copy, "select count(*) from documents") == 24
    assert copy.fsck().problems == []
    copy.train_retriever(on="real")
    assert copy.evaluate_retrievers().counts["queries"] == 47


def test_a_retriever_of_a_run_that_never_finished_is_swept(copy: sa.Workspace) -> None:
    run_id = named(copy._context(), "real").run.run_id
    copy._lake.delete("runs", f"run_id = '{run_id}'")
    kinds = {problem.kind for problem in copy.fsck().problems}
    assert "leftover" in kinds
    assert copy.gc()["tables"] == 1
    assert not (copy.path / "lance" / f"index_{run_id}.lance").exists()
    assert not copy.train_retriever(on="real").reused


def test_fsck_finds_documents_and_queries_that_went(copy: sa.Workspace) -> None:
    lake = copy._lake
    lake.delete("documents", "id = 'stock'")
    row = lake.read("rankings").slice(0, 1).to_pylist()[0] | {"query_id": "nobody"}
    lake.insert_rows("rankings", [row])
    lake.delete(named(copy._context(), "real").table, "id = 'invoice'")
    found = {(problem.check, problem.kind) for problem in copy.fsck().problems}
    wanted = {
        ("run_counts", "error"),
        ("embedder_saw_train", "error"),
        ("stray_vectors", "leftover"),
        ("learned_records", "error"),
        ("vectors", "error"),
    }
    assert found - {("catalog", "leftover")} == wanted
