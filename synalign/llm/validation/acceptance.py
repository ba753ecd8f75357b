"""Which generated texts are kept, and why the others are not: one named rule, one result. Pure: text in, verdicts out.

Every enabled rule looks at every record, so that each rule's result is a column without gaps; the reason of a refused
record is the first rule in the order of RULES that it fails.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Literal

from synalign.config import Accept
from synalign.llm.validation import boilerplate, language, personal
from synalign.llm.validation.overlap import SHINGLE, NearCopies, SharedRun, SharedRuns, shingles, word_count
from synalign.llm.validation.overlap import normalise as normalise
from synalign.llm.validation.verdicts import REASONS as REASONS
from synalign.llm.validation.verdicts import RULES as RULES
from synalign.llm.validation.verdicts import Draft as Draft
from synalign.llm.validation.verdicts import Reason as Reason
from synalign.llm.validation.verdicts import Rule as Rule
from synalign.llm.validation.verdicts import Verdict as Verdict
from synalign.llm.validation.verdicts import limited as limited

#: Jaccard similarity of two texts' pieces from which one counts as a copy of the other.
NEAR_COPY = 0.9

#: Different words that a run needs to count as copied, and those that do where the run is the whole text. Shorter ones
#: are what people say alike: with 6 for all, 20% of the real requests of CLINC150 copy another, with these 4%.
COPIED_WORDS, COPIED_WHOLE = 8, 6

#: Real texts that a label needs for a range of lengths of its own; with fewer, that of all real texts counts.
LENGTH_TEXTS = 50


class Acceptance:
    """The rules, prepared for the records of many replies.

    Args:
        rules: which rules are on, and their thresholds.
        real: real texts of the train split by label, as `judge` is given it (None: without a label); lengths,
            languages and what real texts say themselves are learned from them.
        copied_from: the real texts of every split, of which none may be copied.
        known: the synthetic texts that are there already.
        labels: the labels that are known, or a mapping from names to meanings: then a record may state either.
    """

    def __init__(
        self,
        rules: Accept,
        *,
        real: Mapping[str | None, Sequence[str]],
        copied_from: Sequence[str] = (),
        known: Sequence[str] = (),
        labels: Collection[str] | Mapping[str, str] = (),
    ) -> None:
        self.rules = rules
        self._real = [text for texts in real.values() for text in texts]
        self._ranges = _ranges(real, rules.length_slack)
        self._sources = copied_from
        self._source_keys: dict[str, int] = {}
        for number, text in enumerate(copied_from):
            self._source_keys.setdefault(normalise(text), number)
        pairs = labels.items() if isinstance(labels, Mapping) else ((name, name) for name in labels)
        self._labels: dict[str, str] = {}
        for name, meaning in pairs:
            self._labels.setdefault(normalise(name), normalise(meaning))
            self._labels[normalise(meaning)] = normalise(meaning)
        self._keys: set[str] = set()
        self._near = _near_copies(rules)
        for text in known:
            self.keep(text)

    def keep(self, text: str) -> None:
        """Remember a record that is kept, so that no later one repeats it."""
        key = normalise(text)
        if key in self._keys:
            return
        self._keys.add(key)
        if self._near is not None:
            self._near.add(text, text)

    def judge(
        self,
        drafts: Sequence[Draft],
        *,
        demonstrations: Sequence[str],
        prompt: Sequence[str] = (),
        label: str | None = None,
        limit: int,
        own: Collection[str] = (),
    ) -> list[Verdict]:
        """Return a verdict on each record of one reply, in order. Nothing is remembered: see `keep`.

        Args:
            drafts: the records.
            demonstrations: the real texts that the prompt showed.
            prompt: the prompt's own words, without the data that it shows.
            label: the label that was asked for, as the keys of `real` and the meanings of `labels` have it.
            limit: how many records were asked for; those that pass after so many are surplus.
            own: texts that are known because this very reply was judged before: they repeat nothing but themselves.
        """
        reply = _Reply(self, demonstrations, prompt, label, own)
        return limited([reply.verdict(draft) for draft in drafts], limit)

    @cached_property
    def _runs(self) -> SharedRuns:
        return SharedRuns(self._sources)

    @cached_property
    def _languages(self) -> language.Languages:
        return language.Languages(self._real)

    @cached_property
    def _usual(self) -> frozenset[str]:
        return boilerplate.usual(self._real)


class _Reply:
    """The rules for the records of one reply."""

    def __init__(
        self,
        rules: Acceptance,
        demonstrations: Sequence[str],
        prompt: Sequence[str],
        label: str | None,
        own: Collection[str],
    ) -> None:
        self._all, self._rules = rules, rules.rules
        self._shown = demonstrations
        self._label = label
        self._own = frozenset(map(normalise, own))
        self._prompt = SharedRuns(prompt)
        self._demonstrations = Sources(demonstrations)
        unknown = [text for text in demonstrations if normalise(text) not in rules._source_keys]
        self._other_sources = unknown
        self._other_runs = SharedRuns(unknown)
        # Texts that pass here may still be refused by a later rule, so that they are remembered for this reply alone.
        self._keys: set[str] = set()
        self._near = _near_copies(self._rules)

    def verdict(self, draft: Draft) -> Verdict:
        text = draft.text.strip()
        if not text:
            return Verdict(draft.index, "", dict.fromkeys(RULES), {"near_duplicate": None, "copied": None})
        key = normalise(text)
        similarity, nearest = self._nearest(text)
        share, copied = self._copied(text, key)
        rules = self._rules
        # A rule that is off has no entry; "" says that the record passes, words that it fails.
        said: dict[Rule, str | None] = {"schema": _unprintable(text)}
        if rules.label:
            said["label"] = self._label_said(draft.label)
        if rules.language:
            said["language"] = self._language(text)
        if rules.length:
            said["length"] = self._length(text)
        if rules.duplicate:
            said["duplicate"] = self._duplicate(key)
        if rules.near_duplicate:
            said["near_duplicate"] = nearest
        if rules.copied:
            said["copied"] = copied
        if rules.refusal:
            said["refusal"] = boilerplate.refusal(text, rules.phrases, allowed=self._all._usual) or ""
        if rules.leaked:
            said["leaked"] = boilerplate.leaked(text, self._prompt, allowed=self._allowed_forms) or ""
        if rules.personal:
            said["personal"] = self._personal(text)
        results: dict[Rule, bool | None] = {
            rule: None if said.get(rule) is None else said[rule] == "" for rule in RULES
        }
        verdict = Verdict(
            draft.index,
            text,
            results,
            {"near_duplicate": similarity, "copied": share if rules.copied else None},
            {rule: detail for rule, detail in said.items() if detail},
        )
        if verdict.passed:
            self._keys.add(key)
            if self._near is not None:
                self._near.add(text, text)
        return verdict

    @cached_property
    def _allowed_forms(self) -> frozenset[str]:
        """What the real texts have themselves, those shown above all, is no leak."""
        return self._all._usual.union(*map(boilerplate.forms, self._shown))

    @cached_property
    def _shown_languages(self) -> frozenset[str]:
        return frozenset(filter(None, map(language.identify, self._shown)))

    @cached_property
    def _shown_data(self) -> frozenset[str]:
        return frozenset(
            personal.canonical(item.kind, item.text)
            for text in self._shown
            for item in personal.find(text, self._rules.personal)
        )

    def _label_said(self, stated: str | None) -> str | None:
        if stated is None:
            return None
        known = self._all._labels
        said = known.get(normalise(stated), normalise(stated))
        if self._label is not None:
            asked = known.get(normalise(self._label), normalise(self._label))
            return "" if said == asked else f"it says {stated[:60]!r} of it, and {self._label!r} was asked for"
        return "" if not known or said in known else f"{stated[:60]!r} is no known label"

    def _language(self, text: str) -> str:
        code = self._all._languages.foreign(text)
        if code is None or code in self._shown_languages:
            return ""
        return f"it is in the language {code!r}; real records are in {', '.join(sorted(self._all._languages.codes))}"

    def _length(self, text: str) -> str | None:
        bounds = self._all._ranges.get(self._label, self._all._ranges.get(None))
        if bounds is None:
            return None
        low, high = bounds
        if low <= len(text) <= high:
            return ""
        return f"it has {len(text)} characters; real records, with the slack, have {low} to {high}"

    def _duplicate(self, key: str) -> str:
        if key in self._keys:
            return "the same text stands earlier in this reply"
        if key in self._all._keys and key not in self._own:
            return "the same text is in the workspace already"
        # With the rule `copied`, a real text is a copy; without it, it must not come back as a new one all the same.
        real = not self._rules.copied and key in self._all._source_keys
        return "the same text is a real record" if real else ""

    def _nearest(self, text: str) -> tuple[float | None, str]:
        there = [self._near] if normalise(text) in self._own else [self._all._near, self._near]
        found = [near.nearest(text) for near in there if near is not None]
        best = max((pair for pair in found if pair is not None), key=lambda pair: pair[0], default=None)
        if best is None:
            return None, ""
        similarity, other = best
        return similarity, f"shares {similarity:.0%} of its {SHINGLE}-character pieces with {_quoted(other)}"

    def _copied(self, text: str, key: str) -> tuple[float, str]:
        """Return the share of the longest run that is in a real text too, and in words whether that makes it a copy."""
        if not self._rules.copied:
            return 0.0, ""
        same = self._demonstrations.copied(text)
        if same is not None and same[0] == "copy":
            return 1.0, f"it is {same[1]}"
        if key in self._all._source_keys:
            return 1.0, f"it is the real record {_quoted(self._all._sources[self._all._source_keys[key]])}"
        runs = [
            (run, sources[run.source])
            for run, sources in (
                (self._all._runs.longest(text), self._all._sources),
                (self._other_runs.longest(text), self._other_sources),
            )
            if run is not None
        ]
        share = 0.0
        if runs:
            run, source = max(runs, key=lambda pair: pair[0].share)
            share = run.share
            if share >= self._rules.copied and is_copied(run):
                return share, f"shares {share:.0%} of its words in one run with the real record {_quoted(source)}"
        return share, f"it {same[1]}" if same is not None else ""

    def _personal(self, text: str) -> str:
        for item in personal.find(text, self._rules.personal):
            if not item.reserved and personal.canonical(item.kind, item.text) not in self._shown_data:
                return f"it holds personal data ({item.kind}) that its demonstrations do not: {item.text!r}"
        return ""


class Sources:
    """The demonstrations, prepared for many comparisons."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._keys = [normalise(text) for text in texts]
        self._shingles = [shingles(key) for key in self._keys]

    def copied(self, text: str) -> tuple[Literal["copy", "near_copy"], str] | None:
        """Return why `text` counts as a copy of a demonstration, or None if it does not."""
        key = normalise(text)
        if key in self._keys:
            return "copy", f"the same text as demonstration {self._keys.index(key) + 1}"
        pieces = shingles(key)
        for number, other in enumerate(self._shingles, start=1):
            similarity = len(pieces & other) / max(1, len(pieces | other))
            if similarity >= NEAR_COPY:
                return (
                    "near_copy",
                    f"shares {similarity:.0%} of its {SHINGLE}-character pieces with demonstration {number}",
                )
        return None


def _ranges(real: Mapping[str | None, Sequence[str]], slack: float) -> dict[str | None, tuple[int, int]]:
    """Return for each label with enough real texts, and under None for all others, the least and greatest length."""
    lengths = {label: [len(text.strip()) for text in texts if text.strip()] for label, texts in real.items()}
    everything = [length for values in lengths.values() for length in values]
    kept: dict[str | None, list[int]] = {
        label: values for label, values in lengths.items() if label is not None and len(values) >= LENGTH_TEXTS
    }
    if everything:
        kept[None] = everything
    return {label: (math.ceil(min(values) / slack), math.floor(max(values) * slack)) for label, values in kept.items()}


def _near_copies(rules: Accept) -> NearCopies[str] | None:
    return NearCopies(rules.near_duplicate) if rules.near_duplicate else None


def is_copied(run: SharedRun) -> bool:
    """Return whether a run is long enough to be a copy: by its different words, so that @user @user ... is none."""
    return word_count(sorted(set(run.run))) >= (COPIED_WHOLE if run.share == 1 else COPIED_WORDS)


def _unprintable(text: str) -> str:
    """Return in words which character shows that the text is broken; U+FFFD stands for what could not be decoded."""
    for char in text:
        if char == "\ufffd" or (unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\n\r"):
            return f"it holds the character U+{ord(char):04X}, which no text has"
    return ""


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else line[:60] + " ...")
