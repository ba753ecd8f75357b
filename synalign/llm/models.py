"""Which model answers: the embedded one, a recording, or an endpoint."""

from __future__ import annotations

from pathlib import Path

from synalign.config import Llm
from synalign.errors import ConfigError
from synalign.llm.transport.chat import ChatModel


def open_model(settings: Llm, base_dir: Path, mode: str | None = None) -> ChatModel:
    """Return the model that `settings.model` names; paths of recordings are relative to `base_dir`. `mode`:
    how structure is known to be asked for at this endpoint.

    Raises:
        ConfigError: for an unknown builtin, or a recording that is missing or not valid.
        ModelAuthError: if the endpoint needs a key and the environment holds none.
    """
    kind, _, rest = settings.model.partition("/")
    if kind == "builtin":
        from synalign.llm.builtin.ngram import NgramModel

        if rest != "ngram":
            raise ConfigError(f"llm.model is {settings.model!r}, and the only builtin model is 'builtin/ngram'.")
        return NgramModel()
    if kind == "replay":
        from synalign.llm.builtin.replay import ReplayModel

        return ReplayModel(_recording_path(rest, base_dir))
    from synalign.llm.transport.client import OpenAIChat

    return OpenAIChat(settings, mode=mode)


def recording(model: str, base_dir: Path) -> str | None:
    """Return the hash of the recording that `model` answers from, or None if it is no recording.

    Raises:
        ConfigError: if the recording is missing or is no text.
    """
    kind, _, rest = model.partition("/")
    if kind != "replay":
        return None
    from synalign.llm.builtin.replay import recording_digest

    return recording_digest(_recording_path(rest, base_dir))


def _recording_path(rest: str, base_dir: Path) -> Path:
    if not rest:
        raise ConfigError("llm.model is 'replay/' without a file; write 'replay/FILE', relative to the workspace.")
    return base_dir / rest
