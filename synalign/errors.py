"""The error tree. One root, so that `except SynAlignError` catches all that this package raises on purpose.

A message says what was wrong, where, what is allowed, what was given and what to do next. Whether the same call can
succeed later, unchanged, is the field `retryable`, not a guess from the class name.
"""

from __future__ import annotations

import re

#: A password in what databases are reached by: key=value pairs, and user:password@ in an address.
_PASSWORD = re.compile(r"""((?:password|passwd|pwd)\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&"';]+)""", re.IGNORECASE)
_USER_PASSWORD = re.compile(r"""(\w+://[^\s:/@"']*):[^\s"]*@""")


class SynAlignError(Exception):
    """Root of all errors raised on purpose. `retryable`: the same call may succeed later without a change."""

    retryable: bool = False


class UsageError(SynAlignError):
    """The call itself is wrong: an argument, an option, a name. The command line exits with 2."""


class ConfigError(UsageError):
    """A configuration file or value is not valid."""


class WorkspaceNotFoundError(UsageError):
    """There is no workspace in the folder that was named."""


class WorkspaceVersionError(UsageError):
    """The workspace was written by a newer version of this package, which is needed to read it."""


class InputError(SynAlignError):
    """Data that was handed in cannot be taken. Nothing of it was written."""


class AttachmentError(InputError):
    """What a user attaches to a workspace cannot be read. `retryable` if another process has it open to write."""

    def __init__(self, message: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class NotReadyError(SynAlignError):
    """A step lacks what an earlier step makes."""


class StoreError(SynAlignError):
    """The workspace's tables cannot be read or written as asked."""


class WorkspaceBusyError(StoreError):
    """Another process is writing to the workspace."""

    retryable = True


class SqlError(SynAlignError):
    """A SQL statement given by the user failed."""


class NumericsError(SynAlignError):
    """Arrays that a computation cannot take: no rows, not finite, shapes that do not fit."""


class ModelError(SynAlignError):
    """A language model or embedding endpoint did not do what was asked."""


class ModelUnavailableError(ModelError):
    """A time-out, a rate limit, a server error or no connection: the endpoint may answer later.

    `overloaded`: the endpoint has too much to do (429, 503, a time-out), so that fewer requests at once may help.
    `retry_after`: seconds that it asks to wait, if it does. `uncertain`: the request may have been answered, and
    billed, though no reply arrived.
    """

    retryable = True

    def __init__(
        self, message: str, *, overloaded: bool = False, retry_after: float | None = None, uncertain: bool = False
    ) -> None:
        super().__init__(message)
        self.overloaded = overloaded
        self.retry_after = retry_after
        self.uncertain = uncertain


class ModelAuthError(ModelError):
    """No key, a wrong key, or a key that may not use this model."""


class ModelRefusedError(ModelError):
    """The endpoint understood this one request and refused it (bad request, content filter)."""


class BudgetError(ModelError):
    """The next request could cost more than what is left of the budget, so it was not sent."""


def without_passwords(text: str) -> str:
    """Return a text with *** for each password in the address of a database."""
    return _USER_PASSWORD.sub(r"\1:***@", _PASSWORD.sub(r"\1***", text))
