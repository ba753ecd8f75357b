"""Checks generated records by all rules: those of text, those of vectors, and a second model's opinion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from synalign.config import Task
from synalign.llm.prompting.prompts import instructions
from synalign.llm.prompting.schemas import RecordBatch, VerdictList
from synalign.llm.validation.acceptance import Acceptance, Draft, Verdict, limited, normalise
from synalign.numerics.core.neighbours import distinct_rows, nearest_cosine, nearness_limit, unit_rows
from synalign.steps.calling.prompt_runner import PROMPTS, Demonstrations, PromptRunner
from synalign.steps.core.context import Context
from synalign.steps.core.reading import records, vectors
from synalign.steps.embedding import embed
from synalign.steps.generation.requests import GenerationRequest, variables
from synalign.store.lake.schemas import REAL, SYNTHETIC

#: Records that a judge is shown in one request.
JUDGED = 10

# What the rules on vectors are by default.
_SIMILAR, _TOO_NEAR = 0.98, 0.01

# The share of real records whose nearest other one may be as near as two synthetic ones.
_OFTEN = 0.01


@dataclass(frozen=True)
class Reply:
    """The records of one reply, what they were asked for, and the verdict on each."""

    generation: GenerationRequest
    call_id: str
    verdicts: list[Verdict]


class Checker:
    """Checks the records of one run of generate. A record that was accepted is one that later ones may not repeat.

    task: with the descriptions of labels that prompts show. documents: texts of documents, which must not be copied.
    """

    def __init__(
        self,
        context: Context,
        labels: Sequence[str],
        shown: Demonstrations,
        templates: Sequence[str],
        judge: PromptRunner[VerdictList] | None,
        task: Task,
        documents: Collection[str] = (),
    ) -> None:
        self._context, self._labels, self._shown, self._judge = context, labels, shown, judge
        self._prompt = [text for name in templates for text in instructions(name, context.root / PROMPTS)]
        self._task = task
        self.rules = context.config.accept
        real = records(context, REAL)
        train = real.filter(pl.col("split") == "train")
        synthetic = records(context, SYNTHETIC, with_excluded=True, columns=("call_id",))
        # Under other rules the same replies are judged again: what they gave before is no repetition.
        self._own: defaultdict[str, set[str]] = defaultdict(set)
        for text, call_id in synthetic.select("text", "call_id").iter_rows():
            self._own[call_id].add(text)
        by_label: dict[str | None, list[str]] = {}
        for text, label in train.select("text", "label").iter_rows():
            by_label.setdefault(None if label is None else task.meaning(label), []).append(text)
        self._acceptance = Acceptance(
            self.rules,
            real=by_label,
            copied_from=[*real["text"], *documents],
            known=synthetic["text"].to_list(),
            labels={name: task.meaning(name) for name in labels},
        )
        self._vectors = _Vectors.of(context, real, synthetic)
        self.calls: set[str] = set()
        self.unread: list[dict[str, Any]] = []

    def check(self, answered: Sequence[tuple[GenerationRequest, str, RecordBatch, int]], wave: int) -> list[Reply]:
        """Return the verdicts on replies, in their order: (generation, call_id, answer, how many were asked for)."""
        task = self._task
        replies = []
        for generation, call_id, answer, limit in answered:
            drafts = [Draft(index, record.text, record.label) for index, record in enumerate(answer.records)]
            verdicts = self._acceptance.judge(
                drafts,
                demonstrations=self._shown.texts[generation.selection_id],
                prompt=self._prompt,
                label=None if generation.label is None else task.meaning(generation.label),
                limit=limit,
                own=self._own[call_id],
            )
            for verdict in verdicts:
                if verdict.accepted:
                    self._acceptance.keep(verdict.text)
            replies.append(Reply(generation, call_id, verdicts))
        limits = [limit for *_, limit in answered]
        if self._vectors is not None:
            replies = self._vectors.judged(replies, self._own)
        if self._judge is not None:
            replies = self._judged(self._judge, replies, wave)
        replies = self._limited(replies, limits)
        if self._vectors is not None:
            self._vectors.keep({verdict.text for reply in replies for verdict in reply.verdicts if verdict.accepted})
        return replies

    def _limited(self, replies: Sequence[Reply], limits: Sequence[int]) -> list[Reply]:
        """Return the verdicts with as many accepted as were asked for, now that all rules have spoken."""
        taken: set[str] = set()
        found = []
        for reply, limit in zip(replies, limits, strict=True):
            verdicts = list(reply.verdicts)
            if self.rules.duplicate:  # what was one too many may be accepted now, and stand in a later reply too
                for place, verdict in enumerate(verdicts):
                    if verdict.passed and normalise(verdict.text) in taken:
                        said = "the same text stands in another reply"
                        verdicts[place] = verdict.with_result("duplicate", False, said)
            verdicts = limited(verdicts, limit)
            for verdict in verdicts:
                if verdict.accepted:
                    taken.add(normalise(verdict.text))
                    self._acceptance.keep(verdict.text)
            found.append(Reply(reply.generation, reply.call_id, verdicts))
        return found

    def store_vectors(self, rows: Sequence[Mapping[str, Any]], run_id: str) -> None:
        """Keep the vectors of accepted records where they were paid for, so that `embed` need not ask again."""
        if self._vectors is not None:
            self._vectors.store(rows, run_id)

    def _judged(self, judge: PromptRunner[VerdictList], replies: list[Reply], wave: int) -> list[Reply]:
        """Ask a model what it takes the records that passed so far for."""
        task = self._task
        jobs, places = [], []
        for number, reply in enumerate(replies):
            passed = [place for place, verdict in enumerate(reply.verdicts) if verdict.passed]
            for start in range(0, len(passed), JUDGED):
                part = passed[start : start + JUDGED]
                shown = self._shown.shown[reply.generation.selection_id]
                given = variables(reply.generation, task, self._labels, shown, (), 0, redacted=False)
                texts = [{"number": n, "text": reply.verdicts[place].text} for n, place in enumerate(part, start=1)]
                wanted = {name: given[name] for name in ("task", "demonstrations", "label", "labels")}
                purpose = ["judge", *reply.generation.purpose(wave), start]
                jobs.append(judge.job(wanted | {"records": texts}, purpose, reply.generation.selected))
                places.append((number, part))
        answers = judge.ask(jobs)
        self.calls |= set(answers.calls)
        self.unread += answers.refused
        said = {job.request.call_id: answer.value.verdicts for job, answer in answers.answered}
        found = [Reply(reply.generation, reply.call_id, list(reply.verdicts)) for reply in replies]
        for job, (number, part) in zip(jobs, places, strict=True):
            by_number = {item.number: item for item in said.get(job.request.call_id, ())}
            label = found[number].generation.label
            names = {"", label, None if label is None else task.meaning(label)}
            for n, place in enumerate(part, start=1):
                item = by_number.get(n)
                if item is None:  # not judged: the column stays empty
                    continue
                wrong = label is not None and item.label.strip() not in names
                detail = f"the judge gives it the label {item.label!r}" if wrong else "it does not read as a real one"
                verdict = found[number].verdicts[place]
                found[number].verdicts[place] = verdict.with_result(
                    "judge", item.real and not wrong, f"{detail}: {item.why}"
                )
        return found


class _Vectors:
    """The rules that compare vectors, by the embedder of the workspace."""

    @classmethod
    def of(cls, context: Context, real: pl.DataFrame, synthetic: pl.DataFrame) -> _Vectors | None:
        """Return the rules that are on, or None if none is.

        A space of words takes short texts of which it knows few words for the same: other rules compare words better.
        """
        rules = context.config.accept
        if not real.height or (not rules.too_similar and not rules.too_near):
            return None
        embedder = embed.resolve(context)
        worded = embed.is_fitted(embedder.settings)
        similar, near = (
            (False if worded else usual) if given == "auto" else given
            for given, usual in ((rules.too_similar, _SIMILAR), (rules.too_near, _TOO_NEAR))
        )
        return cls(context, embedder, real, synthetic, similar, near) if similar or near else None

    def __init__(
        self,
        context: Context,
        embedder: embed.Embedder,
        real: pl.DataFrame,
        synthetic: pl.DataFrame,
        similar: float | Literal[False],
        too_near: float | Literal[False],
    ) -> None:
        self._context = context
        self._similar, self._too_near = similar, too_near
        self._embedder = embedder
        self._encode = embed.encoder(context, self._embedder)
        self._real = unit_rows(vectors(context, self._embedder.name, REAL, real["id"]))
        train = (real["split"] == "train").to_numpy()
        self._limit = nearness_limit(self._real[train], self._too_near) if self._too_near else float("inf")
        if self._similar:
            # Where real records are often that near each other, the encoder does not see what they differ in.
            self._similar = max(float(self._similar), nearness_limit(self._real[train], _OFTEN))
        there = vectors(context, self._embedder.name, SYNTHETIC, synthetic["id"]) if synthetic.height else None
        self._known = self._real[:0] if there is None else unit_rows(there)
        self._made: dict[str, np.ndarray] = {}

    def judged(self, replies: list[Reply], own: Mapping[str, set[str]]) -> list[Reply]:
        """Return the verdicts with the results of both rules, for the records that passed so far."""
        open_ = [verdict.text for reply in replies for verdict in reply.verdicts if verdict.passed]
        if not open_:
            return replies
        raw = self._encode(open_)
        units = unit_rows(raw)
        self._made |= dict(zip(open_, raw, strict=True))
        to_real, to_known = nearest_cosine(units, self._real), nearest_cosine(units, self._known)
        distinct = distinct_rows(units, float(self._similar)) if self._similar else np.ones(len(units), dtype=bool)
        found, row = [], 0
        for reply in replies:
            verdicts = []
            for verdict in reply.verdicts:
                if verdict.passed:
                    known = -1.0 if verdict.text in own[reply.call_id] else float(to_known[row])
                    verdict = self._result(verdict, known, float(to_real[row]), bool(distinct[row]))
                    row += 1
                verdicts.append(verdict)
            found.append(Reply(reply.generation, reply.call_id, verdicts))
        return found

    def _result(self, verdict: Verdict, to_known: float, to_real: float, distinct: bool) -> Verdict:
        if self._similar:
            passed = to_known < self._similar and distinct
            said = f"cosine {to_known:.3f}" if to_known >= self._similar else "with another record of these replies"
            detail = f"its meaning is that of a synthetic record there is ({said}; {self._similar:g} is the limit)"
            nearest = to_known if len(self._known) else None  # there is none to be near to
            verdict = verdict.with_result("too_similar", passed, detail, nearest)
        if self._too_near:
            detail = (
                f"its nearest real record is at cosine {to_real:.4f}, nearer than all but a share of "
                f"{self._too_near:g} of real records are to each other ({self._limit:.4f})"
            )
            verdict = verdict.with_result("too_near", to_real <= self._limit, detail, to_real)
        return verdict

    def keep(self, texts: set[str]) -> None:
        """Count texts that were accepted as there."""
        made = [vector for text, vector in self._made.items() if text in texts]
        if made:
            self._known = np.concatenate([self._known, unit_rows(np.stack(made))])

    def store(self, rows: Sequence[Mapping[str, Any]], run_id: str) -> None:
        """Write the vectors of records that an endpoint was paid for; what is fitted here is computed again."""
        chosen = [row for row in rows if row["text"] in self._made]
        if embed.is_fitted(self._embedder.settings) or not chosen:
            return
        matrix = np.stack([self._made[row["text"]] for row in chosen])
        names = pl.Series("id", [row["id"] for row in chosen])
        embed.store(self._context, self._embedder, SYNTHETIC, run_id, names, matrix)
