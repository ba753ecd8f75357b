"""Kills a session at many moments, each time in a child that is forked from this process, and checks what is left.

    python -m tests.crash.sweep PLAN.json

The plan: {"folder": path, "stages": names} does these stages undisturbed, and keeps a copy of the workspace, its
contents and its writes after each. {"folder": path, "stages": names, "kills": [...], "work": path, "results": path}
does those kills; each result is a line of JSON in the file `results`.
A kill: {"stage", "write", "occurrence", "mode": "before" | "inside" | "after", "part"} or {"stage", "mode": "at any
moment", "part"}; `part` is the share of the seconds that the write, or the stage, took undisturbed.

A kill may be a lack of space instead: {"stage", "mode": "full", "free": bytes that the disk of `work`, a small one, has
left} or {"stage", "mode": "limit", "free": the most bytes that a file may have}. What the stage says is added to what
is found, as `error`.

This process imports all there is and uses none of it, so that a child starts at once and has its own threads.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import synalign as sa
from synalign.errors import SynAlignError
from tests.crash import driver
from tests.crash.contents import contents, differences
from tests.crash.session import act, clean
from tests.crash.wholeness import flaws, orphans, whole

#: Seconds after which a child that should have ended is taken for one that hangs.
PATIENCE = 240


class Recorder:
    """Notes each write by its name and how long it took."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, float]] = []

    def act(self, name: str, write: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = write()
        self.writes.append((name, time.perf_counter() - started))
        return result


class Aim:
    """Kills this process at one write."""

    def __init__(self, kill: dict[str, Any]) -> None:
        self.kill = kill
        self.seen = 0
        self.armed = False

    def act(self, name: str, write: Callable[[], Any]) -> Any:
        hit = False
        if name == self.kill.get("write") and not self.armed:
            hit = self.seen == self.kill["occurrence"]
            self.seen += 1
        if hit and self.kill["mode"] == "before":
            driver.kill()
        if hit and self.kill["mode"] == "inside":
            self.armed = True
            shoot(self.kill)
        result = write()
        if hit:
            driver.kill()  # also when the write to be killed inside was over sooner than before
        return result


def shoot(kill: dict[str, Any]) -> None:
    """Kill this process after the share of the seconds that the kill says."""
    threading.Thread(target=driver.kill, args=(kill["part"] * kill["seconds"],), daemon=True).start()


def fork(work: Callable[[], Any], answer: Path | None = None) -> int:
    """Do work in a child; return its wait status. What it returns is written to `answer`, as JSON."""
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lance and LanceDB say that they are not safe to fork once they are used.
        child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    status = 1
    try:
        signal.alarm(PATIENCE)
        found = work()
        if answer is not None:
            answer.write_text(json.dumps(found))
        status = 0
    except BaseException:  # noqa: BLE001 - the child must end here, whatever it was
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def record(folder: Path, stages: list[str]) -> None:
    """Do the stages undisturbed, and keep what the kills start from and are compared with."""
    for number, stage in enumerate(stages):

        def work(stage: str = stage, number: int = number) -> None:
            recorder = Recorder()
            driver.install(recorder)
            started = time.perf_counter()
            act(stage, folder)
            seconds = time.perf_counter() - started
            writes = list(recorder.writes)  # what follows writes as well
            (folder / f"contents {number}.json").write_text(json.dumps(contents(folder / "ws")))
            (folder / f"writes {number}.json").write_text(json.dumps({"seconds": seconds, "writes": writes}))

        assert fork(work) == 0, stage
        shutil.copytree(folder / "ws", folder / f"after {number}")
    assert fork(lambda: whole(folder / "ws"), folder / "whole.json") == 0


def do(kill: dict[str, Any], folder: Path, stages: list[str], work: Path) -> dict[str, Any]:
    """Kill one stage, and return what is wrong with what was left, what it ended in, and what gc left."""
    number = stages.index(kill["stage"])
    start(folder, number, work)

    def attempt() -> None:
        sys.setswitchinterval(1e-5)  # the killing thread must not wait for its turn
        driver.install(Aim(kill))
        if "write" not in kill:
            shoot(kill)
        act(kill["stage"], work)
        if "write" not in kill:
            driver.kill()

    if "free" in kill:
        status = fork(lambda: without_space(kill, work), work / "said.json")
    else:
        status = fork(attempt)
    if status != (0 if "free" in kill else signal.SIGKILL):
        return {"failed": f"the killed process ended with {status}"}
    # A reader may tidy up: it looks at a copy.
    shutil.copytree(work / "ws", work / "seen")

    def check() -> dict[str, Any]:
        wanted = json.loads((folder / "whole.json").read_text())
        found: dict[str, Any] = {"killed": flaws(work / "seen", wanted)}
        if "free" in kill:
            found |= json.loads((work / "said.json").read_text())
        act(kill["stage"], work)
        ended = json.loads((folder / f"contents {number}.json").read_text())
        found["differences"] = differences(contents(work / "ws"), ended)
        clean(sa.open(work / "ws"))
        found["cleaned"] = flaws(work / "ws", wanted)
        found["orphans"] = orphans(work / "ws")
        return found

    status = fork(check, work / "found.json")
    return (
        json.loads((work / "found.json").read_text()) if status == 0 else {"failed": f"the check ended with {status}"}
    )


def without_space(kill: dict[str, Any], work: Path) -> dict[str, Any]:
    """Do a stage with too little space, and say how it ended, and what was left over."""
    ballast = work / "ballast"
    if kill["mode"] == "full":
        disk = os.statvfs(work)
        with ballast.open("wb") as file:
            file.write(bytes(max(0, disk.f_bavail * disk.f_frsize - kill["free"])))
    else:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kill["free"], resource.RLIM_INFINITY))
    try:
        act(kill["stage"], work)
        error = None
    except SynAlignError as failure:
        error = [type(failure).__name__, str(failure)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ballast.unlink(missing_ok=True)
    left = [str(file) for pattern in ("*.publishing*", "*.partial", "*.owner") for file in (work / "ws").glob(pattern)]
    return {"error": error, "left": left}


def start(folder: Path, number: int, work: Path) -> None:
    """Make `work` the folder as it was before a stage."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for file in ("run.toml", "real.csv", "synthetic.csv", "more.csv"):
        shutil.copy(folder / file, work)
    if number:
        shutil.copytree(folder / f"after {number - 1}", work / "ws")


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    for name in ("openai", "pandas", "scipy.optimize", "sklearn.decomposition", "sklearn.cluster", "torch", "gpytorch"):
        importlib.import_module(name)
    for file in Path(sa.__file__).parent.rglob("*.py"):
        name = ".".join(file.relative_to(Path(sa.__file__).parents[1]).with_suffix("").parts)
        if not name.endswith(("__main__", "__init__")):
            importlib.import_module(name)
    folder = Path(plan["folder"])
    if "kills" not in plan:
        record(folder, plan["stages"])
        return
    for kill in plan["kills"]:
        found = do(kill, folder, plan["stages"], Path(plan["work"]))
        with open(plan["results"], "a") as file:
            file.write(json.dumps({**kill, "found": found}) + "\n")


def occurrences(writes: list[tuple[str, float]]) -> list[tuple[str, int, float]]:
    """Return (name, how many of that name came before, seconds) of each write."""
    seen: Counter[str] = Counter()
    found = []
    for name, seconds in writes:
        found.append((name, seen[name], seconds))
        seen[name] += 1
    return found


if __name__ == "__main__":
    main()
