"""A test endpoint that speaks the OpenAI protocol over HTTP in a process of its own, slow and faulty as told.

    python -m tests.llm.endpoint --latency 0.1 --capacity 64 --over 429 --faults '{"429": 0.1, "hang": 0.02}'

prints {"url": ...} once it listens and ends when its input closes. It knows which request came when, so that a test
can tell whether one was sent again although its reply had been sent. It takes little CPU: benchmarks count on it.
GET /stats, GET /requests and POST /reset are its own; FAULTS says which faults there are.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.llm.endpoint_batches import Batches
from tests.llm.endpoint_book import Book
from tests.llm.endpoint_http import Connection
from tests.llm.endpoint_replies import BROKEN, broken, completion, content_for, embeddings, request_key, uniform

ROOT = Path(__file__).resolve().parents[2]

#: What --faults may name, each with the share of arrivals that meet it.
FAULTS = {
    "429": "refused at once, every other time with the header of --retry-after-fault",
    "500": "an error after the latency",
    "503": "an error after the latency",
    "hang": "never answered, the connection stays open; takes no place",
    "cut": "the connection closes in the middle of the body",
    "malformed": "a content that is truncated JSON, prose or JSON of the wrong shape, in turn",
    "empty": "a content of no letters",
    "empty_choices": "a completion without choices",
    "content_filter": "half a content, finish_reason content_filter",
    "error200": "an error object with status 200",
    "trickle": "a good reply in eight pieces over --trickle seconds",
}

#: Faults whose reply is complete all the same: whoever got one has no reason to ask for it again.
COMPLETE = ("complete", "malformed", "empty", "content_filter", "trickle")
ERRORS = {
    400: ("invalid_request_error", "unsupported_value"),
    404: ("invalid_request_error", "not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", "server_error"),
}
_KEY = re.compile(rb"\r\nauthorization:[ \t]*(?:bearer )?([^\r]*)", re.IGNORECASE)


@dataclass(slots=True)
class Job:
    """One chat request under way. `kind`: its fault, or "complete". `secret`: the key to give back, if any."""

    connection: Connection
    key: str
    kind: str
    secret: str
    body: dict[str, Any]
    size: int
    book: Book


class Service:
    """Answers what connections read. `served`: chat requests being served now; the others wait their turn."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.book = Book()
        self._loop = asyncio.get_running_loop()
        self._served = 0
        self._waiting: deque[Job] = deque()
        self._turns: Counter[str] = Counter()
        self._contents = json.loads(Path(options.reply_file).read_text()) if options.reply_file else None
        self._batches = Batches(options, self._batched, self._batch_reply)

    def answer(self, connection: Connection, method: str, target: str, head: bytes, body: bytes) -> None:
        """Answer a request, now or later."""
        path, _, query = target.partition("?")
        key = self._key(head)
        headers = ""
        try:
            if path == "/v1/chat/completions":
                self._chat(connection, key, body)
                return
            if path.startswith(("/v1/files", "/v1/batches")):
                status, found = self._batches.answer(method, path, query, head, body)
                headers = "content-type: application/octet-stream\r\n" if isinstance(found, bytes) else ""
            else:
                status, found = self._other(path, key, body)
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            status, found = 400, self._error(key, 400, f"the request cannot be read: {problem!r}")
        connection.send(status, found if isinstance(found, bytes) else json.dumps(found).encode(), headers)

    def _chat(self, connection: Connection, secret: str, raw: bytes) -> None:
        body = json.loads(raw)
        key, book, options = request_key(body), self.book, self.options
        number = book.arrive(key)
        book.open += 1
        book.most_open = max(book.most_open, book.open)
        connection.ended = book.left
        form = (body.get("response_format") or {}).get("type", "text")
        if (form == "json_schema" and options.refuse_schema) or (form != "text" and options.refuse_json):
            book.replies["refused"] += 1
            self._fail(connection, secret, 400, f"response_format {form} is not supported")
            return
        kind = self._draw(number)
        if kind == "hang":
            book.replies["hang"] += 1
            return
        if kind == "429":
            book.replies["429"] += 1
            wait = self._in_turn("429", (options.retry_after_fault, None))
            self._fail(connection, secret, 429, "Rate limit reached", wait)
            return
        job = Job(connection, key, kind, secret, body, len(raw), book)
        if self._served < options.capacity:
            self._serve(job)
        elif options.over == "queue":
            self._waiting.append(job)
        else:
            book.replies["over_capacity"] += 1
            self._fail(connection, secret, 429, "Too many requests at once", options.retry_after)

    def _serve(self, job: Job) -> None:
        self._served += 1
        job.book.most_served = max(job.book.most_served, self._served)
        self._loop.call_later(self.options.latency, self._finish, job)

    def _finish(self, job: Job) -> None:
        """Answer a request that has been served, and take the next whose client is still there."""
        self._served -= 1
        while self._waiting:
            waiting = self._waiting.popleft()
            if waiting.connection.open:
                self._serve(waiting)
                break
            waiting.book.replies["abandoned"] += 1
        if job.connection.open:
            self._reply(job)
        else:
            job.book.replies["abandoned"] += 1

    def _reply(self, job: Job) -> None:
        kind, connection = job.kind, job.connection
        job.book.replies[kind] += 1
        if kind in ("500", "503"):
            self._fail(connection, job.secret, int(kind), "The server had an error")
            return
        if kind == "error200":
            connection.send(200, json.dumps(self._error(job.secret, 503, "the upstream failed")).encode())
            return
        data = self._completion(job.key, kind, job.body, job.size, job.secret)
        if kind in COMPLETE:
            connection.sent = partial(job.book.complete, job.key, data["usage"])
            connection.unread = partial(job.book.unread, job.key)
        sent = json.dumps(data).encode()
        keep = len(sent) // 2 if kind == "cut" else None
        connection.send(200, sent, keep=keep, seconds=self.options.trickle if kind == "trickle" else 0.0)

    def _completion(self, key: str, kind: str, body: dict[str, Any], size: int, secret: str) -> dict[str, Any]:
        content = self._in_turn("contents", self._contents) if self._contents else content_for(body, key)
        if secret:  # in the first text of it
            content = content.replace('": "', f'": "{secret} ', 1) if '": "' in content else f"{content} {secret}"
        finish = "stop"
        if kind == "malformed":
            content = broken(content, self._in_turn("malformed", BROKEN))
        elif kind == "empty":
            content = ""
        elif kind == "content_filter":
            content, finish = content[: len(content) // 2], "content_filter"
        data = completion(key, body.get("model"), content, size // 4, finish)
        return data | {"choices": []} if kind == "empty_choices" else data

    def _batched(self, body: dict[str, Any]) -> int:
        """Take note of a request that came in a batch; return its number."""
        return self.book.arrive(request_key(body))

    def _batch_reply(self, number: int, body: dict[str, Any], size: int) -> dict[str, Any]:
        """Return the completion of such a request. Of the faults only those of the content are possible there."""
        kind = self._draw(number)
        kind = kind if kind in ("malformed", "empty", "empty_choices", "content_filter") else "complete"
        key, book = request_key(body), self.book
        data = self._completion(key, kind, body, size, "")
        book.replies[kind] += 1
        if kind in COMPLETE:
            book.complete(key, data["usage"])
        return data

    def _draw(self, number: int) -> str:
        """Return the fault of the request of that number, or "complete"."""
        if self.options.faults:
            drawn = uniform(self.options.seed, "fault", number)
            for name, share in self.options.faults.items():
                drawn -= share
                if drawn < 0:
                    return name
        return "complete"

    def _other(self, path: str, secret: str, body: bytes) -> tuple[int, Any]:
        if path == "/v1/embeddings":
            return 200, embeddings(json.loads(body))
        if path == "/v1/models":
            return 200, {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "test"}]}
        if path == "/stats":
            return 200, self.book.stats()
        if path == "/requests":
            found = self.book.requests.items()
            return 200, {key: {"arrived": counts[0], "complete": counts[1]} for key, counts in found}
        if path == "/reset":
            self.book = Book()
            self._turns.clear()
            return 200, {}
        return 404, self._error(secret, 404, f"there is no {path}")

    def _fail(
        self, connection: Connection, secret: str, status: int, message: str, retry_after: str | None = None
    ) -> None:
        header = f"retry-after: {retry_after}\r\n" if retry_after else ""
        connection.send(status, json.dumps(self._error(secret, status, message)).encode(), header)

    def _error(self, secret: str, status: int, message: str) -> dict[str, Any]:
        kind, code = ERRORS.get(status, ERRORS[500])
        said = f"{message}. The key was {secret}." if secret else message
        return {"error": {"message": said, "type": kind, "param": None, "code": code}}

    def _key(self, head: bytes) -> str:
        """Return the key of a request, if it shall be given back."""
        found = _KEY.search(head) if self.options.echo_key else None
        return found.group(1).decode("latin-1") if found else ""

    def _in_turn(self, name: str, values: Sequence[Any]) -> Any:
        self._turns[name] += 1
        return values[(self._turns[name] - 1) % len(values)]


def parser() -> argparse.ArgumentParser:
    """Return the options of the command, which are those of Endpoint too."""
    result = argparse.ArgumentParser(prog="python -m tests.llm.endpoint", description="An OpenAI endpoint for tests.")
    add = result.add_argument
    add("--latency", type=float, default=0.0, help="seconds that a chat request is served")
    add("--capacity", type=int, default=64, help="chat requests served at once")
    add("--over", choices=("queue", "429"), default="queue", help="what becomes of those above it")
    add("--retry-after", help="header of the 429 of those above it; unset: none")
    add("--faults", type=_shares, default={}, help=f"JSON object: share of {', '.join(FAULTS)}")
    add("--retry-after-fault", default="0.05", help="header of every other 429 that is a fault")
    add("--trickle", type=float, default=0.5, help="seconds of a reply that trickles")
    add("--seed", type=int, default=0)
    add("--reply-file", help="JSON list of contents that are answered in turn, whatever is asked")
    add("--refuse-schema", action="store_true", help="answer 400 to json_schema")
    add("--refuse-json", action="store_true", help="answer 400 to json_schema and to json_object")
    add("--echo-key", action="store_true", help="give the request's key back in errors and replies")
    add("--batch-polls", type=int, default=2, help="retrievals until a batch is completed")
    add("--batch-errors", type=float, default=0.0, help="share of a batch that ends in the error file")
    add("--batch-expire", type=float, default=0.0, help="share of a batch that is unanswered when it expires")
    add("--batch-fail", action="store_true", help="every batch fails its validation")
    return result


def _shares(text: str) -> dict[str, float]:
    found = json.loads(text)
    if set(found) - set(FAULTS) or sum(found.values()) > 1:
        raise argparse.ArgumentTypeError(f"shares of {', '.join(FAULTS)} that add up to 1 at most, not {text}")
    return found


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    service, stop = Service(options), asyncio.Event()
    server = await loop.create_server(lambda: Connection(service.answer), "127.0.0.1", 0, backlog=2048)
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock this thread would hold when the process ends
            pass
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, daemon=True).start()
    gc.freeze()
    gc.set_threshold(100_000)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{port}/v1"}) + "\n")
    sys.stdout.flush()
    await stop.wait()


class Endpoint:
    """The endpoint as a child process; `options` are those of the command: Endpoint(latency=0.1, faults={"429": 0.1}).

    `url` is the address for clients, with its /v1. It ends with `close`, or with this process however that ends.
    """

    def __init__(self, **options: Any) -> None:
        command = [sys.executable, "-m", "tests.llm.endpoint"]
        for name, value in options.items():
            flag = "--" + name.replace("_", "-")
            if value is True:
                command.append(flag)
            elif value is not False and value is not None:
                command += [flag, json.dumps(value) if isinstance(value, dict) else str(value)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(f"The endpoint did not start: {' '.join(command)}")
        self.url: str = json.loads(line)["url"]

    def stats(self) -> dict[str, Any]:
        """Return what came and was answered since the start or `reset`.

        replies: number by kind: "complete", a name of FAULTS, "over_capacity" (429 above capacity), "refused" (400 for
        a response_format) or "abandoned" (the client left before). most_at_once: requests open at once; most_served:
        those being served. complete_twice: arrivals of requests whose complete reply had left before;
        complete_twice_unread: those of them whose client had left (or was killed) before it read any such reply.
        Tokens are those of all complete replies, as their usage states them.
        """
        return self._ask("/stats")

    def requests(self) -> dict[str, dict[str, int]]:
        """Return how often each request (see request_key) has arrived and was completely answered."""
        return self._ask("/requests")

    def reset(self) -> None:
        """Count from nothing again; faults are drawn as after the start."""
        self._ask("/reset", b"")

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _ask(self, path: str, data: bytes | None = None) -> Any:
        with urllib.request.urlopen(self.url.removesuffix("/v1") + path, data, timeout=30) as answer:
            return json.load(answer)


if __name__ == "__main__":
    asyncio.run(_serve(parser().parse_args()))
