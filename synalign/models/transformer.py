"""Fine-tuning of a transformers encoder: a classifier that reads the text, of the extra `synalign[transformers]`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from threading import Lock
from typing import Any

import numpy as np

from synalign.errors import ModelError, NumericsError, UsageError
from synalign.models.checks import check_setting, of_mean_one, usable
from synalign.models.logistic import Constant, spread
from synalign.models.network import batches, check_device, child_seed, ready_device, steps_of
from synalign.models.protocol import Examples, Fitted, Inputs

#: What a name of this kind of classifier starts with.
PREFIX = "transformers/"

#: Set to 1 in the environment, it allows models to be downloaded from the Hugging Face hub.
DOWNLOAD = "SYNALIGN_ALLOW_DOWNLOAD"

#: Texts that are predicted at once.
_BLOCK = 64

#: The share of the steps over which the learning rate rises.
_WARM = 0.1

#: Dropout inside the model draws from torch's one global generator: one fit at a time may set and use it.
_ALONE = Lock()


@dataclass(frozen=True)
class Transformer:
    """A pretrained encoder with a classification head, a new one unless it has one of that size, trained as a whole by
    AdamW on minibatches. The learning rate rises over the first tenth of the steps and falls to 0 in a line. Sample
    weights, scaled to a mean of 1, are in the loss.

    model: the path of a folder that `save_pretrained` wrote, or a name on the Hugging Face hub, of which the copy on
        this machine is used. It is downloaded only if `download` is true or SYNALIGN_ALLOW_DOWNLOAD=1 is set.
    epochs: times that each example is seen, or as many more as bring it to `least_steps` steps.
    max_length: tokens of a text that are read. device: "cpu" or "cuda".
    """

    model: str
    epochs: int = 3
    least_steps: int = 200
    batch_size: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    max_length: int = 128
    device: str = "cpu"
    download: bool = False
    name: str = field(init=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        object.__setattr__(self, "name", PREFIX + self.model)
        if not self.model:
            raise UsageError(f"'{PREFIX}' is followed by the name or the folder of a model; nothing follows it here.")
        for setting in ("epochs", "least_steps", "batch_size", "max_length"):
            check_setting(self.name, setting, getattr(self, setting), 1, whole=True)
        check_setting(self.name, "learning_rate", self.learning_rate, 1e-9, 1.0)
        check_setting(self.name, "weight_decay", self.weight_decay, 0.0)
        check_device(self.name, self.device)

    def fit(self, examples: Examples, labels: int, seed: int) -> Fitted:
        """See `Classifier.fit`.

        Raises:
            UsageError: if the package is not installed, the model is not on this machine and may not be downloaded, or
                the device is not there.
            ModelError: if the model cannot be used to classify.
            NumericsError: also if the training diverges.
        """
        examples = usable(examples, labels)
        present, codes = np.unique(examples.labels, return_inverse=True)
        if len(present) < 2:
            return Constant(int(present[0]), labels)
        ready_device(self.name, self.device)
        with _ALONE, _seeded(child_seed(seed), self.device), _quiet():
            tokenizer, model = self._load(len(present))
            reader = _Reader(tokenizer, _limit(self.max_length, tokenizer, model.config), self.device)
            self._train(model, reader, reader.tokens(examples.inputs.texts), codes, of_mean_one(examples.weights), seed)
        return _FittedTransformer(model, reader, present, labels)

    def _load(self, labels: int) -> tuple[Any, Any]:
        """Return the tokenizer and the model, with a head for so many labels."""
        try:
            from safetensors import SafetensorError
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError as error:
            raise UsageError(
                f"The classifier {self.name!r} needs a package that is not installed: pip install "
                "'synalign[transformers]'. Without it, 'logistic', 'tfidf' and 'network' work."
            ) from error
        local = not (self.download or os.environ.get(DOWNLOAD) == "1")
        found = str(Path(self.model).expanduser()) if Path(self.model).expanduser().is_dir() else self.model
        settings = {"local_files_only": local, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(found, **settings)
            model, report = AutoModelForSequenceClassification.from_pretrained(
                found, num_labels=labels, ignore_mismatched_sizes=True, output_loading_info=True, **settings
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UsageError(self._missing(error, local)) from error
        absent = set(report["missing_keys"])
        fresh = sum(weight.numel() for name, weight in model.named_parameters() if name in absent)
        if fresh > model.num_parameters() / 2:
            raise ModelError(
                f"{self.model!r} holds no weights of a {type(model).__name__}: most would be random numbers."
            )
        if tokenizer.pad_token_id is None:
            raise ModelError(
                f"{self.model!r} has no token to pad texts with. {PREFIX}NAME takes encoders, such as BERT."
            )
        return tokenizer, model.float().to(self.device)

    def _missing(self, error: Exception, local: bool) -> str:
        cause = shorten(" ".join(str(error).split()), 200, placeholder=" ...")
        said = f"The model {self.model!r} cannot be loaded: {cause}"
        if Path(self.model).expanduser().exists():
            return f"{said} A model is a folder that `save_pretrained` of its tokenizer and of itself wrote."
        if not local:
            return f"{said} There is no such folder, and it could not be downloaded from huggingface.co."
        return (
            f"{said} There is no such folder, and no copy of a model of this name on this machine. To have "
            f"https://huggingface.co/{self.model} downloaded (its configuration, vocabulary and weights), give the "
            f"setting download=True, or set {DOWNLOAD}=1 in the environment; nothing was downloaded."
        )

    def _train(
        self, model: Any, reader: _Reader, tokens: list[list[int]], codes: np.ndarray, weights: np.ndarray, seed: int
    ) -> None:
        import torch
        from torch.nn import functional

        y = torch.as_tensor(codes, device=self.device)
        w = torch.as_tensor(weights, dtype=torch.float32, device=self.device)
        # Biases and the scales of norms are not decayed.
        matrices = [weight for weight in model.parameters() if weight.ndim > 1]
        vectors = [weight for weight in model.parameters() if weight.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": self.weight_decay},
            {"params": vectors},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, weight_decay=0.0)
        steps = steps_of(len(codes), self.batch_size, self.epochs, self.least_steps)
        rise = max(1.0, _WARM * steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / rise, (steps - step) / max(1.0, steps - rise), 1.0)
        )
        order = torch.Generator().manual_seed(child_seed(seed))
        model.train()
        for rows in batches(len(codes), self.batch_size, steps, order):
            scores = model(**reader.batch([tokens[row] for row in rows.tolist()])).logits
            rows = rows.to(self.device)
            losses = functional.cross_entropy(scores.float(), y[rows], reduction="none")
            optimizer.zero_grad()
            (losses * w[rows]).mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        model.eval()
        if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
            rate = f"{self.learning_rate:g}"
            raise NumericsError(f"The training of {self.name!r} diverged at a learning rate of {rate}; lower it.")


@dataclass(frozen=True)
class _Reader:
    """Texts to what a model takes."""

    tokenizer: Any
    limit: int
    device: str

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the numbers of the tokens of each text, at most `limit`."""
        if not len(texts):
            return []
        return self.tokenizer(list(texts), truncation=True, max_length=self.limit)["input_ids"]

    def batch(self, tokens: list[list[int]]) -> Any:
        """Return the arguments of the model for some texts, padded to the longest."""
        padded = self.tokenizer.pad({"input_ids": tokens}, return_tensors="pt")
        return {name: value.to(self.device) for name, value in padded.items()}


@dataclass(frozen=True)
class _FittedTransformer:
    model: Any
    reader: _Reader
    present: np.ndarray
    labels: int

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """See `Fitted.predict_proba`."""
        import torch

        tokens = self.reader.tokens(inputs.texts)
        # Texts of like length together: less padding.
        order = np.argsort([len(text) for text in tokens], kind="stable")
        found = np.empty((len(tokens), len(self.present)))
        with torch.no_grad():
            for start in range(0, len(order), _BLOCK):
                rows = order[start : start + _BLOCK]
                scores = self.model(**self.reader.batch([tokens[row] for row in rows])).logits
                found[rows] = torch.softmax(scores.double(), dim=1).cpu().numpy()
        return spread(found, self.present, self.labels)


def _limit(wanted: int, tokenizer: Any, config: Any) -> int:
    """Return how many tokens of a text are read: as many as are wanted, and the model has places for."""
    return min(wanted, tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or wanted)


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch's global generators, those of this device alone, and put them back as they were afterwards."""
    import torch

    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from writing to the terminal what is no news: that the head of the model is a new one."""
    try:
        from transformers.utils import logging
    except ImportError:
        # What is needed is said where it is needed.
        yield
        return
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
