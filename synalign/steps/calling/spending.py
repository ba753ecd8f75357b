"""Keeps to a budget: what the calls of a workspace have cost, and the most that the next may cost, by the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synalign.config import Llm, Price
from synalign.errors import ConfigError
from synalign.llm.transport.budget import FREE, Amount, Budget, Meter, Unit, amount, cost, price_of
from synalign.llm.transport.chat import CallFailure, ChatReply, ChatRequest, Outcome
from synalign.steps.core.context import Context

_COUNTED = ["call_id", "model", "prompt_tokens", "completion_tokens", "cost_usd", "batch_id", "status"]


class Spending:
    """The budget of a workspace while calls are made. The most that a request can cost is durable before it is sent."""

    def __init__(self, context: Context, settings: Llm, limit: Amount) -> None:
        self._ledger = context.ledger
        self._meter = Meter.of(settings, context.config.prices, limit.unit)
        self._price = price_of(settings.model, context.config.prices)
        self.budget = Budget(limit, spent(context, limit.unit, self._price))
        self._open: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)  # (number, amount) of each try

    @classmethod
    def of(cls, context: Context, settings: Llm) -> Spending | None:
        """Return what keeps the configured budget, or None if there is none.

        Raises:
            ConfigError: if a price is needed and unknown, or the most that a reply can cost.
        """
        return None if settings.budget is None else cls(context, settings, amount(settings.budget))

    def grant(self, request: ChatRequest) -> bool:
        """Set aside the most that a request can cost, if it fits."""
        value = self._meter.most(request, self.budget.limit.unit)
        assert value is not None
        if not self.budget.reserve(value):
            return False
        number = self._ledger.reserve(
            request.call_id, self._meter.most(request, "tokens"), self._meter.most(request, "usd")
        )
        self._open[request.call_id].append((number, value))
        return True

    def fit(self, requests: Sequence[ChatRequest]) -> int:
        """Return how many of the requests, from the first on, fit together; nothing is set aside."""
        left = self.budget.limit.value - self.budget.spent - self.budget.reserved
        for place, request in enumerate(requests):
            left -= self._meter.most(request, self.budget.limit.unit) or 0.0
            if left < 0:
                return place
        return len(requests)

    def grant_all(self, requests: Sequence[ChatRequest]) -> None:
        """Set aside the most that requests can cost that are known to fit, in one write."""
        numbers = self._ledger.reserve_all(
            (request.call_id, self._meter.most(request, "tokens"), self._meter.most(request, "usd"))
            for request in requests
        )
        for request, number in zip(requests, numbers, strict=True):
            value = self._meter.most(request, self.budget.limit.unit) or 0.0
            self.budget.reserved += value
            self._open[request.call_id].append((number, value))

    def take_over(self, number: int, call_id: str, tokens: float | None, usd: float | None) -> None:
        """Take a reservation of an earlier process, which counts as spent until now, as if it was granted here."""
        value = _held(self.budget.limit.unit, self._price, tokens, usd)
        self.budget.spent -= value
        self.budget.reserved += value
        self._open[call_id].append((number, value))

    def end(self, outcomes: Iterable[Outcome]) -> list[int]:
        """Give back what ended requests did not use; return the numbers of the reservations that are done with.

        Tries before the last one, and those whose cost is not known, may have been billed: they count in full.
        """
        done: list[int] = []
        for outcome in outcomes:
            tries = self._open.pop(outcome.call_id, [])
            for place, (number, value) in enumerate(reversed(tries)):
                used: float | None = None
                if place == 0:
                    used = self._meter.used(outcome) if isinstance(outcome, ChatReply) else _of_failure(outcome, value)
                self.budget.settle(value, value if used is None else used)
                if used is not None:
                    done.append(number)
        return done

    def release(self, call_ids: Iterable[str]) -> None:
        """Give back what was set aside for requests that were then not sent, or failed without being billed."""
        done: list[int] = []
        for call_id in call_ids:
            tries = self._open.pop(call_id, [])
            for place, (_, value) in enumerate(reversed(tries)):
                self.budget.settle(value, 0.0 if place == 0 else value)
            done += [number for number, _ in tries[-1:]]
        if done:
            self._ledger.put(settled=done)

    def said(self) -> str:
        """Return in words what is spent and what the limit is."""
        return f"{Amount(self.budget.spent, self.budget.limit.unit)} of {self.budget.limit} are spent"


def _of_failure(failure: CallFailure, most: float) -> float | None:
    """Return what a request that got no reply did cost: nothing, or None where that is not known."""
    return None if failure.uncertain and most else 0.0


def spent(context: Context, unit: Unit, price: Price | None = None) -> float:
    """Return what all calls of the workspace did cost so far, in usd or tokens, calls whose end is unknown included.

    `price`: for calls whose end is unknown and that were made when there was no price.

    Raises:
        ConfigError: if calls were made of a model whose price is unknown, and the unit is usd.
    """
    rows = context.lake.read("calls", _COUNTED).to_pylist()
    known = {row["call_id"] for row in rows}
    rows += [row for row in context.ledger.rows().select(_COUNTED).to_pylist() if row["call_id"] not in known]
    total = _worth(context, rows, unit)
    return total + sum(_held(unit, price, tokens, usd) for _, _, tokens, usd in context.ledger.reserved())


def worth(context: Context, call_ids: Sequence[str]) -> tuple[float, float | None]:
    """Return what calls did cost, in tokens and in usd, which is None where a price is unknown."""
    rows = whole_calls(context, call_ids)
    try:
        usd: float | None = _worth(context, rows, "usd")
    except ConfigError:
        usd = None
    return _worth(context, rows, "tokens"), usd


def _worth(context: Context, rows: Iterable[Mapping[str, Any]], unit: Unit) -> float:
    total = 0.0
    held = {call_id for _, call_id, _, _ in context.ledger.reserved()}
    for row in rows:
        if row["status"] != "complete" or row["model"].startswith(FREE):
            continue
        if row["prompt_tokens"] is None or row["completion_tokens"] is None:
            # A server that counts no tokens: what a budget was kept for is reserved, else the most is taken.
            total += 0.0 if row["call_id"] in held else _most(context, row, unit)
        elif unit == "tokens":
            total += row["prompt_tokens"] + row["completion_tokens"]
        else:
            total += _usd(context.config.prices, row)
    return total


def _held(unit: Unit, price: Price | None, tokens: float | None, usd: float | None) -> float:
    """Return what a reservation counts; `price`: for one that was made when there was no price."""
    if unit == "usd" and usd is None and price is not None:
        usd = (tokens or 0.0) * max(price.input, price.output) / 1e6
    return (tokens if unit == "tokens" else usd) or 0.0


def _usd(prices: Mapping[str, Price], row: Mapping[str, Any]) -> float:
    if row["cost_usd"] is not None:
        return float(row["cost_usd"])
    price = price_of(row["model"], prices)
    found = cost(price, row["prompt_tokens"], row["completion_tokens"], row["batch_id"] is not None)
    if found is None:
        raise ConfigError(
            f"The workspace has calls of {row['model']!r}, whose price is unknown, so what was spent is unknown too. "
            f'Give the price in synalign.toml, in usd for a million tokens: [prices."{row["model"]}"] input = ..., '
            "output = ...; 0 for a model of your own. Or give the budget in tokens."
        )
    return found


def _most(context: Context, row: Mapping[str, Any], unit: Unit) -> float:
    whole = [call for call in whole_calls(context, [row["call_id"]]) if call["reply"] is not None]
    prompt = sum(len(call["system"].encode()) + len(call["user"].encode()) for call in whole)
    reply = sum(len(call["reply"].encode()) for call in whole)
    if unit == "tokens":
        return float(prompt + reply)
    return _usd(context.config.prices, {**row, "prompt_tokens": prompt, "completion_tokens": reply})


def whole_calls(context: Context, call_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the calls of these names, wherever they are kept; one that is in both places comes once."""
    from synalign.store.lake.lake import is_in

    folded = context.lake.read("calls", where=is_in("call_id", call_ids)).to_pylist()
    there = {row["call_id"] for row in folded}
    return folded + [row for row in context.ledger.rows(call_ids).to_pylist() if row["call_id"] not in there]
