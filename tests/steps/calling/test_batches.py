"""Batches through the ledger, over real HTTP: what is asked, what is kept, and what a later process finds again."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import synalign as sa
from synalign.config import Llm
from synalign.errors import BudgetError, ConfigError, ModelError, ModelRefusedError, ModelUnavailableError
from synalign.llm.transport import batch as provider
from synalign.llm.transport.batch import BatchApi
from synalign.llm.transport.chat import ChatRequest
from synalign.steps.calling import batches
from synalign.steps.calling.dispatch import send
from synalign.steps.calling.jobs import Job
from synalign.steps.calling.spending import spent
from synalign.steps.core.context import Context
from synalign.store.lake.journal import Journal, Plan
from synalign.store.lake.lake import Lake
from synalign.store.ledger.ledger import Ledger
from tests.llm.endpoint import ROOT, Endpoint

KEY = "sk-secret-key-0123456789"
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}}
PRICES = {"m1": {"input": 2.0, "output": 8.0, "batch": 0.5}}

Start = Callable[..., Endpoint]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", KEY)
    monkeypatch.setattr(provider, "FIRST_POLL", 0.01)
    monkeypatch.setattr(provider, "LONGEST_POLL", 0.02)
    monkeypatch.setattr(provider, "_WAIT", 0.01)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start endpoints; all are closed after the test."""
    endpoints: list[Endpoint] = []

    def begin(**options: Any) -> Endpoint:
        endpoints.append(Endpoint(**options))
        return endpoints[-1]

    yield begin
    for endpoint in endpoints:
        endpoint.close()


class Work:
    """Jobs of a workspace in a folder, as one process has them; `said`: notices and the last progress."""

    def __init__(self, root: Path, url: str, count: int = 12, **llm: Any) -> None:
        at = {"model": "m1", "base_url": url, "api_key_env": "SHOP_KEY", "batch": True}
        given = {"max_attempts": 1, "patience": 0.0, "max_tokens": 100} | llm
        self.settings = Llm.model_validate(at | given)
        self.said: list[Any] = []
        lake = Lake(root / "lance")
        config = sa.Config.model_validate({"llm": at | given, "prices": PRICES})
        self.context = Context(
            root,
            config,
            lake,
            Journal(lake),
            Ledger(root / "ledger.sqlite"),
            progress=lambda what, done, total: self.said.append((what, done, total)),
            notice=self.said.append,
        )
        self.plan = Plan("generate", {})
        self.jobs = [Job(self._request(url, number), f"s{number}", "t") for number in range(count)]

    def _request(self, url: str, number: int) -> ChatRequest:
        limit = self.settings.max_tokens
        return ChatRequest("m1", url, "Answer.", f"Question {number}", "answer", SCHEMA, max_tokens=limit, seed=number)

    def send(self, jobs: Sequence[Job] | None = None) -> dict[str, dict[str, Any]]:
        return send(self.context, self.plan, self.settings, self.jobs if jobs is None else jobs)

    @property
    def ledger(self) -> Ledger:
        return self.context.ledger

    def rows(self) -> list[dict[str, Any]]:
        return self.ledger.rows().to_pylist()

    def most(self) -> float:
        """The most tokens that a job can come to; a reservation of each."""
        return max(job.request.most_prompt_tokens + 100 for job in self.jobs)


def shown(endpoint: Endpoint, what: str = "batches?limit=100") -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{endpoint.url}/{what}") as answer:
        return json.load(answer)["data"]


def uploads_left(endpoint: Endpoint) -> list[str]:
    """The ids of uploads of batches that the endpoint still has."""
    left = []
    for batch in shown(endpoint):
        try:
            urllib.request.urlopen(f"{endpoint.url}/files/{batch['input_file_id']}").close()
        except urllib.error.HTTPError:
            continue
        left.append(batch["input_file_id"])
    return left


def test_a_batch_from_the_jobs_to_the_ledger(start: Start, tmp_path: Path) -> None:
    endpoint = start(batch_polls=3)
    work = Work(tmp_path, endpoint.url)
    calls = work.send()
    assert list(calls) == sorted(job.request.call_id for job in work.jobs)
    (batch,) = shown(endpoint)
    for job in work.jobs:
        call = calls[job.request.call_id]
        assert (call["status"], call["attempts"], call["mode"]) == ("complete", 1, "json_schema")
        assert (call["batch_id"], call["run_id"], call["selection_id"]) == (
            batch["id"],
            work.plan.run_id,
            job.selection_id,
        )
        assert "answer" in json.loads(call["reply"])
        tokens = call["prompt_tokens"], call["completion_tokens"]
        assert call["cost_usd"] == pytest.approx((2.0 * tokens[0] + 8.0 * tokens[1]) / 1e6 / 2)
        assert 0 <= call["latency_s"] < 30
    stats = endpoint.stats()
    assert (stats["arrivals"], stats["complete_twice"]) == (12, 0)
    assert sum(call["completion_tokens"] for call in calls.values()) == stats["completion_tokens"]
    what = "generate: batches of m1"
    told = "Batch batch_1 is under way; it may take a day. Ctrl-C leaves it running, and the same command fetches it."
    assert work.said == [(what, 0, 12), told, (what, 0, 12), (what, 12, 12)]
    (kept,) = work.ledger.batches()
    assert (kept.batch_id, kept.status, kept.call_ids) == ("batch_1", "completed", ())
    assert kept.finished_at is not None
    assert uploads_left(endpoint) == []
    work.send()
    assert endpoint.stats()["arrivals"] == 12


def test_the_rooms_of_a_batch_are_not_passed(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "MOST_REQUESTS", 5)
    monkeypatch.setattr(batches, "_BLOCK", 2)
    endpoint = start()
    work = Work(tmp_path, endpoint.url)
    assert {call["status"] for call in work.send().values()} == {"complete"}
    assert [batch["request_counts"]["total"] for batch in shown(endpoint)] == [2, 5, 5]
    assert any(str(said).startswith("Batches batch_1, batch_2, batch_3 are under way; they") for said in work.said)
    assert endpoint.stats()["complete_twice"] == 0


def test_requests_in_the_error_file_are_asked_again(start: Start, tmp_path: Path) -> None:
    endpoint = start(batch_errors=0.4)
    work = Work(tmp_path, endpoint.url, 20)
    with pytest.raises(
        ModelUnavailableError, match=r"(\d+) of 20 calls got no reply, the last: .*HTTP (429|500)"
    ) as caught:
        work.send()
    failed = [row for row in work.rows() if row["status"] == "failed"]
    assert f"{len(failed)} of 20" in str(caught.value)
    assert "run the step again to ask for these only" in str(caught.value)
    assert 0 < len(failed) < 20
    assert {row["error"].partition(":")[0] for row in failed} == {"ModelUnavailableError"}
    finish(work)
    assert endpoint.stats()["complete_twice"] == 0


def finish(work: Work, tries: int = 20) -> None:
    """Send until everything is answered; each time only what is missing."""
    for _ in range(tries):
        try:
            calls = work.send()
        except ModelUnavailableError:
            continue
        assert len(calls) == len(work.jobs)
        return
    raise AssertionError("not everything was answered")


def test_what_expired_is_asked_again_alone(start: Start, tmp_path: Path) -> None:
    endpoint = start(batch_expire=0.4)
    work = Work(tmp_path, endpoint.url, 20)
    with pytest.raises(ModelUnavailableError, match=r"of 20 calls got no reply.*before this request's turn"):
        work.send()
    there = sum(row["status"] == "complete" for row in work.rows())
    assert 0 < there < 20
    assert work.ledger.batches()[0].status == "expired"
    finish(work)
    stats = endpoint.stats()
    assert stats["complete_twice"] == 0
    second = shown(endpoint)[-2]
    assert second["request_counts"]["total"] == 20 - there


def test_requests_without_an_end_are_missing_and_asked_again(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = start(batch_expire=0.4)
    work = Work(tmp_path, endpoint.url, 20, budget="1usd")
    monkeypatch.setattr(BatchApi, "replies", without_errors(BatchApi.replies))
    with pytest.raises(
        ModelUnavailableError, match=r"(\d+) of 20 calls got no reply, the last: batch batch_1 ended \(exp"
    ):
        work.send()
    there = work.rows()
    assert {row["status"] for row in there} == {"complete"}
    assert 0 < len(there) < 20
    assert work.ledger.reserved() == []
    finish(work)
    assert endpoint.stats()["complete_twice"] == 0


def without_errors(replies: Callable[..., Any]) -> Callable[..., Any]:
    return lambda api, state, at: replies(api, replace(state, files=state.files[:1]), at)


def test_a_batch_that_fails_its_validation(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "MOST_REQUESTS", 8)
    endpoint = start(batch_fail=True)
    work = Work(tmp_path, endpoint.url, budget="1usd")
    said = r"generate: batch batch_\d of \d requests was not taken: This line is not valid JSON\. \(line 1\)\. Correct"
    for count in (2, 4):
        with pytest.raises(ModelRefusedError, match=said):
            work.send()
        assert [batch.status for batch in work.ledger.batches()] == ["failed"] * count
    assert all(batch.finished_at and not batch.call_ids for batch in work.ledger.batches())
    assert (work.rows(), work.ledger.reserved()) == ([], [])
    assert uploads_left(endpoint) == []
    working = start()
    assert len(Work(tmp_path, working.url).send()) == 12


def test_a_queue_that_is_full_is_no_refusal(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = start(batch_fail=True)
    work = Work(tmp_path, endpoint.url)
    look = BatchApi.state
    monkeypatch.setattr(BatchApi, "state", lambda api, name: replace(look(api, name), passing=True))
    with pytest.raises(
        ModelUnavailableError, match="12 of 12 calls got no reply, the last: batch batch_1 of 12 requests"
    ):
        work.send()


def test_a_server_without_batches(start: Start, tmp_path: Path) -> None:
    endpoint = start()
    work = Work(tmp_path, endpoint.url.replace("/v1", "/v2"), budget="1usd")
    with pytest.raises(ConfigError, match=r"/v2 has no batch API .*leave llm.batch \(--batch\) out"):
        work.send()
    assert (work.rows(), work.ledger.reserved(), work.ledger.batches()) == ([], [], [])


def test_what_cannot_be_sent_does_not_keep_back_what_was(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "MOST_REQUESTS", 5)
    endpoint = start()
    work = Work(tmp_path, endpoint.url, budget="1usd")
    submit, left = BatchApi.submit, [1, 1]

    def once(*given: Any) -> Any:
        if not left:
            raise ModelRefusedError("the account is full")
        left.pop()
        return submit(*given)

    monkeypatch.setattr(BatchApi, "submit", once)
    with pytest.raises(ModelRefusedError, match="the account is full"):
        work.send()
    assert len(work.rows()) == 10
    assert work.ledger.reserved() == []
    assert "No more can be sent: the account is full What was sent before is waited for." in work.said
    left.append(1)
    assert len(work.send()) == 12


def test_an_upload_that_cannot_be_deleted_takes_no_reply_away(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ModelUnavailableError("no deleting today")

    monkeypatch.setattr(BatchApi, "remove", fail)
    work = Work(tmp_path, start().url)
    with pytest.raises(ModelUnavailableError, match="no deleting today"):
        work.send()
    assert len(work.send()) == 12
    work = Work(tmp_path / "other", start(batch_fail=True).url)
    with pytest.raises(ModelRefusedError, match="not valid JSON"):
        work.send()


def test_embedded_models_have_no_batches(tmp_path: Path) -> None:
    work = Work(tmp_path, "http://localhost:1/v1")
    request = replace(work.jobs[0].request, model="builtin/ngram", base_url=None)
    settings = Llm(model="builtin/ngram", batch=True)
    (call,) = send(work.context, work.plan, settings, [Job(request, None, "t")]).values()
    assert call["batch_id"] is None


# Killed processes. The child prints its first notice; how it ends is said by `end`.


def child(root: str, url: str, end: str, llm: str) -> None:
    """Send the jobs in this process; `end`: where it kills itself, "" for nowhere."""
    work = Work(Path(root), url, **json.loads(llm))
    provider.FIRST_POLL = provider.LONGEST_POLL = 60.0
    work.context = replace(work.context, notice=lambda text: print(text, flush=True))  # noqa: T201

    def die(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    put, put_batch = Ledger.put, Ledger.put_batch
    if end == "upload":
        BatchApi._upload = die  # type: ignore[method-assign]
    elif end == "create":
        BatchApi._create = die  # type: ignore[method-assign]
    elif end == "name":
        Ledger.put_batch = lambda *given, **more: die() if "instead_of" in more else put_batch(*given, **more)  # type: ignore[method-assign]
    elif end == "keep":
        provider.FIRST_POLL, batches._BLOCK = 0.01, 5
        Ledger.put = lambda *given, **more: die(put(*given, **more))  # type: ignore[method-assign]
    elif end == "finish":
        provider.FIRST_POLL = 0.01
        Ledger.put_batch = lambda *given, **more: die() if given[1].status == "completed" else put_batch(*given, **more)  # type: ignore[method-assign]
    work.send()


def end_in_child(work: Work, end: str, **llm: Any) -> int:
    """Send the jobs in a process that ends as told, by a signal of that name if it is one; return its exit status."""
    code = "import sys; from tests.steps.calling.test_batches import child; child(*sys.argv[1:])"
    at = "" if end.startswith("SIG") else end
    command = [sys.executable, "-c", code, str(work.context.root), str(work.settings.base_url), at, json.dumps(llm)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if end.startswith("SIG"):
        assert process.stdout.readline().startswith("Batch batch_1 is under way")
        process.send_signal(getattr(signal, end))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL or "KeyboardInterrupt" in errors, errors
    return process.returncode


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT", "upload", "create", "name", "keep", "finish"])
def test_a_killed_process_is_followed_by_one_that_asks_nothing_twice(start: Start, tmp_path: Path, end: str) -> None:
    endpoint = start()
    work = Work(tmp_path, endpoint.url, budget="1usd")
    end_in_child(work, end, budget="1usd")
    assert len(shown(endpoint)) == (0 if end in ("upload", "create") else 1)
    assert len(work.ledger.reserved()) == (7 if end == "keep" else 0 if end == "finish" else 12)
    assert len(work.rows()) == (5 if end == "keep" else 12 if end == "finish" else 0)
    calls = work.send()
    assert {call["status"] for call in calls.values()} == {"complete"}
    (batch,) = shown(endpoint)
    assert {call["batch_id"] for call in calls.values()} == {batch["id"]}
    stats = endpoint.stats()
    assert (stats["arrivals"], stats["complete_twice"]) == (12, 0)
    assert work.ledger.reserved() == []
    assert spent(work.context, "tokens") == stats["prompt_tokens"] + stats["completion_tokens"]
    if end != "finish":  # then nothing was missing, and nobody looked at the batch again
        assert work.ledger.batches()[0].finished_at is not None


@pytest.mark.parametrize("budget", ["1usd", None])
def test_a_batch_whose_row_is_lost_is_known_by_its_calls(start: Start, tmp_path: Path, budget: str | None) -> None:
    endpoint = start()
    work = Work(tmp_path, endpoint.url, budget=budget)
    end_in_child(work, "SIGKILL", budget=budget)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        connection.execute("delete from batches")
    connection.close()
    assert len(work.send()) == 12
    assert len(shown(endpoint)) == 1
    assert len(work.ledger.reserved()) == (12 if budget else 0)  # nobody knows what they were for


def test_a_batch_whose_requests_all_failed_is_not_taken_for_the_next(start: Start, tmp_path: Path) -> None:
    endpoint = start(batch_errors=1.0)
    work = Work(tmp_path, endpoint.url)
    for count in (1, 2):
        with pytest.raises(ModelUnavailableError, match="12 of 12 calls got no reply"):
            work.send()
        assert len(shown(endpoint)) == count


def test_jobs_of_two_batches_and_of_none(start: Start, tmp_path: Path) -> None:
    """What is under way is waited for, the rest is sent, and calls that nobody asks for now are not given up."""
    endpoint = start()
    work = Work(tmp_path, endpoint.url, budget="1usd")
    end_in_child(work, "SIGKILL", budget="1usd")
    more = Work(tmp_path, endpoint.url, 15, budget="1usd")
    calls = more.send(more.jobs[8:])
    assert len(calls) == 7
    assert [batch["request_counts"]["total"] for batch in shown(endpoint)] == [3, 12]
    first = more.ledger.batches()[0]
    assert set(first.call_ids) == {job.request.call_id for job in more.jobs[:8]}
    assert first.finished_at is None
    assert len(more.ledger.reserved()) == 8
    assert len(more.send()) == 15
    assert len(shown(endpoint)) == 2
    assert more.ledger.reserved() == []
    assert all(batch.finished_at for batch in more.ledger.batches())
    assert endpoint.stats()["complete_twice"] == 0


def test_batches_of_another_address_are_left_alone(start: Start, tmp_path: Path) -> None:
    endpoint, other = start(), start()
    end_in_child(Work(tmp_path, endpoint.url), "SIGKILL")
    assert len(Work(tmp_path, other.url).send()) == 12
    assert len(shown(other)) == 1
    work = Work(tmp_path, endpoint.url)
    assert work.ledger.batches()[0].finished_at is None
    assert len(work.send()) == 12
    assert endpoint.stats()["arrivals"] == 12


def test_a_budget_that_fits_half(start: Start, tmp_path: Path) -> None:
    endpoint = start()
    most = Work(tmp_path, endpoint.url).most()
    budget = f"{6 * most + 1:.0f}tokens"
    work = Work(tmp_path, endpoint.url, budget=budget)
    said = r"generate: 6 of 12 calls were not made, for they could pass the budget: [\d,]+ tokens of [\d,]+ tokens are"
    with pytest.raises(BudgetError, match=said):
        work.send()
    kept = {row["call_id"] for row in work.rows()}
    assert kept == {job.request.call_id for job in work.jobs[:6]}
    assert work.ledger.reserved() == []
    assert endpoint.stats()["arrivals"] == 6
    with pytest.raises(BudgetError):  # what the first six did not use lets some more through
        work.send()
    again = endpoint.stats()["arrivals"]
    assert 6 < again < 12
    total = spent(work.context, "tokens")
    assert total <= 6 * most + 1
    nothing = Work(tmp_path, endpoint.url, budget=f"{total + 1:.0f}tokens")
    with pytest.raises(BudgetError, match=rf"{12 - again} of {12 - again} calls were not made"):
        nothing.send()
    assert endpoint.stats()["arrivals"] == again
    assert len(Work(tmp_path, endpoint.url, budget=f"{total + 6 * most:.0f}tokens").send()) == 12
    assert endpoint.stats()["complete_twice"] == 0


@pytest.mark.parametrize("later", [True, False])
def test_reservations_of_a_killed_process_are_released(start: Start, tmp_path: Path, later: bool) -> None:
    endpoint = start()
    budget = f"{12 * Work(tmp_path, endpoint.url).most() + 1:.0f}tokens"
    work = Work(tmp_path, endpoint.url, budget=budget if later else None)
    older = work.ledger.reserve(work.jobs[0].request.call_id, 0.0, 0.0)  # of a try that may have been billed
    end_in_child(work, "SIGKILL", budget=budget)
    assert len(work.ledger.reserved()) == 13
    assert len(work.send()) == 12
    assert [number for number, *_ in work.ledger.reserved()] == [older]
    stats = endpoint.stats()
    assert spent(work.context, "tokens") == stats["prompt_tokens"] + stats["completion_tokens"]


def test_a_batch_that_the_provider_does_not_know(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = start()
    work = Work(tmp_path, endpoint.url, budget="1usd")
    end_in_child(work, "SIGKILL", budget="1usd")
    (batch,) = work.ledger.batches()
    work.ledger.put_batch(replace(batch, batch_id="batch_9"), instead_of=batch.batch_id)
    with pytest.raises(
        ConfigError, match=r"Batch batch_9 of 12 requests, sent on .* UTC, is not known .*SHOP_KEY.*--batch"
    ):
        work.send()
    assert work.ledger.batches()[0].finished_at is None
    monkeypatch.setattr(batches, "GONE_AFTER", timedelta(0))
    with pytest.raises(ModelUnavailableError, match=r"12 of 12 calls got no reply, the last: batch batch_9 is gone"):
        work.send()
    assert len(work.ledger.reserved()) == 12
    assert len(work.send()) == 12


def test_an_endpoint_that_goes_away_takes_nothing_with_it(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = start()
    work = Work(tmp_path, endpoint.url)

    def fail(*_: Any) -> Any:
        raise ModelUnavailableError("gone fishing")

    with monkeypatch.context() as patch:
        patch.setattr(BatchApi, "state", fail)
        with pytest.raises(ModelUnavailableError, match="gone fishing"):
            work.send()
    assert len(work.send()) == 12
    assert len(shown(endpoint)) == 1


def test_neither_the_ledger_nor_an_error_holds_the_key(start: Start, tmp_path: Path) -> None:
    contents = tmp_path / "contents.json"
    contents.write_text(json.dumps([json.dumps({"answer": f"the key is {KEY}"})]))
    endpoint = start(reply_file=contents, batch_errors=0.3)
    work = Work(tmp_path / "ws", endpoint.url)
    with pytest.raises(ModelError) as caught:
        work.send()
    assert KEY not in str(caught.value)
    assert {json.loads(row["reply"])["answer"] for row in work.rows() if row["reply"]} == {"the key is [key]"}
    work.ledger.close()
    held = b"".join(path.read_bytes() for path in (tmp_path / "ws").rglob("*") if path.is_file())
    assert b"the key is" in held
    assert KEY.encode() not in held
