"""The kinds of model that the shared tests take, each with settings for a small problem."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from synalign.models.protocol import Classifier
from synalign.models.registry import classifier
from tests.models.toy import save_tiny_bert

HAS_TRANSFORMERS = importlib.util.find_spec("transformers") is not None

#: Settings under which each kind learns the small problem.
SETTINGS = {
    "logistic": {},
    "tfidf": {},
    "network": {"hidden": 16, "least_steps": 80, "learning_rate": 1e-2},
    "transformers": {"least_steps": 60, "learning_rate": 2e-3},
}


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny transformer; a test that asks for it is skipped where the extra is not installed."""
    if not HAS_TRANSFORMERS:
        pytest.skip("needs transformers: pip install 'synalign[transformers]'")
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    save_tiny_bert(folder)
    return folder


@pytest.fixture(scope="session", params=SETTINGS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of model that a shared test is about."""
    return request.param


@pytest.fixture(scope="session")
def make(kind: str, request: pytest.FixtureRequest) -> Callable[..., Classifier]:
    """Makes a model of that kind; settings that are given come before those above."""
    name = f"transformers/{request.getfixturevalue('tiny_bert')}" if kind == "transformers" else kind
    return lambda **settings: classifier(name, **{**SETTINGS[kind], **settings})
