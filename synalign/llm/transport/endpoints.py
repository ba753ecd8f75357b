"""Addresses of endpoints: which one is meant, and the one way in which it is written in names and tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from synalign.errors import ConfigError

#: The environment variable that gives the address where no setting does, as for the openai client.
VARIABLE = "OPENAI_BASE_URL"

_DEFAULT_PORTS = {"http": 80, "https": 443}


def resolved_base_url(settings_base_url: str | None, model: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the address that requests for `model` go to, canonical; None for the client's own default.

    What is not configured comes from OPENAI_BASE_URL. Models that use no endpoint (builtin/, replay/) have no address.

    Raises:
        ConfigError: see `canonical_base_url`.
    """
    if model.startswith(("builtin/", "replay/")):
        return None
    found = settings_base_url or environ.get(VARIABLE)
    return canonical_base_url(found) if found else None


def canonical_base_url(url: str) -> str:
    """Return an address with scheme and host in lower case, without a default port and a '/' at the end.

    Raises:
        ConfigError: if it is no http(s) address, or holds a user name, a password, a query or a fragment: addresses
            are stored and shown, so no secret may stand in them.
    """
    parts = _split(url)
    host = str(parts.hostname)
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    address = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
    if "@" in parts.netloc:
        raise ConfigError(
            f"base_url holds a user name or password for {address}. Addresses are stored with each call, so leave it "
            f"out, put the key into an environment variable and name that in api_key_env."
        )
    if parts.query or parts.fragment:
        raise ConfigError(
            f"base_url has a part after '?' or '#', and must be {address} alone: paths such as /chat/completions are "
            f"put after it. A key belongs into the environment variable that api_key_env names."
        )
    return address


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        if parts.scheme in _DEFAULT_PORTS and parts.hostname and (parts.port is None or parts.port > 0):
            return parts
        cause: ValueError | None = None
    except ValueError as error:
        cause = error
    raise ConfigError(
        f"base_url is {url.rpartition('@')[2]!r}, which is no address: it must start with http:// or https://, such as "
        f"http://localhost:8000/v1."
    ) from cause
