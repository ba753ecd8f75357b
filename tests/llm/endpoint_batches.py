"""Files and batches of the test endpoint. A batch goes on each time that it is retrieved; nothing runs by itself."""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.llm.endpoint_replies import uniform

Answer = tuple[int, Any]

FINAL = ("failed", "completed", "expired", "cancelled")
_BOUNDARY = re.compile(rb'boundary="?([^";\r]+)', re.IGNORECASE)
_NAME, _FILENAME = (re.compile(rb'[ ;]%s="([^"]*)"' % name) for name in (b"name", b"filename"))
_CREATED = 1_700_000_000


@dataclass
class Batch:
    """A batch; `lines`: [number of the request, line of the input] each. `polls`: how often it was retrieved."""

    shown: dict[str, Any]
    lines: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)
    polls: int = 0


class Batches:
    """Answers what concerns files and batches.

    `arrive` takes note of a request and gives it a number; `reply(number, body, size)` returns its chat completion.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        arrive: Callable[[dict[str, Any]], int],
        reply: Callable[[int, dict[str, Any], int], dict[str, Any]],
    ) -> None:
        self._options = options
        self._arrive = arrive
        self._reply = reply
        self._files: dict[str, tuple[dict[str, Any], bytes]] = {}
        self._numbers = itertools.count(1)
        self._batches: dict[str, Batch] = {}

    def answer(self, method: str, path: str, query: str, head: bytes, body: bytes) -> Answer:
        """Answer one request; a ValueError or KeyError is a bad request."""
        parts = path.strip("/").split("/")[1:]
        if parts[0] == "files":
            return self._about_files(method, parts[1:], head, body)
        match method, parts[1:]:
            case "POST", []:
                return self._create(json.loads(body))
            case "GET", []:
                return self._list(parse_qs(query))
            case "GET", [name] if name in self._batches:
                batch = self._batches[name]
                self._go_on(batch)
                return 200, batch.shown
            case "POST", [name, "cancel"] if name in self._batches:
                batch = self._batches[name]
                if batch.shown["status"] in FINAL:
                    return _wrong(409, f"a batch that is {batch.shown['status']} cannot be cancelled")
                batch.shown |= {"status": "cancelling", "cancelling_at": _CREATED + batch.polls}
                return 200, batch.shown
        return _wrong(404, f"there is no {path}")

    def _about_files(self, method: str, parts: list[str], head: bytes, body: bytes) -> Answer:
        if method == "POST" and not parts:
            fields = _multipart(head, body)
            purpose, (filename, content) = fields["purpose"][1].decode(), fields["file"]
            return 200, self._keep(filename or "upload", purpose, content)
        if not parts or parts[0] not in self._files:
            return _wrong(404, f"there is no file {'/'.join(parts)}")
        shown, content = self._files[parts[0]]
        if method == "DELETE":
            del self._files[parts[0]]
            return 200, {"id": parts[0], "object": "file", "deleted": True}
        return 200, content if parts[1:] == ["content"] else shown

    def _keep(self, filename: str, purpose: str, content: bytes) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": f"file-{next(self._numbers)}",
            "object": "file",
            "bytes": len(content),
            "created_at": _CREATED,
            "filename": filename,
            "purpose": purpose,
            "status": "processed",
        }
        self._files[shown["id"]] = (shown, content)
        return shown

    def _create(self, given: dict[str, Any]) -> Answer:
        name = given["input_file_id"]
        if name not in self._files:
            return _wrong(400, f"there is no file {name}")
        if given["endpoint"] != "/v1/chat/completions":
            return _wrong(400, f"the endpoint {given['endpoint']} takes no batches")
        shown = {
            "id": f"batch_{len(self._batches) + 1}",
            "object": "batch",
            "endpoint": given["endpoint"],
            "errors": None,
            "input_file_id": name,
            "completion_window": given["completion_window"],
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": _CREATED + len(self._batches),
            "expires_at": _CREATED + 86_400,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": given.get("metadata"),
        }
        batch = Batch(shown)
        self._read(batch, self._files[name][1])
        self._batches[shown["id"]] = batch
        return 200, dict(shown)

    def _read(self, batch: Batch, content: bytes) -> None:
        """Read the input; requests count as arrived only if the whole of it is valid."""
        seen: set[str] = set()
        lines: list[dict[str, Any]] = []
        for number, text in enumerate(content.decode("utf-8").splitlines(), 1):
            try:
                line = json.loads(text)
                body, custom = line["body"], line["custom_id"]
                if line["method"] != "POST" or line["url"] != batch.shown["endpoint"] or not body["messages"]:
                    raise ValueError("method, url or messages are not those of the endpoint")
            except (ValueError, KeyError, TypeError) as error:
                batch.problems.append({"code": "invalid_json_line", "line": number, "message": str(error)})
                continue
            if custom in seen:
                message = f"the custom_id {custom} is there already"
                batch.problems.append({"code": "duplicate_custom_id", "line": number, "message": message})
            seen.add(custom)
            lines.append(line)
        if self._options.batch_fail or not lines:
            batch.problems.append({"code": "invalid_json_line", "line": 1, "message": "This line is not valid JSON."})
        if not batch.problems:
            batch.lines = [(self._arrive(line["body"]), line) for line in lines]

    def _list(self, query: dict[str, list[str]]) -> Answer:
        limit, after = int(query.get("limit", ["20"])[0]), query.get("after", [None])[0]
        names = list(self._batches)[::-1]  # the last made is the first
        if after is not None:
            names = names[names.index(after) + 1 :]
        page = names[:limit]
        data = [self._batches[name].shown for name in page]
        ends = {"first_id": page[0], "last_id": page[-1]} if page else {"first_id": None, "last_id": None}
        return 200, {"object": "list", "data": data, "has_more": len(names) > limit, **ends}

    def _go_on(self, batch: Batch) -> None:
        shown = batch.shown
        if shown["status"] in FINAL:
            return
        batch.polls += 1
        now = _CREATED + batch.polls
        if batch.problems:
            errors = {"object": "list", "data": [{"param": None, **problem} for problem in batch.problems]}
            shown |= {"status": "failed", "failed_at": now, "errors": errors}
        elif shown["status"] == "cancelling":
            self._settle(batch, "cancelled", 0.5)
        elif batch.polls >= self._options.batch_polls:
            self._settle(batch, "expired" if self._options.batch_expire else "completed", self._options.batch_expire)
        else:
            shown |= {"status": "in_progress", "in_progress_at": now}
            shown["request_counts"]["total"] = len(batch.lines)

    def _settle(self, batch: Batch, status: str, unanswered: float) -> None:
        """Write the files of a batch that ends so; `unanswered`: the share of its requests that get no answer."""
        seed, good, bad, left = self._options.seed, [], [], 0
        for number, line in reversed(batch.lines):  # the order of the output is not that of the input
            known = {"id": f"batch_req_{number}", "custom_id": line["custom_id"]}
            if uniform(seed, "unanswered", number) < unanswered:
                left += 1
                problem = {"code": f"batch_{status}", "message": f"The batch was {status} before this request's turn."}
                bad.append({**known, "response": None, "error": problem})
            elif uniform(seed, "error", number) < self._options.batch_errors:
                code, name = (429, "rate_limit_exceeded") if number % 2 else (500, "server_error")
                error = {"message": "The request failed.", "type": name, "param": None, "code": name}
                response = {"status_code": code, "request_id": f"req_{number}", "body": {"error": error}}
                bad.append({**known, "response": response, "error": None})
            else:
                body = self._reply(number, line["body"], len(json.dumps(line["body"])))
                response = {"status_code": 200, "request_id": f"req_{number}", "body": body}
                good.append({**known, "response": response, "error": None})
        if status == "expired" and not left:
            status = "completed"
        counts = {"total": len(batch.lines), "completed": len(good), "failed": len(bad)}
        batch.shown |= {"status": status, f"{status}_at": _CREATED + batch.polls, "request_counts": counts}
        for name, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                content = "".join(json.dumps(line) + "\n" for line in lines).encode()
                batch.shown[name] = self._keep(f"{name[:-8]}.jsonl", "batch_output", content)["id"]


def _multipart(head: bytes, body: bytes) -> dict[str, tuple[str | None, bytes]]:
    """Return [file name, content] of each part of a form, by its name."""
    boundary = _BOUNDARY.search(head)
    if boundary is None:
        raise ValueError("the body is no form")
    found = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.group(1))[1:-1]:
        about, _, content = part.partition(b"\r\n\r\n")
        name, filename = _NAME.search(about), _FILENAME.search(about)
        if name is not None:
            found[name.group(1).decode()] = (filename.group(1).decode() if filename else None, content)
    return found


def _wrong(status: int, message: str) -> Answer:
    return status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
