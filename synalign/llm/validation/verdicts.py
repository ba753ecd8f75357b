"""What is said of a generated record: the closed lists of rules and reasons, and one verdict for each record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from synalign.config import RULES, Rule

#: Why a record, or a whole reply, is refused: a rule that it fails; that it has no text or is one too many; or what is
#: wrong with the reply that it came in, or should have.
Reason = Literal[
    Rule,
    "empty",
    "surplus",
    "empty_reply",
    "not_json",
    "truncated",
    "wrong_shape",
    "broken_item",
    "refused",
    "failed",
]

#: All reasons.
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True)
class Draft:
    """One record of a reply: its place there, its text, and the label that the model says it has."""

    index: int
    text: str
    label: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What the rules say of one record.

    `results` has every rule of RULES: whether the record passes it, None where the rule is off or does not apply.
    `measures` has `near_duplicate`, the similarity to the most similar synthetic text (None below the threshold), and
    `copied`, the share of the record's words in the longest run that a real text has too. `details` says of each rule
    that the record fails, in words, why.
    """

    index: int
    text: str
    results: Mapping[Rule, bool | None]
    measures: Mapping[str, float | None] = field(default_factory=dict)
    details: Mapping[Rule, str] = field(default_factory=dict)
    surplus: str = ""

    @property
    def passed(self) -> bool:
        """Whether no rule refuses the record; it may be one too many nonetheless."""
        return bool(self.text) and False not in self.results.values()

    @property
    def accepted(self) -> bool:
        """Whether the record is to be kept."""
        return self.reason is None

    @property
    def reason(self) -> Reason | None:
        """Why the record is refused: the first rule that it fails; None if it is kept."""
        if not self.text:
            return "empty"
        failed = next((rule for rule in RULES if self.results[rule] is False), None)
        return failed or ("surplus" if self.surplus else None)

    @property
    def detail(self) -> str:
        """The reason in words; empty if the record is kept."""
        if not self.text:
            return "the record has no text"
        failed = next((rule for rule in RULES if self.results[rule] is False), None)
        return self.details.get(failed, "") if failed else self.surplus

    def with_result(self, rule: Rule, passed: bool | None, detail: str = "", measure: float | None = None) -> Verdict:
        """Return the verdict with the result of one more rule; call `limited` again once all are in."""
        return replace(
            self,
            results={**self.results, rule: passed},
            measures=self.measures if measure is None else {**self.measures, rule: measure},
            details={**self.details, rule: detail} if passed is False else self.details,
        )


def limited(verdicts: Sequence[Verdict], limit: int) -> list[Verdict]:
    """Return the verdicts with those marked as surplus that pass after `limit` others have, and no others."""
    marked: list[Verdict] = []
    passed = 0
    for verdict in verdicts:
        passed += verdict.passed
        over = f"{limit} were asked for" if verdict.passed and passed > limit else ""
        marked.append(verdict if verdict.surplus == over else replace(verdict, surplus=over))
    return marked
