"""Reads the words and phrases of `phrases.toml` as patterns."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def patterns(table: str, **fragments: str) -> Mapping[str, re.Pattern[str]]:
    """Return the patterns of one table, by name, in the order of the file. It is read when a text first needs them.

    Args:
        table: "refusals", "leaks" or "phones".
        fragments: what else stands for <<name>> in a pattern.
    """
    listed = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text(encoding="utf-8"))
    known = fragments | {name: "".join(parts) for name, parts in listed["fragments"].items()}
    return {
        name: re.compile(re.sub("<<([a-z]+)>>", lambda used: known[used[1]], "".join(parts)), re.IGNORECASE)
        for name, parts in listed[table].items()
    }
