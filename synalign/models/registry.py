"""Classifiers by the names that users call them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

from synalign.errors import UsageError
from synalign.models.logistic import Logistic
from synalign.models.network import Network
from synalign.models.protocol import Classifier
from synalign.models.tfidf import Tfidf
from synalign.models.transformer import PREFIX, Transformer

#: What makes each classifier that has a name of its own.
KINDS: dict[str, Callable[..., Classifier]] = {"logistic": Logistic, "tfidf": Tfidf, "network": Network}

#: What may be given as a name.
ALLOWED = (*KINDS, f"{PREFIX}NAME_OR_PATH")


def classifier(name: str, /, **settings: Any) -> Classifier:
    """Return the classifier of a name, with the settings that are given and the defaults of the others.

    No model is loaded here: that a model of transformers is missing is found out when it is fitted.

    Raises:
        UsageError: if there is no such classifier, it has no such setting, or a value is not allowed.
    """
    if name.startswith(PREFIX):
        _check(name, Transformer, settings, {"model", "name"})
        return Transformer(name.removeprefix(PREFIX), **settings)
    kind = KINDS.get(name)
    if kind is None:
        near = difflib.get_close_matches(name.lower(), ALLOWED, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"There is no classifier {name!r}.{hint} Allowed: {', '.join(ALLOWED)}.")
    _check(name, kind, settings, {"name"})
    return kind(**settings)


def _check(name: str, kind: Any, settings: dict[str, Any], own: set[str]) -> None:
    """Check that the classifier has settings of these names; `own` are fields that are none."""
    allowed = sorted(field.name for field in dataclasses.fields(kind) if field.name not in own)
    for setting in settings:
        if setting not in allowed:
            near = difflib.get_close_matches(setting, allowed, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"The classifier {name!r} has no setting {setting!r}.{hint} Its settings: {', '.join(allowed)}."
            )
