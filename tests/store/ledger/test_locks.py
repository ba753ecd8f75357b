"""One writer at a time: who it is stands in the message, who is killed frees the lock, and one can wait."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import synalign as sa
from synalign.errors import StoreError, UsageError, WorkspaceBusyError
from synalign.store.ledger import owners
from synalign.store.ledger.locks import CALLING, WRITING, Locks

_HOLD = """
import sys
from pathlib import Path
from synalign.store.ledger.locks import Locks
with Locks(Path(sys.argv[1])).writing():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold the writer's lock, until its input is closed."""
    command = [sys.executable, "-c", _HOLD, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "held\n"
        try:
            yield child
        finally:
            child.kill()


def refused(root: Path, wait: float = 0.0) -> str:
    with pytest.raises(WorkspaceBusyError) as caught, Locks(root, wait).writing():
        pass
    assert caught.value.retryable
    return str(caught.value)


def owner_file(root: Path, lock: str = WRITING) -> Path:
    return root / f"{lock}.owner"


def test_the_message_names_who_holds_the_lock(blank: Path) -> None:
    with another_process(blank) as child:
        found = refused(blank)
        assert str(blank) in found
        assert re.search(rf"\(process {child.pid}, .*, since \d{{4}}-.* UTC \(\d+ s\)\)", found)
        assert "--wait" in found
        child.stdin.close()
        child.wait()
    assert not owner_file(blank).exists()
    assert os.listdir(blank) == [WRITING]


def test_a_killed_writer_frees_the_lock_and_is_not_named_any_more(blank: Path) -> None:
    with another_process(blank) as child:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert owner_file(blank).exists()
        # Somebody holds the lock who has not written down so yet: the dead one is not blamed.
        left = owner_file(blank).read_text()
        with Locks(blank).writing():
            assert json.loads(owner_file(blank).read_text())["pid"] == os.getpid()
            owner_file(blank).write_text(left)
            assert str(child.pid) not in refused(blank)
    assert not owner_file(blank).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "host": "", "command": "", "since": "?"}'])
def test_an_owner_that_cannot_be_read_is_not_named(text: str, blank: Path) -> None:
    with Locks(blank).writing():
        owner_file(blank).write_text(text)
        assert "Another process is writing to the workspace" in refused(blank)
    assert not owner_file(blank).exists()


def test_a_process_of_another_machine_is_named_with_it(blank: Path) -> None:
    """On a network file system its number says nothing here, be there such a process or not."""
    since = datetime.now(UTC) - timedelta(minutes=20)
    with Locks(blank).writing():
        known = {"pid": 2**22 + 1, "host": "elsewhere", "command": "synalign run a.toml", "since": since.isoformat()}
        owner_file(blank).write_text(json.dumps(known))
        found = refused(blank)
    assert f"process {2**22 + 1} on the machine 'elsewhere', 'synalign run a.toml', since" in found
    assert "(20 min)" in found


def test_another_thread_of_this_process_is_named_so(blank: Path) -> None:
    with Locks(blank).writing():
        assert f"this process ({os.getpid()})" in refused(blank)


def test_a_lock_is_taken_where_its_owner_cannot_be_written_down(blank: Path) -> None:
    blank.mkdir()
    owner_file(blank).mkdir()  # stands for a full disk, on which gc needs the lock
    with Locks(blank).writing() as outermost:
        assert outermost
        assert "Another process is writing" in refused(blank)


def in_a_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_who_waits_says_so_once_and_goes_on(blank: Path) -> None:
    said: list[str] = []
    workspace = sa.open(blank, notice=said.append, wait=60)
    with another_process(blank) as child:
        thread = in_a_thread(lambda: workspace.ingest(pl.DataFrame({"text": ["one"]})))
        while not said:
            time.sleep(0.01)
        assert thread.is_alive()
        child.stdin.close()
        thread.join(60)
    assert len(said) == 1
    assert f"Waiting up to 60 s: another process is writing to the workspace {blank} (process {child.pid}" in said[0]
    assert workspace.sql("select count(*) from real").fetchall() == [(1,)]


def test_who_waits_in_vain_says_how_long(blank: Path) -> None:
    with another_process(blank):
        assert "Waited for 0.2 s" in refused(blank, wait=0.2)


def test_the_command_line_waits_as_it_is_told(blank: Path) -> None:
    sa.open(blank).ingest(pl.DataFrame({"text": ["one"]}))
    cli = [sys.executable, "-m", "synalign.cli"]
    environment = {**os.environ, "SYNALIGN_WAIT": "0.2"}
    with another_process(blank):
        for command, more in (([*cli, "--wait", "0.1", "gc", str(blank)], {}), ([*cli, "gc", str(blank)], environment)):
            done = subprocess.run(command, capture_output=True, text=True, env=more or None)
            assert done.returncode == 1
            assert "Waiting up to 0." in done.stderr
            assert "Another process is writing" in done.stderr
            assert "Traceback" not in done.stderr


def test_a_wait_below_nothing_is_refused(blank: Path) -> None:
    with pytest.raises(UsageError, match="wait is a number of seconds"):
        sa.open(blank, wait=-1)


@contextmanager
def asking(root: Path) -> Iterator[threading.Event]:
    """Have another thread ask the language model, until the event is set; it then needs the writer's lock to end."""
    asks, done = threading.Event(), threading.Event()

    def ask() -> None:
        locks = Locks(root)
        with locks.writing(), locks.calling():
            asks.set()
            done.wait(60)

    thread = in_a_thread(ask)
    assert asks.wait(60)
    try:
        yield done
    finally:
        done.set()
        thread.join(60)
    assert not thread.is_alive()


def test_a_second_who_would_ask_is_told_who_is_asking(blank: Path) -> None:
    locks = Locks(blank)
    with asking(blank):
        with pytest.raises(WorkspaceBusyError) as caught, locks.writing(), locks.calling():
            pass
        assert re.search(r"is asking the language model for .* \(this process", str(caught.value))
        with locks.writing():
            assert not locks.only_caller()
    assert locks.only_caller()
    assert not owner_file(blank, CALLING).exists()


def test_a_second_who_would_ask_waits_and_lets_the_first_end(blank: Path) -> None:
    said: list[str] = []
    locks = Locks(blank, 60, said.append)
    with asking(blank) as done:

        def notice(text: str) -> None:
            said.append(text)
            done.set()

        locks._notice = notice
        with locks.writing():
            with locks.calling():
                assert not locks.held
            assert locks.held
    assert len(said) == 1
    assert "asking the language model" in said[0]


def test_what_a_killed_caller_left_is_removed(blank: Path) -> None:
    with Locks(blank).writing():
        owners.claim(blank / CALLING)
    assert not owner_file(blank, CALLING).exists()


def test_a_folder_that_cannot_be_made_is_named(blank: Path) -> None:
    blank.write_text("")
    with pytest.raises(StoreError, match="cannot be written") as caught, Locks(blank / "below").writing():
        pass
    assert str(blank / "below") in str(caught.value)
