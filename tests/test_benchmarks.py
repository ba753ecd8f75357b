"""The benchmarks run, and their rows are of the form that `--json` promises."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "sst2"

ON_TEXTS = {"optimum", "uniform", "synalign", "synalign-0.1%", "adam-0.1", "adam-0.3", "adam-1"}
EXPECTED = {
    "50k": ON_TEXTS | {"adam-best", "goodpoints", "dsir"},
    "50k-1e-4": ON_TEXTS | {"adam-best", "goodpoints", "dsir"},
    "kmm-2k": {"optimum", "uniform", "synalign", "synalign-1e-06", "osqp", "clarabel"},
    "10k": {"synalign", "features-once"},
    "100k": {"synalign", "features-once"},
    "1m": {"synalign", "features-once"},
}

SAME_PICKS = {"synalign", "eager"}
SELECTION = {
    "2k-50": SAME_PICKS | {"sklearn-refit", "gpytorch", "pivoted-cholesky", "kmeans++", "farthest", "random"},
    "8k-50": SAME_PICKS | {"kmeans++", "farthest", "random"},
}


def _run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "benchmarks" / f"{name}.py"
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("name", ["alignment", "selection"])
def test_absent_data_is_named(name: str, tmp_path: Path) -> None:
    done = _run(name, "--quick", "--data", str(tmp_path))
    assert done.returncode == 1
    assert str(tmp_path / "real_train.jsonl") in done.stderr
    assert "--data" in done.stderr


def test_absent_data_of_pairs_is_named(tmp_path: Path) -> None:
    done = _run("utility", "--quick", "--data", str(tmp_path))
    assert done.returncode == 1
    assert str(tmp_path / "tweet_sentiment" / "real_train.jsonl") in done.stderr
    assert "--data" in done.stderr


@pytest.mark.long
def test_utility_quick(tmp_path: Path) -> None:
    if not (DATA / "real_train.jsonl").exists():
        pytest.skip(f"the shared data is absent: {DATA}")
    rows, table = tmp_path / "rows.json", tmp_path / "RESULTS.md"
    done = _run("utility", "--quick", "--case", "supergen", "--json", str(rows), "--write", str(table))
    assert done.returncode == 0, done.stderr
    found = {row["method"]: row for row in json.loads(rows.read_text())}
    assert len(found) == 11
    assert all({"case", "method", "seconds", "peak_mb"} <= row.keys() for row in found.values())
    assert all(abs(row["accuracy"] - 0.6) < 0.2 and 0 < row["log_loss"] < 2 for row in found.values())
    assert found["real"]["share"] == 0
    assert found["synthetic"]["share"] == 1
    # What one run kept is in the file of another.
    again = _run("utility", "--case", "nothing", "--with", str(rows), "--write", str(tmp_path / "again.md"))
    assert again.returncode == 0, again.stderr
    mine, theirs = (path.read_text().split("## Real + weighted")[1] for path in (table, tmp_path / "again.md"))
    assert mine == theirs


@pytest.mark.long
def test_alignment_quick(tmp_path: Path) -> None:
    if not (DATA / "real_train.jsonl").exists():
        pytest.skip(f"the shared data is absent: {DATA}")
    done = _run("alignment", "--quick", "--json", str(tmp_path / "rows.json"))
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads((tmp_path / "rows.json").read_text())
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        assert {"case", "method", "seconds", "peak_mb"} <= row.keys() or row["method"] in {"optimum", "uniform"}
        found.setdefault(row["case"], {})[row["method"]] = row
    assert {case: set(methods) for case, methods in found.items()} == EXPECTED
    for case in ("50k", "50k-1e-4", "kmm-2k"):
        least = found[case]["optimum"]["objective"]
        assert found[case]["synalign"]["objective"] <= 1.01 * least
        for name, row in found[case].items():
            assert row.get("objective", least) >= (1 - 1e-4) * least, name
            assert row.get("heldout_mmd2", 1.0) > 0, name
    packages = {"osqp": "osqp", "clarabel": "clarabel", "goodpoints": "goodpoints"}
    for row in rows:
        package = packages.get(row["method"])
        if package and importlib.util.find_spec(package) is None:
            assert "not installed" in row["note"]
        elif row["method"] not in {"optimum", "uniform"} and not row["method"].startswith("adam"):
            assert row["seconds"] > 0
            assert row["peak_mb"] > 0


@pytest.mark.long
def test_selection_quick(tmp_path: Path) -> None:
    if not (DATA / "real_train.jsonl").exists():
        pytest.skip(f"the shared data is absent: {DATA}")
    done = _run("selection", "--quick", "--json", str(tmp_path / "rows.json"))
    assert done.returncode == 0, done.stderr
    assert "8k-50    sklearn-refit    left out: " in done.stdout
    assert "8k-50    pivoted-cholesky left out: " in done.stdout
    rows: list[dict[str, Any]] = json.loads((tmp_path / "rows.json").read_text())
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["case"], {})[row["method"]] = row
    assert {case: set(methods) for case, methods in found.items()} == SELECTION
    for methods in found.values():
        for name, row in methods.items():
            assert row["seconds"] > 0, name
            assert row["peak_mb"] > row["candidates_mb"] > 0, name
            assert 0 < row["mean_variance"] < row["max_variance"] <= 1, name
            assert row["labels_covered"] == 2, name
            assert row["speedup"] == pytest.approx(row["seconds"] / methods["synalign"]["seconds"]), name
        assert all(methods[name]["identical_picks"] for name in SAME_PICKS)
        assert not methods["random"]["identical_picks"]
        # Greedy by the variance leaves less of the largest variance than chance.
        assert methods["synalign"]["max_variance"] < methods["random"]["max_variance"]
    for name in ("sklearn-refit", "gpytorch"):
        assert found["2k-50"][name]["identical_picks"]


def test_absent_data_of_retrieval_is_named(tmp_path: Path) -> None:
    done = _run("retrieval", "--quick", "--data", str(tmp_path))
    assert done.returncode == 1
    assert str(tmp_path / "clinc150" / "real_train.jsonl") in done.stderr
    assert "--data" in done.stderr


@pytest.mark.long
def test_retrieval_quick(tmp_path: Path) -> None:
    if not (DATA.parent / "clinc150" / "real_train.jsonl").exists():
        pytest.skip(f"the shared data is absent: {DATA.parent / 'clinc150'}")
    done = _run("retrieval", "--quick", "--json", str(tmp_path / "rows.json"))
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads((tmp_path / "rows.json").read_text())
    found = {(row["case"], row["method"]): row for row in rows}
    kinds = {"frozen", "real", "synthetic", "real+synthetic", "real+weighted"}
    cases = {("clinc150-ngram", kind) for kind in kinds} | {("clinc150-replay", kind) for kind in kinds}
    assert set(found) == cases | {("index-20", "ivf_flat"), ("index-2020", "ivf_flat")}
    assert all(row["seconds"] > 0 and row["peak_mb"] > 0 for row in rows)
    for case, method in cases:
        row = found[case, method]
        assert row["mrr_low"] < row["mrr_at_10"] < row["mrr_high"]
        assert row["written"] > 100
        assert method == "frozen" or row["gain_low"] > 0  # trained retrievers beat what was trained on nothing
    for case in ("index-20", "index-2020"):
        row = found[case, "ivf_flat"]
        assert row["recall_test"] >= row["recall_goal"] - 0.02  # the goal was kept on training queries
