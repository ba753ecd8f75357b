"""A light bi-encoder over frozen embeddings: one projection of queries, one of documents, trained in seconds.

Both start as the identity (or, for fewer dimensions, at the principal components of queries and documents) and are
pulled towards it as if by so many pairs, so that of few pairs little is learned. The loss is InfoNCE (van den Oord et
al., arXiv 1807.03748): a softmax over the cosines of a query with its document, with the documents of the other queries
of the batch, and with more of the corpus. Each document stands in it once, so that two queries of one document are no
negatives of each other.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from synalign.config.retrieval import Retrieve
from synalign.errors import NumericsError
from synalign.ids import child_seed
from synalign.models.contrastive import Loss, count_steps, steps
from synalign.models.vectors import BLOCK, as_matrix, project

_DEFAULTS: dict[str, Any] = {name: setting.default for name, setting in Retrieve.model_fields.items()}

#: Folds of the real pairs by which the share of synthetic ones is chosen.
FOLDS = 5

#: Standard errors of the paired difference from the best share within which a smaller one is taken.
LEAN = 1.0

#: A document found beyond this rank counts as not found.
DEPTH = 10


@dataclass(frozen=True)
class Pairs:
    """n queries, each with the document that answers it. queries: float32 [n, d]. targets: int64 [n], rows of the
    documents. weights: float64 [n], not negative, any scale; 0 is as if the pair were not there."""

    queries: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.queries)

    def take(self, rows: np.ndarray) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.queries[rows], self.targets[rows], self.weights[rows])


class Trial(NamedTuple):
    """A share of the weight for synthetic pairs, cross-validated. mean: of the reciprocal ranks (within DEPTH) of real
    queries that were held out. error: standard error of its difference from the best mean, query by query; 0 for the
    best itself."""

    share: float
    mean: float
    error: float


@dataclass(frozen=True)
class Settings:
    """How a bi-encoder is trained.

    dimensions: k of the projections; None is that of the embeddings. epochs: passes over the pairs; more of them where
    these are fewer than 100 steps. batch: pairs of a step. learning_rate: of Adam at the first step, falling to 0 along
    a line. temperature: by which cosines are divided in the softmax. penalty: of the squared distance of the
    projections from their start, relative to one pair of mean weight. anchor: weight of a second loss, in which
    documents stand as queries for themselves: what keeps documents that no query was seen of findable. unasked: how
    much a document that no pair has as its target counts among the negatives, from 0 to 1; where they are drawn, each
    for those that are not, up to 1 in all. hard_negatives: for each query, so many of the documents that the embeddings
    find nearest are among the negatives of its batch, in corpora that are too large for all documents to be. device: as
    torch names it.

    Raises:
        NumericsError: if a value is out of range.
    """

    dimensions: int | None = _DEFAULTS["dimensions"]
    epochs: int = _DEFAULTS["epochs"]
    batch: int = _DEFAULTS["batch"]
    learning_rate: float = _DEFAULTS["learning_rate"]
    temperature: float = _DEFAULTS["temperature"]
    penalty: float = _DEFAULTS["penalty"]
    anchor: float = _DEFAULTS["anchor"]
    unasked: float = _DEFAULTS["unasked"]
    hard_negatives: int = _DEFAULTS["hard_negatives"]
    device: str = _DEFAULTS["device"]

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("dimensions", "epochs", "batch", "hard_negatives"):
            value, least = getattr(self, name), 0 if name == "hard_negatives" else 1
            if not (name == "dimensions" and value is None) and not (value == int(value) and value >= least):
                raise NumericsError(f"{name} must be a whole number of at least {least}; given: {value!r}.")
        for name in ("learning_rate", "temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise NumericsError(f"{name} must be a finite number above 0; given: {value!r}.")
        for name, most in (("penalty", math.inf), ("anchor", math.inf), ("unasked", 1.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= most):
                raise NumericsError(f"{name} must be a finite number from 0 to {most}; given: {value!r}.")


@dataclass(frozen=True)
class BiEncoder:
    """Two projections, float32 [k, d] each. The score of a query and a document is the product of what it makes of
    them, the cosine."""

    query_matrix: np.ndarray
    document_matrix: np.ndarray

    @classmethod
    def identity(cls, dimensions: int) -> BiEncoder:
        """Return the embeddings of d `dimensions` as they are: what is there before anything is learned."""
        matrix = np.eye(dimensions, dtype=np.float32)
        return cls(matrix, matrix)

    @property
    def dimensions(self) -> int:
        """k, the length of what it returns."""
        return self.query_matrix.shape[0]

    def queries(self, vectors: np.ndarray) -> np.ndarray:
        """Return the unit vectors of queries, float32 [n, k], of their embeddings [n, d].

        Raises:
            NumericsError: if the embeddings are not finite, not d long, or one is projected to nothing.
        """
        return project("queries", vectors, self.query_matrix)

    def documents(self, vectors: np.ndarray) -> np.ndarray:
        """Return the unit vectors of documents, float32 [m, k], of their embeddings [m, d]. Errors: as `queries`."""
        return project("documents", vectors, self.document_matrix)

    def to_bytes(self) -> bytes:
        """Return the model as an uncompressed npz file without pickles; equal models give equal bytes."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, query=self.query_matrix, document=self.document_matrix)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> BiEncoder:
        """Return the model that `to_bytes` wrote.

        Raises:
            NumericsError: if the bytes are no such file.
        """
        import zipfile

        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                found = [np.asarray(arrays[name]) for name in ("query", "document")]
        except (ValueError, OSError, TypeError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise NumericsError(f"The {len(data)} bytes are no stored bi-encoder: {error}.") from error
        fits = found[0].ndim == 2 and found[0].shape == found[1].shape
        if not (fits and all(part.dtype == np.float32 and np.isfinite(part).all() for part in found)):
            raise NumericsError(
                "A stored bi-encoder has two finite float32 matrices of one shape [k, d]; given: "
                f"{' and '.join(f'{part.dtype} {part.shape}' for part in found)}."
            )
        return cls(*found)


def fit(
    pairs: Pairs,
    documents: np.ndarray,
    settings: Settings,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> BiEncoder:
    """Train a bi-encoder. It is a function of its arguments; torch's own random numbers are left alone.

    Args:
        pairs: what to learn from. Only the ratios of the weights matter.
        documents: float [m, d], the whole corpus: also documents that no query is of count as negatives.
        settings: how. seed: of batches and of the negatives that are drawn.
        progress: told of (steps done, steps).

    Raises:
        NumericsError: if shapes do not fit, a vector or weight is not finite, a target is no row of the documents, no
            weight is positive, or more dimensions are asked for than the embeddings have.
    """
    import torch

    corpus = check_documents(documents)
    used = check_pairs("pairs", pairs, corpus)
    size = settings.dimensions or corpus.shape[1]
    if size > corpus.shape[1]:
        raise NumericsError(f"dimensions must be at most those of the embeddings, {corpus.shape[1]}; given: {size}.")
    start = _start(used, corpus, size)
    device = torch.device(settings.device)
    begin = torch.from_numpy(start).to(device)
    query_matrix, document_matrix = (begin.clone().requires_grad_() for _ in range(2))
    optimiser = torch.optim.Adam([query_matrix, document_matrix], lr=settings.learning_rate)
    pull = settings.penalty * float((used.weights**2).sum() / used.weights.sum() ** 2)
    total = count_steps(len(used), settings)
    loss_of = Loss(used, corpus, settings, device)
    for step, (rows, candidates, anchors) in enumerate(steps(used, corpus, start, settings, seed)):
        if progress is not None:
            progress(step, total)
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * (1.0 - step / total)
        loss = loss_of(query_matrix, document_matrix, rows, candidates, anchors)
        for matrix in (query_matrix, document_matrix):
            loss = loss + pull * ((matrix - begin) ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    if progress is not None:
        progress(total, total)
    return BiEncoder(*(matrix.detach().cpu().numpy() for matrix in (query_matrix, document_matrix)))


def mix(real: Pairs, synthetic: Pairs, share: float) -> Pairs:
    """Return the pairs of both together, the synthetic ones with `share` of the weight, the real ones with the rest.
    Those that get nothing are left out.

    Raises:
        NumericsError: if the share is none, or what it gives a part to has no positive weight.
    """
    if not 0.0 <= share <= 1.0:
        raise NumericsError(f"A share of synthetic pairs lies between 0 and 1; given: {share!r}.")
    kept = [(pairs, part) for pairs, part in ((real, 1.0 - share), (synthetic, share)) if part > 0]
    totals = [float(np.sum(pairs.weights)) for pairs, _ in kept]
    if not all(0.0 < total < math.inf for total in totals):
        raise NumericsError(f"At a share of {share} the weights must have finite sums above 0; given: {totals}.")
    weights = [np.asarray(pairs.weights) * (part / total) for (pairs, part), total in zip(kept, totals, strict=True)]
    return Pairs(
        np.concatenate([pairs.queries for pairs, _ in kept]),
        np.concatenate([pairs.targets for pairs, _ in kept]),
        np.concatenate(weights),
    )


def choose_share(
    real: Pairs,
    synthetic: Pairs,
    documents: np.ndarray,
    shares: Sequence[float],
    settings: Settings,
    seed: int,
    *,
    folds: int = FOLDS,
    progress: Callable[[int, int], None] | None = None,
) -> list[Trial]:
    """Cross-validate shares of synthetic pairs over the real ones, and return a trial for each, smallest share first.

    The real queries of each document are spread over the folds. For each fold and share a bi-encoder is fitted to the
    other folds and the synthetic pairs, `mix`ed, and judged on the real queries held out, by the reciprocal rank of
    their document among all. `chosen` picks one.

    Args:
        real, synthetic: the pairs, with their weights.
        documents: float [m, d]. shares: from 0 to 1. settings, seed: as `fit`.
        folds: at most as many as there are real pairs.
        progress: told of (fits done, fits).

    Raises:
        NumericsError: as `fit` and `mix`; or if there are fewer than 2 real pairs of positive weight, or no share.
    """
    corpus = check_documents(documents)
    known = check_pairs("real", real, corpus)
    tried = sorted(set(shares))
    if len(known) < 2 or folds < 2 or not tried:
        raise NumericsError(
            "A share is chosen by cross-validation, which needs 2 real pairs of positive weight, 2 folds and a "
            f"share to try; given: {len(known)} pairs, {folds} folds and {len(tried)} shares."
        )
    fold_of = _folds(known.targets, min(folds, len(known)), seed)
    total = int(fold_of.max()) + 1
    found = np.empty((len(tried), len(known)))
    for fold in range(total):
        held, rest = np.flatnonzero(fold_of == fold), known.take(np.flatnonzero(fold_of != fold))
        for place, share in enumerate(tried):
            if progress is not None:
                progress(fold * len(tried) + place, total * len(tried))
            model = fit(mix(rest, synthetic, share), corpus, settings, child_seed(seed, "fold", fold))
            found[place, held] = _reciprocal_ranks(model, known.take(held), corpus)
    if progress is not None:
        progress(total * len(tried), total * len(tried))
    return _trials(tried, found, known.weights)


def chosen(trials: Sequence[Trial], lean: float = LEAN) -> float:
    """Return the smallest share whose mean is within `lean` standard errors of the best.

    Raises:
        NumericsError: if there is no trial.
    """
    if not trials:
        raise NumericsError("There is no trial to choose a share from.")
    best = max(trial.mean for trial in trials)
    return min(trial.share for trial in trials if best - trial.mean <= lean * trial.error + 1e-12)


def check_documents(documents: Any) -> np.ndarray:
    """Return the embeddings of a corpus as float32 [m, d].

    Raises:
        NumericsError: if they are no finite matrix.
    """
    return as_matrix("documents", documents)


def check_pairs(name: str, pairs: Pairs, documents: np.ndarray) -> Pairs:
    """Return the pairs of positive weight, with weights of mean 1.

    Raises:
        NumericsError: if an array does not fit the documents [m, d] or is not finite, a target is no row of them, or no
            weight is positive.
    """
    queries = as_matrix(f"{name}.queries", pairs.queries)
    targets, weights = np.asarray(pairs.targets), np.asarray(pairs.weights, dtype=np.float64)
    if queries.shape[1] != documents.shape[1]:
        raise NumericsError(
            f"{name}.queries and documents must be embeddings of one length; given: {queries.shape[1]} and "
            f"{documents.shape[1]}."
        )
    if targets.shape != (len(queries),) or targets.dtype.kind not in "iu" or weights.shape != targets.shape:
        raise NumericsError(
            f"{name} must have a whole number as target and a weight for each of its {len(queries)} queries; given: "
            f"targets {targets.shape} of {targets.dtype}, weights {weights.shape}."
        )
    wrong = np.flatnonzero((targets < 0) | (targets >= len(documents)))
    if len(wrong):
        raise NumericsError(
            f"Every target must be a row of the {len(documents)} documents; {name} {wrong[0]} has {targets[wrong[0]]}."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights > 0).any()):
        raise NumericsError(f"{name}.weights must be finite, not negative, and one must be above 0.")
    rows = np.flatnonzero(weights > 0)
    # Scaled first, so that neither tiny nor huge weights leave the range of float64 when they are summed.
    share = weights[rows] / weights.max()
    return Pairs(queries[rows], targets[rows].astype(np.int64), share / share.mean())


def _start(pairs: Pairs, documents: np.ndarray, size: int) -> np.ndarray:
    """Return the projection before training, float32 [size, d]."""
    columns = documents.shape[1]
    if size == columns:
        return np.eye(columns, dtype=np.float32)
    moments = _moments(documents, np.ones(len(documents))) + _moments(pairs.queries, pairs.weights)
    _, vectors = np.linalg.eigh(moments)
    return np.ascontiguousarray(vectors[:, ::-1][:, :size].T, dtype=np.float32)


def _moments(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean of x x', float64 [d, d]."""
    total = np.zeros((vectors.shape[1],) * 2)
    for begin in range(0, len(vectors), BLOCK):
        block = vectors[begin : begin + BLOCK].astype(np.float64)
        total += (block * weights[begin : begin + BLOCK, None]).T @ block
    return total / weights.sum()


def _folds(targets: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each pair, int64 [n]: the pairs of one target in as many as there are."""
    order = np.random.default_rng(child_seed(seed, "folds")).permutation(len(targets))
    order = order[np.argsort(targets[order], kind="stable")]
    result = np.empty(len(targets), dtype=np.int64)
    result[order] = np.arange(len(targets)) % folds
    return result


def _reciprocal_ranks(model: BiEncoder, pairs: Pairs, documents: np.ndarray) -> np.ndarray:
    """Return 1 / rank of the document of each query among all, float64 [n], 0 beyond DEPTH. Of equal scores, the
    smaller row comes first."""
    corpus, queries = model.documents(documents), model.queries(pairs.queries)
    ranks = np.empty(len(queries), dtype=np.int64)
    step = max(1, 2**23 // len(corpus))
    for begin in range(0, len(queries), step):
        here = slice(begin, begin + step)
        scores, targets = queries[here] @ corpus.T, pairs.targets[here, None]
        own = np.take_along_axis(scores, targets, axis=1)
        before = (scores > own) | ((scores == own) & (np.arange(len(corpus)) < targets))
        ranks[here] = 1 + before.sum(axis=1)
    return np.where(ranks <= DEPTH, 1.0 / ranks, 0.0)


def _trials(shares: Sequence[float], found: np.ndarray, weights: np.ndarray) -> list[Trial]:
    """Return the trials of reciprocal ranks [shares, n] and weights of mean 1."""
    means = (found * weights).mean(axis=1)
    behind = found[int(np.argmax(means))] - found
    spread = weights * (behind - (behind * weights).mean(axis=1, keepdims=True))
    errors = np.sqrt((spread**2).sum(axis=1) / (len(weights) * (len(weights) - 1)))
    return [Trial(*figures) for figures in zip(shares, means.tolist(), errors.tolist(), strict=True)]
