"""Full fine-tuning of a sentence-transformers model on queries and the documents that answer them.

An extra: it needs `synalign[sentence-transformers]`, a model on this machine, and minutes where the projections of
`biencoder` need seconds. The loss is theirs: InfoNCE with weights, over the documents of the batch, each once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synalign.errors import ModelError, NumericsError, UsageError

if TYPE_CHECKING:
    import torch

#: Share of the steps in which the learning rate rises.
_WARM = 0.1

#: Longest gradient of a step, and decay of the weights: the usual ones of fine-tuning.
_CLIP, _DECAY = 1.0, 0.01


@dataclass(frozen=True)
class TextPairs:
    """n queries, each with the document that answers it. targets: int64 [n], rows of the documents. weights: float64
    [n], not negative, any scale; 0 is as if the pair were not there."""

    queries: Sequence[str]
    targets: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class FineTuning:
    """How a model is fine-tuned. epochs: passes over the pairs. batch: pairs of a step, whose documents are each
    other's negatives. learning_rate: of AdamW at its height. temperature: by which cosines are divided. device: as
    torch names it.

    Raises:
        NumericsError: if a value is out of range.
    """

    epochs: int = 3
    batch: int = 64
    learning_rate: float = 5e-5
    temperature: float = 0.05
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("epochs", "batch"):
            value = getattr(self, name)
            if value != int(value) or value < 1:
                raise NumericsError(f"{name} must be a whole number of at least 1; given: {value!r}.")
        for name in ("learning_rate", "temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise NumericsError(f"{name} must be a finite number above 0; given: {value!r}.")


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned model: one encoder for queries and documents."""

    model: Any

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        """Return the unit vectors of queries, float32 [n, d].

        Raises:
            ModelError: if the model gives a vector that is not finite, or none.
        """
        return self._encoded(texts)

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        """Return the unit vectors of documents, float32 [m, d]. Errors: as `queries`."""
        return self._encoded(texts)

    def save(self, path: Path | str) -> None:
        """Write the model to a folder that is not there yet, or is empty: `embed.model` takes it from there.

        Raises:
            UsageError: if there is something at the path.
        """
        folder = Path(path)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is not empty; a model is saved to a folder of its own. Nothing was written.")
        self.model.save(str(folder), create_model_card=False)

    def _encoded(self, texts: Sequence[str]) -> np.ndarray:
        if not len(texts):
            return np.empty((0, len(self._encoded(["."])[0])), dtype=np.float32)
        vectors = np.asarray(self.model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False), np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
        if len(bad):
            raise ModelError(
                f"The fine-tuned model gave {len(bad)} of {len(vectors)} vectors that are zero or not finite, the "
                f"first for text {bad[0]}. Train it anew with a smaller learning rate."
            )
        return vectors / lengths


def fine_tune(
    name_or_path: str,
    pairs: TextPairs,
    documents: Sequence[str],
    settings: FineTuning,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> FineTuned:
    """Fine-tune a model that is on this machine; its files stay as they are, and nothing is downloaded. torch's own
    random numbers are as before when it returns.

    Args:
        name_or_path: a folder, or the name of a model that was downloaded before.
        pairs: what to learn from. Only the ratios of the weights matter.
        documents: m texts. Equal ones are no negatives of each other.
        settings: how. seed: of batches and of drop-out.
        progress: told of (steps done, steps).

    Raises:
        UsageError: if the package is not installed, or there is no such model on this machine.
        NumericsError: if the pairs do not fit the documents, or no weight is positive.
    """
    import torch

    targets, weights = _checked(pairs, len(documents))
    model = _load(name_or_path, settings.device)
    used = np.flatnonzero(weights > 0)
    share = weights / weights[used].mean()
    # The documents by their text: of two equal ones, neither is wrong where the other is right.
    first: dict[str, int] = {}
    same = np.array([first.setdefault(text, row) for row, text in enumerate(documents)])
    batches = math.ceil(len(used) / settings.batch)
    total = settings.epochs * batches
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=_DECAY)
    random = np.random.default_rng(seed)
    device = torch.device(settings.device)
    with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=_kind(device)):
        torch.manual_seed(seed % 2**63)
        model.train()
        step = 0
        for _ in range(settings.epochs):
            for rows in np.array_split(random.permutation(used), batches):
                if progress is not None:
                    progress(step, total)
                for group in optimiser.param_groups:
                    group["lr"] = settings.learning_rate * _height(step, total)
                own, places = np.unique(same[targets[rows]], return_inverse=True)
                scores = _vectors(model, [pairs.queries[row] for row in rows])
                scores = scores @ _vectors(model, [documents[row] for row in own]).T / settings.temperature
                wanted = torch.from_numpy(places).to(device)
                each = torch.nn.functional.cross_entropy(scores, wanted, reduction="none")
                loss = (each * torch.from_numpy(share[rows].astype(np.float32)).to(device)).mean()
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
                optimiser.step()
                step += 1
        model.eval()
    if progress is not None:
        progress(total, total)
    return FineTuned(model)


def _checked(pairs: TextPairs, documents: int) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and weights."""
    targets, weights = np.asarray(pairs.targets), np.asarray(pairs.weights, dtype=np.float64)
    if targets.shape != (len(pairs.queries),) or weights.shape != targets.shape or targets.dtype.kind not in "iu":
        raise NumericsError(
            f"Each of the {len(pairs.queries)} queries needs a whole number as target, and a weight; given: targets "
            f"{targets.shape} of {targets.dtype}, weights {weights.shape}."
        )
    wrong = np.flatnonzero((targets < 0) | (targets >= documents))
    if len(wrong):
        raise NumericsError(
            f"Every target must be a row of the {documents} documents; pair {wrong[0]} has {targets[wrong[0]]}."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights > 0).any()):
        raise NumericsError("The weights of pairs must be finite, not negative, and one must be above 0.")
    return targets, weights / weights.max()


def _load(name_or_path: str, device: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UsageError(
            "Fine-tuning needs a package that is not installed: pip install 'synalign[sentence-transformers]'. "
            "Without it, a bi-encoder over any embedder can be trained."
        ) from error
    try:
        return SentenceTransformer(name_or_path, local_files_only=True, device=device)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"There is no sentence-transformers model {name_or_path!r} on this machine: {error}. Give the path of a "
            f"folder that holds one, or download it first; SynAlign downloads nothing by itself."
        ) from error


def _vectors(model: Any, texts: list[str]) -> torch.Tensor:
    """Return the unit vectors of texts, with gradients."""
    import torch

    # `tokenize` is its name before version 5.
    prepare = getattr(model, "preprocess", None) or model.tokenize
    inputs = {
        name: part.to(model.device) if isinstance(part, torch.Tensor) else part for name, part in prepare(texts).items()
    }
    return torch.nn.functional.normalize(model(inputs)["sentence_embedding"], dim=1)


def _height(step: int, total: int) -> float:
    """Return the learning rate of a step, relative to its height: it rises along a line, and falls along one to 0."""
    warm = max(1.0, _WARM * total)
    return min((step + 1) / warm, (total - step) / max(1.0, total - warm), 1.0)


def _kind(device: torch.device) -> str:
    """Return the type of device whose random numbers are kept, as `fork_rng` wants it where there is none but the
    processor's."""
    return "cuda" if device.type == "cpu" else device.type
