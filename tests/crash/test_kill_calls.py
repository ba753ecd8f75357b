"""`synalign run`, killed while an HTTP endpoint writes replies, never asks again for a reply that it has."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.crash.contents import contents, differences
from tests.crash.killing import SYNALIGN, prepare, run_cli
from tests.llm.server import Answer, Server, chat, error

CONCURRENCY = 2


class Gate:
    """Answers as many requests of each run as it was told; the others of that run wait until the next one starts."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._run = self._left = 0

    def start_run(self, replies: int) -> None:
        with self._change:
            self._run += 1
            self._left = replies
            self._change.notify_all()

    def answer(self, body: dict[str, Any], number: int) -> Answer:
        with self._change:
            run = self._run
            self._change.wait_for(lambda: self._left > 0 or self._run != run, timeout=60)
            if self._run != run:  # whoever asked was killed
                return error(503, "too late")
            self._left -= 1
        return chat(reply(body))


def reply(body: dict[str, Any]) -> str:
    name = sha256(key(body).encode()).hexdigest()[:8]
    if "merges" in body["response_format"]["json_schema"]["schema"]["properties"]:
        return json.dumps({"merges": []})
    if body["response_format"]["json_schema"]["name"] == "reason":
        return json.dumps({"attributes": [{"name": "topic", "value": name}]})
    return json.dumps({"records": [{"text": f"Text {i} of the batch {name}, where is order {i}?"} for i in range(3)]})


def key(body: dict[str, Any]) -> str:
    return json.dumps(body, sort_keys=True)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def server(gate: Gate) -> Iterator[Server]:
    server = Server(gate.answer)
    yield server
    gate.start_run(10**6)
    server.close()


def durable(workspace: Path) -> int:
    """Return how many complete replies the ledger holds, as another process sees it."""
    if not (workspace / "ledger.sqlite").exists():
        return 0
    with closing(sqlite3.connect(workspace / "ledger.sqlite")) as ledger:
        try:
            return ledger.execute("select count(*) from calls where status = 'complete'").fetchone()[0]
        except sqlite3.OperationalError:  # the table is not made yet
            return 0


def wait_until(holds: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        threading.Event().wait(0.02)


@pytest.mark.long
def test_a_reply_that_is_durable_is_never_asked_for_again(gate: Gate, server: Server, tmp_path: Path) -> None:
    config = prepare(tmp_path / "run", synthetic=False)
    workspace = config.parent / "ws"
    text = config.read_text() + f'[llm]\nmodel = "m1"\nbase_url = "{server.url}"\nconcurrency = {CONCURRENCY}\n'
    text += "[accept]\nnear_duplicate = false\ntoo_similar = false\n"  # what the server writes is much alike
    config.write_text(text.replace("k = 5", "k = 8"))
    received: set[str] = set()
    first_of_run = 0
    for more in (3, 7):  # in the middle of reason, and of generate
        before = durable(workspace)
        gate.start_run(more)
        run = subprocess.Popen([SYNALIGN, "run", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda goal=before + more: durable(workspace) == goal)
        server.wait_for(first_of_run + more + CONCURRENCY)
        run.kill()
        assert run.wait() == -9
        bodies = [key(body) for body in server.bodies[first_of_run:]]
        assert not received & set(bodies), "a reply that had been received was asked for again"
        received |= set(ledger_requests(workspace, bodies))
        first_of_run = len(server.bodies)
    assert len(received) == 10
    gate.start_run(10**6)
    run_cli(config.parent)
    asked = Counter(key(body) for body in server.bodies)
    assert len(asked) == 17  # eight selections in two stages, and one to merge what the first stage said
    assert {asked[body] for body in received} <= {1, 2}
    assert not received & {key(body) for body in server.bodies[first_of_run:]}
    # What was under way at a kill had no reply, and only that was asked twice.
    assert sum(asked.values()) == 17 + 2 * CONCURRENCY
    other = prepare(tmp_path / "undisturbed", synthetic=False)
    other.write_text(config.read_text())
    run_cli(other.parent)
    assert differences(contents(workspace), contents(other.parent / "ws")) == []


def ledger_requests(workspace: Path, bodies: list[str]) -> list[str]:
    """Return those of the requests whose replies are in the ledger."""
    with closing(sqlite3.connect(workspace / "ledger.sqlite")) as ledger:
        prompts = ledger.execute("select system, user from calls where status = 'complete'").fetchall()
    there = {(system, user) for system, user in prompts}
    return [body for body in bodies if tuple(message["content"] for message in json.loads(body)["messages"]) in there]
