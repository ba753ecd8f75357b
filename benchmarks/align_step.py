"""`align` as a whole, by this checkout and by another one, in turn, on copies of one workspace.

    align-50k, align-550k   that many real and as many synthetic records, with two labels

Each text is two phrases of one label: of SST-2's training phrases (real), of text by FewGen (synthetic), joined. Half a
million pairs of 67,349 phrases repeat few texts. 2,000 real records are for testing, so that all figures are measured.
The records are ingested and embedded once, by the default embedder (256 dimensions), and the workspace is copied for
each run. A run is a process of its own with PYTHONPATH set to the checkout; it reports the wall and processor seconds
of `ws.align()` alone, once the libraries are loaded, its own peak memory, the seconds of the runs `align` and `measure`
as the workspace has them, and all weights. Other work on the machine lengthens wall seconds much and processor seconds
little. The two sets of weights are compared record by record, relative to the larger.

    python benchmarks/align_step.py --against ../parent --case align-550k
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "sst2"
HERE = Path(__file__).resolve().parents[1]
FILES = {"real": "real_train.jsonl", "synthetic": "synthetic_fewgen.jsonl"}
CASES = {"align-2k": 2_000, "align-50k": 50_000, "align-550k": 550_000}
TEST, SEED = 2_000, 0

#: What a process of one checkout runs: align, once, and what there is to say of it.
RUN = """
import json, resource, sys, time
import duckdb, lancedb, polars, scipy.stats, sklearn.linear_model, torch
import synalign as sa

def used():
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime

workspace, target = sa.open(sys.argv[1]), sys.argv[2]
wall, processor = time.perf_counter(), used()
outcome = workspace.align()
row = {"wall": time.perf_counter() - wall, "processor": used() - processor, "said": outcome.seconds}
row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
row["runs"] = dict(workspace.sql("select step, seconds from runs where step in ('align', 'measure')").fetchall())
row["metrics"] = dict(workspace.sql("select metric, value from metrics").fetchall())
workspace.sql("select id, weight from synthetic_weighted order by id").pl().write_parquet(target)
print(json.dumps(row))
"""


def texts(side: str, count: int, data: Path) -> pl.DataFrame:
    """Return `count` records of one side: id, text and label."""
    phrases = pl.read_ndjson(data / FILES[side]).group_by("label", maintain_order=True).agg("text")
    random = np.random.default_rng([SEED, count, len(side)])
    parts = []
    for number, (label, pool) in enumerate(phrases.sort("label").iter_rows()):
        size = count // 2 if number else count - count // 2
        first, second = random.integers(len(pool), size=(2, size))
        joined = [f"{pool[a]} {pool[b]}" for a, b in zip(first.tolist(), second.tolist(), strict=True)]
        parts.append(pl.DataFrame({"text": joined, "label": [str(label)] * size}))
    frame = pl.concat(parts).sample(fraction=1, shuffle=True, seed=SEED)
    return frame.with_columns(
        id=pl.format("{}{}", pl.lit(side[0]), pl.int_range(frame.height).cast(pl.String).str.zfill(8))
    )


def make(folder: Path, count: int, data: Path) -> Path:
    """Return a workspace of `count` real training records and as many synthetic ones, embedded."""
    import synalign as sa

    workspace = sa.open(folder)
    real = texts("real", count + TEST, data)
    split = pl.when(pl.int_range(pl.len()) < TEST).then(pl.lit("test")).otherwise(pl.lit("train")).alias("split")
    workspace.ingest(real.with_columns(split), id="id", label="label", split="split")
    workspace.ingest(texts("synthetic", count, data), id="id", label="label", synthetic=True)
    workspace.embed()
    return folder


def run(checkout: Path, workspace: Path, folder: Path) -> tuple[dict[str, Any], pl.DataFrame]:
    """Return what `align` of one checkout took on a copy of the workspace, and its weights."""
    copy, target = folder / "copy", folder / "weights.parquet"
    shutil.copytree(workspace, copy)
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    command = [sys.executable, "-c", RUN, str(copy), str(target)]
    # From an empty folder: Python looks for packages where it is started, too.
    found = subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(copy)
    return json.loads(found.stdout.splitlines()[-1]), pl.read_parquet(target)


def apart(first: pl.DataFrame, second: pl.DataFrame) -> float:
    """Return the largest difference of two weights of one record, relative to the larger."""
    if first["id"].to_list() != second["id"].to_list():
        raise SystemExit("The two checkouts weighted different records.")
    a, b = first["weight"].to_numpy(), second["weight"].to_numpy()
    larger = np.maximum(a, b)
    return float(np.max(np.abs(a - b) / np.where(larger > 0, larger, 1.0)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="the folder of another checkout; without it this one runs alone")
    parser.add_argument("--case", choices=list(CASES), default="align-50k")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each checkout, in turn")
    parser.add_argument("--data", type=Path, default=DATA, help=f"a folder with {' and '.join(FILES.values())}")
    parser.add_argument(
        "--workspace", type=Path, help="where to make the workspace, or where it is from an earlier run"
    )
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    checkouts = {"this": HERE} | ({"other": arguments.against} if arguments.against else {})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace = arguments.workspace or folder / "workspace"
        if not workspace.exists():
            make(workspace, CASES[arguments.case], arguments.data)
        rows, weights = [], {}
        print(
            f"{'case':<11} {'checkout':<9} {'wall s':>8} {'CPU s':>8} {'align s':>8} {'measure s':>9} {'peak MiB':>9}"
        )
        for _ in range(arguments.repeats):
            for which, checkout in reversed(checkouts.items()):
                row, weights[which] = run(checkout, workspace, folder)
                rows.append({"case": arguments.case, "method": which} | row)
                parts = row["runs"]
                print(
                    f"{arguments.case:<11} {which:<9} {row['wall']:>8.1f} {row['processor']:>8.1f} "
                    f"{parts['align']:>8.1f} {parts['measure']:>9.1f} {row['peak_mb']:>9.0f}",
                    flush=True,
                )
    if arguments.against:
        print(f"the weights differ by {apart(weights['this'], weights['other']):.1g} at most, relative to the larger")
        best = {
            which: [min(row[kind] for row in rows if row["method"] == which) for kind in ("wall", "processor")]
            for which in checkouts
        }
        ratios = [this / other for this, other in zip(best["this"], best["other"], strict=True)]
        print(f"this checkout took {ratios[0]:.2f} of the other's wall seconds and {ratios[1]:.2f} of its CPU seconds")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
