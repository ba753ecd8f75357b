"""What a server that a test runs is asked by the steps, and what it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

from tests.llm.endpoint_replies import sentence
from tests.llm.server import Answer, Server, chat

Body = dict[str, Any]
Behave = Callable[[Body, int], Answer]
Serve = Callable[[Behave], Server]


def kind(body: Body) -> str:
    """Return what is asked for: attributes, merges, records, annotations or verdicts."""
    return next(iter(body["response_format"]["json_schema"]["schema"]["properties"]))


def user(body: Body) -> str:
    """Return the prompt, whatever turns follow."""
    return body["messages"][1]["content"]


def lines(body: Body, section: str) -> list[str]:
    """Return the lines of a section of the prompt, as they stand there."""
    found = re.search(rf"^<{section}>\n(.*?)^</{section}>$", user(body), re.MULTILINE | re.DOTALL)
    return found[1].splitlines() if found else []


def data(body: Body, section: str) -> list[dict[str, Any]]:
    """Return the data in a section of the prompt."""
    return [json.loads(line) for line in lines(body, section)]


def wanted(body: Body) -> int:
    """Return how many records are asked for."""
    found = re.search(r"^Write (\d+) new text", user(body), re.MULTILINE)
    assert found
    return int(found[1])


def label_of(body: Body) -> str | None:
    """Return the meaning of the label to write for."""
    found = data(body, "label")
    return found[0]["label"] if found else None


def asks(server: Server) -> dict[str, int]:
    """Return how many requests of each kind have come."""
    found: dict[str, int] = {}
    for body in server.bodies:
        found[kind(body)] = found.get(kind(body), 0) + 1
    return found


def of_kind(server: Server, name: str) -> list[Body]:
    """Return the requests of one kind, in order."""
    return [body for body in server.bodies if kind(body) == name]


def answer(**fields: Any) -> Answer:
    """Return a reply that is a JSON object."""
    return chat(json.dumps(fields))


def attributes(given: Mapping[str, str] | Iterable[tuple[str, str]], kinds: Mapping[str, str] | None = None) -> Answer:
    """Return an answer of stage 1; a kind that is not given is "text"."""
    pairs = given.items() if isinstance(given, Mapping) else given
    known = kinds or {}
    return answer(attributes=[{"name": name, "kind": known.get(name, "text"), "value": value} for name, value in pairs])


def records(*texts: str, label: str | None = None) -> Answer:
    """Return an answer of stage 2."""
    stated = {} if label is None else {"label": label}
    return answer(records=[{"text": text, **stated} for text in texts])


def written(body: Body, count: int | None = None) -> list[str]:
    """Return texts that belong to this request alone, as many as are asked for."""
    name = sha256(json.dumps([user(body), body.get("seed")]).encode()).hexdigest()
    return [sentence(name, number) for number in range(wanted(body) if count is None else count)]


def good(body: Body, number: int = 0) -> Answer:
    """Answer every prompt well; records are new texts of the label that is asked for."""
    asked = kind(body)
    if asked == "attributes":
        return attributes({"tone": "plain"})
    if asked == "merges":
        return answer(merges=[])
    if asked == "verdicts":
        numbers = [item["number"] for item in data(body, "records")]
        return answer(verdicts=[{"number": n, "label": "", "real": True, "why": ""} for n in numbers])
    if asked == "annotations":
        numbers = [item["number"] for item in data(body, "records")]
        names = [item["name"] for item in data(body, "attributes")]
        return answer(annotations=[{"number": n, "name": name, "value": "plain"} for n in numbers for name in names])
    return records(*written(body), label=label_of(body))
