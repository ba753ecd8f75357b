"""One vocabulary for the attributes of a workspace: values that mean the same get one name, across calls and rounds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synalign.llm.prompting.schemas import MergeList
from synalign.llm.prompting.vocabulary import Value, merged, spelt
from synalign.steps.calling.prompt_runner import Answers, PromptRunner
from synalign.steps.core.context import Context
from synalign.store.lake.lake import is_in

#: Values of one attribute that a model is shown in one request.
AT_ONCE = 150


def known_values(context: Context, steps: Sequence[str] = ("reason", "annotate")) -> dict[str, list[str]]:
    """Return for each category the values that are in use: those that are configured, else those of finished runs."""
    finished = [run.run_id for step in steps for run in context.journal.runs(step)]
    found: defaultdict[str, set[str]] = defaultdict(set)
    for table in ("attribute_values", "annotations"):
        where = f"kind = 'category' and {is_in('run_id', finished)}"
        for row in context.lake.read(table, ["name", "value"], where).to_pylist():
            found[row["name"]].add(row["value"])
    fixed = {name: [spelt(value) for value in given] for name, given in context.config.reason.values.items()}
    return {name: sorted(there) for name, there in found.items()} | fixed


def merge(
    runner: PromptRunner[MergeList], stated: Iterable[Value]
) -> tuple[dict[tuple[str, str], str], Answers[MergeList]]:
    """Have the model say which category values mean the same; return what each becomes, and its answers.

    Nothing is asked where all values are known already.
    """
    known = known_values(runner.context)
    values: defaultdict[str, set[str]] = defaultdict(set)
    for value in stated:
        if value.kind == "category":
            values[value.name].add(value.value)
    new = {name: sorted(found - set(known.get(name, ()))) for name, found in values.items()}
    jobs = [
        runner.job({"task": runner.context.config.task, "attributes": part}, ("merge", number))
        for number, part in enumerate(_parts(new, known))
    ]
    answers = runner.ask(jobs)
    merges = [item for _, answer in answers.answered for item in answer.value.merges]
    return merged({name: sorted(found) for name, found in values.items()}, known, merges), answers


def normalised(values: Iterable[Value], ends: Mapping[tuple[str, str], str]) -> list[Value]:
    """Return values under the names that merging gave them."""
    return [replace(value, value=ends.get((value.name, value.value), value.value)) for value in values]


def _parts(new: Mapping[str, Sequence[str]], known: Mapping[str, Sequence[str]]) -> Iterator[list[dict[str, Any]]]:
    """Yield what is asked in one request: all attributes together while they are few, else some values at a time."""
    together: list[dict[str, Any]] = []
    for name in sorted(new):
        there = list(known.get(name, ()))[:AT_ONCE]
        for start in range(0, len(new[name]), AT_ONCE):
            part = new[name][start : start + AT_ONCE]
            if len(part) + len(there) < 2:
                continue
            shown = [{"value": value, "known": True} for value in there]
            shown += [{"value": value, "known": False} for value in part]
            if sum(len(item["values"]) for item in together) + len(shown) > AT_ONCE and together:
                yield together
                together = []
            together.append({"name": name, "values": shown})
    if together:
        yield together
