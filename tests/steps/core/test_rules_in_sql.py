"""Rules that steps follow in Python and analysts in SQL: which run is current, which records are excluded, how often a
record counts. Both must give the same answer for any history of a workspace, also as it was earlier."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

import synalign as sa
from synalign.steps.core.context import Context
from synalign.steps.core.reading import excluded, records
from synalign.store.lake.journal import Journal, Moment
from synalign.store.lake.lake import Lake
from synalign.store.lake.schemas import SYNTHETIC
from synalign.store.ledger.ledger import Ledger
from synalign.store.sql.query import connect

_AT = datetime(2026, 1, 1)
_RECORDS = ("a", "b", "c")
#: What finishes next: a run of a step (with what it writes of records), or an earlier run that is gone back to.
_RUNS = st.tuples(
    st.sampled_from(["ingest", "generate", "exclude", "align", "select"]),
    st.booleans(),  # whether it finished: of a run that was killed, only its rows are there
    st.dictionaries(st.sampled_from(_RECORDS), st.tuples(st.booleans(), st.integers(1, 3))),
)
_EVENTS = st.lists(st.one_of(_RUNS, st.integers(0, 20)), min_size=1, max_size=10)


def written(lake: Lake, events: list[object]) -> int:
    """Write a history of runs and activations into a lake; return how many of these there are."""
    finished: list[tuple[str, str]] = []
    sequence = 0
    for number, event in enumerate(events):
        if isinstance(event, int):
            if finished:
                step, run_id = finished[event % len(finished)]
                sequence += 1
                at = _AT + timedelta(minutes=sequence)
                row = {"sequence": sequence, "step": step, "run_id": run_id, "at": at}
                lake.insert_rows("activations", [row])
            continue
        step, done, of_records = event  # type: ignore[misc]
        run_id = f"run {number}"
        rows = [{"run_id": run_id, "id": name} for name in of_records]
        if step == "exclude":
            lake.insert_rows("exclusions", [row | {"excluded": of_records[row["id"]][0]} for row in rows])
        if step == "ingest":
            lake.insert_rows(SYNTHETIC, [row | {"text": row["id"], "split": "train"} for row in rows])
            counts = [row | {"origin": SYNTHETIC, "multiplicity": of_records[row["id"]][1]} for row in rows]
            lake.insert_rows("multiplicities", counts)
        if not done:
            continue
        sequence += 1
        finished.append((step, run_id))
        at = _AT + timedelta(minutes=sequence)
        run = {"run_id": run_id, "sequence": sequence, "step": step, "seed": 0, "round": 0, "inputs": [], "notes": []}
        parameters = '{"origin":"synthetic"}' if step == "ingest" else "{}"
        run |= {"parameters": parameters, "counts": "{}", "table_versions": "{}", "started_at": at, "finished_at": at}
        lake.insert_rows("runs", [run])
    return sequence


@settings(max_examples=10, deadline=None)
@given(_EVENTS, st.integers(1, 10))
def test_python_and_sql_have_the_same_rules(events: list[object], earlier: int):
    with TemporaryDirectory() as folder:
        root = Path(folder)
        lake, ledger = Lake(root / "lance"), Ledger(root / "ledger.sqlite")
        last = written(lake, events)
        journal = Journal(lake)
        context = Context(root, sa.Config(), lake, journal, ledger)
        steps = {run.step for run in journal.runs()}
        with connect(lake, ledger, {}) as sql:
            current = dict(sql.execute("select step, run_id from current_runs").fetchall())
            out = [name for (name,) in sql.execute("select id from exclusions order by id").fetchall()]
            often = sql.execute("select id, multiplicity from synthetic order by id").fetchall()
        assert current == {step: run.run_id for step in steps if (run := journal.current(step)) is not None}
        assert out == excluded(context)["id"].to_list()
        there = records(context, SYNTHETIC, with_excluded=True)
        assert often == there.select("id", "multiplicity").rows()
        kept = records(context, SYNTHETIC)["id"].to_list()
        assert kept == [name for name, _ in often if name not in out]
        if last:
            number = min(earlier, last)
            with connect(lake, ledger, {}, Moment(number, _AT + timedelta(minutes=number))) as sql:
                then = dict(sql.execute("select step, run_id from current_runs").fetchall())
            assert then == {step: runs[0].run_id for step in steps if (runs := journal.latest(step, number))}
