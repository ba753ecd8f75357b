"""Picks of greatest posterior variance, one table: this selection, other ways to the same picks, other ways to pick

A Gaussian process with an RBF kernel, the median length scale and noise 0.01 is observed at the candidate of largest
variance, again and again. `mean` and `max` are the posterior variance that the picks of a method leave at all
candidates, or at a sample that is stated. `exact` says whether the picks are those of the exact answer, in its order:
`sklearn-refit` where it runs, else `eager`; both take the first of those within 1e-9 of the largest. `labels` counts
the labels among the picked records; no method sees them. `times` is a method's time in units of synalign's.

Cases: `5k-200`, 200 picks of 5,000 SST-2 phrases, embedded as `synalign embed` does by default; `1m-1000`, 1,000 picks
of a million vectors drawn from all phrases with jitter; `2k-50` and `8k-50`, the same two small, which is --quick.

synalign          UncertaintyTracker.select.
sklearn-refit     the loop of the paper's public code: fit a GaussianProcessRegressor to the picks, predict deviations
                  at all candidates, take the largest.
gpytorch          the same with an ExactGP that is given the picks as its training data, in blocks of 250 candidates,
                  which take a tenth of the time of all at once; get_fantasy_model takes as long.
eager             a partial pivoted Cholesky factorisation of K + noise I: one row over all candidates for each pick.
pivoted-cholesky  linear_operator's own, of K: without noise, so that it never takes a duplicate and picks otherwise.
kmeans++          scikit-learn's seeding of k-means.
farthest          Gonzalez (1985): the candidate farthest from all picks, in float32.
random            without replacement.

Each method runs in a process of its own that reads the candidates into memory; its peak counts those (`data` is their
own size) and no other method's. `seconds` leave out imports, reading, and a small selection before that starts all
libraries; they are the median of three runs, or of fewer long ones. `cpu` counts all threads of the process, the mean
of the same runs: it is what to compare where other work runs on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peers
from alignment import DATA, SEED, isolated

FILE = "real_train.jsonl"
NOISE = 0.01
DIMENSIONS = 384

#: Norm of the jitter, as a share of the norm of a row.
JITTER = 0.3

#: Rows at which the variance is measured, at most; drawn with the seed where there are more.
MEASURED = 50_000

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """rows: candidates. fit: texts that the embedder is fitted to, at most. drawn: with jitter, from all phrases."""

    rows: int
    picks: int
    fit: int
    drawn: bool


CASES = {
    "5k-200": Case(5_000, 200, 10_000, False),
    "1m-1000": Case(1_000_000, 1_000, 10_000, True),
    "2k-50": Case(2_000, 50, 2_000, False),
    "8k-50": Case(8_000, 50, 2_000, True),
}
FULL, QUICK = ("5k-200", "1m-1000"), ("2k-50", "8k-50")


def write(case: Case, data: Path, folder: Path) -> float:
    """Write the candidates of a case, float32 [n, DIMENSIONS], and their labels; return the length scale."""
    from synalign.numerics.core.lsa import fit_lsa
    from synalign.numerics.selection.kernels import median_distance

    with (data / FILE).open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    random = np.random.default_rng([SEED, case.rows])
    order = random.permutation(len(records))
    model = fit_lsa([records[row]["text"] for row in order[: case.fit]], DIMENSIONS, SEED)
    chosen = order if case.drawn else order[: case.rows]
    vectors = model.transform([records[row]["text"] for row in chosen])
    labels = np.array([records[row]["label"] for row in chosen])
    if case.drawn:
        rows = random.integers(len(vectors), size=case.rows)
        result = np.lib.format.open_memmap(folder / "candidates.npy", "w+", np.float32, (case.rows, DIMENSIONS))
        for start in range(0, case.rows, 2**16):
            block = vectors[rows[start : start + 2**16]]
            scale = JITTER * np.linalg.norm(block, axis=1, keepdims=True) / np.sqrt(np.float32(DIMENSIONS))
            result[start : start + 2**16] = block + scale * random.standard_normal(block.shape, dtype=np.float32)
        result.flush()
        labels, vectors = labels[rows], result
    else:
        np.save(folder / "candidates.npy", vectors)
    np.save(folder / "labels.npy", labels)
    return median_distance(vectors, SEED)


def synalign(candidates: np.ndarray, picks: int, length_scale: float) -> np.ndarray:
    """Return the picks of this project."""
    from synalign.numerics.selection.kernels import make_kernel
    from synalign.numerics.selection.uncertainty import UncertaintyTracker

    return UncertaintyTracker(make_kernel("rbf", length_scale), NOISE).select(candidates, picks).indices


def sklearn_refit(candidates: np.ndarray, picks: int, length_scale: float) -> np.ndarray:
    """Return the picks of the loop with a new fit for each of them."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    points = candidates.astype(np.float64)
    taken: list[int] = []
    while len(taken) < picks:
        model = GaussianProcessRegressor(RBF(length_scale), alpha=NOISE, optimizer=None)
        if taken:
            model.fit(points[taken], np.zeros(len(taken)))
        deviation = model.predict(points, return_std=True)[1]
        taken.append(_first_largest(deviation**2, taken))
    return np.array(taken)


def eager(candidates: np.ndarray, picks: int, length_scale: float) -> np.ndarray:
    """Return the picks of the factorisation that brings every variance up to date after each pick."""
    import torch

    from synalign.numerics.selection.covariance import Covariance
    from synalign.numerics.selection.kernels import make_kernel

    covariance = Covariance(make_kernel("rbf", length_scale))
    covariance.centre(candidates)
    points = covariance.prepare(candidates)
    variance = covariance.prior(points)
    factor = torch.empty((picks, len(points)), dtype=torch.float64)
    taken: list[int] = []
    for step in range(picks):
        pick = _first_largest(variance.numpy(), taken)
        row = covariance.between(points[pick : pick + 1], points)[0]
        row -= factor[:step, pick] @ factor[:step]
        row /= (variance[pick] + NOISE).sqrt()
        factor[step] = row
        variance -= row.square_()
        taken.append(pick)
    return np.array(taken)


def gpytorch(candidates: np.ndarray, picks: int, length_scale: float) -> np.ndarray:
    """Return the picks of a loop that asks an ExactGP for the variance at all candidates."""
    import gpytorch as library
    import torch

    from synalign.numerics.selection.kernels import make_kernel

    class Model(library.models.ExactGP):
        """The process, with no mean."""

        def __init__(self, x: torch.Tensor) -> None:
            """Observe zeros: the variance does not depend on them."""
            likelihood = library.likelihoods.GaussianLikelihood().double()
            likelihood.noise = NOISE
            super().__init__(x, torch.zeros(len(x), dtype=torch.float64), likelihood)
            self.mean_module = library.means.ZeroMean()
            self.covar_module = make_kernel("rbf", length_scale)

        def forward(self, x: torch.Tensor) -> Any:
            """Return the prior at x."""
            return library.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    points = torch.from_numpy(candidates).double()
    taken = [0]  # all tie at first
    exact = library.settings.fast_computations(False, False, False)
    with torch.no_grad(), exact:
        model = Model(points[taken]).requires_grad_(False).eval()
        while len(taken) < picks:
            variance = torch.cat([model(block).variance for block in points.split(250)])
            taken.append(_first_largest(variance.numpy(), taken))
            model.set_train_data(points[taken], torch.zeros(len(taken), dtype=torch.float64), strict=False)
    return np.array(taken)


def pivoted_cholesky(candidates: np.ndarray, picks: int, length_scale: float) -> np.ndarray:
    """Return the pivots of linear_operator's factorisation of the kernel matrix."""
    import torch

    from synalign.numerics.selection.kernels import make_kernel

    with torch.no_grad():
        matrix = make_kernel("rbf", length_scale)(torch.from_numpy(candidates).double()).evaluate_kernel()
        return matrix.pivoted_cholesky(picks, error_tol=0.0, return_pivots=True)[1][:picks].numpy()


def kmeans(candidates: np.ndarray, picks: int, _length_scale: float) -> np.ndarray:
    """Return scikit-learn's seeding of k-means."""
    from sklearn.cluster import kmeans_plusplus

    return kmeans_plusplus(candidates, picks, random_state=SEED)[1]


def farthest(candidates: np.ndarray, picks: int, _length_scale: float) -> np.ndarray:
    """Return the picks of Gonzalez, from the first candidate on."""
    squares = np.einsum("nd,nd->n", candidates, candidates)
    nearest = np.full(len(candidates), np.inf, dtype=np.float32)
    taken = [0]
    while len(taken) < picks:
        last = taken[-1]
        np.minimum(nearest, squares + squares[last] - 2 * (candidates @ candidates[last]), out=nearest)
        nearest[last] = -np.inf
        taken.append(int(np.argmax(nearest)))
    return np.array(taken)


def at_random(candidates: np.ndarray, picks: int, _length_scale: float) -> np.ndarray:
    """Return candidates drawn without replacement."""
    return np.random.default_rng(SEED).choice(len(candidates), picks, replace=False)


def _first_largest(variance: np.ndarray, taken: Sequence[int]) -> int:
    """Return the first candidate not taken whose variance is within 1e-9 of the largest; the prior variance is 1."""
    kept = variance[taken]
    variance[taken] = -np.inf
    pick = int(np.argmax(variance >= variance.max() - 1e-9))
    variance[taken] = kept
    return pick


METHODS: dict[str, Callable[[np.ndarray, int, float], np.ndarray]] = {
    "synalign": synalign,
    "sklearn-refit": sklearn_refit,
    "eager": eager,
    "gpytorch": gpytorch,
    "pivoted-cholesky": pivoted_cholesky,
    "kmeans++": kmeans,
    "farthest": farthest,
    "random": at_random,
}

_REFIT = "n b^3 / 3 operations for n candidates and b picks, 3e14 at a million and 1,000: days"

#: What is not run on a million candidates, nor in the small case in its place.
LEFT_OUT = {
    "sklearn-refit": _REFIT,
    "gpytorch": _REFIT,
    "pivoted-cholesky": "at each pick it copies its factor and the places in it, over 24 GB beside the factor's own 8",
}


def run(folder: Path, method: str, picks: int, length_scale: float) -> tuple[np.ndarray, Row]:
    """Return the picks of a method and what they cost."""
    candidates = np.load(folder / "candidates.npy")
    select = METHODS[method]
    select(candidates[:50].copy(), 3, length_scale)
    runs: list[float] = []

    def selected() -> np.ndarray:
        start = time.process_time()
        found = select(candidates, picks, length_scale)
        runs.append(time.process_time() - start)
        return found

    seconds, found = peers.timed(selected)
    return found, {
        "method": method,
        "seconds": seconds,
        "cpu_seconds": statistics.mean(runs),
        "peak_mb": peers.peak(),
        "candidates_mb": candidates.nbytes / 2**20,
    }


def measure(folder: Path, picks: np.ndarray, length_scale: float) -> Row:
    """Return what picks leave, whichever method they are of."""
    from synalign.numerics.selection.kernels import make_kernel
    from synalign.numerics.selection.uncertainty import UncertaintyTracker

    candidates, labels = np.load(folder / "candidates.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    rows = np.arange(len(candidates))
    if len(rows) > MEASURED:
        rows = np.sort(np.random.default_rng(SEED).choice(len(rows), MEASURED, replace=False))
    tracker = UncertaintyTracker(make_kernel("rbf", length_scale), NOISE)
    tracker.condition(candidates[picks])
    variance = tracker.variance(candidates[rows])
    return {
        "mean_variance": float(variance.mean()),
        "max_variance": float(variance.max()),
        "labels_covered": len(np.unique(labels[picks])),
    }


class Table:
    """The rows so far, each printed as it comes."""

    COLUMNS = (
        ("seconds", "seconds", 9, "{:.3f}"),
        ("cpu_seconds", "cpu", 9, "{:.3f}"),
        ("speedup", "times", 8, "{:.1f}"),
        ("peak_mb", "peak MiB", 9, "{:,.0f}"),
        ("candidates_mb", "data MiB", 9, "{:,.0f}"),
        ("mean_variance", "mean", 9, "{:.5f}"),
        ("max_variance", "max", 9, "{:.5f}"),
        ("identical_picks", "exact", 6, "{!s}"),
        ("labels_covered", "labels", 7, "{}"),
    )

    def __init__(self) -> None:
        self.rows: list[Row] = []
        print(f"{'case':<8} {'method':<16} " + " ".join(f"{head:>{width}}" for _, head, width, _ in self.COLUMNS))

    def add(self, row: Row) -> None:
        """Print a row and keep it."""
        self.rows.append(row)
        cells = [
            f"{'-' if row.get(name) is None else form.format(row[name]):>{width}}"
            for name, _, width, form in self.COLUMNS
        ]
        print(f"{row['case']:<8} {row['method']:<16} {' '.join(cells)}  {row.get('note', '')}".rstrip(), flush=True)


def run_case(table: Table, name: str, methods: Sequence[str], data: Path, folder: Path) -> None:
    """Run the methods on a case."""
    case = CASES[name]
    length_scale = isolated(write, case, data, folder)
    what = (
        f"drawn from all phrases' vectors with Gaussian jitter of {JITTER:g} times their norm"
        if case.drawn
        else "vectors of phrases drawn at random"
    )
    where = f"at {MEASURED:,} of them" if case.rows > MEASURED else "at all of them"
    print(
        f"{name}: {case.picks:,} picks of {case.rows:,} x {DIMENSIONS} float32 candidates, {what}; length scale "
        f"{length_scale:.4f}; variances {where}"
    )
    answer = "eager" if case.drawn else "sklearn-refit"
    # The exact answer first, and what the others are compared with.
    order = sorted(methods, key=lambda method: (method != "synalign", method != answer))
    common = {"case": name, "candidates": case.rows, "picks": case.picks, "length_scale": length_scale, "noise": NOISE}
    found: dict[str, tuple[np.ndarray, Row]] = {}
    waiting: list[str] = []

    def add() -> None:
        while waiting:
            picks, cost = found[waiting.pop(0)]
            ours = found["synalign"][1]["seconds"] if "synalign" in found else None
            compared = {
                "speedup": cost["seconds"] / ours if ours else None,
                "identical_picks": bool(np.array_equal(picks, found[answer][0])) if answer in found else None,
            }
            table.add(common | cost | compared | isolated(measure, folder, picks, length_scale))

    for method in order:
        if case.drawn and method in LEFT_OUT:
            print(f"{name:<8} {method:<16} left out: {LEFT_OUT[method]}")
            continue
        try:
            found[method] = isolated(run, folder, method, case.picks, length_scale)
            waiting.append(method)
        except BrokenProcessPool:
            table.add(common | {"method": method, "seconds": None, "peak_mb": None, "note": "killed: out of memory?"})
        if method != "synalign":
            add()
    add()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help=f"a folder with {FILE}")
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one; can be given again")
    parser.add_argument("--method", action="append", choices=list(METHODS), help="only this one; can be given again")
    parser.add_argument("--quick", action="store_true", help=f"the cases {' and '.join(QUICK)}")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    if not (arguments.data / FILE).is_file():
        raise SystemExit(f"Not found: {arguments.data / FILE}. Name the folder that holds it with --data.")
    cases = arguments.case or (QUICK if arguments.quick else FULL)
    methods = list(dict.fromkeys(arguments.method or METHODS))
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > 0.5:
        print(f"Other work runs here (load {load:.1f}, {cores} cores): times are longer than on a quiet machine.")
    table = Table()
    for name in cases:
        with tempfile.TemporaryDirectory() as folder:
            run_case(table, name, methods, arguments.data, Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(table.rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
