"""What the test endpoint answers: contents made from the request, so that a reply names the request it belongs to."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable, Mapping
from hashlib import blake2b, shake_256
from itertools import product
from math import sqrt
from typing import Any

_SHAPE = re.compile(r'^\{"(\w+)": \[(\{.*\})\]\}$', re.MULTILINE)
_TYPES = {bool: "boolean", int: "integer", float: "number"}
_COUNT = re.compile(r"Write (\d+) new text")


def _words(text: str) -> list[str]:
    return text.split()


_NOUNS = _words(
    "parcel driver refund order invoice ticket branch clerk voucher account password package courier warehouse receipt "
    "discount subscription delivery address jacket kettle printer charger mattress catalogue complaint manager website "
    "counter bicycle lantern keyboard"
)
_ADJECTIVES = _words(
    "late small green broken quiet heavy missing second friendly careless early faulty splendid ordinary wrong patient"
)
_VERBS = _words(
    "reached ignored replaced confirmed delayed mentioned damaged returned praised cancelled forgot repaired followed "
    "blocked charged described"
)
_ADVERBS = _words("again today quickly twice finally somehow gladly yesterday")
_LEADS = ("", "Honestly, ", "This time ", "As promised, ", "On Monday ", "To be fair, ", "Once more, ", "I think ")
# Products of words: a sentence takes few look-ups, and there are 2**40 of the shortest, so that two hardly ever meet.
_SUBJECTS = [" ".join(words) for words in product(("the", "my", "this", "their"), _ADJECTIVES, _NOUNS)]
_ACTIONS = [" ".join(words) for words in product(_VERBS, ("the", "our", "every", "that"), _ADJECTIVES, _NOUNS)]
_PLACES = [" ".join(words) for words in product(("near", "after", "without", "before"), ("the", "every"), _NOUNS)]

_ATTRIBUTES = (
    ("topic", "orders, refunds and deliveries of a shop"),
    ("tone", "calm to annoyed, rarely grateful"),
    ("length", "6 to 20 words"),
    ("structure", "one plain sentence, the complaint first"),
    ("register", "everyday, no slang"),
    ("quirks", "few capitals, one full stop, no emoji"),
)

#: What a reply with a broken content holds, in turn; "cut" is what a full reply begins with.
BROKEN = ("cut", "prose", "shape")


def request_key(body: Mapping[str, Any]) -> str:
    """Return the name of a request: a hash of its model, messages and seed. Retries in another format are the same."""
    parts = [str(body.get("model")), str(body.get("seed"))]
    for message in body.get("messages") or ():
        content = message.get("content")
        parts += (str(message.get("role")), content if isinstance(content, str) else json.dumps(content))
    return blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def uniform(seed: int, what: str, number: int) -> float:
    """Return a number in [0, 1) that is the same for the same arguments."""
    return int.from_bytes(blake2b(f"{seed}/{what}/{number}".encode(), digest_size=8).digest(), "little") / 2**64


def sentence(name: str, number: int) -> str:
    """Return a text of 11 to 20 words that belongs to a request and a place in its reply."""
    bits = int.from_bytes(blake2b(f"{name}/{number}".encode(), digest_size=9).digest(), "little")
    words = [_SUBJECTS[bits & 2047], _ACTIONS[bits >> 11 & 32767], _ADVERBS[bits >> 26 & 7]]
    words += [_PLACES[bits >> shift & 255] for shift in (32, 40, 48)[: 1 + (bits >> 56 & 255) % 3]]
    text = _LEADS[bits >> 64 & 7] + " ".join(words)
    return f"{text[0].upper()}{text[1:]}."


def content_for(body: Mapping[str, Any], key: str) -> str:
    """Return a good content for a chat request that is named `key`.

    The list that is asked for, and the fields of its items, are those of the request's schema or, without one, of the
    line in the system prompt that shows the shape of the answer.
    """
    system, prompt = (_said(body, role) for role in ("system", "user"))
    form = body.get("response_format") or {}
    schema = (form.get("json_schema") or {}).get("schema")
    if schema is None:
        schema = _shown(system)
        if schema is None and "records" not in system + prompt:
            return "ok"
    properties = (schema or {"properties": {"records": {}}}).get("properties") or {}
    name = next(iter(properties), None)
    make = _LISTS.get(str(name))
    if make is None:
        return json.dumps(plausible({"type": "object"} | (schema or {}), key))
    items = ((properties[name] or {}).get("items") or {}).get("properties") or {}
    return json.dumps({name: make(items, prompt, key)})


def broken(content: str, kind: str) -> str:
    """Return a content that cannot be read as what was asked for."""
    if kind == "cut":
        return content[: max(1, len(content) * 2 // 3)]
    if kind == "prose":
        return "I am sorry, but I would rather talk about something else. " + " ".join(_NOUNS[:12])
    return json.dumps({"outcome": {"items": [len(content)], "note": "of another shape"}})


def completion(key: str, model: Any, content: str | None, prompt_tokens: int, finish: str = "stop") -> dict[str, Any]:
    """Return a chat completion; tokens are a quarter of the letters."""
    spent = len(content or "") // 4
    message = {"role": "assistant", "content": content, "refusal": None}
    return {
        "id": f"chatcmpl-{key}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": spent, "total_tokens": prompt_tokens + spent},
    }


def embeddings(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return unit vectors made from a hash of each text, 16 numbers each unless the request says how many."""
    given = body["input"]
    texts = given if isinstance(given, list) else [given]
    size = int(body.get("dimensions") or 16)
    as_text = body.get("encoding_format") == "base64"
    rows = []
    for index, text in enumerate(texts):
        vector = _unit(str(text), size)
        value = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if as_text else vector
        rows.append({"object": "embedding", "index": index, "embedding": value})
    tokens = sum(len(str(text)) for text in texts) // 4
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": rows, "model": body.get("model"), "usage": usage}


def plausible(schema: Mapping[str, Any], name: str) -> Any:
    """Return a value that fits a JSON schema of the kind that strict structured output takes."""
    if schema.get("enum"):
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("anyOf"):
        return plausible(schema["anyOf"][0], name)
    kind = schema.get("type")
    if kind == "object":
        return {field: plausible(part, f"{name}/{field}") for field, part in (schema.get("properties") or {}).items()}
    if kind == "string":
        return sentence(name, 0)
    return {"array": [], "integer": 1, "number": 1.0, "boolean": True}.get(str(kind))


def _said(body: Mapping[str, Any], role: str) -> str:
    """Return the texts of one role; a request may send a text as a list of parts."""
    found = []
    for message in body.get("messages") or ():
        if message.get("role") == role:
            content = message.get("content")
            found.append(content if isinstance(content, str) else json.dumps(content))
    return "\n".join(found)


def _shown(system: str) -> dict[str, Any] | None:
    """Return a schema for the shape that a system prompt shows, if it shows one."""
    for match in _SHAPE.finditer(system):
        try:
            item = json.loads(match.group(2))
        except ValueError:
            continue
        fields = {field: {"type": _TYPES.get(type(value), "string")} for field, value in item.items()}
        return {"properties": {match.group(1): {"items": {"properties": fields}}}}
    return None


def _records(items: Mapping[str, Any], prompt: str, key: str) -> list[dict[str, Any]]:
    counts = _COUNT.findall(prompt)
    count = int(counts[-1]) if counts else 10
    fixed = {"label": _label(items["label"], prompt)} if "label" in items else {}
    texts = ({"text": sentence(key, number)} | fixed for number in range(count))
    return [record | _others(items, record, f"{key}/{number}") for number, record in enumerate(texts)]


def _label(schema: Mapping[str, Any], prompt: str) -> Any:
    """Return the label that the prompt asks for, else the first that the schema or the prompt allows."""
    allowed, lines = schema.get("enum"), _lines(prompt)
    named = [value for line in lines if {"label", "name"} <= line.keys() for value in (line["label"], line["name"])]
    named += [line["meaning"] for line in lines if {"meaning", "name"} <= line.keys()]
    return next((value for value in named if not allowed or value in allowed), allowed[0] if allowed else "")


def _attributes(items: Mapping[str, Any], prompt: str, key: str) -> list[dict[str, Any]]:
    asked = [line for line in _lines(prompt) if {"name", "kind"} <= line.keys()]
    asked = asked or [{"name": name, "kind": "text", "value": value} for name, value in _ATTRIBUTES]
    found = []
    for number, line in enumerate(asked):
        stated = {"name": line["name"], "kind": line["kind"], "value": line.get("value") or _value(line, key, number)}
        known = {field: value for field, value in stated.items() if field in items or field != "kind"}
        found.append(known | _others(items, known, key))
    return found


def _annotations(items: Mapping[str, Any], prompt: str, key: str) -> list[dict[str, Any]]:
    lines = _lines(prompt)
    asked = [line for line in lines if {"name", "kind"} <= line.keys()]
    found = []
    for line in lines:
        about = {field: line[field] for field in ("number", "id", "index") if field in line and field in items}
        for number, attribute in enumerate(asked if about else ()):
            known = about | {"name": attribute["name"], "value": _value(attribute, f"{key}/{about}", number)}
            found.append(known | _others(items, known, key))
    return found


def _verdicts(items: Mapping[str, Any], prompt: str, key: str) -> list[dict[str, Any]]:
    """Return a good verdict on each numbered line of the prompt."""
    fixed = {"label": _label(items["label"], prompt)} if "label" in items else {}
    found = []
    for line in _lines(prompt):
        about = {field: line[field] for field in ("number", "id", "index") if field in line and field in items}
        if about:
            found.append(about | fixed | _others(items, about | fixed, f"{key}/{about}"))
    return found


def _value(attribute: Mapping[str, Any], name: str, number: int) -> str:
    kind = attribute["kind"]
    if kind == "category":
        return str((attribute.get("values") or _ADJECTIVES)[0])
    return str(6 + number) if kind == "number" else sentence(name, number)


def _others(items: Mapping[str, Any], known: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {field: plausible(part, f"{name}/{field}") for field, part in items.items() if field not in known}


_LISTS: dict[str, Callable[[Mapping[str, Any], str, str], list[dict[str, Any]]]] = {
    "records": _records,
    "attributes": _attributes,
    "annotations": _annotations,
    "verdicts": _verdicts,
    "merges": lambda items, prompt, key: [],
}


def _lines(prompt: str) -> list[dict[str, Any]]:
    """Return the objects that stand on lines of their own."""
    found = []
    for line in prompt.splitlines():
        if line.startswith("{") and line.endswith("}"):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
    return found


def _unit(text: str, size: int) -> list[float]:
    drawn = struct.unpack(f"<{size}i", shake_256(text.encode("utf-8", "surrogatepass")).digest(4 * size))
    length = sqrt(sum(value * value for value in drawn)) or 1.0
    return [value / length for value in drawn]
