"""An artificial, busy delay for each gradient, as in Figure 5c of Niu et al. 2011.

Where the core has a clock of constant rate, a delay ends by the clock: on a slowed or shared core, turns of a
loop take longer. The shortest delays are counted in turns, since reading the clock would take longer.
"""

import functools
import math
import platform
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hogwild import checks
from hogwild.engine.atomics import keep, ticks
from hogwild.engine.compiling import compiled, config, generic

SHORTEST, LONGEST = 1e-9, 1.0
SHORTEST_TIMED = 200e-9  # reading the clock takes tens of nanoseconds
_LOOPS = 1_000_000  # a fraction of a millisecond
_REPEATS = 15
_CALIBRATION_SECONDS = 0.02  # two clocks are read within a microsecond of each other
_PROCESSOR = Path("/proc/cpuinfo")
_STEADY = {"constant_tsc", "nonstop_tsc"}  # whatever the core's frequency, asleep or not


class NoDelay(NamedTuple):
    """Gradients cost what they cost."""


class BusyDelay(NamedTuple):
    """Every gradient keeps its core busy for longer, in a loop that touches no memory."""

    loops: int


class TimedDelay(NamedTuple):
    """Every gradient keeps its core busy until the core's clock has moved on by so many ticks.

    Time for which the worker loses its core during the delay counts, as it would for a worker that waits for
    a result.
    """

    ticks: Any  # uint64


@generic
def busy_wait(delay: Any) -> Any:
    """Keep the core busy for the delay."""


@busy_wait.of(BusyDelay)
def _busy_wait_by_count(delay):
    for _ in range(delay.loops):
        keep()


@busy_wait.of(TimedDelay)
def _busy_wait_by_clock(delay):
    begin = ticks()
    while ticks() - begin < delay.ticks:
        pass


@compiled
def spend(delay: Any, times: int) -> None:
    """Spend a delay so many times."""
    for _ in range(times):
        busy_wait(delay)


@compiled
def read_ticks() -> Any:
    """Call `ticks` from Python."""
    return ticks()


@functools.cache
def has_steady_ticks() -> bool:
    """Return whether `ticks` is a clock of constant rate that a program may read."""
    if config.DISABLE_JIT:
        return True  # it is the system's clock
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        lines = _PROCESSOR.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return any(line.startswith("flags") and set(line.split()) >= _STEADY for line in lines)


@functools.cache
def ticks_per_second() -> float:
    """Return the rate of the core's clock, measured once against the system's."""
    first_time, first_ticks = _both_clocks()
    time.sleep(_CALIBRATION_SECONDS)
    last_time, last_ticks = _both_clocks()
    return (last_ticks - first_ticks) * 1e9 / (last_time - first_time)


def _both_clocks() -> tuple[float, int]:
    """Return nanoseconds and ticks of one moment: the closest pair of several readings."""
    readings = []
    for _ in range(_REPEATS):
        before, now, after = time.perf_counter_ns(), int(read_ticks()), time.perf_counter_ns()
        readings.append((after - before, (before + after) / 2, now))
    return min(readings)[1:]


@functools.cache
def seconds_per_loop() -> float:
    """Return what one turn of the delay's loop takes on this machine: the median of several measurements."""
    return _median_seconds(BusyDelay(_LOOPS), 1) / _LOOPS


def _median_seconds(delay: Any, times: int) -> float:
    spend(delay, 0)  # compiled before it is timed
    found = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        spend(delay, times)
        found.append((time.perf_counter() - begin) / times)
    return statistics.median(found)


def delay_of(seconds: float) -> NoDelay | BusyDelay | TimedDelay:
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
    if seconds >= SHORTEST_TIMED and has_steady_ticks():
        return TimedDelay(np.uint64(math.ceil(seconds * ticks_per_second())))
    return BusyDelay(max(1, round(seconds / seconds_per_loop())))


def measured(delay: NoDelay | BusyDelay | TimedDelay, seconds: float = 0.02) -> float:
    """Measure what a delay really takes, in seconds: the median of several loops of it alone.

    Parameters
    ----------
    delay : a record of this module
    seconds : float
        How long to measure, about.
    """
    if isinstance(delay, NoDelay):
        return 0.0
    if isinstance(delay, TimedDelay):
        nominal = float(delay.ticks) / ticks_per_second()
    else:
        nominal = delay.loops * seconds_per_loop()
    return _median_seconds(delay, max(1, int(seconds / _REPEATS / nominal)))
