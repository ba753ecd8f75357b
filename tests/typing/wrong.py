"""Wrong calls: type checkers refuse each line that ends in WRONG. Read by test_types.py, and never run."""

from __future__ import annotations

import synalign as sa


def misuse(ws: sa.Workspace) -> None:
    """Call verbs with names and values that there are not."""
    ws.align(strenght=1)  # WRONG
    ws.align(strength="automatic")  # WRONG
    ws.align("auto")  # WRONG
    ws.select(unit="clusters")  # WRONG
    ws.generate(per_selection="ten")  # WRONG
    ws.ingest()  # WRONG
    ws.ingest("reviews.csv", txt="review")  # WRONG
    ws.train_retriever("mixed", epoch=5)  # WRONG
    ws.ab("frozen")  # WRONG
    ws.analyse_experiment("log.parquet")  # WRONG
    print(ws.align().run)  # WRONG
