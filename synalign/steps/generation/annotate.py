"""annotate: the language model states the attributes of single records, so that shares can be compared side by side."""

from __future__ import annotations

from typing import Any

from synalign.config import AnnotateRequest, override
from synalign.errors import NotReadyError, UsageError
from synalign.llm.prompting.schemas import AnnotationList, MergeList
from synalign.llm.prompting.vocabulary import Value, spelt, value_of
from synalign.steps.calling.jobs import fold, require_usable
from synalign.steps.calling.prompt_runner import PromptRunner, request_parameters, settings_for
from synalign.steps.calling.redaction import Redaction
from synalign.steps.core.context import Context, Outcome
from synalign.steps.core.reading import by_hash, record_runs, records
from synalign.steps.core.run_step import Result, run_step
from synalign.steps.generation.vocabulary import known_values, merge, normalised
from synalign.store.lake.journal import Clock, Plan
from synalign.store.lake.schemas import ORIGINS, REAL


def annotate(context: Context, request: AnnotateRequest) -> Outcome:
    """Have the attributes of a sample of records stated, in the vocabulary that `reason` made, into `annotations`.

    Of the real records only those of the train split are looked at. The sample is drawn by the hash of the id, so that
    a larger one holds the smaller one, and what was annotated is not asked again. What is no category has no share and
    is not asked for.

    Raises:
        UsageError: for an origin that is none.
        NotReadyError: if there are no records, or no category attributes to state.
        ModelError: if no reply can be used, or see `synalign.steps.calling.dispatch.send`; replies that came are kept.
    """
    clock = Clock()
    origin = request.origin
    if origin not in ORIGINS:
        raise UsageError(f"origin must be one of {', '.join(ORIGINS)}; given: {origin!r}.")
    settings = settings_for(context, request)
    section, stated = override(context.config.annotate, {"sample": request.sample}), context.config.reason
    names = [name for name, kind in stated.attributes.items() if kind == "category"]
    frame = records(context, origin, split="train")
    if not frame.height or not names:
        what = "no attribute of reason.attributes is a category" if frame.height else f"there are no {origin} records"
        raise NotReadyError(f"There is nothing to annotate: {what}.")
    # Not those of earlier annotations: a larger sample would then ask again for what a smaller one was told.
    known = known_values(context, ("reason",))
    templates = [section.prompt, *([stated.merge_prompt] if stated.merge else [])]
    parameters = request_parameters(context, settings, *templates) | {
        "sample": section.sample,
        "batch": section.batch,
        "origin": origin,
        "names": names,
        "values": {name: list(there) for name, there in stated.values.items()},
    }
    reasoned = context.journal.current("reason")
    inputs = [run.run_id for run in record_runs(context, origin)] + ([reasoned.run_id] if reasoned else [])
    plan = Plan("annotate", parameters, inputs, context.config.seed)

    def work() -> Result:
        chosen = by_hash(frame, section.sample, "annotate/1")
        redaction = Redaction(context, settings.redact)
        wanted = [{"name": name, "kind": "category", "values": known.get(name, [])} for name in names]
        runner = PromptRunner(context, plan, settings, section.prompt, AnnotationList)
        jobs, shown = [], []
        for start in range(0, chosen.height, section.batch):
            part = chosen.slice(start, section.batch)
            texts = [redaction.redact(text) if origin == REAL else text for text in part["text"]]
            numbered = [{"number": number, "text": text} for number, text in enumerate(texts, start=1)]
            variables = {"task": context.config.task, "attributes": wanted, "records": numbered}
            jobs.append(runner.job(variables, ("annotate", origin)))
            shown.append(part["id"].to_list())
        redaction.keep()
        answers = runner.ask(jobs)
        usable = sum(len(answer.value.annotations) for _, answer in answers.answered)
        require_usable(context, plan.step, answers.calls, usable, answers.refused)
        said = {job.request.call_id: answer for job, answer in answers.answered}
        asked = {spelt(name): name for name in names}
        found: dict[tuple[str, str], tuple[str, Value]] = {}
        # Parts with the same texts are one request: each is told the same.
        for job, names_shown in zip(jobs, shown, strict=True):
            answer = said.get(job.request.call_id)
            if answer is None:
                continue
            for item in answer.value.annotations:
                name = asked.get(spelt(item.name))
                if name is not None and 1 <= item.number <= len(names_shown) and spelt(item.value):
                    value = value_of(name, "category", item.value)
                    found.setdefault((names_shown[item.number - 1], name), (answer.call_id, value))
        calls, refused = set(answers.calls), answers.refused
        ends: dict[tuple[str, str], str] = {}
        if stated.merge:
            merger = PromptRunner(context, plan, settings, stated.merge_prompt, MergeList)
            ends, merging = merge(merger, [value for _, value in found.values()])
            calls |= set(merging.calls)
            refused = refused + merging.refused
        fold(context, calls)
        rows = _annotation_rows(origin, found, ends)
        counts = {"origin": origin, "records": chosen.height, "annotations": len(rows), "rejections": len(refused)}
        missing = chosen.height * len(names) - len(rows)
        notes = [f"{missing} of {chosen.height * len(names)} values were not stated"] if missing else []
        return Result({"annotations": rows, "rejections": refused}, counts, notes)

    return run_step(context, clock, plan, work, reads=("calls",))


def _annotation_rows(
    origin: str, found: dict[tuple[str, str], tuple[str, Value]], ends: dict[tuple[str, str], str]
) -> list[dict[str, Any]]:
    rows = []
    for (record_id, _), (call_id, stated) in found.items():
        value = normalised([stated], ends)[0]
        fields = {name: getattr(value, name) for name in ("name", "kind", "value", "stated", "number")}
        rows.append({"origin": origin, "id": record_id, "call_id": call_id, **fields})
    return rows
