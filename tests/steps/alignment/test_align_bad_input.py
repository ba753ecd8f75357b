"""align with data that leaves nothing to learn, or that is broken: a typed error, or uniform weights and a note."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import synalign as sa
from synalign.errors import ModelError, NotReadyError, NumericsError, UsageError
from synalign.store.lake.schemas import vectors_table
from tests.llm.server import Answer, Server
from tests.steps.workspaces import FIXED, corpus, make, one, rows

Serve = Callable[[Callable[[dict[str, Any], int], Answer]], Server]


def _spoil(workspace: sa.Workspace, origin: str, value: float) -> None:
    """Put a number into the vector of one record, as a broken encoder would have."""
    name = one(workspace, "select name from embedders")
    lake, table = workspace._lake, vectors_table(name)
    row = lake.read(table, None, f"origin = '{origin}'").slice(0, 1)
    vector = np.array(row["vector"][0].as_py(), dtype=np.float32)
    vector[0] = value
    stored = pa.FixedSizeListArray.from_arrays(pa.array(vector), len(vector))
    changed = row.set_column(row.schema.get_field_index("vector"), row.schema.field("vector"), stored)
    assert lake.delete(table, f"origin = '{origin}' and id = '{row['id'][0].as_py()}'") == 1
    # Around LanceDB, which refuses NaN.
    lance.write_dataset(changed, lake.path / f"{table}.lance", mode="append")


@pytest.mark.parametrize(
    ("value", "origin", "strength"),
    [(np.nan, "real", "auto"), (np.nan, "synthetic", 1e-2), (np.inf, "synthetic", "auto")],
)
def test_a_stored_vector_that_is_not_finite_is_refused(
    tmp_path: Path, value: float, origin: str, strength: float | str
) -> None:
    texts = corpus()
    workspace = make(tmp_path / "w", texts.head(40), texts.tail(40))
    _spoil(workspace, origin, value)
    with pytest.raises(NumericsError, match="finite"):
        workspace.align(strength=strength, features=64)
    assert one(workspace, "select count(*) from weights") == 0


def test_an_endpoint_that_gives_nan_is_refused(serve: Serve, tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Answer:
        given = [[1.0, float("nan") if "lamp" in text else 2.0] for text in body["input"]]
        found = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(given)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return Answer({"object": "list", "data": found, "model": "m", "usage": usage})

    workspace = sa.open(tmp_path / "w")
    embed = {"model": "openai/m", "base_url": serve(answer).url}
    workspace.configure(sa.Config.model_validate({"embed": embed}))
    workspace.ingest(pl.DataFrame({"text": ["a chair", "a table"]}))
    workspace.ingest(pl.DataFrame({"text": ["a stool", "a lamp"]}), synthetic=True)
    with pytest.raises(ModelError):
        workspace.align()
    assert one(workspace, "select count(*) from weights") == 0


def test_no_record_on_a_side_is_said(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(pl.DataFrame({"text": ["a lamp"]}), synthetic=True)
    with pytest.raises(NotReadyError, match="no real training records"):
        workspace.align()
    workspace.ingest(pl.DataFrame({"text": ["a chair"]}))
    workspace.exclude("true")
    with pytest.raises(NotReadyError, match=r"All synthetic records are excluded.*include"):
        workspace.align()
    for act in (workspace.score, workspace.check, lambda: workspace.use_weights("default")):
        with pytest.raises(NotReadyError, match="There are no weights yet"):
            act()


def test_one_record_on_each_side_gets_all_the_weight_and_a_note(tmp_path: Path) -> None:
    lamp = pl.DataFrame({"text": ["a lamp"], "label": ["x"]})
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(lamp, label="label")
    workspace.ingest(lamp, label="label", synthetic=True)
    notes = " ".join(workspace.align().notes)
    assert "1 real records that can be matched are too few to cross-validate" in notes
    assert "one record, or equal vectors, for x: there is nothing to weight" in notes
    assert one(workspace, "select weight from synthetic_weighted") == 1.0
    assert not workspace.score().notes


@pytest.mark.parametrize("given", [{}, FIXED | {"features": "exact"}], ids=["auto", "exact"])
def test_equal_vectors_get_uniform_weights_and_a_note(tmp_path: Path, given: dict[str, Any]) -> None:
    records = pl.DataFrame({"text": ["a lamp is broken"] * 30, "label": ["x", "y"] * 15})
    keys = pl.Series("key", [f"k{i}" for i in range(30)])
    workspace = make(tmp_path / "w", records.with_columns(keys), records.with_columns(keys), id="key")
    notes = " ".join(workspace.align(**{"features": 64} | given).notes)
    assert "equal vectors, for x, y: there is nothing to weight, and it is uniform" in notes
    np.testing.assert_allclose(workspace.sql("select weight from synthetic_weighted").pl()["weight"], 1 / 30)
    (run,) = rows(workspace, "select notes from runs where step = 'measure'")
    assert any("auc_weighted is left out" in note and "distinct rows" in note for note in run["notes"])
    found = workspace.check(max_mmd_ratio=2, max_auc=0.9)
    assert [reason.partition(" could not")[0] for reason in found.reasons] == [
        "held-out MMD^2 over the floor",
        "the AUC of a classifier against real records",
    ]


def test_weights_of_a_set_that_is_not_there_are_refused(tmp_path: Path) -> None:
    texts = corpus()
    workspace = make(tmp_path / "w", texts.head(20), texts.tail(20))
    workspace.align(**FIXED, weight_set="b")
    workspace.align(**FIXED, weight_set="a")
    for act in (workspace.use_weights, lambda name: workspace.check(weight_set=name), lambda name: workspace.score(weight_set=name)):  # fmt: skip  # noqa: E501
        with pytest.raises(UsageError, match=r"There is no weight set 'c'\. There are: a, b\."):
            act("c")
    assert one(workspace, "select distinct weight_set from synthetic_weighted") == "a"
    with pytest.raises(UsageError, match="no embedder 'other'"):
        workspace.align(**FIXED, embedder="other")
