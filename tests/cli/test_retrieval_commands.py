"""The verbs documents, retriever, retrieve and evaluate-retrieval: options, JSON and exit codes, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.inside import cli
from tests.steps.helpdesk import ARTICLES, QUERIES


def good(*arguments: str | Path) -> str:
    done = cli(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def data(*arguments: str | Path) -> Any:
    return json.loads(good(*arguments, "--json"))


def bad(status: int, *arguments: str | Path) -> str:
    done = cli(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two retrievers of the help articles."""
    path = tmp_path_factory.mktemp("commands") / "w"
    assert data("documents", path, ARTICLES)["counts"] == {"documents": 24, "added": 24}
    good("ingest", path, QUERIES, "--id", "id", "--label", "article", "--split", "split")
    options = ("--on", "real", "--epochs", "2", "--index", "ivf_flat", "--index-from", "10", "--index-recall", "0.5")
    counts = data("retriever", path, "learned", *options)["counts"]
    assert (counts["retriever"], counts["on"], counts["real_pairs"]) == ("learned", "real", 121)
    assert (counts["index_kind"], counts["index_recall"] >= 0.5) == ("ivf_flat", True)
    assert data("retriever", path, "--on", "frozen")["counts"]["retriever"] == "frozen"
    return path


def test_retrieve_prints_the_best_documents(ws: Path) -> None:
    text = "does every newsletter have a link at its end that takes me off the list"
    # Exactly: an index of which so little is asked may miss the best one.
    found = data("retrieve", ws, text, "-k", "2", "--retriever", "learned", "--exact")
    assert [row["rank"] for row in found] == [1, 2]
    assert found[0]["id"] == "newsletter"
    assert "newsletter" in good("retrieve", ws, text)
    lines = good("retrieve", ws, "unsubscribe", "-k", "3", "--csv").splitlines()
    assert (lines[0], len(lines)) == ("query,rank,id,score,text", 4)


def test_evaluation_takes_its_settings_as_options(ws: Path) -> None:
    counts = data("evaluate-retrieval", ws)["counts"]
    assert (counts["queries"], counts["documents"], counts["baseline"]) == (48, 24, "frozen")
    options = ("--name", "learned", "--name", "frozen", "-k", "2,7", "--baseline", "learned")
    assert data("evaluate-retrieval", ws, *options)["counts"]["baseline"] == "learned"
    names = {row["metric"] for row in data("sql", ws, "select distinct metric from metrics")}
    assert {"recall_at_2", "recall_at_7", "mrr_at_10_gain"} <= names
    assert "mrr_at_10" in good("sql", ws, "select retriever, mrr_at_10 from retrieval_summary")


def test_wrong_options_end_with_2_and_what_is_missing_with_1(ws: Path, tmp_path: Path) -> None:
    assert "no column 'key'" in bad(2, "documents", ws, ARTICLES, "--id", "key")
    assert "retrieve is not valid" in bad(2, "retriever", ws, "--on", "all")
    assert "share" in bad(2, "retriever", ws, "--on", "real", "--share", "much")
    assert "Did you mean 'learned'?" in bad(2, "retrieve", ws, "lamp", "--retriever", "learnt")
    assert "k, must be at least 1" in bad(2, "retrieve", ws, "lamp", "-k", "0")
    assert "The query is empty" in bad(2, "retrieve", ws, " ")
    assert "whole numbers with commas" in bad(2, "evaluate-retrieval", ws, "-k", "1,x")
    good("documents", tmp_path / "new", ARTICLES)
    assert "There are no retrievers yet" in bad(1, "retrieve", tmp_path / "new", "lamp")
    assert "no synthetic queries" in bad(1, "retriever", ws, "--on", "synthetic")
