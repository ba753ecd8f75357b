"""Calls of a language model, one table: this engine and plain asyncio, on an endpoint of this machine

The endpoint (tests/llm/endpoint.py) is a process of its own that answers over HTTP after a set latency. All methods
send the same requests with the openai client. `cpu/call` counts the client's process alone, all of its threads; the
seconds leave out imports, and include what it takes to open clients and files. Runs of methods take turns; a row is the
median of its runs.

throughput      as many calls at once as the endpoint serves at once; what is more waits there.
throughput-429  the endpoint answers 429 to what is more than it serves at once, and the client may have four times as
                many under way. `429s`: how often it did. `ideal`: capacity / latency.
faults          429, 500, 503, connections that hang or close in the middle, and contents that cannot be read. The
                client is killed with SIGKILL at random moments and started again, then left to finish. `lost`: neither
                answered nor refused. `after reply`: arrivals of requests whose whole reply had left before;
                `unread`: of these, those whose client was killed before it read the reply; `durable`: those whose
                reply the ledger held at a kill.

synalign  run_calls into a ledger: each outcome is on the disk before it counts, and what is there is not asked again.
asyncio   openai.AsyncOpenAI under a semaphore; replies stay in memory. It parses replies into the client's own models.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the endpoint is not part of the package

from tests.llm.endpoint import Endpoint
from tests.llm.endpoint_replies import request_key

SEED = 0

Row = dict[str, Any]

FAULTS = {"429": 0.10, "500": 0.025, "503": 0.025, "hang": 0.02, "cut": 0.02, "malformed": 0.05}

#: The shape that is asked for, and texts that make the prompts as long as those of eight demonstrations.
SCHEMA = {
    "type": "object",
    "properties": {
        "records": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"text": {"type": "string"}},
                "required": ["text"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["records"],
    "additionalProperties": False,
}
SYSTEM = "You write new texts that belong to the same population as a set of real ones. Answer with one JSON object."
DEMONSTRATION = json.dumps({"text": "The parcel arrived two days late and nobody at the counter could tell me why."})


@dataclass(frozen=True)
class Case:
    """`latency`: seconds of a call. `capacity`: calls that are served at once. `most`: calls that the client may have
    under way. `timeout`: its limit on one reply. `kills`: how often it is killed."""

    calls: int
    latency: float
    capacity: int
    most: int
    over: str = "queue"
    timeout: float = 120.0
    kills: int = 0
    repeats: int = 3

    def endpoint(self) -> dict[str, Any]:
        """Return the options of the endpoint."""
        given = {"latency": self.latency, "capacity": self.capacity, "over": self.over, "seed": SEED}
        return given | ({"faults": FAULTS} if self.kills else {})


CASES = {
    "throughput": Case(5_000, 0.1, 64, 64),
    "throughput-429": Case(5_000, 0.1, 64, 256, over="429", repeats=1),
    "faults": Case(10_000, 0.01, 64, 64, timeout=2.0, kills=10, repeats=1),
}
QUICK = {
    "throughput": Case(500, 0.1, 64, 64, repeats=1),
    "throughput-429": Case(500, 0.1, 64, 256, over="429", repeats=1),
    "faults": Case(600, 0.01, 64, 64, timeout=1.0, kills=2, repeats=1),
}


def prompt(number: int) -> str:
    """Return the user's message of one call."""
    return "\n".join([DEMONSTRATION] * 8 + [f"Write 10 new texts. This is request {number}."])


# ---------------------------------------------------------------------------------------------------------------------
# The two clients. Each runs in a process of its own and returns when all of its calls are done.


def plain(case: Case, url: str, _folder: Path) -> None:
    """Send the calls with plain asyncio."""
    import openai

    form: Any = {"type": "json_schema", "json_schema": {"name": "records", "schema": SCHEMA, "strict": True}}

    async def send() -> list[str]:
        places = asyncio.Semaphore(case.most)
        async with openai.AsyncOpenAI(api_key="none", base_url=url, timeout=case.timeout, max_retries=4) as client:

            async def call(number: int) -> str:
                messages: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt(number)}]
                async with places:
                    reply = await client.chat.completions.create(
                        model="m", messages=messages, seed=number, response_format=form
                    )
                return reply.choices[0].message.content or ""

            return await asyncio.gather(*(call(number) for number in range(case.calls)))

    replies = asyncio.run(send())
    if not all(len(json.loads(reply)["records"]) == 10 for reply in replies):
        raise SystemExit("asyncio: some replies are not what was asked for")


def synalign(case: Case, url: str, folder: Path) -> None:
    """Send the calls that the ledger does not hold with this engine, into that ledger."""
    from synalign.config import Llm
    from synalign.llm.transport.chat import ChatReply, Outcome
    from synalign.llm.transport.client import OpenAIChat
    from synalign.llm.transport.engine import run_calls
    from synalign.store.ledger.ledger import COMPLETE, FAILED, REFUSED, Ledger

    settings = Llm(
        model="m", base_url=url, concurrency=case.most, timeout=case.timeout, max_attempts=100 if case.kills else 5
    )
    ledger = Ledger(folder / "ledger.sqlite")
    known = {row["call_id"]: row["status"] for row in ledger.rows().to_pylist()}
    requests = {request.call_id: request for request in chat_requests(case, url)}

    def row(outcome: Outcome) -> Row:
        request = requests[outcome.call_id]
        common = {"run_id": "r", "step": "generate", "model": "m", "system": request.system, "user": request.user}
        if isinstance(outcome, ChatReply):
            return common | asdict(outcome) | {"status": COMPLETE, "reply": outcome.text, "latency_s": outcome.latency}
        status = FAILED if outcome.retryable else REFUSED
        return common | {"call_id": outcome.call_id, "status": status, "error": outcome.message}

    def keep(outcomes: Sequence[Outcome]) -> None:
        ledger.put(*(row(outcome) for outcome in outcomes))

    run_calls(
        lambda: OpenAIChat(settings, {}),
        [request for name, request in requests.items() if known.get(name, FAILED) == FAILED],
        keep,
        settings=settings,
        answered=bool(known),
    )
    ledger.close()


def chat_requests(case: Case, url: str) -> list[Any]:
    """Return the calls of a case as this engine's requests."""
    from synalign.llm.transport.chat import ChatRequest

    return [
        ChatRequest("m", url, SYSTEM, prompt(number), "records", SCHEMA, seed=number, count=10)
        for number in range(case.calls)
    ]


def ledger_rows(folder: Path) -> list[Row]:
    """Return what the ledger of a client holds."""
    from synalign.store.ledger.ledger import Ledger

    return Ledger(folder / "ledger.sqlite").rows().to_pylist()


# ---------------------------------------------------------------------------------------------------------------------

METHODS: dict[str, Callable[[Case, str, Path], None]] = {"synalign": synalign, "asyncio": plain}


def isolated(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process that this one shares no memory with."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measured(method: str, case: Case, url: str, folder: Path) -> Row:
    """Run a method in this process; return what it cost."""
    if method == "synalign":
        import synalign.llm.transport.client
        import synalign.llm.transport.engine
        import synalign.store.ledger.ledger  # noqa: F401 imported here, so that it is not timed
    import openai.resources.chat  # noqa: F401

    began, spent = time.perf_counter(), time.process_time()
    METHODS[method](case, url, folder)
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    return {
        "seconds": seconds,
        "calls_per_second": case.calls / seconds,
        "cpu_ms_per_call": spent / case.calls * 1e3,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


class Table:
    """The rows so far, each printed as it comes."""

    COLUMNS = (
        ("calls", "calls", 7, "{:,}"),
        ("seconds", "seconds", 8, "{:.2f}"),
        ("calls_per_second", "calls/s", 8, "{:.1f}"),
        ("cpu_ms_per_call", "cpu/call ms", 11, "{:.3f}"),
        ("server_cpu_ms_per_call", "server's", 8, "{:.3f}"),
        ("peak_mb", "peak MiB", 8, "{:,.0f}"),
        ("answers_429", "429s", 6, "{:,}"),
        ("done", "done", 7, "{:,}"),
        ("refused", "refused", 7, "{:,}"),
        ("lost", "lost", 5, "{:,}"),
        ("resent_after_reply", "after reply", 11, "{:,}"),
        ("resent_unread", "unread", 6, "{:,}"),
        ("resent_after_durable", "durable", 7, "{:,}"),
        ("kills", "kills", 5, "{}"),
    )

    def __init__(self) -> None:
        self.rows: list[Row] = []
        print(f"{'case':<14} {'method':<8} " + " ".join(f"{head:>{width}}" for _, head, width, _ in self.COLUMNS))

    def add(self, row: Row) -> None:
        """Print a row and keep it."""
        self.rows.append(row)
        cells = [
            f"{'-' if row.get(name) is None else form.format(row[name]):>{width}}"
            for name, _, width, form in self.COLUMNS
        ]
        print(f"{row['case']:<14} {row['method']:<8} {' '.join(cells)}", flush=True)


def throughput(table: Table, name: str, case: Case, methods: Sequence[str]) -> None:
    """Run the methods in turn on one endpoint."""
    runs: dict[str, list[Row]] = {method: [] for method in methods}
    with Endpoint(**case.endpoint()) as endpoint:
        for _ in range(case.repeats):
            for method in methods:
                endpoint.reset()
                with tempfile.TemporaryDirectory() as folder:
                    found = isolated(measured, method, case, endpoint.url, Path(folder))
                stats = endpoint.stats()
                found["server_cpu_ms_per_call"] = stats["cpu_seconds"] / case.calls * 1e3
                found["answers_429"] = stats["replies"].get("over_capacity", 0)
                if stats["replies"]["complete"] != case.calls or stats["distinct"] != case.calls:
                    raise SystemExit(f"{name}, {method}: {case.calls} calls, but the endpoint saw {stats}")
                runs[method].append(found)
    for method, found_runs in runs.items():
        median = {key: statistics.median(run[key] for run in found_runs) for key in found_runs[0]}
        figures = {"answers_429": int(median["answers_429"])} if case.over == "429" else {"answers_429": None}
        all_runs = {"runs": [run["calls_per_second"] for run in found_runs]}
        table.add({"case": name, "method": method, "calls": case.calls} | median | figures | all_runs)
    if case.over == "429":
        ideal = case.capacity / case.latency
        row = {"calls": case.calls, "seconds": case.calls / ideal, "calls_per_second": ideal, "answers_429": 0}
        table.add({"case": name, "method": "ideal", "peak_mb": None} | row)


def faults(table: Table, name: str, case: Case) -> None:
    """Run this engine on a faulty endpoint; kill it at random moments, then let it finish."""
    chance = random.Random(SEED)
    context = multiprocessing.get_context("spawn")
    began, kills = time.perf_counter(), 0
    durable: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as place, Endpoint(**case.endpoint()) as endpoint:
        folder = Path(place)
        keys = {
            request.call_id: request_key({"model": "m", "seed": request.seed, "messages": request.messages})
            for request in chat_requests(case, endpoint.url)
        }
        # A share of the calls goes to each kill, so that all of them come before the end on any machine.
        share = case.calls // (case.kills + 2)
        while kills < case.kills:
            before = endpoint.stats()["arrivals"]
            client = context.Process(target=synalign, args=(case, endpoint.url, folder))
            client.start()
            moment = chance.randrange(1, 2 * share)
            while client.is_alive() and endpoint.stats()["arrivals"] - before < moment:
                time.sleep(0.02)
            time.sleep(chance.random() * 0.02)
            client.kill()
            client.join()
            if client.exitcode != -9:
                break  # it was done, or failed: the last run tells
            kills += 1
            arrived = endpoint.requests()
            for row in ledger_rows(folder):
                if row["status"] == "complete":
                    durable.setdefault(row["call_id"], arrived[keys[row["call_id"]]]["arrived"])
        cost = isolated(measured, "synalign", case, endpoint.url, folder)
        seconds, rows, stats, arrived = (
            time.perf_counter() - began,
            ledger_rows(folder),
            endpoint.stats(),
            endpoint.requests(),
        )
    statuses = [row["status"] for row in rows]
    done, refused = statuses.count("complete"), statuses.count("refused")
    table.add(
        {
            "case": name,
            "method": "synalign",
            "calls": case.calls,
            "seconds": seconds,
            "calls_per_second": case.calls / seconds,
            "peak_mb": cost["peak_mb"],
            "done": done,
            "refused": refused,
            "lost": case.calls - done - refused,
            "resent_after_reply": stats["complete_twice"],
            "resent_unread": stats["complete_twice_unread"],
            "resent_after_durable": sum(arrived[keys[call]]["arrived"] - count for call, count in durable.items()),
            "kills": kills,
            "arrivals": stats["arrivals"],
            "replies": stats["replies"],
        }
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one; can be given again")
    parser.add_argument("--method", action="append", choices=list(METHODS), help="only this one; can be given again")
    parser.add_argument("--quick", action="store_true", help="few calls, one run each, two kills")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > 0.5:
        print(f"Other work runs here (load {load:.1f}, {cores} cores): times are longer than on a quiet machine.")
    cases = QUICK if arguments.quick else CASES
    methods = list(dict.fromkeys(arguments.method or METHODS))
    table = Table()
    for name in dict.fromkeys(arguments.case or cases):
        # Of the others there is nothing to compare: plain asyncio gives up its retries, and keeps nothing when killed.
        used = methods if name == "throughput" else [method for method in methods if method == "synalign"]
        if used and cases[name].kills:
            faults(table, name, cases[name])
        elif used:
            throughput(table, name, cases[name], used)
    if arguments.json:
        arguments.json.write_text(json.dumps(table.rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
