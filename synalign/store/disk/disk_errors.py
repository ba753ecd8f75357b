"""What users can do about a file that cannot be written: the disk is full, or permission is missing."""

from __future__ import annotations

#: Words of the messages of the system and of libraries, in lower case. SQLite reports a file that may not grow as an
#: I/O error.
_FULL = ("no space left", "disk is full", "file too large", "quota exceeded", "disk i/o error")
_BARRED = ("read-only", "readonly", "permission denied", "operation not permitted")


def advice(error: BaseException) -> str:
    """Return sentences to append to an error message, with a leading space; an empty string for other errors."""
    said = str(error).lower()
    if any(words in said for words in _FULL):
        return (
            " The disk, or this user's quota, is full: make room and run the command again. Finished work is "
            "kept, and it goes on from there."
        )
    if any(words in said for words in _BARRED):
        return (
            " This user may not write there; reading ('synalign sql', 'synalign sample') works. To write, get "
            "write permission for the workspace and everything in it, or copy it to a place where you have it."
        )
    return ""
