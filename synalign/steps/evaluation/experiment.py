"""experiment: opens the log of an online test, has it analysed, and keeps what was found as a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from synalign.experiments.analysis import Findings, Question, analyse, sentence
from synalign.experiments.log import LOG
from synalign.steps.core.context import Context
from synalign.steps.core.run_step import finish
from synalign.store.lake.journal import Clock, Plan
from synalign.store.lake.schemas import TABLES
from synalign.store.sql import attachments

STEP = "experiment"

_TABLES = ("experiments",)
_VERSION = 1


@dataclass(frozen=True)
class Analysis:
    """What was found. frame: a row for each metric and arm, with the columns of the relation `experiments` but
    `run_id`. users: of each arm, those who count. notes: what a person should know. reused: the same figures were
    analysed so before."""

    run_id: str
    reused: bool
    frame: pl.DataFrame
    users: Mapping[str, int]
    sample_ratio_p: float
    notes: Sequence[str]

    @property
    def summary(self) -> str:
        """A sentence for each metric and arm."""
        return "\n".join(sentence(row) for row in self.frame.iter_rows(named=True))


def read(source: Any, asked: Question, query: str | None = None) -> Findings:
    """Analyse a log wherever it lies.

    Args:
        source: what can be attached: a Parquet, CSV or JSON Lines file, a folder of Parquet files, a frame, a DuckDB
            file or another database.
        query: SQL over it; the tables of a database are called by their names, all else `log`.

    Raises:
        AttachmentError: if the source cannot be read.
        UsageError, InputError: as `synalign.experiments.analysis.analyse`; and if the kind of the source is not known.
    """
    with attachments.opened(source, LOG) as (connection, shown):
        return analyse(connection, asked, query, shown)


def record(context: Context, found: Findings, asked: Question) -> Analysis:
    """Write an analysis into `experiments`, unless the same figures were analysed so before."""
    parameters = {
        "metrics": {name: list(pair) for name, pair in asked.columns.metrics.items()}, "experiment": asked.experiment,
        "control": asked.control, "alpha": asked.alpha, "correction": asked.correction,
        "shares": None if asked.shares is None else dict(asked.shares), "crossed": asked.crossed,
        "figures": found.digest,
    }  # fmt: skip
    schema = TABLES["experiments"].schema
    frame = pl.DataFrame(pa.Table.from_pylist(found.rows, schema=schema.remove(0)))
    plan = Plan(STEP, parameters, version=_VERSION)
    done = context.journal.get(plan.run_id)
    if done is not None:
        context.journal.activate(done)
    else:
        clock = Clock()
        context.journal.sweep(_TABLES)
        rows = frame.with_columns(pl.lit(plan.run_id).alias("run_id")).select(schema.names)
        context.lake.insert("experiments", rows.to_arrow().cast(schema))
        counts = {
            "rows": frame.height,
            "users": sum(found.figures.arms.values()),
            "significant": frame["significant"].sum(),
        }
        finish(context, plan, clock, counts, list(found.notes), _TABLES)
    ratio = float(frame["sample_ratio_p"][0])
    return Analysis(plan.run_id, done is not None, frame, found.figures.arms, ratio, tuple(found.notes))
