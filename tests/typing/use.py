"""Right calls: type checkers find no mistake in them. Read by test_types.py, and never run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import synalign as sa

if TYPE_CHECKING:
    import gpytorch
    import polars as pl


def use(ws: sa.Workspace, frame: pl.DataFrame, kernel: gpytorch.kernels.Kernel) -> str:
    """Call verbs as the documentation does."""
    ws.ingest("reviews.csv", text="review", label="stars", test_share=0.2)
    ws.ingest(frame, synthetic=True)
    ws.embed(model="builtin/lsa", dimensions=64)
    ws.cluster(k=8, by_label=True, refit=True)
    ws.select(budget=64, kernel=kernel, length_scale="median", label_shares={"1": 0.5, "5": 0.5}, round="next")
    ws.select(kernel="rbf + matern32", length_scale=0.1)
    ws.estimate(model="gpt-4o-mini")
    ws.reason(budget="5usd", batch=True)
    ws.generate(per_selection=10, model="replay/calls.jsonl")
    ws.annotate(sample=50, origin="synthetic")
    ws.align()
    ws.align(strength=0.01, features="exact", bandwidths=[0.5, 1, 2], match=["country"], weight_set="mine")
    ws.align(strength="auto", bandwidths=1.0, match="country", label_shares="kept", max_weight_ratio=10)
    ws.score(into="scored")
    ws.evaluate(model="network", settings={"epochs": 3}, methods=["real", "weighted"], overlap="drop")
    ws.learning_curve(sizes=[50, 100], seeds=3)
    ws.text_quality(sample=500)
    ws.ingest_documents("articles.jsonl", id="article")
    ws.train_retriever("mixed", on="real+weighted", epochs=5)
    ws.train_retriever(name="mixed")
    ws.evaluate_retrievers(["mixed", "frozen"], k=[1, 10], baseline="frozen")
    ws.evaluate_retrievers()
    ws.ab("frozen", "mixed", passes=2)
    analysis = ws.analyse_experiment("log.parquet", metrics={"ctr": ("clicks", "impressions")}, control="A")
    outcome: sa.Outcome = ws.align(device="cpu")
    passed: bool = ws.check(max_auc=0.6, min_ess=0.3).passed
    return f"{outcome.run_id} {passed} {analysis.summary}"
