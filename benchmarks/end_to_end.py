"""The whole way on real input: ingest, embed, cluster, select and align, each step in a process of its own.

Data: two JSON Lines files with id, text and label; by default SST-2's training phrases and text that FewGen wrote,
which are not part of this project. Seconds and peak memory are those of each process, as the operating system counts
them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "sst2"
SYNALIGN = str(Path(sys.executable).with_name("synalign"))


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command; return wall seconds and the peak memory of its process in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def head(source: Path, target: Path, rows: int) -> Path:
    """Copy the first rows of a file."""
    with source.open(encoding="utf-8") as lines:
        target.write_text("".join(line for line, _ in zip(lines, range(rows), strict=False)), encoding="utf-8")
    return target


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, default=DATA / "real_train.jsonl")
    parser.add_argument("--synthetic", type=Path, default=DATA / "synthetic_fewgen.jsonl")
    parser.add_argument("--quick", action="store_true", help="the first 5,000 rows of each file")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    missing = [str(path) for path in (arguments.real, arguments.synthetic) if not path.is_file()]
    if missing:
        raise SystemExit(f"Not found: {', '.join(missing)}. Name the files with --real and --synthetic.")
    with tempfile.TemporaryDirectory() as folder:
        real, synthetic = arguments.real, arguments.synthetic
        if arguments.quick:
            real = head(real, Path(folder) / "real.jsonl", 5000)
            synthetic = head(synthetic, Path(folder) / "synthetic.jsonl", 5000)
        workspace = str(Path(folder) / "workspace")
        columns = ["--id", "id", "--label", "label"]
        steps = {
            "ingest real": ["ingest", workspace, str(real), *columns],
            "ingest synthetic": ["ingest", workspace, str(synthetic), *columns, "--synthetic"],
            "embed": ["embed", workspace],
            "cluster": ["cluster", workspace],
            "select": ["select", workspace],
            "align": ["align", workspace],
        }
        rows = []
        print(f"{'step':<18} {'seconds':>8} {'peak MiB':>9}")
        for name, command in steps.items():
            seconds, peak = timed([SYNALIGN, *command])
            rows.append({"case": name, "method": "synalign", "seconds": seconds, "peak_mb": peak})
            print(f"{name:<18} {seconds:>8.1f} {peak:>9.0f}")
        total = {
            "case": "all",
            "method": "synalign",
            "seconds": sum(row["seconds"] for row in rows),
            "peak_mb": max(row["peak_mb"] for row in rows),
        }
        query = "select * from alignment_summary where is_current and stratum = '*'"
        found = subprocess.run([SYNALIGN, "sql", workspace, query, "--json"], check=True, capture_output=True)
        summary = json.loads(found.stdout)[0]
        for name in ("heldout_before", "heldout_after", "floor", "effective_share"):
            total[name] = summary[name]
        rows.append(total)
        print(f"{'all':<18} {total['seconds']:>8.1f} {total['peak_mb']:>9.0f}")
        print(
            f"held-out MMD^2 {total['heldout_before']:.4g} before, {total['heldout_after']:.4g} after, floor "
            f"{total['floor']:.4g}; effective share {total['effective_share']:.1%}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
