"""The batch API of OpenAI-compatible providers: many requests in one file, whose replies come within a day or so.

This module talks to the provider and keeps nothing; `synalign.steps.calling.batches` does. Requests are the same as
those that are sent one by one, and replies are read by the same code.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from synalign import ids
from synalign.config import Llm
from synalign.errors import ConfigError, ModelError, ModelUnavailableError
from synalign.llm.transport.chat import CallFailure, ChatReply, ChatRequest, Outcome
from synalign.llm.transport.client import MODES, AbsentError, Connection, Endpoint, chat_body
from synalign.llm.transport.wire import ForeignReplyError, read_completion

if TYPE_CHECKING:
    from tenacity import RetryCallState, Retrying

#: Requests and bytes of one batch at most. Providers take 50,000 requests and 200 MB; some count bytes otherwise.
MOST_REQUESTS, MOST_BYTES = 50_000, 100_000_000

#: Seconds before the second look at a batch, the factor for each further look, and the longest.
FIRST_POLL, POLL_FACTOR, LONGEST_POLL = 5.0, 1.5, 60.0

#: How many of the provider's batches are looked through, the last made first, for one that is not known here.
RECENT = 500

#: What a batch is when nothing more comes of it.
FINAL = ("failed", "completed", "expired", "cancelled")

_CHAT: Final = "/v1/chat/completions"
_PAGE = 100  # batches in one answer, the most that providers give
# What a batch is called by us at the provider, and how structure was asked for in it.
_DIGEST, _MODE = "synalign", "synalign_mode"
# Reasons for no reply that may pass; providers name them where they give no HTTP status.
_PASSING = ("batch_expired", "batch_cancelled", "rate_limit_exceeded", "server_error")
# A batch was not taken because others are under way.
_QUEUE_FULL = "token_limit_exceeded"
# Seconds before a request about a batch is tried again, at first and at most.
_WAIT, _LONGEST = 1.0, 30.0


@dataclass(frozen=True)
class State:
    """A batch as the provider shows it.

    `files`: those with replies and with errors, as far as there are any. `done`: requests that have an end. `problem`:
    why its validation failed. `passing`: it failed for a reason that passes.
    """

    batch_id: str
    status: str
    input_file_id: str | None
    files: tuple[str, ...]
    done: int
    problem: str
    passing: bool
    digest: str | None
    mode: str

    @property
    def final(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in FINAL


def digest_of(call_ids: Iterable[str]) -> str:
    """Return the name of a batch of these calls, by which it is known at the provider before it has an id here."""
    return ids.digest(["batch/1", sorted(call_ids)])


class BatchApi:
    """The batch API of the endpoint that settings name. To be closed.

    Each method raises ModelUnavailableError after it has tried again for some time, ModelRefusedError, ModelAuthError
    or ConfigError as chat does.
    """

    def __init__(self, settings: Llm, mode: str | None = None, environ: Mapping[str, str] = os.environ) -> None:
        """`mode`: the one of `client.MODES` that the server is known to take; the first if none is known.

        Raises:
            ConfigError, ModelAuthError: if the address or the key cannot be used.
        """
        self._settings = settings
        self._mode = mode if mode in MODES else MODES[0]
        self._connection = Connection(settings, environ)
        self.endpoint: Endpoint = self._connection.endpoint
        self._where = f"the batch API at {self.endpoint.base_url}"

    def pack(self, requests: Sequence[ChatRequest]) -> tuple[int, bytes]:
        """Return how many requests, from the first on, go into one batch, and the lines that ask for them."""
        lines: list[bytes] = []
        size = 0
        for request in requests[:MOST_REQUESTS]:
            body = chat_body(request, self._mode, self.endpoint)
            line = {"custom_id": request.call_id, "method": "POST", "url": _CHAT, "body": body}
            text = json.dumps(line).encode() + b"\n"
            size += len(text)
            if lines and size > MOST_BYTES:
                break
            lines.append(text)
        return len(lines), b"".join(lines)

    def submit(self, content: bytes, digest: str, known: Container[str]) -> State:
        """Have the provider take a batch, unless it has one of this digest already whose id is not among `known`.

        Raises:
            ConfigError: if there is no batch API.
            ModelError: if it was not taken. A ModelUnavailableError that is `uncertain`: it may have been all the same.
        """
        uploaded: list[str] = []
        doubtful = False

        def once() -> State:
            nonlocal doubtful
            # Before each try: the answer to the one before may have been lost, and the batch be there.
            with contextlib.suppress(AbsentError):
                found = self._find(digest, known)
                if found is not None:
                    return found
            if not uploaded:
                uploaded.append(self._upload(content))
            try:
                return self._create(uploaded[0], digest)
            except ModelUnavailableError as error:
                doubtful |= error.uncertain
                raise

        try:
            state = self._trying(attempts=self._settings.max_attempts)(once)
        except AbsentError as error:
            raise ConfigError(
                f"{self.endpoint.base_url} has no batch API ({error}); leave llm.batch (--batch) out."
            ) from error
        except (ModelError, ConfigError) as error:
            if doubtful:
                raise ModelUnavailableError(str(error), uncertain=True) from error
            if isinstance(error, ModelUnavailableError):
                error.uncertain = False  # neither a list nor an upload is billed
            if uploaded:
                with contextlib.suppress(ModelError, ConfigError):  # the first error says more
                    self.remove(uploaded[0])
            raise
        if uploaded and state.input_file_id != uploaded[0]:  # an earlier try had made it, of another upload
            self.remove(uploaded[0])
        return state

    def find(self, digest: str, known: Container[str]) -> State | None:
        """Return the provider's batch of this digest whose id is not among `known`, or None.

        One that ended without any reply is none. Only the last RECENT batches are looked at.

        Raises:
            AbsentError: if the provider does not say which batches there are.
        """
        return self._trying(attempts=self._settings.max_attempts)(lambda: self._find(digest, known))

    def state(self, batch_id: str) -> State:
        """Return a batch as it is now. What may pass is tried again for `llm.patience` seconds.

        Raises:
            AbsentError: if the provider knows no such batch.
        """

        def once() -> State:
            with self._connection.typed(f"batch {batch_id}"):
                raw = self._connection.client.batches.with_raw_response.retrieve(batch_id)
            return self._state(self._object(raw.text))

        return self._trying(seconds=self._settings.patience)(once)

    def replies(self, state: State, submitted_at: datetime) -> Iterator[Outcome]:
        """Return what came of the requests of a batch that has ended; requests without an end are left out.

        Raises:
            AbsentError: if the provider has the replies no longer.
        """
        for name in state.files:
            text = self.endpoint.without_key(self._content(name))
            latency = max(0.0, (datetime.now(UTC) - submitted_at).total_seconds())
            for line in text.split("\n"):
                outcome = self._outcome(line, state.mode, latency)
                if outcome is not None:
                    yield outcome

    def remove(self, file_id: str) -> None:
        """Delete a file; one that is gone, or that the provider does not let go, is left alone."""

        def once() -> None:
            with self._connection.typed(f"file {file_id}"):
                self._connection.client.files.with_raw_response.delete(file_id)

        with contextlib.suppress(AbsentError):
            self._trying(attempts=self._settings.max_attempts)(once)

    def close(self) -> None:
        """Close the connections."""
        self._connection.client.close()

    def _find(self, digest: str, known: Container[str]) -> State | None:
        after: dict[str, str] = {}
        for _ in range(RECENT // _PAGE):
            with self._connection.typed("the list of batches"):
                raw = self._connection.client.batches.with_raw_response.list(limit=_PAGE, extra_query=after)
            page = self._object(raw.text)
            states = [self._state(item) for item in page.get("data") or ()]
            for state in states:
                if state.digest == digest and state.batch_id not in known and (not state.final or state.files):
                    return state
            if not states or not page.get("has_more"):
                break
            after = {"after": states[-1].batch_id}
        return None

    def _upload(self, content: bytes) -> str:
        with self._connection.typed("the upload of files"):
            raw = self._connection.client.files.with_raw_response.create(
                file=("synalign.jsonl", content), purpose="batch"
            )
        return self._name(self._object(raw.text))

    def _create(self, file_id: str, digest: str) -> State:
        with self._connection.typed("the batch API"):
            raw = self._connection.client.batches.with_raw_response.create(
                input_file_id=file_id,
                endpoint=_CHAT,
                completion_window="24h",
                metadata={_DIGEST: digest, _MODE: self._mode},
            )
        return self._state(self._object(raw.text, uncertain=True))

    def _content(self, file_id: str) -> str:
        def once() -> bytes:
            with self._connection.typed(f"file {file_id}"):
                return self._connection.client.files.with_raw_response.content(file_id).content

        return self._trying(seconds=self._settings.patience)(once).decode("utf-8", errors="replace")

    def _object(self, text: str, uncertain: bool = False) -> dict[str, Any]:
        """Return a JSON object that was answered; anything may stand in a 200."""
        data = _json(text)
        if isinstance(data, dict):
            return data
        raise ModelUnavailableError(
            f"{self._where} answered what is no JSON object: {self.endpoint.redact(text[:200])!r}. Try again later.",
            uncertain=uncertain,
        )

    def _name(self, data: Mapping[str, Any]) -> str:
        if isinstance(data.get("id"), str):
            return str(data["id"])
        raise ModelUnavailableError(f"{self._where} answered {self.endpoint.redact(str(data))}, which has no id.")

    def _state(self, data: Mapping[str, Any]) -> State:
        batch_id, counts, metadata = self._name(data), data.get("request_counts"), data.get("metadata")
        counts = counts if isinstance(counts, dict) else {}
        metadata = metadata if isinstance(metadata, dict) else {}
        found = data.get("errors")
        problems = [item for item in (found or {}).get("data") or () if isinstance(item, dict)]
        said = [
            f"{item.get('message') or item.get('code')}" + (f" (line {item['line']})" if item.get("line") else "")
            for item in problems[:3]
        ]
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        return State(
            batch_id=batch_id,
            status=str(data.get("status")),
            input_file_id=data.get("input_file_id"),
            files=tuple(data[name] for name in ("output_file_id", "error_file_id") if data.get(name)),
            done=sum(counts.get(name) or 0 for name in ("completed", "failed")),
            problem=self.endpoint.redact("; ".join(said) + more) or "no reason was given",
            passing=bool(problems) and all(item.get("code") == _QUEUE_FULL for item in problems),
            digest=metadata.get(_DIGEST),
            mode=metadata.get(_MODE) or self._mode,
        )

    def _outcome(self, text: str, mode: str, latency: float) -> Outcome | None:
        """Return what one line of a file says, or None if it is empty or says of no request what came of it."""
        line = _json(text) if text.strip() else None
        if not isinstance(line, dict) or not isinstance(line.get("custom_id"), str):
            return None
        call_id, response, problem = line["custom_id"], line.get("response"), line.get("error")
        response = response if isinstance(response, dict) else {}
        body, status = response.get("body"), response.get("status_code")

        def failure(said: str, retryable: bool, uncertain: bool = False) -> CallFailure:
            name = "ModelUnavailableError" if retryable else "ModelRefusedError"
            where = f"{self._settings.model!r} in a batch at {self.endpoint.base_url}"
            said = f"{where}: {self.endpoint.redact(said)}"
            return CallFailure(call_id, name, said, retryable, 1, latency, uncertain)

        if problem or not body or (isinstance(status, int) and status >= 400):
            return failure(*_refusal(status, problem or (body.get("error") if isinstance(body, dict) else None)))
        try:
            found = read_completion(json.dumps(body))
        except ForeignReplyError as error:
            return failure(str(error), error.retryable, uncertain=error.retryable)
        if found.refused:
            return failure(found.refused, retryable=False)
        tokens = found.prompt_tokens, found.completion_tokens
        return ChatReply(call_id, found.text, found.finish_reason, *tokens, attempts=1, latency=latency, mode=mode)

    def _trying(self, *, attempts: int | None = None, seconds: float = 0.0) -> Retrying:
        """Return what calls a function again while the endpoint is not available: so often, or for so long."""
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay

        return Retrying(
            retry=retry_if_exception_type(ModelUnavailableError),
            stop=stop_after_delay(seconds) if attempts is None else stop_after_attempt(attempts),
            wait=_wait,
            reraise=True,
        )


def _refusal(status: Any, problem: Any) -> tuple[str, bool]:
    """Return what is said of a request that got no reply, and whether it may get one later."""
    problem = problem if isinstance(problem, dict) else {"message": problem}
    code = problem.get("code")
    said = str(problem.get("message") or code or "no reply and no reason was given")
    number = status if isinstance(status, int) and status >= 400 else None
    if number is None and str(code).isdigit():
        number = int(str(code))
    if number is None:
        return said, code in _PASSING
    return f"HTTP {number}: {said}", number in (408, 409, 425, 429) or number >= 500


def _json(text: str) -> Any:
    """Return what a text holds, None if it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _wait(state: RetryCallState) -> float:
    """Return the seconds before the next try: longer each time, and never less than was asked for."""
    from tenacity import wait_exponential

    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after if isinstance(error, ModelUnavailableError) else None
    return max(wait_exponential(multiplier=_WAIT, max=_LONGEST)(state), asked or 0.0)
