"""Stage 1 over real HTTP: what is stated, how it comes into one vocabulary, and what is asked again."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import polars as pl
import pytest

import synalign as sa
from synalign import resources
from synalign.errors import ConfigError
from tests.llm.server import Answer, chat
from tests.steps.answers import Body, Serve, answer, asks, attributes, data, good, kind, of_kind, user
from tests.steps.calling import test_calls
from tests.steps.calling.test_calls import SELECTIONS, Selected, one
from tests.steps.workspaces import rows

# The fixtures of those tests: a workspace with selections whose model is at a server.
key, template, selected = test_calls.key, test_calls.template, test_calls.selected

ASKED = {"tone": "category", "length": "number", "style": "text"}


def tones(*stated: str) -> Any:
    """Behave as a model that states one tone after the other, and proposes no merges."""

    def behave(body: Body, number: int) -> Answer:
        return attributes({"tone": stated[number % len(stated)]}) if kind(body) == "attributes" else good(body)

    return behave


def configure(workspace: sa.Workspace, **sections: dict[str, Any]) -> None:
    """Change single settings."""
    known = workspace.config.model_dump()
    workspace.configure(sa.Config.model_validate(known | {name: known[name] | new for name, new in sections.items()}))


def values(workspace: sa.Workspace, run_id: str) -> Counter[tuple[str, str]]:
    """Return how often each (stated, value) of a category is there."""
    found = rows(workspace, f"select stated, value from attribute_values where run_id = '{run_id}' and kind='category'")
    return Counter((row["stated"], row["value"]) for row in found)


def test_attributes_have_the_names_and_kinds_that_were_asked_for(serve: Serve, selected: Selected) -> None:
    given = [("Tone", "Calm."), ("LENGTH", "12"), ("style", "Short  words"), ("style", "twice"), ("Emoji_use", "Rare")]
    kinds = {"Tone": "text", "LENGTH": "category", "Emoji_use": "category"}
    server = serve(
        lambda body, _: attributes([*given, ("slang", "none")], kinds) if kind(body) == "attributes" else good(body)
    )
    workspace = selected(server, {"reason": {"attributes": ASKED, "open": 1, "values": {"tone": ["calm", "angry"]}}})
    outcome = workspace.reason()
    assert outcome.counts == {"selections": 6, "attributes": 6, "merged": 0, "rejections": 0}
    wanted = [{"name": name, "kind": kind} for name, kind in ASKED.items()]
    wanted[0]["values"] = ["calm", "angry"]  # type: ignore[assignment]
    assert all(data(body, "attributes") == wanted for body in of_kind(server, "attributes"))
    assert all("You may add up to 1 more" in user(body) for body in of_kind(server, "attributes"))
    found = rows(workspace, "from attribute_values")
    assert {row["run_id"] for row in found} == {outcome.run_id}
    columns = ("name", "kind", "value", "stated", "number", "added")
    assert Counter(tuple(row[name] for name in columns) for row in found) == dict.fromkeys(
        [
            ("tone", "category", "calm", "Calm.", None, False),
            ("length", "number", "12", "12", 12.0, False),
            ("style", "text", "Short  words", "Short  words", None, False),
            ("emoji use", "category", "rare", "Rare", None, True),
        ],
        SELECTIONS,
    )
    whole = rows(
        workspace, "select attributes, id, a.selection_id, status from attributes a join calls using (call_id)"
    )
    stated = {"tone": "Calm.", "length": "12", "style": "Short  words", "emoji use": "Rare"}
    said = [{"name": name, "value": value} for name, value in stated.items()]
    assert all(row["attributes"] == said and row["status"] == "complete" for row in whole)
    assert {row["id"] for row in whole} == {row["attributes_id"] for row in found}
    assert {row["selection_id"] for row in whole} == {
        row["selection_id"] for row in rows(workspace, "select selection_id from selections")
    }


def test_values_are_merged_as_a_second_prompt_says(serve: Serve, selected: Selected) -> None:
    """A chain ends at its end; a cycle, what is not there, and other names count for nothing."""
    said = ["Angry", "cross", "mad", "calm", "quiet", "plain"]
    pairs = [("cross", "angry"), ("mad", "CROSS"), ("calm", "quiet"), ("quiet", "calm"), ("plain", "nowhere")]
    proposed = [{"name": "tone", "value": value, "becomes": becomes} for value, becomes in pairs]
    proposed.append({"name": "colour", "value": "plain", "becomes": "calm"})
    server = serve(
        lambda body, number: answer(merges=proposed) if kind(body) == "merges" else tones(*said)(body, number)
    )
    workspace = selected(server)
    outcome = workspace.reason()
    assert outcome.counts["merged"] == 2
    ends = {"Angry": "angry", "cross": "angry", "mad": "angry", "calm": "calm", "quiet": "quiet", "plain": "plain"}
    assert values(workspace, outcome.run_id) == dict.fromkeys(ends.items(), 1)
    (asked,) = of_kind(server, "merges")
    shown = [{"value": value, "known": False} for value in sorted(map(str.lower, said))]
    assert data(asked, "attributes") == [{"name": "tone", "values": shown}]
    (run,) = workspace.sql("select distinct run_id from calls").fetchall()
    assert run == (outcome.run_id,)
    assert len(server.bodies) == SELECTIONS + 1
    assert workspace.reason().reused
    assert len(server.bodies) == SELECTIONS + 1


def test_values_of_earlier_runs_are_known_and_stay(serve: Serve, selected: Selected) -> None:
    stated = ["angry"]
    merges: list[dict[str, str]] = []

    def behave(body: Body, number: int) -> Answer:
        return answer(merges=merges) if kind(body) == "merges" else tones(*stated)(body, number)

    server = serve(behave)
    workspace = selected(server)
    workspace.reason()  # one value: nothing to merge
    assert asks(server) == {"attributes": SELECTIONS}
    stated[:] = ["furious", "angry"]
    pairs = [("angry", "furious"), ("furious", "angry")]
    merges[:] = [{"name": "tone", "value": value, "becomes": becomes} for value, becomes in pairs]
    configure(workspace, llm={"temperature": 0.5})
    outcome = workspace.reason()
    assert values(workspace, outcome.run_id) == {("furious", "angry"): 3, ("angry", "angry"): 3}
    shown = [{"value": "angry", "known": True}, {"value": "furious", "known": False}]
    assert [data(body, "attributes")[0]["values"] for body in of_kind(server, "merges")] == [shown]
    stated[:] = ["Angry"]
    configure(workspace, llm={"temperature": 0.7})
    assert not workspace.reason().reused
    assert asks(server) == {"attributes": 3 * SELECTIONS, "merges": 1}


def test_without_merging_values_stay_as_they_are_spelt(serve: Serve, selected: Selected) -> None:
    server = serve(tones("Angry", "cross"))
    workspace = selected(server, {"reason": {"merge": False}})
    outcome = workspace.reason()
    assert values(workspace, outcome.run_id) == {("Angry", "angry"): 3, ("cross", "cross"): 3}
    assert asks(server) == {"attributes": SELECTIONS}


def test_the_only_values_that_are_allowed_are_known(serve: Serve, selected: Selected) -> None:
    merge = [
        {"name": "tone", "value": "furious", "becomes": "angry"},
        {"name": "tone", "value": "calm", "becomes": "x"},
    ]
    server = serve(
        lambda body, n: answer(merges=merge) if kind(body) == "merges" else tones("Calm", "furious")(body, n)
    )
    workspace = selected(
        server, {"reason": {"attributes": {"tone": "category"}, "values": {"tone": ["Angry", "Calm"]}}}
    )
    outcome = workspace.reason()
    assert values(workspace, outcome.run_id) == {("Calm", "calm"): 3, ("furious", "angry"): 3}


def test_merges_that_cannot_be_read_leave_values_as_they_are(serve: Serve, selected: Selected) -> None:
    server = serve(lambda body, n: chat("no idea") if kind(body) == "merges" else tones("Angry", "cross")(body, n))
    outcome = selected(server, repairs=0).reason()
    assert outcome.counts == {"selections": 6, "attributes": 6, "merged": 0, "rejections": 1}


def test_what_does_not_decide_the_replies_asks_nothing_again(serve: Serve, selected: Selected) -> None:
    server = serve(tones("angry", "calm"))
    workspace = selected(server)
    first = workspace.reason()
    sent = len(server.bodies)
    configure(
        workspace,
        align={"features": 64, "strength": 0.1},
        cluster={"k": 3},
        select={"budget": 2},
        accept={"copied": 0.5, "judge": True},
        generate={"per_selection": 9},
        llm={"concurrency": 1, "timeout": 9.0, "max_attempts": 7, "budget": "1000000tokens"},
    )
    more = pl.DataFrame({"text": [f"A new message, the {n}th that came today" for n in range(9)], "label": ["0"] * 9})
    workspace.ingest(more, label="label")
    workspace.ingest(more.with_columns(pl.col("text") + "?"), label="label", synthetic=True)
    workspace.embed()
    again = workspace.reason()
    assert (again.reused, again.run_id) == (True, first.run_id)
    assert len(server.bodies) == sent


def test_a_changed_prompt_asks_anew_and_is_named_in_errors(serve: Serve, selected: Selected) -> None:
    server = serve(good)
    workspace = selected(server)
    first = workspace.reason()
    file = workspace.path / "prompts" / "reason" / "attributes.j2"
    file.parent.mkdir(parents=True)
    shipped = resources.text("prompts/reason/attributes.j2")
    file.write_text(shipped.replace("You are a corpus linguist.", "You are a poet."), encoding="utf-8")
    second = workspace.reason()
    assert second.run_id != first.run_id
    assert len(server.bodies) == 2 * SELECTIONS
    assert all(body["messages"][0]["content"].startswith("You are a poet.") for body in server.bodies[SELECTIONS:])
    hashes = "select count(distinct template_hash) from calls"
    assert one(workspace, hashes) == 2
    file.write_text(shipped.replace("{% if open %}", "{% if opne %}"), encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"prompts/reason/attributes\.j2, line \d+ \(block user\): 'opne' is undefined"
    ):
        workspace.reason()
    file.write_text("{% block system %}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"prompts/reason/attributes\.j2, line 1: not a valid Jinja template"):
        workspace.reason()
    file.unlink()
    assert workspace.reason().run_id == first.run_id
    assert len(server.bodies) == 2 * SELECTIONS


def broken(times: int, finish: str = "stop") -> Any:
    """Behave as a model whose first so many answers about one selection cannot be read."""
    first: list[str] = []

    def behave(body: Body, number: int) -> Answer:
        first[:] = first or [user(body)]
        asked = (len(body["messages"]) - 2) // 2
        if user(body) == first[0] and asked < times:
            return chat(f'Well {asked}: {{"attributes": 7}}', finish)
        return attributes({"tone": f"plain {asked}"})

    return behave


def test_a_reply_that_cannot_be_read_is_shown_to_the_model_once(serve: Serve, selected: Selected) -> None:
    server = serve(broken(1))
    workspace = selected(server, {"reason": {"merge": False}}, concurrency=1)
    outcome = workspace.reason()
    assert outcome.counts == {"selections": 6, "attributes": 6, "merged": 0, "rejections": 1}
    assert len(server.bodies) == SELECTIONS + 1
    first, repair = server.bodies[0], server.bodies[-1]
    assert repair["messages"][:2] == first["messages"]
    assert repair["response_format"] == first["response_format"]
    assert repair["messages"][2] == {"role": "assistant", "content": 'Well 0: {"attributes": 7}'}
    assert repair["messages"][3]["role"] == "user"
    (said,) = rows(workspace, "select index, reason, detail, text from rejections")
    assert (said["index"], said["reason"], said["text"]) == (-1, "wrong_shape", 'Well 0: {"attributes": 7}')
    assert json.dumps({"error": said["detail"]}) in repair["messages"][3]["content"]
    (used,) = rows(
        workspace,
        "select c.call_id, c.repairs, f.reply, c.selection_id, f.repairs as before, a.attributes from attributes a "
        "join calls c on c.call_id = a.call_id join calls f on f.call_id = c.repairs",
    )
    assert used["reply"] == 'Well 0: {"attributes": 7}'
    assert used["before"] is None
    assert used["attributes"] == [{"name": "tone", "value": "plain 1"}]
    assert one(workspace, "select count(*) from attributes") == SELECTIONS
    assert workspace.reason().reused


@pytest.mark.parametrize(
    ("repairs", "times", "finish", "calls", "stated"),
    [
        (0, 1, "stop", 6, 5),
        (1, 2, "stop", 7, 5),
        (2, 2, "stop", 8, 6),
        (2, 9, "stop", 8, 5),
        (2, 9, "length", 6, 5),
    ],
)
def test_repairs_are_bounded_and_a_reply_that_was_too_long_has_none(
    serve: Serve, selected: Selected, repairs: int, times: int, finish: str, calls: int, stated: int
) -> None:
    server = serve(broken(times, finish))
    workspace = selected(server, {"reason": {"merge": False}}, concurrency=1, repairs=repairs)
    outcome = workspace.reason()
    assert len(server.bodies) == calls
    assert outcome.counts["attributes"] == stated
    # Each reply that could not be read is there as it came.
    unread = [f'Well {asked}: {{"attributes": 7}}' for asked in range(calls - 5 - (stated == 6))]
    assert sorted(row["text"] for row in rows(workspace, "select text from rejections")) == unread
    assert workspace.reason().reused
    assert len(server.bodies) == calls
