"""Texts a second of the default embedder, for short and for long texts: fit, then encode.

Texts are made of the words of the fixture corpus, drawn with a fixed seed: 8 words for a short text, 300 for a long
one. Speed depends on lengths and vocabulary, not on sense; quality is tested elsewhere.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import time
from pathlib import Path

import numpy as np

from synalign.numerics.core.lsa import fit_lsa

CORPUS = Path(__file__).resolve().parents[1] / "fixtures" / "support.csv"
SEED = 0


def texts(count: int, words: int) -> list[str]:
    """Return `count` texts of `words` words."""
    with CORPUS.open(encoding="utf-8", newline="") as file:
        vocabulary = [word for row in csv.DictReader(file) for word in row["text"].split()]
    drawn = np.random.default_rng(SEED).choice(np.array(vocabulary, dtype=object), (count, words))
    return [" ".join(row) for row in drawn]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the texts")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    scale = 10 if arguments.quick else 1
    cases = {"short, 8 words": (8, 20_000, 100_000), "long, 300 words": (300, 5_000, 10_000)}
    rows = []
    print(f"{'case':<18} {'fit on':>8} {'fit s':>7} {'encoded':>8} {'texts/s':>9} {'peak MiB':>9}")
    for case, (words, fitted, encoded) in cases.items():
        sample = texts(encoded // scale, words)
        start = time.perf_counter()
        model = fit_lsa(sample[: fitted // scale], 256, SEED)
        middle = time.perf_counter()
        model.transform(sample)
        seconds = time.perf_counter() - middle
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        row = {
            "case": case,
            "method": "builtin/lsa",
            "fit_seconds": middle - start,
            "seconds": seconds,
            "texts_per_second": len(sample) / seconds,
            "peak_mb": peak,
        }
        rows.append(row)
        print(
            f"{case:<18} {fitted // scale:>8,} {row['fit_seconds']:>7.2f} {len(sample):>8,} "
            f"{row['texts_per_second']:>9,.0f} {peak:>9.0f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
