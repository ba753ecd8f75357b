"""Encoders of text that live outside this package: sentence-transformers models on this machine, and endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from synalign.errors import ModelError, UsageError
from synalign.llm.transport.client import openai_embed

if TYPE_CHECKING:
    import numpy as np

__all__ = ["encode_sentence_transformers", "openai_embed", "unit_rows"]


def encode_sentence_transformers(texts: Sequence[str], name_or_path: str, batch_size: int) -> np.ndarray:
    """Return the vectors of n texts as float32 [n, d], each of length 1.

    `name_or_path` is a folder, or the name of a model that was downloaded before: nothing is ever downloaded here.

    Raises:
        UsageError: if the package is not installed, or there is no such model on this machine.
        ModelError: if the model gives vectors that are not finite or have no direction.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UsageError(
            f"embed.model 'sentence-transformers/{name_or_path}' needs a package that is not installed: pip install "
            f"'synalign[sentence-transformers]'. Without it, 'builtin/lsa' and 'openai/MODEL' work."
        ) from error
    try:
        model = SentenceTransformer(name_or_path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"There is no sentence-transformers model {name_or_path!r} on this machine: {error}. Give the path of a "
            f"folder that holds one, or download it first; SynAlign downloads nothing by itself."
        ) from error
    vectors = model.encode(list(texts), batch_size=batch_size, convert_to_numpy=True, show_progress_bar=False)
    return unit_rows(vectors, name_or_path)


def unit_rows(vectors: np.ndarray, source: str) -> np.ndarray:
    """Return `vectors` [n, d] as float32 with rows of length 1; `source` is what gave them.

    Raises:
        ModelError: if a row is not finite or is zero.
    """
    import numpy as np

    rows = np.asarray(vectors, dtype=np.float64)
    if rows.size == 0:
        return rows.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if bad.size:
        raise ModelError(
            f"{source} gave {bad.size} of {len(rows)} vectors that are zero or not finite, the first for text "
            f"{bad[0]}. Such a text may be empty for this model; leave it out."
        )
    return (rows / lengths).astype(np.float32)
