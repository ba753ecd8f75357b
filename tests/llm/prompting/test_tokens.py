from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synalign.llm.prompting.schemas import AttributeSet, json_schema
from synalign.llm.prompting.tokens import (
    ENOUGH,
    Counted,
    Measured,
    estimated_tokens,
    measured,
    prompt_bytes,
    prompt_tokens,
)
from synalign.llm.transport.chat import ChatRequest
from tests.conftest import CORPUS, ROOT

TEXTS = pl.read_csv(CORPUS)["text"].to_list()


def characters_a_token(text: str) -> float:
    return len(text) / estimated_tokens(text)


def test_english_prose_and_json_are_near_what_tokenizers_make_of_them() -> None:
    assert 4.0 < characters_a_token((ROOT / "LICENSE").read_text(encoding="utf-8")) < 4.6
    assert 3.8 < characters_a_token(" ".join(TEXTS)) < 4.4
    assert 3.2 < characters_a_token("\n".join(json.dumps({"text": text}) for text in TEXTS)) < 3.8
    # By the published tokenizers of GPT-4 and Llama 3: ten tokens.
    assert estimated_tokens("The quick brown fox jumps over the lazy dog.") == 10


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("我们的产品质量非常好，欢迎购买。", 1.0, 1.6),
        ("商品はとても良かったです。また買います。", 1.0, 1.6),
        ("상품이 아주 좋았습니다", 0.8, 1.3),
        ("Доставка пришла на два дня позже, упаковка повреждена.", 0.25, 0.5),
        ("وصل الطلب متأخرا يومين والعلبة تالفة", 0.3, 0.6),
        ("Die Lieferung kam zwei Tage zu spät und die Verpackung war beschädigt.", 0.2, 0.35),
        ("😀🥞", 1.5, 3.5),
        ("1234567890", 0.3, 0.5),
    ],
)
def test_other_scripts_take_more_tokens_a_character(text: str, low: float, high: float) -> None:
    assert low < estimated_tokens(text) / len(text) < high


@given(st.text())
def test_a_token_is_a_byte_at_least(text: str) -> None:
    tokens = estimated_tokens(text)
    assert 0 <= tokens <= len(text.encode("utf-8", errors="surrogatepass"))
    assert (tokens > 0) == bool(text.strip(" ") or "  " in text)


@given(st.text(), st.text())
def test_a_longer_text_has_no_fewer_tokens(text: str, more: str) -> None:
    assert estimated_tokens(text + "\n" + more) >= max(estimated_tokens(text), estimated_tokens(more)) - 1e-9


def test_a_request_counts_its_messages_and_its_schema() -> None:
    schema = json_schema(AttributeSet)
    request = ChatRequest("m", None, "one two", "three é", "reason", schema, turns=(("user", "four"),))
    assert prompt_bytes(request) == len("one two") + len("three ") + 2 + len("four")
    # The accented letter alone is .7; each message has 4 more.
    expected = 2 + 1.7 + 1 + 3 * 4 + estimated_tokens(json.dumps(schema, sort_keys=True, separators=(",", ":")))
    assert prompt_tokens(request) == pytest.approx(expected)
    assert prompt_tokens(request) < request.most_prompt_tokens


def test_the_counts_of_a_model_say_its_ratio_and_its_replies() -> None:
    rows = [Counted("a", 1000, 300, 50)] * (ENOUGH - 4) + [Counted("b", 1000, 200, 90, items=3)] * 4
    found = measured(rows)
    assert isinstance(found, Measured)
    assert found.calls == ENOUGH
    assert found.ratio == pytest.approx((16 * 300 + 4 * 200) / (20 * 1000))
    assert found.ratios == {"a": pytest.approx(0.3)}  # four calls of a prompt say nothing of it
    assert (found.reply("a", 0), found.reply("a", 7), found.reply("b", 0), found.reply("b", 3)) == (50, 50, None, None)
    found = measured([*rows, Counted("b", 1000, 200, 60, items=2)])
    assert found is not None
    assert found.reply("b", 10) == pytest.approx(10 * (4 * 90 + 60) / (4 * 3 + 2))
    assert found.reply("b", 0) == pytest.approx((4 * 90 + 60) / 5)


def test_repairs_are_a_share_and_count_for_nothing_else() -> None:
    rows = [Counted("a", 1000, 300, 50)] * ENOUGH
    assert measured(rows[1:]) is None
    assert measured([*rows[1:], Counted("a", 9000, 9000, 9, repair=True)]) is None
    found = measured([*rows, *[Counted("a", 9000, 9000, 9, repair=True)] * 5])
    assert found is not None
    assert (found.ratio, found.reply("a", 0), found.repairs) == (pytest.approx(0.3), 50, 0.25)
    assert measured([]) is None
