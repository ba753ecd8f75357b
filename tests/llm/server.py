"""A real HTTP server on this machine that speaks the chat-completions and embeddings protocols, as told by a test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Makes the openai client retry at once instead of after half a second and more.
AT_ONCE = {"retry-after-ms": "1"}


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. `delay`: seconds before it is sent."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


def chat(text: str | None, finish: str = "stop", delay: float = 0.0, **message: Any) -> Answer:
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return Answer(body, delay=delay)


def error(status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None) -> Answer:
    return Answer({"error": {"message": message, "type": code, "code": code}}, status, headers or AT_ONCE)


class Server:
    """Answers each request by `behaviour(body, number)`, number counting from 0; keeps what it was sent."""

    def __init__(self, behaviour: Callable[[dict[str, Any], int], Answer]) -> None:
        self.behaviour = behaviour
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                answer = outer.begin(body, self.path, self.headers.get("authorization"))
                data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                threading.Event().wait(answer.delay)
                outer.end()
                try:
                    self.send_response(answer.status)
                    headers = {"content-type": "application/json", "content-length": str(len(data))} | answer.headers
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:  # the client did not wait
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def begin(self, body: dict[str, Any], path: str, key: str | None) -> Answer:
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.paths.append(path)
            self.keys.append(key)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        return self.behaviour(body, number)

    def end(self) -> None:
        with self._lock:
            self._at_once -= 1

    @property
    def formats(self) -> list[str]:
        return [body.get("response_format", {}).get("type", "text") for body in self.bodies]

    def wait_for(self, count: int) -> None:
        """Wait until `count` requests have arrived."""
        end = time.monotonic() + 10
        while len(self.bodies) < count and time.monotonic() < end:
            threading.Event().wait(0.01)
        assert len(self.bodies) >= count

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
