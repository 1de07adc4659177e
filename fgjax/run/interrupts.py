"""Ctrl-C and the system's request to end: at once, or at the next step where work is at stake."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fgjax.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, Any], Any]


@contextmanager
def handled(handler: Handler = signal.default_int_handler) -> Iterator[None]:
    """Both signals call ``handler`` while the block runs; by default they raise KeyboardInterrupt.

    Outside of the main thread, where Python hears no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Gives the training loop its question, once a step: has anybody asked it to stop?

    Before the loop has asked for the first time no step is at stake, and a signal stops at once;
    so does a second one at any time. Hosts that train together must stop at the same step, of
    which a signal to one of them tells the others nothing: there, signals stop at once.

    Raises:
        Interrupted: at the end of the block, if a signal came too late for the loop to hear it.
    """
    import jax  # slow, and handling Ctrl-C while a command starts must not wait for it

    stop = _Stop()
    with handled(stop.heard if jax.process_count() == 1 else signal.default_int_handler):
        yield stop
    if stop.asked:
        raise Interrupted("stopped after the last step, which is saved; the same command scores it")


class _Stop:
    """Whether a stop was asked for, and whether a step would be lost by stopping at once."""

    def __init__(self):
        self.asked = self.at_stake = False

    def __call__(self) -> bool:
        self.at_stake = True
        return self.asked

    def heard(self, number: int, frame: Any) -> None:
        """What a signal does."""
        if self.asked or not self.at_stake:
            raise KeyboardInterrupt
        self.asked = True
