"""While a language model is asked, everyone else works: only a second step that asks has to wait its turn."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import synalign as sa
from synalign.errors import ModelUnavailableError, SynAlignError, WorkspaceBusyError
from synalign.store.ledger import locks
from synalign.store.ledger.locks import Locks
from tests.llm.server import Answer, Server, error
from tests.steps.answers import Body, Serve, good
from tests.steps.calling import test_calls
from tests.steps.calling.test_calls import SELECTIONS, Selected, one

# The fixtures of those tests: a workspace with selections whose model is at a server.
key, template, selected = test_calls.key, test_calls.template, test_calls.selected

#: Replies that come before the server makes everyone wait; with two at a time, two more are under way then.
QUICK = 3
MORE = pl.DataFrame({"text": ["A message that came while the model was asked", "And another one"], "label": ["0", "1"]})


class Step:
    """A step in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.outcome: Any = None
        self.error: SynAlignError | None = None
        self._call = call
        self.held = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def release(self) -> None:
        """Have the server answer all that it was asked."""
        self.held.set()

    def _run(self) -> None:
        try:
            self.outcome = self._call()
        except SynAlignError as failure:
            self.error = failure


@contextmanager
def slowly(serve: Serve, selected: Selected, step: str = "reason") -> Iterator[tuple[sa.Workspace, Server, Step]]:
    """Give a workspace whose step has some replies and waits for others until the block ends."""
    start = 0 if step == "reason" else SELECTIONS
    under_way = Step(lambda: getattr(workspace, step)())

    def behave(body: Body, number: int) -> Answer:
        if number >= start + QUICK:
            under_way.held.wait(60)
        return good(body)

    server = serve(behave)
    workspace = selected(server, concurrency=2)
    if step != "reason":
        workspace.reason()
    under_way.thread.start()
    try:
        server.wait_for(start + QUICK + 2)
        yield workspace, server, under_way
    finally:
        under_way.release()
        under_way.thread.join(60)
    assert not under_way.thread.is_alive()


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "synalign.cli", *map(str, arguments)], capture_output=True, text=True)


def test_another_process_writes_and_reads_and_cannot_ask(serve: Serve, selected: Selected, tmp_path: Path) -> None:
    file = tmp_path / "more.csv"
    MORE.write_csv(file)
    with slowly(serve, selected) as (workspace, server, step):
        path, sent = workspace.path, len(server.bodies)
        done = command("ingest", path, file, "--label", "label")
        assert done.returncode == 0, done.stderr
        query = "select count(*) from calls where status = 'complete'"
        done = command(
            "sql", path, f"select ({query}), (select count(*) from real where text like 'A message that%')", "--csv"
        )
        assert done.stdout.splitlines()[1:] == [f"{QUICK},1"]
        done = command("reason", path)
        assert done.returncode == 1
        assert "Another process is asking the language model" in " ".join(done.stderr.split())
        assert len(server.bodies) == sent
        assert step.thread.is_alive()
    assert step.error is None
    assert step.outcome.counts["attributes"] == SELECTIONS
    assert len(server.bodies) == SELECTIONS
    assert one(workspace, "select count(*) from real where run_id in (select run_id from runs)") == 82


@pytest.mark.parametrize("same", [True, False], ids=["the same object", "an object of its own"])
def test_another_thread_writes_and_reads_and_cannot_ask(serve: Serve, selected: Selected, same: bool) -> None:
    with slowly(serve, selected, "generate") as (workspace, server, step):
        other = workspace if same else sa.open(workspace.path, create=False)
        assert one(other, "select count(*) from calls where step = 'generate' and status = 'complete'") == QUICK
        assert one(other, "select count(*) from synthetic") == 0
        other.ingest(MORE, label="label")
        other.ingest(MORE.with_columns(pl.col("text") + " once more"), label="label", synthetic=True)
        other.exclude("text like 'And another one%'")
        other.embed()
        assert one(other, "select count(*) from synthetic") == 2
        for ask in (lambda: other.generate(per_selection=3), lambda: other.annotate(sample=10)):
            with pytest.raises(WorkspaceBusyError, match="asking the language model") as caught:
                ask()
            assert caught.value.retryable
        before = one(other, "select count(*) from calls")
        dropped = other.gc()
        assert dropped["replies"] == 0
        assert one(other, "select count(*) from calls") == before == SELECTIONS + QUICK
        assert step.thread.is_alive()
    assert step.error is None
    assert step.outcome.counts["records"] == 2 * SELECTIONS
    assert one(workspace, "select count(*) from synthetic") == 2 * SELECTIONS + 2
    assert len(server.bodies) == 2 * SELECTIONS
    assert workspace.generate().reused
    assert workspace.gc()["replies"] == 2 * SELECTIONS
    assert not workspace.annotate(sample=10).reused


def all_answered(workspace: sa.Workspace) -> None:
    """Wait until the ledger has all replies."""
    reader = sa.open(workspace.path, create=False)
    for _ in range(500):
        if reader._ledger.rows().num_rows == SELECTIONS:
            return
        threading.Event().wait(0.01)
    raise AssertionError("the replies did not come")


def test_what_was_answered_waits_for_a_short_writer(serve: Serve, selected: Selected) -> None:
    with slowly(serve, selected) as (workspace, _, step):
        with Locks(workspace.path).writing():
            step.release()
            all_answered(workspace)
            step.thread.join(0.2)
            assert step.thread.is_alive()
            assert one(workspace, "select count(*) from runs where step = 'reason'") == 0
        step.thread.join(30)
        assert step.outcome.counts["attributes"] == SELECTIONS
    assert one(workspace, "select count(*) from attributes") == SELECTIONS


def test_a_writer_that_does_not_end_is_said_and_nothing_is_lost(
    serve: Serve, selected: Selected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    with slowly(serve, selected) as (workspace, server, step), Locks(workspace.path).writing():
        step.release()
        step.thread.join(30)
        assert isinstance(step.error, WorkspaceBusyError)
        assert "has been writing" in str(step.error)
        assert "All replies are kept" in str(step.error)
        with pytest.raises(WorkspaceBusyError, match="Another process is writing"):
            workspace.reason()
    assert len(server.bodies) == SELECTIONS
    assert workspace.reason().counts["attributes"] == SELECTIONS
    assert len(server.bodies) == SELECTIONS


def test_a_step_that_fails_gives_both_locks_back(serve: Serve, selected: Selected) -> None:
    down = threading.Event()
    down.set()
    workspace = selected(serve(lambda body, _: error(500, "down") if down.is_set() else good(body)))
    with pytest.raises(ModelUnavailableError):
        workspace.reason()
    held = Locks(workspace.path)
    assert held.only_caller()
    with held.writing() as outermost:
        assert outermost
    down.clear()
    assert sa.open(workspace.path).reason().counts["attributes"] == SELECTIONS
