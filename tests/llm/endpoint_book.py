"""What came to the test endpoint and what left it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any


class Book:
    """What came and what was answered. `requests`: [arrived, completely answered, of these never read]."""

    def __init__(self) -> None:
        self.replies: Counter[str] = Counter()
        self.requests: dict[str, list[int]] = {}
        self.arrivals = self.again = self.again_unread = self.prompt_tokens = self.completion_tokens = 0
        self.open = self.most_open = self.most_served = 0
        self._cpu = time.process_time()

    def arrive(self, key: str) -> int:
        """Count a request, and whether it had its reply already; return its number."""
        counts = self.requests.setdefault(key, [0, 0, 0])
        self.again += counts[1] > 0
        self.again_unread += counts[1] == counts[2] > 0
        counts[0] += 1
        self.arrivals += 1
        return self.arrivals - 1

    def left(self) -> None:
        """Count a request as no longer open."""
        self.open -= 1

    def complete(self, key: str, usage: Mapping[str, int]) -> None:
        """Count a reply that left."""
        self.requests.setdefault(key, [0, 0, 0])[1] += 1
        self.prompt_tokens += usage["prompt_tokens"]
        self.completion_tokens += usage["completion_tokens"]

    def unread(self, key: str) -> None:
        """Count a reply that left and that its client did not read."""
        self.requests.setdefault(key, [0, 0, 0])[2] += 1

    def stats(self) -> dict[str, Any]:
        """Return the sums; see Endpoint.stats."""
        return {
            "arrivals": self.arrivals,
            "replies": dict(self.replies),
            "most_at_once": self.most_open,
            "most_served": self.most_served,
            "distinct": len(self.requests),
            "complete_twice": self.again,
            "complete_twice_unread": self.again_unread,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cpu_seconds": time.process_time() - self._cpu,
        }
