"""Personal data of real text never reaches the model; what stands for it stays here, and none comes back as new."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import polars as pl
import pytest

import synalign as sa
from synalign.errors import SqlError
from synalign.steps.lifecycle.publish import publish_if_stale
from synalign.workspace import CATALOG_NAME
from tests.llm.server import Answer, Server
from tests.steps.answers import Body, Serve, data, good, kind, label_of, of_kind, records, user, written
from tests.steps.workspaces import one, rows

EMAILS = [f"{name}@{place}.example.org" for name in ("ann", "bob", "cy", "dee") for place in ("home", "work")]
PHONES = ["+44 20 7946 0018", "+49 30 901820", "(415) 555-2671", "+46 8 508 29 000"]
THINGS = ["kettle", "lamp", "coat", "chair", "clock", "blanket", "printer", "jacket", "mirror", "bowl"]


def text(number: int) -> str:
    """A message; each address and number stands in several."""
    return (
        f"My {THINGS[number % 10]} from order {number} is late, write to {EMAILS[number % 8]} "
        f"or call {PHONES[number % 4]} about it please"
    )


@pytest.fixture
def workspace(blank: Path) -> sa.Workspace:
    workspace = sa.open(blank)
    workspace.ingest(pl.DataFrame({"text": [text(n) for n in range(40)], "label": ["a", "b"] * 20}), label="label")
    workspace.embed(dimensions=8)
    workspace.cluster(k=4)
    workspace.select(budget=4, unit="record")
    return workspace


def configure(workspace: sa.Workspace, server: Server, **given: object) -> None:
    llm = {"model": "m1", "base_url": server.url, "max_attempts": 1, "concurrency": 3, "redact": ["email", "phone"]}
    accept = {"too_similar": False, "too_near": False, "copied": False, "length": False, "judge": True}
    settings = {"llm": llm, "accept": accept, "generate": {"per_selection": 2, "from_demonstrations": 1}}
    workspace.configure(sa.Config.model_validate(settings | given))


def sent(server: Server) -> str:
    return json.dumps(server.bodies, ensure_ascii=False)


def test_no_address_and_no_number_of_real_text_is_sent(serve: Serve, workspace: sa.Workspace) -> None:
    server = serve(good)
    configure(workspace, server)
    workspace.reason()
    workspace.generate()
    workspace.annotate(sample=40)
    assert {kind(body) for body in server.bodies} == {"attributes", "records", "verdicts", "annotations"}
    digits = re.sub(r"\D", "", sent(server))
    assert not [item for item in (*EMAILS, *PHONES) if item in sent(server)]
    assert not [item for item in PHONES if re.sub(r"\D", "", item) in digits]
    assert "example.org" not in sent(server)
    shown = {item["text"] for body in of_kind(server, "attributes") for item in data(body, "demonstrations")}
    assert shown
    assert all(
        re.fullmatch(r"My .*, write to \[EMAIL_\d\] or call \[PHONE_\d\] about it please", item) for item in shown
    )
    assert all("never write a placeholder" in user(body) for body in of_kind(server, "records"))
    # What is sent can be read again here, and only here.
    everything = {item["text"] for body in of_kind(server, "annotations") for item in data(body, "records")}
    assert {workspace.restore(item) for item in everything} == {text(n) for n in range(40)}
    assert workspace.restore("[EMAIL_99] and [PHONE_1]") == f"[EMAIL_99] and {workspace.restore('[PHONE_1]')}"


def test_one_datum_has_one_placeholder_in_all_steps_and_runs(serve: Serve, workspace: sa.Workspace) -> None:
    server = serve(good)
    configure(workspace, server)
    workspace.reason()
    first = {row["placeholder"]: row["original"] for row in workspace._lake.read("redactions").to_pylist()}
    again = sa.open(workspace.path)  # another process
    again.generate()
    again.annotate(sample=40)
    later = {row["placeholder"]: row["original"] for row in workspace._lake.read("redactions").to_pylist()}
    assert later.items() >= first.items()
    assert sorted(later.values()) == sorted([*EMAILS, *PHONES])
    by_text: dict[str, set[str]] = {}
    for body in server.bodies:
        for item in [*data(body, "demonstrations"), *(data(body, "records") if kind(body) == "annotations" else [])]:
            by_text.setdefault(workspace.restore(item["text"]), set()).add(item["text"])
    assert {len(forms) for forms in by_text.values()} == {1}
    count = len(server.bodies)
    assert again.reason().reused
    assert again.generate().reused
    assert len(server.bodies) == count


def test_without_redaction_real_text_is_sent_as_it_is(serve: Serve, workspace: sa.Workspace) -> None:
    server = serve(good)
    configure(workspace, server)
    workspace.reason()
    redacted = len(server.bodies)
    configure(workspace, server, llm={"model": "m1", "base_url": server.url})
    assert not workspace.reason().reused
    assert len(server.bodies) == 2 * redacted
    assert "example.org" in json.dumps(server.bodies[redacted:])


def test_what_stood_there_is_in_no_relation_and_not_in_the_catalog(serve: Serve, workspace: sa.Workspace) -> None:
    configure(workspace, serve(good))
    workspace.reason()
    workspace.generate()
    assert workspace._lake.read("redactions").num_rows
    with pytest.raises(SqlError, match="redactions"):
        workspace.sql("from redactions")
    publish_if_stale(workspace._context(), workspace.path / CATALOG_NAME)
    with duckdb.connect(str(workspace.path / CATALOG_NAME), read_only=True) as catalog:
        catalog.execute("set search_path = 'main,detail'")
        names = [row[0] for row in catalog.sql("select table_name from duckdb_tables()").fetchall()]
        views = [row[0] for row in catalog.sql("select view_name from duckdb_views() where not internal").fetchall()]
        assert {"real", "calls", "attributes"} <= {*names, *views}
        for name in (*names, *views):
            assert "redact" not in name
            for row in catalog.sql(f'from "{name}"').fetchall():
                cells = [str(cell) for cell in row]
                # Real text is there as it is, and what was sent as it was sent; nothing leads from one to the other.
                held = [cell for cell in cells if "@" in cell or any(phone in cell for phone in PHONES)]
                assert not (held and [cell for cell in cells if re.search(r"\[(EMAIL|PHONE)_", cell)]), name
    relations = [row[0] for row in workspace.connect().sql("show tables").fetchall()]
    assert not [name for name in relations if "redact" in name]


def test_new_personal_data_and_placeholders_are_refused(serve: Serve, workspace: sa.Workspace) -> None:
    """Of five texts two say nothing personal or what their demonstrations say; the judge never sees the others."""
    copied = {}

    def behave(body: Body, number: int) -> Answer:
        if kind(body) != "records":
            return good(body)
        fresh = written(body, 5)
        shown = data(body, "demonstrations")[0]["text"]
        address = re.search(r"\S+@\S+", workspace.restore(shown))
        assert address
        copied[address[0]] = f"{fresh[1]} Mail {address[0]}"
        texts = [
            fresh[0], copied[address[0]], f"{fresh[2]} Mail eve@elsewhere.net", f"{fresh[3]} Call +44 20 7946 0999",
            f"{fresh[4]} Mail [EMAIL_1]",
        ]  # fmt: skip
        return records(*texts, label=label_of(body))

    server = serve(behave)
    configure(workspace, server, generate={"per_selection": 5, "refills": 0})
    workspace.reason()
    workspace.generate()
    found = dict(workspace.sql("select reason, count(*) from rejections group by all").fetchall())
    assert found == {"personal": 8, "leaked": 4}
    assert one(workspace, "select count(*) from synthetic") == 8
    kept = {row["text"] for row in rows(workspace, "from synthetic")}
    assert set(copied.values()) <= kept
    judged = {item["text"] for body in of_kind(server, "verdicts") for item in data(body, "records")}
    assert judged == kept
