"""The bodies that OpenAI-compatible servers send back, read without trust: anything may stand in a 200."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synalign.llm.prompting.plaintext import repaired

if TYPE_CHECKING:
    import numpy as np


#: Codes and types of errors that may pass, as gateways put them into a 200.
_PASSING = {
    "408", "429", "server_error", "rate_limit_exceeded", "rate_limit_error", "overloaded_error", "overloaded",
    "api_error", "internal_error", "timeout", "service_unavailable",
}  # fmt: skip


class ForeignReplyError(Exception):
    """A body that is not what the protocol says; the client turns it into a typed error."""

    def __init__(self, message: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True)
class Completion:
    """What counts in a chat completion. `refused`: why its text cannot be used, or None."""

    text: str
    finish_reason: str
    refused: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


def read_completion(body: str) -> Completion:
    """Read a chat completion.

    Raises:
        ForeignReplyError: if the body is no chat completion, or an error with status 200, as some gateways send.
    """
    data = _object(body, "chat completion")
    try:
        choice = data["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ForeignReplyError(f"the answer is JSON but no chat completion: {body[:200]!r}", retryable=True) from error
    text = repaired(_joined(content))
    finish = str(choice.get("finish_reason") or "unknown")
    refused = None
    if refusal:
        refused = f"the model refused: {refusal}"
    elif finish == "content_filter":
        refused = f"the content filter stopped the reply: {text[:100]!r}"
    elif not text.strip() and finish == "length":
        refused = "all tokens were spent before the answer began (finish_reason 'length'); raise llm.max_tokens"
    elif not text.strip():
        refused = f"the reply is empty (finish_reason {finish!r})"
    usage = data.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Completion(text, finish, refused, _count(counts, "prompt_tokens"), _count(counts, "completion_tokens"))


def read_embeddings(body: str, count: int, dimensions: int | None) -> np.ndarray:
    """Read `count` embeddings as float32 [count, d], ordered by their index; `dimensions`: the d that is expected.

    Raises:
        ForeignReplyError: if they are not that many, not of one length or not the expected one, or not finite.
    """
    import numpy as np

    data = _object(body, "list of embeddings")
    items = data.get("data")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ForeignReplyError(f"the answer is JSON but no list of embeddings: {body[:200]!r}")
    indices = [item.get("index", position) for position, item in enumerate(items)]
    if len(items) != count or sorted(map(str, indices)) != sorted(map(str, range(count))):
        raise ForeignReplyError(
            f"{count} texts were sent and {len(items)} embeddings came back, with the indices {indices[:10]}; one for "
            f"each text is needed. A smaller embed.batch_size may help."
        )
    try:
        rows = np.array([item["embedding"] for item in items], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ForeignReplyError(f"the embeddings are not lists of numbers of one length: {error}") from error
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ForeignReplyError(f"the embeddings have the shape {rows.shape}; lists of numbers are needed")
    if dimensions is not None and rows.shape[1] != dimensions:
        raise ForeignReplyError(
            f"the embeddings have {rows.shape[1]} numbers where {dimensions} are expected; set embed.dimensions to a "
            f"length that the model gives, or leave it out"
        )
    ordered = np.empty(rows.shape, dtype=np.float32)
    ordered[[int(index) for index in indices]] = rows
    if not np.isfinite(ordered).all():
        raise ForeignReplyError("an embedding holds values that are not finite numbers")
    return ordered


def _object(body: str, wanted: str) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ForeignReplyError(
            f"the answer is no JSON, so no {wanted}; is base_url an OpenAI-compatible address, with its /v1? It "
            f"starts {body[:100]!r}",
            retryable=True,
        ) from error
    if not isinstance(data, dict):
        raise ForeignReplyError(f"the answer is JSON but no {wanted}: {body[:200]!r}", retryable=True)
    problem = data.get("error")
    if problem:
        code = problem.get("code") if isinstance(problem, dict) else None
        said = problem.get("message", problem) if isinstance(problem, dict) else problem
        kind = problem.get("type") if isinstance(problem, dict) else None
        retryable = str(code).startswith("5") or not {str(code), str(kind)}.isdisjoint(_PASSING)
        raise ForeignReplyError(f"an error came with status 200: {said} (code {code})", retryable)
    return data


def _joined(content: Any) -> str:
    """Return the text of a message whose content is a text or, with some servers, a list of parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _count(usage: dict[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) else None
