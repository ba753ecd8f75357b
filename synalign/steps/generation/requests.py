"""The requests of stage 2: for each selection, records written from one of three sources."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from synalign import ids
from synalign.config import Generate, Task
from synalign.ids import child_seed

#: Where the records of one request come from: the attributes of the selection, attributes drawn across the selections
#: of its label, the demonstrations alone, or a document alone.
Source = Literal["attributes", "recombined", "demonstrations", "document"]

# Records of the same selection that a request for more of them shows.
_WRITTEN = 40


@dataclass(frozen=True)
class GenerationRequest:
    """Some records to be written for one selection. `attributes` are None where they come from demonstrations, or a
    document, alone. For a document, the selection is none that was made: it holds the label."""

    selection: Mapping[str, Any]
    written_from: Source
    count: int
    attributes: Sequence[Mapping[str, Any]] | None
    attributes_id: str | None

    @property
    def selection_id(self) -> str:
        """Of the selection."""
        return str(self.selection["selection_id"])

    @property
    def selected(self) -> str | None:
        """The selection that tables name: none for a document."""
        return None if self.written_from == "document" else self.selection_id

    @property
    def label(self) -> str | None:
        """The label to write for."""
        return None if self.selection["label"] is None else str(self.selection["label"])

    def purpose(self, refill: int) -> list[str | int]:
        """Return what the request is for, from which its seed is made."""
        if self.written_from == "document":
            return ["generate", "document", str(self.label), *([refill] if refill else [])]
        where: list[str | int] = ["generate", self.selection["round"], self.selection["step"]]
        return where + ([self.written_from] if self.written_from != "attributes" else []) + ([refill] if refill else [])


def generation_requests(
    section: Generate,
    selections: Sequence[Mapping[str, Any]],
    attributes: Mapping[str, Mapping[str, Any]],
    run_id: str,
    seed: int,
) -> list[GenerationRequest]:
    """Return what to ask for, selection by selection.

    Args:
        section: how many records of each source.
        selections: rows of `selections`.
        attributes: for each selection_id, the id of its attributes and their `values`: {"name", "kind", "value",
            "row"}, the last being the row of `attribute_values`.
        run_id: of this run, for the names of recombined attributes.
        seed: of the recombination.
    """
    pools = _pools(selections, attributes)
    found: list[GenerationRequest] = []
    for row in selections:
        stated = attributes.get(row["selection_id"])
        if stated is not None and section.per_selection:
            found.append(GenerationRequest(row, "attributes", section.per_selection, stated["values"], stated["id"]))
        if stated is not None and section.recombined:
            draw = random.Random(child_seed(seed, "recombine", row["round"], row["step"]))
            pool = pools[row["label"]]
            mixed = [draw.choice(pool[item["name"]]) for item in stated["values"]]
            name = ids.digest(["attributes/recombined/1", run_id, row["selection_id"]])
            found.append(GenerationRequest(row, "recombined", section.recombined, mixed, name))
        if section.from_demonstrations:
            found.append(GenerationRequest(row, "demonstrations", section.from_demonstrations, None, None))
    return found


def document_requests(names: Sequence[str], count: int) -> list[GenerationRequest]:
    """Return the request for queries of each document."""
    return [
        GenerationRequest({"selection_id": f"document:{name}", "label": name}, "document", count, None, None)
        for name in names
    ]


def _pools(
    selections: Sequence[Mapping[str, Any]], attributes: Mapping[str, Mapping[str, Any]]
) -> dict[str | None, dict[str, list[Mapping[str, Any]]]]:
    """Return for each label all values of each attribute, one for each selection that states it."""
    pools: defaultdict[str | None, defaultdict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in selections:
        for item in attributes.get(row["selection_id"], {"values": ()})["values"]:
            pools[row["label"]][item["name"]].append(item)
    return {label: dict(pool) for label, pool in pools.items()}


def variables(
    generation: GenerationRequest,
    task: Task,
    labels: Sequence[str],
    shown: Sequence[Mapping[str, Any]],
    written: Sequence[str],
    count: int,
    redacted: bool,
) -> dict[str, Any]:
    """Return the variables of a prompt for `count` records, other than those `written` for the selection so far."""
    label = generation.label
    found: dict[str, Any] = {
        "task": task,
        "demonstrations": list(shown),
        "label": None if label is None else {"name": label, "meaning": task.meaning(label)},
        "labels": [{"name": name, "meaning": task.meaning(name)} for name in labels],
        "ask_label": label is not None,
        "written": list(written[-_WRITTEN:]),
        "count": count,
        "redacted": redacted,
    }
    if generation.attributes is not None:
        found["attributes"] = _stated(generation)
    return found


def query_variables(
    generation: GenerationRequest, task: Task, text: str, shown: Sequence[Mapping[str, Any]], written: Sequence[str],
    count: int, redacted: bool,
) -> dict[str, Any]:  # fmt: skip
    """Return the variables of a prompt for queries that a document of this `text` answers."""
    return {
        "task": task,
        "document": {"id": generation.label, "text": text},
        "demonstrations": list(shown),
        "attributes": _stated(generation),
        "written": list(written[-_WRITTEN:]),
        "count": count,
        "redacted": redacted,
    }


def _stated(generation: GenerationRequest) -> list[dict[str, Any]]:
    return [{name: item[name] for name in ("name", "kind", "value")} for item in generation.attributes or ()]
