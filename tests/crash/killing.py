"""What the crash tests share: a small run, its driver, and its end."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SYNALIGN = str(Path(sys.executable).with_name("synalign"))

SETTINGS = """
workspace = "ws"
seed = 3
[[sources]]
path = "real.csv"
label = "label"
test_share = 0.2
{synthetic}
[task]
description = "a message to a shop"
labels = {{ delivery = "is about the delivery of an order", refund = "wants money back" }}
[embed]
dimensions = 32
[cluster]
k = 5
[generate]
per_selection = 3
[align]
features = 128
"""
SYNTHETIC = '[[sources]]\npath = "synthetic.csv"\nlabel = "label"\nsynthetic = true'


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing disturbed: its folder, what it ended in, and its writes as [name, seconds] in order."""

    folder: Path
    contents: dict[str, list[str]]
    writes: list[tuple[str, float]]
    synthetic: bool

    @property
    def seconds(self) -> dict[str, float]:
        return dict(self.writes)


def prepare(folder: Path, *, synthetic: bool) -> Path:
    """Make a folder with a run file and its sources; return the path of the run file."""
    folder.mkdir(parents=True)
    head, *rows = (ROOT / "fixtures" / "support.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "real.csv").write_text(head + "".join(rows[:120]), encoding="utf-8")
    (folder / "synthetic.csv").write_text(head + "".join(rows[300:340]), encoding="utf-8")
    config = folder / "run.toml"
    config.write_text(SETTINGS.format(synthetic=SYNTHETIC if synthetic else ""), encoding="utf-8")
    return config


def drive(folder: Path, **plan: Any) -> int:
    """Run the driver on a folder's run file; return its exit status, -9 if it was killed."""
    file = folder / "plan.json"
    file.write_text(json.dumps({"config": str(folder / "run.toml"), **plan}))
    done = subprocess.run([sys.executable, str(HERE / "driver.py"), str(file)], capture_output=True, text=True)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


def kill_at(folder: Path, undisturbed: Undisturbed, mode: str, target: str | None, repeats: int = 1) -> int:
    tried = folder / f"tried_{mode}"
    tried.touch()
    plan = {"mode": mode, "tried": str(tried), "repeats": repeats, "target": target, "seed": 11}
    return drive(folder, seconds=undisturbed.seconds, **plan)


def run_cli(folder: Path) -> list[dict[str, Any]]:
    """Do `synalign run` in a new process, as a user would, and return the outcomes."""
    done = subprocess.run([SYNALIGN, "run", str(folder / "run.toml"), "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def finish(folders: list[Path], undisturbed: Undisturbed) -> dict[str, list[str]]:
    """Run each folder's run file again, undisturbed, in one new process; return by folder how it ended otherwise."""
    wanted = undisturbed.folder / "contents.json"
    command = [sys.executable, str(HERE / "finish.py"), str(wanted), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)
