"""Which label each pick is written for: quotas by the real shares, given to the picks that can show them best."""

from __future__ import annotations

import numpy as np

from synalign.numerics.checks import as_matrix, as_weights, check_count

# The cost of giving a pick a label of which it has no record: above any sum of the costs of picks that have some.
_NONE = 1e6


def quotas(count: int, shares: np.ndarray) -> np.ndarray:
    """Return how many of `count` picks each label gets, int64 [L], by largest remainders.

    Each label of positive share gets at least one pick as long as there are as many picks as such labels, so that no
    label goes unwritten because it is rare. Ties go to the smaller index.

    Raises:
        NumericsError: if `count` is below 1, or a share is negative or not finite.
    """
    check_count("count", count, 1, 2**31, "picks")
    wanted = as_weights("shares", shares, len(shares))
    there = wanted > 0
    given = (there & (count >= there.sum())).astype(np.int64)
    for _ in range(count - int(given.sum())):
        behind = np.where(there, (count * wanted - given).round(9), -np.inf)
        given[int(np.argmax(behind))] += 1
    return given


def assign_labels(counts: np.ndarray, shares: np.ndarray, enough: int) -> np.ndarray:
    """Return one label for each pick, int64 [b], so that the labels of all picks fill their quotas.

    Among the ways to fill them, the one in which the picks can show most demonstrations is taken (an assignment
    problem, solved exactly), then the one in which labels are commoner in their picks. A pick never gets a label of
    which it has no record: where a quota can't be filled, the pick's commonest label is taken instead.

    Args:
        counts: float [b, L], records of each label at each pick.
        shares: float [L], the shares that the quotas follow; normalised here.
        enough: records of one label that a pick needs for its demonstrations.

    Raises:
        NumericsError: if the shapes do not fit, or a value is negative or not finite.
    """
    from scipy.optimize import linear_sum_assignment

    table = as_matrix("counts", counts).astype(np.float64)
    wanted = as_weights("shares", shares, table.shape[1])
    check_count("enough", enough, 1, 2**31, "records")
    slots = np.repeat(np.arange(table.shape[1]), quotas(len(table), wanted))
    shown = np.minimum(table, enough)
    common = table / np.maximum(table.sum(axis=1, keepdims=True), 1.0)
    # `common` is below 1 and a demonstration counts 1 * b: it only decides between equals.
    value = np.where(table > 0, shown * len(table) + common, -_NONE * len(table))
    picks, places = linear_sum_assignment(-value[:, slots])
    labels = np.empty(len(table), dtype=np.int64)
    labels[picks] = slots[places]
    unshown = table[np.arange(len(table)), labels] == 0
    labels[unshown] = np.argmax(table[unshown], axis=1)
    return labels
