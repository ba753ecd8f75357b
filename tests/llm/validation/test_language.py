from __future__ import annotations

import pytest

from synalign.llm.validation.language import Languages, identify

ENGLISH = [f"The lamp that I ordered in week {number} has still not arrived at my house." for number in range(40)]
GERMAN = "Die Lampe ist nach zwei Wochen kaputt gegangen, und niemand antwortet auf meine Nachrichten."
OTHERS = {
    "de": GERMAN,
    "es": "Hola, me han cobrado dos veces el mismo pedido y nadie me contesta al teléfono.",
    "fr": "Bonjour, je devais être livrée mardi mais personne n'est venu jusqu'à maintenant.",
    "sv": "Lampan gick sönder efter två veckor och ingen svarar på mina meddelanden.",
    "pl": "Zwrot pieniędzy trwał dwa miesiące. Więcej tu nic nie kupię!",
    "ja": "返金はいつになりますか?先週返送しました",
    "zh": "我的台灯什么时候能到?物流三天没更新了",
}


@pytest.mark.parametrize(("code", "text"), OTHERS.items())
def test_a_language_that_no_real_text_has_is_foreign(code: str, text: str) -> None:
    assert Languages(ENGLISH).foreign(text) == code
    assert Languages([*ENGLISH, text]).foreign(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Ok danke, super!",  # too short to be sure
        "where is my parcel, it was due on monday",
        "@user https://example.com/der/die/das/und/nicht #wunderbar",
        "Zinedine Zidane, Rio de Janeiro",
        "4711 0815 88-2041",
        "",
    ],
)
def test_what_is_short_or_no_sentence_is_not_foreign(text: str) -> None:
    assert Languages(ENGLISH).foreign(text) is None


def test_without_a_real_language_nothing_is_foreign() -> None:
    assert Languages([]).foreign(GERMAN) is None
    assert Languages(["ok", "no"]).foreign(GERMAN) is None


def test_a_near_relative_is_not_foreign() -> None:
    danish = ["Jeg har bestilt en lampe, men den er ikke kommet endnu, hvor er min pakke?"] * 5
    assert (
        Languages(danish).foreign("Jeg har bestilt en lampe, men den har ikke kommet ennå. Hvor er pakken min?") is None
    )


def test_one_stray_text_among_many_makes_no_real_language() -> None:
    assert Languages([*(ENGLISH * 25), GERMAN]).codes == {"en"}
    assert Languages([*ENGLISH, GERMAN]).codes == {"en", "de"}


def test_the_answer_is_the_same_each_time() -> None:
    assert [identify(GERMAN) for _ in range(3)] == ["de"] * 3
