"""The steps, in order. A reader starts here.

    ingest -> embed -> cluster -> select -> reason -> generate -> align -> evaluate

`evaluate` needs a labelled test split, and takes longer than all else: it is done where it is named.

The four before it can be done in rounds, each of which goes where those before have not been:
`synalign.steps.selection.rounds`.

Each reads tables that the ones before it wrote, and writes its own; none keeps anything in memory for the next. A step
whose run exists does nothing, so that a pipeline that was stopped anywhere goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from synalign import config as c
from synalign.errors import ConfigError
from synalign.steps.alignment.align import align
from synalign.steps.core.context import Context, Outcome
from synalign.steps.embedding.embed import embed
from synalign.steps.evaluation.evaluate import evaluate
from synalign.steps.generation.generate import generate
from synalign.steps.generation.reason import reason
from synalign.steps.selection.cluster import cluster
from synalign.steps.selection.rounds import rounds as do_rounds
from synalign.steps.selection.select import select

#: The step that takes files; it differs from the others in that it needs more than the workspace.
INGEST = "ingest"

#: The other steps, in the order in which they run, as configured.
STEPS: dict[str, Callable[[Context], Outcome]] = {
    "embed": lambda context: embed(context, c.EmbedRequest()),
    "cluster": lambda context: cluster(context, c.ClusterRequest()),
    "select": lambda context: select(context, c.SelectRequest()),
    "reason": lambda context: reason(context, c.ReasonRequest()),
    "generate": lambda context: generate(context, c.GenerateRequest()),
    "align": lambda context: align(context, c.AlignRequest()),
}

#: Steps that are done only where they are named, after all others.
NAMED: dict[str, Callable[[Context], Outcome]] = {
    "evaluate": lambda context: evaluate(context, c.EvaluateRequest()),
}

#: Those that a round is made of.
ROUND = ("select", "reason", "generate", "align")


def run(context: Context, names: list[str], rounds: int) -> Iterator[Outcome]:
    """Do the named steps but ingest, in order, and yield their outcomes; those of a round in rounds if several.

    Raises:
        SynAlignError: if a step fails. What the steps before it wrote stays, and the next call goes on there.
    """
    for name in names:
        if name in STEPS and (rounds == 1 or name not in ROUND):
            yield STEPS[name](context)
    if rounds > 1:
        yield from do_rounds(context, rounds)
    for name in names:
        if name in NAMED:
            yield NAMED[name](context)


def chosen(names: tuple[str, ...] | None, rounds: int = 1) -> list[str]:
    """Return the steps to run, in order: those named, or all but those of NAMED.

    Raises:
        ConfigError: for a name that is no step, or several rounds without all steps of a round.
    """
    known = [INGEST, *STEPS, *NAMED]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ConfigError(f"There is no step {unknown[0]!r}; steps are {', '.join(known)}.")
    missing = [name for name in ROUND if names is not None and name not in names]
    if rounds > 1 and missing:
        raise ConfigError(
            f"rounds = {rounds} needs the steps {', '.join(ROUND)}; 'steps' leaves out {', '.join(missing)}. Name them "
            "all, or set rounds = 1."
        )
    return [name for name in known if (name not in NAMED if names is None else name in names)]
