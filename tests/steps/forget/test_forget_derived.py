"""What is derived from a record, on tables that a person can read: lineage, wandering attributes, what calls say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from synalign.steps.forget.lineage import Frames, Lineage, Mentions, trace_lineage

TEXTS = {"r1": "my zorblax lamp hums all night", "r2": "the parcel is late again", "r3": "my lamp is broken"}
_NAMED = pl.List(pl.Struct({"name": pl.String, "value": pl.String}))


def frame(columns: str, *rows: tuple[Any, ...]) -> pl.DataFrame:
    names = columns.split()
    kinds = {"demonstrations": pl.List(pl.String), "attributes": _NAMED}
    return pl.DataFrame(rows, {name: kinds.get(name, pl.String) for name in names}, orient="row")


def stated(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def frames() -> Frames:
    """Selection s1 shows r1, s2 shows r2 and r3; each has a reply, and s2 has one of recombined attributes, too."""
    values = "attributes_id name kind value stated"
    return Frames(
        selections=frame("selection_id demonstrations record_id", ("s1", ["r1"], None), ("s2", ["r2", "r3"], None)),
        attributes=frame(
            "id run_id selection_id call_id attributes",
            ("a1", "reason", "s1", "c1", stated(topic="lamp", tone="a worried owner of a lamp")),
            ("a2", "reason", "s2", "c2", stated(topic="lamp", tone="somebody who waits")),
            ("m2", "generate", "s2", None, stated(topic="lamp", tone="a worried owner of a lamp")),
        ),
        values=frame(
            values,
            *((name, "topic", "category", "lamp", "lamp") for name in ("a1", "a2", "m2")),
            ("a1", "tone", "text", "a worried owner of a lamp", "a worried owner of a lamp"),
            ("a2", "tone", "text", "somebody who waits", "somebody who waits"),
            ("m2", "tone", "text", "a worried owner of a lamp", "a worried owner of a lamp"),
        ),
        annotations=frame("run_id origin id call_id name value stated"),
        synthetic=frame(
            "id text call_id selection_id attributes_id",
            ("y1", "a lamp that hums is no fun at all", "g1", "s1", "a1"),
            ("y2", "where is my parcel, please tell me", "g2", "s2", "a2"),
            ("y3", "i worry about this lamp of mine", "g3", "s2", "m2"),
        ),
        rejections=frame("call_id text"),
        calls=frame(
            "call_id run_id step selection_id repairs",
            ("c1", "reason", "reason", "s1", None),
            ("c2", "reason", "reason", "s2", None),
            ("merge", "reason", "reason", None, None),
            ("merge-other", "other", "reason", None, None),
            ("g1", "generate", "generate", "s1", None),
            ("g1-repaired", "generate", "generate", None, "g1"),
            ("g2", "generate", "generate", "s2", None),
            ("g3", "generate", "generate", "s2", None),
        ),
    )


def follow(given: Frames, *names: str, said: dict[str, str] | None = None) -> Lineage:
    """`said`: what calls hold."""

    def quoting(texts: Iterable[str], vocabulary: bool) -> set[str]:
        listed = list(texts)
        return {call for call, text in (said or {}).items() if any(item in text for item in listed)}

    theirs = pl.Series([TEXTS[name] for name in names])
    others = pl.Series([text for name, text in TEXTS.items() if name not in names])
    return trace_lineage(given, set(names), theirs, others, quoting)


def test_lineage_and_recombined_attributes_are_followed() -> None:
    found = follow(frames(), "r1")
    assert found.selections == {"s1"}
    assert found.attributes == {"a1", "m2"}
    assert found.synthetic == {"y1", "y3"}
    assert found.calls == {"c1", "merge", "g1", "g1-repaired", "g3"}
    assert found.telling == set()


def test_a_record_that_nothing_shows_takes_nothing_with_it() -> None:
    given = frames()
    alone = Frames(**(vars(given) | {"selections": given.selections.filter(pl.col("selection_id") == "s2")}))
    assert follow(alone, "r1").size() == 0


def test_calls_that_quote_what_was_written_go_and_what_came_of_them() -> None:
    said = {"g2": '{"text": "i worry about this lamp of mine"}', "c2": "the parcel is late again"}
    found = follow(frames(), "r1", said=said)
    assert "g2" in found.calls
    assert "y2" in found.synthetic
    assert "c2" not in found.calls


def test_a_category_that_only_the_record_speaks_of_goes_wherever_it_is() -> None:
    given = frames()
    swap = pl.col("stated").replace("lamp", "zorblax lamp")
    items = given.attributes.with_columns(
        pl.Series([stated(topic="zorblax lamp"), stated(topic="lamp"), stated(topic="zorblax lamp")], dtype=_NAMED)
        .alias("attributes")
    )  # fmt: skip
    given = Frames(
        **(vars(given) | {"attributes": items, "values": given.values.with_columns(swap, swap.alias("value"))})
    )
    found = follow(given, "r1", said={"merge-other": '"zorblax lamp"'})
    assert found.telling == {"zorblax lamp"}
    assert "m2" in found.attributes
    assert "merge-other" in found.calls


def test_words_that_others_use_tell_of_nobody() -> None:
    mentioned = Mentions(pl.Series([TEXTS["r1"]]), pl.Series([TEXTS["r2"], TEXTS["r3"]]))
    assert mentioned.words() == {"zorblax", "hums", "night"}
    assert mentioned.alone(["lamp", "Zorblax Lamp", "all"]) == {"Zorblax Lamp"}
    assert mentioned.unlike_others(["my lamp is broken", "short", TEXTS["r1"]]) == {TEXTS["r1"]}
