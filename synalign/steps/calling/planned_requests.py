"""The requests that reason and generate would make, for an estimate of their cost before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from synalign.config import EstimateRequest, GenerateRequest, Llm, Reason
from synalign.llm.prompting.schemas import MergeList
from synalign.llm.prompting.tokens import estimated_tokens
from synalign.llm.transport.chat import ChatRequest
from synalign.steps.calling.jobs import Job
from synalign.steps.calling.prompt_runner import Demonstrations, PromptRunner
from synalign.steps.core.context import Context
from synalign.steps.core.reading import require_real
from synalign.steps.generation import generate as generating
from synalign.steps.generation import reason as reasoning
from synalign.steps.generation.requests import GenerationRequest, document_requests, generation_requests, variables
from synalign.steps.generation.validation import JUDGED
from synalign.steps.generation.vocabulary import AT_ONCE

T = TypeVar("T")

#: Prompts of each kind that are rendered at most, by an even stride, where they are no more than examples. (To render
#: one takes four times as long as to count its tokens, so that of real ones, which have to be rendered to know whether
#: they are answered, all are counted.)
SAMPLE = 256

# Real texts whose length is looked at.
_TEXTS = 500

# Tokens of a reply: around all of it; for an attribute, more if it is free text; around a record; for a merge; for a
# verdict of the judge.
_FRAME, _ATTRIBUTE, _FREE_TEXT, _RECORD, _MERGE, _VERDICT = 10, 20, 25, 12, 25, 30

# What is written without attributes, so that its prompts are known before they are.
_WITHOUT_ATTRIBUTES = ("demonstrations", "document")

# What stands for attributes that are not known yet.
_STAND_INS = {
    "category": "delayed delivery",
    "number": "25",
    "text": "Short declarative sentences with an occasional fragment; most texts open with the problem itself, about "
    "half of them close with a question or a request, and contractions are common throughout.",
}


@dataclass(frozen=True)
class Source:
    """Requests of one kind that a step would make.

    `requests`: all of them, or examples if they are fewer than `calls`. `prompt`: the hash of their template. `reply`:
    tokens of one reply, as far as that can be guessed; of so many `items`, 0 if it is not a list. `done`: the step is
    finished, so nothing is asked.
    """

    step: str
    kind: str
    requests: Sequence[ChatRequest]
    calls: int
    reply: float
    prompt: str = ""
    items: float = 0
    done: bool = False


def sources(context: Context, request: EstimateRequest) -> tuple[Llm, list[Source], list[str]]:
    """Return the settings that would be used, what both steps would ask, and what is assumed of it.

    Raises:
        NotReadyError: if nothing is selected.
        ConfigError: if a setting or a prompt is not valid.
    """
    plan, runner, _, selections = reasoning.planned(context, request)
    done = context.journal.get(plan.run_id) is not None
    section, settings = context.config.reason, runner.settings
    found = [_of_jobs("reason", "attributes", reasoning.requests(runner, selections), _stated(section), done=done)]
    notes: list[str] = []
    if section.merge and not done:
        found += _merging(runner, len(selections))
    current = context.journal.current("reason")
    known = done and current is not None and current.run_id == plan.run_id
    wanted = context.config.generate
    if wanted.per_selection or wanted.recombined or wanted.from_demonstrations or wanted.from_documents:
        more, assumed = _writing(context, settings, known)
        found, notes = found + more, notes + assumed
    return settings, found, notes


def _merging(runner: PromptRunner[Any], selections: int) -> list[Source]:
    """Return the requests that would bring the values into one vocabulary, as if no two selections named the same."""
    section = runner.context.config.reason
    names = [name for name, kind in section.attributes.items() if kind == "category" and name not in section.values]
    values = selections * len(names)
    if values < 2:
        return []
    calls = -(-values // AT_ONCE)
    word = _STAND_INS["category"]
    shown = [{"value": f"{word} {number}", "known": False} for number in range(-(-values // calls))]
    merger = PromptRunner(runner.context, runner.plan, runner.settings, section.merge_prompt, MergeList)
    given = {"task": runner.context.config.task, "attributes": [{"name": "stand-in", "values": shown}]}
    return [_of_jobs("reason", "merge", [merger.job(given, ("estimate",))], _FRAME + _MERGE * len(shown) / 4, calls)]


def _writing(context: Context, settings: Llm, known: bool) -> tuple[list[Source], list[str]]:
    """Return the requests of generate, and what they assume; `known`: the attributes are those that it would use."""
    request = GenerateRequest(model=settings.model, base_url=settings.base_url, batch=settings.batch)
    writing = generating.planned(context, request, reasoned=known)
    done = known and context.journal.get(writing.plan.run_id) is not None
    if known:
        asked = writing.requests()
    else:
        stand_in = {"id": "stand-in", "values": stand_ins(context.config.reason)}
        every = {row["selection_id"]: stand_in for row in writing.selections}
        asked = generation_requests(
            writing.section, writing.selections, every, writing.plan.run_id, context.config.seed
        )
        asked += document_requests(writing.alone, writing.section.from_documents)
    shown = writing.shown(settings)
    text = _mean_tokens(context)
    found = []
    for kind in dict.fromkeys(generation.written_from for generation in asked):
        part = [generation for generation in asked if generation.written_from == kind]
        exact = known or kind in _WITHOUT_ATTRIBUTES
        jobs = [writing.job(generation, shown) for generation in (part if exact else stride(part))]
        count = part[0].count
        reply = _FRAME + count * (text + _RECORD)
        found.append(_of_jobs("generate", kind, jobs, reply, len(part), count, done))
    if writing.judge is not None:
        found.append(_judging(writing, writing.judge, asked, shown, done))
    if known or all(source.kind in _WITHOUT_ATTRIBUTES for source in found):
        return found, []
    return found, ["The attributes are not known yet: stand-ins of typical length are in the prompts of generate."]


def _judging(
    writing: generating.Writing,
    judge: PromptRunner[Any],
    asked: Sequence[GenerationRequest],
    shown: Demonstrations,
    done: bool,
) -> Source:
    """Return the requests of the judge, as if it were shown every record that is asked for, as long as real ones."""
    jobs = []
    for generation in stride(asked):
        given = variables(
            generation, writing.task, writing.labels, shown.shown[generation.selection_id], (), 0, redacted=False
        )
        texts = (shown.texts[generation.selection_id] * JUDGED)[: min(generation.count, JUDGED)]
        records = [{"number": number, "text": text} for number, text in enumerate(texts, start=1)]
        wanted = {name: given[name] for name in ("task", "demonstrations", "label", "labels")}
        jobs.append(judge.job(wanted | {"records": records}, ("estimate",)))
    calls = sum(-(-generation.count // JUDGED) for generation in asked)
    items = sum(generation.count for generation in asked) / calls
    return _of_jobs("generate", "judge", jobs, _FRAME + items * _VERDICT, calls, items, done)


def _of_jobs(
    step: str,
    kind: str,
    jobs: Sequence[Job],
    reply: float,
    calls: int | None = None,
    items: float = 0,
    done: bool = False,
) -> Source:
    calls = len(jobs) if calls is None else calls
    return Source(step, kind, [job.request for job in jobs], calls, reply, jobs[0].template_hash, items, done)


def stand_ins(section: Reason) -> list[dict[str, Any]]:
    """Return attributes as a model might state them, for prompts that are rendered before it did."""
    asked = dict(section.attributes) | {f"further {number}": "text" for number in range(1, section.open + 1)}
    return [
        {"name": name, "kind": kind, "value": next(iter(section.values.get(name, ())), _STAND_INS[kind]), "row": {}}
        for name, kind in asked.items()
    ]


def _stated(section: Reason) -> float:
    """Return the tokens of a reply of reason."""
    kinds = [*section.attributes.values(), *["text"] * section.open]
    return _FRAME + sum(_ATTRIBUTE + (_FREE_TEXT if kind == "text" else 0) for kind in kinds)


def _mean_tokens(context: Context) -> float:
    """Return the mean tokens of a real text."""
    texts = stride(require_real(context)["text"].to_list(), _TEXTS)
    return sum(map(estimated_tokens, texts)) / len(texts)


def stride(values: Sequence[T], most: int = SAMPLE) -> list[T]:
    """Return at most so many of the values, evenly spread."""
    return [values[number * len(values) // most] for number in range(most)] if len(values) > most else list(values)
