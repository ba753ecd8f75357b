"""Reads a workspace again and again while another process writes to it: a child process of the reader tests.

    python -m tests.crash.reading KIND FOLDER STOP

KIND: "published" opens catalog.duckdb anew each time, "published, held" goes on with one connection for a while; "live"
and "live, held" do so with the views over the Lance tables. Reads until the file STOP is there, and prints one JSON
object: {"loops", "states": how many states of the workspace were seen, "errors", "torn": what did not hold}.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb

import synalign as sa
from synalign.store.sql.query import relation_names

#: Reads that a connection is held for.
HELD = 8

#: What holds of whole runs only: SQL that returns no row then.
INVARIANTS = {
    "the weights of a run sum to 1": """
        select run_id, sum(weight) from weights group by run_id having abs(sum(weight) - 1) > 1e-9""",
    "a run has as many weights as it says": """
        select run_id, counts from runs where step = 'align' and (counts ->> 'records')::bigint <>
        (select count(*) from weights w where w.run_id = runs.run_id)""",
    "real records are those that were added": """
        select (select count(*) from real) as there, coalesce(sum((counts ->> 'added')::bigint), 0) as added from runs
        where step = 'ingest' and counts ->> 'origin' = 'real' having there <> added""",
    "synthetic records are those that were added and generated": """
        select (select count(*) from synthetic) as there,
            coalesce(sum(coalesce(counts ->> 'added', counts ->> 'records')::bigint), 0) as added
        from runs where (step = 'ingest' and counts ->> 'origin' = 'synthetic') or step = 'generate'
        having there <> added""",
    "a generated record has its call, selection and attributes": """
        select id from synthetic s where call_id is not null and (
            call_id not in (select call_id from calls)
            or selection_id not in (select selection_id from selections)
            or attributes_id not in (select id from attributes))""",
    "each record of a weight set is there": """
        select run_id, id from weights where id not in (select id from synthetic)""",
    "each weight of the current set has one row": """
        select (select count(*) from synthetic_weighted) as shown, count(*) as weights from weights w
        join current_runs c on c.run_id = w.run_id and c.step = 'align'
        where w.id not in (select id from exclusions) having shown <> weights""",
    "no record twice": "select id from synthetic_weighted group by id having count(*) > 1",
    "no real record twice": "select id from real group by id having count(*) > 1",
    "a run's inputs are there": """
        select run_id from (select run_id, unnest(inputs) as input from runs) where input not in
        (select run_id from runs)""",
}


#: What holds where there are weights.
SAMPLED = "select sum(copies) from sample_synthetic(50, seed := 3) having sum(copies) <> 50"


def look(connection: Any) -> tuple[str, list[str]]:
    """Return a fingerprint of all that a connection shows, and what does not hold in it."""
    before = fingerprint(connection)
    torn = [
        f"{what}: {rows[:3]}" for what, query in INVARIANTS.items() if (rows := connection.execute(query).fetchall())
    ]
    if connection.execute("select 1 from synthetic_weighted where weight > 0 limit 1").fetchall():
        torn += [f"a sample has its size: {row}" for row in connection.execute(SAMPLED).fetchall()]
    if fingerprint(connection) != before:
        torn.append("two queries of one connection differ")
    return before, torn


def fingerprint(connection: Any) -> str:
    """Return the number of rows of each relation, and the last run."""
    counts = " union all ".join(f"select '{name}', count(*) from {name}" for name in relation_names())
    last = connection.execute("select max(sequence) from runs").fetchall()
    return json.dumps([last, sorted(connection.execute(counts).fetchall())])


def opener(kind: str, folder: Path) -> Callable[[], Any]:
    if kind.startswith("published"):
        return lambda: duckdb.connect(str(folder / "catalog.duckdb"), read_only=True).execute(
            "set search_path = 'main,detail'"
        )
    return lambda: sa.open(folder, create=False).connect()


def main() -> None:
    kind, folder, stop = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    there = folder / ("catalog.duckdb" if kind.startswith("published") else "synalign.toml")
    connect, reads = opener(kind, folder), HELD if kind.endswith("held") else 1
    found: dict[str, Any] = {"loops": 0, "states": 0, "errors": [], "torn": []}
    states = set()
    while not there.exists():
        time.sleep(0.01)
    while not stop.exists() and not found["errors"]:
        try:
            # What a relation shows is read only later.
            later = None if kind.startswith("published") else sa.open(folder, create=False).sql("from weights")
            with closing(connect()) as connection:
                shown = []
                for _ in range(reads):
                    state, torn = look(connection)
                    shown.append(state)
                    found["torn"] += torn
                    found["loops"] += 1
            if later is not None:
                later.fetchall()
            if len(set(shown)) > 1:
                found["torn"].append("what a held connection shows has changed")
            states.add(shown[0])
        except Exception:  # noqa: BLE001 - whatever a reader meets is what is to be found
            found["errors"].append(traceback.format_exc())
    found["states"] = len(states)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
