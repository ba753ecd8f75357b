"""Names that must never change: of runs, calls and embedders. By them a workspace knows what was done and paid for;
with other names the same work would be asked, and paid for, again. See tools/freeze.py.

The workspaces of tests/frozen/kept.tar.xz were made once, by the verbs of tests/frozen/sessions.py. Made again on them,
the verbs must find all that was done; made on an empty workspace, they must give the same names.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import synalign as sa
from tests.frozen import schemas, sessions, surface
from tests.frozen.sessions import SESSIONS, golden
from tests.steps.workspaces import unpublished

#: Public verbs without names of their own, and why.
UNNAMED = {
    "at": "reads", "attach": "reads", "connect": "reads", "detach": "reads", "diff": "reads", "estimate": "reads",
    "explain": "reads", "fetch": "reads", "fsck": "reads", "restore": "reads", "retrieve": "reads", "runs": "reads",
    "sample": "reads", "sample_training_mix": "reads", "search": "reads", "sql": "reads", "status": "reads",
    "training_data": "reads", "export": "writes a file of the user", "save": "writes a file of the user",
    "record": "writes a file of the user; its replies are found by tests/test_fixture.py", "check": "makes no run",
    "configure": "makes no run", "gc": "makes no run", "publish": "makes no run", "tag": "makes no run",
    "untag": "makes no run",
}  # fmt: skip
#: Keywords that no session gives, and why.
UNTRIED = {
    "ingest": {"query": "says which rows are read, which are named by their content", "test_share": "in `plain`"},
    "ingest_documents": {"query": "as for ingest"},
    "reason": {"batch": "the provider's batch API, for the same calls"},
    "generate": {"batch": "as for reason", "from_documents": "in `retrieval`"},
    "annotate": {"batch": "as for reason"},
    "forget": {"dry_run": "writes nothing"},
    "run": {"base": "where source files are", "report": "is told", "budget": "stops, and names nothing"},
}
#: Keywords since then: settings that only the configuration had, of a section whose verb now takes all of its settings.
ADDED = {
    "embed": ["api_key_env", "batch_size"],
    "generate": ["documents", "refills", "prompt", "single_stage_prompt", "query_prompt"],
    "train_retriever": [
        "unknown", "dimensions", "batch", "learning_rate", "temperature", "penalty", "anchor", "unasked",
        "hard_negatives", "device",
    ],
}  # fmt: skip
#: Keywords of public functions since then, with their defaults.
ADDED_TO_FUNCTIONS = {"open": {"settings": "None"}, "run": {"settings": "None"}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with unpublished():
        yield


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kept workspaces, a folder for each session. Only one test opens each."""
    return sessions.unpack(tmp_path_factory.mktemp("kept"))


@pytest.mark.parametrize("name", SESSIONS)
def test_nothing_that_was_done_is_asked_or_done_again(name: str, kept: Path) -> None:
    workspace = sessions.reopened(kept / name)
    frozen = golden(name)
    again, _ = frozen.pop("again"), frozen.pop("outcomes")
    assert sessions.names(workspace) == frozen
    acts = SESSIONS[name][1]
    with sessions.offline():
        found = sessions.outcomes(workspace, [one for one in acts if not one.once])
    assert sessions.said(found) == again
    assert all(outcome.reused for given in found for outcome in given)
    assert sessions.names(workspace) == frozen
    report = workspace.fsck()
    assert report.problems == [], report.as_dict()


#: Sessions whose requests differ: the runs of all are compared on the kept workspaces already.
@pytest.mark.parametrize("name", ["plain", "given", "retrieval"])
def test_an_empty_workspace_gives_the_same_names(name: str, tmp_path: Path) -> None:
    quick = [one for one in SESSIONS[name][1] if not one.slow]
    expected = golden(name)
    lines = zip(SESSIONS[name][1], expected["outcomes"], strict=True)
    workspace = sessions.start(name, tmp_path / "workspace")
    with sessions.paid() as server:
        found = sessions.outcomes(workspace, quick)
    assert sessions.said(found) == [line for one, line in lines if not one.slow]
    names = sessions.names(workspace)
    # What is slow asks for nothing and brings no records.
    assert {key: names[key] for key in ("calls", "real", "synthetic")} == {
        key: expected[key] for key in ("calls", "real", "synthetic")
    }
    assert set(names["runs"]) <= set(expected["runs"])
    assert len([body for body in server.bodies if "messages" in body]) >= len(names["calls"])


@pytest.mark.long
@pytest.mark.parametrize("name", SESSIONS)
def test_an_empty_workspace_gives_all_the_same_names(name: str, tmp_path: Path) -> None:
    expected = golden(name)
    del expected["again"]
    workspace = sessions.start(name, tmp_path / "workspace")
    with sessions.paid():
        found = sessions.said(sessions.outcomes(workspace, SESSIONS[name][1]))
    assert {"outcomes": found, **sessions.names(workspace)} == expected


@pytest.mark.parametrize("schema", [*(pytest.param(one, marks=pytest.mark.long) for one in schemas.SCHEMAS[:-1]), "3"])
def test_workspaces_of_older_schemas_keep_their_names(schema: str, tmp_path: Path) -> None:
    workspace = sa.open(schemas.unpack(schema, tmp_path))
    expected = golden("schemas")[schema]
    with sessions.offline():
        found = sessions.outcomes(workspace, schemas.acts(schema))
    reused = [" ".join(str(outcome.reused) for outcome in given) for given in found]
    assert {"outcomes": sessions.said(found), "reused": reused, **sessions.names(workspace)} == expected
    assert schema == "1" or "False" not in reused
    assert workspace.fsck().problems == []


def test_every_verb_and_every_keyword_is_frozen(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "workspace")
    acts = [one for _, acts in SESSIONS.values() for one in acts]
    verbs = surface.verbs(workspace)
    assert {one.verb for one in acts} | UNNAMED.keys() == set(verbs)
    assert not {one.verb for one in acts} & UNNAMED.keys()
    for verb in {one.verb for one in acts}:
        signature = inspect.signature(getattr(workspace, verb))
        given: set[str] = set()
        for one in (one for one in acts if one.verb == verb):
            given |= signature.bind_partial(*one.positional, **one.given).arguments.keys()
        untried = UNTRIED.get(verb, {}).keys() | set(ADDED.get(verb, ()))
        missing = signature.parameters.keys() - given - untried
        assert not missing, f"{verb}: no session gives {sorted(missing)}"


def test_the_kept_workspaces_are_small_and_name_no_machine(tmp_path: Path) -> None:
    assert sessions.KEPT.stat().st_size < 500_000
    for path in sessions.unpack(tmp_path).rglob("*"):
        if path.is_file():
            assert b"/tmp/" not in path.read_bytes(), path


def test_public_names_keywords_and_settings_are_as_they_were(tmp_path: Path) -> None:
    now, then = surface.surface(tmp_path), golden("surface")
    assert now["names"] == then["names"]
    added = {name: keywords | ADDED_TO_FUNCTIONS.get(name, {}) for name, keywords in then["functions"].items()}
    assert now["functions"] == added
    assert now["verbs"].keys() == then["verbs"].keys()
    for verb, keywords in then["verbs"].items():
        assert sorted(now["verbs"][verb]) == sorted([*keywords, *ADDED.get(verb, [])]), verb
        # None stood for the configured value; now the default of the setting shows what that is if none is configured.
        changed = {name for name, default in keywords.items() if default != now["verbs"][verb][name]}
        assert {keywords[name] for name in changed} <= {"None"}, verb
    assert _missing(then["settings"], now["settings"]) == []


def test_every_command_and_every_option_is_still_there() -> None:
    now, then = surface.commands(), golden("surface")["commands"]
    assert len(then) > 30
    assert {name: sorted(set(options) - set(now.get(name, []))) for name, options in then.items()} == {
        name: [] for name in then
    }


def _missing(then: Any, now: Any, at: str = "") -> list[str]:
    """Return where settings of then are not there now, or have another default."""
    if isinstance(then, dict) and then and isinstance(now, dict):
        return [
            found
            for name, value in then.items()
            for found in ([f"{at}.{name}"] if name not in now else _missing(value, now[name], f"{at}.{name}"))
        ]
    if at == ".RunConfig":
        return sorted(set(then) - set(now))
    return [] if then == now else [f"{at}: {then!r}, now {now!r}"]
