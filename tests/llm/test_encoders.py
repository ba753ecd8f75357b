from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from synalign.errors import ModelError, UsageError
from synalign.llm.encoders import encode_sentence_transformers, unit_rows


@pytest.mark.skipif(importlib.util.find_spec("sentence_transformers") is not None, reason="the package is installed")
def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(UsageError, match=r"synalign\[sentence-transformers\]"):
        encode_sentence_transformers(["a"], "all-MiniLM-L6-v2", 8)


@pytest.mark.skipif(importlib.util.find_spec("sentence_transformers") is None, reason="needs sentence-transformers")
def test_a_model_that_is_not_on_this_machine_is_not_downloaded() -> None:
    with pytest.raises(UsageError, match="downloads nothing"):
        encode_sentence_transformers(["a"], "no-such-organisation/no-such-model", 8)


def test_rows_get_length_one() -> None:
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 2.0]], dtype=np.float32), "m")
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.0, 1.0]], rtol=1e-6)
    assert rows.dtype == np.float32


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_row_without_direction_is_named(bad: float) -> None:
    with pytest.raises(ModelError, match="text 1"):
        unit_rows(np.array([[1.0], [bad]]), "m")


def test_no_rows_are_no_rows() -> None:
    assert unit_rows(np.empty((0, 3)), "m").shape == (0, 3)
