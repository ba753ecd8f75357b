"""Runs `synalign run` in this process and kills it with SIGKILL at one write: a child process of the crash tests.

    python driver.py PLAN.json

The plan: {"config": path, "record": path} does the whole run and records [name, seconds] of each write in order.
{"config": path, "mode": "before" | "inside" | "after", "tried": path, "repeats": n, "target": name or null,
"seconds": {name: undisturbed seconds}, "seed": n} kills at the target, or else at the first write that was tried fewer
than `repeats` times, and adds its name to the file `tried` before. A run that meets no such write ends as usual.
"inside": a thread kills after a random part of the seconds that the write takes when it is undisturbed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb  # noqa: F401  (so that its import is not part of the first write)

import synalign.cli
from synalign.steps.lifecycle import gc
from synalign.store.lake.lake import Lake
from synalign.store.lake.schemas import TABLES
from synalign.store.ledger.ledger import Ledger
from synalign.store.sql import catalog

#: How long a write is taken to last that did not occur in the undisturbed run.
UNKNOWN_SECONDS = 0.01


class Killer:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.mode = plan.get("mode")
        self.writes: list[tuple[str, float]] = []
        self.armed = False
        self.tried = Path(plan["tried"]).read_text().splitlines() if self.mode else []

    def act(self, name: str, write: Callable[[], Any]) -> Any:
        """Do one write, and kill the process there if it is the one to be killed at."""
        # A write within the one that is about to be killed inside is a part of it.
        chosen = self.mode is not None and not self.armed and self._is_chosen(name)
        if chosen and self.mode == "before":
            self._note(name)
            kill()
        if chosen and self.mode == "inside":
            self._note(name)
            self.armed = True
            seconds = self.plan["seconds"].get(name, UNKNOWN_SECONDS)
            draw = random.Random(f"{self.plan['seed']} {name} {self.tried.count(name)}").random()
            part = (self.tried.count(name) + draw) / self.plan["repeats"]
            threading.Thread(target=kill, args=(part * seconds,), daemon=True).start()
        started = time.perf_counter()
        result = write()
        if chosen:
            if self.mode == "after":
                self._note(name)
            kill()  # also when the write to be killed inside was over sooner than ever before
        self.writes.append((name, time.perf_counter() - started))
        return result

    def _note(self, name: str) -> None:
        with open(self.plan["tried"], "a") as file:
            file.write(name + "\n")

    def _is_chosen(self, name: str) -> bool:
        if self.plan["target"] is not None:
            return name == self.plan["target"]
        return self.tried.count(name) < self.plan["repeats"]


def kill(after: float = 0.0) -> None:
    if after:
        threading.Event().wait(after)
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


def install(killer: Killer) -> None:
    """Put the killer around everything that changes a file of the workspace."""
    insert, create, delete, add_columns = Lake.insert, Lake._open_or_create, Lake.delete, Lake.add_columns
    compact, drop, remove = Lake.compact, Lake.drop, gc._remove_unfinished_tables
    put, open_ledger, trim, reserve_all = Ledger.put, Ledger._open, Ledger.trim, Ledger.reserve_all
    publish, replace, write_text = catalog.publish, os.replace, Path.write_text

    def insert_named(self: Lake, name: str, rows: Any, spec: Any = None) -> int:
        first = rows.slice(0, 1).to_pylist()
        run = f"{first[0].get('step', '')}:{first[0].get('run_id', '')[:6]}" if first else "no rows"
        # A table is made first, as a write by itself, so that it is killed inside as well.
        self._open_or_create(name, spec or TABLES[name])
        return killer.act(f"insert:{name}:{run}", lambda: insert(self, name, rows, spec))

    def create_named(self: Lake, name: str, spec: Any) -> Any:
        if self.exists(name):
            return create(self, name, spec)
        return killer.act(f"create:{name}", lambda: create(self, name, spec))

    def delete_named(self: Lake, name: str, where: str) -> int:
        if not self.exists(name) or not self.dataset(name).count_rows(filter=where):
            return delete(self, name, where)
        return killer.act(f"delete:{name}", lambda: delete(self, name, where))

    def add_named(self: Lake, name: str, fields: Any) -> None:
        self._open_or_create(name, TABLES[name])
        killer.act(f"add_columns:{name}", lambda: add_columns(self, name, fields))

    def put_named(self: Ledger, *rows: Any, settled: Any = ()) -> None:
        # One by one: which replies are written together hangs on when they come, and a write must have one name.
        self._open()
        for row in rows:
            killer.act(f"ledger:{row['call_id'][:6]}", lambda row=row: put(self, row))
        if settled:
            put(self, settled=settled)

    def open_named(self: Ledger) -> Any:
        if self._connection is not None:
            return open_ledger(self)
        return killer.act(f"ledger open, exists {self.path.exists()}", lambda: open_ledger(self))

    def compact_named(self: Lake, name: str) -> None:
        killer.act(f"compact:{name}", lambda: compact(self, name))

    def drop_named(self: Lake, name: str) -> None:
        killer.act(f"drop:{name}", lambda: drop(self, name))

    def trim_named(self: Ledger, call_ids: Any) -> int:
        return killer.act("ledger trim", lambda: trim(self, call_ids))

    def reserve_named(self: Ledger, most: Any) -> list[int]:
        return killer.act("ledger reserve", lambda: reserve_all(self, most))

    def remove_named(root: Path, known: set[str]) -> None:
        killer.act("remove unfinished tables", lambda: remove(root, known))

    def publish_named(*given: Any) -> None:
        killer.act("publish", lambda: publish(*given))

    def replace_named(source: Any, target: Any, **given: Any) -> None:
        killer.act(f"replace:{Path(target).name}", lambda: replace(source, target, **given))

    def write_text_named(self: Path, *given: Any, **more: Any) -> int:
        return killer.act(f"write:{self.name}", lambda: write_text(self, *given, **more))

    Lake.insert, Lake._open_or_create = insert_named, create_named  # type: ignore[method-assign]
    Lake.delete, Lake.add_columns = delete_named, add_named  # type: ignore[method-assign]
    Lake.compact, Lake.drop = compact_named, drop_named  # type: ignore[method-assign]
    Ledger.put, Ledger._open = put_named, open_named  # type: ignore[method-assign]
    Ledger.trim, Ledger.reserve_all = trim_named, reserve_named  # type: ignore[method-assign]
    gc._remove_unfinished_tables = remove_named
    catalog.publish, os.replace = publish_named, replace_named
    Path.write_text = write_text_named  # type: ignore[method-assign]


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    sys.setswitchinterval(1e-5)  # the killing thread must not wait for its turn
    killer = Killer(plan)
    install(killer)
    sys.argv = ["synalign", "run", plan["config"]]
    try:
        synalign.cli.main()
    finally:
        if plan.get("record"):
            with open(plan["record"], "w") as file:
                json.dump(killer.writes, file)


if __name__ == "__main__":
    main()
