"""SQL over a million weighted synthetic records: from the published catalog, live, and from a plain DuckDB table.

    aggregate-1m   records and weight of each label, of synthetic_weighted: `catalog` and `live`, beside `plain-duckdb`:
                   the same columns in a table that DuckDB made of them in a file of its own
    publish-1m     writing the catalog anew, beside `plain-duckdb`: writing those columns alone
    sample-10k     10,000 draws by weight: sample_synthetic in the catalog, live, and ws.sample

Texts are made of the words of the fixture corpus, 16 each, drawn with a fixed seed; five labels; log-normal weights of
an effective sample size near a third. The records come in through `ingest`; the weights are written as `align` writes
them, since learning them is timed in alignment.py. Each query is timed on a connection of its own, opened for it, as a
script or a BI tool would: median of the repeats, and the fastest and slowest.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

import synalign as sa
from synalign.steps.lifecycle.publish import publish_if_stale
from synalign.store.lake.journal import Clock, Journal, Plan
from synalign.store.lake.schemas import TABLES

CORPUS = Path(__file__).resolve().parents[1] / "fixtures" / "support.csv"
SEED, WORDS, REAL, REPEATS, DRAWS = 0, 16, 5_000, 7, 10_000
LABELS = ("delivery", "refund", "defect", "account", "praise")
AGGREGATE = "select label, count(*), sum(weight) from {table} group by label order by label"


def frame(count: int, prefix: str) -> pl.DataFrame:
    """Return `count` records with ids, texts and labels."""
    with CORPUS.open(encoding="utf-8", newline="") as file:
        vocabulary = [word for row in csv.DictReader(file) for word in row["text"].split()]
    rng = np.random.default_rng(SEED)
    words = np.array(vocabulary, dtype=object)
    texts = [" ".join(row) for row in rng.choice(words, (count, WORDS))]
    labels = rng.choice(np.array(LABELS, dtype=object), count)
    return pl.DataFrame({"id": [f"{prefix}{number:08d}" for number in range(count)], "text": texts, "label": labels})


def fill(path: Path, count: int) -> sa.Workspace:
    """Return a workspace with `count` synthetic records and a weight for each."""
    workspace = sa.open(path)
    workspace.ingest(frame(REAL, "r"), label="label", id="id")
    written = frame(count, "s")
    workspace.ingest(written, label="label", id="id", synthetic=True)
    rng = np.random.default_rng(SEED + 1)
    weights = rng.lognormal(0.0, 1.0, count)
    weights /= weights.sum()
    plan = Plan("align", {"weight_set": "default", "benchmark": "sql"}, [])
    common = {"run_id": plan.run_id, "weight_set": "default"}
    rows = written.select("id", "label").with_columns(pl.lit(value).alias(name) for name, value in common.items())
    rows = rows.with_columns(pl.Series("weight", weights)).select(TABLES["weights"].schema.names)
    blank: dict[str, Any] = dict.fromkeys(TABLES["alignments"].schema.names)
    figures = {"stratum": "*", "synthetic_records": count, "effective_share": 1 / (weights**2).sum() / count}
    with workspace._writing():
        lake = workspace._lake
        lake.insert("weights", rows.to_arrow())
        lake.insert_rows("alignments", [blank | common | figures])
        Journal(lake).finish(plan, Clock(), {"records": count, "strata": 1})
    return workspace


def timed(act: Callable[[], Any], repeats: int) -> tuple[list[float], Any]:
    """Return the seconds of each call, sorted, and what the last one gave."""
    seconds, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = act()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds), result


def in_file(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query over a DuckDB file that is opened for it."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.sql(query).fetchall()


def measure(workspace: sa.Workspace, plain: Path, repeats: int) -> list[dict[str, Any]]:
    """Return the rows of all cases."""
    catalog = workspace.path / "catalog.duckdb"
    rows: list[dict[str, Any]] = []

    def note(case: str, method: str, act: Callable[[], Any], times: int = repeats) -> Any:
        seconds, result = timed(act, times)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append(
            {"case": case, "method": method, "seconds": statistics.median(seconds), "fastest": seconds[0],
             "slowest": seconds[-1], "repeats": times, "peak_mb": peak}
        )  # fmt: skip
        return result

    def publish() -> None:
        catalog.unlink()
        with workspace._locks.writing():
            publish_if_stale(workspace._context(), catalog)

    def copy() -> None:
        plain.unlink(missing_ok=True)
        with duckdb.connect() as connection:
            connection.execute(f"attach '{catalog}' as catalog (read_only)")
            connection.execute(f"attach '{plain}' as plain")
            connection.execute("create table plain.synthetic_weighted as from catalog.synthetic_weighted")

    note("publish-1m", "synalign", publish, min(3, repeats))
    note("publish-1m", "plain-duckdb", copy, min(3, repeats))
    query = AGGREGATE.format(table="synthetic_weighted")
    answers = [
        note("aggregate-1m", "plain-duckdb", lambda: in_file(plain, query)),
        note("aggregate-1m", "catalog", lambda: in_file(catalog, query)),
        note("aggregate-1m", "live", lambda: workspace.sql(query).fetchall()),
    ]
    for answer in answers[1:]:
        assert [row[:2] for row in answer] == [row[:2] for row in answers[0]]
        np.testing.assert_allclose([row[2] for row in answer], [row[2] for row in answers[0]], rtol=1e-9)
    draw = f"select id, copies from sample_synthetic({DRAWS}, seed := 7) order by id"
    samples = [
        note("sample-10k", "catalog", lambda: in_file(catalog, draw)),
        note("sample-10k", "live", lambda: workspace.sql(draw).fetchall()),
        note("sample-10k", "python", lambda: workspace.sample(DRAWS, seed=7)).select("id", "copies").rows(),
    ]
    assert samples[0] == samples[1] == samples[2]
    assert sum(copies for _, copies in samples[0]) == DRAWS
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50,000 records, three repeats")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    count, repeats = (50_000, 3) if arguments.quick else (1_000_000, REPEATS)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        workspace = fill(Path(folder) / "workspace", count)
        print(f"{count:,} synthetic records ingested and weighted in {time.perf_counter() - start:.1f} s")
        rows = measure(workspace, Path(folder) / "plain.duckdb", repeats)
        size = (workspace.path / "catalog.duckdb").stat().st_size / 2**20
    base = {row["case"]: row["seconds"] for row in rows if row["method"] == "plain-duckdb"}
    print(f"{'case':<14} {'method':<14} {'median s':>9} {'fastest':>9} {'slowest':>9} {'x plain':>8} {'peak MiB':>9}")
    for row in rows:
        row["records"] = count
        ratio = f"{row['seconds'] / base[row['case']]:.2f}" if row["case"] in base else ""
        print(
            f"{row['case']:<14} {row['method']:<14} {row['seconds']:>9.3f} {row['fastest']:>9.3f} "
            f"{row['slowest']:>9.3f} {ratio:>8} {row['peak_mb']:>9.0f}"
        )
    print(f"the catalog has {size:.0f} MiB")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
