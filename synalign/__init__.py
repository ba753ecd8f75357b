"""SynAlign: match weighted LLM-written text to the distribution of real text, inside LanceDB and DuckDB.

import synalign as sa

ws = sa.open("reviews")
ws.ingest("reviews.csv", text="review", label="stars")
ws.cluster(); ws.select(budget=64)
ws.reason(); ws.generate(per_selection=10)
ws.align()
ws.sql("select label, sum(weight) from synthetic_weighted group by label").pl()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synalign.version import __version__

if TYPE_CHECKING:
    from synalign.config import Config, RunConfig
    from synalign.errors import SynAlignError
    from synalign.numerics.selection.uncertainty import UncertaintyTracker
    from synalign.steps.core.context import Outcome
    from synalign.steps.corpus.training import TrainingData
    from synalign.workspace import Workspace, open, run

# Where each public name comes from. They are imported when first used: `import synalign` stays fast.
_HOME = {
    "Config": "synalign.config",
    "Outcome": "synalign.steps.core.context",
    "RunConfig": "synalign.config",
    "SynAlignError": "synalign.errors",
    "TrainingData": "synalign.steps.corpus.training",
    "UncertaintyTracker": "synalign.numerics.selection.uncertainty",
    "Workspace": "synalign.workspace",
    "open": "synalign.workspace",
    "run": "synalign.workspace",
}

__all__ = [
    "Config",
    "Outcome",
    "RunConfig",
    "SynAlignError",
    "TrainingData",
    "UncertaintyTracker",
    "Workspace",
    "__version__",
    "open",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'synalign' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
