"""What users do with a workspace, from the first file to the last evaluation: the work whose names are frozen.

Each session is a list of calls of the public API, in the order in which they are made. Each can be made again on the
workspace that it left, and then finds all that was done: only the calls that are marked `once` would do more.
"""

from __future__ import annotations

import functools
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import synalign as sa
from tests.llm.endpoint_replies import completion, content_for, embeddings, request_key
from tests.llm.server import Answer, Server

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parents[1] / "fixtures"

#: The workspaces of all sessions, each as its session left it.
KEPT = HERE / "kept.tar.xz"

#: Addresses of models that cost money. Nothing answers there: in `paid` they are reached through a proxy, so that the
#: address, which is part of a call's name, is the same on every machine; elsewhere a request fails at once.
ADDRESS, OTHER_ADDRESS = "http://models.example/v1", "http://other.example/v1"
LABELS = {"delivery": "asks where an order is", "refund": "wants money back", "defect": "reports a fault"}
TASK = {"description": "a message from a customer to an online shop", "labels": LABELS}
LLM = {"model": "paid-1", "base_url": ADDRESS, "max_attempts": 1, "patience": 0}
SMALL: dict[str, Any] = {
    "seed": 7,
    "task": TASK,
    "embed": {"dimensions": 16},
    "cluster": {"k": 6},
    "select": {"budget": 4},
    "llm": LLM,
    "annotate": {"sample": 12},
    "generate": {"per_selection": 4, "documents": 3},
    "align": {"features": 32},
    "evaluate": {"seeds": 2, "sizes": [12, 24]},
    "retrieve": {"epochs": 3},
}
OTHER: dict[str, Any] = SMALL | {
    "seed": 11,
    "task": TASK | {"language": "English"},
    "llm": LLM | {"temperature": 0.7, "max_tokens": 900, "redact": ["email"], "repairs": 2},
    "prices": {"paid-2": {"input": 1.0, "output": 2.0}},
    "reason": {
        "open": 1,
        "values": {"tone": ["calm", "annoyed"]},
        "attributes": {"tone": "category", "words": "number"},
    },
    "generate": {"refills": 1},
    "accept": {"judge": True, "too_near": False, "phrases": ["as a machine"]},
}
HELPDESK: dict[str, Any] = SMALL | {
    "task": {"description": "a question to a help desk"},
    "select": {"budget": 3},
    "generate": {"per_selection": 2, "documents": 3, "refills": 1},
    "accept": {"length": False, "label": False},
    "align": {"features": 32, "strength": 0.01},
    "retrieve": {"epochs": 2, "share": 0.3},
}
PAID = {"model": "paid-2", "base_url": OTHER_ADDRESS}


@dataclass(frozen=True)
class Act:
    """One call of a verb. A value that is a function is given the workspace: some keywords name what was made before.

    once: calling it again is not meant to find what was done, as taking a record out. slow: it takes seconds, and no
    other call of the session but those after it depends on it.
    """

    verb: str
    given: dict[str, Any] = field(default_factory=dict)
    positional: tuple[Any, ...] = ()
    once: bool = False
    slow: bool = False

    def do(self, workspace: sa.Workspace) -> Any:
        """Make the call."""
        now = [value(workspace) if callable(value) else value for value in self.positional]
        given = {name: value(workspace) if callable(value) else value for name, value in self.given.items()}
        return getattr(workspace, self.verb)(*now, **given)


def act(verb: str, *positional: Any, once: bool = False, slow: bool = False, **given: Any) -> Act:
    """Return a call of a verb."""
    return Act(verb, given, positional, once, slow)


def messages(start: int, count: int, **names: str) -> Callable[[sa.Workspace], pl.DataFrame]:
    """Return messages of three labels; `names` renames columns."""
    return lambda _: _messages().slice(start, count).rename(names)


def queries(_: sa.Workspace) -> pl.DataFrame:
    """Return the queries of the help desk for its first documents."""
    answers = pl.read_ndjson(FIXTURES / "helpdesk_articles.jsonl").head(8)["id"]
    return pl.read_ndjson(FIXTURES / "helpdesk_queries.jsonl").filter(pl.col("article").is_in(answers.to_list()))


def embedder(workspace: sa.Workspace) -> str:
    """Return the name of the first embedder that was made of text."""
    return _one(
        workspace, "select name from embedders join runs using (run_id) where model like '%lsa' order by sequence"
    )


def log(_: sa.Workspace) -> pl.DataFrame:
    """Return the log of an online test. The name of an analysis holds its figures to 9 digits, so none may be a sum
    that is 0 but for rounding."""
    rows = [
        {"user_id": f"u{user}", "arm": "AB"[user % 2], "who": f"w{user}", "group": "yes" if user % 2 else "no",
         "experiment": "second", "clicks": user * user % 7, "shown": 7 + user * user % 11, "orders": int(user % 7 == 0),
         "day": f"2026-01-{1 + user % 20:02d}T00:00:00"}
        for user in range(300)
    ]  # fmt: skip
    return pl.DataFrame(rows).with_columns(pl.col("day").str.to_datetime())


PLAIN = [
    act("ingest", messages(0, 60), label="label", test_share=0.2),
    act("embed"),
    act("cluster"),
    act("select"),
    act("reason"),
    act("generate"),
    act("annotate"),
    act("align"),
    act("score"),
    act("text_quality", slow=True),
    act("evaluate", slow=True),
    act("learning_curve", slow=True),
]

GIVEN = [
    act("ingest", messages(0, 60, text="body", label="kind"), text="body", label="kind", id="key", split="part"),
    act("ingest", messages(60, 14), label="label", id="key", synthetic=True, skip_empty=True),
    act("embed", dimensions=12, model="builtin/lsa"),
    act("cluster", k=7, by_label=True, embedder=embedder),
    act("select", budget=2, length_scale="learned", ard=True, slow=True),
    act(
        "select", budget=3, unit="record", demonstrations=2, show="nearest", kernel="rbf + matern32", length_scale=0.7,
        noise=0.05, beta=0.5, label_shares="average", min_per_label=0, min_variance=1e-4, min_gain=1e-4, batch=2,
        round=1, embedder=embedder,
    ),
    act("reason", **PAID, budget="900000tokens"),
    act("generate", **PAID, per_selection=3, recombined=2, from_demonstrations=2, budget="5usd"),
    act("annotate", **PAID, sample=4, origin="synthetic", budget="5usd"),
    act(
        "align", strength=0.05, features=16, kernel="linear", bandwidths=(0.5, 2.0), by_label=False, match="channel",
        quality=False, label_shares="kept", max_weight_ratio=20.0, min_effective_share=0.2, duplicates=0.999,
        weight_set="given", embedder=embedder, device="cpu",
    ),
    act("align", features="exact", label_shares={"delivery": 0.5, "refund": 0.25, "defect": 0.25}, weight_set="shares"),
    act("score", weight_set="given", into="again"),
    act("text_quality", weight_set="given", sample=20, seed=3, slow=True),
    act(
        "evaluate", model="logistic", settings={"penalty": 2.0}, seeds=3, real=20, synthetic=8, train_share=0.9,
        methods=["real", "real+synthetic"], overlap="drop", embedder=embedder, slow=True,
    ),
    act(
        "learning_curve", sizes=[10, 20], model="logistic", settings={"penalty": 3.0}, seeds=3, synthetic=8,
        train_share=0.9, methods=["real", "real+synthetic"], overlap="keep", embedder=embedder, slow=True,
    ),
]  # fmt: skip

RETRIEVAL = [
    act("ingest_documents", lambda _: pl.read_ndjson(FIXTURES / "helpdesk_articles.jsonl").head(8)),
    act("ingest", queries, label="article", id="id", split="split"),
    act("cluster"),
    act("select"),
    act("reason"),
    act("generate", from_documents=2),
    act("align"),
    act("train_retriever", slow=True),
    act("train_retriever", "still", on="frozen", slow=True),
    act(
        "train_retriever", "given", on="real+synthetic", share=0.4, epochs=2, index="none", index_from=9,
        index_recall=0.9, slow=True,
    ),
    act("evaluate_retrievers", slow=True),
    act("evaluate_retrievers", ["still", "given"], k=[1, 5], baseline="still", allow_overlap=True, slow=True),
    act("ab", "still", "given", slow=True),
    act(
        "ab", "given", "still", queries="test", click_model="informational", depth=5, passes=2, shared=True, alpha=0.1,
        power=0.9, min_lift=0.05, seed=3, slow=True,
    ),
    act("analyse_experiment", log, metrics={"clicks": "clicks", "ctr": ("clicks", "shown")}),
    act(
        "analyse_experiment", log, metrics=["orders"], user="who", arm="group", control="no", alpha=0.1,
        correction="bh", time="day", shares={"yes": 0.5, "no": 0.5}, crossed="drop", experiment="second",
        query="select * from log where user_id < 'u9'",
    ),
]  # fmt: skip

#: Two rounds as a run file has them, and the second one guided by the weights of the first.
ROUNDS = [
    act("ingest", messages(0, 60), label="label"),
    act("run", lambda workspace: sa.RunConfig(workspace=workspace.path, **(dict(workspace.config) | {"rounds": 2}))),
]

VECTORS = [
    act("ingest", messages(0, 30), label="label"),
    act("ingest", messages(60, 14), label="label", synthetic=True),
    act("embed", model="openai/vectors", base_url=ADDRESS, dimensions=8),
    act("cluster", k=3),
    act("align", strength=0.01),
    act("select", budget=2, guide="witness"),
]

#: What takes records in and out. Done again it would go on from what is left.
UPKEEP = [
    act("ingest", messages(0, 40), text="text"),
    act("ingest_documents", messages(0, 5, text="body"), text="body", id="key", skip_empty=True),
    act("ingest", messages(60, 14), synthetic=True),
    act("embed", refit=True, once=True),
    act("exclude", "text = (select min(text) from synthetic)", reason="a reason", once=True),
    act("exclude", "text = (select max(text) from synthetic)", once=True),
    act("include", "text = (select max(text) from synthetic)", once=True),
    act("align", prior="prior", strength="none", weight_set="prior", once=True),
    act("align", weight_set="second", strength=0.1, once=True),
    act("use_weights", "prior", once=True),
    act("forget", where="id = (select max(id) from real)", once=True),
    act("cluster", refit=True, once=True),
    act("select", budget=2, refit=True, once=True),
    act("forget", lambda workspace: _one(workspace, "select min(id) from real"), once=True),
    act("embed", once=True),
]

#: By name: the configuration, and the calls.
SESSIONS: dict[str, tuple[dict[str, Any], list[Act]]] = {
    "plain": (SMALL | {"align": {"features": 32, "strength": 0.01, "quality": False, "label_shares": "real"}}, PLAIN),
    "given": (OTHER, GIVEN),
    "retrieval": (HELPDESK, RETRIEVAL),
    "rounds": (SMALL, ROUNDS),
    "vectors": (SMALL, VECTORS),
    "upkeep": (SMALL, UPKEEP),
}


@contextmanager
def paid() -> Iterator[Server]:
    """Have the addresses answered by a server of this process; it keeps what it was asked."""

    def answer(body: dict[str, Any], _: int) -> Answer:
        if "input" in body:
            return Answer(embeddings(body))
        key = request_key(body)
        return Answer(completion(key, body["model"], content_for(body, key), 100))

    server = Server(answer)
    try:
        with _proxy(server.url.removesuffix("/v1")):
            yield server
    finally:
        server.close()


@contextmanager
def offline() -> Iterator[None]:
    """Have nobody answer: a request that is sent fails."""
    with _proxy("http://127.0.0.1:9"):
        yield


def names(workspace: sa.Workspace) -> dict[str, Any]:
    """Return the names that are in a workspace: runs in the order in which they were done and calls, each as "step id",
    embedders, and for records and what is made of them their number and one hash of all ids."""
    found: dict[str, Any] = {
        name: [" ".join(row) for row in workspace.sql(query).fetchall()]
        for name, query in {
            "runs": "select step, run_id from runs order by sequence",
            "calls": "select step, call_id from calls order by step, call_id",
            "embedders": "select name from embedders join runs using (run_id) order by sequence",
        }.items()
    }
    for name, key in {"real": "id", "synthetic": "id", "selections": "selection_id", "attributes": "id"}.items():
        query = f"select count(*), md5(string_agg({key}, ' ' order by {key})) from {name}"
        found[name] = list(workspace.sql(query).fetchall()[0])
    return found


def start(name: str, path: Path) -> sa.Workspace:
    """Return an empty workspace with the configuration of a session."""
    workspace = sa.open(path)
    workspace.configure(sa.Config.model_validate(SESSIONS[name][0]))
    return workspace


def reopened(path: Path) -> sa.Workspace:
    """Return a workspace that is there already."""
    return sa.open(path, create=False)


def outcomes(workspace: sa.Workspace, acts: Iterable[Act]) -> list[list[Any]]:
    """Make calls, and return for each what it gave: one outcome, or those of all steps of a run."""
    found = []
    for one in acts:
        given = one.do(workspace)
        found.append(given if isinstance(given, list) else [given])
    return found


def said(found: list[list[Any]]) -> list[str]:
    """Return the names of the runs that calls gave, a line for each call."""
    return [" ".join(outcome.run_id for outcome in outcomes) for outcomes in found]


def golden(name: str) -> dict[str, Any]:
    """Return the frozen names of a session, or of another file of this folder."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def unpack(folder: Path) -> Path:
    """Unpack the kept workspaces, a folder for each session, and return where they are."""
    with tarfile.open(KEPT) as archive:
        archive.extractall(folder, filter="data")
    return folder


@functools.cache
def _messages() -> pl.DataFrame:
    frame = pl.read_csv(FIXTURES / "support.csv").filter(pl.col("label").is_in(list(LABELS)))
    number = pl.int_range(pl.len())
    return frame.select(
        "text", "label", "channel", pl.format("m{}", number).alias("key"), (1 + number % 3).alias("prior"),
        pl.when(number % 5 == 4).then(pl.lit("test")).otherwise(pl.lit("train")).alias("part"),
    )  # fmt: skip


def _one(workspace: sa.Workspace, query: str) -> Any:
    return workspace.sql(query).fetchall()[0][0]


@contextmanager
def _proxy(url: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "HTTP_PROXY"):
            patch.setenv(name, url)
        for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        yield
