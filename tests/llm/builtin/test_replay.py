from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from synalign.errors import ConfigError
from synalign.llm.builtin.replay import (
    RecordedReply,
    Recording,
    ReplayModel,
    is_recording,
    recording_digest,
    recording_text,
)
from synalign.llm.transport.chat import ChatReply, ChatRequest

ASKED = ChatRequest("m", None, "s", "u", "reason", {"type": "object"}, seed=1, subject="a")
HEADER = '{"synalign_recording": 1}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.jsonl"


def write(path: Path, *lines: Any, header: str = HEADER) -> Path:
    """Write a recording by hand, as the module's docstring describes it."""
    texts = [header, *(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def replay(path: Path, **changes: Any) -> ChatReply:
    return asyncio.run(ReplayModel(path).complete(dataclasses.replace(ASKED, **changes)))


def test_a_recording_answers_whatever_the_model_and_the_wording_are(path: Path) -> None:
    write(path, {"subject": "a", "seed": 1, "reply": "héllo\u2028", "prompt_tokens": 3, "finish_reason": "length"})
    other = {"model": "replay/r.jsonl", "base_url": "http://x", "temperature": 1.0, "system": "new", "user": "new"}
    found = replay(path, **other)
    assert (found.text, found.prompt_tokens, found.completion_tokens) == ("héllo\u2028", 3, None)
    assert found.finish_reason == "length"
    assert found.call_id == dataclasses.replace(ASKED, **other).call_id


def test_the_seed_chooses_among_replies_and_no_seed_answers_all(path: Path) -> None:
    write(path, {"subject": "a", "seed": 1, "reply": "one"}, {"subject": "a", "seed": 2, "reply": "two"})
    assert (replay(path).text, replay(path, seed=2).text) == ("one", "two")
    with pytest.raises(ConfigError, match=r"seed 9.*: the seed of the configuration or the order of the selections"):
        replay(path, seed=9)
    write(path, {"subject": "a", "seed": 1, "reply": "one"}, {"subject": "a", "seed": None, "reply": "any"})
    assert (replay(path).text, replay(path, seed=9).text, replay(path, seed=None).text) == ("one", "any", "any")


def test_what_was_not_recorded_is_an_error_of_the_configuration(path: Path) -> None:
    write(
        path, {"subject": "a", "reply": "one", "step": "reason"}, {"subject": "b", "reply": "two", "step": "generate"}
    )
    with pytest.raises(ConfigError) as caught:
        replay(path, subject="other")
    said = str(caught.value)
    for part in ("reason: ", "subject other, seed 1", "2 replies, 1 of them of reason", "per_selection", "ws.record("):
        assert part in said
    with pytest.raises(ConfigError, match="subject unknown"):
        replay(path, subject="")


def test_a_recording_is_named_by_its_content(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    for place in (path, other):
        write(place, {"subject": "a", "reply": "one"})
    assert recording_digest(path) == recording_digest(other)
    before = recording_digest(path)
    write(path, {"subject": "a", "reply": "two"})
    os.utime(path, ns=(1, 1))  # two writes may fall into one tick of the clock
    assert recording_digest(path) != before
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        recording_digest(path)


def test_a_written_recording_is_sorted_and_comes_back(path: Path) -> None:
    entries = [
        RecordedReply("b", "x\ny\u2028\u00e9", seed=2, step="reason", model="m", prompt_tokens=4, completion_tokens=5),
        RecordedReply("b", "{}", seed=None, step="reason"),
        RecordedReply("z", "{}", seed=3, step="generate", finish_reason="length"),
        RecordedReply("a", "", seed=0, step="reason"),
    ]
    text = recording_text(entries)
    assert text == recording_text(reversed(entries))
    path.write_text(text, encoding="utf-8")
    lines = [json.loads(line) for line in text.split("\n")[:-1]]
    assert lines[0] == {"entries": 4, "synalign_recording": 1}
    asked = [(line["step"], line["subject"], line["seed"]) for line in lines[1:]]
    assert asked == [("generate", "z", 3), ("reason", "a", 0), ("reason", "b", None), ("reason", "b", 2)]
    read = Recording(path)
    assert [read.find(entry.subject, entry.seed) for entry in entries] == entries
    assert is_recording(path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{broken", "not an entry"),
        ("[]", "needs 'subject' and 'reply'"),
        ("3", "needs 'subject' and 'reply'"),
        ('{"subject": "a"}', "needs 'subject' and 'reply'"),
        ('{"reply": "x"}', "needs 'subject' and 'reply'"),
        ('{"subject": "", "reply": "x"}', "needs 'subject'"),
        ('{"subject": "a", "reply": null}', "not null"),
        ('{"subject": "a", "reply": 3}', "'reply' must be a text, not 3"),
        ('{"subject": "a", "reply": "x", "seed": true}', "'seed' must be a number from 0, not True"),
        ('{"subject": "a", "reply": "x", "seed": -1}', "'seed' must be a number from 0"),
        ('{"subject": "a", "reply": "x", "prompt_tokens": "3"}', "'prompt_tokens' must be a number"),
        ('{"subject": ["a"], "reply": "x"}', "'subject' must be a text"),
        ("[" * 100_000, "not an entry"),
    ],
)
def test_a_wrong_line_is_named(path: Path, line: str, says: str) -> None:
    write(path, "", line)
    with pytest.raises(ConfigError, match=f"line 3: .*{says}"):
        ReplayModel(path)


def test_two_replies_to_one_question_are_an_error_and_equal_ones_are_not(path: Path) -> None:
    one = {"subject": "a", "reply": "one"}
    assert replay(write(path, one, one)).text == "one"
    with pytest.raises(ConfigError, match="line 4: another reply"):
        ReplayModel(write(path, one, one, one | {"reply": "two"}))


@pytest.mark.parametrize("header", ["", "{}", '{"subject": "a", "reply": "x"}', "text", "[1]"])
def test_a_file_without_the_header_is_no_recording(path: Path, header: str) -> None:
    write(path, header=header)
    assert not is_recording(path)
    with pytest.raises(ConfigError, match=r"is no recording: its first line must be .*synalign record"):
        ReplayModel(path)


def test_another_format_and_a_file_that_was_cut_off_are_told(path: Path) -> None:
    entry = {"subject": "a", "reply": "one"}
    with pytest.raises(ConfigError, match="format 2, and this version of SynAlign reads 1"):
        ReplayModel(write(path, entry, header='{"synalign_recording": 2}'))
    with pytest.raises(ConfigError, match="has 1 entries where its header says 2"):
        ReplayModel(write(path, entry, header='{"synalign_recording": 1, "entries": 2}'))
    with pytest.raises(ConfigError, match="'entries' must be a number"):
        ReplayModel(write(path, entry, header='{"synalign_recording": 1, "entries": "2"}'))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl"):
        ReplayModel(tmp_path / "none.jsonl")
    assert not is_recording(tmp_path / "none.jsonl")
