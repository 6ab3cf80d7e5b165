"""What a run borrows from its process, and gives back: the garbage collector and Ctrl-C.

Several runs at once, in threads or one within another, share what they borrow.
"""

import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_IMPATIENCE_SECONDS = 1.0  # from a first Ctrl-C to the clean-up; beyond, it was lost on the way


class _Borrowed:
    """The state of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pauses = 0
        self.collected = False  # before the first of the pauses
        self.holds = 0  # of the main thread, the only one that Ctrl-C reaches
        self.waiting: list[tuple[int, FrameType | None]] = []
        self.previous: Callable[[int, FrameType | None], Any] | None = None
        self.obeyed = -_IMPATIENCE_SECONDS  # when Ctrl-C was last passed on
        self.owner = 0  # the thread whose run has the handler


_state = _Borrowed()


def _after_fork() -> None:
    """Give back what the parent's other threads had borrowed: in a forked process there are none."""
    _state.lock = threading.Lock()
    if _state.pauses and _state.collected:
        gc.enable()
    _state.pauses = 0
    if _state.owner != threading.get_ident():  # the thread that Ctrl-C reached is gone: now it is this one
        _state.holds = 0
        _state.waiting.clear()
        if _state.previous is not None and signal.getsignal(signal.SIGINT) is _obey:
            signal.signal(signal.SIGINT, _state.previous)


os.register_at_fork(after_in_child=_after_fork)


class CollectorPause:
    """A pause of the garbage collector: the first one switches it off, the last one restores it."""

    def __init__(self) -> None:
        self._taken = False

    def take(self) -> None:
        """Begin the pause."""
        with Held(), _state.lock:
            if _state.pauses == 0:
                _state.collected = gc.isenabled()
                gc.disable()
            _state.pauses += 1
            self._taken = True

    def give_back(self) -> None:
        """End the pause, if it ever began."""
        with Held(), _state.lock:
            if self._taken:
                self._taken = False
                _state.pauses -= 1
                if _state.pauses == 0 and _state.collected:
                    gc.enable()


class Held:
    """Work that Ctrl-C must not interrupt: within `orderly`, it arrives when the work is done."""

    def __enter__(self) -> None:
        self._here = threading.current_thread() is threading.main_thread()
        if self._here:
            _state.holds += 1

    def __exit__(self, *failure: object) -> None:
        if self._here:
            _state.holds -= 1
            _deliver()


def _obey(number: int, frame: FrameType | None) -> None:
    if _state.holds:
        _state.waiting.append((number, frame))
    elif _state.previous is not None and time.monotonic() - _state.obeyed >= _IMPATIENCE_SECONDS:
        _state.obeyed = time.monotonic()
        _state.previous(number, frame)
        _state.obeyed = -_IMPATIENCE_SECONDS  # it did not raise


def _deliver() -> None:
    if _state.holds == 0 and _state.waiting:
        interrupt = _state.waiting[0]
        _state.waiting.clear()
        _obey(*interrupt)


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Let Ctrl-C end a run once: pressed again before everything is put away, it does not disturb that.

    The previous handler decides what Ctrl-C does; Python's raises `KeyboardInterrupt`.
    """
    previous = signal.getsignal(signal.SIGINT)
    ours = previous is _obey  # a run within a run's callback
    if threading.current_thread() is not threading.main_thread() or ours or not callable(previous):
        yield
        return
    _state.previous, _state.obeyed, _state.owner = previous, -_IMPATIENCE_SECONDS, threading.get_ident()
    signal.signal(signal.SIGINT, _obey)
    try:
        yield
    finally:
        _state.holds += 1  # at once: `Held` would be a call, before which it could be interrupted
        if signal.getsignal(signal.SIGINT) is _obey:
            signal.signal(signal.SIGINT, previous)
        _state.holds -= 1
        _deliver()
