"""What to do about a file that cannot be written: no room for it, or no right to it."""

from __future__ import annotations

#: How the system and the libraries say so, in lower case. SQLite calls a file that may not grow an I/O error.
_FULL = ("no space left", "disk is full", "file too large", "quota exceeded", "disk i/o error")
_BARRED = ("read-only", "readonly", "permission denied", "operation not permitted")


def advice(error: BaseException) -> str:
    """Return sentences to put after one that says what went wrong, with a space before; nothing for other errors."""
    said = str(error).lower()
    if any(words in said for words in _FULL):
        return (
            " The disk, or what this user may fill of it, is full: make room, and do the same again. What was finished "
            "is kept, and it goes on from there."
        )
    if any(words in said for words in _BARRED):
        return (
            " This user may not write there; reading ('synalign sql', 'synalign sample') works. To write, get the "
            "right to write to the workspace and all that is in it, or copy it to a place where you have that."
        )
    return ""
