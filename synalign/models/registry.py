"""The classifiers by name."""

from __future__ import annotations

from typing import Any

from synalign.models.logistic import Logistic
from synalign.models.protocol import Classifier


def classifier(name: str, **settings: Any) -> Classifier:
    """Return a classifier."""
    assert name == "logistic"
    return Logistic(**settings)
