"""Ctrl-C is counted instead of raised while replies are received: none of them is to be half written."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any


class Interrupt:
    """How often Ctrl-C was pressed."""

    presses = 0


@contextlib.contextmanager
def held_interrupt(outbox: SimpleQueue[Any]) -> Iterator[Interrupt]:
    """Count Ctrl-C, and wake who waits; a third raises. Another's handler is left alone."""
    interrupt = Interrupt()

    def note(signum: int, frame: Any) -> None:
        interrupt.presses += 1
        if interrupt.presses > 2:
            signal.default_int_handler(signum, frame)
        outbox.put(None)

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupt
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
