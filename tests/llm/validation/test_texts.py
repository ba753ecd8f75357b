from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synalign.llm.validation.texts import NO_MARK, Coder, form, marks, word_tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # words, characters, visible, marks, digits, letters, capitals, emoji, urls
        ("Hello, World 42!", (3, 16, 14, 2, 2, 10, 2, 0, 0)),
        ("  so   what \n", (2, 7, 6, 0, 0, 6, 0, 0, 0)),
        ("see https://a.b/C?d=1, ok", (8, 25, 5, 0, 0, 5, 0, 0, 1)),
        ("WWW.SHOP.com", (3, 12, 0, 0, 0, 0, 0, 0, 1)),
        ("fine 👍🏽 ❤️", (1, 10, 4, 0, 0, 4, 0, 1, 0)),
        ("1️⃣ go 👨‍👩‍👧", (1, 12, 2, 0, 0, 2, 0, 1, 0)),
        ("© 5€ ™", (1, 6, 4, 3, 1, 0, 0, 0, 0)),
        ("你好，世界。", (2, 6, 6, 2, 0, 0, 0, 0, 0)),
        ("Ärger ١٢", (2, 8, 7, 0, 2, 5, 1, 0, 0)),
        ("", (0, 0, 0, 0, 0, 0, 0, 0, 0)),
    ],
)
def test_what_is_counted(text: str, expected: tuple[int, ...]) -> None:
    found = form([text])
    assert tuple(float(getattr(found, name)[0]) for name in found.__dataclass_fields__) == expected


def test_marks_are_those_outside_addresses_and_emoji() -> None:
    assert marks("Well, (see http://x.y?z) 👍 no!") == [",", "(", "!"]
    assert marks("本当。") == ["。"]
    assert marks("none") == marks("") == marks("👍") == [NO_MARK]


def test_codes_stay_the_same_from_call_to_call() -> None:
    coder = Coder(word_tokens)
    values, starts = coder.code(["The cat", "", "the dog"])
    assert (values.tolist(), starts.tolist()) == ([0, 1, 0, 2], [0, 2, 2, 4])
    assert coder.code(["DOG bird"])[0].tolist() == [2, 3]
    assert len(coder) == 4
    empty = coder.code([])
    assert (empty[0].dtype, empty[1].tolist()) == (np.int64, [0])


@given(st.lists(st.text(max_size=30), max_size=8))
@settings(deadline=None, max_examples=150)
def test_any_text_has_numbers_that_fit_each_other(texts: list[str]) -> None:
    found = form(texts)
    for name in found.__dataclass_fields__:
        values = getattr(found, name)
        assert values.shape == (len(texts),)
        assert np.isfinite(values).all()
        assert (values >= 0).all()
    assert (found.marks + found.digits + found.letters <= found.visible).all()
    assert (found.capitals <= found.letters).all()
    assert (np.maximum(found.emoji, found.urls) <= 1).all()
    for part in (word_tokens, marks):
        values, starts = Coder(part).code(texts)
        assert np.diff(starts).tolist() == [len(part(text)) for text in texts]
        assert len(values) == starts[-1]
    counted = [0 if marks(text) == [NO_MARK] else len(marks(text)) for text in texts]
    assert counted == found.marks.astype(int).tolist()
