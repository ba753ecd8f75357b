"""A small neural network on embeddings: one hidden layer, dropout, weight decay, a fixed number of steps.

Stopping early would take records from the few there are: a tenth of 300 tells no more than a guess. The settings were
compared on 300 real tweets, and on those with 5,000 that a language model wrote: with less weight decay or dropout the
likelihood of held-out labels falls, and accuracy with it.

Every random number comes from the model's own generators, so that torch's global state is neither read nor changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synalign.errors import NumericsError, UsageError
from synalign.models.checks import check_setting, finite, of_mean_one, usable
from synalign.models.logistic import Constant, root_mean_square, spread
from synalign.models.protocol import Examples, Fitted, Inputs

if TYPE_CHECKING:
    import torch

#: Rows that are predicted at once.
_BLOCK = 8192


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron on vectors of root mean square 1 in each column, trained by AdamW on minibatches with a
    learning rate that falls to 0 along a cosine. Sample weights, scaled to a mean of 1, are in the loss.

    epochs: times that each example is seen, or as many more as bring it to `least_steps` steps. device: "cpu", "cuda".
    """

    hidden: int = 128
    dropout: float = 0.5
    weight_decay: float = 3.0
    learning_rate: float = 1e-3
    batch_size: int = 64
    epochs: int = 10
    least_steps: int = 200
    device: str = "cpu"
    name: str = "network"

    def __post_init__(self) -> None:
        """Check the settings."""
        for setting in ("hidden", "batch_size", "epochs", "least_steps"):
            check_setting(self.name, setting, getattr(self, setting), 1, whole=True)
        check_setting(self.name, "dropout", self.dropout, 0.0, 0.95)
        check_setting(self.name, "weight_decay", self.weight_decay, 0.0)
        check_setting(self.name, "learning_rate", self.learning_rate, 1e-9, 1.0)
        check_device(self.name, self.device)

    def fit(self, examples: Examples, labels: int, seed: int) -> Fitted:
        """See `Classifier.fit`.

        Raises:
            UsageError: if the device is not there.
        """
        examples = usable(examples, labels)
        present, codes = np.unique(examples.labels, return_inverse=True)
        if len(present) < 2:
            return Constant(int(present[0]), labels)
        vectors, weights = examples.inputs.vectors, of_mean_one(examples.weights)
        scale = root_mean_square(vectors, weights) / math.sqrt(vectors.shape[1])
        layers = self._train(vectors / scale, codes, weights, len(present), seed)
        return _FittedNetwork(layers, scale, present, labels)

    def _train(
        self, vectors: np.ndarray, codes: np.ndarray, weights: np.ndarray, labels: int, seed: int
    ) -> list[torch.Tensor]:
        import torch
        from torch.nn import functional

        ready_device(self.name, self.device)
        x = torch.as_tensor(np.ascontiguousarray(vectors, dtype=np.float32), device=self.device)
        y = torch.as_tensor(codes, device=self.device)
        w = torch.as_tensor(weights, dtype=torch.float32, device=self.device)
        # Both are drawn on the CPU, so that the device alters nothing but rounding.
        random = torch.Generator().manual_seed(child_seed(seed))
        layers = self._start(x.shape[1], labels, random)
        groups: list[dict[str, Any]] = [
            {"params": layers[0::2], "weight_decay": self.weight_decay},
            {"params": layers[1::2]},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, weight_decay=0.0)
        steps = steps_of(len(codes), self.batch_size, self.epochs, self.least_steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / steps))
        )
        keep = 1.0 - self.dropout
        for rows in batches(len(codes), self.batch_size, steps, random):
            masks = [
                (torch.rand(len(rows), size, generator=random) < keep).to(self.device) / keep
                for size in (x.shape[1], self.hidden)
            ]
            rows = rows.to(self.device)
            losses = functional.cross_entropy(_forward(x[rows], layers, masks), y[rows], reduction="none")
            optimizer.zero_grad()
            (losses * w[rows]).mean().backward()
            optimizer.step()
            schedule.step()
        if not all(bool(torch.isfinite(layer).all()) for layer in layers):
            rate = f"{self.learning_rate:g}"
            raise NumericsError(f"The training of {self.name!r} diverged at a learning rate of {rate}; lower it.")
        return [layer.detach().cpu() for layer in layers]

    def _start(self, width: int, labels: int, random: torch.Generator) -> list[torch.Tensor]:
        import torch

        layers = []
        for inward, outward in ((width, self.hidden), (self.hidden, labels)):
            weight = torch.randn(outward, inward, generator=random) / math.sqrt(inward)
            layers += [weight, torch.zeros(outward)]
        return [layer.to(self.device).requires_grad_() for layer in layers]


@dataclass(frozen=True)
class _FittedNetwork:
    layers: list[torch.Tensor]
    scale: float
    present: np.ndarray
    labels: int

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """See `Fitted.predict_proba`."""
        import torch

        vectors = finite(inputs.vectors)
        found = np.empty((len(inputs), len(self.present)))
        with torch.no_grad():
            for start in range(0, len(inputs), _BLOCK):
                block = np.asarray(vectors[start : start + _BLOCK] / self.scale, dtype=np.float32)
                scores = _forward(torch.from_numpy(block), self.layers)
                found[start : start + _BLOCK] = torch.softmax(scores.double(), dim=1).numpy()
        return spread(found, self.present, self.labels)


def _forward(x: torch.Tensor, layers: list[torch.Tensor], masks: list[torch.Tensor] | None = None) -> torch.Tensor:
    from torch.nn import functional

    if masks:
        x = x * masks[0]
    x = functional.gelu(functional.linear(x, layers[0], layers[1]))
    if masks:
        x = x * masks[1]
    return functional.linear(x, layers[2], layers[3])


def steps_of(examples: int, batch_size: int, epochs: int, least_steps: int) -> int:
    """Return how many minibatches a model is trained on."""
    return max(least_steps, epochs * math.ceil(examples / batch_size))


def batches(examples: int, batch_size: int, steps: int, random: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield the rows of each minibatch: all rows in a random order, and so on anew."""
    import torch

    size = min(batch_size, examples)
    rows = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        while len(rows) < size:
            rows = torch.cat([rows, torch.randperm(examples, generator=random)])
        yield rows[:size]
        rows = rows[size:]


def child_seed(seed: int) -> int:
    """Return a seed that torch takes, of any seed that numpy takes."""
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1)


def check_device(model: str, device: str) -> None:
    """Check the name of a device.

    Raises:
        UsageError: if it is neither "cpu" nor "cuda".
    """
    if device not in ("cpu", "cuda"):
        raise UsageError(f"The setting device of the classifier {model!r} is 'cpu' or 'cuda'; given: {device!r}.")


def ready_device(model: str, device: str) -> None:
    """Check that a device is there.

    Raises:
        UsageError: if it is "cuda", and torch finds no such device.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"The classifier {model!r} was told to run on 'cuda', and this installation of torch finds no such device. "
            "Set device to 'cpu'."
        )
