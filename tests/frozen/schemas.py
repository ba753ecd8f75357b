"""The verbs that made the kept workspaces of older schemas, made again. See tools/keep_workspace.py."""

from __future__ import annotations

import tarfile
from pathlib import Path

import polars as pl

from tests.frozen.sessions import FIXTURES, SMALL, Act, act

SCHEMAS = ("1", "2", "3")
_LABELS = list(SMALL["task"]["labels"])


def unpack(schema: str, folder: Path) -> Path:
    """Unpack a kept workspace, and return its folder."""
    with tarfile.open(FIXTURES / "workspaces" / f"schema-{schema}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "workspace"


def acts(schema: str) -> list[Act]:
    """Return the verbs that the workspace of a schema holds the runs of, but for those that take records out."""
    rows = pl.read_csv(FIXTURES / "support.csv").filter(pl.col("label").is_in(_LABELS))
    rows = rows.select("text", "label", "channel")
    first = rows.head(60)
    return [
        act("ingest", lambda _: pl.concat([first, first[3], first[3]]), label="label", test_share=0.2),
        act("ingest", lambda _: rows.slice(60, 12), label="label", synthetic=True),
        act("cluster"),
        act("select"),
        act("reason"),
        act("generate"),
        act("align", weight_set="gentle", strength=1.0),
        act("align"),
        act("score", into="scored"),
        *([act("annotate", sample=3)] if schema != "1" else []),
    ]
