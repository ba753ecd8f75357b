"""Team-draft interleaving and simulated clicks: against a plain loop, by what must hold, and by simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from synalign.errors import NumericsError
from synalign.numerics.evaluation.interleaving import (
    CLICK_MODELS,
    GRADES,
    NOTHING,
    RELEVANT,
    ClickModel,
    clicks,
    coins,
    compare,
    credit,
    grades_of,
    team_draft,
)
from synalign.numerics.statistics.sequential import stopping_time, watch
from tests.numerics.rankers import NAVIGATIONAL, Pair, pair


def drafted(a: list[int], b: list[int], first: list[bool]) -> tuple[list[int], list[int]]:
    """The pseudo code of Radlinski et al., for one query: counts of the teams say whose turn it is."""
    shown: list[int] = []
    team: list[int] = []
    coin = iter(first)
    a, b = [one for one in a if one != NOTHING], [one for one in b if one != NOTHING]
    while set(a) - set(shown) and set(b) - set(shown) and len(shown) < len(first) * 2:
        if team.count(1) == team.count(-1):
            turn = 1 if next(coin) else -1
        else:
            turn = 1 if team.count(1) < team.count(-1) else -1
        shown.append(next(one for one in (a if turn == 1 else b) if one not in shown))
        team.append(turn)
    return shown, team


def rankings(queries: int, depth: int, documents: int, seed: int, shorter: bool = False) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    found = []
    for _ in range(2):
        ranked = np.argsort(random.random((queries, documents)), axis=1)[:, :depth]
        if shorter:
            lengths = random.integers(0, depth + 1, queries)
            ranked[np.arange(depth) >= lengths[:, None]] = NOTHING
        found.append(ranked)
    return tuple(found)


@pytest.mark.parametrize("shorter", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 7, 10])
def test_it_is_the_draft_of_a_plain_loop(depth: int, shorter: bool) -> None:
    a, b = rankings(300, depth, 12, depth, shorter)
    first = coins(300, depth, 5)
    found = team_draft(a, b, first)
    for row in range(300):
        shown, team = drafted(a[row].tolist(), b[row].tolist(), first[row].tolist())
        shown, team = shown[:depth], team[:depth]
        blank = depth - len(shown)
        assert found.documents[row].tolist() == shown + [NOTHING] * blank
        assert found.team[row].tolist() == team + [0] * blank


def test_nothing_is_shown_twice_and_teams_are_even_at_every_place() -> None:
    a, b = rankings(500, 10, 14, 1)
    found = team_draft(a, b, coins(500, 10, 2))
    assert all(len(set(row)) == 10 for row in found.documents.tolist())
    assert np.abs(found.team.cumsum(axis=1)).max() == 1
    taken = np.where(found.team[:, :, None] == 1, a[:, None, :], b[:, None, :])
    assert (taken == found.documents[:, :, None]).any(axis=2).all(), "a team holds documents of its own ranking"


def test_documents_that_both_rank_alike_at_the_top_are_counted() -> None:
    a = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, NOTHING, NOTHING, NOTHING]])
    b = np.array([[1, 2, 4, 3], [2, 1, 3, 4], [1, 2, 3, 4], [1, NOTHING, NOTHING, NOTHING]])
    found = team_draft(a, b, coins(4, 4, 0))
    assert found.shared.tolist() == [2, 0, 4, 1]
    clicked = np.zeros((4, 4), dtype=bool)
    clicked[:, 0] = True
    assert credit(found, clicked).tolist() == [0, found.team[1, 0], 0, 0]
    assert credit(found, clicked, shared=True).tolist() == found.team[:, 0].tolist()


def test_equal_rankings_get_no_credit_exactly() -> None:
    """Over all coins, whatever is clicked: with the shared documents their mean is 0, and without each is."""
    every = np.array(list(product([False, True], repeat=2)))
    a = np.tile([5, 3, 8, 1], (4, 1))
    shown = team_draft(a, a, every)
    for pattern in product([False, True], repeat=4):
        clicked = np.tile(pattern, (4, 1))
        assert credit(shown, clicked, shared=True).sum() == 0
        assert not credit(shown, clicked).any()


@pytest.mark.parametrize("shared", [False, True])
def test_clicks_that_do_not_look_at_documents_favour_nobody_exactly(shared: bool) -> None:
    """Over all coins: each list that a coin makes has a mirror image in which the teams are swapped."""
    every = np.array(list(product([False, True], repeat=2)))
    a, b = rankings(30, 4, 6, 4)
    for row in range(30):
        shown = team_draft(np.tile(a[row], (4, 1)), np.tile(b[row], (4, 1)), every)
        for pattern in product([False, True], repeat=4):
            assert credit(shown, np.tile(pattern, (4, 1)), shared=shared).sum() == 0


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("model", [CLICK_MODELS["random"], ClickModel((1.0,) * GRADES, (1.0,) * GRADES)])
def test_users_who_do_not_look_favour_nobody(model: ClickModel, shared: bool) -> None:
    """A is far better, and users who click on anything, or on whatever comes first, do not see it."""
    won = pair(3.0).outcomes(40_000, model, 3, shared=shared)
    decided = int((won != 0).sum())
    assert decided > 10_000
    assert binom.cdf((won > 0).sum(), decided, 0.5) > 1e-4
    assert binom.sf((won > 0).sum(), decided, 0.5) > 1e-4


@pytest.mark.parametrize("name", ["perfect", "navigational", "informational"])
def test_users_see_the_better_ranker(name: str) -> None:
    found = pair(0.6)
    assert found.outcomes(4_000, CLICK_MODELS[name], 1).mean() > 0.05
    assert Pair(found.b, found.a, found.relevant).outcomes(4_000, CLICK_MODELS[name], 1).mean() < -0.05


def test_users_click_and_leave_as_the_model_says() -> None:
    """Frequencies in the places where a user is still there, against the model, for all grades."""
    random = np.random.default_rng(0)
    grades = random.integers(0, GRADES, (60_000, 6))
    documents = np.tile(np.arange(6), (60_000, 1))
    for name, model in CLICK_MODELS.items():
        clicked = clicks(documents, grades, model, 1)
        there = np.ones(60_000, dtype=bool)
        for grade in range(GRADES):
            seen = clicked[grades[:, 0] == grade, 0]
            assert seen.mean() == pytest.approx(model.click[grade], abs=5 * 0.5 / np.sqrt(len(seen))), name
            # After a click on this grade in the first place, and only then, the second place may be looked at no more.
            after = clicked[(grades[:, 0] == grade) & clicked[:, 0] & (grades[:, 1] == RELEVANT), 1]
            if len(after):
                stay = (1 - model.stop[grade]) * model.click[RELEVANT]
                assert after.mean() == pytest.approx(stay, abs=5 * 0.5 / np.sqrt(len(after))), name
        there &= ~clicked[:, 0]
        on = clicked[there & (grades[:, 1] == RELEVANT), 1]
        if len(on):
            assert on.mean() == pytest.approx(model.click[RELEVANT], abs=5 * 0.5 / np.sqrt(len(on)))


def test_perfect_users_click_on_what_is_relevant_alone() -> None:
    documents = np.array([[4, 7, 9, NOTHING], [4, 7, 9, 2]])
    grades = grades_of(documents, np.array([7, NOTHING]))
    assert (grades == RELEVANT).tolist() == [[False, True, False, False], [False] * 4]
    assert clicks(documents, grades, CLICK_MODELS["perfect"], 0).tolist() == (grades == RELEVANT).tolist()
    several = grades_of(documents, np.array([[7, 9], [2, NOTHING]]))
    assert (several == RELEVANT).sum(axis=1).tolist() == [2, 1]


def test_one_seed_gives_one_result() -> None:
    found = pair(0.5, queries=400)
    one, again, other = (found.outcomes(400, NAVIGATIONAL, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([[1, 1]], [[1, 2]], "query 0 names one twice"),
        ([[1, 2]], [[1, 2, 3]], "one shape"),
        ([[NOTHING, 2]], [[1, 2]], "a gap in query 0"),
        ([[-2, 2]], [[1, 2]], "0 or above"),
        ([[1.5, 2]], [[1, 2]], "document numbers"),
        ([], [], "document numbers"),
    ],
)
def test_rankings_that_are_none_are_said(a: list, b: list, said: str) -> None:
    with pytest.raises(NumericsError, match=said):
        team_draft(a, b, coins(1, 2, 0))


def test_clicks_that_cannot_be_are_said() -> None:
    documents, grades = np.zeros((2, 1), dtype=np.int64), np.zeros((2, 1), dtype=np.int64)
    with pytest.raises(NumericsError, match="probabilities from 0 to 1"):
        clicks(documents, grades, ClickModel((1.5,), (0.0,)), 0)
    with pytest.raises(NumericsError, match="as many probabilities"):
        clicks(documents, grades, ClickModel((0.5, 0.5), (0.0,)), 0)
    with pytest.raises(NumericsError, match="grades must be from 0 to 4; given: 9 to 9"):
        clicks(documents, grades + 9, NAVIGATIONAL, 0)
    with pytest.raises(NumericsError, match="shape of documents"):
        clicks(documents, grades[:1], NAVIGATIONAL, 0)
    with pytest.raises(NumericsError, match="n = 2 queries"):
        grades_of(documents, np.zeros(3))
    with pytest.raises(NumericsError, match="one shape"):
        compare([[1, 2]], [[1]], [1], NAVIGATIONAL, 0)


def detected(found: Pair, impressions: int, lift: float, repetitions: int, alpha: float) -> tuple[int, int]:
    """In how many repetitions A was found to be better, and in how many B was, looking after each impression."""
    better = worse = 0
    for repetition in range(repetitions):
        seen = watch(found.outcomes(impressions, NAVIGATIONAL, 1_000_003 * repetition), alpha, lift)
        better += seen.decision == 1
        worse += seen.decision == -1
    return better, worse


@pytest.mark.parametrize("repetitions", [150, pytest.param(1_000, marks=pytest.mark.long)])
def test_a_known_difference_is_seen_with_the_stated_power(repetitions: int) -> None:
    """The win rate and the ties of the pair are measured on many queries; the impressions that this takes, at 80%
    power, find the better ranker in 80% of the repetitions, and the other one by chance alone."""
    found, power, alpha = pair(0.35), 0.8, 0.05
    known = found.outcomes(400_000, NAVIGATIONAL, 99)
    lift = (known > 0).sum() / (known != 0).sum() - 0.5
    assert 0.05 < lift < 0.12
    needed = stopping_time(lift, power, alpha, float((known == 0).mean()), seed=5, repetitions=20_000).needed
    better, worse = detected(found, needed, lift, repetitions, alpha)
    print(f"lift {lift:.3f}: found {better} times of {repetitions}, {power:g} stated; the other {worse}")  # noqa: T201
    low, high = binom.ppf([0.0005, 0.9995], repetitions, power)
    assert low <= better <= high, (better, needed, lift)
    assert worse <= binom.ppf(0.9995, repetitions, alpha / 2)


@pytest.mark.parametrize("repetitions", [150, pytest.param(1_000, marks=pytest.mark.long)])
def test_no_difference_raises_a_false_alarm_no_more_often_than_stated(repetitions: int) -> None:
    """Rankers that are alike and rank apart, looked at after each of 1,500 impressions."""
    alpha = 0.05
    better, worse = detected(pair(0.0), 1_500, 0.05, repetitions, alpha)
    print(f"no difference: {better + worse} alarms in {repetitions}, {alpha:g} stated")  # noqa: T201 shown by -s
    assert better + worse <= alpha * repetitions
