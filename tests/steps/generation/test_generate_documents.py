"""generate where labels are documents: what prompts show, queries from documents alone, and what stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import synalign as sa
from synalign.errors import NotReadyError, UsageError
from synalign.steps.calling.label_descriptions import cut
from tests.steps.helpdesk import articles, helpdesk, queries

TEXTS = dict(articles().select("id", "text").rows())


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """Queries from attributes, from demonstrations, and from documents alone. `bulbs` has a meaning of its own."""
    workspace = helpdesk(tmp_path_factory.mktemp("asked") / "w")
    settings = {"seed": 3, "task": {"labels": {"bulbs": "which bulb fits"}}, "retrieve": {"shown": 100}}
    workspace.configure(sa.Config.model_validate(settings))
    workspace.cluster(k=24, by_label=True)
    workspace.select(budget=24)
    workspace.reason()
    workspace.generate(per_selection=2, from_demonstrations=1, from_documents=2)
    return workspace


def section(user: str, name: str) -> list[dict[str, str]]:
    lines = user.partition(f"<{name}>\n")[2].partition(f"</{name}>")[0].splitlines()
    return [json.loads(line) for line in lines]


def calls(workspace: sa.Workspace, where: str) -> pl.DataFrame:
    return workspace.sql(
        "select c.*, s.label as label from calls c left join selections s on s.selection_id = c.selection_id "
        f"where {where} order by call_id"
    ).pl()


def test_prompts_show_the_document_that_is_to_answer(asked: sa.Workspace) -> None:
    found = calls(asked, "c.step = 'generate' and s.label is not null and s.label <> 'bulbs'")
    assert found["label"].n_unique() == 23
    for user, label in found.select("user", "label").rows():
        (document,) = section(user, "document")
        assert document == {"id": label, "text": cut(TEXTS[label], 100)}
        assert "<labels>" not in user
        assert all(set(shown) == {"text"} for shown in section(user, "demonstrations"))


def test_a_label_that_the_task_explains_is_asked_for_as_before(asked: sa.Workspace) -> None:
    found = calls(asked, "c.step = 'generate' and s.label = 'bulbs'")
    assert found.height
    for user in found["user"]:
        assert section(user, "label") == [{"label": "which bulb fits", "name": "bulbs"}]
        assert section(user, "labels") == [{"meaning": "which bulb fits", "name": "bulbs"}]


def test_stage_1_sees_the_document_as_the_meaning_of_the_label(asked: sa.Workspace) -> None:
    found = calls(asked, "c.step = 'reason' and s.label = 'voucher'")
    shown = section(found["user"][0], "demonstrations")
    assert {item["label"] for item in shown} == {cut(TEXTS["voucher"], 100)}


def test_queries_come_from_documents_alone_too(asked: sa.Workspace) -> None:
    alone = calls(asked, "c.step = 'generate' and c.selection_id is null")
    documents = {section(user, "document")[0]["id"] for user in alone["user"]}
    assert documents == set(TEXTS) - {"bulbs"} | ({"bulbs"} & documents)
    assert not any("<demonstrations>" in user or "<attributes>" in user for user in alone["user"])
    rows = asked.sql("select * from synthetic where written_from = 'document'").pl()
    assert rows.height
    assert rows["selection_id"].null_count() == rows["attributes_id"].null_count() == rows.height
    assert set(rows["label"]) <= set(TEXTS)
    assert asked.fsck().problems == []


def test_a_query_that_copies_its_document_is_refused(tmp_path: Path) -> None:
    settings = {"generate": {"refills": 0, "documents": 1, "per_selection": 0, "from_documents": 2}}
    texts = []
    for name in ("asked", "answered"):
        workspace = sa.open(tmp_path / name)
        workspace.configure(sa.Config.model_validate(settings))
        workspace.ingest_documents(articles().head(1))
        if name == "answered":  # by the recording of the first, in which another model copies
            workspace.generate(model=f"replay/{tmp_path / 'recording.jsonl'}")
            continue
        workspace.generate()
        workspace.record(tmp_path / "recording.jsonl")
        head, entry = (tmp_path / "recording.jsonl").read_text().splitlines()
        texts = ["Every parcel gets a tracking number when it leaves our warehouse.", "where has my order got to"]
        reply = json.dumps({"records": [{"text": text} for text in texts]})
        (tmp_path / "recording.jsonl").write_text(f"{head}\n{json.dumps(json.loads(entry) | {'reply': reply})}\n")
    assert workspace.sql("select reason, text from rejections").fetchall() == [("copied", texts[0])]
    assert workspace.sql("select label, text from synthetic").fetchall() == [("track-parcel", texts[1])]


def test_documents_without_a_query_come_first_and_no_real_record_is_needed(blank: Path) -> None:
    workspace = sa.open(blank)
    workspace.ingest_documents(articles())
    rest = queries().filter(~pl.col("article").is_in(["stock", "bulbs", "invoice"]))
    workspace.ingest(rest, id="id", label="article", split="split")
    workspace.configure(sa.Config.model_validate({"generate": {"documents": 3}}))
    workspace.generate(per_selection=0, from_documents=4)
    users = workspace.sql("select \"user\" from calls where step = 'generate'").pl()["user"]
    assert {section(user, "document")[0]["id"] for user in users} == {"stock", "bulbs", "invoice"}


def test_documents_are_enough(blank: Path) -> None:
    workspace = sa.open(blank)
    with pytest.raises(NotReadyError, match="There are no documents to write queries for"):
        workspace.generate(per_selection=0, from_documents=2)
    workspace.ingest_documents(articles())
    outcome = workspace.generate(per_selection=0, from_documents=3)
    assert outcome.counts["records"] > 0
    assert workspace.generate(per_selection=0, from_documents=3).reused
    with pytest.raises(UsageError, match="No records are asked for"):
        workspace.generate(per_selection=0)
    workspace.train_retriever(on="synthetic")
    assert workspace.retrieve("parcel", 3).height == 3


def test_another_length_of_documents_is_another_run(asked: sa.Workspace, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(asked.path, tmp_path / "copy")
    copy = sa.open(tmp_path / "copy")
    assert copy.reason().reused
    copy.configure(copy.config.model_copy(update={"retrieve": copy.config.retrieve.model_copy(update={"shown": 50})}))
    assert not copy.reason().reused


def test_cut() -> None:
    assert cut("one two three", 13) == "one two three"
    assert cut("one two three", 12) == "one two…"
    assert cut("x" * 30, 10) == "x" * 10 + "…"
