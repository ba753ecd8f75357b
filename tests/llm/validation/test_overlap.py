from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign.llm.validation.overlap import NearCopies, SharedRuns, normalise, shingles, word_count, words

# Few letters and words, so that random texts have much in common.
LETTERS = st.text(alphabet="ab \u00e9", max_size=12)
PHRASES = st.lists(st.sampled_from(["a", "b", "c", "d.", "E"]), max_size=14).map(" ".join)


def nearest_by_force(text: str, others: list[str], threshold: float) -> tuple[float, int] | None:
    """The definition: every pair, sets of pieces written out."""

    def pieces(value: str) -> set[str]:
        key = normalise(value)
        return {"".join(piece) for piece in zip(key, key[1:], key[2:], strict=False)} or ({key} if key else set())

    best: tuple[float, int] | None = None
    for number, other in enumerate(others):
        union = pieces(text) | pieces(other)
        similarity = len(pieces(text) & pieces(other)) / len(union) if union else 0.0
        if similarity >= threshold and (best is None or similarity > best[0]):
            best = (similarity, number)
    return best


def longest_by_force(text: str, others: list[str]) -> tuple[int, int] | None:
    """The length of the longest run, and the first text that has it, by trying all."""
    own = words(text)
    for length in range(len(own), 3, -1):
        runs = {tuple(own[start : start + length]) for start in range(len(own) - length + 1)}
        for number, other in enumerate(others):
            theirs = words(other)
            if any(tuple(theirs[start : start + length]) in runs for start in range(len(theirs) - length + 1)):
                return length, number
    return None


@settings(max_examples=200, deadline=None)
@given(st.lists(LETTERS, max_size=12), LETTERS, st.sampled_from([0.2, 0.5, 0.75, 0.9, 1.0]))
def test_the_nearest_text_is_that_of_all_pairs(others: list[str], text: str, threshold: float) -> None:
    near: NearCopies[int] = NearCopies(threshold)
    for number, other in enumerate(others):
        near.add(other, number)
    assert near.nearest(text) == nearest_by_force(text, others, threshold)


@pytest.mark.parametrize("threshold", [0.6, 0.9])
def test_the_nearest_text_is_that_of_all_pairs_when_pieces_are_ranked_anew(threshold: float) -> None:
    draw = random.Random(3)
    vocabulary = ["parcel", "order", "lamp", "broken", "late", "the", "my", "is", "refund"]
    texts = [" ".join(draw.choices(vocabulary, k=draw.randint(3, 9))) for _ in range(1100)]
    near: NearCopies[int] = NearCopies(threshold)
    for number, text in enumerate(texts):
        if number % 40 == 0:
            assert near.nearest(text) == nearest_by_force(text, texts[:number], threshold)
        near.add(text, number)
    assert len(near) == len(texts)


def test_of_equally_similar_texts_the_first_counts() -> None:
    near: NearCopies[str] = NearCopies(0.5)
    near.add("The  lamp", "first")
    near.add("the lamp", "second")
    assert near.nearest("THE LAMP") == (1.0, "first")


def test_texts_without_characters_are_near_nothing() -> None:
    near: NearCopies[int] = NearCopies(0.5)
    near.add(" ", 0)
    assert (len(near), near.nearest(""), near.nearest("a")) == (0, None, None)


@pytest.mark.parametrize("threshold", [0.0, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        NearCopies(threshold)


@settings(max_examples=300, deadline=None)
@given(st.lists(PHRASES, max_size=8), PHRASES)
def test_the_longest_run_is_that_of_all_runs(others: list[str], text: str) -> None:
    found, expected = SharedRuns(others).longest(text), longest_by_force(text, others)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert (found.words, found.source) == expected
        assert found.share == found.words / len(words(text))
        assert " ".join(found.run) in " ".join(words(text))
        assert " ".join(found.run) in " ".join(words(others[found.source]))


def test_a_run_does_not_cross_from_one_text_into_the_next() -> None:
    assert SharedRuns(["one two three", "four five six"]).longest("one two three four five six") is None


def test_words_are_without_case_and_punctuation() -> None:
    assert words("Don’t  STOP, it's \u201cfine\u201d (really)!") == ["don't", "stop", "it's", "fine", "really"]


def test_scripts_without_spaces_are_compared_by_character() -> None:
    assert words("灯坏了! ok") == ["灯", "坏", "了", "ok"]
    assert word_count(words("灯坏了了 ok")) == 3
    run = SharedRuns(["我的台灯什么时候能到"]).longest("请问台灯什么时候能来")
    assert run is not None
    assert "".join(run.run) == "台灯什么时候能"


def test_marks_stay_with_their_word() -> None:
    assert words("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"]


def test_a_short_text_is_its_own_piece() -> None:
    assert (shingles("ab"), shingles(""), shingles("abcd")) == ({"ab"}, frozenset(), {"abc", "bcd"})


def test_many_texts_are_fast() -> None:
    draw = random.Random(0)
    vocabulary = [f"w{number}" for number in range(3000)]
    texts = [" ".join(draw.choices(vocabulary, k=15)) for _ in range(10_000)]
    started = time.perf_counter()
    runs = SharedRuns(texts)
    for text in texts[:500]:
        assert runs.longest(text + " and more") is not None
    assert time.perf_counter() - started < 5  # a tenth of it on a slow core
