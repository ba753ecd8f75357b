"""An address has one form, holds no secret, and is known before anything is named after it."""

from __future__ import annotations

import pytest

from synalign.errors import ConfigError
from synalign.llm.transport.endpoints import canonical_base_url, resolved_base_url


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://h/v1", "http://h/v1"),
        ("http://h/v1/", "http://h/v1"),
        (" HTTP://Host.Example:80/V1// ", "http://host.example/V1"),
        ("https://h:443", "https://h"),
        ("https://h:80/v1", "https://h:80/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_an_address_has_one_form(given: str, expected: str) -> None:
    assert canonical_base_url(given) == expected
    assert canonical_base_url(expected) == expected


@pytest.mark.parametrize(
    "given", ["localhost:8000/v1", "ftp://h", "http://", "", "http://[::1", "http://h:port", "me:secret@h/v1"]
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="must start with http://") as caught:
        canonical_base_url(given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "given", ["http://me:secret@h/v1", "https://secret@h:443/v1/", "http://h/v1?key=secret", "http://h/v1#secret"]
)
def test_secrets_in_an_address_are_refused_with_the_cure_and_not_shown(given: str) -> None:
    with pytest.raises(ConfigError, match=r"https?://h/v1.*environment variable.*api_key_env") as caught:
        canonical_base_url(given)
    assert "secret" not in str(caught.value)


def test_the_address_is_the_setting_then_the_environment_then_the_clients_own() -> None:
    environ = {"OPENAI_BASE_URL": "http://Env/v1/"}
    assert resolved_base_url("http://set/v1/", "m1", environ) == "http://set/v1"
    assert resolved_base_url(None, "m1", environ) == "http://env/v1"
    assert resolved_base_url(None, "m1", {"OPENAI_BASE_URL": ""}) is None
    assert resolved_base_url("http://set/v1", "builtin/ngram", environ) is None
    assert resolved_base_url(None, "replay/r.jsonl", environ) is None
