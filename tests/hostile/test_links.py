"""Links inside a workspace: those that leave it are named, and nothing is written through them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import synalign as sa
from synalign.errors import StoreError

FRAME = pl.DataFrame({"text": ["one", "two"]})


@pytest.fixture
def workspace(blank: Path) -> sa.Workspace:
    workspace = sa.open(blank)
    workspace.ingest(FRAME)
    return workspace


@pytest.mark.parametrize("name", ["lance", "lance/real.lance", "ledger.sqlite", "synalign.toml", "catalog.duckdb"])
def test_nothing_is_written_through_a_link_that_leads_out(name: str, workspace: sa.Workspace, tmp_path: Path) -> None:
    workspace._ledger.require_writable()
    workspace._ledger.close()
    outside = tmp_path / "outside"
    (workspace.path / name).rename(outside)
    (workspace.path / name).symlink_to(outside)
    before = {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()}
    for write in (lambda: workspace.ingest(FRAME.with_columns(text=pl.lit("new"))), workspace.gc):
        with pytest.raises(StoreError, match=rf"links that lead out of it: {name} -> .*outside.*Nothing was changed"):
            write()
    assert {path: path.read_bytes() for path in before} == before
    assert workspace.sql("select count(*) from real").fetchall() == [(2,)]
    assert [problem.examples[0].split(" -> ")[0] for problem in workspace.fsck().problems] == [name]


def test_a_workspace_may_be_reached_through_a_link(workspace: sa.Workspace, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(workspace.path)
    through = sa.open(link, create=False)
    through.ingest(FRAME.with_columns(text=pl.lit("new")))
    assert workspace.sql("select count(*) from real").fetchall() == [(3,)]
    assert not through.fsck().problems
