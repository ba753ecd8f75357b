"""Shares blocks of work out to threads, each of which runs torch's operations by itself.

Threads inside the operations on a block wait for each other at the end of every operation. With two other processes on
two cores, one evaluation of the dual of 38,093 x 1,024 took 0.3 s that way, and 0.02 s with a thread for each block.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from threading import Barrier, current_thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

_NAME = "synalign"

#: Tasks for each thread: more than one, since they do not take equally long.
_TASKS = 4

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def each(function: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
    """Return function(item) of each item, in their order, whichever thread came first; an error is raised as it is.

    Results that are put together in this order do not depend on how many threads there are.
    """
    if current_thread().name.startswith(_NAME):
        # One of these threads that waited for the others would wait for ever once all of them do.
        return [function(item) for item in items]
    # Handing out single blocks took as long as the work on them.
    pool, count = _threads(os.getpid())
    size = max(1, math.ceil(len(items) / (_TASKS * count)))
    tasks = [items[start : start + size] for start in range(0, len(items), size)]
    # Also a single item: its caller may be a forked child, in which threads inside torch's operations hang.
    return [result for part in pool.map(lambda task: [function(item) for item in task], tasks) for result in part]


def scipy_alone() -> AbstractContextManager[object]:
    """Have scipy's optimisers work on their small matrices by one thread while the context is open. Threads that wait
    for each other there took longer than all else on a busy machine. numpy's own library is left as it is."""
    return _scipy_blas().limit(limits=1)


def blas_alone() -> AbstractContextManager[object]:
    """Have all linear algebra work by one thread while the context is open, for work that `each` shares out."""
    return _every_blas().limit(limits=1, user_api="blas")


@cache
def _every_blas() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401 its library is found once it is loaded
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@cache
def _scipy_blas() -> ThreadpoolController:
    every = _every_blas()
    paths = [Path(found.filepath) for found in every.lib_controllers]
    return every.select(filepath=[str(path) for path in paths if path.parent.name.startswith("scipy")])


@cache
def _threads(_process: int) -> tuple[ThreadPoolExecutor, int]:
    """Return as many threads as torch uses, and how many. Made once in a process, and anew in one that was forked."""
    import torch

    count = torch.get_num_threads()
    started = Barrier(count)
    pool = ThreadPoolExecutor(count, thread_name_prefix=_NAME, initializer=_alone)
    # All of them have started when all have come to the barrier.
    list(pool.map(lambda _: started.wait(), range(count)))
    # For threads that start later, the setting of the last one would be that of the whole process.
    torch.set_num_threads(count)
    return pool, count


def _alone() -> None:
    """Have torch's operations in this thread run in it alone."""
    import torch

    torch.set_num_threads(1)
    # A thread takes over the setting of the process at its first operation, or here: while that is 1.
    torch.get_num_threads()
