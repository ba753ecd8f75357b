from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import synalign as sa
from synalign.errors import ConfigError, StoreError, UsageError
from synalign.llm.builtin.replay import Recording
from synalign.steps.calling.recording import record
from synalign.store.ledger.ledger import COMPLETE, FAILED, REFUSED
from tests.conftest import CORPUS

SETTINGS = {"seed": 3, "generate": {"per_selection": 3, "refills": 1}}
Copy = Callable[..., sa.Workspace]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with four selections."""
    workspace = sa.open(tmp_path_factory.mktemp("recording") / "template")
    workspace.configure(sa.Config.model_validate(SETTINGS))
    rows = pl.read_csv(CORPUS).filter(pl.col("label").is_in(["refund", "praise"])).select("text", "label").head(80)
    workspace.ingest(rows, label="label")
    workspace.embed(dimensions=16)
    workspace.cluster(k=4)
    workspace.select()
    return workspace.path


@pytest.fixture
def copy(template: Path, tmp_path: Path) -> Copy:
    """Give workspaces of their own with these selections."""

    def make(name: str, **settings: Any) -> sa.Workspace:
        shutil.copytree(template, tmp_path / name)
        workspace = sa.open(tmp_path / name)
        workspace.configure(sa.Config.model_validate({**SETTINGS, **settings}))
        return workspace

    return make


def take(workspace: sa.Workspace, path: Path, *steps: str, **given: Any) -> dict[str, Any]:
    return record(workspace._context(), path, list(steps) or None, **given)


def call(number: int, **changes: Any) -> dict[str, Any]:
    """A row of the ledger."""
    return {
        "call_id": f"c{number}", "run_id": "r", "step": "reason", "model": "m", "base_url": "http://secret.host/v1",
        "template_hash": "t", "system": "secret system", "user": "secret user", "status": COMPLETE,
        "reply": f"r{number}", "finish_reason": "stop", "attempts": 1, "latency_s": 1.0, "subject": f"s{number}",
        "seed": number,
    } | changes  # fmt: skip


def test_a_recording_of_what_a_recording_answered_is_that_recording(copy: Copy, tmp_path: Path) -> None:
    first = copy("first")
    first.reason()
    first.generate()
    path = tmp_path / "recording.jsonl"
    told = take(first, path)
    assert told["steps"].keys() == {"generate", "reason"}
    assert (told["models"], told["other_replies"], told["without_reply"]) == ({"builtin/ngram": told["entries"]}, 0, 0)
    assert told["model"] == f"replay/{path}"

    second = copy("second", llm={"model": told["model"]})
    second.reason()
    second.generate()
    texts = "select text, label, selection_id from synthetic order by all"
    assert second.sql(texts).fetchall() == first.sql(texts).fetchall()
    spent = "select sum(cost_usd), bool_and(model like 'replay/%') from calls"
    assert second.sql(spent).fetchall() == [(0.0, True)]
    for workspace in (first, second):  # the second time from the table alone
        again = tmp_path / "again.jsonl"
        workspace.gc()
        take(workspace, again, overwrite=again.exists())
        assert again.read_bytes() == path.read_bytes()


def test_what_a_recording_does_not_hold_ends_the_step(copy: Copy, tmp_path: Path) -> None:
    first = copy("first")
    first.reason()
    told = take(first, tmp_path / "r.jsonl", "reason")
    model = {"model": told["model"]}
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    half = copy("half", llm=model)
    half.reason()
    with pytest.raises(ConfigError, match=r"generate: the recording .*r\.jsonl has no reply .* 0 of them of generate"):
        half.generate()
    with pytest.raises(ConfigError, match="the seed of the configuration"):
        copy("seed", seed=4, llm=model).reason()
    with pytest.raises(ConfigError, match="the settings"):
        copy("open", reason={"open": 0}, llm=model).reason()
    (tmp_path / "r.jsonl").write_text("\n".join(['{"synalign_recording": 1}', *lines[2:]]))
    short = copy("short", llm=model)
    with pytest.raises(ConfigError, match="has no reply to one of the requests"):
        short.reason()
    assert "attributes" not in short.status()["steps"]
    assert short.sql("select count(*) from attributes").fetchall() == [(0,)]


def test_another_wording_of_a_prompt_does_not_void_a_recording(copy: Copy, tmp_path: Path) -> None:
    first = copy("first")
    first.reason()
    told = take(first, tmp_path / "r.jsonl")
    second = copy("second", llm={"model": told["model"]})
    prompt = second.path / "prompts" / "reason" / "attributes.j2"
    prompt.parent.mkdir(parents=True)
    prompt.write_text("{% block system %}Other words.{% endblock %}{% block user %}{{ demonstrations }}{% endblock %}")
    assert second.reason().counts["attributes"] == 4


def test_only_replies_are_written_and_each_question_once(copy: Copy, tmp_path: Path) -> None:
    workspace = copy("w")
    rows = [
        call(1, reply='{"a": "é\u2028"}', prompt_tokens=5, completion_tokens=2),
        call(2, step="generate", finish_reason="length"),
        call(3, status=REFUSED, reply=None, error="secret error"),
        call(4, status=FAILED, reply="cannot be used"),
        call(5, call_id="c5", subject="s1", seed=1, model="other", reply="later"),
        call(6, subject=""),
        call(7, seed=None),
    ]
    for row in rows:
        workspace._ledger.put(row)
    path = tmp_path / "r.jsonl"
    told = take(workspace, path)
    assert told["steps"] == {"generate": 1, "reason": 2}
    assert (told["entries"], told["other_replies"], told["without_reply"]) == (3, 1, 3)
    text = path.read_text(encoding="utf-8")
    assert "secret" not in text
    found = Recording(path)
    assert found.find("s1", 1).reply == "later"
    assert found.find("s1", 1).model == "other"
    assert found.find("s2", 2).finish_reason == "length"
    assert found.find("s7", 99).reply == "r7"
    assert [json.loads(line).get("step") for line in text.splitlines()] == [None, "generate", "reason", "reason"]
    assert take(workspace, tmp_path / "some.jsonl", "generate")["entries"] == 1


def test_the_reply_of_the_current_run_comes_before_a_later_one(copy: Copy, tmp_path: Path) -> None:
    workspace = copy("w")
    outcome = workspace.reason()
    path = tmp_path / "r.jsonl"
    take(workspace, path)
    before = path.read_bytes()
    kept = workspace._ledger.rows().to_pylist()
    assert kept
    for number, row in enumerate(kept):
        workspace._ledger.put(row | {"call_id": f"x{number}", "run_id": "another", "model": "m", "reply": "{}"})
    assert workspace.reason().run_id == outcome.run_id
    assert take(workspace, path, overwrite=True)["other_replies"] == len(kept)
    assert path.read_bytes() == before


def test_what_a_lost_recording_answered_is_recorded_as_its_own(copy: Copy, tmp_path: Path) -> None:
    workspace = copy("w")
    workspace._ledger.put(call(1, model="replay/gone.jsonl"))
    assert take(workspace, tmp_path / "r.jsonl")["models"] == {"replay/gone.jsonl": 1}


def test_nothing_is_overwritten_unless_it_is_a_recording_and_that_is_said(copy: Copy, tmp_path: Path) -> None:
    workspace = copy("w")
    path = tmp_path / "r.jsonl"
    with pytest.raises(UsageError, match=r"has no replies to record\. Run ws\.reason"):
        take(workspace, path)
    workspace._ledger.put(call(3, status=REFUSED, reply=None))
    with pytest.raises(UsageError, match=r"no replies to record\. Those there are were refused"):
        take(workspace, path)
    workspace._ledger.put(call(1))
    with pytest.raises(UsageError, match=r"no replies of the step 'generate'; there are of: reason"):
        take(workspace, path, "generate")
    with pytest.raises(UsageError, match="no folder"):
        take(workspace, tmp_path / "none" / "r.jsonl")
    assert not path.exists()
    take(workspace, path)
    with pytest.raises(UsageError, match=r"exists\. Give another name, or overwrite=True"):
        take(workspace, path)
    with pytest.raises(UsageError, match="is no recording, so it is not replaced"):
        take(workspace, workspace.path / "ledger.sqlite", overwrite=True)
    inside = take(workspace, workspace.path / "r.jsonl")
    assert inside["model"] == "replay/r.jsonl"
    assert (workspace.path / "r.jsonl").read_bytes() == path.read_bytes()
    assert sorted(child.name for child in tmp_path.iterdir()) == ["r.jsonl", "w"]


def test_a_disk_that_refuses_leaves_the_old_recording(
    copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copy("w")
    workspace._ledger.put(call(1))
    path = tmp_path / "r.jsonl"
    take(workspace, path)
    before = path.read_bytes()
    workspace._ledger.put(call(2))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synalign.steps.calling.recording.os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        take(workspace, path, overwrite=True)
    assert path.read_bytes() == before
    assert sorted(child.name for child in tmp_path.iterdir()) == ["r.jsonl", "w"]
