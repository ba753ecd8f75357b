"""Renders prompts as requests and parses replies: shared by reason, generate, annotate and the judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from synalign import ids
from synalign.config import EstimateRequest, Llm, override
from synalign.errors import NotReadyError
from synalign.ids import child_seed
from synalign.llm.models import recording
from synalign.llm.prompting.parsing import ParseFailure, parse
from synalign.llm.prompting.prompts import Prompt, render, template_hash
from synalign.llm.prompting.schemas import json_schema, outline
from synalign.llm.transport.chat import ChatRequest
from synalign.llm.transport.endpoints import resolved_base_url
from synalign.steps.calling.dispatch import send
from synalign.steps.calling.jobs import Job
from synalign.steps.calling.label_descriptions import describe_labels
from synalign.steps.calling.redaction import Redaction
from synalign.steps.core.context import Context
from synalign.steps.core.reading import records
from synalign.store.lake.journal import Plan, Run
from synalign.store.lake.lake import quote
from synalign.store.lake.schemas import REAL

M = TypeVar("M", bound=BaseModel)

#: What `generate` says of its embedded default.
NGRAM_NOTE = (
    "the model is builtin/ngram, which recombines the demonstrations to prove the path: its text is not for training. "
    "Set llm.model (and llm.base_url) to use a language model"
)

#: The folder of a workspace whose prompts come before those that are shipped.
PROMPTS = "prompts"

_REPAIR = "repair/answer"
# Characters of a broken reply that the model is shown again.
_SHOWN = 20_000


def current_selections(context: Context) -> tuple[Run, list[dict[str, Any]]]:
    """Return the current run of select and its rows, in order.

    Raises:
        NotReadyError: if nothing is selected.
    """
    run = context.journal.current("select")
    if run is None:
        raise NotReadyError("There are no selections. Run ws.select() ('synalign select DIR') first.")
    rows = context.lake.read("selections", where=f"run_id = {quote(run.run_id)}").to_pylist()
    return run, sorted(rows, key=lambda row: row["step"])


@dataclass(frozen=True)
class Demonstrations:
    """What the selections show, by selection_id: as it is, and as it is sent, without personal data where asked."""

    texts: Mapping[str, list[str]]
    shown: Mapping[str, list[dict[str, str | None]]]


def demonstrations(context: Context, settings: Llm, selections: Sequence[dict[str, Any]]) -> Demonstrations:
    """Return the texts and label meanings to show for each selection, in the order that was selected."""
    real = records(context, REAL, split="train")
    by_id = {row["id"]: row for row in real.select("id", "text", "label").iter_rows(named=True)}
    redaction = Redaction(context, settings.redact)
    chosen = [by_id[record_id] for row in selections for record_id in row["demonstrations"]]
    task = describe_labels(context, (found["label"] for found in chosen), redaction).task
    texts: dict[str, list[str]] = {}
    shown: dict[str, list[dict[str, str | None]]] = {}
    for row in selections:
        rows = [by_id[record_id] for record_id in row["demonstrations"]]
        texts[row["selection_id"]] = [found["text"] for found in rows]
        shown[row["selection_id"]] = [
            {
                "text": redaction.redact(found["text"]),
                "label": None if found["label"] is None else task.meaning(found["label"]),
            }
            for found in rows
        ]
    redaction.keep()
    return Demonstrations(texts, shown)


def settings_for(context: Context, request: EstimateRequest) -> Llm:
    """Return the settings of one step: as configured but for what is given, with the address that will be used.

    Raises:
        ConfigError: if a value is not allowed, an address that holds a password included.
    """
    settings = override(context.config.llm, request)
    return settings.model_copy(update={"base_url": resolved_base_url(settings.base_url, settings.model)})


@dataclass(frozen=True)
class PromptRunner(Generic[M]):
    """Asks for answers of one pydantic type, with one prompt, for one run."""

    context: Context
    plan: Plan
    settings: Llm
    template: str
    answer: type[M]

    def job(
        self,
        variables: Mapping[str, Any],
        purpose: Sequence[str | int],
        selection_id: str | None = None,
        count: int | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Job:
        """Return the request for one set of the prompt's variables.

        `purpose`, such as step, round and selection, makes the seed: a later round that shows the same records is not
        answered from memory.
        """
        prompt = rendered(self.context, self.template, variables)
        about = {name: value for name, value in variables.items() if name != "task"}
        request = ChatRequest(
            model=self.settings.model,
            base_url=self.settings.base_url,
            system=prompt.system,
            user=prompt.user,
            schema_name=self.plan.step,
            schema=json_schema(self.answer) if schema is None else schema,
            temperature=self.settings.temperature,
            max_tokens=self.settings.max_tokens,
            seed=child_seed(self.context.config.seed, *purpose) % 2**31,
            count=count,
            recording=recording(self.settings.model, self.context.root),
            subject=ids.digest(["subject/1", self.template, about]),
        )
        return Job(request, selection_id, prompt.template_hash)

    def ask(self, jobs: Sequence[Job]) -> Answers[M]:
        """Have all jobs answered. A reply that cannot be read is shown to the model with what is wrong with it, up to
        `llm.repairs` times.

        Raises:
            ModelError: see `synalign.steps.calling.dispatch.send`.
        """
        calls: dict[str, dict[str, Any]] = {}
        refused: list[dict[str, Any]] = []
        answers: dict[str, Answer[M]] = {}
        open_ = {job.request.call_id: job for job in jobs}  # by the call of the job, what is asked for it now
        for _ in range(self.settings.repairs + 1):
            if not open_:
                break
            calls |= send(self.context, self.plan, self.settings, list(open_.values()))
            repairs: dict[str, Job] = {}
            for first, job in open_.items():
                call = calls[job.request.call_id]
                value, problems = self._parsed_reply(call)
                refused += problems
                if isinstance(value, ParseFailure):
                    # A reply that used up its tokens would do so again.
                    repairs |= {first: self._repair(job, value)} if call["finish_reason"] != "length" else {}
                elif value is not None:
                    answers[first] = Answer(job.request.call_id, value)
            open_ = repairs
        answered = [(job, answers[job.request.call_id]) for job in jobs if job.request.call_id in answers]
        return Answers(answered, refused, calls)

    def _repair(self, job: Job, failure: ParseFailure) -> Job:
        fields = outline(job.request.schema)
        said = rendered(self.context, _REPAIR, {"error": failure.detail, "fields": fields}, ("user",))
        turns = (*job.request.turns, ("assistant", failure.raw[:_SHOWN]), ("user", said.user))
        subject = ids.digest(["repair/1", job.request.subject, len(turns)])
        request = replace(job.request, turns=turns, subject=subject)
        return Job(request, job.selection_id, job.template_hash, job.request.call_id)

    def _parsed_reply(self, call: Mapping[str, Any]) -> tuple[M | ParseFailure | None, list[dict[str, Any]]]:
        """Return what a call was answered, None if it was refused, and rows of `rejections` for what is amiss."""
        run_id, call_id = self.plan.run_id, call["call_id"]
        if call["reply"] is None:
            return None, [rejection(run_id, call_id, -1, call["status"], call["error"] or "", "")]
        found = parse(call["reply"], self.answer)
        if isinstance(found, ParseFailure):
            return found, [rejection(run_id, call_id, -1, found.reason, found.detail, found.raw)]
        return found.value, [
            rejection(run_id, call_id, -2 - number, problem.reason, problem.detail, problem.raw)
            for number, problem in enumerate(found.problems)
        ]


@dataclass(frozen=True)
class Answer(Generic[M]):
    """The parsed reply to a job, and the call that gave it: its own, or one that repaired it."""

    call_id: str
    value: M


@dataclass(frozen=True)
class Answers(Generic[M]):
    """The replies to jobs, in their order; rows of `rejections` for what could not be parsed; and rows of `calls`."""

    answered: list[tuple[Job, Answer[M]]]
    refused: list[dict[str, Any]]
    calls: dict[str, dict[str, Any]]


def request_parameters(context: Context, settings: Llm, *templates: str) -> dict[str, Any]:
    """Return the settings that decide what is replied: they are part of the run's name."""
    recorded = recording(settings.model, context.root)
    return ({} if recorded is None else {"recording": recorded}) | {
        "model": settings.model,
        "base_url": settings.base_url,
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "repairs": settings.repairs,
        "redact": list(settings.redact),
        "templates": [hash_of(context, template) for template in templates],
        "task": context.config.task.model_dump(),
    }


def rendered(
    context: Context, template: str, variables: Mapping[str, Any], blocks: tuple[str, ...] = ("system", "user")
) -> Prompt:
    """Render a prompt of the workspace's folder, or of those that are shipped."""
    return render(_name(context, template), variables, context.root / PROMPTS, blocks)


def hash_of(context: Context, template: str) -> str:
    """Return the hash of a prompt's source."""
    return template_hash(_name(context, template), context.root / PROMPTS)


def _name(context: Context, template: str) -> str:
    """Return a prompt's name as `llm.prompts` takes it: paths of a user's own files are relative to the workspace."""
    return str(context.root / Path(template).expanduser()) if template.endswith(".j2") else template


def rejection(run_id: str, call_id: str, index: int, reason: str, detail: str, text: str) -> dict[str, Any]:
    """Return a row of `rejections`; `index` -1 stands for a whole reply, lower ones for parts that were not found."""
    return {
        "run_id": run_id,
        "call_id": call_id,
        "index": index,
        "reason": reason,
        "detail": detail,
        "text": text,
    }
