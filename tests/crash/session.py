"""A session of all verbs that write, in stages. Each may be done again, and adds nothing then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import synalign as sa
from synalign import config as configuration
from synalign.config import RunConfig
from synalign.store.lake import lake


def _gc(workspace: sa.Workspace, _: Path) -> None:
    clean(workspace)


def clean(workspace: sa.Workspace) -> None:
    """Do `gc` with nothing spared: every table of two files is merged, and no old version is kept."""
    kept = lake.KEEP_VERSIONS, lake.FEW_FRAGMENTS
    lake.KEEP_VERSIONS, lake.FEW_FRAGMENTS = timedelta(0), 1
    try:
        workspace.gc()
    finally:
        lake.KEEP_VERSIONS, lake.FEW_FRAGMENTS = kept


def _steps(*names: str) -> Callable[[sa.Workspace, Path], object]:
    """Return what does some of the steps of a run file."""

    def act(workspace: sa.Workspace, folder: Path) -> None:
        plan = configuration.load(RunConfig, folder / "run.toml")
        workspace.run(plan.model_copy(update={"steps": names}), base=folder)

    return act


def _round(workspace: sa.Workspace, _: Path) -> None:
    workspace.select(round=2)
    workspace.reason()
    workspace.generate()
    workspace.align()


def _more(workspace: sa.Workspace, folder: Path) -> None:
    workspace.ingest(folder / "more.csv", label="label")
    workspace.embed()
    workspace.cluster()


def _configure(workspace: sa.Workspace, _: Path) -> None:
    align = workspace.config.align.model_copy(update={"features": 64})
    workspace.configure(workspace.config.model_copy(update={"align": align}))


#: What a session does, one after the other.
STAGES: dict[str, Callable[[sa.Workspace, Path], object]] = {
    "ingest": _steps("ingest"),
    "cluster": _steps("embed", "cluster", "select"),
    "reason": _steps("reason"),
    "generate": _steps("generate"),
    "align": _steps("align"),
    "exclude": lambda ws, _: ws.exclude("text like '%order%'", reason="too alike"),
    "include": lambda ws, _: ws.include("length(text) % 2 = 0"),
    "annotate": lambda ws, _: ws.annotate(sample=10, budget="1000000tokens"),
    "align another set": lambda ws, _: ws.align(weight_set="b", strength=0.01),
    "gc": _gc,
    "use weights": lambda ws, _: ws.use_weights("default"),
    "check": lambda ws, _: ws.check(),
    "a second round": _round,
    "score": lambda ws, _: ws.score(weight_set="b", into="c"),
    "more rows": _more,
    "configure": _configure,
    "refit": lambda ws, _: ws.embed(refit=True),
    "gc again": _gc,
}


def act(stage: str, folder: Path) -> None:
    """Do one stage in the workspace of a folder."""
    STAGES[stage](sa.open(folder / "ws", notice=lambda _: None), folder)
