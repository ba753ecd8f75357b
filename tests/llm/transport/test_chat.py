"""Requests have names by what decides their replies, and an upper bound on their tokens; a name picks the model."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import synalign
from synalign.config import Llm
from synalign.errors import ConfigError, ModelUnavailableError
from synalign.llm.builtin.ngram import NgramModel
from synalign.llm.builtin.replay import ReplayModel
from synalign.llm.models import open_model, recording
from synalign.llm.transport.chat import ChatRequest, attempted
from synalign.llm.transport.client import OpenAIChat


def ask(user: str = "u", **values: Any) -> ChatRequest:
    return ChatRequest("m", None, "s", user, "n", {"type": "object"}, **values)


def test_a_call_is_named_by_all_that_decides_its_reply() -> None:
    base = ask()
    assert base.call_id == ask().call_id
    changes: dict[str, Any] = {
        "model": "x", "base_url": "http://x", "system": "x", "user": "x", "schema_name": "x", "schema": {"type": "x"},
        "temperature": 0.0, "max_tokens": 5, "seed": 0, "count": 1, "recording": "x", "turns": (("user", "x"),),
    }  # fmt: skip
    assert set(changes) | {"subject"} == {field.name for field in dataclasses.fields(ChatRequest)}
    names = {dataclasses.replace(base, **{name: value}).call_id for name, value in changes.items()}
    assert len(names | {base.call_id}) == len(changes) + 1


def test_what_is_asked_about_does_not_name_a_call() -> None:
    assert ask(subject="x").call_id == ask().call_id


def test_each_turn_names_a_call() -> None:
    turns = (("assistant", "no"), ("user", "again"))
    others = [turns[:1], turns[::-1], (("user", "no"), ("user", "again")), (*turns, ("assistant", ""))]
    assert len({ask(turns=given).call_id for given in [turns, *others, ()]}) == 6


def test_the_name_of_a_call_never_changes() -> None:
    assert ask("u").call_id == PINNED
    later = ask("u", temperature=0.5, max_tokens=9, seed=3, count=4, recording="r", turns=(("assistant", "é"),))
    assert later.call_id == PINNED_WITH_ALL


PINNED = "2650c08667927af7dc045a1346c604ff"
PINNED_WITH_ALL = "2952c49008122ee9d2ce4956cfdbb720"


def test_the_messages_are_those_of_the_protocol_in_order() -> None:
    request = ask(turns=(("assistant", "no"), ("user", "again")))
    said = [(message["role"], message["content"]) for message in request.messages]
    assert said == [("system", "s"), ("user", "u"), ("assistant", "no"), ("user", "again")]


texts = st.text(max_size=60)


@given(texts, texts, st.lists(st.tuples(st.sampled_from(["user", "assistant"]), texts), max_size=3), texts)
def test_no_prompt_has_more_tokens_than_its_bound(
    system: str, user: str, turns: list[tuple[str, str]], word: str
) -> None:
    """A token is one byte at least: a tokenizer of bytes, which has the most, stays below it, its marks included."""
    schema = {"type": "object", "description": word}
    request = ChatRequest("m", None, system, user, "n", schema, turns=tuple(turns))
    template = "".join(
        f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in request.messages
    )
    # A special mark is one token; it is counted letter by letter here but for the two marks themselves.
    special = len("<|im_start|><|im_end|>") * len(request.messages)
    tokens = len(template.encode()) - special + 2 * len(request.messages) + len(json.dumps(schema))
    assert request.most_prompt_tokens >= tokens
    more = dataclasses.replace(request, turns=(*request.turns, ("user", "x")))
    assert more.most_prompt_tokens > request.most_prompt_tokens


def test_an_error_can_say_how_many_requests_were_sent() -> None:
    error = attempted(ModelUnavailableError("gone"), 3)
    assert vars(error)["attempts"] == 3


def test_the_configured_name_picks_the_model(tmp_path: Path) -> None:
    (tmp_path / "rec.jsonl").write_text('{"synalign_recording": 1}\n')
    assert isinstance(open_model(Llm(), tmp_path), NgramModel)
    assert isinstance(open_model(Llm(model="replay/rec.jsonl"), tmp_path), ReplayModel)
    assert isinstance(open_model(Llm(model="org/name", base_url="http://localhost:1/v1"), tmp_path), OpenAIChat)


def test_only_recordings_have_a_hash(tmp_path: Path) -> None:
    (tmp_path / "rec.jsonl").write_text('{"synalign_recording": 1}\n')
    assert recording("replay/rec.jsonl", tmp_path)
    assert recording("builtin/ngram", tmp_path) is None
    assert recording("org/name", tmp_path) is None


@pytest.mark.parametrize(
    ("name", "says"), [("builtin/gpt", "builtin/ngram"), ("replay/", "replay/FILE"), ("replay/no.jsonl", "no.jsonl")]
)
def test_a_name_that_picks_none_is_a_configuration_error(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_model(Llm(model=name), tmp_path)


@pytest.mark.parametrize(
    ("modules", "spared"),
    [
        (
            "transport.engine transport.budget transport.client models prompting.prompts encoders builtin.replay "
            "prompting.parsing",
            "openai httpx2 tenacity jinja2 numpy",
        ),
        ("builtin.ngram validation.acceptance", "openai httpx2 tenacity jinja2"),
    ],
)
def test_importing_costs_nothing_that_is_not_used(modules: str, spared: str) -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {modules.split()}: importlib.import_module('synalign.llm.' + name)\n"
        f"sys.exit(', '.join(set({spared.split()}) & set(sys.modules)) or 0)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(synalign.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
