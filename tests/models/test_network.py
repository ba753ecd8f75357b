from __future__ import annotations

import numpy as np
import pytest
import torch

from synalign.errors import NumericsError, UsageError
from synalign.models.network import Network, batches, child_seed, steps_of
from synalign.models.protocol import Examples, Inputs
from tests.models.toy import examples


def test_it_learns_what_no_line_divides() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(400, 2)).astype(np.float32)
    codes = (vectors[:, 0] * vectors[:, 1] > 0).astype(np.int64)
    given = Examples(Inputs(vectors, [""] * 400), codes, np.ones(400))
    fitted = Network(learning_rate=1e-2, dropout=0.1, least_steps=300, weight_decay=0.01).fit(given, 2, 0)
    later = random.normal(size=(500, 2)).astype(np.float32)
    said = fitted.predict_proba(Inputs(later, [""] * 500)).argmax(axis=1)
    assert (said == (later[:, 0] * later[:, 1] > 0)).mean() > 0.9


def test_each_setting_matters() -> None:
    given = examples(30, 0)
    first = Network(least_steps=20, epochs=1).fit(given, 3, 0).predict_proba(given.inputs)
    for other in (
        {"hidden": 8}, {"dropout": 0.0}, {"weight_decay": 30.0}, {"learning_rate": 1e-2}, {"batch_size": 7},
        {"epochs": 30}, {"least_steps": 60},
    ):  # fmt: skip
        changed = Network(**{"least_steps": 20, "epochs": 1, **other}).fit(given, 3, 0).predict_proba(given.inputs)
        assert np.abs(changed - first).max() > 1e-5, other


def test_each_epoch_sees_every_row_once() -> None:
    found = list(batches(10, 4, 5, torch.Generator().manual_seed(0)))
    assert [len(rows) for rows in found] == [4] * 5
    assert sorted(torch.cat(found).tolist()) == sorted([*range(10)] * 2)
    assert sorted(next(batches(3, 64, 1, torch.Generator())).tolist()) == [0, 1, 2]
    assert (steps_of(100, 32, 3, 1), steps_of(100, 32, 3, 50)) == (12, 50)


def test_any_seed_is_taken() -> None:
    assert child_seed(0) != child_seed(1)
    assert torch.Generator().manual_seed(child_seed(2**200)).initial_seed() == child_seed(2**200)


def test_a_training_that_diverges_is_said() -> None:
    given = examples(30, 0)
    given.inputs.vectors[:] = np.where(np.arange(30)[:, None] == 0, 1e30, 1e-30)
    with pytest.raises(NumericsError, match="diverged at a learning rate of 1; lower it"):
        Network(learning_rate=1.0, least_steps=2, weight_decay=1e30).fit(given, 3, 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a cuda device")
def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="Set device to 'cpu'"):
        Network(device="cuda").fit(examples(30, 0), 3, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a cuda device")
def test_the_device_alters_rounding_alone() -> None:
    given = examples(60, 0)
    here, there = (Network(device=device).fit(given, 3, 0).predict_proba(given.inputs) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there, here, atol=1e-3)
