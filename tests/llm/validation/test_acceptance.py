from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign.config import Accept
from synalign.llm.validation.acceptance import REASONS, RULES, Acceptance, Draft, Sources, Verdict, limited, normalise

FIXTURE = Path(__file__).resolve().parents[3] / "fixtures" / "support.csv"
DEMO = "The battery of this phone lasts for two days, and it charges in less than an hour. I like it a lot."
REAL = [
    DEMO,
    "Bad.",
    *(f"The parcel with number {number} is late and nobody answers my mails." for number in range(60)),
]
OFF: dict[str, Any] = {name: () if name in ("personal", "phrases") else False for name in Accept.model_fields}
OFF |= {"length_slack": 1.25, "judge_prompt": "judge/records"}


def acceptance(known: Sequence[str] = (), labels: Any = (), real: Any = None, **rules: Any) -> Acceptance:
    real = {None: REAL} if real is None else real
    every = [text for texts in real.values() for text in texts]
    return Acceptance(Accept(**rules), real=real, copied_from=every, known=known, labels=labels)


def judge(texts: Sequence[str], given: Acceptance | None = None, **values: Any) -> list[Verdict]:
    drafts = [Draft(index, text) for index, text in enumerate(texts)]
    defaults: dict[str, Any] = {"demonstrations": [DEMO, "Bad."], "limit": 99}
    return (given or acceptance()).judge(drafts, **(defaults | values))


def reasons(texts: Sequence[str], given: Acceptance | None = None, **values: Any) -> list[str | None]:
    return [verdict.reason for verdict in judge(texts, given, **values)]


def test_a_new_text_is_kept_stripped_with_every_column() -> None:
    (verdict,) = judge(["  The screen is bright and sharp. \n"])
    assert (verdict.index, verdict.text, verdict.reason, verdict.detail) == (
        0,
        "The screen is bright and sharp.",
        None,
        "",
    )
    assert tuple(verdict.results) == RULES
    unknown = {rule for rule, result in verdict.results.items() if result is None}
    assert unknown == {"label", "too_similar", "too_near", "judge"}
    assert verdict.measures == {"near_duplicate": None, "copied": 0.0}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n", "empty"),
        ("The lamp is broken\x00 and dark.", "schema"),
        ("Die Lampe ist nach zwei Wochen kaputt gegangen, niemand antwortet.", "language"),
        ("Long. " * 40, "length"),
        ("No", "length"),
        ("known text, WHICH is there", "duplicate"),
        ("A known record of some length, which is there already!", "near_duplicate"),
        (DEMO.upper(), "copied"),
        (DEMO.replace("two", "ten"), "copied"),
        ("Listen: the battery of this phone lasts for two days, really", "copied"),
        ("I'm sorry, but I can't assist with that.", "refusal"),
        ("I like it a lot, says [Your Name].", "leaked"),
        ("Please write to bob@lampmail.se about it.", "personal"),
        ("The screen is bright and sharp.", None),
    ],
)
def test_each_rule_refuses_its_own(text: str, reason: str | None) -> None:
    known = ["Known text, which is there", "A known record of some length, which is there already."]
    assert reasons([text], acceptance(known)) == [reason]


@pytest.mark.parametrize("text", ["Die Lampe ist kaputt: bob@lampmail.se, [Your Name]. Ich warte auf eine Antwort."])
def test_all_rules_are_evaluated_and_the_first_names_the_reason(text: str) -> None:
    (verdict,) = judge([text])
    assert {rule for rule, result in verdict.results.items() if result is False} == {"language", "leaked", "personal"}
    assert set(verdict.details) == {"language", "leaked", "personal"}
    assert verdict.reason == "language"
    assert verdict.detail == "it is in the language 'de'; real records are in en"


def test_a_rule_that_is_off_leaves_its_column_empty() -> None:
    rules = Acceptance(Accept(**OFF), real={None: REAL})
    texts = ["Long. " * 99, "As an AI, I cannot.", "bob@lampmail.se", "[Your Name]", DEMO, DEMO]
    for verdict in judge(texts, rules):
        assert verdict.accepted
        assert verdict.results == dict.fromkeys(RULES) | {"schema": True}
        assert verdict.measures == {"near_duplicate": None, "copied": None}


def test_a_real_text_is_a_copy_and_without_that_rule_a_duplicate() -> None:
    (verdict,) = judge(["the PARCEL with number 7 is late and nobody answers my mails."], demonstrations=[])
    assert (verdict.reason, verdict.measures["copied"], verdict.results["duplicate"]) == ("copied", 1.0, True)
    assert verdict.detail.startswith("it is the real record 'The parcel with number 7")
    assert reasons([REAL[5]], acceptance(copied=False), demonstrations=[]) == ["duplicate"]


def test_the_detail_says_how_much_of_which_record_is_copied() -> None:
    (verdict,) = judge(["Look, the battery of this phone lasts for two days, okay?"])
    assert verdict.measures["copied"] == pytest.approx(9 / 11)
    assert verdict.detail == (
        "shares 82% of its words in one run with the real record "
        "'The battery of this phone lasts for two days, and it charges ...'"
    )


@pytest.mark.parametrize(
    "text",
    ["Thank you so much!", "thank you so much for all of it", "@user @user @user @user @user @user @user @user hi"],
)
def test_what_people_say_alike_is_no_copy(text: str) -> None:
    real = {None: [*REAL, "Thank you so much for all the help", "@user " * 12]}
    (verdict,) = judge([text], acceptance(real=real), demonstrations=[])
    assert verdict.results["copied"] is True
    assert verdict.measures["copied"] >= 0.6


def test_a_demonstration_that_is_no_record_is_not_copied_either() -> None:
    shown = "A wholly other demonstration, which no split of the data has, says this."
    assert reasons([shown + " Yes.", "It is " + shown], demonstrations=[shown]) == ["copied", "copied"]


def test_duplicates_within_a_reply_are_found_unless_the_first_is_refused() -> None:
    twice = "The screen is bright and sharp."
    assert reasons([twice, twice.upper(), twice + "."]) == [None, "duplicate", "near_duplicate"]
    drafts = [Draft(0, twice, "wrong"), Draft(1, twice, "right"), Draft(2, twice, "right")]
    judged = acceptance().judge(drafts, demonstrations=[], label="right", limit=9)
    assert [verdict.reason for verdict in judged] == ["label", None, "duplicate"]


def test_only_what_is_kept_is_remembered() -> None:
    given = acceptance()
    text = "The screen is bright and sharp."
    assert reasons([text], given) == reasons([text], given) == [None]
    given.keep(text)
    (verdict,) = judge([text + "!"], given)
    assert verdict.reason == "near_duplicate"
    assert verdict.measures["near_duplicate"] == pytest.approx(29 / 30)
    assert verdict.detail.endswith(f"pieces with {text!r}")


@pytest.mark.parametrize(
    ("stated", "asked", "result"),
    [
        ("delivery", "delivery", True),
        ("Delivery ", "delivery", True),
        ("1", "delivery", True),
        ("refund", "delivery", False),
        ("nonsense", "delivery", False),
        ("refund", None, True),
        ("nonsense", None, False),
        (None, "delivery", None),
        (None, None, None),
    ],
)
def test_the_stated_label(stated: str | None, asked: str | None, result: bool | None) -> None:
    given = acceptance(labels={"1": "delivery", "2": "refund"})
    draft = Draft(0, "The screen is bright and sharp.", stated)
    (verdict,) = given.judge([draft], demonstrations=[], label=asked, limit=1)
    assert verdict.results["label"] is result
    assert verdict.reason == ("label" if result is False else None)


def test_the_length_is_that_of_the_label_where_it_has_enough_texts() -> None:
    short, long = ["a" * 10 + str(n) for n in range(60)], ["b" * 100 + str(n) for n in range(60)]
    given = acceptance(real={"short": short, "long": long, "rare": ["c" * 400]}, language=False)
    text = "The screen is bright, sharp and large, all that I could wish for; I would buy it again at once. 100"
    for label, result in (("short", False), ("long", True), ("rare", True), (None, True), ("unknown", True)):
        (verdict,) = judge([text], given, label=label)
        assert verdict.results["length"] is result, label
    (verdict,) = judge([text], given, label="short")
    assert verdict.detail == "it has 99 characters; real records, with the slack, have 9 to 15"


def test_what_the_demonstrations_have_is_allowed() -> None:
    texts = [
        "Please write to BOB@lampmail.se about it.",
        "And so, says [name], we wait for it.",
        "Où est mon colis, je l'attends depuis une semaine entière.",
    ]
    assert reasons(texts) == ["personal", "leaked", "language"]
    shown = ["My mail is bob@lampmail.se, dear [name].", "Je ne peux plus me connecter à mon compte depuis hier."]
    assert reasons(texts, demonstrations=shown) == [None, None, None]


def test_the_prompt_must_not_come_back() -> None:
    prompt = ["Follow the attributes, also in length and in flaws: do not polish."]
    assert reasons(["So, follow the attributes, also in length and in flaws."], prompt=prompt) == ["leaked"]


def test_without_real_texts_nothing_is_known_of_length_and_language() -> None:
    (verdict,) = judge(["Die Lampe ist nach zwei Wochen kaputt gegangen."], acceptance(real={}), demonstrations=[])
    assert (verdict.results["length"], verdict.results["language"], verdict.reason) == (None, True, None)


def test_surplus_counts_what_passes_and_is_put_right_after_later_rules() -> None:
    texts = ["The screen is bright.", "bob@lampmail.se is mine", "A wobbly old chair leg", "My kettle whistles"]
    judged = judge(texts, limit=2)
    assert [verdict.reason for verdict in judged] == [None, "personal", None, "surplus"]
    assert judged[3].detail == "2 were asked for"
    later = [judged[0].with_result("too_similar", False, "too alike", 0.99), *judged[1:]]
    assert [verdict.reason for verdict in limited(later, 2)] == ["too_similar", "personal", None, None]
    assert limited(later, 2)[0].detail == "too alike"
    assert limited(later, 2)[0].measures["too_similar"] == 0.99


def test_a_later_rule_of_earlier_rank_names_the_reason() -> None:
    (verdict,) = judge(["bob@lampmail.se is mine"])
    assert verdict.with_result("too_similar", False, "too alike").reason == "too_similar"
    assert verdict.with_result("judge", False, "odd").reason == "personal"
    assert verdict.with_result("judge", True).results["judge"] is True


def test_the_lists_of_rules_and_reasons_are_closed() -> None:
    assert (
        *("schema", "label", "language", "length", "duplicate", "near_duplicate", "too_similar", "copied", "too_near"),
        *("refusal", "leaked", "personal", "judge"),
    ) == RULES
    whole = ("empty_reply", "not_json", "truncated", "wrong_shape", "broken_item", "refused", "failed")
    assert set(REASONS) == {*RULES, "empty", "surplus", *whole}
    assert len(set(REASONS)) == len(REASONS)


def test_half_of_the_fixture_is_accepted_beside_the_other() -> None:
    with FIXTURE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    real: dict[str | None, list[str]] = {}
    for row in rows[::2]:
        real.setdefault(row["label"], []).append(row["text"])
    given = acceptance(real=real)
    drafts = [Draft(index, row["text"], row["label"]) for index, row in enumerate(rows[1::2])]
    failed: Counter[str] = Counter()
    for draft in drafts:
        (verdict,) = given.judge([draft], demonstrations=[], label=draft.label, limit=1)
        failed.update(rule for rule, result in verdict.results.items() if result is False)
    assert set(failed) <= {"length", "language", "personal"}
    assert failed["length"] + failed["language"] <= 0.01 * len(drafts)


def test_sources_tell_copies_from_near_copies() -> None:
    sources = Sources([DEMO, "Bad."])
    assert sources.copied(" BAD. ") == ("copy", "the same text as demonstration 2")
    assert sources.copied(DEMO.replace("two", "ten")) == (
        "near_copy",
        "shares 92% of its 3-character pieces with demonstration 1",
    )
    assert sources.copied("This phone lasts two days. I like the battery, and how it charges in an hour.") is None


def test_normal_forms_are_equal() -> None:
    assert normalise("  Cafe\u0301\n STRASSE ") == normalise("caf\u00e9 straße") == "caf\u00e9 strasse"


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@settings(deadline=None)
@given(st.lists(st.text(max_size=8)), st.lists(st.text(max_size=8)), st.lists(st.text(max_size=8)), st.integers(0, 4))
def test_invariants(texts: list[str], shown: list[str], known: list[str], limit: int) -> None:
    given = Acceptance(Accept(), real={None: shown}, copied_from=shown, known=known)
    verdicts = judge(texts, given, demonstrations=shown, limit=limit)
    kept = [normalise(verdict.text) for verdict in verdicts if verdict.accepted]
    assert [verdict.index for verdict in verdicts] == list(range(len(texts)))
    assert len(set(kept)) == len(kept) <= limit
    assert not set(kept) & {normalise(text) for text in [*shown, *known]}
    assert all(kept)
    assert all((verdict.reason is None) == (verdict.detail == "") for verdict in verdicts)
    assert verdicts == judge(texts, given, demonstrations=shown, limit=limit)


@pytest.mark.parametrize("domain", ["example.com", "mail.example.org", "shop.example", "somewhere.invalid"])
def test_an_address_that_can_be_nobodys_is_no_personal_data(domain: str) -> None:
    acceptance = Acceptance(Accept(), real={None: []})
    (verdict,) = acceptance.judge(
        [Draft(0, f"Please write to rosalind@{domain} about it.")], demonstrations=[], limit=1
    )
    assert verdict.results["personal"] is True
