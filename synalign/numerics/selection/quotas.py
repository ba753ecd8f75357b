"""Which label each pick is written for: quotas by the real shares, given to the picks that can show them best."""

from __future__ import annotations

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_matrix, as_weights, check_count

# The cost of giving a pick a label of which it has no record: above any sum of the costs of picks that have some.
_NONE = 1e6


def quotas(count: int, shares: np.ndarray, minimum: int = 1, capacity: np.ndarray | None = None) -> np.ndarray:
    """Return how many of `count` picks each label gets, int64 [L], by largest remainders.

    Each label of positive share gets `minimum` picks, as long as there are picks enough for all such labels, so that
    no label goes unwritten because it is rare. Ties go to the smaller index.

    Args:
        count: picks.
        shares: float [L], not negative, one above 0; normalised here.
        minimum: picks of each label at least.
        capacity: int [L], the most that each label can have; what it can't, others get. The sum of the result is below
            `count` where the capacities are.

    Raises:
        NumericsError: if `count` is below 1, or a share is negative or not finite.
    """
    check_count("count", count, 1, 2**31, "picks")
    wanted = as_weights("shares", shares, len(shares))
    there = wanted > 0
    most = np.where(there, count if capacity is None else capacity, 0)
    least = np.minimum(minimum, most)
    given = np.where(count >= least.sum(), least, 0).astype(np.int64)
    for _ in range(min(count, int(most.sum())) - int(given.sum())):
        behind = np.where(given < most, (count * wanted - given).round(9), -np.inf)
        given[int(np.argmax(behind))] += 1
    return given


def assign_labels(counts: np.ndarray, wanted: np.ndarray, enough: int) -> np.ndarray:
    """Return one label for each pick, int64 [b], so that the labels of all picks fill their quotas.

    Among the ways to fill them, the one in which the picks can show most demonstrations is taken (an assignment
    problem, solved exactly), then the one in which labels are commoner in their picks. A pick never gets a label of
    which it has no record: where a quota can't be filled, the pick's commonest label is taken instead.

    Args:
        counts: float [b, L], records of each label at each pick.
        wanted: int [L], the quotas, with sum b.
        enough: records of one label that a pick needs for its demonstrations.

    Raises:
        NumericsError: if the shapes do not fit, the quotas do not add up, or a value is not finite.
    """
    from scipy.optimize import linear_sum_assignment

    table = as_matrix("counts", counts).astype(np.float64)
    check_count("enough", enough, 1, 2**31, "records")
    if len(wanted) != table.shape[1] or int(np.sum(wanted)) != len(table):
        raise NumericsError(
            f"wanted must give {len(table)} picks to {table.shape[1]} labels; given: {len(wanted)} quotas that sum to "
            f"{int(np.sum(wanted))}."
        )
    slots = np.repeat(np.arange(table.shape[1]), wanted)
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
