"""Attributes of single records over real HTTP, and their shares side by side."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.errors import ModelError, NotReadyError, UsageError
from tests.llm.server import Answer, chat
from tests.steps.answers import Body, Serve, answer, asks, attributes, data, good, kind, of_kind
from tests.steps.calling import test_calls
from tests.steps.calling.test_calls import SELECTIONS, Selected, one
from tests.steps.workspaces import FIXED, rows, weights

# The fixtures of those tests: a workspace with selections whose model is at a server.
key, template, selected = test_calls.key, test_calls.template, test_calls.selected

TONE = {"reason": {"attributes": {"tone": "category", "length": "number"}, "open": 0, "merge": False}}


def tone_of(text: str) -> str:
    """Return the tone that the server hears in a text."""
    return ("calm", "angry", "glad")[len(text) % 3]


def listening(body: Body, number: int) -> Answer:
    """Behave as a model that tells the tone of a text by its length, and of a selection by its first text."""
    if kind(body) == "annotations":
        return answer(
            annotations=[
                {"number": item["number"], "name": "Tone", "value": f"{tone_of(item['text']).upper()}."}
                for item in data(body, "records")
            ]
        )
    if kind(body) == "attributes":
        return attributes({"tone": tone_of(data(body, "demonstrations")[0]["text"]), "length": "9"})
    return good(body)


def train(workspace: sa.Workspace) -> list[dict[str, Any]]:
    return rows(workspace, "select id, text, multiplicity from real where split = 'train'")


def annotated(workspace: sa.Workspace, origin: str = "real") -> dict[str, str]:
    return dict(
        workspace.sql(f"select id, value from annotations where origin = '{origin}' and name='tone'").fetchall()
    )


def shares(workspace: sa.Workspace) -> dict[str, tuple[float, float, float]]:
    found = workspace.sql("from attribute_marginals where attribute = 'tone'").fetchall()
    return {row[1]: row[2:] for row in found}


def normal(amounts: dict[str, float]) -> dict[str, float]:
    return {value: amount / sum(amounts.values()) for value, amount in amounts.items()}


def check_sums(workspace: sa.Workspace) -> None:
    sums = workspace.sql(
        "select attribute, sum(real_share), sum(raw_share), sum(weighted_share) from attribute_marginals group by all"
    ).fetchall()
    assert {"tone", "label", "words", "cluster"} == {row[0] for row in sums}
    for _, *found in sums:
        np.testing.assert_allclose(found, 1, rtol=1e-9)


def test_shares_of_what_was_stated_stand_side_by_side(serve: Serve, selected: Selected) -> None:
    server = serve(listening)
    workspace = selected(server, TONE)
    workspace.reason()
    workspace.generate(per_selection=4)
    workspace.align(**FIXED)
    outcome = workspace.annotate(sample=50)
    assert outcome.counts == {"origin": "real", "records": 50, "annotations": 50, "rejections": 0}
    found = annotated(workspace)
    real: defaultdict[str, float] = defaultdict(float)
    for row in train(workspace):
        if row["id"] in found:
            assert found[row["id"]] == tone_of(row["text"])
            real[tone_of(row["text"])] += row["multiplicity"]
    sides: dict[str, defaultdict[str, float]] = {"raw": defaultdict(float), "weighted": defaultdict(float)}
    weight = weights(workspace)
    stated = dict(workspace.sql("select attributes_id, value from attribute_values where name = 'tone'").fetchall())
    records = rows(workspace, "select id, text, attributes_id, multiplicity from synthetic_weighted")
    for row in records:
        sides["raw"][stated[row["attributes_id"]]] += row["multiplicity"]
        sides["weighted"][stated[row["attributes_id"]]] += weight[row["id"]]
    expected = [normal(dict(side)) for side in (real, *sides.values())]
    for value, figures in shares(workspace).items():
        np.testing.assert_allclose(figures, [side.get(value, 0.0) for side in expected], rtol=1e-9)
    assert expected[1] != expected[2]
    check_sums(workspace)

    # What synthetic records are annotated as counts more than what they were written from.
    workspace.annotate(origin="synthetic")
    assert annotated(workspace, "synthetic") == {row["id"]: tone_of(row["text"]) for row in records}
    raw = normal(Counter(tone_of(row["text"]) for row in records))
    assert raw != expected[1]
    for value, figures in shares(workspace).items():
        assert figures[0] == pytest.approx(expected[0].get(value, 0.0))
        assert figures[1] == pytest.approx(raw.get(value, 0.0))
    check_sums(workspace)
    asked = of_kind(server, "annotations")
    assert all(data(body, "attributes") == [
        {"name": "tone", "kind": "category", "values": sorted(set(stated.values()))}
    ] for body in asked)  # fmt: skip
    assert {item["text"] for body in asked[-3:] for item in data(body, "records")} <= {row["text"] for row in records}


def test_a_larger_sample_asks_only_for_what_is_new(serve: Serve, selected: Selected) -> None:
    server = serve(listening)
    workspace = selected(server, TONE | {"annotate": {"batch": 5}})
    workspace.reason()
    first = workspace.annotate(sample=20)
    assert asks(server) == {"attributes": SELECTIONS, "annotations": 4}
    known = annotated(workspace)
    assert len(known) == 20
    assert workspace.annotate(sample=20).reused
    assert workspace.annotate(sample=35).counts["annotations"] == 35
    assert asks(server)["annotations"] == 7
    assert annotated(workspace).items() > known.items()
    everything = [item["text"] for body in of_kind(server, "annotations") for item in data(body, "records")]
    assert len(everything) == len(set(everything)) == 35
    again = workspace.annotate(sample=20)
    assert (again.reused, again.run_id) == (True, first.run_id)
    assert len(annotated(workspace)) == 35  # of several runs the last counts, and nothing is lost
    everyone = workspace.annotate(sample=1000)
    assert everyone.counts["records"] == len(train(workspace)) == len(annotated(workspace))
    assert workspace.annotate(sample=1000).reused


def test_records_of_one_text_are_told_the_same(serve: Serve, selected: Selected) -> None:
    server = serve(listening)
    workspace = selected(server, TONE | {"annotate": {"batch": 1}})
    twice = pl.DataFrame({"text": ["A text that two labels share"] * 2, "label": ["0", "1"]})
    workspace.ingest(twice, label="label")
    workspace.reason()
    workspace.annotate(sample=1000)
    ids = [row["id"] for row in rows(workspace, f"select id from real where text = '{twice['text'][0]}'")]
    assert [annotated(workspace).get(name) for name in ids] == [tone_of(twice["text"][0])] * 2
    assert asks(server)["annotations"] == len(train(workspace)) - 1


def test_what_was_not_asked_for_is_left_out_and_what_is_missing_is_said(serve: Serve, selected: Selected) -> None:
    def behave(body: Body, number: int) -> Answer:
        if kind(body) != "annotations":
            return listening(body, number)
        said = [(1, "tone", "Calm"), (1, "tone", "angry"), (2, "length", "3"), (2, "tone", " . "), (3, "colour", "red")]
        said += [(0, "tone", "calm"), (6, "tone", "calm")]
        return answer(annotations=[{"number": n, "name": name, "value": value} for n, name, value in said])

    server = serve(behave)
    workspace = selected(server, TONE | {"annotate": {"batch": 5, "sample": 10}})
    workspace.reason()
    outcome = workspace.annotate()
    assert [tuple(row.values()) for row in rows(workspace, "select name, kind, value, stated from annotations")] == [
        ("tone", "category", "calm", "Calm")
    ] * 2
    assert "8 of 10 values were not stated" in outcome.notes
    (call,) = workspace.sql("select distinct step from annotations join calls using (call_id)").fetchall()
    assert call == ("annotate",)


def test_values_that_mean_the_same_become_those_that_reason_made(serve: Serve, selected: Selected) -> None:
    def behave(body: Body, number: int) -> Answer:
        if kind(body) == "merges":
            return answer(merges=[{"name": "tone", "value": "cross", "becomes": "angry"}])
        if kind(body) == "annotations":
            return answer(annotations=[{"number": 1, "name": "tone", "value": "Cross"}])
        return attributes({"tone": "angry"})

    server = serve(behave)
    workspace = selected(server, {"reason": TONE["reason"] | {"merge": True}})
    workspace.reason()
    workspace.annotate(sample=10)
    assert rows(workspace, "select value, stated from annotations") == [{"value": "angry", "stated": "Cross"}]
    shown = [{"value": "angry", "known": True}, {"value": "cross", "known": False}]
    assert [data(body, "attributes")[0]["values"] for body in of_kind(server, "merges")] == [shown]


def test_there_is_nothing_to_annotate(serve: Serve, selected: Selected) -> None:
    server = serve(lambda body, _: chat("[]") if kind(body) == "annotations" else good(body))
    workspace = selected(server, TONE, repairs=0)
    with pytest.raises(UsageError, match="origin must be one of real, synthetic; given: 'both'"):
        workspace.annotate(origin="both")
    with pytest.raises(NotReadyError, match="there are no synthetic records"):
        workspace.annotate(origin="synthetic")
    workspace.reason()
    with pytest.raises(ModelError, match="annotate: none of 2 replies can be used"):
        workspace.annotate(sample=20)
    assert one(workspace, "select count(*) from annotations") == 0
    workspace.configure(sa.Config.model_validate({"reason": {"attributes": {"length": "number"}}}))
    with pytest.raises(NotReadyError, match=r"no attribute of reason\.attributes is a category"):
        workspace.annotate()
