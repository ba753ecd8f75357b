from __future__ import annotations

import pytest

from synalign.errors import UsageError
from synalign.models.logistic import Logistic
from synalign.models.network import Network
from synalign.models.registry import classifier
from synalign.models.tfidf import Tfidf
from synalign.models.transformer import Transformer


def test_names() -> None:
    assert classifier("logistic", penalty=2.0) == Logistic(2.0)
    assert classifier("tfidf") == Tfidf()
    assert classifier("network", hidden=7) == Network(hidden=7)
    assert classifier("transformers/a/b", epochs=2) == Transformer("a/b", epochs=2)
    for name in ("logistic", "tfidf", "network", "transformers/a/b"):
        assert classifier(name).name == name


@pytest.mark.parametrize(("name", "near"), [("Logistic", "logistic"), ("tf-idf", "tfidf"), ("networks", "network")])
def test_an_unknown_name_gets_the_nearest_and_all(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean '{near}'") as caught:
        classifier(name)
    assert "Allowed: logistic, tfidf, network, transformers/NAME_OR_PATH." in str(caught.value)


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match=r"no setting 'penalti'\. Did you mean 'penalty'"):
        classifier("tfidf", penalti=2)
    with pytest.raises(UsageError, match="no setting 'name'"):
        classifier("logistic", name="mine")
    with pytest.raises(UsageError, match="nothing follows it"):
        classifier("transformers/")
    for name, setting, value in (
        ("logistic", "penalty", 0), ("tfidf", "penalty", float("nan")), ("network", "hidden", 0.5),
        ("network", "dropout", 1), ("network", "epochs", True), ("network", "device", "tpu"),
        ("network", "weight_decay", -1), ("transformers/a", "batch_size", "8"), ("transformers/a", "device", ""),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=f"The setting {setting} of the classifier '{name}' is .*; given: "):
            classifier(name, **{setting: value})
