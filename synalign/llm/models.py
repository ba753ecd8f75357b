"""Which model answers: the embedded one, a recording, or an endpoint."""

from __future__ import annotations

from pathlib import Path

from synalign.config import Llm
from synalign.errors import ConfigError
from synalign.llm.chat import ChatModel


def open_model(settings: Llm, base_dir: Path) -> ChatModel:
    """Return the model that `settings.model` names; paths of recordings are relative to `base_dir`.

    Raises:
        ConfigError: for an unknown builtin, or a recording that is missing or not valid.
        ModelAuthError: if the endpoint needs a key and the environment holds none.
    """
    kind, _, rest = settings.model.partition("/")
    if kind == "builtin":
        from synalign.llm.ngram import NgramModel

        if rest != "ngram":
            raise ConfigError(f"llm.model is {settings.model!r}, and the only builtin model is 'builtin/ngram'.")
        return NgramModel()
    if kind == "replay":
        from synalign.llm.replay import ReplayModel

        if not rest:
            raise ConfigError("llm.model is 'replay/' without a file; write 'replay/FILE', relative to the workspace.")
        return ReplayModel(base_dir / rest)
    from synalign.llm.client import OpenAIChat

    return OpenAIChat(settings)
