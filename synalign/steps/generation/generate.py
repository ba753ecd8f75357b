"""generate: stage 2. The language model writes new records. Records that break a rule are stored apart with the reason,
and others are asked for in their place."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synalign import ids
from synalign.config import Generate, GenerateRequest, Llm, Task, override
from synalign.errors import NotReadyError, UsageError
from synalign.llm.prompting.schemas import RecordBatch, VerdictList, records_schema
from synalign.steps.calling.jobs import Job, fold, require_usable
from synalign.steps.calling.label_descriptions import describe_labels, of_documents
from synalign.steps.calling.prompt_runner import (
    NGRAM_NOTE,
    Demonstrations,
    PromptRunner,
    current_selections,
    demonstrations,
    rejection,
    request_parameters,
    settings_for,
)
from synalign.steps.calling.redaction import Redaction
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import records, require_real
from synalign.steps.core.run_step import Result, run_step
from synalign.steps.corpus.documents import document_ids, sampled_documents
from synalign.steps.generation.requests import (
    GenerationRequest,
    document_requests,
    generation_requests,
    query_variables,
    variables,
)
from synalign.steps.generation.validation import Checker, Reply
from synalign.store.lake.journal import Clock, Plan, Run
from synalign.store.lake.lake import quote
from synalign.store.lake.schemas import REAL, SYNTHETIC


@dataclass(frozen=True)
class Writing:
    """A planned run of generate: its requests, the prompts that they are made with, and what these show.

    task: with the meaning of each label. documents: the texts of those labels that are documents. alone: documents that
    queries are asked for from their text alone.
    """

    context: Context
    plan: Plan
    section: Generate
    runners: Mapping[str, PromptRunner[RecordBatch]]
    judge: PromptRunner[VerdictList] | None
    labels: Sequence[str]
    selections: Sequence[dict[str, Any]]
    reasoned: Run | None
    task: Task
    documents: Mapping[str, str]
    alone: Sequence[str]

    def requests(self) -> list[GenerationRequest]:
        """Return what is asked for at first.

        Raises:
            NotReadyError: if records are to come from attributes, and the model stated none.
        """
        stated = {} if self.reasoned is None else _attributes(self.context, self.reasoned)
        found = generation_requests(self.section, self.selections, stated, self.plan.run_id, self.context.config.seed)
        found += document_requests(self.alone, self.section.from_documents)
        if not found:
            raise NotReadyError(
                "There are no attributes of the current selections: the model stated none. See the relation "
                "rejections, and run ws.reason() ('synalign reason DIR') again with another model or prompt."
            )
        return found

    def kind(self, generation: GenerationRequest) -> str:
        """Return which of the prompts a generation request is for."""
        if generation.label in self.documents:
            return "queries"
        return "demonstrations" if generation.attributes is None else "attributes"

    def shown(self, settings: Llm) -> Demonstrations:
        """Return the demonstrations of each request; those for documents alone show none."""
        found = demonstrations(self.context, settings, self.selections)
        alone: dict[str, list[Any]] = {f"document:{name}": [] for name in self.alone}
        return Demonstrations({**found.texts, **alone}, {**found.shown, **alone})

    def job(
        self,
        generation: GenerationRequest,
        shown: Demonstrations,
        written: Sequence[str] = (),
        count: int | None = None,
        refill: int = 0,
    ) -> Job:
        """Return the call that asks for the records of a request, or for `count` more of them."""
        count = generation.count if count is None else count
        runner = self.runners[self.kind(generation)]
        texts, redacted = shown.shown[generation.selection_id], bool(runner.settings.redact)
        text = None if generation.label is None else self.documents.get(generation.label)
        if text is not None:
            given = query_variables(generation, self.task, text, texts, written, count, redacted)
            return runner.job(given, generation.purpose(refill), generation.selected, count)
        given = variables(generation, self.task, self.labels, texts, written, count, redacted)
        meanings = [item["meaning"] for item in given["labels"]]
        schema = records_schema(meanings if given["ask_label"] else None)
        return runner.job(given, generation.purpose(refill), generation.selection_id, count, schema)


def planned(context: Context, request: GenerateRequest, *, reasoned: bool = True) -> Writing:
    """Return the run that `generate` would be. `reasoned` False does without attributes, to see what it would ask.

    Raises:
        NotReadyError: if nothing is selected, or attributes are needed and there are none of the current selections.
        UsageError: if no records are asked for; or no model is given and another than the configured one stated the
            attributes.
    """
    settings = settings_for(context, request)
    section = override(context.config.generate, request)
    rules = context.config.accept
    selected = bool(section.per_selection or section.recombined or section.from_demonstrations)
    if not selected and not section.from_documents:
        raise UsageError(
            "No records are asked for: generate.per_selection, recombined, from_demonstrations and from_documents are "
            "all 0."
        )
    alone = sampled_documents(context, section.documents) if section.from_documents else []
    selections: list[dict[str, Any]] = []
    inputs: list[str] = []
    if selected:
        run, selections = current_selections(context)
        inputs = [run.run_id]
    attributed = bool(section.per_selection or section.recombined)
    stated = context.journal.current("reason") if attributed and reasoned else None
    if attributed and reasoned:
        if stated is None or inputs[0] not in stated.inputs:
            raise NotReadyError(
                "There are no attributes of the current selections. Run ws.reason() ('synalign reason DIR') first."
            )
        stated_by = stated.parameters["model"]
        if request.model is None and stated_by != settings.model:
            raise UsageError(
                f"The attributes were stated by {stated_by!r}, and generate would use {settings.model!r}. Say which "
                "with model=... (--model)."
            )
    templates = {"attributes": section.prompt} if attributed else {}
    templates |= {"demonstrations": section.single_stage_prompt} if section.from_demonstrations else {}
    real = records(context, REAL, split="train") if not selected else require_real(context)
    labels = [label for label in real["label"].unique().sort() if label is not None]
    redaction = Redaction(context, settings.redact)
    known = describe_labels(context, [*(row["label"] for row in selections), *alone], redaction)
    redaction.keep()
    templates |= {"queries": section.query_prompt} if known.documents else {}
    named = [*templates.values(), *([rules.judge_prompt] if rules.judge else [])]
    parameters = request_parameters(context, settings, *named) | {
        "per_selection": section.per_selection,
        "recombined": section.recombined,
        "from_demonstrations": section.from_demonstrations,
        "refills": section.refills,
        "accept": rules.model_dump(mode="json"),
    }
    parameters |= of_documents(context)
    if alone:
        parameters |= {"from_documents": section.from_documents, "alone": ids.digest(alone)}
    inputs += [stated.run_id] if stated is not None else []
    plan = Plan("generate", parameters, inputs, context.config.seed, version=2)
    runners = {kind: PromptRunner(context, plan, settings, name, RecordBatch) for kind, name in templates.items()}
    judge = PromptRunner(context, plan, settings, rules.judge_prompt, VerdictList) if rules.judge else None
    # Documents are not listed in prompts: there may be thousands.
    task = context.config.task
    listed = set(task.labels) | document_ids(context, labels)
    labels = [*task.labels, *(label for label in labels if label not in listed)]
    return Writing(
        context, plan, section, runners, judge, labels, selections, stated, known.task, known.documents, alone
    )


def generate(context: Context, request: GenerateRequest) -> Outcome:
    """Ask for new records for each current selection, check them, and ask anew for those that were refused.

    Each record is checked by the rules of `synalign.config.Accept`; the results are in the table `checks`, and what is
    refused is in `rejections` with the reason. `synalign.config.Generate` says how many are asked for, and how often.

    Raises:
        NotReadyError, UsageError: see `planned`.
        ModelError: if no reply can be used, or see `synalign.steps.calling.dispatch.send`; replies that came are kept.
    """
    clock = Clock()
    writing = planned(context, request)
    plan = writing.plan

    def work() -> Result:
        asked = writing.requests()
        settings = next(iter(writing.runners.values())).settings
        shown = writing.shown(settings)
        templates = [runner.template for runner in writing.runners.values()]
        checker = Checker(
            context, writing.labels, shown, templates, writing.judge, writing.task, writing.documents.values()
        )
        replies, refused, calls = _write_all(writing, checker, asked, shown)
        fold(context, [*calls, *checker.calls])
        kept, checks, more = _record_rows(plan.run_id, replies)
        refused += more + checker.unread
        checker.store_vectors(kept, plan.run_id)
        notes = [NGRAM_NOTE] if settings.model == "builtin/ngram" else []
        wanted = sum(generation.count for generation in asked)
        if refused:
            common = Counter(row["reason"] for row in refused).most_common(4)
            reasons = ", ".join(f"{count} {reason}" for reason, count in common)
            notes.append(
                f"{wanted} records were asked for, {len(kept)} kept; refused: {reasons}; see the relation rejections"
            )
        counts = {"calls": len(calls), "records": len(kept), "rejections": len(refused)}
        rows = _recombined(asked) | {"rejections": refused, "checks": checks, SYNTHETIC: kept}
        return Result(rows, counts, notes)

    return run_step(context, clock, plan, work, reads=("selections", "calls"))


def _write_all(
    writing: Writing, checker: Checker, asked: Sequence[GenerationRequest], shown: Demonstrations
) -> tuple[list[Reply], list[dict[str, Any]], set[str]]:
    """Ask, check, and ask again for what was refused; return the replies, what could not be read, and the calls."""
    replies: list[Reply] = []
    refused: list[dict[str, Any]] = []
    calls: set[str] = set()
    accepted: Counter[tuple[str, str]] = Counter()
    written: defaultdict[str, list[str]] = defaultdict(list)
    for wave in range(writing.section.refills + 1):
        jobs: defaultdict[str, list[tuple[GenerationRequest, int, Job]]] = defaultdict(list)
        for generation in asked:
            left = generation.count - accepted[generation.selection_id, generation.written_from]
            if left > 0:
                kind = writing.kind(generation)
                job = writing.job(generation, shown, written[generation.selection_id], left, wave)
                jobs[kind].append((generation, left, job))
        if not jobs:
            break
        answered = []
        for kind, part in jobs.items():
            answers = writing.runners[kind].ask([job for *_, job in part])
            if not wave:
                usable = sum(len(answer.value.records) for _, answer in answers.answered)
                require_usable(writing.context, writing.plan.step, answers.calls, usable, answers.refused)
            refused += answers.refused
            calls |= set(answers.calls)
            of_job = {job.request.call_id: (generation, left) for generation, left, job in part}
            for job, answer in answers.answered:
                generation, left = of_job[job.request.call_id]
                answered.append((generation, answer.call_id, answer.value, left))
        found = checker.check(answered, wave)
        replies += found
        for reply in found:
            texts = [verdict.text for verdict in reply.verdicts if verdict.accepted]
            accepted[reply.generation.selection_id, reply.generation.written_from] += len(texts)
            written[reply.generation.selection_id] += texts
    return replies, refused, calls


def _record_rows(
    run_id: str, replies: Sequence[Reply]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Turn verdicts into rows of `synthetic`, `checks` and `rejections`, in the order in which they were reached.

    Where no rule refuses it, a text that came twice for one label is one record, of the call that it came in first.
    """
    kept: dict[str, dict[str, Any]] = {}
    checks: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for reply in replies:
        generation = reply.generation
        for verdict in reply.verdicts:
            name = ids.record_id(verdict.text, generation.label, None) if verdict.accepted else None
            measures = verdict.measures
            checks.append(
                {
                    "call_id": reply.call_id,
                    "index": verdict.index,
                    "id": name,
                    "accepted": verdict.accepted,
                    "reason": verdict.reason,
                    **{str(rule): passed for rule, passed in verdict.results.items()},
                    "near_duplicate_similarity": measures.get("near_duplicate"),
                    "copied_share": measures.get("copied"),
                    "cosine_to_synthetic": measures.get("too_similar"),
                    "cosine_to_real": measures.get("too_near"),
                }
            )
            if name is None:
                reason = str(verdict.reason)
                refused.append(rejection(run_id, reply.call_id, verdict.index, reason, verdict.detail, verdict.text))
                continue
            kept.setdefault(
                name,
                {
                    "id": name,
                    "text": verdict.text,
                    "label": generation.label,
                    "split": "train",
                    "call_id": reply.call_id,
                    "selection_id": generation.selected,
                    "attributes_id": generation.attributes_id,
                    "written_from": generation.written_from,
                },
            )
    return list(kept.values()), checks, refused


def _attributes(context: Context, run: Run) -> dict[str, dict[str, Any]]:
    """Return the attributes of each selection_id: their id, and `values` as they were stated."""
    chosen = f"run_id = {quote(run.run_id)}"
    values: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for row in context.lake.read("attribute_values", where=chosen).to_pylist():
        values[row["attributes_id"]][row["name"]] = row
    found = {}
    for row in context.lake.read("attributes", where=chosen).to_pylist():
        known = values[row["id"]]
        stated = [known[item["name"]] for item in row["attributes"] if item["name"] in known]
        found[row["selection_id"]] = {
            "id": row["id"],
            "values": [
                {"name": item["name"], "kind": item["kind"], "value": item["stated"], "row": item} for item in stated
            ],
        }
    return found


def _recombined(asked: Sequence[GenerationRequest]) -> dict[str, list[dict[str, Any]]]:
    """Return rows of the attributes that were drawn across selections, which records were written from."""
    rows: dict[str, list[dict[str, Any]]] = {"attributes": [], "attribute_values": []}
    for generation in asked:
        if generation.written_from == "recombined":
            drawn = generation.attributes or ()
            row = {"id": generation.attributes_id, "selection_id": generation.selection_id, "call_id": None}
            rows["attributes"].append(
                row | {"attributes": [{"name": item["name"], "value": item["value"]} for item in drawn]}
            )
            rows["attribute_values"] += [item["row"] | {"attributes_id": generation.attributes_id} for item in drawn]
    return rows
