"""The description of each label that prompts show: the configured one, or the text of the document whose id it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from synalign.config import Task
from synalign.steps.calling.redaction import Redaction
from synalign.steps.core.context import Context
from synalign.steps.core.reading import document_runs
from synalign.steps.corpus.documents import documents


@dataclass(frozen=True)
class LabelDescriptions:
    """What some labels mean. task: the configured one, with the text of each document as the meaning of its id, unless
    `task.labels` gives that id a meaning of its own. documents: these texts, by id."""

    task: Task
    documents: Mapping[str, str]


def describe_labels(context: Context, labels: Iterable[str | None], redaction: Redaction) -> LabelDescriptions:
    """Return what labels mean. Documents are cut to `retrieve.shown` characters, and lose the personal data that is not
    to be sent, as real texts do."""
    task = context.config.task
    wanted = {label for label in labels if label is not None and label not in task.labels}
    if not wanted or not document_runs(context):
        return LabelDescriptions(task, {})
    length = context.config.retrieve.shown
    texts = {name: redaction.redact(cut(text, length)) for name, text in documents(context, wanted).rows()}
    return LabelDescriptions(task.model_copy(update={"labels": texts | task.labels}), texts)


def of_documents(context: Context) -> dict[str, Any]:
    """Return what documents add to the parameters of a run whose prompts show them: nothing where there are none."""
    there = [run.run_id for run in document_runs(context)]
    return {"documents": {"runs": there, "shown": context.config.retrieve.shown}} if there else {}


def cut(text: str, length: int) -> str:
    """Return a text of at most so many characters, and "…", cut between words where that is possible."""
    if len(text) <= length:
        return text
    head = text[: length + 1]
    place = max(head.rfind(blank) for blank in " \n\t")
    return (head[:place] if place > length // 2 else text[:length]).rstrip() + "…"
