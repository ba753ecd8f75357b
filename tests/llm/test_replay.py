from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from pathlib import Path

import pytest

from synalign.errors import ConfigError, ModelRefusedError
from synalign.llm.chat import ChatReply, ChatRequest
from synalign.llm.replay import ReplayModel, recording_digest

ASKED = ChatRequest("m", None, "s", "u", "n", {"type": "object"}, seed=1)


def record(path: Path, request: ChatRequest, reply: str) -> None:
    """Append a line, as the module's docstring describes one."""
    asked = {"system": request.system, "user": request.user, "schema": request.schema, "seed": request.seed}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asked | {"reply": reply, "prompt_tokens": 3}, ensure_ascii=False) + "\n")


def replay(path: Path, request: ChatRequest) -> ChatReply:
    return asyncio.run(ReplayModel(path).complete(request))


def test_a_recording_answers_whatever_the_model_is_called(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record(path, ASKED, "héllo\u2028")
    other = dataclasses.replace(ASKED, model="replay/r.jsonl", base_url="http://x", temperature=1.0)
    found = replay(path, other)
    assert (found.text, found.call_id, found.prompt_tokens) == ("héllo\u2028", other.call_id, 3)


def test_the_seed_chooses_among_replies_to_one_prompt(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record(path, ASKED, "one")
    record(path, dataclasses.replace(ASKED, seed=2), "two")
    assert replay(path, dataclasses.replace(ASKED, seed=2)).text == "two"
    assert replay(path, dataclasses.replace(ASKED, seed=9)).text == "one"


def test_an_entry_may_be_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"system": "s", "user": "u", "schema": {"type": "object"}, "reply": "mine"}) + "\n\n")
    assert replay(path, ASKED).text == "mine"


def test_a_request_that_was_not_recorded_is_refused_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record(path, ASKED, "one")
    with pytest.raises(ModelRefusedError, match=r"Add a line with this key") as caught:
        replay(path, dataclasses.replace(ASKED, user="other"))
    key = re.findall("key ([0-9a-f]{32})", str(caught.value))[0]
    path.write_text(json.dumps({"key": key, "reply": "added"}))
    assert replay(path, dataclasses.replace(ASKED, user="other")).text == "added"


def test_a_recording_is_named_by_its_content(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    record(one, ASKED, "one")
    record(two, ASKED, "one")
    assert recording_digest(one) == recording_digest(two)
    record(two, dataclasses.replace(ASKED, user="other"), "two")
    assert recording_digest(one) != recording_digest(two)


@pytest.mark.parametrize("line", ["{broken", "[]", '{"key": "x"}', '{"reply": "x"}', '{"key": "x", "reply": 3}', "3"])
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("\n" + line + "\n")
    with pytest.raises(ConfigError, match="line 2"):
        ReplayModel(path)


def test_two_replies_to_one_request_are_an_error_and_equal_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record(path, ASKED, "one")
    record(path, ASKED, "one")
    assert replay(path, ASKED).text == "one"
    record(path, ASKED, "two")
    with pytest.raises(ConfigError, match="line 3"):
        ReplayModel(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl"):
        ReplayModel(tmp_path / "none.jsonl")
