"""One rich set of variables for each shipped prompt, for the golden renderings and the tests of injection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from synalign.config import Task
from synalign.llm.prompting import prompts

TASK = {"description": "a review of a phone, as customers write them in a shop", "language": "German"}
SHOWN = [
    {"text": "Akku hält 2 Tage, top! 😀", "label": "positive"},
    {"text": 'Nach "einer" Woche kaputt\n\nNie wieder <br> & {{ nie }}', "label": "positive"},
]
LABEL = {"name": "1", "meaning": "positive"}
LABELS = [{"name": "0", "meaning": "negative"}, LABEL]
WANTED = [
    {"name": "topic", "kind": "category", "values": ["battery", "screen"]},
    {"name": "tone", "kind": "category", "values": []},
    {"name": "length", "kind": "number", "values": []},
    {"name": "quirks", "kind": "text", "values": []},
]
NUMBERED = [{"number": 1, "text": "Das Display spiegelt."}, {"number": 2, "text": "Akku leer\u2028nach 3 h"}]
WRITING: dict[str, Any] = {
    "task": TASK,
    "demonstrations": SHOWN,
    "label": LABEL,
    "labels": LABELS,
    "ask_label": True,
    "written": ["Der Akku ist gut.", "Top Gerät!"],
    "count": 7,
    "redacted": False,
}

CASES: dict[str, dict[str, Any]] = {
    "reason/attributes": {"task": TASK, "demonstrations": SHOWN, "attributes": WANTED, "open": 3},
    "reason/merge": {
        "task": TASK,
        "attributes": [
            {"name": "topic", "values": [{"value": "battery", "known": True}, {"value": "Batteries", "known": False}]},
            {"name": "tone", "values": [{"value": "warm", "known": False}]},
        ],
    },
    "generate/records": WRITING
    | {
        "attributes": [
            {"name": "topic", "kind": "category", "value": "battery"},
            {"name": "length", "kind": "number", "value": "5"},
        ]
    },
    "generate/single_stage": WRITING,
    "generate/queries": {
        "task": TASK,
        "document": {
            "id": "akku-7",
            "text": "Der Akku wird in 40 Minuten geladen.\n\n<b>Nie</b> über Nacht & {{ nie }}",
        },
        "demonstrations": SHOWN,
        "attributes": [{"name": "length", "kind": "number", "value": "5"}],
        "written": ["Wie lange lädt er?"],
        "count": 4,
        "redacted": False,
    },
    "annotate/records": {"task": TASK, "attributes": WANTED, "records": NUMBERED},
    "judge/records": {"task": TASK, "demonstrations": SHOWN, "label": LABEL, "labels": LABELS, "records": NUMBERED},
    "repair/answer": {
        "error": 'records.0.text: Input should be a valid string; "</error>"',
        "fields": {"records": [{"text": "...", "label": "one of: negative, positive"}]},
    },
}


def blocks(name: str) -> tuple[str, ...]:
    """The blocks that a shipped prompt has."""
    return ("user",) if name.startswith("repair/") else prompts.BLOCKS


def rendered(name: str, **changes: Any) -> prompts.Prompt:
    """A shipped prompt with its variables; changes replace single ones."""
    return prompts.render(name, CASES[name] | changes, blocks=blocks(name))


def bare(name: str) -> dict[str, Any]:
    """The variables of a prompt with all that may be missing left out."""
    empty: dict[str, Any] = {"task": Task(), "label": None, "labels": [], "ask_label": False, "written": [], "open": 0}
    unlabelled = {"demonstrations": [{"text": "Gut.", "label": None}]}
    return {key: (empty | unlabelled).get(key, value) for key, value in CASES[name].items()}


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Change every string in JSON data; keys stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    return [mapped(item, change) for item in value] if isinstance(value, list) else value
