"""align: the weights are a distribution with the real label shares, nearer to held-out real text than before."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import synalign as sa
from synalign.errors import NotReadyError, UsageError

CORPUS = Path(__file__).resolve().parents[3] / "fixtures" / "support.csv"


def _workspace(path: Path, real: pl.DataFrame, synthetic: pl.DataFrame, label: str | None = "label") -> sa.Workspace:
    workspace = sa.open(path)
    workspace.ingest(real, label=label)
    workspace.ingest(synthetic, label=label, synthetic=True)
    return workspace


def _shifted() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Real messages of all channels; synthetic ones of the same corpus, but mostly e-mails."""
    corpus = pl.read_csv(CORPUS).select("text", "label", "channel")
    mail = pl.col("channel") == "email"
    shuffled = corpus.sample(fraction=1.0, shuffle=True, seed=3)
    real, rest = shuffled.head(200), shuffled.tail(-200)
    return real, pl.concat([rest.filter(mail), rest.filter(~mail).head(60)])


def test_weights_sum_to_one_and_have_the_real_label_shares(filled: sa.Workspace) -> None:
    found = filled.sql("select label, sum(weight) as weight from synthetic_weighted group by label order by label").pl()
    real = filled.sql(
        "select label, sum(multiplicity) / sum(sum(multiplicity)) over () as share from real where split = 'train' "
        "group by label order by label"
    ).pl()
    assert found["label"].to_list() == real["label"].to_list()
    np.testing.assert_allclose(found["weight"].to_numpy(), real["share"].to_numpy(), rtol=1e-9)
    assert found["weight"].sum() == pytest.approx(1.0, abs=1e-12)


def test_weighting_undoes_a_shift_in_style(tmp_path: Path) -> None:
    workspace = _workspace(tmp_path / "w", *_shifted())
    workspace.align(strength=1e-3)
    share = "select sum(weight) filter (channel = 'email'), avg((channel = 'email')::int) from synthetic_weighted"
    weighted, raw = workspace.sql(share).fetchall()[0]
    real = workspace.sql("select avg((channel = 'email')::int) from real").fetchall()[0][0]
    assert abs(weighted - real) < abs(raw - real)
    row = workspace.sql("select * from alignment_summary where stratum = '*'").pl().row(0, named=True)
    assert row["heldout_after"] < row["heldout_before"]
    assert row["mmd2_after"] < row["mmd2_before"]
    assert row["converged"]
    assert row["gap"] <= 1e-3


def test_a_smaller_strength_pulls_harder(tmp_path: Path) -> None:
    workspace = _workspace(tmp_path / "w", *_shifted())
    fixed = {"quality": False, "label_shares": "real"}
    weak = workspace.align(strength=1e-1, **fixed).counts
    strong = workspace.align(strength=1e-3, **fixed).counts
    assert strong["mmd2_after"] < weak["mmd2_after"]
    assert strong["effective_share"] < weak["effective_share"]


def test_without_labels_all_records_are_one_stratum(tmp_path: Path) -> None:
    real, synthetic = _shifted()
    workspace = _workspace(tmp_path / "w", real.drop("label"), synthetic.drop("label"), label=None)
    workspace.align()
    assert workspace.sql("select stratum, share from alignments").fetchall() == [("*", 1.0)]
    assert workspace.sql("select sum(weight) from synthetic_weighted").fetchall()[0][0] == pytest.approx(1.0)


def test_labels_of_one_side_only_are_said_and_get_no_weight(tmp_path: Path) -> None:
    real, synthetic = _shifted()
    odd = pl.DataFrame({"text": ["of no use", "of no use either"], "label": ["x", "x"], "channel": ["app", "app"]})
    synthetic = pl.concat([synthetic.filter(pl.col("label") != "praise"), odd])
    workspace = _workspace(tmp_path / "w", real, synthetic)
    notes = " ".join(workspace.align().notes)
    assert "no synthetic record has the label 'praise'" in notes
    assert "2 synthetic records have the label 'x'" in notes
    labels = {row[0] for row in workspace.sql("select distinct label from synthetic_weighted").fetchall()}
    assert labels == {"account", "defect", "delivery", "refund"}
    assert workspace.sql("select sum(weight) from synthetic_weighted").fetchall()[0][0] == pytest.approx(1.0)


def test_no_common_label_is_refused_with_both_lists(tmp_path: Path) -> None:
    real, synthetic = _shifted()
    workspace = _workspace(tmp_path / "w", real, synthetic.with_columns(pl.lit("x").alias("label")))
    with pytest.raises(UsageError, match=r"real has 'account'.*synthetic has 'x'.*by_label=False"):
        workspace.align()
    workspace.align(by_label=False)


def test_a_repeated_synthetic_record_counts_as_often_as_it_came(tmp_path: Path) -> None:
    """Two copies without an id are one record of multiplicity 2: it gets what both would have got."""
    real, synthetic = _shifted()
    numbered = synthetic.with_row_index("key")
    twice = pl.concat([numbered, numbered.head(1).with_columns(pl.lit(10_000).cast(pl.UInt32).alias("key"))])
    folded = _workspace(tmp_path / "folded", real, pl.concat([synthetic, synthetic.head(1)]))
    apart = sa.open(tmp_path / "apart")
    apart.ingest(real, label="label")
    apart.ingest(twice, label="label", id="key", synthetic=True)
    text = synthetic["text"][0]
    weights = []
    for workspace in (folded, apart):
        workspace.embed()
        workspace.align(strength=1e-2)
        query = "select sum(weight), count(*) from synthetic_weighted where text = $text"
        weights.append(workspace.sql(query, {"text": text}).fetchall()[0])
    assert (weights[0][1], weights[1][1]) == (1, 2)
    # The two workspaces fit embedders of slightly different texts, so the weights are close, not equal.
    assert weights[0][0] == pytest.approx(weights[1][0], rel=0.25)


def test_the_embedder_is_fitted_anew_once_there_is_synthetic_text(tmp_path: Path) -> None:
    real, synthetic = _shifted()
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(real, label="label")
    workspace.embed()
    workspace.ingest(synthetic, label="label", synthetic=True)
    workspace.align()
    query = "select fitted_on from embedders order by len(fitted_on)"
    assert workspace.sql(query).fetchall() == [(["real"],), (["real", "synthetic"],)]
    assert workspace.align().reused


def test_align_says_what_is_missing(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    with pytest.raises(NotReadyError, match="no real training records"):
        workspace.align()
    workspace.ingest(_shifted()[0], label="label")
    with pytest.raises(NotReadyError, match="no synthetic records"):
        workspace.align()


def test_one_real_and_two_synthetic_records_are_enough(tmp_path: Path) -> None:
    workspace = sa.open(tmp_path / "w")
    workspace.ingest(pl.DataFrame({"text": ["a lamp that is broken"], "label": ["x"]}), label="label")
    written = pl.DataFrame({"text": ["a lamp", "a chair"], "label": ["x", "x"]})
    workspace.ingest(written, label="label", synthetic=True)
    workspace.align()
    assert workspace.sql("select sum(weight) from synthetic_weighted").fetchall()[0][0] == pytest.approx(1.0)


def test_text_of_the_embedded_model_among_other_text_is_said_with_the_way_to_take_it_out(
    filled: sa.Workspace, tmp_path: Path
) -> None:
    shutil.copytree(filled.path, tmp_path / "w")
    workspace = sa.open(tmp_path / "w")
    corpus = pl.read_csv(CORPUS).select("text", "label").with_columns("please: " + pl.col("text"))
    workspace.ingest(corpus.head(40), label="label", synthetic=True)
    ngram = workspace.sql("select count(*) from synthetic where call_id is not null").fetchall()[0][0]
    (note,) = [note for note in workspace.align(features=64).notes if "builtin/ngram" in note]
    assert f"{ngram} of {ngram + 40} records" in note
    condition = note.rpartition(" DIR ")[2].strip('"')
    assert workspace.exclude(condition).counts == {"excluded": ngram}
    assert not [note for note in workspace.align(features=64).notes if "builtin/ngram" in note]
