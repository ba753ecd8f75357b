"""The alignment benchmark runs, and its rows are of the form that `--json` promises."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "alignment.py"
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


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, cwd=ROOT)


def test_absent_data_is_named(tmp_path: Path) -> None:
    done = _run("--quick", "--data", str(tmp_path))
    assert done.returncode == 1
    assert str(tmp_path / "real_train.jsonl") in done.stderr
    assert "--data" in done.stderr


@pytest.mark.long
def test_alignment_quick(tmp_path: Path) -> None:
    if not (DATA / "real_train.jsonl").exists():
        pytest.skip(f"the shared data is absent: {DATA}")
    done = _run("--quick", "--json", str(tmp_path / "rows.json"))
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
