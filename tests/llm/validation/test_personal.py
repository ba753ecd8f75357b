from __future__ import annotations

import csv
import time
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign.config import PersonalKind
from synalign.llm.validation.personal import PLACEHOLDER, Redactor, find

KINDS: tuple[PersonalKind, ...] = get_args(PersonalKind)
FIXTURE = Path(__file__).resolve().parents[3] / "fixtures" / "support.csv"

FOUND = {
    "email": [
        "leocadia@example.com",
        "foo.bar+baz@sub.example.co.uk",
        "müller@straße.de",
        "иван@почта.рф",
        "用户@例子.中国",
        "bob (at) example.com",
    ],
    "phone": [
        "+1 415 555 2671",
        "+49 (0)171 1234567",
        "0171 1234567",
        "030/901820",
        "070-123 45 67",
        "07700 900123",
        "020 7946 0958",
        "06 12 34 56 78",
        "612 34 56 78",
        "(415) 555-2671",
        "415-555-2671",
        "0046701234567",
    ],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
    "ip": ["192.168.1.20", "2001:db8::8a2e:370:7334"],
    "national_id": [
        "123-45-6789",
        "AB 12 34 56 C",
        "RSSMRA85T10A562S",
        "12345678Z",
        "X1234567L",
        "1 85 05 78 006 084 91",
        "811228-9874",
        "131052-308T",
        "390.533.447-05",
        "85.07.30-033.28",
        "756.9217.0769.85",
        "ABCPE1234F",
    ],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
@pytest.mark.parametrize("sentence", ["{}", "Hello, {}, thanks.", "({})", "it is {}!"])
def test_each_kind_is_found_in_a_sentence(kind: str, text: str, sentence: str) -> None:
    whole = sentence.format(text)
    assert [(item.kind, whole[item.start : item.end]) for item in find(whole, KINDS)] == [(kind, text)]


@pytest.mark.parametrize(
    ("kind", "text", "before"),
    [
        ("phone", "4155552671", "my cell is "),
        ("phone", "08-123 456 78", "Telefon: "),
        ("national_id", "36 574 261 809", "Steuer-ID: "),
        ("national_id", "536904399", "my SSN is "),
        ("national_id", "111222333", "BSN "),
        ("email", "abc@example.com", "邮箱是"),
    ],
)
def test_a_word_before_says_what_bare_digits_are(kind: str, text: str, before: str) -> None:
    assert [(item.kind, item.text) for item in find(before + text, KINDS)] == [(kind, text)]


@pytest.mark.parametrize(
    "text",
    [
        "order 88-2041",
        "Order 71-40932, order 1234567",
        "order 0701234567",
        "ref 123456789",
        "call about order 9207712",
        "call 88-2041",
        "2026-04-30 12:33:10",
        "30.04.2026 14:30",
        "12/05/2026",
        "1999-2005",
        "price 1,234,567.89",
        "1 234 567 kr",
        "12.345.678,90",
        "1.000.000 EUR",
        "version 1.2.3.4",
        "updated to 2.1.4",
        "10:00-14:00",
        "std::vector a::b",
        "tracking 1Z999AA10123456784",
        "1234567890123456",
        "isbn 978-3-16-148410-0",
        "9-8 win, 21-14, 35-28",
        "1 2 3 4 5 6 7 8 9 10",
        "me@home @user",
        "127.0.0.1",
        "4111 1111 1111 1112",
        "DE89 3704 0044 0532 0130 01",
        "811228-9875",
    ],
)
def test_other_numbers_are_nothing_personal(text: str) -> None:
    assert find(text, KINDS) == []


def test_the_fixture_holds_its_five_addresses_and_nothing_else() -> None:
    with FIXTURE.open(encoding="utf-8", newline="") as file:
        found = [item for row in csv.DictReader(file) for item in find(row["text"], KINDS)]
    assert sorted(item.text for item in found) == [
        f"{name}@example.com" for name in ("benno", "dorrit", "kat", "leocadia", "lotte")
    ]


def test_the_digits_of_one_kind_are_not_taken_for_another() -> None:
    text = "IBAN ES91 2100 0418 4502 0005 1332, card 4111 1111 1111 1111"
    assert [item.kind for item in find(text, KINDS)] == ["iban", "card"]
    assert find(text, ["phone"]) == []


def test_only_what_is_asked_for_is_found() -> None:
    text = "bob@example.com, 415-555-2671"
    assert [item.kind for item in find(text, ["phone"])] == ["phone"]
    assert find(text, []) == []


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 20_000 + "@", "a." * 10_000 + "@b", "@a." * 10_000, "1 " * 10_000, "1-" * 10_000, "1" * 20_000),
        *("x@" + "a." * 10_000, "::" * 10_000, "1." * 10_000, "+1(" * 7_000, "a[at]" * 5_000, "ssn is " * 3_000),
    ],
)
def test_no_text_takes_long(text: str) -> None:
    started = time.perf_counter()
    find(text, KINDS)
    assert time.perf_counter() - started < 2  # some milliseconds, where nothing is tried over and over


def test_a_datum_has_one_number_and_each_spelling_its_own() -> None:
    redactor = Redactor(KINDS)
    text = "bob@x.org, BOB@x.org, bob@x.org, eve@x.org or +1 415 555 2671, +1 (415) 555-2671"
    redacted = redactor.redact(text)
    assert redacted == "[EMAIL_1], [EMAIL_1_2], [EMAIL_1], [EMAIL_2] or [PHONE_1], [PHONE_1_2]"
    assert redactor.new["[EMAIL_1_2]"] == "BOB@x.org"
    assert redactor.restore(redacted) == text
    assert redactor.redact(text) == redacted


def test_one_goes_on_where_another_stopped() -> None:
    first = Redactor(KINDS)
    first.redact("bob@x.org BOB@x.org")
    second = Redactor(KINDS, first.new)
    assert second.redact("Bob@x.org bob@x.org eve@x.org") == "[EMAIL_1_3] [EMAIL_1] [EMAIL_2]"
    assert second.new == {"[EMAIL_1_3]": "Bob@x.org", "[EMAIL_2]": "eve@x.org"}
    assert second.restore("[EMAIL_1_2] [EMAIL_1_3]") == "BOB@x.org Bob@x.org"


def test_a_placeholder_in_a_real_text_is_nobodys_address() -> None:
    redactor = Redactor(KINDS)
    redactor.redact("bob@x.org")
    redacted = redactor.redact("write [EMAIL_1] in the field")
    assert redacted == "write [TEXT_1] in the field"
    assert redactor.restore(redacted) == "write [EMAIL_1] in the field"
    assert redactor.restore("[EMAIL_7]") == "[EMAIL_7]"


def test_what_is_not_asked_for_stays() -> None:
    assert Redactor(["phone"]).redact("bob@x.org 415-555-2671") == "bob@x.org [PHONE_1]"
    assert Redactor([]).redact("bob@x.org") == "bob@x.org"


def test_a_strange_placeholder_is_refused() -> None:
    with pytest.raises(ValueError, match="EMAIL"):
        Redactor(KINDS, {"<1>": "bob@x.org"})


_PIECES = st.one_of(
    st.sampled_from([text for texts in FOUND.values() for text in texts]),
    st.sampled_from(["[EMAIL_1]", "[EMAIL_1_2]", "[TEXT_1]", "[PHONE_01]", "[", "]", "[EMAIL_", "_1]"]),
    st.sampled_from(["BOB@X.org", "bob@x.ORG"]),
    st.text(max_size=6),
    st.text(alphabet="0123456789 .-+()[]@_:abEMAIL", max_size=20),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(_PIECES, max_size=6).map("".join), max_size=4), st.lists(st.sampled_from(KINDS)))
def test_restoring_undoes_redacting_for_every_text(texts: list[str], kinds: list[PersonalKind]) -> None:
    first = Redactor(kinds)
    redacted = [first.redact(text) for text in texts]
    again = Redactor(kinds, first.new)
    assert [first.restore(text) for text in redacted] == texts
    assert [again.restore(text) for text in redacted] == texts
    assert [again.redact(text) for text in texts] == redacted
    assert again.new == {}
    made = {form[0] for text in redacted for form in PLACEHOLDER.finditer(text)}
    assert made == set(first.new)


@settings(max_examples=400, deadline=None)
@given(st.lists(_PIECES, max_size=8).map("".join))
def test_what_is_found_stands_there_in_order(text: str) -> None:
    found = find(text, KINDS)
    assert all(text[item.start : item.end] == item.text for item in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
