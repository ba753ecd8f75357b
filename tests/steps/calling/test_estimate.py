from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import synalign as sa
from synalign.config import EstimateRequest, Llm
from synalign.errors import NotReadyError
from synalign.llm.prompting.tokens import estimated_tokens
from synalign.llm.transport.chat import ChatRequest
from synalign.steps.calling.estimate import Estimate, Row, estimate, of_sources
from synalign.steps.calling.planned_requests import Source
from synalign.steps.generation import reason as reasoning
from synalign.store.ledger.ledger import COMPLETE
from tests.conftest import CORPUS

MODEL = "vendor/some-model"
PRICES = {MODEL: {"input": 2.0, "output": 10.0, "batch": 0.5}}
PAID = {"model": MODEL, "base_url": "http://localhost:1/v1", "max_tokens": 500}
USD = ("usd_low", "usd", "usd_high", "usd_at_most")
Copy = Callable[..., sa.Workspace]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with six selections."""
    workspace = sa.open(tmp_path_factory.mktemp("estimate") / "template")
    rows = pl.read_csv(CORPUS).filter(pl.col("label").is_in(["refund", "praise"])).select("text", "label").head(80)
    workspace.ingest(rows, label="label")
    workspace.embed(dimensions=16)
    workspace.cluster(k=6)
    workspace.select()
    return workspace.path


@pytest.fixture
def copy(template: Path, blank: Path) -> Copy:
    """Give a workspace of its own with these selections and settings."""

    def make(llm: dict[str, Any] | None = None, **settings: Any) -> sa.Workspace:
        if not blank.exists():
            shutil.copytree(template, blank)
        workspace = sa.open(blank)
        workspace.configure(sa.Config.model_validate({"llm": PAID if llm is None else llm, **settings}))
        return workspace

    return make


def of(workspace: sa.Workspace, **given: Any) -> Estimate:
    return estimate(workspace._context(), EstimateRequest(**given))


def rows(found: Estimate) -> dict[tuple[str, str], Row]:
    return {(row.step, row.kind): row for row in found.rows}


def requests(count: int, size: int = 400, max_tokens: int | None = 100) -> list[ChatRequest]:
    texts = pl.read_csv(CORPUS)["text"].to_list()
    return [
        ChatRequest(MODEL, None, "", (texts[n] * size)[:size], "reason", {}, max_tokens=max_tokens, seed=n)
        for n in range(count)
    ]


def answer(workspace: sa.Workspace, number: int, **changes: Any) -> dict[str, Any]:
    """Put a complete call into the ledger: prompts of 1,000 bytes."""
    row = {
        "call_id": f"c{number}", "run_id": "r", "step": "reason", "model": MODEL, "template_hash": "t",
        "system": "s" * 400, "user": "u" * 600, "status": COMPLETE, "reply": "{}", "finish_reason": "stop",
        "attempts": 1, "latency_s": 1.0, "subject": "s", "seed": number, "prompt_tokens": 200, "completion_tokens": 40,
    } | changes  # fmt: skip
    workspace._ledger.put(row)
    return row


def test_numbers_of_an_example_by_hand(copy: Copy) -> None:
    """Ten prompts of a hundred words of one token: 'a a a ...' is 200 bytes; a schema of 1 token, two messages."""
    workspace = copy(PAID | {"max_tokens": 50}, prices=PRICES)
    user = "a " * 99 + "a"
    asked = [ChatRequest(MODEL, None, "", user, "reason", {}, max_tokens=50, seed=n) for n in range(10)]
    found = of_sources(workspace._context(), workspace.config.llm, [Source("reason", "x", asked, 10, reply=40)])
    (row,) = found.rows
    # Prompt: 100 words, 2 * 4 around the messages, 1 for '{}'. At most: 199 + 2 * 32 + 2 bytes, and 50.
    assert (row.calls, row.known, row.prompt_tokens, row.reply_tokens) == (10, 0, 1090, 400)
    assert row.usd == pytest.approx(1090 * 2e-6 + 400 * 10e-6)
    assert (row.tokens_low, row.tokens_high) == (763 + 280, 1417 + 500)  # no reply is longer than 50
    assert row.usd_low == pytest.approx(763 * 2e-6 + 280 * 10e-6)
    assert row.usd_high == pytest.approx(1417 * 2e-6 + 500 * 10e-6)
    assert row.tokens_at_most == 10 * (265 + 50)
    assert row.usd_at_most == pytest.approx(2650 * 2e-6 + 500 * 10e-6)
    total = found.total
    assert (total.step, total.calls, total.usd, total.tokens_at_most) == ("total", 10, row.usd, 3150)
    half = of_sources(workspace._context(), workspace.config.llm.model_copy(update={"batch": True}), [
        Source("reason", "x", asked, 10, reply=40)
    ])  # fmt: skip
    assert [getattr(half.total, name) for name in USD] == [pytest.approx(getattr(total, name) / 2) for name in USD]


def test_the_prompts_are_those_that_reason_sends(copy: Copy) -> None:
    workspace = copy(prices=PRICES, generate={"per_selection": 5, "from_demonstrations": 2})
    context = workspace._context()
    _, runner, _, selections = reasoning.planned(context, EstimateRequest())
    jobs = reasoning.requests(runner, selections)
    found = rows(of(workspace))
    row = found["reason", "attributes"]
    assert (row.calls, row.known) == (len(jobs), 0)
    by_hand = sum(estimated_tokens(job.request.system) + estimated_tokens(job.request.user) for job in jobs)
    assert by_hand < row.prompt_tokens < by_hand + len(jobs) * 200  # what is around the messages, and the schema
    most = sum(job.request.most_prompt_tokens for job in jobs)
    assert row.tokens_at_most == most + len(jobs) * 500
    assert row.usd_at_most == pytest.approx(most * 2e-6 + len(jobs) * 500 * 10e-6)
    # 6 attributes of 20 tokens, 3 of free text and 3 further ones of 45, and 10 around them.
    assert row.reply_tokens == len(jobs) * (6 * 20 + 6 * 45 + 10)
    # 5 categories of 6 selections are fewer values than one request takes.
    assert found["reason", "merge"].calls == 1
    writing = found["generate", "attributes"], found["generate", "demonstrations"]
    assert [part.calls for part in writing] == [6, 6]
    assert writing[0].prompt_tokens > writing[1].prompt_tokens
    texts = pl.DataFrame(workspace.sql("select text from real").pl())["text"].to_list()
    mean = sum(map(estimated_tokens, texts)) / len(texts)
    assert writing[0].reply_tokens == pytest.approx(6 * (5 * (mean + 12) + 10), abs=1)
    for part in found.values():
        assert 0 < part.usd_low < part.usd < part.usd_high < part.usd_at_most


def test_more_selections_never_cost_less(copy: Copy) -> None:
    workspace = copy(prices=PRICES)
    context, settings = workspace._context(), workspace.config.llm
    every = requests(80)
    before = of_sources(context, settings, [Source("reason", "x", every[:1], 1, 50)]).total
    for count in range(2, len(every) + 1):
        now = of_sources(context, settings, [Source("reason", "x", every[:count], count, 50)]).total
        for name in ("calls", "prompt_tokens", "reply_tokens", "tokens_at_most", *USD):
            assert getattr(now, name) > getattr(before, name), (name, count)
        before = now
    few = of(workspace).total
    workspace.select(budget=3)
    assert of(workspace).total.usd < few.usd
    workspace.configure(workspace.config.model_copy(update={"generate": sa.Config().generate.model_copy(
        update={"per_selection": 20}
    )}))  # fmt: skip
    workspace.select()
    assert of(workspace).total.usd > few.usd


def test_examples_stand_for_all_calls(copy: Copy) -> None:
    workspace = copy(prices=PRICES)
    context, settings = workspace._context(), workspace.config.llm
    asked = requests(4, size=300)
    some = of_sources(context, settings, [Source("generate", "x", asked, 40, 50)]).total
    every = of_sources(context, settings, [Source("generate", "x", asked, 4, 50)]).total
    assert (some.calls, some.reply_tokens) == (40, 2000)
    assert some.prompt_tokens == pytest.approx(10 * every.prompt_tokens, abs=10)
    largest = max(request.most_prompt_tokens for request in asked) + 100
    assert some.tokens_at_most == every.tokens_at_most + 36 * largest


def test_an_unknown_price_is_never_zero(copy: Copy) -> None:
    found = of(copy())
    assert found.price is None
    for row in (*found.rows, found.total):
        assert [getattr(row, name) for name in USD] == [None] * 4
        assert row.prompt_tokens > 0
        assert row.tokens_at_most is not None
    assert any(f'[prices."{MODEL}"] input = ..., output = ...' in note for note in found.notes)
    assert json.loads(json.dumps(found.data()))["total"]["usd"] is None
    empty = of_sources(copy()._context(), Llm(model=MODEL), [])
    assert (empty.total.usd, empty.total.calls) == (None, 0)
    workspace = copy(prices=PRICES)
    assert of(workspace, model="another").total.usd is None
    assert of(workspace).total.usd > 0


def test_models_without_an_endpoint_cost_nothing(copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"synalign_recording": 1}\n')
    for model in ("builtin/ngram", f"replay/{tmp_path / 'r.jsonl'}"):
        found = of(copy({"model": model}))
        assert [getattr(found.total, name) for name in USD] == [0.0] * 4
        assert found.total.calls > 0
        assert found.notes[0] == f"{model} costs nothing."


def test_without_a_limit_of_replies_the_most_is_unknown(copy: Copy) -> None:
    found = of(copy(PAID | {"max_tokens": None}, prices=PRICES))
    assert (found.total.tokens_at_most, found.total.usd_at_most) == (None, None)
    assert found.total.usd > 0
    assert any("llm.max_tokens" in note for note in found.notes)


def test_what_is_answered_costs_nothing_again(copy: Copy) -> None:
    workspace = copy(prices=PRICES)
    context = workspace._context()
    _, runner, _, selections = reasoning.planned(context, EstimateRequest())
    jobs = reasoning.requests(runner, selections)
    before = rows(of(workspace))["reason", "attributes"]
    for job in jobs[:2]:
        answer(workspace, 1, call_id=job.request.call_id, template_hash=job.template_hash)
    after = rows(of(workspace))["reason", "attributes"]
    assert (after.calls, after.known) == (6, 2)
    assert after.reply_tokens == before.reply_tokens * 4 / 6
    assert after.prompt_tokens < before.prompt_tokens
    for job in jobs[2:]:
        answer(workspace, 1, call_id=job.request.call_id, template_hash=job.template_hash)
    row = rows(of(workspace))["reason", "attributes"]
    assert (row.known, row.prompt_tokens, row.usd, row.usd_at_most) == (6, 0, 0, 0)


def test_a_finished_workspace_has_nothing_left_to_ask(copy: Copy) -> None:
    workspace = copy({"model": "builtin/ngram"}, generate={"per_selection": 2, "refills": 0})
    assert any("stand-ins" in note for note in of(workspace).notes)
    workspace.reason()
    assert not any("stand-ins" in note for note in of(workspace).notes)
    found = rows(of(workspace))
    assert list(found) == [("reason", "attributes"), ("generate", "attributes")]
    assert found["reason", "attributes"].known == found["generate", "attributes"].calls == 6
    assert found["generate", "attributes"].known == 0
    workspace.generate()
    total = of(workspace).total
    assert (total.calls, total.known, total.prompt_tokens, total.reply_tokens) == (12, 12, 0, 0)


def test_the_counts_of_the_model_are_taken_once_there_are_enough(copy: Copy) -> None:
    workspace = copy(prices=PRICES)
    context, settings = workspace._context(), workspace.config.llm
    source = Source("reason", "x", requests(10, size=500), 10, reply=77, prompt="t")

    def total(**changes: Any) -> Row:
        asked = [Source(**{**vars(source), **changes})]
        return of_sources(context, settings, asked).total

    for number in range(19):
        answer(workspace, number)
    answer(workspace, 100, model="another")
    answer(workspace, 101, prompt_tokens=None)
    guessed = total()
    assert guessed.reply_tokens == 770
    answer(workspace, 19)
    found = total()
    size = sum(len(request.user.encode()) for request in source.requests)
    assert found.prompt_tokens == pytest.approx(0.2 * size, abs=1)  # 200 tokens for 1,000 bytes
    assert found.reply_tokens == 400
    assert found.tokens_low == pytest.approx(0.9 * (found.prompt_tokens + 400), abs=1)
    assert found.tokens_high == pytest.approx(1.1 * (found.prompt_tokens + 400), abs=1)
    other = total(prompt="another")  # its replies are not known
    assert (other.prompt_tokens, other.reply_tokens) == (found.prompt_tokens, 770)
    for number in range(200, 205):
        answer(workspace, number, template_hash="g", reply='{"records": [{"text": "a"}, {"text": "b"}]}')
    assert total(prompt="g", items=10).reply_tokens == 10 * 10 * 20
    notes = of_sources(context, settings, [source]).notes
    assert any("counted those of 25 calls, within 10%" in note for note in notes)


def test_calls_that_are_in_the_table_and_in_the_ledger_count_once(copy: Copy) -> None:
    workspace = copy(prices=PRICES)
    for number in range(15):
        answer(workspace, number)
    context = workspace._context()
    context.lake.insert("calls", context.ledger.rows())
    source = Source("reason", "x", requests(3), 3, reply=77, prompt="t")
    assert of_sources(context, workspace.config.llm, [source]).total.reply_tokens == 231
    for number in range(15, 20):
        answer(workspace, number)
    assert of_sources(context, workspace.config.llm, [source]).total.reply_tokens == 120


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ("1usd", r"The budget suffices: of the budget of 1\.00 usd, 0\.999\d* usd are left"),
        ("0.15usd", "The budget should suffice"),
        ("0.0001usd", "The budget does not suffice"),
        ("10_000_000tokens", "The budget suffices: .* tokens are left"),
        ("1000tokens", "The budget does not suffice"),
    ],
)
def test_whether_the_budget_suffices_is_said(copy: Copy, budget: str, says: str) -> None:
    workspace = copy(PAID | {"budget": budget}, prices=PRICES)
    answer(workspace, 1)  # 200 tokens and 40: .0008 usd
    found = of(workspace)
    assert found.spent is not None
    assert found.spent.value == pytest.approx(240 if budget.endswith("tokens") else 0.0008)
    assert re.search(says, found.notes[-2]), (found.notes, found.total)


def test_a_budget_that_cannot_be_kept_and_spending_that_is_unknown_are_said(copy: Copy) -> None:
    workspace = copy(PAID | {"budget": "1usd"})
    answer(workspace, 1)
    found = of(workspace)
    assert found.spent is None
    assert "Spent so far: unknown, for lack of a price." in found.notes
    assert any(note.startswith("The budget of 1.00 usd cannot be kept.") for note in found.notes)


def test_nothing_is_written(copy: Copy) -> None:
    workspace = copy(PAID | {"redact": ["email", "phone", "ip"]}, prices=PRICES, accept={"judge": True})
    workspace.ingest(
        pl.DataFrame({"text": ["write to me@shop.example now"] * 2, "label": ["refund", "praise"]}), label="label"
    )
    workspace.select(refit=True)

    def state() -> tuple[list[Any], dict[str, int]]:
        files = [
            (str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(workspace.path.rglob("*"))
        ]
        return files, {name: workspace._lake.version(name) for name in workspace._lake.names()}

    before = state()
    found = of(workspace)
    assert ("generate", "judge") in rows(found)
    assert state() == before


def test_without_selections_it_says_what_to_do(blank: Path) -> None:
    with pytest.raises(NotReadyError, match="synalign select"):
        of(sa.open(blank))
