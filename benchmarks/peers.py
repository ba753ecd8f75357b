"""The other ways to weight synthetic records, each as a fair expert would run it, and what all ways are measured by.

Adam: the usual way, full batch on the logits of softmax weights. osqp, clarabel: kernel mean matching (Huang et al.,
NIPS 2006) on the simplex, |Phi'w - mu|^2 alone, as a dense QP. goodpoints: kernel thinning (Dwivedi and Mackey, JMLR
25, 2024), a multiset of equal weights: KT-Compress of the synthetic records, then the swaps of KT-SWAP towards the
real mean. DSIR (Xie et al., NeurIPS 2023): importance weights on hashed n-grams of the texts, self-normalised.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from synalign.numerics.core.features import RandomFeatures

#: Learning rates of Adam.
RATES = (0.1, 0.3, 1.0)

#: Buckets of DSIR's n-grams, and what is added to the count of each.
BUCKETS, SMOOTHING = 10_000, 1.0

#: Rows mapped at a time.
ROWS = 1024

#: A result is the median of three runs, or of fewer once they took this many seconds.
ENOUGH = 5.0


@dataclass(frozen=True)
class Problem:
    """One alignment, read from a folder into memory. real, synthetic: float32 [n, d] and [m, d]."""

    folder: Path
    real: np.ndarray
    synthetic: np.ndarray
    features: RandomFeatures

    @classmethod
    def load(cls, folder: Path) -> Problem:
        """Read the vectors, draw the features and start torch, so that no timing includes any of it."""
        import scipy.optimize  # noqa: F401 imported here, so that it is not timed
        import torch

        torch.rand(ROWS, ROWS) @ torch.rand(ROWS, ROWS)
        drawn = json.loads((folder / "features.json").read_text())
        return cls(
            folder, np.load(folder / "real.npy"), np.load(folder / "synthetic.npy"), RandomFeatures.draw(**drawn)
        )

    def texts(self, side: str) -> list[str]:
        """Return the texts of one side, "real" or "synthetic"."""
        return json.loads((self.folder / f"{side}.json").read_text())

    def row(self, method: str, weights: np.ndarray, eps: float, target: np.ndarray | None = None) -> dict[str, Any]:
        """Return what is measured of weights [m]."""
        weights = weights.astype(np.float64) / weights.sum(dtype=np.float64)
        target = self.features.mean(self.real) if target is None else target
        mean = self.features.mean(self.synthetic, weights)
        heldout = self.features.mean(np.load(self.folder / "heldout.npy"))
        some = weights[weights > 0]
        mmd2 = float(np.sum((mean - target) ** 2))
        ess = float(1.0 / (weights @ weights))
        return {
            "method": method,
            "eps": eps,
            "objective": float(some @ np.log(some * len(weights))) + mmd2 / (2 * eps),
            "mmd2": mmd2,
            "heldout_mmd2": float(np.sum((mean - heldout) ** 2)),
            "ess": ess,
            "ess_share": ess / len(weights),
        }


def peak() -> float:
    """Return the peak memory of this process in MiB; call it before measuring anything of the weights.

    Linux hands `ru_maxrss` on from the parent, through fork and exec, so its own count is read where there is one.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return the median seconds of three runs, or of fewer long ones, and what the last returned."""
    times: list[float] = []
    while len(times) < 3 and sum(times) < ENOUGH:
        start = time.perf_counter()
        result = action()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def adam(folder: Path, eps: float, goal: float, limit: float) -> list[dict[str, Any]]:
    """Run Adam at each learning rate until its objective is at most `goal`, or for `limit` seconds."""
    import torch

    problem = Problem.load(folder)
    start = time.perf_counter()
    mapper = problem.features.mapper()
    synthetic, real = torch.from_numpy(problem.synthetic), torch.from_numpy(problem.real)
    phi = torch.empty(len(synthetic), problem.features.size)
    for rows in range(0, len(synthetic), ROWS):
        phi[rows : rows + ROWS] = mapper(synthetic[rows : rows + ROWS])
    target = torch.zeros(problem.features.size, dtype=torch.float64)
    for rows in range(0, len(real), ROWS):
        target += mapper(real[rows : rows + ROWS]).sum(dim=0)
    target /= len(real)
    features_seconds = time.perf_counter() - start
    runs = [timed(partial(_adam, phi, target.float(), eps, rate, goal, limit)) for rate in RATES]
    found, peak_mb = [], peak()
    for rate, (seconds, (weights, steps, reached)) in zip(RATES, runs, strict=True):
        row = problem.row(f"adam-{rate:g}", weights, eps, target.numpy())
        row |= {"iterations": steps, "peak_mb": peak_mb, "note": f"{steps} steps"}
        if reached:
            row |= {"seconds": seconds, "total_seconds": seconds + features_seconds}
        else:
            row |= {"seconds": None, "total_seconds": None, "note": f"not there after {seconds:.0f} s, {steps} steps"}
        found.append(row)
    return found


def _adam(phi: Any, target: Any, eps: float, rate: float, goal: float, limit: float) -> tuple[np.ndarray, int, bool]:
    """Return the weights, the steps taken and whether the goal was reached. A step reads the features twice."""
    import torch

    logits = torch.zeros(len(phi), requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=rate)
    start, steps = time.perf_counter(), 0
    while True:
        log_weights = torch.log_softmax(logits, 0)
        weights = log_weights.exp()
        residual = weights @ phi - target
        objective = weights @ log_weights + np.log(len(phi)) + residual.square().sum() / (2 * eps)
        reached = objective.item() <= goal
        if reached or time.perf_counter() - start > limit:
            return weights.detach().numpy(), steps, reached
        optimiser.zero_grad()
        objective.backward()
        optimiser.step()
        steps += 1


def kernel_mean_matching(folder: Path, eps: float, solver: str) -> list[dict[str, Any]]:
    """Minimise w'Kw / 2 - k'w over the simplex with "osqp" or "clarabel": K = Phi Phi', k = Phi mu.

    Solved in b = m w, whose mean is 1, so that the solvers' absolute tolerances mean something.
    """
    if importlib.util.find_spec(solver) is None:
        return [missing(solver)]
    problem = Problem.load(folder)
    start = time.perf_counter()
    phi = problem.features.map(problem.synthetic).astype(np.float64)
    target = problem.features.mean(problem.real)
    kernel, linear = phi @ phi.T / len(phi), -(phi @ target)
    before = time.perf_counter() - start
    seconds, (weights, note) = timed(partial({"osqp": _osqp, "clarabel": _clarabel}[solver], kernel, linear))
    cost = {"seconds": seconds, "total_seconds": before + seconds, "peak_mb": peak(), "note": note}
    return [problem.row(solver, np.maximum(weights, 0.0), eps, target) | cost]


def _osqp(kernel: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, str]:
    import osqp
    from scipy import sparse

    size = len(linear)
    constraints = sparse.vstack([np.ones((1, size)), sparse.eye_array(size)], format="csc")
    lower, upper = np.zeros(size + 1), np.full(size + 1, np.inf)
    lower[0] = upper[0] = size
    model = osqp.OSQP()
    model.setup(
        sparse.csc_matrix(np.triu(kernel)),
        linear,
        sparse.csc_matrix(constraints),
        lower,
        upper,
        verbose=False,
        eps_abs=1e-5,
        eps_rel=1e-5,
        max_iter=100_000,
    )
    result = model.solve()
    return result.x, f"{result.info.status}, {result.info.iter} iterations"


def _clarabel(kernel: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, str]:
    import clarabel
    from scipy import sparse

    size = len(linear)
    constraints = sparse.vstack([np.ones((1, size)), -sparse.eye_array(size)], format="csc")
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(size)]
    right = np.zeros(size + 1)
    right[0] = size
    upper = sparse.csc_matrix(np.triu(kernel))
    result = clarabel.DefaultSolver(upper, linear, sparse.csc_matrix(constraints), right, cones, settings).solve()
    return np.array(result.x), f"{result.status}, {result.iterations} iterations".lower()


def features_once(folder: Path) -> list[dict[str, Any]]:
    """Compute the features of both sides and keep none: torch's matmul, cosine and sine, in this solver's blocks."""
    import torch

    from synalign.numerics.core.blocks import BLOCK_SIZE

    problem = Problem.load(folder)
    frequencies = torch.from_numpy(problem.features.frequencies)
    rows = BLOCK_SIZE // problem.features.size
    angles, waves = torch.empty(rows, frequencies.shape[1]), torch.empty(rows, problem.features.size)
    half = frequencies.shape[1]

    def once() -> None:
        for vectors in (problem.real, problem.synthetic):
            matrix = torch.from_numpy(vectors)
            for first in range(0, len(matrix), rows):
                count = min(rows, len(matrix) - first)
                torch.mm(matrix[first : first + count], frequencies, out=angles[:count])
                torch.cos(angles[:count], out=waves[:count, :half])
                torch.sin(angles[:count], out=waves[:count, half:])

    seconds, _ = timed(once)
    cost = {"seconds": seconds, "total_seconds": seconds, "peak_mb": peak()}
    return [{"method": "features-once", "note": "no weights, nothing kept"} | cost]


def goodpoints(folder: Path, strengths: list[float]) -> list[dict[str, Any]]:
    """Choose a multiset by kernel thinning; one row for each eps, of the same weights.

    The splits use goodpoints' own Gaussian kernel, the swaps the random features of everyone else.
    """
    if importlib.util.find_spec("goodpoints") is None:
        return [missing("goodpoints") | {"eps": eps} for eps in strengths]
    from goodpoints import compress, kt

    problem = Problem.load(folder)
    start = time.perf_counter()
    phi = problem.features.map(problem.synthetic)
    target = problem.features.mean(problem.real)
    before = time.perf_counter() - start
    size = len(phi)
    start = time.perf_counter()
    width = 2.0 * np.square(problem.features.bandwidths)
    chosen = compress.compress_kt(
        problem.synthetic.astype(np.float64), b"gaussian", k_params=width, g=2, num_bins=4, seed=problem.features.seed
    )
    products = phi @ phi[chosen].T  # what refine_X asks for first, one record at a time

    def kernel(one: np.ndarray, others: np.ndarray) -> np.ndarray:
        if len(one) == len(others):
            return np.einsum("nd,nd->n", phi[one[:, 0]], phi[others[:, 0]])
        if len(others) == size:
            return phi @ phi[one[0, 0]]
        return products[one[0, 0]]

    final = kt.refine_X(np.arange(size)[:, None], chosen, kernel, meanK=phi @ target)
    seconds = time.perf_counter() - start
    weights = np.bincount(final, minlength=size)
    cost = {
        "seconds": seconds,
        "total_seconds": before + seconds,
        "peak_mb": peak(),
        "note": f"{len(final)} draws of {np.count_nonzero(weights)} records",
    }
    return [problem.row("goodpoints", weights, eps, target) | cost for eps in strengths]


def dsir(folder: Path, strengths: list[float]) -> list[dict[str, Any]]:
    """Weight by the ratio of bags of hashed unigrams and bigrams; one row for each eps, of the same weights."""
    from scipy.special import softmax
    from sklearn.feature_extraction.text import HashingVectorizer

    problem = Problem.load(folder)
    texts = {side: problem.texts(side) for side in ("real", "synthetic")}
    hashing = HashingVectorizer(
        token_pattern=r"\w+|[^\w\s]+", ngram_range=(1, 2), n_features=BUCKETS, norm=None, alternate_sign=False
    )

    def weigh() -> np.ndarray:
        counts = {side: hashing.transform(texts[side]) for side in texts}
        sums = {side: np.asarray(counts[side].sum(axis=0)).ravel() + SMOOTHING for side in counts}
        logs = {side: np.log(sums[side] / sums[side].sum()) for side in sums}
        return softmax(counts["synthetic"] @ (logs["real"] - logs["synthetic"]))

    seconds, weights = timed(weigh)
    cost = {"seconds": seconds, "total_seconds": seconds, "peak_mb": peak(), "note": "from texts"}
    return [problem.row("dsir", weights, eps) | cost for eps in strengths]


def missing(name: str) -> dict[str, Any]:
    """Return the row of a method whose package is not there."""
    return {"method": name, "seconds": None, "peak_mb": None, "note": f"not installed: pip install {name}"}
