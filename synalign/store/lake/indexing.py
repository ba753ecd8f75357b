"""Searches the documents of a retriever through an index. (Without one, arrays are faster: Lance reads all of the table
for each query.)

Scores are inner products of rows of length 1. How far an index may err is for whoever searches to say: it looks at more
or fewer of its partitions, and may compare what it finds again, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from synalign.store.lake.lake import Lake, mapped

#: What settings call an index -> what Lance does, and roughly how many rows a partition is to have.
_KINDS = {"ivf_flat": ("IVF_FLAT", 400), "ivf_pq": ("IVF_PQ", 400), "ivf_hnsw": ("IVF_HNSW_SQ", 25_000)}

#: Numbers of a vector that one code of a product quantizer stands for.
_CODED = 8

#: Entries that a search of a graph keeps in sight, for each that is wanted.
_IN_SIGHT = 15

_METRIC = "dot"


@dataclass(frozen=True)
class Probing:
    """How an index is searched. kind: as settings name it, None for none. probes: how many of its partitions are looked
    at. refine: how many times as many candidates are compared exactly, None where what it stores is exact."""

    kind: str | None = None
    probes: int = 0
    refine: int | None = None


def partitions(kind: str, rows: int) -> int:
    """Return into how many parts an index of so many rows is divided."""
    return max(1, round(rows / _KINDS[kind][1])) if kind == "ivf_hnsw" else max(1, round(math.sqrt(rows)))


def ways(kind: str, rows: int) -> list[Probing]:
    """Return ways to search an index of so many rows, faster ones first; the last one looks at all of it."""
    count = partitions(kind, rows)
    probes = [2**power for power in range(count.bit_length()) if 2**power < count] + [count]
    refines: Sequence[int | None] = (None,) if kind == "ivf_flat" else (5, 20)
    return [Probing(kind, number, refine) for refine in refines for number in probes]


def build(lake: Lake, name: str, kind: str) -> None:
    """Build an index over the column `vector` of a table, in the place of one that is there.

    Raises:
        StoreError: if it cannot be built. The rows are as they were then.
    """
    with mapped(name, "indexed"):
        dataset = lake.dataset(name)
        more: dict[str, Any] = {}
        if kind == "ivf_pq":
            width = dataset.schema.field("vector").type.list_size
            more["num_sub_vectors"] = next(n for n in range(max(1, width // _CODED), 0, -1) if width % n == 0)
        dataset.create_index(
            "vector",
            index_type=_KINDS[kind][0],
            metric=_METRIC,
            num_partitions=partitions(kind, dataset.count_rows()),
            replace=True,
            **more,
        )


def is_built(lake: Lake, name: str) -> bool:
    """Return whether a table has an index over its vectors. What `forget` rewrites has lost it."""
    with mapped(name, "read"):
        return bool(lake.dataset(name).describe_indices())


class Searcher:
    """Searches the index of one table as it is now."""

    def __init__(self, lake: Lake, name: str, probing: Probing) -> None:
        self._name, self._dataset, self._probing = name, lake.dataset(name), probing

    def search(self, query: Any, count: int) -> tuple[list[str], list[float]]:
        """Return the ids of the `count` rows of largest inner product with `query`, float32 [d], best first, and these
        products, as far as the index finds them.

        Raises:
            StoreError: if the table is damaged.
        """
        probes = self._probing.probes
        nearest: dict[str, Any] = {"column": "vector", "q": query, "k": count}
        nearest |= {"minimum_nprobes": probes, "maximum_nprobes": probes}
        if self._probing.refine is not None:
            nearest["refine_factor"] = self._probing.refine
        if self._probing.kind == "ivf_hnsw":
            nearest["ef"] = _IN_SIGHT * count
        with mapped(self._name, "searched"):
            found: pa.Table = self._dataset.to_table(columns=["id", "_distance"], nearest=nearest)
        return found["id"].to_pylist(), [1.0 - distance for distance in found["_distance"].to_pylist()]
