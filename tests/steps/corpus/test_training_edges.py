"""Training data at its edges: unlabelled records, no synthetic ones left, worker processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import polars as pl
import pytest
from torch.utils.data import DataLoader, Dataset

import synalign as sa
from synalign.errors import NotReadyError

CORPUS = Path(__file__).resolve().parents[3] / "fixtures" / "support.csv"


def test_records_without_a_label_are_left_out_where_others_have_one(tmp_path: Path) -> None:
    corpus = pl.read_csv(CORPUS).select("text", "label")
    partly = corpus.head(100).with_row_index("n")
    partly = partly.with_columns(pl.when(pl.col("n") % 4 == 0).then(None).otherwise(pl.col("label")).alias("label"))
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(partly.drop("n"), label="label")
    workspace.ingest(corpus.slice(100, 60), label="label", synthetic=True)
    workspace.align(features=64)
    data = workspace.training_data()
    assert (data.origin == "real").sum() == 75
    assert None not in data.y
    workspace.exclude("true")
    with pytest.raises(NotReadyError, match="No record is left"):
        workspace.training_data(synthetic_share=1.0)


def test_the_dataset_is_one_of_torch_and_travels_to_workers(filled: sa.Workspace) -> None:
    data = filled.training_data(vectors=True)
    dataset = data.dataset()
    assert isinstance(dataset, Dataset)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy[3]["text"] == data.text[3]
    batch = next(iter(DataLoader(dataset, batch_size=7)))
    assert batch["x"].shape == (7, data.X.shape[1])  # type: ignore[union-attr]
    assert batch["sample_weight"].shape == (7,)
    assert len(repr(data)) < 200
