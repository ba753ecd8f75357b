"""What calls may cost: amounts as they are written, reservations, and what a request can come to at most."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign.config import Llm, Price
from synalign.errors import ConfigError
from synalign.llm.transport.budget import Amount, Budget, Meter, amount, cost, money, price_of
from synalign.llm.transport.chat import ChatReply, ChatRequest

PRICES = {"m": Price(input=2.0, output=8.0), "batched": Price(input=2.0, output=8.0, batch=0.5)}


def ask(user: str = "u", **values: Any) -> ChatRequest:
    return ChatRequest("m", None, "s", user, "n", {"type": "object"}, **values)


def reply(prompt: int | None, completion: int | None) -> ChatReply:
    return ChatReply("c", "text", "stop", prompt, completion, 1, 0.0, "text")


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("5usd", 5.0, "usd"),
        ("5 usd", 5.0, "usd"),
        (" 0.25USD ", 0.25, "usd"),
        ("1_000.5usd", 1000.5, "usd"),
        ("200000tokens", 200_000.0, "tokens"),
        ("2_000_000 Tokens", 2_000_000.0, "tokens"),
    ],
)
def test_amounts_are_read_as_they_are_configured(text: str, value: float, unit: str) -> None:
    configured = Llm(budget=text).budget
    assert configured is not None
    assert amount(configured) == Amount(value, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["5", "usd", "5eur", "-5usd", "5 usd tokens", "1e5tokens", "5,000usd", "inf usd", ""])
def test_what_is_no_amount_is_refused_by_the_configuration(text: str) -> None:
    with pytest.raises(ValueError, match="5usd"):
        Llm(budget=text)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (Amount(5, "usd"), "5.00 usd"),
        (Amount(1234.5, "usd"), "1,234.50 usd"),
        (Amount(0.01234, "usd"), "0.0123 usd"),
        (Amount(0, "usd"), "0.00 usd"),
        (Amount(2_000_000, "tokens"), "2,000,000 tokens"),
    ],
)
def test_amounts_as_they_are_shown(given: Amount, shown: str) -> None:
    assert str(given) == shown


@given(st.floats(0.001, 1e6))
def test_what_is_shown_is_close_to_what_it_is(value: float) -> None:
    said = money(value)
    assert amount(said.replace(",", "")).value == pytest.approx(value, rel=0.006)


def test_costs_are_those_of_a_million_tokens() -> None:
    assert cost(PRICES["m"], 1_000_000, 0) == 2.0
    assert cost(PRICES["m"], 0, 1_000_000) == 8.0
    assert cost(PRICES["m"], 11, 5) == pytest.approx(62e-6)
    assert cost(PRICES["batched"], 11, 5, batch=True) == pytest.approx(31e-6)
    assert cost(PRICES["batched"], 11, 5) == pytest.approx(62e-6)
    assert cost(None, 11, 5) is None
    assert cost(PRICES["m"], None, 5) is None
    assert cost(PRICES["m"], 11, None) is None
    assert cost(Price(input=0, output=0), None, None) == 0.0


def test_models_in_this_package_are_free() -> None:
    for model in ("builtin/ngram", "replay/file.jsonl"):
        assert price_of(model, {}) == Price(input=0, output=0)
        for unit in ("usd", "tokens"):
            meter = Meter.of(Llm(model=model), {}, unit)  # type: ignore[arg-type]
            assert meter.most(ask(max_tokens=100), "usd") == meter.most(ask(max_tokens=100), "tokens") == 0.0
            assert meter.used(reply(None, None)) == 0.0
    assert price_of("m", {}) is None
    assert price_of("m", PRICES) is PRICES["m"]


def test_a_budget_in_usd_needs_a_price() -> None:
    with pytest.raises(ConfigError, match=r"price of 'other' is unknown.*\[prices.\"other\"\] input = .*in tokens"):
        Meter.of(Llm(model="other", max_tokens=10), PRICES, "usd")
    assert Meter.of(Llm(model="other", max_tokens=10), PRICES, "tokens").most(ask(), "usd") is None


@pytest.mark.parametrize("unit", ["usd", "tokens"])
def test_a_budget_needs_a_bound_on_replies(unit: Any) -> None:
    with pytest.raises(ConfigError, match=r"needs llm.max_tokens.*max_tokens = 4096"):
        Meter.of(Llm(model="m"), PRICES, unit)


def test_a_meter_measures_the_most_and_what_was_used() -> None:
    request = ask("x" * 1000, max_tokens=50)
    tokens = Meter.of(Llm(model="m", max_tokens=50), PRICES, "tokens")
    usd = Meter.of(Llm(model="m", max_tokens=50), PRICES, "usd")
    assert tokens.most(request, "tokens") == request.most_prompt_tokens + 50
    assert usd.most(request, "usd") == pytest.approx((request.most_prompt_tokens * 2 + 50 * 8) / 1e6)
    assert tokens.used(reply(100, 20)) == 120.0
    assert usd.used(reply(100, 20)) == pytest.approx(360e-6)
    assert tokens.used(reply(None, 20)) is tokens.used(reply(20, None)) is usd.used(reply(None, 20)) is None
    half = Meter.of(Llm(model="batched", max_tokens=50, batch=True), PRICES, "usd")
    assert half.most(request, "usd") == pytest.approx((request.most_prompt_tokens * 2 + 50 * 8) / 2e6)


def test_a_budget_takes_what_fits_to_the_last() -> None:
    budget = Budget(Amount(10, "tokens"), spent=4)
    assert budget.reserve(4)
    assert not budget.reserve(3)
    assert budget.reserve(2)
    assert not budget.reserve(0.001)
    assert budget.reserve(0)
    budget.settle(4, 1)
    assert (budget.spent, budget.reserved) == (5, 2)
    assert budget.reserve(3)


moves = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 1), st.integers(0, 5)), max_size=60)


@given(st.floats(0, 500), st.floats(0, 100), moves)
def test_no_more_is_spent_than_the_budget(limit: float, before: float, given: list[tuple[float, float, int]]) -> None:
    """However requests are granted and end, in whatever order: what they can have cost never passes the limit."""
    budget, spent = Budget(Amount(limit, "tokens"), before), before
    under_way: list[tuple[float, float]] = []
    for most, share, end in given:
        if budget.reserve(most):
            under_way.append((most, most * share))
        if end < len(under_way):
            most, used = under_way.pop(end)
            budget.settle(most, used)
            spent += used
        possible = math.fsum([spent, *(most for most, _ in under_way)])
        assert possible <= max(limit, before) + 1e-6
        assert budget.spent + budget.reserved == pytest.approx(possible, abs=1e-6)
