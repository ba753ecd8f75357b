"""OpenAI-compatible endpoints. Only this module imports openai, and only here its exceptions are known.

Requests are sent once: trying again, and the waits that a server asks for, are up to `engine`. Each exception of the
client becomes one typed error that says what happened, where, and what to do; no message and no reply holds a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from synalign.config import Llm
from synalign.errors import ConfigError, ModelAuthError, ModelError, ModelRefusedError, ModelUnavailableError
from synalign.llm.transport.chat import ChatReply, ChatRequest, attempted
from synalign.llm.transport.client_pool import ClientPool
from synalign.llm.transport.endpoints import VARIABLE, canonical_base_url
from synalign.llm.transport.wire import ForeignReplyError, read_completion, read_embeddings

if TYPE_CHECKING:
    import numpy as np
    import openai

#: How structure is asked for, the best first; each server gets the first that it takes.
MODES = ("json_schema", "json_object", "text")

_FORMAT_WORDS = ("response_format", "json_schema", "json_object", "json mode", "schema", "grammar", "guided")
# Codes that say the content was the trouble: another response format would be refused as well.
_CONTENT_CODES = ("content_filter", "context_length_exceeded", "invalid_prompt", "string_above_max_length")
# Statuses that may pass, those of them that say too much is asked for at once, and those of a gateway that gave up
# waiting while the model may go on.
_PASSING = (408, 409, 425, 429)
_OVERLOADED = (408, 425, 429, 502, 503, 504, 529)
_GAVE_UP = (408, 504, 524)
# Statuses of what a server does not have or does not do.
_ABSENT = (404, 405, 501)
# Errors of the connection that come before a request is sent.
_UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")
# A key is taken out of texts from this length on: a shorter one is no secret, and stands in ordinary words.
_MIN_KEY = 8


class Endpoint:
    """An address, its key, and how messages name the key without giving it away.

    Raises:
        ConfigError: if the address is no http(s) URL, or holds a password.
        ModelAuthError: if the key is missing and the address is OpenAI's own, or if it cannot be sent as it is.
    """

    def __init__(self, base_url: str | None, api_key_env: str, environ: Mapping[str, str]) -> None:
        self.base_url = canonical_base_url(base_url or environ.get(VARIABLE) or "https://api.openai.com/v1")
        self.key_env = api_key_env
        self.is_openai = f".{urlsplit(self.base_url).hostname}".endswith(".api.openai.com")
        key = environ.get(api_key_env, "").strip()
        if not key and self.is_openai:
            raise ModelAuthError(
                f"There is no API key for {self.base_url}: the environment variable {api_key_env} is not set. Set it, "
                f"name another in api_key_env, give the base_url of a local server, or use model = 'builtin/ngram'."
            )
        if not (key.isascii() and key.isprintable()):
            raise ModelAuthError(f"The API key in {api_key_env} holds characters that no key has. Set it again.")
        self.has_key = bool(key)
        self.key = key or "not-needed"

    def without_key(self, text: str) -> str:
        """Return `text` without the key, should a server send it back."""
        return text.replace(self.key, "[key]") if self.has_key and len(self.key) >= _MIN_KEY else text

    def redact(self, text: str) -> str:
        """Return `text` on one line of at most 300 characters, without the key."""
        line = " ".join(self.without_key(text).split())
        return line if len(line) <= 300 else line[:300] + "..."


class OpenAIChat:
    """A chat model behind an OpenAI-compatible endpoint."""

    def __init__(self, settings: Llm, environ: Mapping[str, str] = os.environ, mode: str | None = None) -> None:
        """`mode`: the one of MODES that this server is known to take."""
        import openai

        self._endpoint = Endpoint(settings.base_url, settings.api_key_env, environ)
        library = _http_library(openai.DefaultAsyncHttpxClient)
        certificates = library.create_ssl_context()  # read once: it takes longer than all else of a client
        self._pool = ClientPool(
            lambda: openai.AsyncOpenAI(
                api_key=self._endpoint.key,
                base_url=self._endpoint.base_url,
                timeout=settings.timeout,
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(verify=certificates),
            )
        )
        self._timeout = settings.timeout
        self._response = library.Response
        # The mode that the server takes, as far as is known. The first request that is refused negotiates, under the
        # lock; others that are refused meanwhile wait for what comes of it.
        self._mode = MODES.index(mode) if mode in MODES else 0
        self._proved = mode in MODES
        self._negotiating = asyncio.Lock()

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request; see ChatModel."""
        started, mode, spent = time.perf_counter(), self._mode, 0
        while True:
            try:
                return await self._send(request, mode, started, spent)
            except _FormatRefusedError as refused:
                spent += 1
                async with self._negotiating:
                    if self._mode <= mode:  # nobody found a mode while this request waited
                        return await self._negotiate(request, started, spent, refused)
            mode = self._mode

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def _negotiate(
        self, request: ChatRequest, started: float, spent: int, refusal: _FormatRefusedError
    ) -> ChatReply:
        """Try the modes below the one that was refused; the first that is taken is remembered for this server."""
        for mode in range(self._mode + 1, len(MODES)):
            try:
                reply = await self._send(request, mode, started, spent)
            except _FormatRefusedError:
                spent += 1
            else:
                self._mode = mode
                return reply
        raise attempted(refusal.error, spent) from refusal

    async def _send(self, request: ChatRequest, mode: int, started: float, spent: int) -> ChatReply:
        import openai

        where = f"{request.model!r} at {self._endpoint.base_url}"
        attempts = spent + 1
        try:
            # The client's own limit is on silence: a reply that trickles would be waited for without end.
            async with asyncio.timeout(self._timeout):
                with self._pool.client() as client:
                    # Not chat.completions.create: converting the body and the reply by their types takes that longer
                    # than all else that is done here, and the reply is validated anyway.
                    body = chat_body(request, MODES[mode], self._endpoint)
                    raw = await client.post("/chat/completions", body=body, cast_to=self._response)
        except TimeoutError as error:
            raise attempted(_late(where, self._timeout), attempts) from error
        except openai.OpenAIError as error:
            typed = translate(error, where, self._endpoint, self._timeout)
            if MODES[mode] != "text" and self._refuses_format(error):
                raise _FormatRefusedError(typed) from error
            raise attempted(typed, attempts) from error
        self._proved = True
        try:
            found = read_completion(self._endpoint.without_key(raw.text))
        except ForeignReplyError as error:
            said = f"{where}: {self._endpoint.redact(str(error))}"
            typed = ModelUnavailableError(said, uncertain=True) if error.retryable else ModelRefusedError(said)
            raise attempted(typed, attempts) from error
        if found.refused:
            refusal = ModelRefusedError(f"{where}: {self._endpoint.redact(found.refused)}")
            vars(refusal)["uncertain"] = True  # a reply came, and replies are billed
            raise attempted(refusal, attempts)
        return ChatReply(
            request.call_id,
            self._endpoint.without_key(found.text),  # again: in the body it may have stood with escapes
            self._endpoint.without_key(found.finish_reason),
            found.prompt_tokens,
            found.completion_tokens,
            attempts,
            time.perf_counter() - started,
            MODES[mode],
        )

    def _refuses_format(self, error: openai.OpenAIError) -> bool:
        """Return whether a refusal may be about the response format.

        Any 400 or 422 may, until the server has once accepted something; afterwards it has to say so.
        """
        import openai

        if not isinstance(error, openai.APIStatusError) or error.status_code not in (400, 404, 415, 422, 501):
            return False
        if error.code in _CONTENT_CODES:
            return False
        said = error.response.text.lower()
        named = any(word in said for word in _FORMAT_WORDS)
        return named or (not self._proved and error.status_code in (400, 422))


def chat_body(request: ChatRequest, mode: str, endpoint: Endpoint) -> dict[str, Any]:
    """Return the body of a request to an endpoint; `mode`: the one of MODES in which structure is asked for."""
    body: dict[str, Any] = {"model": request.model, "messages": request.messages}
    if mode == "json_schema":
        schema = {"name": request.schema_name, "schema": dict(request.schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif mode == "json_object":
        body["response_format"] = {"type": "json_object"}
    # OpenAI's newer models refuse max_tokens; most other servers know nothing else.
    limit = "max_completion_tokens" if endpoint.is_openai else "max_tokens"
    given = {"temperature": request.temperature, limit: request.max_tokens, "seed": request.seed}
    return body | {name: value for name, value in given.items() if value is not None}


class Connection:
    """What is asked of an endpoint beside chat and embeddings, one request after another, each sent once.

    Raises:
        ConfigError, ModelAuthError: as Endpoint does.
    """

    def __init__(self, settings: Llm, environ: Mapping[str, str] = os.environ) -> None:
        import openai

        self.endpoint = Endpoint(settings.base_url, settings.api_key_env, environ)
        self._timeout = settings.timeout
        self.client = openai.OpenAI(
            api_key=self.endpoint.key, base_url=self.endpoint.base_url, timeout=settings.timeout, max_retries=0
        )

    @contextlib.contextmanager
    def typed(self, what: str) -> Iterator[None]:
        """Turn the client's exceptions into typed errors; `what`: names in messages what was asked for.

        Raises:
            AbsentError: if the endpoint says that it has no such thing, or does not do such things.
            ModelError: or one of its kinds, or ConfigError, as for chat.
        """
        import openai

        where = f"{what} at {self.endpoint.base_url}"
        try:
            yield
        except openai.OpenAIError as error:
            if isinstance(error, openai.APIStatusError) and error.status_code in _ABSENT:
                raise AbsentError(f"HTTP {error.status_code}: {self.endpoint.redact(_said(error))}") from error
            raise translate(error, where, self.endpoint, self._timeout) from error


class AbsentError(Exception):
    """What was asked for is not there; who asked knows what that means, and raises the typed error."""


class _FormatRefusedError(Exception):
    """The server would not take a response format; `error` is what to raise if it takes none."""

    def __init__(self, error: ModelError | ConfigError) -> None:
        super().__init__(str(error))
        self.error = error


def translate(error: openai.OpenAIError, where: str, endpoint: Endpoint, timeout: float) -> ModelError | ConfigError:
    """Return the typed error for an exception of the openai client; `where` names the model and the address.

    An exhausted quota or unpaid account is a ModelAuthError: the key may not use the model until someone pays, and
    every further request would fail as well. A missing model is a ConfigError for the same reason.
    """
    import openai

    sent = type(error.__cause__).__name__ not in _UNSENT
    if isinstance(error, openai.APITimeoutError):
        return _late(where, timeout, sent)
    if isinstance(error, openai.APIConnectionError):
        cause = endpoint.redact(str(error.__cause__ or error))
        return ModelUnavailableError(
            f"{where} cannot be reached: {cause}. Check base_url and that the server runs.", uncertain=sent
        )
    if not isinstance(error, openai.APIStatusError):
        return ModelError(f"{where}: the client failed: {endpoint.redact(str(error))}")
    status = error.status_code
    said = f"HTTP {status}: {endpoint.redact(_said(error))}"
    moderated = status == 403 and any(word in said.lower() for word in ("moderation", "flagged"))
    if status == 402 or (status == 429 and "insufficient_quota" in (error.code, error.type)):
        return ModelAuthError(f"{where}: the account has no credit left ({said}). Top it up, or use another key.")
    if status == 401 and not endpoint.has_key:
        return ModelAuthError(
            f"{where} wants a key ({said}): {endpoint.key_env} is not set, so a placeholder was sent. Set it, or name "
            f"another environment variable in api_key_env."
        )
    if status in (401, 403) and not moderated:
        return ModelAuthError(f"{where} refused the key from {endpoint.key_env} ({said}). Set one that may use it.")
    if status == 404:
        return ConfigError(
            f"There is no {where} ({said}). Check the model's name, and that base_url is the part before "
            f"/chat/completions, which often ends in /v1."
        )
    if status in _PASSING or status >= 500:
        return ModelUnavailableError(
            f"{where} could not answer ({said}). Try again later, or lower llm.concurrency.",
            overloaded=status in _OVERLOADED,
            retry_after=_retry_after(error.response.headers),
            uncertain=status in _GAVE_UP,
        )
    return ModelRefusedError(f"{where} refused the request ({said}).")


def openai_embed(
    texts: Sequence[str],
    model: str,
    base_url: str | None,
    api_key_env: str,
    batch_size: int,
    dimensions: int | None = None,
    *,
    timeout: float = 120.0,
    max_attempts: int = 5,
    environ: Mapping[str, str] = os.environ,
) -> np.ndarray:
    """Return the embeddings of n texts as float32 [n, d], in their order, as the endpoint scales them.

    Raises:
        ModelError: or one of its kinds, or ConfigError, as for chat; also if the endpoint answers with another number
            of vectors, another length than `dimensions`, or values that are not finite.
    """
    import numpy as np
    import openai

    endpoint = Endpoint(base_url, api_key_env, environ)
    where = f"{model!r} at {endpoint.base_url}"
    blocks: list[np.ndarray] = []
    with openai.OpenAI(
        api_key=endpoint.key, base_url=endpoint.base_url, timeout=timeout, max_retries=max_attempts - 1
    ) as client:
        for start in range(0, len(texts), batch_size):
            batch = list(texts[start : start + batch_size])
            wanted: dict[str, Any] = {} if dimensions is None else {"dimensions": dimensions}
            try:
                raw = client.embeddings.with_raw_response.create(
                    input=batch, model=model, encoding_format="float", **wanted
                )
            except openai.OpenAIError as error:
                raise translate(error, where, endpoint, timeout) from error
            expected = blocks[0].shape[1] if blocks else dimensions
            try:
                blocks.append(read_embeddings(raw.text, len(batch), expected))
            except ForeignReplyError as error:
                raise ModelError(f"{where}: {endpoint.redact(str(error))}") from error
    return np.concatenate(blocks) if blocks else np.empty((0, dimensions or 0), dtype=np.float32)


def _http_library(client: type) -> Any:
    """Return the HTTP library below the openai client: which one it is differs by version."""
    return importlib.import_module(client.__bases__[0].__module__.partition(".")[0])


def _late(where: str, timeout: float, sent: bool = True) -> ModelUnavailableError:
    said = f"{where} did not answer within {timeout:g} s. Raise llm.timeout, or try again."
    return ModelUnavailableError(said, overloaded=True, uncertain=sent)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait, as a number or until a date, or None."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        said = headers.get(name, "").strip()
        with contextlib.suppress(ValueError):
            if math.isfinite(seconds := float(said) / unit):
                return max(0.0, seconds)
        if unit == 1.0 and said:
            try:
                until = parsedate_to_datetime(said)
            except ValueError:
                return None
            return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return None


def _said(error: openai.APIStatusError) -> str:
    """Return what the server wrote, without the wrapping that servers put around it."""
    if isinstance(error.body, Mapping):
        for name in ("message", "detail", "error"):
            if error.body.get(name):
                return str(error.body[name])
    return error.response.text or error.message
