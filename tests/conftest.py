"""What many tests need: a small finished workspace, which they only read, and a server that speaks the LLM protocol."""

from __future__ import annotations

import os

# One thread of linear algebra and of the engines' pools in each process, set before anything that reads this is
# imported: tests run in as many processes as there are cores, and threads of several processes that wait for each other
# on the same cores take many times the time of the work. Tests of threads set the number that they need.
for _name in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_name}_NUM_THREADS", "1")
for _name in ("POLARS_MAX_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import synalign as sa
from synalign.steps.lifecycle.publish import publish_if_stale
from tests.llm.server import Answer, Server
from tests.once import made_once

ROOT = Path(__file__).resolve().parents[1]

# A shell that runs the tests in the background has Ctrl-C ignored in all of them, also in those about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
CORPUS = ROOT / "fixtures" / "support.csv"


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """A workspace in which every step ran on the fixture corpus with the embedded defaults. Do not write to it."""
    return sa.open(made_once(tmp_path_factory, "filled", _fill), create=False)


def _fill(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Also where the test that comes first leaves the catalog out.
        patch.setattr("synalign.steps.lifecycle.publish.publish_if_stale", publish_if_stale)
        workspace = sa.open(path)
        task = {"description": "a message to a shop", "labels": {"praise": "is pleased", "refund": "wants money back"}}
        workspace.configure(sa.Config.model_validate({"seed": 7, "task": task}))
        workspace.ingest(CORPUS, label="label", test_share=0.2)
        workspace.cluster(k=12)
        workspace.select()
        workspace.reason()
        workspace.generate(per_selection=6)
        workspace.align(features=256, label_shares="real")


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    """The path of a workspace that does not exist yet."""
    return tmp_path / "workspace"


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[dict[str, Any], int], Answer]], Server]]:
    """Start servers that answer as told; all are closed after the test."""
    servers: list[Server] = []

    def start(behaviour: Callable[[dict[str, Any], int], Answer]) -> Server:
        servers.append(Server(behaviour))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
