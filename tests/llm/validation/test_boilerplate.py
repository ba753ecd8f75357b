from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest

from synalign.llm.validation.boilerplate import LEAKED_RUN, forms, leaked, refusal, usual
from synalign.llm.validation.overlap import SharedRuns

FIXTURE = Path(__file__).resolve().parents[3] / "fixtures" / "support.csv"

BOILERPLATE = [
    "As an AI language model, I cannot write reviews.",
    "As an AI, I have not bought this lamp.",
    "I'm sorry, but as an AI I can't do it.",
    "I'm an AI language model, so I have no lamp.",
    "I'm sorry, but I can't assist with that.",
    "I’m sorry, but I cannot fulfill this request.",
    "Sorry, I can't help with that.",
    "I am unable to provide that information.",
    "I can't generate such content because it may be harmful.",
    "I don't have personal experiences, but the lamp is fine.",
    "That goes against my programming.",
    "Here are 10 reviews:",
    'Here is a new tweet about the game: "Go!"',
    "Sure! Here's a message",
    "Sure, here are five examples:\n1. foo",
    "Certainly!",
    "Great lamp. I hope this helps!",
    "Let me know if you'd like more examples!",
    "Note: this is a synthetic review.",
    "Nice lamp. (Note: This review is fictional.)",
    "1. The lamp broke",
    "12) My order is late",
    "**Review:** The lamp",
    "Text: the lamp broke",
    "Review 3: the lamp",
    "## Review\nThe lamp",
    "```json\n{",
    "Als KI-Sprachmodell kann ich keine Bewertung schreiben.",
    "Es tut mir leid, aber ich kann dabei nicht helfen.",
    "Hier sind 5 Beispiele: ",
    "Natürlich! Hier ist eine Nachricht",
    "Beispiel 1: die Lampe",
    "Como modelo de lenguaje, no puedo opinar.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "¡Claro! Aquí tienes un mensaje",
    "En tant que modèle de langage, je ne peux pas donner d'avis.",
    "Je suis désolé, mais je ne peux pas répondre à cette demande.",
    "Bien sûr ! Voici un avis",
    "作为一个人工智能语言模型，我无法发表评论。",
    "很抱歉，我无法提供相关内容。",
    "以下是10条评论：",
    "AI言語モデルとして、私は",
]

ORDINARY = [
    "I'm sorry but I can't log in",
    "as an AI researcher, I love this",
    "As an AI fan I bought it at once",
    "I'm just an AI student, so be kind",
    "I am sorry to say that the wardrobe does not fit",
    "Sorry I can't provide the receipt, I lost it",
    "I'm sorry, I cannot find my order",
    "I can't help you if you don't reply",
    "I can't generate the return label",
    "I can not complete this order because the page hangs",
    "I cannot share my password with you",
    "I don't have personal access to the app",
    "Here are two pictures of the damage: both show a crack",
    "Here is my order number: 88-2041",
    "Sure, but when?",
    "Of course it broke",
    "Certainly not what I ordered!",
    "1. no reply 2. no refund 3. never again",
    "1) no reply\n2) no refund",
    "Note: this lamp is heavy",
    "Please note that this was made up of two parts",
    "this is a synthetic leather sofa",
    "Product: clip lamp Vika\nProblem: switch stuck",
    "message in a bottle",
    "#1 fan here",
    "2fa code never arrives",
    "Let me know if you need more photos",
    "the bot said it can't help",
    "Tut mir leid, aber ich kann mich nicht einloggen",
    "Als KI-Forscher kann ich das nicht empfehlen",
    "lo siento pero no puedo generar la etiqueta",
    "je ne suis pas en mesure de me connecter",
    "抱歉，我无法完成付款",
    "当然！很喜欢",
    "[Update] it works <3",
    "{laughs} so bad",
]


@pytest.mark.parametrize("text", BOILERPLATE)
def test_boilerplate_is_seen(text: str) -> None:
    assert refusal(text) is not None


@pytest.mark.parametrize("text", ORDINARY)
def test_what_people_write_is_none(text: str) -> None:
    assert (refusal(text), leaked(text)) == (None, None)


def test_the_fixture_has_no_boilerplate() -> None:
    with FIXTURE.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    assert [text for text in texts if refusal(text) or leaked(text)] == []
    assert usual(texts) == set()


def test_the_reason_names_the_form_and_the_words() -> None:
    assert refusal("As an AI, I cannot.") == "an assistant's self-description: 'As an AI, I'"


def test_own_phrases_count_at_the_bounds_of_words() -> None:
    assert refusal("This is SPONSORED  content.", ["sponsored content"]) == "the configured phrase 'sponsored content'"
    assert refusal("unsponsored content", ["sponsored content"]) is None
    assert refusal("anything", ["", " "]) is None


@pytest.mark.parametrize(
    "text",
    [
        "Dear [Your Name],",
        "Hi {product}, fine",
        "Hi {first_name}",
        "{{ name }}",
        "${name}",
        "<demonstrations>",
        "</think> ok",
        "<|im_end|>",
        "[INST] x",
        "lorem ipsum dolor",
        "mail [EMAIL_1]",
        'foo {"text": "bar"}',
        '"text": "bar"',
        "[PRODUCT_NAME]",
        "[insert order number here]",
    ],
)
def test_parts_of_templates_are_leaks(text: str) -> None:
    assert leaked(text) is not None


def test_a_run_of_the_prompt_is_a_leak_from_eight_words_on() -> None:
    prompt = SharedRuns(["Vary the content, the opening and the length from text to text as real ones vary."])
    said = leaked("You should vary the content, the opening and the length!", prompt)
    assert said == "8 words in one run of the prompt: 'vary the content the opening and the length'"
    assert leaked("Vary the content, the opening and the rest.", prompt) is None
    assert LEAKED_RUN == 8


def test_what_real_texts_have_themselves_is_usual_and_can_be_allowed() -> None:
    real = ["Review: fine", "Dear [name], thanks", *["no form at all"] * 200]
    names = usual(real)
    assert names == {"a name before the text", "a slot to fill in"} == forms("Review: [name]")
    assert refusal("Review: bad", allowed=names) is None
    assert leaked("Dear [name]", allowed=names) is None
    assert usual([*real, *["no form at all"] * 1900]) == set()


@pytest.mark.parametrize(
    "piece", ["as an ai ", "sorry ", "i'm sorry, ", "here is ", "1. ", "\n", " ", "[your ", "{", "note: this "]
)
def test_no_text_takes_long(piece: str) -> None:
    started = time.perf_counter()
    refusal(piece * 5000)
    leaked(piece * 5000)
    assert time.perf_counter() - started < 2  # some milliseconds, where nothing is tried over and over
