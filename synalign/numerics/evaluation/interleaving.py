"""Team-draft interleaving of two rankings, and simulated users who click on what it shows.

The draft is that of Radlinski, Kurup and Joachims, "How Does Clickthrough Data Reflect Retrieval Quality?", CIKM 2008.
The users are dependent click models (Guo, Liu and Wang, "Efficient Multiple-Click Models in Web Search", WSDM 2009)
with the probabilities of Hofmann, Whiteson and de Rijke, "Fidelity, Soundness, and Efficiency of Interleaved Comparison
Methods", TOIS 31 (2013), for two grades of relevance, and of Schuth et al., "Multileaved Comparisons for Fast Online
Evaluation", CIKM 2014, for five.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from synalign.errors import NumericsError

#: The teams, and what their sum of clicks is compared to: credit above 0 is A's.
TEAM_A, TEAM_B = 1, -1

#: Where a ranking has no more documents.
NOTHING = -1

#: Grades of relevance: 0 (not at all) to 4. A document is either, where grades are not known.
GRADES = 5
IRRELEVANT, RELEVANT = 0, GRADES - 1


@dataclass(frozen=True)
class ClickModel:
    """A user who reads from the top. click: the probability of a click on a document of each grade. stop: that the user
    is content after that click, and leaves; without a click the user reads on."""

    click: tuple[float, ...]
    stop: tuple[float, ...]


#: perfect clicks on what is relevant, and on nothing else. navigational looks for one page, and errs seldom;
#: informational reads a lot, and clicks on much. random clicks on anything: nothing can be learned from it.
CLICK_MODELS: Mapping[str, ClickModel] = MappingProxyType(
    {
        "perfect": ClickModel((0.0, 0.2, 0.4, 0.8, 1.0), (0.0, 0.0, 0.0, 0.0, 0.0)),
        "navigational": ClickModel((0.05, 0.3, 0.5, 0.7, 0.95), (0.2, 0.3, 0.5, 0.7, 0.9)),
        "informational": ClickModel((0.4, 0.6, 0.7, 0.8, 0.9), (0.1, 0.2, 0.3, 0.4, 0.5)),
        "random": ClickModel((0.5,) * GRADES, (0.0,) * GRADES),
    }
)


@dataclass(frozen=True)
class Interleaved:
    """What n users are shown: documents, int64 [n, length], NOTHING where there are no more; team, int8 [n, length],
    TEAM_A or TEAM_B, the ranking that the document was taken from, and 0 where there is none; shared, int64 [n], how
    many documents at the top stand in the same places of both rankings."""

    documents: np.ndarray
    team: np.ndarray
    shared: np.ndarray


def coins(queries: int, length: int, seed: int) -> np.ndarray:
    """Return which ranking picks first in each round of a draft, bool [queries, rounds], True for A."""
    return np.random.default_rng(seed).random((queries, (length + 1) // 2)) < 0.5


def team_draft(a: Any, b: Any, first: np.ndarray) -> Interleaved:
    """Return the interleaved lists of two rankings, as long as the rankings.

    In each round both rankings add their best document that is not in the list yet, and a coin says which one does so
    first. The list ends where either has no more.

    Args:
        a, b: int64 [n, k], the documents of n queries, best first; NOTHING where a ranking is shorter.
        first: bool [n, (k + 1) // 2], True where A picks first; see `coins`.

    Raises:
        NumericsError: if a ranking is no such matrix, or holds a document twice; or if the shapes differ.
    """
    a, b = _ranking("a", a), _ranking("b", b)
    if a.shape != b.shape or first.shape != (len(a), (a.shape[1] + 1) // 2):
        raise NumericsError(
            f"Both rankings must have one shape [n, k], and first [n, (k + 1) // 2]; given: {a.shape}, {b.shape} and "
            f"{first.shape}. Fill the shorter rankings with {NOTHING}."
        )
    queries, length = a.shape
    documents = np.full((queries, length), NOTHING, dtype=np.int64)
    team = np.zeros((queries, length), dtype=np.int8)
    used_a, used_b = a == NOTHING, b == NOTHING
    every = np.arange(queries)
    for place in range(length):
        by_a = first[:, place // 2] ^ bool(place % 2)
        place_a, place_b = used_a.argmin(axis=1), used_b.argmin(axis=1)
        open_still = ~(used_a[every, place_a] | used_b[every, place_b])
        picked = np.where(by_a, a[every, place_a], b[every, place_b])
        documents[:, place] = np.where(open_still, picked, NOTHING)
        team[:, place] = np.where(open_still, np.where(by_a, TEAM_A, TEAM_B), 0)
        used_a |= a == documents[:, place, None]
        used_b |= b == documents[:, place, None]
    same = (a == b) & (a != NOTHING)
    return Interleaved(documents, team, np.logical_and.accumulate(same, axis=1).sum(axis=1))


def grades_of(documents: np.ndarray, relevant: Any) -> np.ndarray:
    """Return RELEVANT or IRRELEVANT for each document that is shown, int64 [n, length].

    `relevant`: int64 [n] or [n, r], the documents that answer each query.

    Raises:
        NumericsError: if it is not for these n queries.
    """
    answers = np.asarray(relevant)
    answers = answers[:, None] if answers.ndim == 1 else answers
    if answers.ndim != 2 or len(answers) != len(documents):
        raise NumericsError(
            f"relevant must be [n] or [n, r] with n = {len(documents)} queries; given: shape {np.shape(relevant)}."
        )
    hit = (documents[:, :, None] == answers[:, None, :]).any(axis=2) & (documents != NOTHING)
    return np.where(hit, RELEVANT, IRRELEVANT)


def clicks(documents: np.ndarray, grades: np.ndarray, model: ClickModel, seed: int) -> np.ndarray:
    """Return what simulated users click on, bool [n, length].

    `grades`: int64 [n, length], 0 to 4, of the documents shown.

    Raises:
        NumericsError: if the shapes differ, a grade is not among those of the model, or the model's probabilities are
            none.
    """
    click, stop = (_probabilities(name, values) for name, values in (("click", model.click), ("stop", model.stop)))
    if len(click) != len(stop):
        raise NumericsError(f"A click model needs as many probabilities to stop ({len(stop)}) as to click "
                            f"({len(click)}).")  # fmt: skip
    if grades.shape != documents.shape:
        raise NumericsError(f"grades must have the shape of documents, {documents.shape}; given: {grades.shape}.")
    if grades.size and not 0 <= grades.min() <= grades.max() < len(click):
        raise NumericsError(f"grades must be from 0 to {len(click) - 1}; given: {grades.min()} to {grades.max()}.")
    random = np.random.default_rng(seed)
    wanted = (random.random(documents.shape) < click[grades]) & (documents != NOTHING)
    leaves = wanted & (random.random(documents.shape) < stop[grades])
    there = np.ones_like(leaves)  # until a user leaves, the click that makes them leave included
    there[:, 1:] = ~np.logical_or.accumulate(leaves, axis=1)[:, :-1]
    clicked: np.ndarray = wanted & there
    return clicked


def credit(shown: Interleaved, clicked: np.ndarray, *, shared: bool = False) -> np.ndarray:
    """Return who wins each query, int8 [n]: 1 for A, -1 for B, 0 for a tie: the one with more clicks on its documents.

    shared: count clicks on the documents at the top that both rankings have in the same places. Which team they belong
        to is chance alone, so they add noise and no knowledge (Chapelle, Joachims, Radlinski and Yue, "Large-Scale
        Validation and Analysis of Interleaved Search Evaluation", TOIS 30 (2012)); without them, two equal rankings
        always tie.
    """
    counted = clicked
    if not shared:
        counted = clicked & (np.arange(clicked.shape[1]) >= shown.shared[:, None])
    won: np.ndarray = np.sign((counted * shown.team).sum(axis=1, dtype=np.int64)).astype(np.int8)
    return won


def compare(a: Any, b: Any, relevant: Any, model: ClickModel, seed: int, *, shared: bool = False) -> np.ndarray:
    """Return who wins each of n queries when one simulated user asks each, int8 [n], as `credit` has it.

    Args and errors are those of `team_draft`, `grades_of` and `clicks`. The coins and the users are drawn by
    independent seeds made of `seed`.
    """
    draft, users = (int(part.generate_state(1, np.uint64)[0]) for part in np.random.SeedSequence(seed).spawn(2))
    queries, length = np.shape(a)
    shown = team_draft(a, b, coins(queries, length, draft))
    clicked = clicks(shown.documents, grades_of(shown.documents, relevant), model, users)
    return credit(shown, clicked, shared=shared)


def _ranking(name: str, array: Any) -> np.ndarray:
    ranking = np.asarray(array)
    if ranking.ndim != 2 or 0 in ranking.shape or not np.issubdtype(ranking.dtype, np.integer):
        raise NumericsError(
            f"{name} must be a matrix [n, k] of document numbers with n >= 1 and k >= 1; given: shape {ranking.shape}, "
            f"{ranking.dtype}."
        )
    if ranking.min() < NOTHING:
        raise NumericsError(f"{name} must hold document numbers of 0 or above, and {NOTHING} for none.")
    ordered = np.sort(ranking, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NOTHING)).any(axis=1)
    if twice.any():
        raise NumericsError(f"{name} must name a document once a query; query {int(np.argmax(twice))} names one twice.")
    gaps = ((ranking[:, :-1] == NOTHING) & (ranking[:, 1:] != NOTHING)).any(axis=1)
    if gaps.any():
        raise NumericsError(f"{name} has a gap in query {int(np.argmax(gaps))}: {NOTHING} stands at the end only.")
    return ranking.astype(np.int64, copy=False)


def _probabilities(name: str, values: Sequence[float]) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found) or not ((found >= 0) & (found <= 1)).all():
        raise NumericsError(f"{name} must be probabilities from 0 to 1, one a grade; given: {tuple(values)!r}.")
    return found
