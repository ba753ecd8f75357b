"""Names that are functions of content: record ids, run ids, request hashes, and seeds derived from one seed.

Whatever costs money or decides what is computed again is hashed over canonical JSON, so that two processes, or one
that was killed and its successor, arrive at the same name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

#: Characters of hexadecimal SHA-256 that a name keeps: 128 bits.
DIGEST_CHARS = 32


def canonical_json(value: Any) -> str:
    """Serialise plain JSON data in the one way that is hashed: sorted keys, no spaces, UTF-8 kept, no NaN.

    Raises:
        ValueError: for NaN or infinity, which have no JSON form.
        TypeError: for a value that is not plain JSON data.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the first 128 bits, in hexadecimal, of the SHA-256 of `value` as canonical JSON."""
    data = canonical_json(value).encode("utf-8", errors="surrogatepass")
    return hashlib.sha256(data).hexdigest()[:DIGEST_CHARS]


def record_id(text: str, label: str | None, split: str | None = None) -> str:
    """Return the id of a record that came without one: a hash of its content."""
    return digest(["record/1", text, label, split])


def run_id(step: str, version: int, parameters: Mapping[str, Any], seed: int, round: int, inputs: Sequence[str]) -> str:
    """Return the name of one run of a step: the same work always has the same name.

    `inputs` are the run_ids that the step reads from; their order does not matter. Table versions are left out on
    purpose: a compaction changes them without changing a row.
    """
    return digest(["run/1", step, version, dict(parameters), seed, round, sorted(inputs)])


def child_seed(seed: int, *names: str | int) -> int:
    """Return a seed in [0, 2**63) that is independent for each path of names under one parent seed."""
    data = canonical_json(["seed/1", seed, *names]).encode()
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1
