"""Training data as a torch Dataset. In a module of its own, since it needs torch to be defined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from synalign.steps.corpus.training import TrainingData


class RecordDataset(Dataset[dict[str, Any]]):
    """One dict for each record; picklable, so that a DataLoader may have workers."""

    def __init__(self, data: TrainingData) -> None:
        self._data = data
        self._codes = {name: code for code, name in enumerate(data.classes)}

    def __len__(self) -> int:
        """The number of records."""
        return len(self._data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return text, label (-1 for none), sample_weight and, if there are vectors, x of one record."""
        data = self._data
        item = {
            "text": data.text[index],
            "label": self._codes.get(data.y[index], -1),
            "sample_weight": torch.tensor(data.sample_weight[index], dtype=torch.float32),
        }
        return item if data.X is None else item | {"x": torch.from_numpy(data.X[index])}
