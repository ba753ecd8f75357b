"""The steps, in order. A reader starts here.

    ingest -> embed -> cluster -> select -> reason -> generate -> align

Each reads tables that the ones before it wrote, and writes its own; none keeps anything in memory for the next. A step
whose run exists does nothing, so that a pipeline that was stopped anywhere goes on there.
"""

from __future__ import annotations

from collections.abc import Callable

from synalign.errors import ConfigError
from synalign.steps.align import align
from synalign.steps.cluster import cluster
from synalign.steps.context import Context, Outcome
from synalign.steps.embed import embed
from synalign.steps.generate import generate
from synalign.steps.reason import reason
from synalign.steps.select import select

#: The step that takes files; it differs from the others in that it needs more than the workspace.
INGEST = "ingest"

#: The other steps, in the order in which they run.
STEPS: dict[str, Callable[[Context], Outcome]] = {
    "embed": embed,
    "cluster": cluster,
    "select": select,
    "reason": reason,
    "generate": generate,
    "align": align,
}


def chosen(names: tuple[str, ...] | None) -> list[str]:
    """Return the steps to run, in order: those named, or all.

    Raises:
        ConfigError: for a name that is no step.
    """
    known = [INGEST, *STEPS]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ConfigError(f"There is no step {unknown[0]!r}; steps are {', '.join(known)}.")
    return [name for name in known if names is None or name in names]
