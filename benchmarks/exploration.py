"""Does selection by uncertainty cover more of the real text, and do guided rounds come nearer to it?

The generator is SIMULATED: for each selection, it "writes" the ten unused records of an LLM-written pool, of the same
label, that are nearest to the demonstrations, each in turn. A language model would write other text; what is shown
here is where selections lead, not what a model makes of them.

coverage: for the same budget of clusters, the selection of this project beside uniform random and k-means++ picks (on
the centroids; the mean of five draws a seed). variance: posterior variance left, mean over all real records. coverage:
PRDC coverage (Naeem et al. 2020, k = 5) of the real records by the simulated text.

rounds: three rounds with guide = "witness", three unguided ones, and one round of the same number of selections, all
through a workspace; squared MMD of the weighted records to 1,000 held-out real records, in one common space.

Paired differences with 95% t intervals over the seeds. The settings were chosen with seeds 0 to 9; the seeds here are
others. The data are not part of this project. The embedder is the default one, or a folder with a
sentence-transformers model for the coverage part: --encoder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.cluster import kmeans_plusplus
from strength import DATA, Vectors, interval, read

import synalign as sa
from synalign.numerics.core.clustering import choose_k, fit_clusters
from synalign.numerics.selection.demonstrations import choose_demonstrations, nearest_rows
from synalign.numerics.selection.kernels import make_kernel, median_distance
from synalign.numerics.selection.quotas import assign_labels, quotas
from synalign.numerics.selection.scores import score_weights
from synalign.numerics.statistics.mmd import mmd2
from synalign.numerics.statistics.two_sample import prdc

PAIRS = (("sst2", "synthetic_fewgen"), ("tweet_sentiment", "synthetic_gpt4"))

#: Real records, records of the pool, demonstrations of a selection, records that the simulated generator writes for it.
REAL, POOL, DEMONSTRATIONS, WRITTEN = 3_000, 8_000, 4, 10

#: Clusters picked in the coverage part. In the rounds part: selections of a round, clusters, and held-out records.
BUDGET, ROUND, CLUSTERS, HELDOUT = 24, 16, 100, 1_000

#: The other ways to pick, and exponents of mass.
BETAS, PEERS, DRAWS = (0.0, 0.5, 1.0), ("random", "kmeans++"), 5


def write(
    labels: Sequence[int],
    demonstrations: Sequence[np.ndarray],
    pool: np.ndarray,
    pool_labels: np.ndarray,
    used: np.ndarray,
) -> np.ndarray:
    """Return the rows of the pool that the simulated generator gives, and mark them as used.

    labels: of each selection. demonstrations: float [m, d] of each. pool: float [p, d]. used: bool [p].
    """
    found: list[int] = []
    for label, shown in zip(labels, demonstrations, strict=True):
        order = np.argsort(-(pool @ shown.T), axis=0, kind="stable")
        places = [iter(column) for column in order.T]
        for turn in range(WRITTEN):
            for row in places[turn % len(places)]:
                if not used[row] and pool_labels[row] == label:
                    used[row] = True
                    found.append(int(row))
                    break
    return np.array(found, dtype=np.int64)


def coverage(
    real: np.ndarray, labels: np.ndarray, pool: np.ndarray, pool_labels: np.ndarray, seed: int
) -> dict[str, Any]:
    """Return (variance left, coverage) of each way to pick clusters."""
    clusters = fit_clusters(real, choose_k(len(real)), seed)
    centres, sizes = clusters.centroids, clusters.sizes
    counts = np.zeros((len(centres), int(labels.max()) + 1))
    np.add.at(counts, (clusters.labels, labels), 1.0)
    scale, everywhere = median_distance(centres, seed), median_distance(real, seed)
    picks: dict[str, list[np.ndarray]] = {}
    for beta in BETAS:
        tracker = sa.UncertaintyTracker(make_kernel("rbf", scale))
        picks[f"beta={beta:g}"] = [tracker.select(centres, BUDGET, weights=score_weights(sizes, beta)).indices]
    random = np.random.default_rng(seed)
    # Several draws of each peer, so that what is compared with is what it gives on average.
    picks["random"] = [random.permutation(len(centres))[:BUDGET] for _ in range(DRAWS)]
    picks["kmeans++"] = [
        kmeans_plusplus(centres, BUDGET, random_state=int(random.integers(2**31)))[1] for _ in range(DRAWS)
    ]

    def judged(picked: np.ndarray) -> tuple[float, float]:
        given = assign_labels(counts[picked], quotas(BUDGET, np.bincount(labels)), DEMONSTRATIONS).tolist()
        shown = []
        for number, label in zip(picked, given, strict=True):
            inside = np.flatnonzero((clusters.labels == number) & (labels == label))
            if len(inside) < DEMONSTRATIONS:
                inside = nearest_rows(real, labels == label, centres[number], 2 * DEMONSTRATIONS)
            rows = choose_demonstrations(real[inside], centres[number], DEMONSTRATIONS)
            shown.append(real[inside[rows]])
        rows = write(given, shown, pool, pool_labels, np.zeros(len(pool), dtype=bool))
        tracker = sa.UncertaintyTracker(make_kernel("rbf", everywhere))
        tracker.condition(centres[picked])
        return float(tracker.variance(real).mean()), prdc(real, pool[rows], 5).coverage

    return {name: np.mean([judged(picked) for picked in drawn], axis=0) for name, drawn in picks.items()}


def rounds(
    folder: Path, frames: dict[str, pl.DataFrame], vectors: dict[str, np.ndarray], seed: int, count: int, guide: str
) -> tuple[float, int]:
    """Return the squared MMD to held-out records after `count` rounds, and the number of synthetic records."""
    workspace = sa.open(folder)
    workspace.configure(sa.Config(seed=seed))
    workspace.ingest(frames["real"], id="id", label="label", split="split")
    workspace.cluster(k=CLUSTERS)
    place = dict(zip(frames["real"]["id"], range(frames["real"].height), strict=True))
    labels = frames["pool"]["label"].to_numpy()
    used = np.zeros(len(labels), dtype=bool)
    for number in range(1, count + 1):
        workspace.select(budget=3 * ROUND // count, demonstrations=DEMONSTRATIONS, round=number, guide=guide)
        log = workspace.sql(
            "select label, demonstration_ids from selection_log where round = $round order by step", {"round": number}
        ).pl()
        shown = [vectors["real"][[place[name] for name in names]] for names in log["demonstration_ids"].to_list()]
        rows = write([int(label) for label in log["label"]], shown, vectors["pool"], labels, used)
        workspace.ingest(frames["pool"][rows], id="id", label="label", synthetic=True)
        workspace.align(strength=1e-3, quality=False, label_shares="real")
    weighted = workspace.sql("select id, weight from synthetic_weighted order by id").pl()
    spots = dict(zip(frames["pool"]["id"], range(frames["pool"].height), strict=True))
    written = vectors["pool"][[spots[name] for name in weighted["id"]]]
    heldout = vectors["real"][(frames["real"]["split"] == "test").to_numpy()]
    bandwidth = median_distance(vectors["real"], 0)
    return mmd2(heldout, written, bandwidth, None, weighted["weight"].to_numpy()), weighted.height


def drawn(data: Path, folder: str, name: str, seed: int) -> tuple[dict[Path, np.ndarray | None], list[np.ndarray]]:
    """Return the rows of the real records and of the pool for one seed, and their labels."""
    random = np.random.default_rng(seed)
    paths = [data / folder / f"{part}.jsonl" for part in ("real_train", name)]
    labels = [read(path)[1] for path in paths]
    rows = [np.sort(random.permutation(len(found))[:size]) for found, size in zip(labels, (REAL, POOL), strict=True)]
    parts: dict[Path, np.ndarray | None] = dict(zip(paths, rows, strict=True))
    return parts, [found[chosen] for found, chosen in zip(labels, rows, strict=True)]


def rows_of_coverage(data: Path, embedder: Vectors, seeds: range) -> Iterator[dict[str, Any]]:
    """Yield a row for each pair and way to pick."""
    for folder, name in PAIRS:
        found: list[dict[str, Any]] = []
        start = time.perf_counter()
        for seed in seeds:
            parts, labels = drawn(data, folder, name, seed)
            # The last part is what nothing is fitted to, which is not needed here.
            real, pool, _ = embedder.of({**parts, data / folder / "real_test.jsonl": np.arange(2)})
            found.append(coverage(real, labels[0], pool, labels[1], seed))
        table = {way: np.array([item[way] for item in found]) for way in found[0]}
        for way, values in table.items():
            row: dict[str, Any] = {"case": f"{folder} coverage", "method": way, "seeds": len(seeds)}
            row |= {"variance": values[:, 0].mean(), "coverage": values[:, 1].mean()}
            for peer in PEERS:
                row[f"variance_against_{peer}"] = interval(values[:, 0] - table[peer][:, 0])
                row[f"coverage_against_{peer}"] = interval(values[:, 1] - table[peer][:, 1])
            yield row | {"seconds": time.perf_counter() - start}


def rows_of_rounds(data: Path, seeds: range) -> Iterator[dict[str, Any]]:
    """Yield a row for each pair and way to do rounds."""
    ways = {"one round": (1, "none"), "three rounds": (3, "none"), "three, witness": (3, "witness")}
    for folder, name in PAIRS:
        found: dict[str, list[float]] = {way: [] for way in ways}
        sizes: dict[str, list[int]] = {way: [] for way in ways}
        start = time.perf_counter()
        for seed in seeds:
            parts, labels = drawn(data, folder, name, seed)
            vectors = Vectors(None, None).of({**parts, data / folder / "real_test.jsonl": np.arange(2)})
            frames = {}
            for side, path, known in zip(("real", "pool"), parts, labels, strict=True):
                texts = read(path, parts[path])[0]
                frames[side] = pl.DataFrame(
                    {"id": [f"{side}{i}" for i in range(len(texts))], "text": texts, "label": known}
                )
            test = np.random.default_rng(seed).permutation(REAL) < HELDOUT
            split = pl.Series("split", np.where(test, "test", "train"))
            frames["real"] = frames["real"].with_columns(split)
            common = {"real": vectors[0], "pool": vectors[1]}
            for way, (count, guide) in ways.items():
                with tempfile.TemporaryDirectory() as temporary:
                    value, size = rounds(Path(temporary) / "w", frames, common, seed, count, guide)
                found[way].append(value)
                sizes[way].append(size)
        for way, values in found.items():
            row = {
                "case": f"{folder} rounds",
                "method": way,
                "seeds": len(seeds),
                "records": float(np.mean(sizes[way])),
            }
            row |= {"mmd2": float(np.mean(values))}
            row["mmd2_against_one_round"] = interval(np.array(values) - np.array(found["one round"]))
            yield row | {"seconds": time.perf_counter() - start}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--encoder", help="folder of a sentence-transformers model; default: the default embedder")
    parser.add_argument("--cache", type=Path, help="folder to keep the encoder's vectors in")
    parser.add_argument("--part", choices=("coverage", "rounds"), help="one of the two; default: both")
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="two seeds, coverage alone")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    part = "coverage" if arguments.quick else arguments.part
    seeds = range(arguments.first_seed, arguments.first_seed + (2 if arguments.quick else arguments.seeds))
    rows = []
    print("The generator is simulated: the nearest unused records of a pool that a language model wrote.")
    if part != "rounds":
        print(f"{'case':<26} {'picks':<10} {'variance':>8} {'coverage':>8}  coverage against random, k-means++")
        for row in rows_of_coverage(arguments.data, Vectors(arguments.encoder, arguments.cache), seeds):
            gains = "  ".join("{:+.4f} ±{:.4f}".format(*row[f"coverage_against_{peer}"]) for peer in PEERS)
            print(
                f"{row['case']:<26} {row['method']:<10} {row['variance']:8.4f} {row['coverage']:8.4f}  {gains}",
                flush=True,
            )
            rows.append(row)
    if part != "coverage":
        print(f"{'case':<26} {'rounds':<16} {'records':>7} {'MMD^2':>9}  against one round")
        for row in rows_of_rounds(arguments.data, seeds):
            gain = "{:+.6f} ±{:.6f}".format(*row["mmd2_against_one_round"])
            print(f"{row['case']:<26} {row['method']:<16} {row['records']:7.0f} {row['mmd2']:9.6f}  {gain}", flush=True)
            rows.append(row)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
