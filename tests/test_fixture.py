"""The promises fixtures/README.md makes about fixtures/support.csv and fixtures/demo.jsonl."""

import csv
import datetime
import json
import re
import shutil
import tomllib
from collections import Counter
from itertools import combinations
from pathlib import Path
from statistics import median

import polars as pl
import pytest

import synalign
from synalign.llm.builtin.replay import RecordedReply, is_recording
from synalign.llm.prompting.parsing import ParseFailure, parse
from synalign.llm.prompting.schemas import RecordBatch
from synalign.llm.validation import language
from tests.frozen import sessions

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
LABELS = {"delivery", "refund", "defect", "account", "praise"}
CHANNELS = {"chat", "email", "app", "review"}
CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
ARABIC = re.compile("[\u0600-\u06ff]")
EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf\u2b50]")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (FIXTURES / "support.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        found = list(reader)
    assert reader.fieldnames == ["text", "label", "channel", "received"]
    return found


@pytest.fixture(scope="module")
def replies() -> list[RecordedReply]:
    path = FIXTURES / "demo.jsonl"
    assert is_recording(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["entries"] == len(lines) - 1
    return [RecordedReply(**json.loads(line)) for line in lines[1:]]


@pytest.fixture(scope="module")
def written(replies: list[RecordedReply]) -> list[str]:
    """Every record of the recording, those that the rules refuse among them."""
    texts = []
    for reply in replies:
        if reply.step == "generate":
            found = parse(reply.reply, RecordBatch)
            assert not isinstance(found, ParseFailure)
            assert not found.problems
            texts += [record.text for record in found.value.records]
    return texts


def words(text: str) -> int:
    """Words at white space; for Chinese and Japanese, one per two characters."""
    cjk = len(CJK.findall(text))
    return (cjk + 1) // 2 if cjk else len(text.split())


def shingles(text: str) -> set[str]:
    text = re.sub(r"\s+", " ", text.lower())
    return {text[i : i + 4] for i in range(len(text) - 3)}


def test_file_is_utf8_with_lf_line_ends() -> None:
    raw = (FIXTURES / "support.csv").read_bytes()
    assert b"\r" not in raw
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert raw.endswith(b"\n")


def test_size_and_values(rows: list[dict[str, str]]) -> None:
    assert len(rows) >= 400
    assert {r["label"] for r in rows} == LABELS
    assert {r["channel"] for r in rows} == CHANNELS
    for row in rows:
        assert row["text"] == row["text"].strip() != ""
        day = datetime.date.fromisoformat(row["received"])
        assert datetime.date(2026, 1, 1) <= day <= datetime.date(2026, 6, 30)


def test_label_shares_are_uneven(rows: list[dict[str, str]]) -> None:
    counts = Counter(r["label"] for r in rows)
    assert max(counts.values()) >= 3 * min(counts.values())
    assert len(set(counts.values())) == len(LABELS)


def test_every_label_comes_through_every_channel(rows: list[dict[str, str]]) -> None:
    pairs = {(r["label"], r["channel"]) for r in rows}
    assert len(pairs) == len(LABELS) * len(CHANNELS)


def test_lengths_reach_from_3_to_60_words(rows: list[dict[str, str]]) -> None:
    lengths = [words(r["text"]) for r in rows]
    assert min(lengths) == 3
    assert max(lengths) == 60
    assert {n // 10 for n in lengths} >= {0, 1, 2, 3, 4, 5}


def test_style_depends_on_channel(rows: list[dict[str, str]]) -> None:
    by = {c: [r["text"] for r in rows if r["channel"] == c] for c in CHANNELS}
    middle = {c: median(map(words, texts)) for c, texts in by.items()}
    assert middle["chat"] < middle["app"] < middle["email"]
    assert middle["chat"] < middle["review"] < middle["email"]
    assert all(25 <= words(t) <= 60 for t in by["email"])
    assert all(not t[0].isupper() for t in by["chat"])


def test_emoji_and_other_scripts_are_there(rows: list[dict[str, str]]) -> None:
    texts = [r["text"] for r in rows]
    assert 0.05 <= sum(bool(EMOJI.search(t)) for t in texts) / len(texts) <= 0.2
    assert sum(bool(CJK.search(t)) for t in texts) >= 5
    assert sum(bool(ARABIC.search(t)) for t in texts) >= 2
    assert any("ß" in t or "ü" in t for t in texts)


def test_some_texts_hold_commas_quotes_and_line_breaks(rows: list[dict[str, str]]) -> None:
    texts = [r["text"] for r in rows]
    assert any("," in t for t in texts)
    assert any('"' in t for t in texts)
    assert 3 <= sum("\n" in t for t in texts) <= 5


def test_no_exact_duplicates(rows: list[dict[str, str]]) -> None:
    folded = Counter(" ".join(r["text"].lower().split()) for r in rows)
    assert [t for t, n in folded.items() if n > 1] == []


def test_no_near_duplicates(rows: list[dict[str, str]]) -> None:
    sets = [(shingles(r["text"]), r["text"]) for r in rows]
    close = [(left, right) for (a, left), (b, right) in combinations(sets, 2) if len(a & b) > 0.8 * min(len(a), len(b))]
    assert close == []


def test_only_example_addresses_and_no_phone_numbers(rows: list[dict[str, str]]) -> None:
    for row in rows:
        assert set(re.findall(r"@(\S+?)[.,;]?(?=\s|$)", row["text"])) <= {"example.com"}
        assert not re.search(r"\+\d{2}|\d{3}[ -]\d{3}|\d{9}", row["text"])


def test_demo_config_gives_every_label_a_meaning() -> None:
    config = tomllib.loads((FIXTURES / "demo.toml").read_text(encoding="utf-8"))
    assert set(config["task"]["labels"]) == LABELS
    assert all(config["task"]["labels"].values())
    assert (FIXTURES / config["sources"][0]["path"]).is_file()


def test_recording_has_a_reply_for_every_selection(replies: list[RecordedReply], written: list[str]) -> None:
    steps = Counter(reply.step for reply in replies)
    assert set(steps) == {"reason", "generate"}
    assert min(steps.values()) >= 24
    assert {reply.model for reply in replies} == {"written-for-synalign"}
    assert len(written) >= 240


def test_recording_repeats_neither_itself_nor_the_corpus(rows: list[dict[str, str]], written: list[str]) -> None:
    folded = Counter(" ".join(text.lower().split()) for text in written)
    assert [text for text, n in folded.items() if n > 1] == []
    assert not folded.keys() & {" ".join(r["text"].lower().split()) for r in rows}
    real = [shingles(r["text"]) for r in rows]
    close = [t for t in written if any(len(shingles(t) & r) > 0.8 * min(len(shingles(t)), len(r)) for r in real)]
    assert close == ["will they carry the wardrobe up 4 floors or just the kerb"]  # so that `copied` has one to refuse


def test_recording_has_other_languages(written: list[str]) -> None:
    counts = Counter(map(language.identify, written))
    assert min(counts[code] for code in ("de", "es", "ja", "pl")) >= 2
    assert counts["nl"] == 1  # so that `language` has one to refuse


def test_recording_holds_example_addresses_and_no_phone_numbers(replies: list[RecordedReply]) -> None:
    for reply in replies:
        assert set(re.findall(r"@([\w.-]*\w)", reply.reply)) <= {"example.com"}
        # A bank account is meant to be refused: a number that banks print in examples.
        rest = reply.reply.replace("GB82 WEST 1234 5698 7654 32", "")
        assert not re.search(r"\+\d{2}|\d{3}[ -]\d{3}|\d{9}", rest)


def test_demo_runs_from_the_recording_and_is_recorded_as_the_same_file(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES, tmp_path / "fixtures")
    outcomes = {outcome.step: outcome.counts for outcome in synalign.run(tmp_path / "fixtures" / "demo.toml")}
    assert outcomes["generate"]["records"] == 240
    assert outcomes["generate"]["rejections"] == 10
    workspace = synalign.open(tmp_path / "demo-workspace")
    kept = workspace.sql("select text, label from synthetic order by id").pl()
    assert pl.read_csv(FIXTURES / "support_written.csv").equals(kept), "the records that the demo keeps, as a file"
    assert sessions.names(workspace) == sessions.golden("demo")  # see tests/test_frozen.py
    workspace.record(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (FIXTURES / "demo.jsonl").read_bytes()
