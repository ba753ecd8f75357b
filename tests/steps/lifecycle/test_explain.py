"""explain: the provenance of one record, against the tables themselves."""

from __future__ import annotations

import pytest

import synalign as sa
from synalign.errors import UsageError
from tests.steps.workspaces import rows


@pytest.fixture(scope="module")
def written(filled: sa.Workspace) -> dict:
    """A generated record that has a weight."""
    query = "select y.*, w.weight from synthetic_weighted w join synthetic y on y.id = w.id order by w.id limit 1"
    return rows(filled, query)[0]


def test_a_generated_record_tells_where_it_comes_from(filled: sa.Workspace, written: dict):
    found = filled.explain(written["id"])
    assert [row["text"] for row in found["record"]] == [written["text"]]
    line = rows(filled, f"from lineage where id = '{written['id']}'")[0]
    assert [row["id"] for row in found["demonstrations"]] == line["demonstration_ids"]
    texts = dict(filled.sql("select id, text from real").fetchall())
    assert [row["text"] for row in found["demonstrations"]] == [texts[name] for name in line["demonstration_ids"]]
    assert [row["selection_id"] for row in found["selections"]] == [line["selection_id"]]
    assert found["selections"][0]["variance_before"] > found["selections"][0]["variance_after"]
    calls = {row["step"]: row for row in found["call"]}
    assert calls["generate"]["call_id"] == line["call_id"]
    assert written["text"].split()[0] in calls["generate"]["reply"]
    assert all(texts[name].split()[0] in calls["reason"]["user"] for name in line["demonstration_ids"])
    assert {row["name"]: row["value"] for row in found["attributes"]} == {
        part["name"]: part["value"] for part in line["attributes"]
    }
    assert [(row["weight_set"], row["is_current"]) for row in found["weights"]] == [("default", True)]
    heavier = filled.sql(f"select count(*) from synthetic_weighted where weight > {written['weight']!r}").fetchall()
    assert found["weights"][0]["rank"] == heavier[0][0] + 1
    assert found["checks"][0]["accepted"] is True
    assert found["written"] == []


def test_a_real_record_tells_what_was_made_of_it(filled: sa.Workspace):
    shown = filled.sql("select demonstrations[1] from selections order by step limit 1").fetchall()[0][0]
    found = filled.explain(shown)
    assert found["record"][0]["origin"] == "real"
    of = [row["selection_id"] for row in found["selections"]]
    assert of
    wanted = filled.sql("select id from synthetic where selection_id in (select unnest($1))", [of]).fetchall()
    assert {row["id"] for row in found["written"]} == {row[0] for row in wanted}
    assert {row["step"] for row in found["call"]} == {"reason", "generate"}
    assert (found["weights"], found["checks"], found["demonstrations"]) == ([], [], [])


def test_the_beginning_of_an_id_is_enough(filled: sa.Workspace, written: dict):
    assert filled.explain(written["id"][:12])["record"][0]["id"] == written["id"]


def test_what_is_no_record_or_several_is_refused(filled: sa.Workspace, written: dict):
    with pytest.raises(UsageError, match=r"no real or synthetic record 'nope'.*synalign search"):
        filled.explain("nope")
    with pytest.raises(UsageError, match=rf"no real record '{written['id']}'"):
        filled.explain(written["id"], origin="real")
    with pytest.raises(UsageError, match=r"origin must be real or synthetic, not 'made up'"):
        filled.explain(written["id"], origin="made up")
    with pytest.raises(UsageError, match=r"no real or synthetic record ''"):
        filled.explain("")
    begin = filled.sql("select substr(id, 1, 1) from synthetic group by 1 having count(*) > 1").fetchall()[0][0]
    with pytest.raises(UsageError, match=rf"'{begin}' begins the ids of several records"):
        filled.explain(begin)


def test_one_id_on_both_sides_needs_its_side(blank):
    import polars as pl

    workspace = sa.open(blank)
    for synthetic in (False, True):
        workspace.ingest(pl.DataFrame({"key": ["k1"], "text": [f"side {synthetic}"]}), id="key", synthetic=synthetic)
    with pytest.raises(UsageError, match="'k1' is a real and a synthetic record"):
        workspace.explain("k1")
    assert workspace.explain("k1", origin="synthetic")["record"][0]["text"] == "side True"
