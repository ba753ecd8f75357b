"""forget: what a record said is nowhere any more, what was paid for is not asked again, and kills change nothing.

The word TOKEN stands in one record of fifteen only. The embedded model recombines words of what it is shown, so that
the word wanders as a language model's quotations would.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from filelock import FileLock

import synalign as sa
from synalign.errors import NotReadyError, StoreError, UsageError, WorkspaceBusyError
from synalign.llm.builtin.ngram import NgramModel
from synalign.steps.calling.spending import spent
from synalign.steps.forget.plan_file import PLAN_FILE
from synalign.store.ledger.locks import CALLING
from tests.steps.decoded import holding
from tests.steps.workspaces import copy, corpus, one, unpublished, weights

TOKEN = "zorblaxiquent"
MARKED = f"text like '%{TOKEN}%'"
CHILD = Path(__file__).with_name("forget_killed.py")


def source() -> pl.DataFrame:
    frame = corpus().head(150).with_row_index("n")
    marked = pl.format(f'{{}} my {TOKEN} "is" broken', pl.col("text"))
    text = pl.when(pl.col("n") % 15 == 0).then(marked).otherwise(pl.col("text"))
    return frame.select(pl.format("customer-record-{}", "n").alias("id"), text.alias("text"), "label", "channel")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """A workspace in which all that can quote a record was done. Do not write to it."""
    workspace = sa.open(tmp_path_factory.mktemp("forget") / "workspace")
    settings = {"seed": 7, "task": {"description": "a message to a shop"}, "generate": {"refills": 1}}
    with unpublished():
        workspace.configure(sa.Config.model_validate(settings))
        workspace.ingest(source(), label="label", id="id", test_share=0.2)
        workspace.embed(dimensions=32)
        workspace.cluster(k=10)
        for place in (1, "next"):
            workspace.select(round=place)
            workspace.reason()
            workspace.generate(per_selection=3, recombined=3)
        workspace.annotate(sample=60)
        workspace.annotate(sample=30, origin="synthetic")
        workspace.exclude(f"{MARKED} and length(text) % 2 = 0")
        workspace.align(features=64)
    workspace.publish()
    return workspace


def marked(workspace: sa.Workspace) -> list[str]:
    return [row[0] for row in workspace.sql(f"select id from real where {MARKED} order by id").fetchall()]


@pytest.fixture(scope="module")
def after(whole: sa.Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[sa.Workspace, sa.Outcome]:
    """The workspace without the records that hold the word. Tests that write to it take a copy."""
    folder = tmp_path_factory.mktemp("after")
    workspace = copy(whole, folder / "workspace")
    workspace.record(folder / "replies.jsonl")
    shutil.copy(folder / "replies.jsonl", folder / "before.jsonl")
    return workspace, workspace.forget(where=MARKED)


def test_the_word_is_everywhere_before_and_nowhere_after(
    whole: sa.Workspace, after: tuple[sa.Workspace, sa.Outcome]
) -> None:
    before = holding(whole.path, TOKEN)
    tables = {"real", "synthetic", "calls", "rejections", "attributes", "exclusions", "runs"}
    assert {f"lance {name}" for name in tables} | {
        "ledger calls",
        "catalog real",
        "catalog synthetic",
    } <= before
    assert {f"file of {name}" for name in tables} <= before
    workspace, outcome = after
    assert TOKEN in (workspace.path.parent / "before.jsonl").read_text()
    assert holding(workspace.path, TOKEN) == set()
    assert not holding(workspace.path, "customer-record-135")
    recording = workspace.path.parent / "replies.jsonl"
    assert TOKEN not in recording.read_text()
    assert len(recording.read_text().splitlines()) > 10
    assert outcome.counts["real"] == 10
    assert min(outcome.counts[name] for name in ("synthetic", "calls", "selections", "embedders", "recordings")) >= 1
    assert outcome.counts["files_decoded"] > 50


def test_an_old_version_of_a_table_holds_a_deleted_record_until_it_is_forgotten(
    whole: sa.Workspace, tmp_path: Path
) -> None:
    workspace = copy(whole, tmp_path / "w")
    workspace._lake.delete("real", "id = 'customer-record-0'")
    workspace._lake.delete("real", "id = 'customer-record-15'")
    assert "lance real, old version" in holding(workspace.path, "customer-record-0")
    workspace.forget(where=MARKED)
    assert holding(workspace.path, TOKEN) == set()


def test_what_is_left_is_as_it_was(whole: sa.Workspace, after: tuple[sa.Workspace, sa.Outcome]) -> None:
    workspace, outcome = after
    assert one(workspace, "select count(*) from real") == 140
    gone = one(whole, "select count(*) from synthetic") - one(workspace, "select count(*) from synthetic")
    assert gone == outcome.counts["synthetic"]
    kept, there = weights(workspace), weights(whole)
    assert kept.keys() < there.keys()
    assert one(workspace, "select count(*) from selections") >= 10
    dangling = "select count(*) from synthetic y where y.selection_id not in (select selection_id from selections)"
    assert one(workspace, dangling) == 0
    shown = (
        "select count(*) from (select unnest(demonstrations) as d from selections) where d not in (select id from real)"
    )
    assert one(workspace, shown) == 0
    assert one(workspace, "select count(*) from runs where step = 'forget'") == 1
    row = workspace.sql("select parameters, counts, notes from runs where step = 'forget'").fetchall()[0]
    assert not any("customer" in str(value) for value in row)


def test_an_earlier_state_shows_no_forgotten_record(after: tuple[sa.Workspace, sa.Outcome]) -> None:
    workspace, _ = after
    ingested = one(workspace, "select run_id from runs where step = 'ingest'")
    with workspace.at(ingested).connect() as then:
        assert then.sql("select count(*) from real").fetchall() == [(140,)]
        assert then.sql("select count(*) from calls").fetchall() == [(0,)]


def test_nothing_that_was_paid_for_is_asked_again(
    after: tuple[sa.Workspace, sa.Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copy(after[0], tmp_path / "w")
    asked = []
    complete = NgramModel.complete

    async def counted(self: NgramModel, request: object) -> object:
        asked.append(request)
        return await complete(self, request)

    monkeypatch.setattr(NgramModel, "complete", counted)
    with pytest.raises(NotReadyError, match="forgotten"):
        workspace.score()
    with pytest.raises(NotReadyError, match="align"):
        workspace.check()
    assert workspace.status()["steps"]["embedder"] is None
    assert "forgotten" in workspace.status()["stale"][0]
    assert workspace.sample(5).height
    with unpublished():
        steps = [
            workspace.cluster(k=10),
            workspace.select(round=1),
            workspace.reason(),
            workspace.generate(per_selection=3, recombined=3),
            workspace.select(round=2),
            workspace.reason(),
            workspace.generate(per_selection=3, recombined=3),
            workspace.annotate(sample=60),
        ]
        assert [outcome.step for outcome in steps if not outcome.reused] == []
        assert asked == []
        outcome = workspace.align(features=64)
        assert not outcome.reused
        excluded = one(workspace, "select count(*) from exclusions")
        assert outcome.counts["records"] == one(workspace, "select count(*) from synthetic") - excluded
        assert sum(weights(workspace).values()) == pytest.approx(1.0)
        assert workspace.status()["stale"] == []
        assert workspace.score().counts["records"] == outcome.counts["records"]
        # A third round goes on from the clusters, in the space of the embedder that took the forgotten one's place.
        assert workspace.select(round="next").counts["round"] == 3
        workspace.reason()
        assert workspace.generate(per_selection=2).counts["records"] >= 1
    workspace.publish()
    assert holding(workspace.path, TOKEN) == set()


def test_the_same_file_does_not_bring_them_back(after: tuple[sa.Workspace, sa.Outcome], tmp_path: Path) -> None:
    workspace = copy(after[0], tmp_path / "w")
    with unpublished():
        assert workspace.ingest(source(), label="label", id="id", test_share=0.2).reused
        outcome = workspace.ingest(source().head(40), label="label", id="id", test_share=0.2)
        without_ids = workspace.ingest(source().drop("id").filter(pl.col("text").str.contains(TOKEN)), label="label")
    assert "3 records were forgotten before, and were left out" in outcome.notes
    assert without_ids.counts["added"] == 0
    assert one(workspace, "select count(*) from real") == 140
    other = sa.open(tmp_path / "other")
    with unpublished():
        workspace.align(features=64)
        other.ingest(source(), label="label", id="id")
    other.forget("customer-record-0")
    ours, theirs = (set(w._lake.read("forgotten")["digest"].to_pylist()) for w in (workspace, other))
    assert ours
    assert not ours & theirs


def test_a_single_record_goes_and_then_another(whole: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(whole, tmp_path / "w")
    names = marked(workspace)[:2]
    texts = [one(workspace, "select text from real where id = ?", name) for name in names]
    for name, text in zip(names, texts, strict=True):
        assert workspace.forget([name]).counts["real"] == 1
        assert not holding(workspace.path, f"'{name}'")
        assert not holding(workspace.path, text)
    with unpublished():
        workspace.align(features=64)
    assert holding(workspace.path, TOKEN)
    with pytest.raises(UsageError, match="1 of them were forgotten before"):
        workspace.forget(names[0])


def test_a_cluster_without_records_keeps_its_number(whole: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(whole, tmp_path / "w")
    where = "id in (select id from cluster_members where origin = 'real' and cluster_id = 3)"
    workspace.forget(where=where)
    rows = workspace.sql("select cluster_id, size, centroid from clusters order by cluster_id").fetchall()
    assert [row[0] for row in rows] == list(range(10))
    assert rows[3][1:] == (0.0, None)
    with unpublished():
        workspace.ingest(pl.DataFrame({"text": ["the lamp flickers since monday"], "label": ["defect"]}), label="label")
        assert workspace.cluster(k=10).counts["clusters"] == 10
        assert one(workspace, "select count(*) from cluster_members where origin = 'real' and cluster_id = 3") == 0
        assert workspace.select(round="next").counts["selections"]


def test_a_preview_writes_nothing_and_counts_what_goes(whole: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(whole, tmp_path / "w")
    files = sorted((path, path.stat().st_mtime_ns) for path in workspace.path.rglob("*") if path.is_file())
    seen = workspace.forget(where=MARKED, dry_run=True)
    assert sorted((path, path.stat().st_mtime_ns) for path in workspace.path.rglob("*") if path.is_file()) == files
    done = workspace.forget(where=MARKED)
    assert {name: seen.counts[name] for name in ("real", "synthetic", "selections", "calls")} == {
        name: done.counts[name] for name in ("real", "synthetic", "selections", "calls")
    }


def test_what_is_no_record_is_refused_and_nothing_is_done(whole: sa.Workspace, blank: Path) -> None:
    files = sorted((path, path.stat().st_mtime_ns) for path in whole.path.rglob("*") if path.is_file())
    for given, said in (
        ({"ids": ["customer-record-0", "nobody"]}, "'nobody'"),
        ({"where": "false"}, "none matches"),
        ({}, "one of them"),
        ({"ids": ["customer-record-0"], "where": "true"}, "one of them"),
    ):
        with pytest.raises(UsageError, match=said):
            whole.forget(**given)
    after = sorted((path, path.stat().st_mtime_ns) for path in whole.path.rglob("*") if path.is_file())
    assert [item for item in files if ".lock" not in item[0].name] == [
        item for item in after if ".lock" not in item[0].name
    ]
    with pytest.raises(UsageError):
        sa.open(blank).forget("a")
    assert not blank.exists()


def test_nothing_dangles_afterwards(after: tuple[sa.Workspace, sa.Outcome]) -> None:
    assert [problem for problem in after[0].fsck().problems if problem.check != "catalog"] == []


def test_nothing_is_forgotten_while_a_model_is_asked(whole: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(whole, tmp_path / "w")
    with FileLock(workspace.path / CALLING), pytest.raises(WorkspaceBusyError, match="asking the language model, per"):
        workspace.forget(where=MARKED)
    assert len(marked(workspace)) == 10


def test_what_was_spent_stays_spent(whole: sa.Workspace, tmp_path: Path) -> None:
    workspace = copy(whole, tmp_path / "w")
    context = workspace._context()
    rows = [row | {"model": "m", "prompt_tokens": 7, "completion_tokens": 5, "cost_usd": 0.5} for row in
            context.ledger.rows().to_pylist()]  # fmt: skip
    context.ledger.trim([row["call_id"] for row in rows])
    context.lake.delete("calls", "true")
    context.ledger.put(*rows)
    before = spent(context, "tokens"), spent(context, "usd")
    assert workspace.forget(where=MARKED).counts["calls"] > 0
    assert (spent(context, "tokens"), spent(context, "usd")) == pytest.approx(before)


def test_a_text_that_another_record_has_too_stays_there_and_is_reported(blank: Path) -> None:
    text = "the parcel was left in the rain again"
    frame = pl.DataFrame({"id": ["one", "two", "three"], "text": [text, text, "thanks for the lamp"]})
    workspace = sa.open(blank)
    workspace.ingest(frame, id="id")
    outcome = workspace.forget("one")
    assert "stand in 1 other records too, which stay: 'two'" in outcome.notes[0]
    assert one(workspace, "select count(*) from real") == 2


def test_a_file_of_the_user_that_quotes_a_record_is_named(blank: Path) -> None:
    text = "the parcel was left in the rain again"
    workspace = sa.open(blank)
    workspace.ingest(pl.DataFrame({"text": [text, "thanks for the lamp"]}))
    (blank / "prompts").mkdir()
    (blank / "prompts" / "note.j2").write_text(f"like: {text}")
    (blank / "old.bin").write_bytes(b"\x00\xff")
    with pytest.raises(StoreError, match=r"records are forgotten, but .*note\.j2 holds"):
        workspace.forget(where="text like '%parcel%'")
    assert not (blank / PLAN_FILE).exists()
    (blank / "prompts" / "note.j2").unlink()
    assert one(workspace, "select count(*) from real") == 1
    assert "old.bin" in " ".join(workspace.forget(where="true").notes)
    assert holding(blank, "parcel") == set()


def test_the_proof_finds_what_is_left(whole: sa.Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the removal from each place, the verification says so; the next writer finishes the work."""
    from synalign.store.lake.lake import Lake
    from synalign.store.ledger.ledger import Ledger

    workspace = copy(whole, tmp_path / "w")
    (workspace.path / "ledger.sqlite-copy").write_bytes((workspace.path / "ledger.sqlite").read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "expunge", lambda self, name: None)
        patch.setattr(Ledger, "erase", lambda self, *given: None)
        with pytest.raises(StoreError) as failure:
            workspace.forget(where=MARKED)
    said = str(failure.value)
    assert "the column text of the table real" in said
    assert "which may hold deleted rows" in said
    assert "the table calls of ledger.sqlite" in said
    assert "the file ledger.sqlite-copy" in said
    assert stat.S_IMODE((workspace.path / PLAN_FILE).stat().st_mode) == 0o600
    with pytest.raises(StoreError, match=r"the file ledger\.sqlite-copy"):
        workspace.publish()
    (workspace.path / "ledger.sqlite-copy").unlink()
    workspace.publish()
    assert holding(workspace.path, TOKEN) == set()


#: What is killed, and at which call of it.
KILLS = [("delete", 4), ("expunge", 12)]
MORE_KILLS = [
    ("plan", 1),
    ("insert", 1),
    ("erase", 1),
    ("delete", 1),
    ("delete", 14),
    ("drop", 1),
    ("write_whole", 1),
    ("expunge", 1),
]
MORE_KILLS += [("publish", 1), ("verify", 1), ("remove", 1)]


@pytest.mark.parametrize(
    ("what", "nth"), [*KILLS, *(pytest.param(*kill, marks=pytest.mark.long) for kill in MORE_KILLS)]
)
def test_a_forget_that_is_killed_is_finished_by_the_next_writer(
    whole: sa.Workspace, tmp_path: Path, what: str, nth: int
) -> None:
    folder = tmp_path / "w"
    copy(whole, folder).record(tmp_path / "replies.jsonl")
    run = subprocess.run(
        [sys.executable, str(CHILD), str(folder), MARKED, what, str(nth)], capture_output=True, text=True
    )
    assert run.returncode == -9, run.stderr
    workspace = sa.open(folder)
    dangling = "select count(*) from synthetic y where y.selection_id not in (select selection_id from selections)"
    assert one(workspace, dangling) == 0
    shown = (
        "select count(*) from (select unnest(demonstrations) as d from selections) where d not in (select id from real)"
    )
    assert one(workspace, shown) == 0
    workspace.status()
    workspace.publish()
    if what == "plan":  # it had not begun
        assert len(marked(workspace)) == 10
        return
    assert holding(folder, TOKEN) == set()
    assert TOKEN not in (tmp_path / "replies.jsonl").read_text()
    assert not list(folder.glob(f"{PLAN_FILE}*"))
    assert one(workspace, "select count(*) from runs where step = 'forget'") == 1
