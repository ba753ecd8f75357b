"""Verbs: what a wrong call is told, and what help and signatures show."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import synalign as sa
from synalign.config import AlignRequest
from synalign.errors import ConfigError


@pytest.fixture
def ws(tmp_path: Path) -> sa.Workspace:
    return sa.open(tmp_path / "ws")


def test_a_wrong_keyword_names_the_nearest_and_what_is_allowed(ws: sa.Workspace) -> None:
    with pytest.raises(TypeError, match=r"align\(\) has no argument 'strenght'; did you mean 'strength'\?") as found:
        ws.align(strenght=1)  # type: ignore[call-arg]
    assert "max_weight_ratio" in str(found.value)


def test_a_wrong_value_is_told_with_what_was_given(ws: sa.Workspace) -> None:
    with pytest.raises(ConfigError, match=r"align is not valid:\n  strength: .*given: 'automatic'"):
        ws.align(strength="automatic")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verb", "positional", "said"),
    [
        ("align", (1,), r"align\(\) takes 0 arguments by position; given: 1"),
        ("ab", ("a",), r"ab\(\) needs the argument 'b'"),
        ("ingest", (), r"ingest\(\) needs the argument 'source'"),
        ("analyse_experiment", ("log.csv",), r"analyse_experiment\(\) needs the argument 'metrics'"),
        ("train_retriever", ("a", "b"), r"takes 1 arguments by position: name; given: 2"),
    ],
)
def test_too_many_and_missing_arguments_are_named(
    ws: sa.Workspace, verb: str, positional: tuple[object, ...], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        getattr(ws, verb)(*positional)


def test_an_argument_given_twice_is_refused(ws: sa.Workspace) -> None:
    with pytest.raises(TypeError, match="got 'name' twice"):
        ws.train_retriever("a", name="b")


def test_help_and_signature_show_each_field(ws: sa.Workspace) -> None:
    signature = inspect.signature(ws.align)
    assert list(signature.parameters) == list(AlignRequest.model_fields)
    assert signature.parameters["strength"].default == "auto"
    text = inspect.getdoc(ws.align) or ""
    for name, field in AlignRequest.model_fields.items():
        assert f"    {name}: {str(field.description).split()[0]}" in text
    assert text.index("Args:") < text.index("Raises:")
    assert next(iter(inspect.signature(ws.ingest).parameters)) == "source"


def test_settings_of_a_session_are_used_and_not_written(tmp_path: Path) -> None:
    sa.open(tmp_path / "ws").configure(sa.Config())
    before = (tmp_path / "ws" / "synalign.toml").read_text()
    one = sa.open(tmp_path / "ws", settings={"align.features": 64, "seed": 3})
    assert (one._context().config.align.features, one._context().config.seed) == (64, 3)
    assert one.config == sa.Config()
    one.publish()
    assert (tmp_path / "ws" / "synalign.toml").read_text() == before
    with pytest.raises(ConfigError, match="did you mean 'features'"):
        sa.open(tmp_path / "ws", settings={"align.featurs": 64})
