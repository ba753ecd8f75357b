"""The embedded default model: it needs no key and no network, and is not for training data.

It sees what any model sees, the prompt and the schema, and answers from the demonstrations in the prompt alone: stage
1 with figures computed from them, stage 2 with texts of a word model of order 2. It proves the path, and knows no
language.
"""

from __future__ import annotations

import json
import random
import statistics
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from synalign.errors import ModelRefusedError
from synalign.llm.acceptance import Sources, normalise
from synalign.llm.chat import ChatReply, ChatRequest

# Tries for each record that is wanted, for each way of writing one.
_TRIES = 20
# Texts that a model of order 2 needs before it says anything new.
_MIN_FOR_ORDER_2 = 3
_END = ""
# Mean characters between spaces above which a script is taken for one that has no spaces between words.
_LONG_WORD = 7

Tokens = list[str]


class NgramModel:
    """A chat model that recombines the words of the demonstrations; the same request always has the same answer."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request.

        Raises:
            ModelRefusedError: if the prompt shows no demonstrations, or the schema is of neither stage.
        """
        started = time.perf_counter()
        texts = demonstrations(request.user)
        if not texts:
            raise ModelRefusedError(
                "builtin/ngram writes from demonstrations and found none in the prompt: it needs lines that are JSON "
                'objects with a "text", as the shipped prompts have. Use a language model with this prompt.'
            )
        properties = request.schema.get("properties", {})
        if "attributes" in properties:
            answer: object = {"attributes": describe(texts)}
        elif "records" in properties:
            count = 1 if request.count is None else request.count
            seed = int(request.call_id, 16)
            answer = {"records": [{"text": text} for text in write(texts, count, seed)]}
        else:
            raise ModelRefusedError(
                f"builtin/ngram answers the schemas of 'attributes' and 'records', not {request.schema_name!r}. Use a "
                f"language model with this schema."
            )
        text = json.dumps(answer, ensure_ascii=False)
        latency = time.perf_counter() - started
        return ChatReply(request.call_id, text, "stop", None, None, attempts=1, latency=latency, mode="json_schema")

    async def close(self) -> None:
        """Do nothing: there is no connection."""


def demonstrations(user: str) -> list[str]:
    """Return the texts of a prompt's demonstrations: of those with the label to write for, if there are two or more."""
    shown: list[tuple[str, object]] = []
    wanted: object = None
    for line in map(str.strip, user.splitlines()):
        if not line.startswith("{"):
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry.get("text"), str):
            shown.append((entry["text"], entry.get("label")))
        elif "label" in entry:
            wanted = entry["label"]
    fitting = [text for text, label in shown if label == wanted]
    texts = fitting if wanted is not None and len(fitting) >= 2 else [text for text, _ in shown]
    return [text for text in texts if text.strip()]


def describe(texts: Sequence[str]) -> list[dict[str, str]]:
    """Return attributes of the texts that can be counted, as name and value."""
    split, joiner = tokeniser(texts)
    unit = "words" if joiner else "characters"
    tokens = [split(text) for text in texts]
    lengths = sorted(len(text) for text in tokens)
    words = [word.strip(".,;:!?\"'()[]").casefold() for text in tokens for word in text]
    content = Counter(word for word in words if len(word) > (3 if joiner else 0) and any(map(str.isalnum, word)))
    frequent = [word for word, _ in sorted(content.items(), key=lambda item: (-item[1], -len(item[0]), item[0]))[:8]]
    openings = Counter(text[0] for text in tokens)
    endings = Counter("no full stop" if text.rstrip()[-1].isalnum() else f"'{text.rstrip()[-1]}'" for text in texts)
    return [
        {"name": "length", "value": f"{statistics.median(lengths):g} {unit} ({lengths[0]} to {lengths[-1]})"},
        {"name": "vocabulary", "value": ", ".join(frequent) or "none that stands out"},
        {"name": "typical first word", "value": _most(openings)},
        {"name": "typical ending", "value": _most(endings)},
        {"name": "exclamation marks", "value": _share(texts, lambda text: "!" in text or "！" in text)},
        {"name": "questions", "value": _share(texts, lambda text: "?" in text or "？" in text)},
        {"name": "digits", "value": _share(texts, lambda text: any(map(str.isdigit, text)))},
        {"name": "emoji", "value": _share(texts, lambda text: any(unicodedata.category(c) == "So" for c in text))},
        {"name": "all lower case", "value": _share(texts, str.islower)},
        {"name": "more than one line", "value": _share(texts, lambda text: "\n" in text.strip())},
    ]


def _share(texts: Sequence[str], has: Callable[[str], bool]) -> str:
    return f"in {sum(map(has, texts))} of {len(texts)} texts"


def _most(counts: Counter[str]) -> str:
    value, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return f"{value} (in {count} of {counts.total()} texts)"


def write(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """Return up to `count` distinct texts made of the words of `texts`, none a copy or near copy of one of them.

    A word model of order 2 comes first, then one of order 1, then the head of one text with the tail of another, then
    parts of texts. Fewer than `count` are returned where that gives no more.
    """
    draw = random.Random(seed)
    split, joiner = tokeniser(texts)
    tokens = [split(text) for text in texts]
    orders = (2, 1) if len(tokens) >= _MIN_FOR_ORDER_2 else (1,)
    sources, seen, found = Sources(texts), set[str](), list[str]()
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


def tokeniser(texts: Sequence[str]) -> tuple[Callable[[str], Tokens], str]:
    """Return how to split the texts, and what joins tokens again: words, or characters in scripts without spaces."""
    words = [word for text in texts for word in text.split()]
    letters = [char for word in words for char in word if char.isalpha()]
    caseless = sum(unicodedata.category(char) == "Lo" for char in letters)  # Arabic, Hindi and Korean too: with spaces
    unbroken = len(words) == len(texts) or sum(map(len, words)) > _LONG_WORD * len(words)
    return (_characters, "") if 2 * caseless > len(letters) and unbroken else (str.split, " ")


def _characters(text: str) -> Tokens:
    """Split into characters, each with the marks and joiners that belong to it."""
    tokens: Tokens = []
    for char in " ".join(text.split()):
        mark = unicodedata.category(char) in ("Mn", "Mc", "Me") or char in "\u200d\ufe0f"
        if tokens and (mark or tokens[-1].endswith("\u200d")):
            tokens[-1] += char
        else:
            tokens.append(char)
    return tokens
