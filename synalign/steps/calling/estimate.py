"""estimate: what reason and generate would cost before they start, from the prompts that they would send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import pyarrow as pa

from synalign.config import EstimateRequest, Llm, Price
from synalign.errors import ConfigError
from synalign.llm.prompting.tokens import (
    CALIBRATED,
    ENOUGH,
    GUESSED,
    Counted,
    Measured,
    measured,
    prompt_bytes,
    prompt_tokens,
)
from synalign.llm.transport.budget import FREE, Amount, Meter, Unit, amount, cost, price_of
from synalign.llm.transport.chat import ChatRequest
from synalign.steps.calling.jobs import settled
from synalign.steps.calling.planned_requests import Source, sources
from synalign.steps.calling.spending import spent
from synalign.steps.core.context import Context
from synalign.store.lake.journal import Journal
from synalign.store.lake.lake import Lake, quote
from synalign.store.lake.schemas import TableSpec
from synalign.store.ledger.ledger import COMPLETE

_UNITS: tuple[Unit, ...] = ("tokens", "usd")

# Calls of the model that its own counts are taken from, at most.
_HISTORY = 5000

_COLUMNS = [
    "call_id", "model", "template_hash", "system", "user", "status", "reply", "prompt_tokens", "completion_tokens",
    "repairs",
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What requests of one kind would cost. `known` of the `calls` are answered already; all else is about the others.

    Tokens and US dollars are those that are expected, with a range; `at_most` is what a budget would set aside. None
    stands for what is not known: dollars without a price, the most without llm.max_tokens.
    """

    step: str
    kind: str
    calls: int
    known: int
    prompt_tokens: int
    reply_tokens: int
    tokens_low: int
    tokens_high: int
    tokens_at_most: int | None
    usd_low: float | None
    usd: float | None
    usd_high: float | None
    usd_at_most: float | None


@dataclass(frozen=True)
class Estimate:
    """What a run of reason and generate would cost. `price`: of the model, None if it is unknown. `spent`: what the
    workspace's calls did cost so far, in the unit of the budget or else in usd; None if that is unknown."""

    model: str
    rows: tuple[Row, ...]
    price: Price | None
    spent: Amount | None
    notes: tuple[str, ...]

    @property
    def total(self) -> Row:
        """The sums of the rows; None where a row has None."""
        sums: dict[str, Any] = {}
        for field in fields(Row)[2:]:
            values = [getattr(row, field.name) for row in self.rows]
            sums[field.name] = None if None in values else sum(values)
        if self.price is None:
            sums |= dict.fromkeys(("usd_low", "usd", "usd_high", "usd_at_most"))
        return Row("total", "", **sums)

    def data(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {
            "model": self.model,
            "price": None if self.price is None else self.price.model_dump(),
            "rows": [asdict(row) for row in self.rows],
            "total": asdict(self.total),
            "spent": None if self.spent is None else {"value": self.spent.value, "unit": self.spent.unit},
            "notes": list(self.notes),
        }


def estimate(context: Context, request: EstimateRequest) -> Estimate:
    """Return what a run of reason and generate would cost. Nothing is sent, and nothing is written.

    What was answered already costs nothing again. See the notes of the result for what it assumes.

    Raises:
        NotReadyError: if nothing is selected.
        ConfigError: if a setting or a prompt is not valid.
    """
    lake = _ReadOnly(context.lake.path)
    context = replace(context, lake=lake, journal=Journal(lake))
    settings, found, notes = sources(context, request)
    return of_sources(context, settings, found, notes)


def of_sources(context: Context, settings: Llm, asked: Sequence[Source], notes: Sequence[str] = ()) -> Estimate:
    """Return what these requests would cost; see `estimate`."""
    price = price_of(settings.model, context.config.prices)
    history = measured(_history(context, settings.model))
    rows = tuple(_estimate_row(context, settings, price, history, source) for source in asked)
    unit: Unit = "usd" if settings.budget is None else amount(settings.budget).unit
    try:
        so_far = Amount(spent(context, unit, price), unit)
    except ConfigError:
        so_far = None
    found = Estimate(settings.model, rows, price, so_far, ())
    return replace(found, notes=(*_notes(context, settings, history, found), *notes))


class _ReadOnly(Lake):
    """Tables that nothing is written to: placeholders for personal data are made anew when the step is run."""

    def insert(self, name: str, rows: pa.Table, spec: TableSpec | None = None) -> int:  # noqa: ARG002
        """Write nothing."""
        return 0


def _history(context: Context, model: str) -> list[Counted]:
    """Return the answered calls of a model that say how many tokens they had, some thousands at most."""
    rows: list[dict[str, Any]] = []
    if context.lake.exists("calls"):
        there = [name for name in _COLUMNS if name in context.lake.schema("calls").names]
        where = f"model = {quote(model)} and status = '{COMPLETE}' and completion_tokens is not null"
        for part in context.lake.batches("calls", there, where):
            rows += part.to_pylist()
            if len(rows) >= _HISTORY:
                return [_counted(row) for row in rows]
    known = {row["call_id"] for row in rows}
    for row in context.ledger.rows().select(_COLUMNS).to_pylist():
        if row["model"] == model and row["status"] == COMPLETE and row["call_id"] not in known:
            rows.append(row)
    return [_counted(row) for row in rows if None not in (row["prompt_tokens"], row["completion_tokens"])]


def _counted(row: Mapping[str, Any]) -> Counted:
    size = len(row["system"].encode()) + len(row["user"].encode())
    # The parts of a reply of generate and of the judge. A key inside a text would have its quotation marks escaped.
    items = max(row["reply"].count('"text":'), row["reply"].count('"number":'))
    counts = row["prompt_tokens"] or 0, row["completion_tokens"] or 0
    return Counted(row["template_hash"], size, *counts, items, row.get("repairs") is not None)


def _estimate_row(
    context: Context, settings: Llm, price: Price | None, history: Measured | None, source: Source
) -> Row:
    there = {} if source.done else settled(context, [request.call_id for request in source.requests])
    missing = [request for request in source.requests if request.call_id not in there]
    known = source.calls if source.done else len(there)
    calls = source.calls - known
    if source.done or not missing:
        missing, calls, known = [], 0, source.calls
    scale = calls / max(len(missing), 1)  # above 1 where the requests are examples
    off_prompt, off_reply = GUESSED, GUESSED
    if history is None:
        prompt = scale * sum(map(prompt_tokens, missing))
    else:
        off_prompt, ratio = CALIBRATED, history.ratios.get(source.prompt, history.ratio)
        prompt = scale * ratio * sum(map(prompt_bytes, missing))
    found = history.reply(source.prompt, source.items) if history is not None else None
    if found is not None:
        off_reply = CALIBRATED
    limit = float("inf") if settings.max_tokens is None else settings.max_tokens
    most = _most(settings, price, missing, calls)
    each = source.reply if found is None else found
    expected = (prompt, calls * min(each, limit))
    low = (prompt * (1 - off_prompt), calls * min(each * (1 - off_reply), limit))
    high = (prompt * (1 + off_prompt), calls * min(each * (1 + off_reply), limit))
    dollars = [cost(price, round(part[0]), round(part[1]), settings.batch) for part in (low, expected, high)]
    return Row(
        source.step,
        source.kind,
        source.calls,
        known,
        prompt_tokens=round(expected[0]),
        reply_tokens=round(expected[1]),
        tokens_low=round(sum(low)),
        tokens_high=round(sum(high)),
        tokens_at_most=None if most[0] is None else round(most[0]),
        usd_low=dollars[0],
        usd=dollars[1],
        usd_high=dollars[2],
        usd_at_most=most[1],
    )


def _most(
    settings: Llm, price: Price | None, missing: Sequence[ChatRequest], calls: int
) -> tuple[float | None, float | None]:
    """Return the tokens and the dollars that a budget would set aside; where only examples are known, the largest of
    them stands for the others."""
    free = settings.model.startswith(FREE)
    if not free and settings.max_tokens is None and calls:
        return None, None
    found: list[float | None] = []
    for unit in _UNITS:
        each = [Meter(settings, price, unit).most(request, unit) for request in missing]
        values = [value for value in each if value is not None]
        if len(values) < len(each) or (unit == "usd" and price is None):
            found.append(None)
        else:
            found.append(sum(values) + max(values, default=0.0) * (calls - len(values)))
    return found[0], found[1]


def _notes(context: Context, settings: Llm, history: Measured | None, found: Estimate) -> list[str]:
    total, model = found.total, settings.model
    if model.startswith(FREE):
        return [f"{model} costs nothing."]
    notes: list[str] = []
    if history is None:
        notes.append(
            "Tokens are guessed by script, as English at 4.2 and JSON at 3.5 characters a token, and replies by what "
            f"is asked for and the length of the real texts; the range is {GUESSED:.0%} both ways. Once {ENOUGH} calls "
            f"of {model} are answered, their counts are used."
        )
    else:
        notes.append(
            f"Tokens are as {model} counted those of {history.calls} calls, within {CALIBRATED:.0%}; where no replies "
            f"to the same prompt are known, their length is guessed, within {GUESSED:.0%}."
        )
    repairs = f" ({history.repairs:.0%} of the calls so far)" if history is not None else ""
    notes.append(
        f"Not counted: answers that have to be asked for again{repairs}, and up to {context.config.generate.refills} "
        "further requests for each selection of which records are refused."
    )
    if settings.batch:
        notes.append("At the price of batches, which is [prices] batch times the others.")
    if found.price is None:
        notes.append(
            f"The price of {model!r} is unknown, so there are no dollars here. Give it in synalign.toml, in usd for a "
            f'million tokens: [prices."{model}"] input = ..., output = ...'
        )
    if settings.max_tokens is None:
        notes.append("The most that it can come to is unknown: llm.max_tokens, the limit of one reply, is unset.")
    notes.append("Spent so far: " + (str(found.spent) if found.spent is not None else "unknown, for lack of a price."))
    return notes + ([] if settings.budget is None else [_against(context, settings, found, total)])


def _against(context: Context, settings: Llm, found: Estimate, total: Row) -> str:
    """Say whether the budget suffices."""
    limit = amount(str(settings.budget))
    try:
        Meter.of(settings, context.config.prices, limit.unit)
    except ConfigError as error:
        return f"The budget of {limit} cannot be kept. {error}"
    if found.spent is None:
        return f"Whether the budget of {limit} suffices is unknown, since what was spent is."
    left = max(0.0, limit.value - found.spent.value)
    usd = limit.unit == "usd"
    expected = total.usd if usd else total.prompt_tokens + total.reply_tokens
    high = total.usd_high if usd else total.tokens_high
    most = total.usd_at_most if usd else total.tokens_at_most
    rest = f"of the budget of {limit}, {Amount(left, limit.unit)} are left"
    if most is not None and most <= left:
        return f"The budget suffices: {rest}, and these requests come to {Amount(most, limit.unit)} at most."
    if high is not None and high <= left:
        return f"The budget should suffice: {rest}. Near its end fewer requests are sent at once."
    if expected is not None and expected <= left:
        return f"The budget may not suffice: {rest}."
    return f"The budget does not suffice: {rest}. The step would stop there; what was received is kept."
