"""Time from nothing to `import synalign` and to `synalign --help`: what a person waits for before anything happens.

Whole processes, started one after another; the median of N after one warm-up. `python -c pass` is the base line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import synalign": [sys.executable, "-c", "import synalign"],
    "synalign --help": [str(Path(sys.executable).with_name("synalign")), "--help"],
    "synalign version": [str(Path(sys.executable).with_name("synalign")), "version"],
}


def seconds(command: list[str], runs: int) -> list[float]:
    """Return the wall seconds of each of `runs` runs, after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return times[1:]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 runs instead of 11")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    rows = []
    print(f"{'case':<20} {'median s':>9} {'min':>7} {'max':>7}")
    for case, command in CASES.items():
        times = seconds(command, 3 if arguments.quick else 11)
        median = statistics.median(times)
        rows.append({"case": case, "method": "process", "seconds": median, "min": min(times), "max": max(times)})
        print(f"{case:<20} {median:>9.3f} {min(times):>7.3f} {max(times):>7.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
