"""An artificial, busy delay for each gradient, as in Figure 5c of Niu et al. 2011."""

import functools
import statistics
import time
from typing import Any, NamedTuple

from hogwild import checks
from hogwild.atomics import keep
from hogwild.compiling import compiled, generic

SHORTEST, LONGEST = 1e-9, 1.0
_LOOPS = 1_000_000  # a fraction of a millisecond
_REPEATS = 15


class NoDelay(NamedTuple):
    """Gradients cost what they cost."""


class BusyDelay(NamedTuple):
    """Every gradient keeps its core busy for longer, in a loop that touches no memory."""

    loops: int


@generic
def linger(delay: Any) -> Any:
    """Spend the delay."""


@linger.of(NoDelay)
def _(delay):
    pass


@linger.of(BusyDelay)
def _(delay):
    for _ in range(delay.loops):
        keep()


@compiled
def spend(delay: Any, times: int) -> None:
    """Spend a delay so many times."""
    for _ in range(times):
        linger(delay)


@functools.cache
def seconds_per_loop() -> float:
    """Return what one turn of the delay's loop takes on this machine: the median of several measurements."""
    spend(BusyDelay(_LOOPS), 0)
    found = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        spend(BusyDelay(_LOOPS), 1)
        found.append((time.perf_counter() - begin) / _LOOPS)
    return statistics.median(found)


def delay_of(seconds: float) -> NoDelay | BusyDelay:
    """Return the delay of a gradient for a number of seconds, 0 or from 1 ns to 1 s.

    Raises
    ------
    TypeError, ValueError
        Naming ``gradient_delay``.
    """
    seconds = checks.real("gradient_delay", seconds, "0, or seconds from 1e-9 to 1")
    if seconds == 0:
        return NoDelay()
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError(f"gradient_delay is {seconds!r}; it must be 0, or seconds from 1e-9 to 1")
    return BusyDelay(max(1, round(seconds / seconds_per_loop())))


def measured(delay: NoDelay | BusyDelay, seconds: float = 0.02) -> float:
    """Measure what a delay really takes, in seconds: the median of several loops of it alone.

    Parameters
    ----------
    delay : a record of this module
    seconds : float
        How long to measure, about.
    """
    if isinstance(delay, NoDelay):
        return 0.0
    times = max(1, int(seconds / _REPEATS / (delay.loops * seconds_per_loop())))
    found = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        spend(delay, times)
        found.append((time.perf_counter() - begin) / times)
    return statistics.median(found)
