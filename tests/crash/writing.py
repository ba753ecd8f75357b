"""Writes to a workspace until a file is there, as a user who tries things: a child process of the reader tests.

    python -m tests.crash.writing FOLDER STOP

FOLDER holds a run file and its sources. Prints how often it went round.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl

import synalign as sa


def main() -> None:
    folder, stop = Path(sys.argv[1]), Path(sys.argv[2])
    config = folder / "run.toml"
    text = config.read_text(encoding="utf-8")
    turns = 0
    sa.run(config)
    workspace = sa.open(folder / "ws", notice=lambda _: None)
    while True:
        turns += 1
        for verb in _turn(workspace, config, text, turns):
            if stop.exists():
                sys.stdout.write(str(turns))
                return
            verb()


def _turn(workspace: sa.Workspace, config: Path, text: str, turn: int) -> list[Callable[[], object]]:
    """Return what is done in one turn, one after the other."""
    new = [f"Where is parcel {turn}-{number}? It was to be here on day {turn + number}." for number in range(3)]
    real = pl.DataFrame({"text": new, "label": "delivery"})

    def run() -> None:
        config.write_text(text + f"strength = {0.1 / turn}\n", encoding="utf-8")
        sa.run(config)

    a_round = [lambda: workspace.select(round=turn // 2 + 2), workspace.reason, workspace.generate, workspace.align]
    return [
        run,
        lambda: workspace.ingest(real, label="label"),
        lambda: workspace.ingest(real.with_columns(pl.col("text") + " Please."), label="label", synthetic=True),
        workspace.cluster,
        lambda: workspace.align(weight_set=f"set {turn % 3}", strength=0.05),
        lambda: workspace.exclude(f"text like 'Where is parcel {turn}-0%'"),
        *(a_round if turn % 2 else ()),
        lambda: workspace.use_weights("default"),
        workspace.gc,
    ]


if __name__ == "__main__":
    main()
