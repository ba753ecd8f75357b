"""Stage 2 over real HTTP: what is asked for and from what, which records are kept, and what is asked for anew."""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.errors import NotReadyError, StoreError, UsageError
from synalign.llm.validation import verdicts
from synalign.steps.embedding import embed
from synalign.store.lake import schemas
from synalign.store.lake.lake import Lake
from tests.conftest import CORPUS
from tests.llm.server import Answer, Server, chat
from tests.steps.answers import (
    Body,
    Serve,
    answer,
    asks,
    attributes,
    data,
    good,
    kind,
    label_of,
    lines,
    of_kind,
    records,
    user,
    wanted,
    written,
)
from tests.steps.calling import test_calls
from tests.steps.calling.test_calls import ACCEPT, MEANINGS, OFF, SELECTIONS, Selected, one
from tests.steps.workspaces import rows, vectors_of

# The fixtures of those tests: a workspace with selections whose model is at a server.
key, template, selected = test_calls.key, test_calls.template, test_calls.selected

TEXTS = set(pl.read_csv(CORPUS)["text"])


def mark(body: Body) -> str:
    """Return a word for what a prompt shows."""
    return sha256("".join(lines(body, "demonstrations")).encode()).hexdigest()[:8]


def stating(body: Body, number: int) -> Answer:
    """Behave as a model that states attributes of each selection that no other has."""
    if kind(body) != "attributes":
        return good(body)
    return attributes({name: f"{name} {mark(body)}" for name in ("tone", "style")})


def checks(workspace: sa.Workspace) -> dict[str, dict[str, Any]]:
    """Return the row of `checks` of each text."""
    found = rows(
        workspace,
        "select coalesce(s.text, r.text) as text, k.* from checks k left join synthetic s on s.id = k.id "
        "left join rejections r on r.call_id = k.call_id and r.index = k.index",
    )
    return {row["text"]: row for row in found}


def kept(workspace: sa.Workspace) -> list[dict[str, Any]]:
    """Return the generated records, ordered by id."""
    return rows(workspace, "from synthetic order by id")


# Sources


def test_records_come_from_three_sources_as_many_as_are_asked_for(serve: Serve, selected: Selected) -> None:
    server = serve(stating)
    workspace = selected(server)
    workspace.reason()
    outcome = workspace.generate(per_selection=2, recombined=1, from_demonstrations=3)
    assert outcome.counts == {"calls": 18, "records": 36, "rejections": 0}
    counts = workspace.sql("select written_from, selection_id, count(*) from synthetic group by all").fetchall()
    assert Counter(row[0::2] for row in counts) == dict.fromkeys(
        [("attributes", 2), ("recombined", 1), ("demonstrations", 3)], SELECTIONS
    )
    prompts = of_kind(server, "records")
    assert Counter((wanted(body), bool(lines(body, "attributes"))) for body in prompts) == dict.fromkeys(
        [(2, True), (1, True), (3, False)], SELECTIONS
    )
    assert len({json.dumps(body["seed"]) for body in prompts}) == 18
    descent = rows(workspace, "from lineage")
    assert len(descent) == 36
    stated_by = {"attributes": workspace.status()["steps"]["reason"]["run_id"], "recombined": outcome.run_id}
    for row in descent:
        assert row["reason_run_id"] == stated_by.get(row["written_from"])
        assert (row["attributes"] is None) == (row["written_from"] == "demonstrations")
    templates = {row["written_from"]: row["template_hash"] for row in descent}
    assert templates["attributes"] == templates["recombined"] != templates["demonstrations"]


def test_recombined_attributes_are_drawn_from_selections_of_the_same_label(
    serve: Serve, selected: Selected, tmp_path: Path
) -> None:
    server = serve(stating)
    workspace = selected(server, {"generate": {"per_selection": 0, "recombined": 1, "refills": 0}})
    workspace.reason()
    twin = sa.open(shutil.copytree(workspace.path, tmp_path / "twin"))
    other = sa.open(shutil.copytree(workspace.path, tmp_path / "other"))
    outcome = workspace.generate()
    label_of_selection = dict(workspace.sql("select selection_id, label from selections").fetchall())
    stated: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    own: dict[str, set[tuple[str, str]]] = {}
    query = "select selection_id, attributes from attributes where run_id {} '{}'"
    for selection_id, found in workspace.sql(query.format("!=", outcome.run_id)).fetchall():
        own[selection_id] = {(item["name"], item["value"]) for item in found}
        stated[label_of_selection[selection_id]] |= own[selection_id]
    assert {len(pool) for pool in stated.values()} != {2}
    drawn = {
        selection_id: [(item["name"], item["value"]) for item in found]
        for selection_id, found in workspace.sql(query.format("=", outcome.run_id)).fetchall()
    }
    assert set(drawn) == set(own)
    for selection_id, found in drawn.items():
        assert [name for name, _ in found] == ["tone", "style"]
        assert set(found) <= stated[label_of_selection[selection_id]]
    assert any(not set(found) <= own[selection_id] for selection_id, found in drawn.items())
    shown = Counter(tuple(item["value"] for item in data(body, "attributes")) for body in of_kind(server, "records"))
    assert shown == Counter(tuple(value for _, value in found) for found in drawn.values())
    written_down = workspace.sql(
        f"select a.selection_id, v.name, v.stated, v.value from attribute_values v join attributes a "
        f"on a.id = v.attributes_id where v.run_id = '{outcome.run_id}'"
    ).fetchall()
    assert {(row[0], row[1], row[2]) for row in written_down} == {
        (selection_id, *pair) for selection_id, found in drawn.items() for pair in found
    }
    sent = len(server.bodies)
    assert twin.generate().run_id == outcome.run_id  # the same, drawn in a workspace of its own
    both = [
        [json.dumps(body) for body in part] for part in (server.bodies[sent - SELECTIONS : sent], server.bodies[sent:])
    ]
    assert sorted(both[0]) == sorted(both[1])
    other.configure(other.config.model_copy(update={"seed": 1}))
    other.reason()
    again = other.generate()
    another = {
        selection_id: [(item["name"], item["value"]) for item in found]
        for selection_id, found in other.sql(query.format("=", again.run_id)).fetchall()
    }
    assert another != drawn


def test_demonstrations_alone_need_no_attributes(serve: Serve, selected: Selected) -> None:
    server = serve(good)
    workspace = selected(server)
    with pytest.raises(NotReadyError, match=r"no attributes of the current selections\. Run ws\.reason"):
        workspace.generate()
    with pytest.raises(UsageError, match="all 0"):
        workspace.generate(per_selection=0)
    outcome = workspace.generate(per_selection=0, from_demonstrations=2)
    assert asks(server) == {"records": SELECTIONS}
    assert outcome.counts["records"] == 2 * SELECTIONS
    assert {row["attributes_id"] for row in kept(workspace)} == {None}
    assert one(workspace, "select count(*) from lineage where attributes is null") == 2 * SELECTIONS


def test_the_label_is_asked_back_and_another_one_refused(serve: Serve, selected: Selected) -> None:
    """Half of the replies say the meaning of the label, one in four its name, and the rest that of another label."""
    wrong = dict(zip(MEANINGS.values(), reversed(MEANINGS.values()), strict=True))
    names = {meaning: name for name, meaning in MEANINGS.items()}

    def behave(body: Body, number: int) -> Answer:
        if kind(body) != "records":
            return good(body)
        label = str(label_of(body))
        stated = [label, wrong[label], names[label], label.upper()]
        texts = zip(written(body, 4), stated, strict=True)
        return answer(records=[{"text": text, "label": said} for text, said in texts])

    server = serve(behave)
    workspace = selected(server)
    workspace.reason()
    outcome = workspace.generate(per_selection=4)
    assert (outcome.counts["records"], outcome.counts["rejections"]) == (3 * SELECTIONS, SELECTIONS)
    assert dict(workspace.sql("select reason, count(*) from rejections group by all").fetchall()) == {"label": 6}
    for body in of_kind(server, "records"):
        item = body["response_format"]["json_schema"]["schema"]["properties"]["records"]["items"]
        assert item["properties"]["label"]["enum"] == list(MEANINGS.values())
        assert item["required"] == ["text", "label"]
    assert {row["label"] for row in kept(workspace)} == set(MEANINGS)
    assert one(workspace, "select count(*) from checks where label = (reason is null)") == 4 * SELECTIONS


# Refills


def test_what_was_refused_is_asked_for_anew_and_not_too_often(serve: Serve, selected: Selected) -> None:
    """Every reply has one good record: of three, two waves more bring one each, and of five, two are missing."""

    def behave(body: Body, number: int) -> Answer:
        texts = [*written(body, 1), "  "]
        return records(*texts, label=label_of(body)) if kind(body) == "records" else good(body)

    server = serve(behave)
    workspace = selected(server, {"generate": {"per_selection": 3, "refills": 2}})
    workspace.reason()
    outcome = workspace.generate()
    prompts = of_kind(server, "records")
    assert Counter(map(wanted, prompts)) == {3: 6, 2: 6, 1: 6}
    assert outcome.counts["records"] == 18
    for body in prompts:
        shown = [item["text"] for item in data(body, "written")]
        assert len(shown) == 3 - wanted(body)
        first = [other for other in prompts if mark(other) == mark(body) and wanted(other) > wanted(body)]
        assert shown == [written(other, 1)[0] for other in sorted(first, key=wanted, reverse=True)]
    sent = len(server.bodies)
    outcome = workspace.generate(per_selection=5)
    assert len(server.bodies) == sent + 3 * SELECTIONS
    assert outcome.counts["records"] == 3 * SELECTIONS
    assert any("30 records were asked for, 18 kept" in note for note in outcome.notes)


def test_a_quota_that_is_full_is_not_asked_for_again(serve: Serve, selected: Selected) -> None:
    """Sources have quotas of their own: only what demonstrations alone gave is missing."""

    def behave(body: Body, number: int) -> Answer:
        if kind(body) == "records" and not lines(body, "attributes"):
            return records("")
        return good(body)

    server = serve(behave)
    workspace = selected(server, {"generate": {"refills": 1}})
    workspace.reason()
    outcome = workspace.generate(per_selection=2, from_demonstrations=1)
    prompts = of_kind(server, "records")
    assert Counter(bool(lines(body, "attributes")) for body in prompts) == {True: SELECTIONS, False: 2 * SELECTIONS}
    assert outcome.counts["records"] == 2 * SELECTIONS


# Rules


def crafted(real: str) -> dict[str, tuple[str, str | None]]:
    """Return for each rule of text a record that breaks it, with the label that is stated; None: the right one."""
    new = "My grey kettle has not come since Tuesday and nobody at the branch answers me."
    return {
        "schema": ("A lamp came with a \x07 bell in the order text, and nobody told me", None),
        "label": (
            "Where is the receipt for the three blankets that I had sent to my aunt?",
            "is pleased with the shop",
        ),
        "language": ("A megrendelt könyvespolc helyett egy törött asztalt kaptam, kérem vissza a pénzemet", None),
        "length": ("ok so", None),
        "duplicate": (new.upper(), None),
        "near_duplicate": (new.replace("branch", "branche"), None),
        "copied": (real, None),
        "refusal": ("As an AI language model, I cannot write complaints about shops.", None),
        "leaked": ("Dear [Your Name], the {{ product }} was late and I want my money back", None),
        "personal": ("Please write to me at jo.smith@mailbox.org about the late kettle order", None),
    }


def behaving(answers: Sequence[dict[str, str]], then: Any = good) -> Any:
    """Behave as a model that gives these records to the first request for records about refunds."""
    first: list[str] = []

    def behave(body: Body, number: int) -> Answer:
        if kind(body) == "records" and label_of(body) == MEANINGS["0"] and (not first or first == [user(body)]):
            first[:] = [user(body)]
            return answer(records=list(answers))
        return then(body, number)

    return behave


def test_every_rule_refuses_what_breaks_it_and_lets_the_others_pass(serve: Serve, selected: Selected) -> None:
    broken = crafted("")
    fine = "My grey kettle has not come since Tuesday and nobody at the branch answers me."
    also = "Two of the six glasses were cracked; when will the money be on my card?"
    stated = [(fine, None), *broken.values(), ("  ", None), (also, None)]
    reply = [{"text": text, "label": label or MEANINGS["0"]} for text, label in stated]
    workspace = selected(serve(behaving(reply)), {"accept": ACCEPT | {"phrases": ["zzz top"]}}, concurrency=1)
    known = rows(workspace, "select text from real where label = '0'")
    broken["copied"] = (max((row["text"] for row in known), key=lambda text: text.count(" ")), None)
    reply[list(broken).index("copied") + 1]["text"] = broken["copied"][0]
    workspace.reason()
    workspace.generate(per_selection=12)
    found = checks(workspace)
    assert {rule: found[text]["reason"] for rule, (text, _) in broken.items()} == {rule: rule for rule in broken}
    for rule, (text, _) in broken.items():
        row = found[text]
        assert row[rule] is False
        assert (row["accepted"], row["id"]) == (False, None)
        refused = {name for name in schemas.RULES if row[name] is False}
        assert refused - {"near_duplicate" if rule == "duplicate" else rule} <= {rule}
    for text in (fine, also):
        row = found[text]
        assert (row["accepted"], row["reason"]) == (True, None)
        assert not [rule for rule in broken if row[rule] is not True]
        assert [row[name] for name in ("too_similar", "too_near", "judge")] == [None] * 3
    assert found[""]["reason"] == "empty"
    assert one(workspace, "select count(*) from rejections where detail = ''") == 0
    assert found[broken["copied"][0]]["copied_share"] == 1
    assert found[broken["near_duplicate"][0]]["near_duplicate_similarity"] > 0.9
    reasons = {row["reason"] for row in rows(workspace, "from rejections")}
    assert reasons <= set(verdicts.REASONS)
    summary = rows(workspace, "select rule, refused from refusal_summary")
    assert {row["rule"]: row["refused"] for row in summary} == dict.fromkeys(broken, 1)


def test_rules_that_are_off_leave_their_columns_empty_and_refuse_nothing(serve: Serve, selected: Selected) -> None:
    """With no rule at all a text that came twice is one record all the same."""
    known: list[str] = []
    reply: list[dict[str, str]] = []
    server = serve(behaving(reply))
    workspace = selected(server, {"accept": OFF}, concurrency=1)
    known += [row["text"] for row in rows(workspace, "select text from real where label = '0'")]
    broken = {rule: pair for rule, pair in crafted(known[0]).items() if rule != "schema"}
    texts = [text for text, _ in broken.values()]
    reply += [{"text": text, "label": label or MEANINGS["0"]} for text, label in [*broken.values(), (texts[0], None)]]
    workspace.reason()
    outcome = workspace.generate(per_selection=len(reply))
    assert set(texts) <= {row["text"] for row in kept(workspace)}
    assert outcome.counts["rejections"] == 0
    assert outcome.counts["records"] == one(workspace, "select count(*) from synthetic") == 6 * len(reply) - 1
    rules = ", ".join(f"count({rule})" for rule in schemas.RULES)
    number = one(workspace, "select count(*) from checks")
    assert one(workspace, f"select {rules} from checks") == (number, *[0] * (len(schemas.RULES) - 1))
    assert one(workspace, "select count(distinct id) from checks where accepted") == number - 1


def test_other_rules_judge_the_same_replies_again_and_ask_for_none(serve: Serve, selected: Selected) -> None:
    """What a reply gave under the rules before is no repetition under those that came after."""
    server = serve(good)
    workspace = selected(server, {"accept": {"length": False, "language": False}}, concurrency=1)
    workspace.reason()
    first = workspace.generate()
    asked, before = len(server.bodies), kept(workspace)
    assert first.counts["rejections"] == 0
    workspace.configure(
        workspace.config.model_copy(update={"accept": sa.Config().accept.model_copy(update={"length": False})})
    )
    second = workspace.generate()
    assert (second.reused, second.counts["records"]) == (False, first.counts["records"])
    assert (len(server.bodies), kept(workspace)) == (asked, before)


def test_rules_and_reasons_are_the_same_lists_in_both_rooms() -> None:
    assert schemas.RULES == verdicts.RULES
    assert set(schemas.RULES) < set(verdicts.REASONS)
    assert {field.name for field in schemas.TABLES["checks"].schema} > set(schemas.RULES)


def test_nearness_is_that_of_the_real_vectors(serve: Serve, selected: Selected) -> None:
    """Second opinion by numpy, over the vectors that are stored and the workspace's own encoder."""
    rules = OFF | {"too_similar": 0.9, "too_near": 0.4}
    server = serve(good)
    workspace = selected(server, {"accept": rules}, concurrency=1)
    before = [row["text"] for row in rows(workspace, "select text from real order by id limit 3")]
    there = pl.DataFrame({"text": [f"{text} {text} indeed" for text in before], "label": ["0"] * 3})
    workspace.ingest(there, label="label", synthetic=True)
    real = vectors_of(workspace)
    context = workspace._context()
    encode = embed.encoder(context, embed.resolve(context))
    words = [" ".join(sorted(text.split())) for text in sorted(TEXTS)[:30]]
    server.behaviour = behaving(
        [{"text": text, "label": MEANINGS["0"]} for text in [*there["text"], *words, *words[:2]]]
    )
    workspace.reason()
    workspace.generate(per_selection=10)

    def unit(matrix: np.ndarray) -> np.ndarray:
        length = np.linalg.norm(matrix, axis=1, keepdims=True)
        return matrix / np.where(length > 0, length, 1)

    trained = unit(np.stack([real[row["id"]] for row in rows(workspace, "select id from real where split='train'")]))
    between = trained @ trained.T
    np.fill_diagonal(between, -1)
    limit = np.quantile(between.max(axis=1), 1 - 0.4)
    known = unit(encode(there["text"].to_list()).astype(np.float64))
    everything = unit(np.stack(list(real.values())))
    found = rows(  # all replies together, in the order in which they are looked at
        workspace,
        "select coalesce(s.text, r.text) as text, k.* from checks k left join synthetic s on s.id = k.id "
        "left join rejections r on r.call_id = k.call_id and r.index = k.index join calls c on c.call_id = k.call_id "
        "join selections x on x.selection_id = c.selection_id order by x.step, k.index",
    )
    assert len(found) == len(words) + 5 + 5 * 10
    units = unit(encode([row["text"] for row in found]).astype(np.float64))
    np.testing.assert_allclose([row["cosine_to_real"] for row in found], (units @ everything.T).max(axis=1), atol=1e-5)
    to_known = (units @ known.T).max(axis=1)
    np.testing.assert_allclose([row["cosine_to_synthetic"] for row in found], to_known, atol=1e-5)
    passed: list[int] = []
    for place, row in enumerate(found):
        apart = bool(to_known[place] < 0.9 and all(units[place] @ units[other] < 0.9 for other in passed))
        passed += [place] if all(units[place] @ units[other] < 0.9 for other in passed) else []
        assert row["too_similar"] == apart
        assert row["too_near"] == ((units[place] @ everything.T).max() <= limit + 1e-6)
        reasons = [name for name in ("too_similar", "too_near") if not row[name]]
        assert row["reason"] in ([reasons[0]] if reasons else [None, "surplus"])
    assert {row["reason"] for row in found} >= {"too_similar", "too_near", None}


def test_without_a_synthetic_record_there_is_no_similarity_to_one(serve: Serve, selected: Selected) -> None:
    workspace = selected(serve(good), {"accept": OFF | {"too_similar": 1.0}})
    workspace.reason()
    workspace.generate()
    assert one(workspace, "select count(*), count(too_similar), count(cosine_to_synthetic) from checks") == (12, 12, 0)
    workspace.generate(per_selection=3)
    assert one(workspace, "select count(cosine_to_synthetic) from checks") == 18


# The judge


def test_a_judge_refuses_and_what_it_left_out_is_kept(serve: Serve, selected: Selected) -> None:
    """Of four records: real, not real, of another label, and one that the judge says nothing of."""

    def behave(body: Body, number: int) -> Answer:
        if kind(body) != "verdicts":
            return good(body)
        said = [
            {"number": 1, "label": "", "real": True, "why": "fine"},
            {"number": 2, "label": "", "real": False, "why": "too smooth"},
            {"number": 3, "label": "none", "real": True, "why": "about no shop"},
            {"number": 99, "label": "", "real": False, "why": "no such record"},
        ]
        return answer(verdicts=said)

    server = serve(behave)
    workspace = selected(server, {"accept": ACCEPT | {"judge": True}})
    workspace.reason()
    outcome = workspace.generate(per_selection=4)
    assert asks(server) == {"attributes": 6, "records": 6, "verdicts": 6}
    counts = workspace.sql("select judge, reason, count(*) from checks group by all order by all").fetchall()
    assert set(counts) == {(True, None, 6), (False, "judge", 12), (None, None, 6)}
    details = {row["detail"] for row in rows(workspace, "from rejections")}
    assert details == {
        "it does not read as a real one: too smooth", "the judge gives it the label 'none': about no shop"
    }  # fmt: skip
    assert outcome.counts["records"] == 12
    for body in of_kind(server, "verdicts"):
        assert data(body, "label") == []  # two labels: the judge is not told which was asked for
        assert [item["number"] for item in data(body, "records")] == [1, 2, 3, 4]
        assert "written" not in user(body)
    assert workspace.generate(per_selection=4).reused
    assert asks(server)["verdicts"] == 6


def test_a_judge_that_cannot_be_read_refuses_nothing(serve: Serve, selected: Selected) -> None:
    server = serve(lambda body, _: chat("hm") if kind(body) == "verdicts" else good(body))
    workspace = selected(server, {"accept": ACCEPT | {"judge": True}}, repairs=0)
    workspace.reason()
    outcome = workspace.generate()
    assert (outcome.counts["records"], outcome.counts["rejections"]) == (12, 6)
    assert one(workspace, "select count(judge) from checks") == 0
    assert {row["text"] for row in rows(workspace, "from rejections")} == {"hm"}


def test_the_judge_sees_only_what_passed_the_other_rules(serve: Serve, selected: Selected) -> None:
    server = serve(
        lambda body, _: (
            records("", "ok so", *written(body, 11), label=label_of(body)) if kind(body) == "records" else good(body)
        )
    )
    workspace = selected(server, {"accept": ACCEPT | {"judge": True}})
    workspace.reason()
    workspace.generate(per_selection=12)
    assert Counter(len(data(body, "records")) for body in of_kind(server, "verdicts")) == {10: 6, 1: 6}
    assert one(workspace, "select count(judge) from checks") == 11 * SELECTIONS


def test_a_surplus_record_that_takes_the_place_of_a_refused_one_comes_once(serve: Serve, selected: Selected) -> None:
    """The first reply has three for two, and its second is refused late; its third stands in the second reply too."""
    shared = "The same new sentence about a lamp stands in both of these replies"
    replies: dict[str, int] = {}

    def behave(body: Body, number: int) -> Answer:
        if kind(body) == "verdicts":
            said = [
                {"number": item["number"], "label": "", "real": "refuse" not in item["text"], "why": ""}
                for item in data(body, "records")
            ]
            return answer(verdicts=said)
        if kind(body) != "records" or label_of(body) != MEANINGS["0"]:
            return good(body)
        place = replies.setdefault(user(body), len(replies))
        if place > 1:
            return good(body)
        fresh = written(body, 2)
        texts = [fresh[0], f"refuse {fresh[1]}", shared] if not place else [shared, fresh[0]]
        return records(*texts, label=label_of(body))

    accept = ACCEPT | {"judge": True}
    workspace = selected(serve(behave), {"accept": accept}, concurrency=1)
    workspace.reason()
    workspace.generate()
    found = workspace.sql(
        "select k.accepted, k.reason from checks k left join synthetic s on s.id = k.id left join rejections r "
        f"on r.call_id = k.call_id and r.index = k.index where coalesce(s.text, r.text) = '{shared}' order by all"
    ).fetchall()
    assert sorted(map(str, found)) == ["(False, 'duplicate')", "(True, None)"]
    assert one(workspace, f"select count(*) from synthetic where text = '{shared}'") == 1


# Again


def contents(workspace: sa.Workspace) -> dict[str, list[str]]:
    """Return all rows of what generate writes, but for times."""
    query = {name: f"from {name}" for name in ("synthetic", "checks", "rejections", "attributes", "attribute_values")}
    query["calls"] = "select * exclude (finished_at, latency_s) from calls"
    return {name: sorted(map(str, rows(workspace, text))) for name, text in query.items()}


def mixed(body: Body, number: int) -> Answer:
    """Behave as a model of which one record in two is refused."""
    if kind(body) == "records":
        return records(written(body, 1)[0], "ok so", label=label_of(body))
    return stating(body, number)


@pytest.mark.parametrize("table", ["calls", "synthetic", "runs"])
def test_a_run_that_could_not_be_written_is_the_same_when_it_is_done_again(
    serve: Serve, selected: Selected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    server: Server = serve(mixed)
    settings = {"generate": {"per_selection": 2, "recombined": 1, "refills": 1}}
    workspace = selected(server, settings)
    workspace.reason()
    twin = sa.open(shutil.copytree(workspace.path, tmp_path / "twin"))
    reasoned = len(server.bodies)
    twin.generate()
    sent = len(server.bodies)
    insert = Lake.insert

    def failing(lake: Lake, name: str, *given: Any) -> int:
        if name == table:
            raise StoreError("the disk is full")
        return insert(lake, name, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "insert", failing)
        with pytest.raises(StoreError, match="the disk is full"):
            workspace.generate()
    assert rows(workspace, "from synthetic") == []
    calls = len(server.bodies) - sent
    assert calls == sent - reasoned == 3 * SELECTIONS
    assert not workspace.generate().reused
    assert len(server.bodies) == sent + calls
    assert contents(workspace) == contents(twin)
    assert workspace.generate().reused
    assert len(server.bodies) == sent + calls


def test_records_lead_to_the_call_that_repaired_their_reply(serve: Serve, selected: Selected) -> None:
    def behave(body: Body, number: int) -> Answer:
        if kind(body) == "records" and len(body["messages"]) == 2:
            return chat("Here they are: 1. First one 2. Second one")
        return good(body)

    server = serve(behave)
    workspace = selected(server)
    workspace.reason()
    outcome = workspace.generate()
    assert outcome.counts == {"calls": 12, "records": 12, "rejections": 6}
    found = workspace.sql(
        "select f.reply, f.repairs, c.template_hash = f.template_hash from lineage l join calls c using (call_id) "
        "join calls f on f.call_id = c.repairs"
    ).fetchall()
    assert found == [("Here they are: 1. First one 2. Second one", None, True)] * 12
    texts = {row["text"] for row in rows(workspace, "from rejections")}
    assert texts == {"Here they are: 1. First one 2. Second one"}
