"""Hundreds of calls through a workspace's ledger, at an endpoint in another process that fails in every way."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import synalign as sa
from synalign.config import Llm
from synalign.errors import ModelUnavailableError
from synalign.llm.prompting.schemas import RecordBatch, json_schema
from synalign.llm.transport import engine
from synalign.llm.transport.chat import ChatRequest
from synalign.steps.calling.dispatch import send
from synalign.steps.calling.jobs import Job, settled
from synalign.steps.core.context import Context
from synalign.store.lake.journal import Plan
from tests.llm.endpoint import Endpoint

KEY = "sk-test-0123456789abcdef"
PLAN = Plan("generate", {})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_WAIT", 0.02)
    monkeypatch.setattr(engine, "_LONGEST", 0.1)
    monkeypatch.setenv("FAULTS_KEY", KEY)


@pytest.fixture
def start() -> Iterator[Any]:
    endpoints: list[Endpoint] = []

    def begin(**options: Any) -> Endpoint:
        endpoints.append(Endpoint(**options))
        return endpoints[-1]

    yield begin
    for endpoint in endpoints:
        endpoint.close()


def at(endpoint: Endpoint, **values: Any) -> Llm:
    given = {"concurrency": 32, "timeout": 1.5, "max_attempts": 12} | values
    return Llm(model="m", base_url=endpoint.url, api_key_env="FAULTS_KEY", **given)


def jobs(endpoint: Endpoint, count: int) -> list[Job]:
    schema = json_schema(RecordBatch)
    return [
        Job(
            ChatRequest("m", endpoint.url, "You write.", f"Write 2 new texts. {n}", "generate", schema, seed=n),
            None,
            "t",
        )
        for n in range(count)
    ]


def context_of(path: Path, told: list[str] | None = None) -> Context:
    """A workspace's context, without its locks."""
    notice = (told if told is not None else []).append
    return replace(sa.open(path)._context(), notice=notice, calling=nullcontext)


def test_every_call_ends_once_whatever_the_endpoint_does(start: Any, blank: Path) -> None:
    """600 calls, with every fault there is. None is lost, none is counted twice, and none is asked for again whose
    complete reply had been sent."""
    faults = {
        "429": 0.1,
        "500": 0.03,
        "503": 0.02,
        "hang": 0.02,
        "cut": 0.02,
        "malformed": 0.05,
        "content_filter": 0.01,
    }
    endpoint = start(latency=0.005, capacity=24, over="429", faults=faults, seed=5)
    context = context_of(blank)
    asked = jobs(endpoint, 600)
    calls = send(context, PLAN, at(endpoint), asked)
    stats, requests = endpoint.stats(), endpoint.requests()
    context.ledger.close()
    assert all(stats["replies"][fault] > 0 for fault in faults)
    assert stats["replies"].get("over_capacity", 0) < 0.1 * stats["arrivals"]
    assert set(calls) == {job.request.call_id for job in asked}
    assert len(requests) == 600
    found = Counter(call["status"] for call in calls.values())
    assert found == {
        "complete": stats["replies"]["complete"] + stats["replies"]["malformed"],
        "refused": stats["replies"]["content_filter"],
    }
    for call in calls.values():
        if call["status"] == "refused":
            assert call["error"].startswith("ModelRefusedError: ")
            assert "content filter" in call["error"]
        else:
            assert call["reply"]
    assert stats["complete_twice"] == 0
    assert all(counts["complete"] == 1 for counts in requests.values())
    assert sum(call["attempts"] for call in calls.values()) == stats["arrivals"]
    complete = [call for call in calls.values() if call["status"] == "complete"]
    filtered = stats["completion_tokens"] - sum(call["completion_tokens"] for call in complete)
    assert (filtered > 0) == (found["refused"] > 0)
    ledger = context.ledger.rows()
    assert sorted(ledger["call_id"].to_pylist()) == sorted(calls)


def test_what_was_given_up_is_asked_again_and_nothing_else(start: Any, blank: Path) -> None:
    """One try each: the run says how many got no reply and why; later runs ask for these alone."""
    endpoint = start(faults={"500": 0.1, "cut": 0.1}, seed=1)
    context = context_of(blank)
    asked = jobs(endpoint, 100)
    missing, runs = 100, 0
    while missing:
        before = endpoint.stats()["arrivals"]
        said = ""
        try:
            send(context, PLAN, at(endpoint, max_attempts=1, concurrency=4), asked)
        except ModelUnavailableError as error:
            said = str(error)
        assert endpoint.stats()["arrivals"] - before == missing
        calls = settled(context, [job.request.call_id for job in asked])
        rows = context.ledger.rows().to_pylist()
        assert len(rows) == 100
        assert all(row["error"].startswith("ModelUnavailableError: ") for row in rows if row["status"] == "failed")
        missing = 100 - len(calls)
        assert (f"{missing} of 100 calls got no reply" in said) == (missing > 0)
        runs += 1
    context.ledger.close()
    assert 2 <= runs < 20
    stats = endpoint.stats()
    assert stats["complete_twice"] == 0
    assert stats["replies"]["complete"] == 100


def test_a_key_that_the_endpoint_gives_back_is_nowhere(start: Any, blank: Path, monkeypatch: Any) -> None:
    """The endpoint repeats it in every error and every reply; no byte of the workspace, and nothing said, holds it."""
    monkeypatch.setattr("synalign.llm.transport.admission._TELL", 0.0)
    endpoint = start(faults={"429": 0.2, "500": 0.2, "content_filter": 0.1, "malformed": 0.1}, seed=3, echo_key=True)
    told: list[str] = []
    context = context_of(blank, told)
    calls = send(context, PLAN, at(endpoint, concurrency=8), jobs(endpoint, 60))
    with pytest.raises(ModelUnavailableError) as caught:
        send(context, PLAN, at(endpoint, max_attempts=1, concurrency=1), jobs(endpoint, 120)[60:])
    context.ledger.close()
    said = json.dumps([list(calls.values()), told, str(caught.value)], default=str)
    assert "[key]" in said
    assert KEY not in said
    assert [path for path in blank.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


def test_two_runs_at_once_inside_a_process_do_not_mix(start: Any, tmp_path: Path) -> None:
    """Each has an event loop, a limit and a ledger of its own."""
    endpoint = start(latency=0.005, faults={"429": 0.05})
    found: dict[str, Any] = {}

    def one(name: str) -> None:
        context = context_of(tmp_path / name)
        given = [
            replace(job, request=replace(job.request, user=f"{job.request.user} {name}")) for job in jobs(endpoint, 60)
        ]
        found[name] = (given, send(context, PLAN, at(endpoint, concurrency=8), given))
        context.ledger.close()

    threads = [threading.Thread(target=one, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(found) == {"a", "b"}
    for given, calls in found.values():
        assert set(calls) == {job.request.call_id for job in given}
    assert endpoint.stats()["replies"]["complete"] == 120
