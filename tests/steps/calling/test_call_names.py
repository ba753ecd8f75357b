"""What names a call and a run: the model, the address and the recording that are really used, and nothing secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from synalign.errors import ConfigError, UsageError
from tests.steps.answers import Serve, good
from tests.steps.calling import test_calls
from tests.steps.calling.test_calls import SELECTIONS, Selected, one

# The fixtures of those tests: a workspace with selections whose model is at a server.
key, template, selected = test_calls.key, test_calls.template, test_calls.selected


def test_generate_asks_which_model_is_meant_when_another_stated_the_attributes(
    serve: Serve, selected: Selected
) -> None:
    server = serve(good)
    workspace = selected(server, model="builtin/ngram")
    workspace.reason(model="m1")
    with pytest.raises(UsageError, match=r"stated by 'm1', and generate would use 'builtin/ngram'\. Say .*--model"):
        workspace.generate()
    assert len(server.bodies) == SELECTIONS
    assert workspace.generate(model="m1").counts["calls"] == SELECTIONS
    assert workspace.generate(model="builtin/ngram").counts["calls"] == SELECTIONS
    assert len(server.bodies) == 2 * SELECTIONS


def test_a_changed_recording_is_asked_again(serve: Serve, selected: Selected) -> None:
    server = serve(good)
    workspace = selected(server, {"reason": {"merge": False}}, model="replay/r.jsonl")
    with pytest.raises(ConfigError, match=r"r\.jsonl cannot be read"):
        workspace.reason()
    workspace.reason(model="m1")
    workspace.record(workspace.path / "r.jsonl")
    recorded = (workspace.path / "r.jsonl").read_text(encoding="utf-8")

    def write(tone: str) -> None:
        (workspace.path / "r.jsonl").write_text(recorded.replace("plain", tone), encoding="utf-8")

    tones = "select distinct attributes[1].value from attributes where run_id = $run"
    for tone in ("curt", "angry"):
        write(tone)
        outcome = workspace.reason()
        assert not outcome.reused
        assert workspace.sql(tones, {"run": outcome.run_id}).fetchall() == [(tone,)]
    assert workspace.reason().reused
    assert one(workspace, "select count(*) from calls where model = 'replay/r.jsonl'") == 12


def test_a_password_in_the_address_is_stored_nowhere(serve: Serve, selected: Selected, blank: Path) -> None:
    server = serve(good)
    workspace = selected(server)
    with pytest.raises(ConfigError, match="api_key_env"):
        workspace.reason(base_url=server.url.replace("//", "//me:hidden-word@"))
    assert server.bodies == []
    workspace.reason()
    assert not [path for path in blank.rglob("*") if path.is_file() and b"hidden-word" in path.read_bytes()]


def test_an_address_written_otherwise_is_the_same_call(serve: Serve, selected: Selected) -> None:
    server = serve(good)
    workspace = selected(server)
    workspace.reason()
    assert workspace.reason(base_url=server.url.replace("http", "HTTP") + "/").reused
    assert len(server.bodies) == SELECTIONS


def test_an_address_from_the_environment_names_the_calls(
    serve: Serve, selected: Selected, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = [serve(good), serve(good)]
    workspace = selected(servers[0], base_url=None)
    for server in servers:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
        assert not workspace.reason().reused
        assert len(server.bodies) == SELECTIONS
    assert workspace.reason(base_url=servers[0].url).reused
    stored = {row[0] for row in workspace.sql("select distinct base_url from calls").fetchall()}
    assert stored == {server.url for server in servers}
