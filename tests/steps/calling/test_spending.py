"""A budget is never passed, by what the server itself counts: with faults, in a killed process and in the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import synalign as sa
from synalign.config import Config, Llm, Price
from synalign.errors import BudgetError, ConfigError, ModelAuthError, ModelError, ModelUnavailableError
from synalign.llm.prompting.schemas import RecordBatch, json_schema
from synalign.llm.transport import engine, limits
from synalign.llm.transport.chat import CallFailure, ChatReply, ChatRequest
from synalign.llm.transport.client import OpenAIChat
from synalign.llm.transport.engine import run_calls
from synalign.steps.calling.dispatch import send
from synalign.steps.calling.jobs import Job
from synalign.steps.calling.spending import Spending, spent
from synalign.steps.core.context import Context
from synalign.store.lake.journal import Plan
from tests.conftest import ROOT
from tests.llm.endpoint import Endpoint
from tests.llm.server import Server, chat, error

PLAN = Plan("generate", {})
PRICE = Price(input=3.0, output=12.0)
FAULTS = {"429": 0.1, "500": 0.03, "503": 0.02, "hang": 0.02, "cut": 0.02, "malformed": 0.05, "content_filter": 0.05}
# The most that one reply of the endpoint has, and more.
REPLY = 200


def context_of(path: Path, **prices: Price) -> Context:
    """A workspace's context, without its locks."""
    config = Config(prices={"m": PRICE} | prices)
    return replace(sa.open(path)._context(), config=config, calling=nullcontext)


def settings(url: str | None, **values: Any) -> Llm:
    given = {"concurrency": 16, "timeout": 1.5, "max_attempts": 12, "max_tokens": REPLY} | values
    return Llm(**{"model": "m", "base_url": url, "api_key_env": "NO_SUCH_KEY", **given})


def ask(number: int, url: str | None = None, model: str = "m") -> ChatRequest:
    prompt = f"Write 2 new texts. {number}"
    return ChatRequest(model, url, "You write.", prompt, "generate", json_schema(RecordBatch), max_tokens=REPLY)


def jobs(url: str | None, count: int) -> list[Job]:
    return [Job(ask(number, url), None, "t") for number in range(count)]


def row(request: ChatRequest, **values: Any) -> dict[str, Any]:
    """A row of `calls` as the ledger takes it."""
    named = {"call_id": request.call_id, "model": request.model, "system": request.system, "user": request.user}
    return {"run_id": "r", "step": "generate", "status": "complete", "reply": "text", **named, **values}


def billed(endpoint: Endpoint, unit: str) -> float:
    """What all replies that were sent come to."""
    stats = endpoint.stats()
    prompt, completion = stats["prompt_tokens"], stats["completion_tokens"]
    return (prompt * PRICE.input + completion * PRICE.output) / 1e6 if unit == "usd" else prompt + completion


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_WAIT", 0.01)
    monkeypatch.setattr(engine, "_LONGEST", 0.05)
    monkeypatch.setattr(limits, "_PAUSE", 0.05)


@pytest.fixture
def context(blank: Path) -> Iterator[Context]:
    found = context_of(blank)
    yield found
    found.ledger.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Endpoint]]:
    endpoints: list[Endpoint] = []

    def begin(**options: Any) -> Endpoint:
        endpoints.append(Endpoint(**options))
        return endpoints[-1]

    yield begin
    for endpoint in endpoints:
        endpoint.close()


def run(context: Context, llm: Llm, requests: list[ChatRequest], kept: list[Any]) -> Spending:
    """Send requests as a step does, but for the rows: under a budget."""
    spending = Spending.of(context, llm)
    assert spending is not None

    def keep(outcomes: Any) -> None:
        context.ledger.put(settled=spending.end(outcomes))
        kept.extend(outcomes)

    try:
        run_calls(
            lambda: OpenAIChat(llm, {}),
            requests,
            keep,
            settings=llm,
            grant=spending.grant,
            release=spending.release,
        )
    except ModelError as caught:
        kept.append(caught)
    return spending


# Against a server that counts


@pytest.mark.parametrize(
    ("unit", "limit", "seed"), [("tokens", 60_000, 1), ("tokens", 50_000, 2), ("usd", 0.2, 3), ("usd", 0.15, 4)]
)
def test_what_the_server_bills_never_passes_the_budget(
    start: Any, context: Context, unit: str, limit: float, seed: int
) -> None:
    endpoint = start(latency=0.005, capacity=12, over="429", faults=FAULTS, seed=seed)
    llm = settings(endpoint.url, budget=f"{limit}{unit}")
    with pytest.raises(
        BudgetError, match=r"generate: the budget is reached: .* of .* are spent, and the next call could"
    ):
        send(context, PLAN, llm, jobs(endpoint.url, 400))
    assert 0.3 * limit < billed(endpoint, unit) <= limit
    assert endpoint.stats()["complete_twice"] == 0
    # Another process, which has only what is on disk, sees no less than was billed, and has nothing left to spend.
    assert billed(endpoint, unit) <= spent(context, unit) <= limit  # type: ignore[arg-type]
    arrived = endpoint.stats()["arrivals"]
    while True:
        with pytest.raises(BudgetError):
            send(context, PLAN, llm, jobs(endpoint.url, 400))
        if endpoint.stats()["arrivals"] == arrived:
            break
        arrived = endpoint.stats()["arrivals"]
    assert billed(endpoint, unit) <= limit


def test_a_good_server_is_paid_to_the_last_call_that_fits(start: Any, context: Context) -> None:
    """What was reserved and not used is given back: what is left in the end is less than one call's most."""
    endpoint = start(latency=0.005)
    with pytest.raises(BudgetError) as caught:
        send(context, PLAN, settings(endpoint.url, budget="40000tokens"), jobs(endpoint.url, 300))
    used = billed(endpoint, "tokens")
    assert 40_000 - ask(0).most_prompt_tokens - REPLY - 20 < used <= 40_000
    assert spent(context, "tokens") == used
    assert context.ledger.reserved() == []
    made = endpoint.stats()["arrivals"]
    assert f"{used:,.0f} tokens of 40,000 tokens are spent" in str(caught.value)
    assert f"{300 - made} of 300 calls were not made" in str(caught.value)
    assert "give a larger budget and run the step again" in str(caught.value)
    # With more, the rest is asked, and nothing again.
    assert len(send(context, PLAN, settings(endpoint.url, budget="1000000tokens"), jobs(endpoint.url, 300))) == 300
    assert endpoint.stats()["arrivals"] == 300


def test_replies_that_a_filter_stopped_are_billed(start: Any, context: Context) -> None:
    """The model wrote them. No call has an outcome that says what it cost, so the most is taken."""
    endpoint = start(faults={"content_filter": 1.0})
    kept: list[Any] = []
    spending = run(context, settings(endpoint.url, budget="20000tokens"), [ask(n) for n in range(40)], kept)
    assert isinstance(kept[-1], BudgetError)
    assert {outcome.error for outcome in kept[:-1]} == {"ModelRefusedError"}
    assert 0 < billed(endpoint, "tokens") <= spending.budget.spent <= 20_000
    assert spent(context, "tokens") == spending.budget.spent


KILLED = """
import sys
from pathlib import Path
from synalign.llm.transport import engine
from tests.steps.calling.test_spending import PLAN, context_of, jobs, send, settings

engine._WAIT, engine._LONGEST = 0.01, 0.05
url, folder, budget = sys.argv[1:]
send(context_of(Path(folder)), PLAN, settings(url, budget=budget), jobs(url, 400))
"""


def test_killed_processes_and_the_next_stay_within_one_budget(start: Any, blank: Path) -> None:
    endpoint = start(latency=0.05, faults=FAULTS, seed=1)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    sa.open(blank).configure(Config())
    for arrivals in (40, 80):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, endpoint.url, str(blank), "100000tokens"], env=environment
        )
        end = time.monotonic() + 30
        while endpoint.stats()["arrivals"] < arrivals:
            assert time.monotonic() < end
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    context = context_of(blank)
    assert context.ledger.reserved() != []  # those that were under way: nobody knows what came of them
    with pytest.raises(BudgetError):
        send(context, PLAN, settings(endpoint.url, budget="100000tokens"), jobs(endpoint.url, 400))
    context.ledger.close()
    stats = endpoint.stats()
    assert stats["arrivals"] > 80
    assert billed(endpoint, "tokens") <= spent(context, "tokens") <= 100_000
    # Only what was under way at a kill may have been answered and is asked for again.
    assert stats["complete_twice"] <= 2 * 2 * 16


def test_a_wrong_key_costs_nothing(serve: Any, context: Context) -> None:
    """However often the step is run with it: what was set aside for requests that were not sent is given back."""
    server: Server = serve(lambda body, number: error(401, "bad key"))
    llm = settings(server.url, budget="20000tokens")
    for _ in range(5):
        kept: list[Any] = []
        spending = run(context, llm, [ask(n) for n in range(50)], kept)
        assert isinstance(kept[-1], ModelAuthError)
        # Those that were dropped while they were under way may have been answered.
        assert len(context.ledger.reserved()) * (ask(0).most_prompt_tokens + REPLY) <= spending.budget.limit.value
    assert Spending(context, llm, spending.budget.limit).budget.spent < 20_000


# Reservations


def grant(context: Context, *numbers: int, **values: Any) -> Spending:
    spending = Spending.of(context, settings("http://h/v1", **{"budget": "100000tokens"} | values))
    assert spending is not None
    for number in numbers:
        assert spending.grant(ask(number))
    return spending


def failure(number: int, uncertain: bool) -> CallFailure:
    return CallFailure(ask(number).call_id, "ModelUnavailableError", "gone", True, 1, 0.0, uncertain)


def reply(number: int, prompt: int | None, completion: int | None) -> ChatReply:
    return ChatReply(ask(number).call_id, "text", "stop", prompt, completion, 1, 0.0, "text")


MOST = ask(0).most_prompt_tokens + REPLY


def test_what_a_request_can_cost_is_durable_before_it_is_sent(context: Context) -> None:
    spending = grant(context, 0, 1)
    assert [(call_id, tokens) for _, call_id, tokens, _ in context.ledger.reserved()] == [
        (ask(0).call_id, MOST),
        (ask(1).call_id, MOST),
    ]
    usd = (ask(0).most_prompt_tokens * 3 + REPLY * 12) / 1e6
    assert context.ledger.reserved()[0][3] == pytest.approx(usd)
    assert spent(context, "tokens") == 2 * MOST
    assert spent(context, "usd") == pytest.approx(2 * usd)
    assert (spending.budget.spent, spending.budget.reserved) == (0, 2 * MOST)


def test_a_reply_gives_back_what_it_did_not_use(context: Context) -> None:
    spending = grant(context, 0, 1)
    numbers = [number for number, *_ in context.ledger.reserved()]
    assert spending.end([reply(0, 100, 20)]) == numbers[:1]
    assert (spending.budget.spent, spending.budget.reserved) == (120, MOST)


def test_a_clean_failure_costs_nothing_and_an_uncertain_one_all(context: Context) -> None:
    spending = grant(context, 0, 1)
    numbers = [number for number, *_ in context.ledger.reserved()]
    done = spending.end([failure(0, False), failure(1, True)])
    assert done == numbers[:1]
    context.ledger.put(settled=done)
    assert (spending.budget.spent, spending.budget.reserved) == (MOST, 0)
    assert spent(context, "tokens") == MOST


def test_tries_before_the_last_count_in_full(context: Context) -> None:
    spending = grant(context, 0, 0, 0)
    done = spending.end([reply(0, 100, 20)])
    assert done == [context.ledger.reserved()[-1][0]]
    context.ledger.put(row(ask(0), prompt_tokens=100, completion_tokens=20), settled=done)
    assert (spending.budget.spent, spending.budget.reserved) == (2 * MOST + 120, 0)
    assert spent(context, "tokens") == 2 * MOST + 120


def test_a_reply_without_counts_costs_the_most(context: Context) -> None:
    spending = grant(context, 0)
    assert spending.end([reply(0, None, None)]) == []
    context.ledger.put(row(ask(0)))
    assert spending.budget.spent == spent(context, "tokens") == MOST


def test_what_is_released_is_given_back_but_for_earlier_tries(context: Context) -> None:
    spending = grant(context, 0, 0, 1)
    spending.release([ask(0).call_id, ask(1).call_id, "never granted"])
    assert (spending.budget.spent, spending.budget.reserved) == (MOST, 0)
    assert spent(context, "tokens") == MOST
    assert spending.end([failure(1, True)]) == []


def test_granting_many_at_once_is_as_granting_each(context: Context) -> None:
    spending = grant(context)
    requests = [ask(number) for number in range(1000)]
    fits = spending.fit(requests)
    assert fits * MOST <= 100_000 < (fits + 1) * (MOST + 3)
    assert (spending.budget.reserved, context.ledger.reserved()) == (0, [])
    spending.grant_all(requests[:fits])
    assert len(context.ledger.reserved()) == fits
    assert spending.fit(requests[fits:]) == 0
    assert not spending.grant(ask(5000))
    assert len(spending.end([failure(number, False) for number in range(fits)])) == fits
    assert spending.budget.reserved == 0


def test_a_reservation_of_an_earlier_process_is_taken_over(context: Context) -> None:
    grant(context, 0)
    later = grant(context)
    assert later.budget.spent == MOST
    for number, call_id, tokens, usd in context.ledger.reserved():
        later.take_over(number, call_id, tokens, usd)
    assert (later.budget.spent, later.budget.reserved) == (0, MOST)
    later.end([reply(0, 10, 5)])
    assert (later.budget.spent, later.budget.reserved) == (15, 0)


# Prices


def test_no_budget_is_kept_where_none_is_set(context: Context) -> None:
    assert Spending.of(context, settings(None)) is None


def test_a_price_that_is_unknown_is_asked_for(context: Context) -> None:
    with pytest.raises(ConfigError, match=r"price of 'x' is unknown.*\[prices.\"x\"\] input = .*in tokens"):
        send(context, PLAN, settings("http://h/v1", model="x", budget="1usd"), jobs("http://h/v1", 1))
    with pytest.raises(ConfigError, match=r"needs llm\.max_tokens"):
        send(context, PLAN, settings("http://h/v1", max_tokens=None, budget="1usd"), jobs("http://h/v1", 1))


def test_what_was_spent_on_a_model_without_a_price_is_asked_for(context: Context) -> None:
    context.ledger.put(row(ask(0, model="x"), prompt_tokens=100, completion_tokens=20))
    with pytest.raises(ConfigError, match=r"has calls of 'x', whose price is unknown.*\[prices.\"x\"\].*in tokens"):
        grant(context, budget="1usd")
    assert grant(context).budget.spent == 120
    known = replace(context, config=Config(prices={"m": PRICE, "x": Price(input=10, output=100)}))
    assert spent(known, "usd") == pytest.approx((100 * 10 + 20 * 100) / 1e6)


def test_models_of_this_package_cost_nothing(context: Context) -> None:
    llm = settings(None, model="builtin/ngram", max_tokens=None, budget="0usd")
    spending = Spending.of(context, llm)
    assert spending is not None
    assert all(spending.grant(ask(number, model="builtin/ngram")) for number in range(20))
    done = spending.end([reply(0, None, None)])
    assert len(done) <= 20
    assert (spending.budget.spent, spending.budget.reserved) == (0, 0)
    context.ledger.put(row(ask(0, model="builtin/ngram")))
    assert spent(context, "usd") == spent(context, "tokens") == 0


def test_a_call_that_failed_costs_nothing(context: Context) -> None:
    context.ledger.put(row(ask(0), status="failed", reply=None), row(ask(1), prompt_tokens=7, completion_tokens=3))
    assert spent(context, "tokens") == 10


def test_what_other_calls_got_is_kept_when_some_get_no_reply(serve: Any, context: Context) -> None:
    server: Server = serve(lambda body, number: error(500, "broken") if number == 1 else chat("{}"))
    llm = settings(server.url, budget="100000tokens", max_attempts=1, concurrency=1)
    with pytest.raises(ModelUnavailableError, match="1 of 4 calls got no reply"):
        send(context, PLAN, llm, jobs(server.url, 4))
    assert spent(context, "tokens") == 3 * 16
    assert context.ledger.reserved() == []
