"""What of some texts stands in real ones: copies, near copies, personal data. One answer a text for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal, get_args

from synalign.config import PersonalKind
from synalign.llm.validation.acceptance import is_copied
from synalign.llm.validation.overlap import NearCopies, SharedRuns, normalise
from synalign.llm.validation.personal import canonical, find

#: What is looked for.
Kind = Literal["copied", "near_duplicate", "test_copy", "personal", "personal_real"]

_KINDS: tuple[PersonalKind, ...] = get_args(PersonalKind)


class Leakage:
    """Real texts, prepared for many questions.

    Args:
        train: those that may have leaked.
        test: those that must not have; without any, nothing is said of them.
        copied: share of a text's words that stand in one run in a text of `train`, from which it is a copy; short runs
            count as what people say alike (`synalign.llm.validation.acceptance`).
        near: Jaccard similarity of the 3-character pieces, from which two texts are near-duplicates.
    """

    def __init__(self, train: Sequence[str], test: Sequence[str], copied: float, near: float) -> None:
        self._train = train
        self._copied = copied
        self._keys = {normalise(text) for text in train}
        self._test = {normalise(text) for text in test}
        self._runs = SharedRuns(train)
        self._near: NearCopies[None] = NearCopies(near)
        for key in self._keys:
            self._near.add(key, None)
        self._known: dict[str, dict[Kind, bool]] = {}

    def of(self, texts: Sequence[str]) -> dict[Kind, list[bool]]:
        """Return for each kind which texts have it.

        - copied: the text is one of `train`, but for case and white space, or most of it is one run of its words.
        - near_duplicate: the text is one of `train`, or shares most of its 3-character pieces with one.
        - test_copy: the text is one of `test`; not there without any.
        - personal: it holds personal data, an address at example.com and the like aside.
        - personal_real: it holds personal data that a text of `train` holds.
        """
        found = [self._about(text) for text in texts]
        kinds: tuple[Kind, ...] = ("copied", "near_duplicate", "test_copy", "personal", "personal_real")
        return {kind: [one[kind] for one in found] for kind in kinds if kind != "test_copy" or self._test}

    def _about(self, text: str) -> dict[Kind, bool]:
        known = self._known.get(text)
        if known is None:
            key = normalise(text)
            same = key in self._keys
            data = _personal(text)
            known = self._known[text] = {
                "copied": same or self._is_copied(text),
                "near_duplicate": same or self._near.nearest(text) is not None,
                "test_copy": key in self._test,
                "personal": bool(data),
                "personal_real": bool(data and not data.isdisjoint(self._personal)),
            }
        return known

    def _is_copied(self, text: str) -> bool:
        run = self._runs.longest(text)
        return run is not None and run.share >= self._copied and is_copied(run)

    @cached_property
    def _personal(self) -> frozenset[str]:
        return frozenset().union(*map(_personal, self._train))


def _personal(text: str) -> frozenset[str]:
    return frozenset(
        f"{item.kind} {canonical(item.kind, item.text)}" for item in find(text, _KINDS) if not item.reserved
    )
