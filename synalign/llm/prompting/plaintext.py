"""Text that any store and any endpoint can take."""

from __future__ import annotations


def repaired(text: str) -> str:
    """Return `text` as text that has a UTF-8 form: surrogate pairs joined, lone surrogates as U+FFFD.

    Half an emoji is what is left when a reply is cut inside an escape such as \\ud83d; nothing downstream can store it.
    """
    return text.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")
