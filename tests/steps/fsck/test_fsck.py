"""fsck finds nothing in a workspace that is in order, and each corruption is found by the check that is for it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import lance
import polars as pl
import pyarrow as pa
import pytest

import synalign as sa
from synalign.errors import WorkspaceNotFoundError
from synalign.steps.fsck.check import fsck
from synalign.steps.fsck.report import CHECKS, ERROR, LEFTOVER, UNKNOWN, Report
from synalign.store.lake.lake import Lake
from synalign.store.lake.schemas import TABLES, vectors_spec
from synalign.store.sql import checks
from tests.cli import inside
from tests.conftest import ROOT
from tests.test_formats import SCHEMAS, files, unpack

NOBODY = "0" * 32


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished workspace with annotations, tags and a catalog. Copy it."""
    root = unpack(SCHEMAS[-1], tmp_path_factory.mktemp("sound"))
    sa.open(root).publish()
    assert fsck(root).problems == []
    return root


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "workspace")
    return tmp_path / "workspace"


def change(root: Path, name: str, where: str, **values: str) -> None:
    """Change rows of a table by SQL expressions, which nothing of SynAlign does."""
    dataset = lance.dataset(str(root / "lance" / f"{name}.lance"))
    assert dataset.update(values, where=where)["num_rows_updated"] > 0, (name, where)


def delete(root: Path, name: str, where: str = "true") -> None:
    dataset = lance.dataset(str(root / "lance" / f"{name}.lance"))
    assert dataset.count_rows(filter=where) > 0, (name, where)
    dataset.delete(where)


def append(root: Path, name: str, **values: Any) -> None:
    """Put one row more into a table: a copy of the first, with these values."""
    dataset = lance.dataset(str(root / "lance" / f"{name}.lance"))
    row = dataset.head(1).to_pylist()[0] if dataset.count_rows() else dict.fromkeys(dataset.schema.names)
    lance.write_dataset(pa.Table.from_pylist([row | values], dataset.schema), dataset.uri, mode="append")


def first(root: Path, name: str, column: str, where: str | None = None) -> Any:
    return Lake(root / "lance").read(name, [column], where)[column][0].as_py()


def vectors_of(root: Path) -> str:
    return next(name for name in Lake(root / "lance").names() if name.startswith("vectors_"))


def run_of(root: Path, step: str) -> str:
    return first(root, "runs", "run_id", f"step = '{step}'")


def recount(root: Path, step: str, name: str, value: int) -> None:
    run_id = run_of(root, step)
    counts = json.loads(first(root, "runs", "counts", f"run_id = '{run_id}'")) | {name: value}
    change(root, "runs", f"run_id = '{run_id}'", counts=f"'{json.dumps(counts)}'")


def ledger(root: Path, *statements: str) -> None:
    with closing(sqlite3.connect(root / "ledger.sqlite")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def ref(root: Path, table: str, column: str, key: str = "id") -> None:
    """Have the first row of a table refer to what is not there."""
    change(root, table, f"{key} = '{first(root, table, key)}'", **{column: f"'{NOBODY}'"})


def damage(path: Path, data: bytes = b"garbage " * 64) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def newest(root: Path, name: str, folder: str = "data") -> Path:
    return sorted((root / "lance" / f"{name}.lance" / folder).iterdir())[0]


def retyped(root: Path, name: str, column: str) -> None:
    lance.dataset(str(root / "lance" / f"{name}.lance")).alter_columns({"path": column, "data_type": pa.int32()})


def nan_vector(root: Path) -> None:
    dataset = lance.dataset(str(root / "lance" / f"{vectors_of(root)}.lance"))
    row = dataset.head(1).to_pylist()[0]
    dataset.delete(f"origin = '{row['origin']}' and id = '{row['id']}'")
    row["vector"][3] = float("nan")
    lance.write_dataset(pa.Table.from_pylist([row], dataset.schema), dataset.uri, mode="append")


def shown(root: Path, split: str) -> None:
    """Have a demonstration be of another split, without changing how many training records there are."""
    shown_now = first(root, "selections", "demonstrations")
    kept_out = Lake(root / "lance").read("real", ["id"], "split = 'test'")["id"][0].as_py()
    name = kept_out if split == "test" else NOBODY
    selection = first(root, "selections", "selection_id")
    change(
        root, "selections", f"selection_id = '{selection}'", demonstrations=f"make_array('{name}', '{shown_now[0]}')"
    )


def rewritten_catalog(root: Path, statement: str) -> None:
    path = root / "catalog.duckdb"
    path.chmod(0o644)
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute(statement)
    path.chmod(0o444)


def stray_table(root: Path) -> None:
    spec = vectors_spec(2)
    row = pa.Table.from_pylist([{"origin": "real", "id": "a", "run_id": "r", "vector": [1.0, 2.0]}], spec.schema)
    lance.write_dataset(row, str(root / "lance" / "vectors_stray.lance"))


def write(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def link(path: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    path.symlink_to(target)


def drop_column(root: Path, name: str, column: str) -> None:
    lance.dataset(str(root / "lance" / f"{name}.lance")).drop_columns([column])


#: name -> (what is done to a workspace, the checks that then find a problem of that kind, and which kind).
CORRUPTIONS: dict[str, tuple[Callable[[Path], object], set[str], str]] = {
    # SQL
    "accepted": (lambda w: change(w, "checks", "accepted", id=f"'{NOBODY}'"), {"accepted_records"}, ERROR),
    "activation": (lambda w: append(w, "activations", sequence=999, run_id=NOBODY), {"activation_runs"}, ERROR),
    "activation of another step": (
        lambda w: append(w, "activations", sequence=999, run_id=run_of(w, "select"), step="align"),
        {"activation_runs"},
        ERROR,
    ),
    "no totals": (lambda w: delete(w, "alignments", "stratum = '*'"), {"alignment_totals"}, ERROR),
    "annotated": (lambda w: append(w, "annotations", id=NOBODY), {"annotated_records", "run_counts"}, ERROR),
    "attributes": (lambda w: ref(w, "attributes", "selection_id"), {"attribute_selections"}, ERROR),
    "value": (lambda w: append(w, "attribute_values", attributes_id=NOBODY), {"attribute_values"}, ERROR),
    "no reply": (
        lambda w: (ledger(w, "delete from calls"), change(w, "calls", "step = 'generate'", reply="null")),
        {"call_replies"},
        ERROR,
    ),
    "other reply": (lambda w: ledger(w, "update calls set reply = 'other'"), {"calls_agree"}, ERROR),
    "call of a check": (lambda w: append(w, "checks", call_id=NOBODY, accepted=False), {"check_calls"}, ERROR),
    "call of a refusal": (lambda w: append(w, "rejections", call_id=NOBODY), {"check_calls"}, ERROR),
    "clustered": (lambda w: recount(w, "cluster", "records", 60), {"cluster_saw_train"}, ERROR),
    "member": (
        lambda w: change(w, "cluster_members", f"id = '{first(w, 'cluster_members', 'id')}'", cluster_id="77"),
        {"clusters_of_members"},
        ERROR,
    ),
    "shown a test record": (lambda w: shown(w, "test"), {"demonstrations"}, ERROR),
    "shown nobody": (lambda w: shown(w, "none"), {"demonstrations"}, ERROR),
    "embedder fitted to more": (lambda w: change(w, "embedders", "true", texts="9999"), {"embedder_saw_train"}, ERROR),
    "exclusion": (lambda w: ref(w, "exclusions", "id"), {"exclusion_records"}, ERROR),
    "label": (lambda w: change(w, "real", f"id = '{first(w, 'real', 'id')}'", label="'*'"), {"labels"}, ERROR),
    "witness": (lambda w: append(w, "witness", id=NOBODY), {"learned_records"}, ERROR),
    "two clusters": (
        lambda w: append(w, "cluster_members", run_id=run_of(w, "cluster")),
        {"members_once"},
        ERROR,
    ),
    "no vector": (
        lambda w: delete(w, vectors_of(w), f"id = '{first(w, vectors_of(w), 'id')}'"),
        {"missing_vectors"},
        ERROR,
    ),
    "multiplicity": (lambda w: change(w, "multiplicities", "true", multiplicity="0"), {"multiplicities"}, ERROR),
    "multiplicity of nobody": (lambda w: append(w, "multiplicities", id=NOBODY), {"multiplicities"}, ERROR),
    "counts": (lambda w: recount(w, "ingest", "added", 61), {"run_counts"}, ERROR),
    "input": (
        lambda w: change(w, "runs", f"run_id = '{run_of(w, 'measure')}'", inputs=f"make_array('{NOBODY}')"),
        {"run_inputs"},
        ERROR,
    ),
    "no JSON": (
        lambda w: change(w, "runs", f"run_id = '{run_of(w, 'measure')}'", counts="'{'"),
        {"run_json"},
        ERROR,
    ),
    "sequence": (
        lambda w: change(w, "runs", f"run_id = '{run_of(w, 'measure')}'", sequence="1"),
        {"run_sequences"},
        ERROR,
    ),
    "measured": (lambda w: change(w, "metrics", "true", weights_run_id=f"'{NOBODY}'"), {"runs_of_rows"}, ERROR),
    "selection": (lambda w: change(w, "selections", "step = 0", cluster_id="77"), {"selection_clusters"}, ERROR),
    "split": (
        lambda w: change(w, "synthetic", f"id = '{first(w, 'synthetic', 'id')}'", split="'held out'"),
        {"splits", "embedder_saw_train"},  # fitted to one more than there are now
        ERROR,
    ),
    "stray vector": (lambda w: append(w, vectors_of(w), id=NOBODY), {"stray_vectors"}, LEFTOVER),
    "no source": (
        lambda w: change(w, "synthetic", "written_from = 'attributes'", attributes_id=f"'{NOBODY}'"),
        {"synthetic_sources"},
        ERROR,
    ),
    "no call": (
        lambda w: change(w, "synthetic", "written_from = 'attributes'", call_id=f"'{NOBODY}'"),
        {"synthetic_sources"},
        ERROR,
    ),
    "tag": (lambda w: change(w, "tags", "true", sequence="9999"), {"tag_states"}, ERROR),
    "no text": (lambda w: change(w, "real", f"id = '{first(w, 'real', 'id')}'", text="' '"), {"texts"}, ERROR),
    "unfinished": (lambda w: append(w, "weights", run_id=NOBODY), {"unfinished_rows"}, LEFTOVER),
    "weight of nobody": (lambda w: ref(w, "weights", "id"), {"weight_records"}, ERROR),
    "weights too small": (lambda w: change(w, "weights", "true", weight="weight / 2"), {"weight_sums"}, ERROR),
    "weight infinite": (
        lambda w: change(w, "weights", f"id = '{first(w, 'weights', 'id')}'", weight="cast('inf' as double)"),
        {"weight_values", "weight_sums"},
        ERROR,
    ),
    # All else
    "migrations": (lambda w: write(w / "format.json", b'{"schema": 3, "migrations": [{}]}'), {"format"}, ERROR),
    "configuration": (lambda w: write(w / "synalign.toml", b"[embed]\ndimension = 3"), {"configuration"}, ERROR),
    "data file": (lambda w: damage(newest(w, "weights")), {"tables"}, ERROR),
    "cut data file": (lambda w: damage(newest(w, "calls"), newest(w, "calls").read_bytes()[:-9]), {"tables"}, ERROR),
    "no data file": (lambda w: newest(w, "runs").unlink(), {"tables"}, ERROR),
    "manifest": (lambda w: damage(newest(w, "real", "_versions")), {"tables"}, ERROR),
    "manifests": (lambda w: shutil.rmtree(w / "lance/witness.lance/_versions"), {"files"}, ERROR),
    "type": (lambda w: retyped(w, "multiplicities", "multiplicity"), {"schema"}, ERROR),
    "column": (lambda w: drop_column(w, "calls", "batch_id"), {"schema"}, ERROR),
    "key": (lambda w: append(w, "weights"), {"keys", "weight_sums", "run_counts"}, ERROR),
    "key of calls": (lambda w: append(w, "calls"), {"keys"}, ERROR),
    "not a number": (nan_vector, {"vectors"}, ERROR),
    "dimensions": (lambda w: change(w, "embedders", "true", dimensions="17"), {"vectors"}, ERROR),
    "ledger": (lambda w: damage(w / "ledger.sqlite"), {"ledger"}, ERROR),
    "ledger's times": (lambda w: ledger(w, "update calls set finished_at = 'soon'"), {"ledger"}, ERROR),
    "ledger's columns": (lambda w: ledger(w, "alter table calls drop column batch_id"), {"ledger"}, ERROR),
    "catalog": (lambda w: damage(w / "catalog.duckdb"), {"catalog"}, ERROR),
    "catalog's rows": (lambda w: rewritten_catalog(w, "delete from weights"), {"catalog"}, ERROR),
    "old catalog": (lambda w: rewritten_catalog(w, "update detail.catalog_state set state = 0"), {"catalog"}, LEFTOVER),
    "writable catalog": (lambda w: (w / "catalog.duckdb").chmod(0o644), {"catalog"}, LEFTOVER),
    "orphan": (lambda w: write(w / "lance/weights.lance/data/orphan.lance"), {"files"}, LEFTOVER),
    "half a file": (lambda w: write(w / "synalign.toml.partial"), {"files"}, LEFTOVER),
    "killed table": (lambda w: write(w / "lance/vectors_x.lance/data/x.lance"), {"files"}, LEFTOVER),
    "stray table": (stray_table, {"files"}, LEFTOVER),
    "link": (lambda w: link(w / "prompts", w.parent / "elsewhere"), {"files"}, ERROR),
    "unknown file": (lambda w: write(w / "notes.txt"), {"files"}, UNKNOWN),
}  # fmt: skip

#: Checks whose corruption takes more than a row: they have tests of their own.
ELSEWHERE = {"embedder_rows"}


def found(report: Report, kind: str) -> set[str]:
    return {problem.check for problem in report.problems if problem.kind == kind}


#: Corruptions that take away what others are found by: each is tried by itself.
ALONE = {
    "no reply", "no JSON", "activation of another step", "shown nobody", "multiplicity of nobody", "no call",
    "data file", "manifests", "cut data file", "no data file", "manifest", "type", "key", "key of calls", "ledger",
    "ledger's times", "ledger's columns", "configuration", "catalog", "catalog's rows", "old catalog",
    "two clusters", "dimensions", "not a number", "column", "sequence",
}  # fmt: skip


def test_many_corruptions_at_once_are_all_found(root: Path) -> None:
    wanted = set()
    for name in sorted(CORRUPTIONS.keys() - ALONE):
        corrupt, checks_of_it, kind = CORRUPTIONS[name]
        corrupt(root)
        wanted |= {(check, kind) for check in checks_of_it}
    report = fsck(root)
    assert wanted - {(problem.check, problem.kind) for problem in report.problems} == set(), report.as_dict()
    assert len(wanted) > 30


@pytest.mark.long
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_corruption_is_found_by_its_check_and_by_no_other(name: str, root: Path) -> None:
    corrupt, wanted, kind = CORRUPTIONS[name]
    if "catalog" not in name:
        (root / "catalog.duckdb").unlink()  # to read it takes as long as all else
    corrupt(root)
    report = fsck(root)
    assert found(report, kind) == wanted, report.as_dict()
    assert kind == ERROR or report.errors == []
    for problem in report.problems:
        assert problem.cure
        assert problem.where
        assert problem.count >= max(1, len(problem.examples))


def test_every_check_can_fail() -> None:
    covered = {check for _, wanted, _ in CORRUPTIONS.values() for check in wanted}
    assert covered | ELSEWHERE == {check.name for check in checks.all_checks()} | set(CHECKS)


def test_the_documentation_lists_every_check() -> None:
    text = (ROOT / "docs" / "explanation" / "formats.md").read_text(encoding="utf-8")
    lines = [f"| `{name}` | {promise} |" for name, promise in CHECKS.items()]
    lines += [f"| `{check.name}` | {check.kind} | {check.about} |" for check in checks.all_checks()]
    assert [line for line in text.splitlines() if line.startswith("| `")] == lines


def test_an_embedder_without_its_row_is_found_though_its_vectors_belong_to_nobody_then(root: Path) -> None:
    delete(root, "embedders", f"run_id = '{run_of(root, 'embedder')}'")
    assert "embedder_rows" in found(fsck(root), ERROR)


def test_a_finished_workspace_has_no_problem_and_fsck_changes_nothing(filled: sa.Workspace, tmp_path: Path) -> None:
    shutil.copytree(filled.path, tmp_path / "w")
    before = files(tmp_path / "w")
    report = sa.open(tmp_path / "w").fsck()
    assert report.problems == []
    assert report.skipped == {}
    assert set(report.checked) == {check.name for check in checks.all_checks()} | set(CHECKS)
    assert files(tmp_path / "w") == before


def test_gc_removes_what_is_said_to_be_a_leftover(root: Path) -> None:
    for name in ("unfinished", "orphan", "killed table", "stray table", "old catalog"):
        CORRUPTIONS[name][0](root)
    assert found(fsck(root), LEFTOVER) == {"unfinished_rows", "files", "catalog"}
    sa.open(root).gc()
    assert fsck(root).problems == []


def test_records_that_were_forgotten_are_not_missed(root: Path) -> None:
    last = max(Lake(root / "lance").read("runs", ["sequence"])["sequence"].to_pylist())
    append(root, "runs", run_id=NOBODY, sequence=last + 1, step="forget", inputs=[], counts="{}")
    gone = first(root, "synthetic", "id")
    for table in ("synthetic", "weights", "cluster_members", vectors_of(root)):
        delete(root, table, f"id = '{gone}'")
    assert fsck(root).errors == []


@pytest.mark.parametrize("victim", ["runs", "calls"])
def test_what_cannot_be_checked_is_said_and_all_else_is_checked(victim: str, root: Path) -> None:
    damage(newest(root, victim))
    CORRUPTIONS["unknown file"][0](root)
    report = fsck(root)
    assert found(report, ERROR) == {"tables"}
    assert found(report, UNKNOWN) == {"files"}
    assert "catalog" in report.skipped
    assert all(victim in why for check, why in report.skipped.items() if check != "catalog")
    assert not report.clean


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40))])
def test_it_survives_whatever_stands_in_the_files(seed: int, root: Path) -> None:
    import random

    draw = random.Random(seed)
    every = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size)
    for path in draw.sample(every, 12):
        data = bytearray(path.read_bytes())
        if draw.random() < 0.5:
            data = data[: draw.randrange(len(data))]
        else:
            for _ in range(20):
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        damage(path, bytes(data))
    report = fsck(root)
    assert report.problems
    assert json.loads(json.dumps(report.as_dict()))["workspace"] == str(root)


def test_it_tells_when_another_writes_and_waits_for_nobody(root: Path) -> None:
    workspace = sa.open(root)
    inside_, done = threading.Event(), threading.Event()

    def work() -> None:
        with workspace._writing():
            inside_.set()
            done.wait(60)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        assert inside_.wait(60)
        assert fsck(root).at_work == ["writing"]
        assert "Run fsck again" in inside.cli("fsck", root).stdout
    finally:
        done.set()
        writer.join()
    assert fsck(root).at_work == []


def test_the_command_says_what_to_do_and_exits_with_one(root: Path) -> None:
    number = len(CHECKS) + len(checks.all_checks())
    assert inside.cli("fsck", root).stdout == f"{number} checks, schema 4: no problem.\n"
    CORRUPTIONS["unfinished"][0](root)
    found = inside.cli("fsck", root)
    assert found.returncode == 0
    assert "leftover  unfinished_rows" in found.stdout
    assert "to do: 'synalign gc DIR' removes them" in found.stdout
    CORRUPTIONS["no totals"][0](root)
    found = inside.cli("fsck", root, "--json")
    assert found.returncode == 1
    data = json.loads(found.stdout)
    assert data["clean"] is False
    # The catalog shows the rows that were deleted.
    assert [problem["check"] for problem in data["problems"]] == ["alignment_totals", "catalog", "unfinished_rows"]
    assert data["problems"][0]["count"] == 3


def test_there_must_be_a_workspace(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceNotFoundError):
        fsck(tmp_path)
    assert inside.cli("fsck", tmp_path).returncode == 2


def test_a_million_of_one_problem_is_told_by_its_first_few(root: Path) -> None:
    run_id = run_of(root, "align")
    many = pl.DataFrame({"id": [f"{number:032d}" for number in range(2_000)]}).with_columns(
        run_id=pl.lit(run_id), weight_set=pl.lit("default"), label=pl.lit(None, pl.String), weight=pl.lit(0.0)
    )
    Lake(root / "lance").insert("weights", many.select(TABLES["weights"].schema.names).to_arrow())
    problem = next(problem for problem in fsck(root).problems if problem.check == "weight_records")
    assert problem.count == 2_000
    assert len(problem.examples) == 5
    assert f"id {0:032d}" in problem.examples[0]


def test_runs_that_are_no_json_are_no_crash(root: Path) -> None:
    CORRUPTIONS["no JSON"][0](root)
    report = fsck(root)
    assert found(report, ERROR) == {"run_json"}
    assert set(report.skipped) == {"catalog"}


def test_folders_that_cannot_be_read_are_no_crash(root: Path) -> None:
    (root / "lance" / "real.lance" / "data").chmod(0o000)
    try:
        report = fsck(root)
        assert os.geteuid() == 0 or "tables" in found(report, ERROR)
    finally:
        (root / "lance" / "real.lance" / "data").chmod(0o755)
