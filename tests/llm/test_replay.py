from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path

import pytest

from synalign.errors import ConfigError, ModelRefusedError
from synalign.llm.chat import ChatReply, ChatRequest
from synalign.llm.replay import ReplayModel, record

ASKED = ChatRequest("m", None, "s", "u", "n", {"type": "object"}, seed=1)


def reply(text: str) -> ChatReply:
    return ChatReply("id", text, "stop", 3, 4, 1, 0.5, "json_schema")


def replay(path: Path, request: ChatRequest) -> ChatReply:
    return asyncio.run(ReplayModel(path).complete(request))


def test_a_recording_answers_whatever_the_model_is_called(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record(path, ASKED, reply("héllo\u2028"))
    other = dataclasses.replace(ASKED, model="replay/r.jsonl", base_url="http://x", temperature=1.0)
    found = replay(path, other)
    assert (found.text, found.call_id, found.prompt_tokens) == ("héllo\u2028", other.call_id, 3)


def test_the_seed_chooses_among_replies_to_one_prompt(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record(path, ASKED, reply("one"))
    record(path, dataclasses.replace(ASKED, seed=2), reply("two"))
    assert replay(path, dataclasses.replace(ASKED, seed=2)).text == "two"
    assert replay(path, dataclasses.replace(ASKED, seed=9)).text == "one"


def test_an_entry_may_be_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"system": "s", "user": "u", "schema": {"type": "object"}, "reply": "mine"}) + "\n\n")
    assert replay(path, ASKED).text == "mine"


def test_a_request_that_was_not_recorded_is_refused_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record(path, ASKED, reply("one"))
    with pytest.raises(ModelRefusedError, match="Record it again"):
        replay(path, dataclasses.replace(ASKED, user="other"))


@pytest.mark.parametrize("line", ["{broken", "[]", '{"key": "x"}', '{"reply": "x"}', '{"key": "x", "reply": 3}', "3"])
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("\n" + line + "\n")
    with pytest.raises(ConfigError, match="line 2"):
        ReplayModel(path)


def test_two_replies_to_one_request_are_an_error_and_equal_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record(path, ASKED, reply("one"))
    record(path, ASKED, reply("one"))
    assert replay(path, ASKED).text == "one"
    record(path, ASKED, reply("two"))
    with pytest.raises(ConfigError, match="line 3"):
        ReplayModel(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl"):
        ReplayModel(tmp_path / "none.jsonl")
