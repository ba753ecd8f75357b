"""How many tokens texts have, roughly: no two models count alike, and no tokenizer is fetched to find out.

Without better knowledge a text is counted by its script, as the byte-pair tokenizers of common models cut it: English
prose about 4.2 characters a token, JSON 3.5, other scripts as in the table below (for models that know them well; older
ones take up to twice as many). Once a model has answered enough requests its own counts are used instead.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from synalign.ids import canonical_json
from synalign.llm.transport.chat import ChatRequest

#: Calls of a model with counts that its own ratio needs; and calls with one prompt, for what is said of that prompt.
ENOUGH, ENOUGH_OF_PROMPT = 20, 5

#: How far an estimate may be off, as a share: by script, and by the model's own counts.
GUESSED, CALIBRATED = 0.3, 0.1

# Tokens that the protocol puts around a message.
_PER_MESSAGE = 4

# A word of Latin letters is one token up to so many letters; more of them make more tokens.
_SHORT, _MORE = 5, 5.0

# Runs of one kind: ASCII letters; digits; white space other than the one blank before a word; ASCII punctuation.
_RUNS = re.compile(r"(?P<word>[A-Za-z]+)|(?P<digits>[0-9]+)|(?P<space>\s+)|(?P<marks>[!-/:-@\[-`{-~]+)|(?P<other>.)")

# Tokens of one character: the last code point of a range and what its characters take.
_SCRIPTS: tuple[tuple[int, float], ...] = (
    (0x7F, 1.0),  # control characters
    (0x024F, 0.7),  # Latin with diacritics, which splits the word around it
    (0x036F, 0.8),  # phonetic letters, combining marks
    (0x03FF, 0.5),  # Greek
    (0x052F, 0.4),  # Cyrillic
    (0x058F, 0.7),  # Armenian
    (0x06FF, 0.5),  # Hebrew, Arabic
    (0x0DFF, 0.7),  # Syriac to Sinhala: the scripts of India
    (0x0EFF, 0.8),  # Thai, Lao
    (0x109F, 1.0),  # Tibetan, Burmese
    (0x10FF, 0.8),  # Georgian
    (0x11FF, 1.0),  # Hangul, letter by letter
    (0x1DFF, 1.2),  # Ethiopic, Khmer and others
    (0x1FFF, 0.9),  # Latin and Greek, extended
    (0x206F, 0.8),  # typographic quotes and dashes
    (0x2FFF, 1.5),  # symbols
    (0x30FF, 1.1),  # Japanese syllables and punctuation
    (0x33FF, 1.3),
    (0x9FFF, 1.3),  # Han
    (0xABFF, 1.3),
    (0xD7FF, 1.1),  # Hangul
    (0xFAFF, 1.6),
    (0xFFFF, 1.5),  # forms for compatibility, U+FFFD
    (0x10FFFF, 2.5),  # emoji, and rare Han
)


def estimated_tokens(text: str) -> float:
    """Return about how many tokens a text has, by script; never more than it has bytes in UTF-8."""
    total = 0.0
    for run in _RUNS.finditer(text):
        kind, size = run.lastgroup, run.end() - run.start()
        if kind == "word":
            total += 1 + max(0, size - _SHORT) / _MORE
        elif kind == "digits":
            total += -(-size // 3)
        elif kind == "space":  # one blank belongs to the word after it
            total += 0.0 if run[0] == " " else 1 + (size - 1) / 8
        elif kind == "marks":
            total += -(-size // 2)  # quotation mark and colon, bracket and quotation mark, go together
        else:
            total += _of_character(ord(run[0]))
    return total


@lru_cache(maxsize=4096)
def _of_character(code: int) -> float:
    return next(tokens for last, tokens in _SCRIPTS if code <= last)


def prompt_bytes(request: ChatRequest) -> int:
    """Return the bytes of a request's messages."""
    return sum(len(message["content"].encode()) for message in request.messages)


def prompt_tokens(request: ChatRequest) -> float:
    """Return about how many tokens a request has, its schema included, which most servers count."""
    messages = request.messages
    parts = [_kept_tokens(messages[0]["content"]), *(estimated_tokens(part["content"]) for part in messages[1:])]
    return sum(parts) + _PER_MESSAGE * len(messages) + _kept_tokens(canonical_json(dict(request.schema)))


@lru_cache(maxsize=64)
def _kept_tokens(text: str) -> float:
    """Return the tokens of a text that many requests have in common."""
    return estimated_tokens(text)


@dataclass(frozen=True)
class Counted:
    """One answered request with the counts of its model.

    `prompt`: which prompt it was, such as the hash of its template. `size`: bytes of its messages. `items`: of how many
    like parts the reply consists, 0 where it has none. `repair`: it asks for an answer again.
    """

    prompt: str
    size: int
    prompt_tokens: int
    reply_tokens: int
    items: int = 0
    repair: bool = False


@dataclass(frozen=True)
class Measured:
    """What a model's own counts say, by prompt. Requests that ask for an answer again count as `repairs` alone.

    `ratio`: prompt tokens a byte over all prompts, and `ratios` those of prompts with enough calls. `replies`: mean
    tokens of a reply; `items`: mean tokens of one part of it. `repairs`: their number as a share of the calls.
    """

    calls: int
    ratio: float
    ratios: Mapping[str, float]
    replies: Mapping[str, float]
    items: Mapping[str, float]
    repairs: float

    def reply(self, prompt: str, items: float) -> float | None:
        """Return the tokens that a reply of so many parts has, 0 for one without parts; None if that is not known."""
        if items and prompt in self.items:
            return items * self.items[prompt]
        return self.replies.get(prompt)


def measured(rows: Iterable[Counted]) -> Measured | None:
    """Return what the counts of one model say, or None if there are fewer than ENOUGH."""
    found: defaultdict[str, list[Counted]] = defaultdict(list)
    repairs = 0
    for row in rows:
        repairs += row.repair
        if not row.repair and row.size and row.prompt_tokens:
            found[row.prompt].append(row)
    every = [row for part in found.values() for row in part]
    if len(every) < ENOUGH:
        return None
    known = {prompt: part for prompt, part in found.items() if len(part) >= ENOUGH_OF_PROMPT}
    parts = {prompt: sum(row.items for row in part) for prompt, part in known.items()}
    return Measured(
        calls=len(every),
        ratio=_ratio(every),
        ratios={prompt: _ratio(part) for prompt, part in known.items()},
        replies={prompt: sum(row.reply_tokens for row in part) / len(part) for prompt, part in known.items()},
        items={
            prompt: sum(row.reply_tokens for row in part) / parts[prompt]
            for prompt, part in known.items()
            if parts[prompt]
        },
        repairs=repairs / len(every),
    )


def _ratio(rows: Sequence[Counted]) -> float:
    return sum(row.prompt_tokens for row in rows) / sum(row.size for row in rows)
