"""training_data: arrays that line up, with the shares that were asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch.utils.data import DataLoader

import synalign as sa
from synalign.errors import NotReadyError, UsageError


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_shares_are_those_asked_for(filled: sa.Workspace, share: float):
    data = filled.training_data(synthetic_share=share)
    total = data.sample_weight.sum()
    np.testing.assert_allclose(data.sample_weight.mean(), 1, rtol=1e-9)
    np.testing.assert_allclose(data.sample_weight[data.origin == "synthetic"].sum() / total, share, atol=1e-9)
    sizes = (len(data), len(data.ids), len(data.text), len(data.y), len(data.origin), len(data.sample_weight))
    assert len(set(sizes)) == 1


def test_weights_follow_sql(filled: sa.Workspace):
    data = filled.training_data()
    mix = filled.sql("select origin, id, text, label, sample_weight from training_mix order by origin, id").pl()
    assert list(zip(data.origin, data.ids, data.text, data.y, strict=True)) == list(
        mix.select("origin", "id", "text", "label").iter_rows()
    )
    expected = mix["sample_weight"].to_numpy()
    np.testing.assert_allclose(data.sample_weight, expected / expected.mean(), rtol=1e-9)


def test_no_test_record_is_in_it(filled: sa.Workspace):
    data = filled.training_data()
    test = {row[0] for row in filled.sql("select id from real where split = 'test'").fetchall()}
    assert test
    real = {name for name, origin in zip(data.ids, data.origin, strict=True) if origin == "real"}
    assert not test & real


def test_vectors_are_those_of_each_record(filled: sa.Workspace):
    data = filled.training_data(vectors=True)
    assert data.X.dtype == np.float32
    assert len(data.X) == len(data)
    for place in (0, len(data) - 1):
        nearest = filled.search(data.text[place], k=1, embedder=None)
        assert nearest["text"][0] == data.text[place]


def test_a_torch_loader(filled: sa.Workspace):
    data = filled.training_data(vectors=True)
    batch = next(iter(DataLoader(data.dataset(), batch_size=8)))
    assert batch["x"].shape == (8, data.X.shape[1])
    assert batch["sample_weight"].dtype == torch.float32
    assert [data.classes[code] for code in batch["label"]] == list(data.y[:8])
    np.testing.assert_allclose(batch["x"].numpy(), data.X[:8])


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range(filled: sa.Workspace, share: float):
    with pytest.raises(UsageError, match="from 0 to 1"):
        filled.training_data(synthetic_share=share)


def test_without_weights(blank: Path):
    workspace = sa.open(blank)
    workspace.ingest(pl.DataFrame({"text": ["a"]}))
    with pytest.raises(NotReadyError, match="align"):
        workspace.training_data()


def test_effective_weights_sum_to_their_effective_number(filled: sa.Workspace) -> None:
    data = filled.training_data(synthetic_share=0.5)
    number = data.sample_weight.sum() ** 2 / (data.sample_weight**2).sum()
    assert data.effective_weight.sum() == pytest.approx(number)
    assert number < len(data)
    np.testing.assert_allclose(
        data.effective_weight / data.effective_weight[0], data.sample_weight / data.sample_weight[0]
    )
    alone = filled.training_data(synthetic_share=0)
    if len(set(alone.sample_weight.tolist())) == 1:  # real records that each count once
        np.testing.assert_allclose(alone.effective_weight, 1.0)
