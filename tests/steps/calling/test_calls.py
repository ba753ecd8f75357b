"""The steps that ask a language model, over real HTTP: what is asked, what is kept, what is asked again."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import lance
import polars as pl
import pytest

import synalign as sa
from synalign.config import RULES
from synalign.errors import (
    ModelAuthError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
    NotReadyError,
)
from synalign.steps.lifecycle.publish import publish_if_stale
from synalign.workspace import CATALOG_NAME
from tests.cli.inside import cli
from tests.conftest import CORPUS
from tests.llm.endpoint import Endpoint
from tests.llm.server import Answer, Server, chat, error
from tests.steps.answers import Serve, asks, data, good, kind, of_kind, records, user

KEY = "sk-secret-key-0123456789"
SELECTIONS = 6
CODES = {"refund": "0", "praise": "1"}
#: Sentences of a few words are alike in few dimensions: the rules that compare vectors have tests of their own.
ACCEPT = {"too_similar": False, "too_near": False}
#: All rules off that can be.
OFF: dict[str, Any] = {rule: False for rule in RULES if rule not in ("schema", "personal")} | {"personal": []}
MEANINGS = {"0": "wants money back", "1": "is pleased with the shop"}

Selected = Callable[..., sa.Workspace]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", KEY)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with coded labels and six selections."""
    workspace = sa.open(tmp_path_factory.mktemp("template") / "workspace")
    rows = pl.read_csv(CORPUS).filter(pl.col("label").is_in(list(CODES))).with_columns(pl.col("label").replace(CODES))
    workspace.ingest(rows.select("text", "label").head(80), label="label")
    workspace.embed(dimensions=24)
    workspace.cluster(k=SELECTIONS)
    workspace.select()
    return workspace.path


@pytest.fixture
def selected(template: Path, blank: Path) -> Selected:
    """Give a copy of the template whose model is at a server."""

    def make(server: Server, more: dict[str, Any] | None = None, **llm: Any) -> sa.Workspace:
        shutil.copytree(template, blank)
        workspace = sa.open(blank, create=False)
        at = {"model": "m1", "base_url": server.url, "api_key_env": "SHOP_KEY", "max_attempts": 1, "concurrency": 3}
        task = {"description": "a message to a shop", "labels": MEANINGS}
        settings = {"task": task, "llm": at | llm, "generate": {"per_selection": 2, "refills": 0}, "accept": ACCEPT}
        workspace.configure(sa.Config.model_validate(settings | (more or {})))
        return workspace

    return make


def one(workspace: sa.Workspace, query: str) -> Any:
    (row,) = workspace.sql(query).fetchall()
    return row[0] if len(row) == 1 else row


def test_prompts_show_what_labels_mean_and_never_their_codes_alone(serve: Serve, selected: Selected) -> None:
    server = serve(good)
    workspace = selected(server)
    workspace.reason()
    workspace.generate()
    assert asks(server) == {"attributes": SELECTIONS, "records": SELECTIONS}
    labels = {item["label"] for body in server.bodies for item in data(body, "demonstrations")}
    assert labels == set(MEANINGS.values())
    asked = [item for body in of_kind(server, "records") for item in data(body, "label")]
    assert {(item["name"], item["label"]) for item in asked} == set(MEANINGS.items())
    assert len(asked) == SELECTIONS
    texts = {row["text"] for row in pl.read_csv(CORPUS).iter_rows(named=True)}
    assert {item["text"] for body in server.bodies for item in data(body, "demonstrations")} <= texts
    tone = {"name": "tone", "kind": "category", "value": "plain"}
    assert all(data(body, "attributes") == [tone] for body in of_kind(server, "records"))
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert one(workspace, "select count(*), count(distinct id) from synthetic") == (12, 12)


def test_what_cannot_be_used_is_kept_with_its_reason(serve: Serve, selected: Selected) -> None:
    """One reply each: no JSON, a copy, a near copy, an empty text and one too many, a repeat, another of that kind."""
    reply_of: dict[str, int] = {}

    def behave(body: dict[str, Any], number: int) -> Answer:
        if kind(body) == "attributes":
            return good(body)
        nth = reply_of.setdefault(user(body), len(reply_of))
        first = data(body, "demonstrations")[0]["text"]
        new = [f"{place} has been asked for and is late" for place in ("My kettle", "The blue coat", "Order 1718")]
        answers = {
            0: chat("I cannot do this today."),
            1: records(first, "A text of reply one that nobody wrote"),
            2: records(first + "!", "Reply two holds other words than this"),
            3: records("  ", *new),
            4: records("The same new words twice", "the  SAME new words twice"),
        }
        return answers.get(nth) or good(body)

    workspace = selected(serve(behave), concurrency=1, repairs=0)
    workspace.reason()
    outcome = workspace.generate()
    found = dict(workspace.sql("select reason, count(*) from rejections group by all").fetchall())
    assert found == {"not_json": 1, "copied": 2, "empty": 1, "surplus": 1, "duplicate": 1}
    assert outcome.counts["rejections"] == 6
    whole = workspace.sql("select reason, text from rejections where index = -1").fetchall()
    assert whole == [("not_json", "I cannot do this today.")]
    assert outcome.counts["records"] == one(workspace, "select count(*) from synthetic") == 1 + 1 + 2 + 1 + 2
    surplus = one(
        workspace, "select text, c.step from rejections r join calls c using (call_id) where reason='surplus'"
    )
    assert surplus == ("Order 1718 has been asked for and is late", "generate")
    assert any("12 records were asked for, 7 kept" in note for note in outcome.notes)


def test_after_errors_only_what_failed_is_asked_again(serve: Serve, selected: Selected) -> None:
    broken = threading.Event()
    broken.set()

    def behave(body: dict[str, Any], number: int) -> Answer:
        return error(500, "overloaded") if broken.is_set() and number in (1, 4) else good(body)

    server = serve(behave)
    workspace = selected(server)
    with pytest.raises(ModelUnavailableError, match=r"2 of 6 calls got no reply.*overloaded.*replies are kept"):
        workspace.reason()
    assert dict(workspace.sql("select status, count(*) from calls group by all").fetchall()) == {
        "complete": 4,
        "failed": 2,
    }
    assert workspace.sql("select * from attributes").fetchall() == []
    failed = {json.dumps(server.bodies[number]) for number in (1, 4)}
    broken.clear()
    assert workspace.reason().counts["attributes"] == SELECTIONS
    assert {json.dumps(body) for body in server.bodies[6:]} == failed
    assert len(server.bodies) == 8
    assert one(workspace, "select count(*), bool_and(status = 'complete') from calls") == (6, True)
    assert workspace.reason().reused
    assert len(server.bodies) == 8


def test_a_refused_request_is_recorded_and_the_step_completes(serve: Serve, selected: Selected) -> None:
    def behave(body: dict[str, Any], number: int) -> Answer:
        return error(400, "blocked by the content filter", "content_filter") if number == 2 else good(body)

    server = serve(behave)
    workspace = selected(server)
    outcome = workspace.reason()
    assert (outcome.counts["attributes"], outcome.counts["rejections"]) == (5, 1)
    reason, detail = one(workspace, "select reason, detail from rejections")
    assert reason == "refused"
    assert "blocked by the content filter" in detail
    assert one(workspace, "select count(*) from calls where status = 'refused'") == 1
    assert workspace.generate().counts["calls"] == 5
    assert len(server.bodies) == 6 + 5
    assert workspace.reason().reused
    assert workspace.generate().reused
    assert len(server.bodies) == 6 + 5


def test_costs_follow_from_prices_and_reported_tokens(serve: Serve, selected: Selected) -> None:
    """The server reports 11 tokens in and 5 out for each reply: at $3 and $8 a million, 73 millionths each."""
    workspace = selected(serve(good), {"prices": {"m1": {"input": 3.0, "output": 8.0}}})
    workspace.reason()
    workspace.generate()
    rows = workspace.sql("select step, calls, complete, prompt_tokens, cost_usd, accepted from call_costs").fetchall()
    assert [row[:4] + row[5:] for row in rows] == [("generate", 6, 6, 66, 12), ("reason", 6, 6, 66, 0)]
    assert [row[4] for row in rows] == pytest.approx([6 * 73e-6] * 2, rel=1e-12)
    assert one(workspace, "select usd_per_record from call_costs where accepted > 0") == pytest.approx(36.5e-6)


def test_calls_are_visible_while_the_step_is_under_way(serve: Serve, selected: Selected, blank: Path) -> None:
    held = threading.Event()

    def behave(body: dict[str, Any], number: int) -> Answer:
        if number >= 4:
            held.wait(30)
        return good(body)

    server = serve(behave)
    workspace = selected(server, concurrency=2)
    step = threading.Thread(target=workspace.reason)
    step.start()
    try:
        server.wait_for(6)  # with two at a time, four replies are in the ledger before the sixth request is sent
        reader = sa.open(blank, create=False)
        query = "select count(*) from calls where status = 'complete' and reply is not null"
        assert one(reader, query) == 4
        assert one(reader, "select count(*) from attributes") == 0
        command = [sys.executable, "-m", "synalign.cli", "sql", str(blank), query, "--csv"]
        assert subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[1:] == ["4"]
    finally:
        held.set()
        step.join()
    assert one(sa.open(blank), "select count(*) from attributes") == 6


def test_a_wrong_key_stops_at_once_and_is_stored_nowhere(serve: Serve, selected: Selected, blank: Path) -> None:
    """Servers repeat the key in what they say; neither a message nor any byte of the workspace holds it."""
    refuse = threading.Event()

    def behave(body: dict[str, Any], number: int) -> Answer:
        if refuse.is_set():
            return error(401, f"Incorrect API key provided: {KEY}", "invalid_api_key")
        return error(400, f"not with the key {KEY}", "content_filter") if number == 1 else good(body)

    server = serve(behave)
    workspace = selected(server)
    workspace.reason()
    refuse.set()
    before = len(server.bodies)
    with pytest.raises(ModelAuthError, match="refused the key from SHOP_KEY") as caught:
        workspace.generate()
    assert KEY not in str(caught.value)
    assert len(server.bodies) - before <= 3  # those that were under way together
    command = [sys.executable, "-m", "synalign.cli", "generate", str(blank)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "300"})
    assert done.returncode == 1
    assert "refused the key from SHOP_KEY" in done.stderr
    assert "Traceback" not in done.stderr
    assert KEY not in done.stdout + done.stderr
    holders = [path for path in blank.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert holders == []
    refuse.clear()
    assert workspace.generate().counts["calls"] == 5


def everything(path: Path) -> dict[str, str]:
    """Return all that a workspace holds, decoded: every version of every table, both databases, and bare files."""
    found = {str(file): file.read_bytes().decode("latin-1") for file in path.rglob("*") if file.is_file()}
    for folder in (path / "lance").glob("*.lance"):
        for version in lance.dataset(str(folder)).versions():
            rows = lance.dataset(str(folder), version=version["version"]).to_table().to_pylist()
            found[f"{folder.name} {version['version']}"] = str(rows)
    with closing(sqlite3.connect(path / "ledger.sqlite")) as ledger:
        for (name,) in ledger.execute("select name from sqlite_master where type = 'table'").fetchall():
            found[f"ledger {name}"] = str(ledger.execute(f"select * from {name}").fetchall())
    with duckdb.connect(str(path / CATALOG_NAME), read_only=True) as catalog:
        catalog.execute("set search_path = 'main,detail'")
        names = catalog.sql("select table_name from duckdb_tables() union select view_name from duckdb_views() where "
                            "not internal").fetchall()  # fmt: skip
        found |= {f"catalog {name}": str(catalog.sql(f'from "{name}"').fetchall()) for (name,) in names}
    return found


def test_no_step_leaves_the_key_anywhere(blank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server says the key in every error and every reply; what users see and what is kept has no key in it."""
    faults = {"500": 0.1, "429": 0.1, "malformed": 0.15, "error200": 0.05}
    with Endpoint(echo_key=True, faults=faults, retry_after_fault="0.01") as endpoint:
        workspace = sa.open(blank)
        at = {"base_url": endpoint.url, "api_key_env": "SHOP_KEY"}
        settings = {
            "task": {"description": "a message to a shop", "labels": MEANINGS},
            "embed": at | {"model": "openai/e1", "dimensions": 16},
            "llm": at | {"model": "m1", "max_attempts": 9, "concurrency": 8, "redact": ["email"]},
            "generate": {"per_selection": 3, "from_demonstrations": 1, "refills": 1},
            "accept": OFF | {"judge": True},
            "align": {"features": 64, "strength": 1e-2, "label_shares": "real"},
        }
        workspace.configure(sa.Config.model_validate(settings))
        rows = pl.read_csv(CORPUS).filter(pl.col("label").is_in(list(CODES)))
        rows.with_columns(pl.col("label").replace(CODES)).head(60).write_csv(tmp_path / "rows.csv")
        said = []

        def do(*arguments: str | Path, status: int = 0) -> None:
            for form in [["--json"], []] if status else [["--json"]]:
                done = cli(arguments[0], blank, *arguments[1:], *form)
                assert done.returncode == status, done.stderr
                assert (done.stdout + done.stderr).strip()
                said.append(done.stdout + done.stderr)

        do("ingest", tmp_path / "rows.csv", "--text", "text", "--label", "label")
        for step in ("embed", "cluster", "select", "estimate", "reason", "generate", "annotate", "align"):
            do(step, *(("-k", "5") if step == "cluster" else ()))
        gone = endpoint.url.replace("/v1", "/v2")
        do("reason", "--base-url", gone, status=2)
        do("search", "a late parcel")
        do("embed", "--base-url", gone, status=2)
        do("record", tmp_path / "recording.jsonl", "--force")
        do("sql", "from calls")
        for step in ("status", "weights", "check"):
            do(step)
        assert endpoint.stats()["replies"]["500"]
        publish_if_stale(workspace._context(), blank / CATALOG_NAME)
        found = everything(blank) | {f"said {number}": text for number, text in enumerate(said)}
        found["recording"] = (tmp_path / "recording.jsonl").read_text(encoding="utf-8")
    assert one(workspace, "select count(*) from calls where reply like '%[key]%'") > SELECTIONS
    assert {"calls.lance 1", "ledger calls", "catalog calls", "catalog synthetic_weighted"} <= set(found)
    assert [name for name, text in found.items() if KEY in text] == []


def statuses(workspace: sa.Workspace) -> dict[str, int]:
    return dict(workspace.sql("select status, count(*) from calls group by all").fetchall())


def folded(workspace: sa.Workspace) -> int:
    return workspace._lake.read("calls").num_rows


BAD: dict[str, tuple[Answer, type[ModelError], str]] = {
    "refused": (error(400, "temperature unknown", "invalid_prompt"), ModelRefusedError, "6 requests.*temperature unkn"),
    "unreadable": (chat("I would rather not."), ModelError, "none of 6 replies.*not_json.*rather not"),
}


@pytest.mark.parametrize("step", ["reason", "generate"])
@pytest.mark.parametrize("problem", BAD)
def test_a_step_without_one_usable_reply_fails_and_asks_again(
    serve: Serve, selected: Selected, step: str, problem: str
) -> None:
    answer, expected, says = BAD[problem]
    asked = {"reason": "attributes", "generate": "records"}[step]
    broken = threading.Event()
    broken.set()
    server = serve(lambda body, _: answer if broken.is_set() and kind(body) == asked else good(body))
    workspace = selected(server, repairs=0)
    if step == "generate":
        workspace.reason()
    before, sent = folded(workspace), len(server.bodies)
    for attempt in (1, 2):
        with pytest.raises(ModelError, match=rf"{step}: .*{says}.*asks again") as caught:
            getattr(workspace, step)()
        assert type(caught.value) is expected
        assert len(server.bodies) == sent + 6 * attempt
    assert folded(workspace) == before
    assert statuses(workspace) == {"failed": 6} | ({"complete": 6} if before else {})
    replies = {row[0] for row in workspace.sql("select reply from calls where status = 'failed'").fetchall()}
    assert replies == ({"I would rather not."} if problem == "unreadable" else {None})
    assert one(workspace, f"select count(*) from runs where step = '{step}'") == 0
    assert one(workspace, "select count(*) from rejections") == 0
    broken.clear()
    assert not getattr(workspace, step)().reused
    assert statuses(workspace) == {"complete": before + 6}
    assert folded(workspace) == before + 6
    assert getattr(workspace, step)().reused
    assert len(server.bodies) == sent + 18


def test_replies_without_a_record_are_not_usable(serve: Serve, selected: Selected) -> None:
    server = serve(lambda body, _: good(body) if kind(body) == "attributes" else records())
    workspace = selected(server)
    workspace.reason()
    with pytest.raises(ModelError, match="generate: none of 6 replies can be used"):
        workspace.generate()
    assert one(workspace, "select count(*) from runs where step = 'generate'") == 0


def test_many_refusals_before_any_answer_stop_the_step_and_are_asked_again(serve: Serve, selected: Selected) -> None:
    broken = threading.Event()
    broken.set()
    server = serve(lambda body, _: error(400, "no", "invalid_prompt") if broken.is_set() else good(body))
    workspace = selected(server, concurrency=1)
    with pytest.raises(ModelRefusedError, match="3 requests were refused and none was answered"):
        workspace.reason()
    assert len(server.bodies) == 3
    assert statuses(workspace) == {"failed": 3}
    broken.clear()
    assert workspace.reason().counts["attributes"] == SELECTIONS
    assert len(server.bodies) == 3 + 6


def test_replies_that_an_earlier_run_could_not_use_are_asked_again_when_none_is_left(
    serve: Serve, selected: Selected
) -> None:
    """Five of six were refused in a finished run and are in `calls`; a run over these five alone has none."""
    broken = threading.Event()
    broken.set()

    def behave(body: dict[str, Any], number: int) -> Answer:
        return error(400, "no", "invalid_prompt") if broken.is_set() and number else good(body)

    server = serve(behave)
    workspace = selected(server, concurrency=1)
    workspace.reason()
    assert folded(workspace) == 6
    workspace.gc()
    answered = workspace.sql("select selection_id from attributes").fetchall()[0][0]
    workspace._lake.delete("selections", f"selection_id = '{answered}'")
    workspace._lake.delete("runs", "step = 'reason'")
    with pytest.raises(ModelRefusedError, match="reason: all 5 requests were refused"):
        workspace.reason()
    assert statuses(workspace) == {"complete": 1, "failed": 5}
    broken.clear()
    assert workspace.reason().counts["attributes"] == 5
    assert statuses(workspace) == {"complete": 6}
    assert len(server.bodies) == 6 + 5


def test_generate_without_attributes_says_where_to_look(serve: Serve, selected: Selected) -> None:
    workspace = selected(serve(good))
    workspace.reason()
    workspace._lake.delete("attributes", "true")
    with pytest.raises(NotReadyError, match=r"no attributes.*rejections.*ws\.reason\(\)"):
        workspace.generate()
