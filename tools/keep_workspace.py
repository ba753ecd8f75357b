"""Make the kept workspace of a schema, and the answers that it gives: fixtures/workspaces/schema-N.tar.gz and .json.

    PYTHONPATH=CODE python tools/keep_workspace.py N FOLDER

CODE is a checkout of the commit whose schema it is, which is what runs; see fixtures/workspaces/README.md. FOLDER is
where both files go. A kept workspace is never made again once a version that writes its schema is released.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import synalign as sa

CORPUS = Path(__file__).resolve().parents[1] / "fixtures" / "support.csv"

#: Answered when a workspace is made, and asked again by the tests of every later version.
QUESTIONS = {
    "records": "select origin, split, label, count(*) from (select 'real' as origin, split, label from real union all "
    "select 'synthetic', split, label from synthetic) group by all order by all",
    "multiplicities": "select origin, sum(multiplicity), max(multiplicity) from (select 'real' as origin, multiplicity "
    "from real union all select 'synthetic', multiplicity from synthetic) group by all order by all",
    "weights": "select weight_set, label, count(*), round(sum(weight), 9) from weights group by all order by all",
    "current": "select label, count(*), round(sum(weight), 9) from synthetic_weighted group by all order by all",
    "excluded": "select id, reason from exclusions order by all",
    "clusters": "select origin, cluster_id, count(*) from cluster_members group by all order by all",
    "selections": "select selection_id, round, cluster_id, label, demonstrations from selections order by all",
    "calls": "select step, status, model, count(*), md5(string_agg(reply, '' order by call_id)) from calls group by "
    "all order by all",
    "attributes": "select count(*), count(distinct selection_id) from attributes",
    "runs": "select sequence, step, run_id from runs order by all",
    "sample": "select id, copies from sample_synthetic(50, seed := 7) order by all",
}

#: Few of everything, so that the archive is small: embed, cluster, reason, generate and align are as a run would do it.
SETTINGS: dict[str, Any] = {
    "seed": 7,
    "task": {
        "description": "a message from a customer to an online shop",
        "labels": {"delivery": "asks where an order is", "refund": "wants money back", "defect": "reports a fault"},
    },
    "embed": {"dimensions": 16},
    "cluster": {"k": 6},
    "select": {"budget": 6},
    "generate": {"per_selection": 6},
    "align": {"features": 32, "label_shares": "real", "strength": 1e-2, "quality": False},
}


def records(start: int, count: int) -> list[dict[str, str]]:
    """Return messages of three labels from the fixture corpus."""
    with CORPUS.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in SETTINGS["task"]["labels"]]
    return [{name: row[name] for name in ("text", "label", "channel")} for row in rows[start : start + count]]


def make(path: Path) -> sa.Workspace:
    """Make the workspace by the verbs that every version has, and by those that some have."""
    import pyarrow as pa

    workspace = sa.open(path)
    workspace.configure(sa.Config.model_validate(SETTINGS))
    first = records(0, 60)
    workspace.ingest(pa.Table.from_pylist([*first, first[3], first[3]]), label="label", test_share=0.2)
    workspace.ingest(pa.Table.from_pylist(records(60, 12)), label="label", synthetic=True)
    if hasattr(workspace, "forget"):
        workspace.forget(where="id = (select max(id) from real where split = 'train')")
    workspace.cluster()
    workspace.select()
    workspace.reason()
    workspace.generate()
    workspace.exclude("text = (select min(text) from synthetic)", reason="kept as an exclusion")
    workspace.align(weight_set="gentle", strength=1.0)
    workspace.align()
    workspace.score(into="scored")
    workspace.use_weights("default")
    if hasattr(workspace, "annotate"):
        workspace.annotate(sample=3)
    if hasattr(workspace, "tag"):
        workspace.tag("kept", note="a tag")
    return workspace


def answers(workspace: sa.Workspace) -> dict[str, Any]:
    """Return what the workspace says to all questions, as JSON would give it back."""
    found = {name: workspace.sql(question).fetchall() for name, question in QUESTIONS.items()}
    return json.loads(json.dumps(found))


def pack(path: Path, archive: Path) -> None:
    """Write the folder to an archive whose bytes depend on its files alone. Its catalog is left out: it is published
    anew by the first step, and is as large as all the rest."""
    left_out = {"catalog.duckdb", ".lock", ".calls.lock"}
    inside = io.BytesIO()
    with tarfile.open(fileobj=inside, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(path.rglob("*")):
            if file.name in left_out or not file.is_file():
                continue
            entry = tarfile.TarInfo(f"workspace/{file.relative_to(path).as_posix()}")
            entry.size, entry.mode = file.stat().st_size, 0o644
            with file.open("rb") as data:
                tar.addfile(entry, data)
    archive.write_bytes(gzip.compress(inside.getvalue(), 9, mtime=0))


def main(schema: str, folder: str) -> None:
    """Make, ask and pack."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        workspace = make(Path(scratch) / "workspace")
        said = {"package_version": sa.__version__, "questions": QUESTIONS, "answers": answers(workspace)}
        workspace._ledger.close()
        shutil.rmtree(Path(scratch) / "workspace" / "__pycache__", ignore_errors=True)
        pack(workspace.path, target / f"schema-{schema}.tar.gz")
    text = json.dumps(said, indent=1, ensure_ascii=False, sort_keys=True)
    (target / f"schema-{schema}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
