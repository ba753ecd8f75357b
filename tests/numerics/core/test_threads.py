from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synalign.numerics.core import blocks as blocks_module
from synalign.numerics.core import features as features_module
from synalign.numerics.core import threads as threads_module
from synalign.numerics.core.blocks import FeatureBlocks
from synalign.numerics.core.features import FeatureMap, KernelFeatures, RandomFeatures, RandomProjections
from synalign.numerics.core.threads import each

ROOT = Path(__file__).resolve().parents[3]

# In a process of its own: the setting of torch's threads is one of the process.
_PROBE = """
import os, threading, time, torch
from synalign.numerics.core.threads import each

def number(_=None):
    time.sleep(0.02)
    torch.ones(300, 300) @ torch.ones(300, 300)  # a thread takes over the setting of the process at an operation
    return torch.get_num_threads()

torch.set_num_threads(3)
print("workers", *each(number, range(9)))
names = each(lambda _: (time.sleep(0.02), threading.current_thread().name)[1], range(9))
print("distinct", len(set(names)), threading.current_thread().name in names)
print("main", number())
def child_of(fork):
    child = fork()
    if child == 0:
        numbers = each(number, range(6))
        os._exit(0 if numbers == [1] * 6 and torch.get_num_threads() == 3 else 1)
    for _ in range(200):
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "hung"

# Before any thread has ended: an ending one may hold a lock of MKL's memory after join() has returned, and a child that
# is forked then has that lock for ever, whoever multiplies matrices in it.
print("child", child_of(os.fork))
print("again", *each(number, range(2)))

later = []
thread = threading.Thread(target=lambda: later.append(number()))
thread.start(), thread.join()
print("later", *later)
"""


@pytest.fixture(scope="module")
def probe() -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _PROBE],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines())}


@pytest.fixture
def three_threads() -> Iterator[None]:
    """Three threads in this process, in which the tests have one: see `tests.conftest`."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    threads_module._threads.cache_clear()
    yield
    torch.set_num_threads(before)
    threads_module._threads.cache_clear()


@pytest.mark.usefixtures("three_threads")
def test_results_stand_in_the_order_of_the_items() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.002 * (6 - item))
        return item * item

    assert each(slow_first, range(7)) == [0, 1, 4, 9, 16, 25, 36]
    assert each(slow_first, []) == []
    assert each(slow_first, (3,)) == [9]


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("count", [1, 6])
def test_an_error_comes_through_as_it_is_and_leaves_the_threads_at_work(count: int) -> None:
    wrong = KeyError("row 0")

    def fails(item: int) -> int:
        if item == 0:
            raise wrong
        return item

    with pytest.raises(KeyError) as caught:
        each(fails, range(count))
    assert caught.value is wrong
    assert each(str, [1, 2, 3]) == ["1", "2", "3"]


@pytest.mark.usefixtures("three_threads")
def test_several_callers_at_once_get_their_own_results() -> None:
    found: dict[int, list[int]] = {}

    def call(base: int) -> None:
        for _ in range(20):
            found[base] = each(lambda item: base + item, range(5))

    callers = [threading.Thread(target=call, args=(100 * number,)) for number in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert found == {100 * number: [100 * number + item for item in range(5)] for number in range(6)}


def test_as_many_threads_as_torch_uses_each_with_operations_of_one(probe: dict[str, list[str]]) -> None:
    assert probe["workers"] == ["1"] * 9
    assert probe["distinct"] == ["3", "False"]


def test_other_threads_keep_the_setting_of_the_process(probe: dict[str, list[str]]) -> None:
    assert probe["main"] == ["3"]
    assert probe["later"] == ["3"]


def test_a_forked_process_has_threads_of_its_own(probe: dict[str, list[str]]) -> None:
    assert probe["child"] == ["0"]
    assert probe["again"] == ["1", "1"]


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("kind", ["random", "kernel", "projections"])
def test_no_block_of_work_shares_work_out_itself(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many threads waiting for others as there are, none would be left to do the work."""
    working = threading.local()
    calls = []

    def watched(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        assert not getattr(working, "on", False), "each within each"
        calls.append(len(list(items)))

        def one(item: Any) -> Any:
            working.on = True
            try:
                return function(item)
            finally:
                working.on = False

        return each(one, list(items))

    monkeypatch.setattr(blocks_module, "each", watched)
    monkeypatch.setattr(features_module, "each", watched)
    monkeypatch.setattr(blocks_module, "BLOCK_SIZE", 8 * 32)
    monkeypatch.setattr(features_module, "_ROWS", 8)
    vectors = np.random.default_rng(0).normal(size=(32, 3))
    features: FeatureMap = {
        "random": lambda: RandomFeatures.draw(3, 32, 1.0, 0),
        "kernel": lambda: KernelFeatures.fit(vectors, 1.0),
        "projections": lambda: RandomProjections.draw(3, 32, 0),
    }[kind]()
    features.mean(vectors)
    for kept in (blocks_module.KEEP_BYTES, 0):
        monkeypatch.setattr(blocks_module, "KEEP_BYTES", kept)
        blocks = FeatureBlocks(features, vectors)
        blocks.tilt(blocks.mean(), np.zeros(32))
        blocks.product(np.zeros(32))
        blocks.squared_norms()
    assert calls == [4] * 10
