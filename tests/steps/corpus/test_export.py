"""export and sample: what is written is what SQL says, and comes back the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.errors import InputError, NotReadyError, UsageError
from synalign.steps.corpus.export import write

_READERS = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}


@pytest.fixture(scope="module")
def weighted(filled: sa.Workspace) -> pl.DataFrame:
    return filled.sql("from synthetic_weighted order by id").pl()


@pytest.mark.parametrize("suffix", _READERS)
def test_all_records_come_back(filled: sa.Workspace, weighted: pl.DataFrame, suffix: str, tmp_path: Path):
    path = filled.export(tmp_path / f"out{suffix}")
    found = _READERS[suffix](path)
    assert found["id"].to_list() == weighted["id"].to_list()
    assert found["text"].to_list() == weighted["text"].to_list()
    np.testing.assert_allclose(found["weight"].to_numpy(), weighted["weight"].to_numpy(), rtol=1e-12)
    card = (tmp_path / f"out{suffix}.md").read_text(encoding="utf-8")
    assert f"| rows | {weighted.height} |" in card
    assert "| effective share of the records | " in card
    assert "| written by | builtin/ngram |" in card
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [path.name, f"{path.name}.md"]


def test_draws_are_one_row_each(filled: sa.Workspace, tmp_path: Path):
    path = filled.export(tmp_path / "drawn.parquet", n=70, seed=3)
    found = pl.read_parquet(path)
    assert found.height == 70
    sample = filled.sample(70, seed=3)
    counted = dict(found.group_by("id").len().iter_rows())
    assert counted == dict(sample.select("id", "copies").iter_rows())
    card = (tmp_path / "drawn.parquet.md").read_text(encoding="utf-8")
    assert "| drawn | 70 |" in card
    assert "| seed | 3 |" in card


def test_samples_are_named_by_their_seed(filled: sa.Workspace, weighted: pl.DataFrame):
    assert filled.sample(40, seed=1).equals(filled.sample(40, seed=1))
    assert not filled.sample(40, seed=1).equals(filled.sample(40, seed=2))
    assert filled.sample(40)["copies"].sum() == 40
    largest = int(1 / weighted["weight"].max())
    assert filled.sample(largest, distinct=True)["copies"].to_list() == [1] * largest
    with pytest.raises(UsageError, match=f"at most {largest}"):
        filled.sample(largest + 1, distinct=True)
    with pytest.raises(UsageError, match="at least 1"):
        filled.sample(0)


def test_without_weights_nothing_is_written(blank: Path, tmp_path: Path):
    workspace = sa.open(blank)
    workspace.ingest(pl.DataFrame({"text": ["a"]}))
    for call in (lambda: workspace.export(tmp_path / "a.csv"), lambda: workspace.sample(3)):
        with pytest.raises(NotReadyError, match="align"):
            call()
    assert not (tmp_path / "a.csv").exists()


def test_what_cannot_be_written(filled: sa.Workspace, tmp_path: Path):
    with pytest.raises(UsageError, match=r"'\.xlsx' are not written; known are \.parquet"):
        filled.export(tmp_path / "a.xlsx")
    with pytest.raises(UsageError, match="no folder"):
        filled.export(tmp_path / "missing" / "a.csv")
    (tmp_path / "taken.csv").mkdir()
    with pytest.raises(InputError, match="could not be written"):
        filled.export(tmp_path / "taken.csv")
    nested = pl.DataFrame({"id": ["a"], "label": ["x"], "weight": [1.0], "own": [[1]]})
    with pytest.raises(InputError, match="CSV has no lists"):
        write(nested, tmp_path / "a.csv", {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken.csv"]
