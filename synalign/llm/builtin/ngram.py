"""The embedded default model: it needs no key and no network, and is not for training data.

It sees what any model sees, the prompt and the schema, and answers from what is in the prompt alone: with texts of a
word model of order 2 made of the demonstrations, and with attributes that can be counted. It proves the path, knows no
language and judges nothing.
"""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from synalign.errors import ModelRefusedError
from synalign.llm.builtin import prompt_features
from synalign.llm.builtin.prompt_features import PromptObject, Tokens, tokeniser
from synalign.llm.transport.chat import ChatReply, ChatRequest
from synalign.llm.validation.acceptance import Sources, normalise

# Tries for each record that is wanted, for each way of writing one.
_TRIES = 20
# Texts that a model of order 2 needs before it says anything new.
_MIN_FOR_ORDER_2 = 3
_END = ""
_KNOWN = ("attributes", "records", "merges", "annotations", "verdicts")


class NgramModel:
    """A chat model that recombines the words of the demonstrations; the same request always has the same answer."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request.

        Raises:
            ModelRefusedError: if the prompt shows no demonstrations where they are needed, or the schema is none of
                SynAlign's.
        """
        started = time.perf_counter()
        text = json.dumps(_answer(request), ensure_ascii=False)
        latency = time.perf_counter() - started
        return ChatReply(request.call_id, text, "stop", None, None, attempts=1, latency=latency, mode="json_schema")

    async def close(self) -> None:
        """Do nothing: there is no connection."""


def _answer(request: ChatRequest) -> dict[str, Any]:
    properties = request.schema.get("properties", {})
    name = next((name for name in _KNOWN if name in properties), None)
    parts = prompt_features.sections(request.user)
    if name == "merges":
        return {name: prompt_features.merges(parts.get("attributes", ()))}
    if name == "annotations":
        return {name: _annotations(_records(parts), _attributes(parts))}
    if name == "verdicts":
        verdict = {"label": prompt_features.asked_label(parts) or "", "real": True, "why": "not judged"}
        return {name: [{"number": entry["number"]} | verdict for entry in _records(parts)]}
    if name is None:
        raise ModelRefusedError(
            f"builtin/ngram answers schemas of {', '.join(_KNOWN)}, not {request.schema_name!r}. Use a language model "
            "with this schema."
        )
    texts = prompt_features.demonstrations(request.user)
    if not texts:
        raise ModelRefusedError(
            "builtin/ngram writes from demonstrations and found none in the prompt: it needs lines that are JSON "
            'objects with a "text", as the shipped prompts have. Use a language model with this prompt.'
        )
    if name == "attributes":
        stated = [
            {"name": attribute, "kind": kind, "value": prompt_features.state(attribute, kind, values, texts)}
            for attribute, kind, values in _attributes(parts)
        ]
        return {name: stated or prompt_features.describe(texts)}
    count = 1 if request.count is None else request.count
    made = write_texts(texts, count, int(request.call_id, 16), prompt_features.texts_of(parts.get("written", ())))
    stated_label = _label(properties[name], prompt_features.asked_label(parts))
    return {name: [{"text": text} | stated_label for text in made]}


def _label(schema: Any, asked: str | None) -> dict[str, str]:
    """Return the label that each record states: the one asked for, if the schema has one."""
    item = schema.get("items", {}).get("properties", {}).get("label")
    if item is None:
        return {}
    return {"label": next(iter(item.get("enum", [])), "") if asked is None else asked}


def _records(parts: dict[str, list[PromptObject]]) -> list[PromptObject]:
    """Return the numbered records of a prompt."""
    return [entry for entry in parts.get("records", ()) if isinstance(entry.get("number"), int)]


def _attributes(parts: dict[str, list[PromptObject]]) -> list[tuple[str, str, list[str]]]:
    """Return name, kind and values of the attributes that a prompt asks for."""
    found = []
    for entry in parts.get("attributes", ()):
        if isinstance(entry.get("name"), str):
            values = entry.get("values")
            listed = list(map(str, values)) if isinstance(values, list) else []
            found.append((entry["name"], str(entry.get("kind", "text")), listed))
    return found


def _annotations(
    records: Sequence[PromptObject], attributes: Sequence[tuple[str, str, list[str]]]
) -> list[dict[str, Any]]:
    return [
        {"number": entry["number"], "name": name, "value": prompt_features.state(name, kind, values, [text], "other")}
        for entry in records
        for text in prompt_features.texts_of([entry])
        for name, kind, values in attributes
    ]


def write_texts(texts: Sequence[str], count: int, seed: int, written: Iterable[str] = ()) -> list[str]:
    """Return up to `count` distinct texts made of the words of `texts`, none a copy or near copy of one of them.

    None of them is among `written`, the texts of an earlier answer.

    A word model of order 2 comes first, then one of order 1, then the head of one text with the tail of another, then
    parts of texts. Fewer than `count` are returned where that gives no more.
    """
    draw = random.Random(seed)
    split, joiner = tokeniser(texts)
    tokens = [split(text) for text in texts]
    orders = (2, 1) if len(tokens) >= _MIN_FOR_ORDER_2 else (1,)
    sources, seen, found = Sources(texts), set(map(normalise, written)), list[str]()
    for way in [*(_chains(tokens, order, draw) for order in orders), _crossings(tokens, draw), _parts(tokens, draw)]:
        for _ in range(_TRIES * count):
            if len(found) >= count:
                return found
            text = joiner.join(next(way))
            key = normalise(text)
            if key and key not in seen and sources.copied(text) is None:
                seen.add(key)
                found.append(text)
    return found


def _chains(texts: Sequence[Tokens], order: int, draw: random.Random) -> Iterator[Tokens]:
    """Yield texts in which each run of order + 1 tokens stands in some text, for ever."""
    following: defaultdict[tuple[str, ...], Tokens] = defaultdict(list)
    for text in texts:
        padded = [_END] * order + text + [_END]
        for end in range(order, len(padded)):
            following[tuple(padded[end - order : end])].append(padded[end])
    longest = 2 * max(map(len, texts))
    while True:
        made = [_END] * order
        while len(made) < longest + order:
            token = draw.choice(following[tuple(made[len(made) - order :])])
            if token == _END:
                break
            made.append(token)
        yield made[order:]


def _crossings(texts: Sequence[Tokens], draw: random.Random) -> Iterator[Tokens]:
    """Yield the head of one text joined to the tail of another, for ever."""
    while True:
        head, tail = draw.choice(texts), draw.choice(texts)
        yield head[: draw.randint(1, len(head))] + tail[draw.randrange(len(tail)) :]


def _parts(texts: Sequence[Tokens], draw: random.Random) -> Iterator[Tokens]:
    """Yield runs of tokens from single texts, for ever."""
    while True:
        text = draw.choice(texts)
        start = draw.randrange(len(text))
        yield text[start : draw.randint(start + 1, len(text))]
