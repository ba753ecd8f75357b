"""What calls may cost, and what they do: prices, budgets, and the most that a request can come to.

A budget is kept by reserving the most that a request can cost before it is sent. What is reserved is given back when
the reply says what it did cost; a request whose end is not known keeps its reservation, for it may have been billed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from synalign.config import Llm, Price
from synalign.errors import ConfigError
from synalign.llm.transport.chat import ChatReply, ChatRequest

Unit = Literal["usd", "tokens"]

#: Models that cost nothing, whatever the prices say.
FREE = ("builtin/", "replay/")


def price_of(model: str, prices: Mapping[str, Price]) -> Price | None:
    """Return what a model costs, or None where that is unknown."""
    return Price(input=0.0, output=0.0) if model.startswith(FREE) else prices.get(model)


def cost(price: Price | None, prompt: int | None, completion: int | None, batch: bool = False) -> float | None:
    """Return US dollars for token counts; None where the price or a count is unknown."""
    if price is None:
        return None
    if price.input == price.output == 0:
        return 0.0
    if prompt is None or completion is None:
        return None
    return (prompt * price.input + completion * price.output) / 1e6 * (price.batch if batch else 1.0)


@dataclass(frozen=True)
class Amount:
    """So many US dollars or tokens."""

    value: float
    unit: Unit

    def __str__(self) -> str:
        """As it is given and shown."""
        return money(self.value) if self.unit == "usd" else f"{self.value:,.0f} tokens"


def money(usd: float) -> str:
    """Return an amount of US dollars as it is shown: to the cent, below a dollar to three digits."""
    return f"{usd:,.2f} usd" if usd >= 1 or usd == 0 else f"{usd:.3g} usd"


def amount(text: str) -> Amount:
    """Read a budget such as '5usd' or '200000tokens'; `synalign.config.Llm` says what is valid."""
    number, unit = re.sub(r"[\s_]", "", text.lower()), "usd"
    if number.endswith("tokens"):
        unit = "tokens"
    return Amount(float(number.removesuffix(unit)), "usd" if unit == "usd" else "tokens")


class Budget:
    """An amount that is not to be passed: spent and reserved together stay below it.

    Args:
        limit: the amount.
        spent: what was spent before, reservations that were never given back included.
    """

    def __init__(self, limit: Amount, spent: float) -> None:
        self.limit = limit
        self.spent = spent
        self.reserved = 0.0

    def reserve(self, value: float) -> bool:
        """Set `value` aside if it fits; return whether it does."""
        if self.spent + self.reserved + value > self.limit.value:
            return False
        self.reserved += value
        return True

    def settle(self, reserved: float, spent: float) -> None:
        """Give back a reservation, of which `spent` was used."""
        self.reserved = max(0.0, self.reserved - reserved)
        self.spent += spent


@dataclass(frozen=True)
class Meter:
    """Measures calls in the unit of a budget."""

    settings: Llm
    price: Price | None
    unit: Unit

    @classmethod
    def of(cls, settings: Llm, prices: Mapping[str, Price], unit: Unit) -> Meter:
        """Return the meter for a model.

        Raises:
            ConfigError: if the most that a call can cost is unknown: no price, or no limit on its reply.
        """
        price = price_of(settings.model, prices)
        free = settings.model.startswith(FREE)
        if unit == "usd" and price is None:
            raise ConfigError(
                f"The price of {settings.model!r} is unknown, so a budget in usd cannot be kept. Give it in "
                f'synalign.toml, in usd for a million tokens: [prices."{settings.model}"] input = ..., output = ...; '
                "or give the budget in tokens."
            )
        if settings.max_tokens is None and not free:
            raise ConfigError(
                "A budget needs llm.max_tokens, the most tokens of one reply: without it a single reply could pass any "
                "budget. Set it well above what a reply needs, such as max_tokens = 4096."
            )
        return cls(settings, price, unit)

    def most(self, request: ChatRequest, unit: Unit) -> float | None:
        """Return the most that a request can cost, None in usd where there is no price."""
        if self.settings.model.startswith(FREE):
            return 0.0
        prompt, reply = request.most_prompt_tokens, request.max_tokens or 0
        return float(prompt + reply) if unit == "tokens" else cost(self.price, prompt, reply, self.settings.batch)

    def used(self, reply: ChatReply) -> float | None:
        """Return what a reply did cost, or None where the endpoint does not say."""
        if self.settings.model.startswith(FREE):
            return 0.0
        if self.unit == "usd":
            return cost(self.price, reply.prompt_tokens, reply.completion_tokens, self.settings.batch)
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            return None
        return float(reply.prompt_tokens + reply.completion_tokens)
