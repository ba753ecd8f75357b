"""What type checkers say of calls of the API: right ones pass, and wrong ones are refused line by line."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
USE, MISUSE = ROOT / "tests" / "typing" / "use.py", ROOT / "tests" / "typing" / "wrong.py"
#: Lines that have to be refused, and what stands there.
WRONG = {
    number: line.strip()
    for number, line in enumerate(MISUSE.read_text(encoding="utf-8").splitlines(), start=1)
    if line.endswith("# WRONG")
}
#: Pyright comes as this package, which brings the node that it needs.
PYRIGHT = importlib.util.find_spec("basedpyright")


def by_mypy(tmp_path: Path) -> dict[tuple[str, int], str]:
    """Return the errors of mypy in both files, by file and line."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(USE), str(MISUSE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = re.findall(r"^(\S+?):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    return {(Path(file).name, int(line)): text for file, line, text in found}


def by_pyright(tmp_path: Path) -> dict[tuple[str, int], str]:
    """Return the errors of pyright in both files, by file and line."""
    settings = tmp_path / "pyrightconfig.json"
    settings.write_text(json.dumps({"include": [str(USE), str(MISUSE)], "typeCheckingMode": "standard"}))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--project", str(settings)]
    command += ["--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {
        (Path(item["file"]).name, item["range"]["start"]["line"] + 1): item["message"]
        for item in json.loads(done.stdout)["generalDiagnostics"]
        if item["severity"] == "error"
    }


@pytest.mark.parametrize(
    "checker",
    [by_mypy, pytest.param(by_pyright, marks=pytest.mark.skipif(PYRIGHT is None, reason="needs basedpyright"))],
)
def test_right_calls_pass_and_wrong_ones_are_refused(checker, tmp_path: Path) -> None:
    errors = checker(tmp_path)
    assert {line: text for (file, line), text in errors.items() if file == USE.name} == {}
    refused = {line for file, line in errors if file == MISUSE.name}
    assert {line: text for line, text in WRONG.items() if line not in refused} == {}
    assert refused == set(WRONG)
